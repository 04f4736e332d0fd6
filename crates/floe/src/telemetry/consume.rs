//! What consumers do.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use floe_wire::batch::EncodedBatch;
use opentelemetry::{
    Context, KeyValue,
    trace::{Link, Span as _, SpanKind},
};
use tokio::time::Instant;

use super::{
    Telemetry, TraceContext,
    gauges::Lag,
    instruments::{destination, partition_id},
    names::{self, attribute},
    produce::{MAX_LINKS, with},
};
use crate::{
    Topic,
    consumer::{Gap, RecordBatch},
};

/// Records of a batch whose headers are looked at for links, at most.
const MAX_LOOKS: usize = 1024;

/// What one consumer tells.
#[derive(Debug)]
pub(crate) struct ConsumerTelemetry {
    telemetry: Telemetry,
    topic: Topic,
    group: Option<Arc<str>>,
    /// Looks up how far behind it is.
    lag: Arc<Lag>,
    /// Since when the application waits.
    waiting: Option<(Instant, SystemTime)>,
    /// The partition that records were handed out of, and how many were not counted yet.
    handed_out: (u32, u64),
}

impl ConsumerTelemetry {
    pub(crate) fn new(telemetry: &Telemetry, topic: Topic, group: Option<Arc<str>>, lag: Arc<Lag>) -> Self {
        let telemetry = telemetry.clone();
        telemetry.inner.gauges.watch_lag(&lag);
        Self { telemetry, topic, group, lag, waiting: None, handed_out: (0, 0) }
    }

    /// The application has to wait.
    pub(crate) fn waits(&mut self) {
        self.flush();
        self.waiting.get_or_insert_with(|| (Instant::now(), SystemTime::now()));
    }

    /// The application stands here in the partition with this index.
    pub(crate) fn stands_at(&self, index: usize, position: i64) {
        self.lag.stands_at(index, position);
    }

    /// A batch of the partition with this index comes into the hands of the application.
    pub(crate) fn received(&mut self, index: usize, batch: &RecordBatch) {
        self.flush();
        let (waited, since) = match self.waiting.take() {
            Some((began, since)) => (began.elapsed(), Some(since)),
            None => (Duration::ZERO, None),
        };
        self.lag.receives(index, batch);
        if let Some(instruments) = &self.telemetry.inner.instruments {
            let attributes = self.attributes([
                KeyValue::new(attribute::OPERATION_NAME, names::RECEIVE.operation),
                KeyValue::new(attribute::OPERATION_TYPE, names::RECEIVE.operation_type),
            ]);
            instruments.operation_duration.record(waited.as_secs_f64(), &attributes);
        }
        if self.telemetry.tracer().is_some() {
            self.trace(batch, since);
        }
    }

    fn trace(&self, batch: &RecordBatch, since: Option<SystemTime>) {
        let builder = || {
            let mut builder = self.telemetry.span(names::RECEIVE, SpanKind::Client, &self.topic);
            builder.start_time = since;
            let builder =
                with(builder, self.group.clone().map(|group| KeyValue::new(attribute::GROUP, group)));
            with(
                builder,
                [
                    partition_id(batch.partition),
                    KeyValue::new(attribute::BATCH_COUNT, i64::try_from(batch.len()).unwrap_or(i64::MAX)),
                    KeyValue::new(attribute::offset(self.telemetry.inner.system), batch.first_offset()),
                ],
            )
            .with_links(links(batch))
        };
        // The application that called us is the parent; where it is no part of a trace, one begins here.
        if let Some(mut span) = self.telemetry.start_span(builder, &Context::current()) {
            span.end();
        }
    }

    /// Records were handed out; counted when it is cheap.
    #[inline]
    pub(crate) fn hands_out(&mut self, partition: u32, records: usize) {
        if self.handed_out.0 != partition {
            self.flush();
            self.handed_out.0 = partition;
        }
        self.handed_out.1 += records as u64;
    }

    /// Counts what was handed out.
    pub(crate) fn flush(&mut self) {
        let (partition, records) = self.handed_out;
        if records == 0 {
            return;
        }
        self.handed_out.1 = 0;
        if let Some(instruments) = &self.telemetry.inner.instruments {
            let attributes = self.attributes([
                KeyValue::new(attribute::OPERATION_NAME, names::RECEIVE.operation),
                partition_id(partition),
            ]);
            instruments.consumed.add(records, &attributes);
        }
    }

    /// Records are missing.
    pub(crate) fn misses(&self, gap: &Gap) {
        let Some(instruments) = &self.telemetry.inner.instruments else { return };
        let attributes = self.attributes([
            partition_id(gap.at.partition),
            KeyValue::new(attribute::GAP_REASON, gap.reason.as_str()),
        ]);
        instruments.gaps.add(1, &attributes);
        instruments.missing.add(gap.offsets(), &attributes);
    }

    fn attributes<const N: usize>(&self, more: [KeyValue; N]) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(N + 3);
        attributes.push(KeyValue::new(attribute::SYSTEM, self.telemetry.inner.system));
        attributes.push(destination(&self.topic));
        attributes.extend(self.group.clone().map(|group| KeyValue::new(attribute::GROUP, group)));
        attributes.extend(more);
        attributes
    }
}

impl Drop for ConsumerTelemetry {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Telemetry {
    /// A batch was fetched.
    pub(crate) fn fetched(&self, topic: &Topic, partition: u32, batch: &EncodedBatch) {
        let Some(instruments) = &self.inner.instruments else { return };
        let attributes = [
            KeyValue::new(attribute::SYSTEM, self.inner.system),
            destination(topic),
            partition_id(partition),
        ];
        let bytes = batch.len() as u64;
        instruments.consumer_io.add(bytes, &attributes);
        instruments.consumer_batch_size.record(bytes, &attributes[..2]);
        instruments.consumer_batch_messages.record(u64::from(batch.header().offset_span()), &attributes[..2]);
    }

    /// Records were dropped because they had come before.
    pub(crate) fn dropped_repeats(&self, topic: &Topic, partition: u32, records: u64) {
        let Some(instruments) = &self.inner.instruments else { return };
        let attributes = [
            KeyValue::new(attribute::SYSTEM, self.inner.system),
            destination(topic),
            partition_id(partition),
        ];
        instruments.dedup_drops.add(records, &attributes);
    }
}

/// The contexts in which the records of a batch were made, each once if they follow each other.
fn links(batch: &RecordBatch) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    if !batch.has_headers() {
        return links;
    }
    for record in batch.borrowed().take(MAX_LOOKS) {
        let Some(context) = TraceContext::from_headers(record.headers) else { continue };
        let context = context.to_span_context();
        if links.last().is_none_or(|last| last.span_context != context) {
            links.push(Link::with_context(context));
        }
        if links.len() == MAX_LINKS {
            break;
        }
    }
    links
}
