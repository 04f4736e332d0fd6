//! Metrics and spans of consumers.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use floe_wire::batch::{BorrowedHeaders, EncodedBatch};
use opentelemetry::{
    Context, KeyValue,
    trace::{Link, Span as _, SpanKind},
};
use tokio::time::Instant;

use super::{
    ReceivedBatch, Telemetry, TraceContext,
    gauges::Lag,
    instruments::{destination, partition_id},
    names::{self, attribute},
    produce::{MAX_LINKS, with},
};
use crate::{Topic, topic::TopicPartition};

/// Largest number of records of a batch whose headers are read for links.
const MAX_RECORDS_READ: usize = 1024;

/// Batches after which the counts are reported even if the application never waits.
const FLUSH_EVERY: u32 = 32;

/// Metrics and spans of one consumer. It counts records and reports the counts when that is cheap: when the application
/// waits, after some batches, and at the end.
#[derive(Debug)]
pub(crate) struct ConsumerTelemetry {
    telemetry: Telemetry,
    topic: Topic,
    group: Option<Arc<str>>,
    lag: Arc<Lag>,
    /// Begin of the application's wait.
    waiting: Option<(Instant, SystemTime)>,
    /// Attributes of a wait.
    receiving: Vec<KeyValue>,
    /// Records handed out, by index of the partition.
    handed_out: Vec<HandedOut>,
    /// Indexes of the partitions with records that are not reported yet.
    unreported: Vec<usize>,
    /// Batches since the last report.
    batches: u32,
}

/// Records of one partition that are not reported yet.
#[derive(Debug, Default)]
struct HandedOut {
    records: u64,
    /// Empty until the first report.
    attributes: Vec<KeyValue>,
}

impl ConsumerTelemetry {
    pub(crate) fn new(telemetry: &Telemetry, topic: Topic, group: Option<Arc<str>>, lag: Arc<Lag>) -> Self {
        let telemetry = telemetry.clone();
        telemetry.inner.gauges.watch_lag(&lag);
        let (handed_out, unreported) = ((0..lag.len()).map(|_| HandedOut::default()).collect(), Vec::new());
        let (waiting, receiving) = (None, Vec::new());
        let mut this =
            Self { telemetry, topic, group, lag, waiting, receiving, handed_out, unreported, batches: 0 };
        this.receiving = this.attributes([
            KeyValue::new(attribute::OPERATION_NAME, names::RECEIVE.operation),
            KeyValue::new(attribute::OPERATION_TYPE, names::RECEIVE.operation_type),
        ]);
        this
    }

    /// Starts the measurement of a wait of the application, unless it runs.
    pub(crate) fn waits(&mut self) {
        self.flush();
        self.waiting.get_or_insert_with(|| (Instant::now(), SystemTime::now()));
    }

    /// Adds a partition that the consumer reads from this offset on, under this index, which is new or was left.
    pub(crate) fn joins(&mut self, index: usize, at: TopicPartition, position: i64) {
        self.lag.joins(index, at, position);
        if index == self.handed_out.len() {
            self.handed_out.push(HandedOut::default());
        }
    }

    /// Reports no lag of a partition that the consumer does not read any more.
    pub(crate) fn leaves(&self, index: usize) {
        self.lag.leaves(index);
    }

    /// Sets the position of the application in the partition with this index.
    pub(crate) fn stands_at(&self, index: usize, position: i64) {
        self.lag.stands_at(index, position);
    }

    /// Measures a batch that the application receives; `headers` are those of each record if any record has some.
    pub(crate) fn received<'h>(
        &mut self,
        batch: ReceivedBatch,
        headers: Option<impl Iterator<Item = BorrowedHeaders<'h>>>,
    ) {
        self.batches += 1;
        if self.batches >= FLUSH_EVERY {
            self.flush();
        }
        let (waited, since) = match self.waiting.take() {
            Some((began, since)) => (began.elapsed(), Some(since)),
            None => (Duration::ZERO, None),
        };
        self.lag.receives(batch.index, batch.first_offset, batch.time);
        if let Some(instruments) = &self.telemetry.inner.instruments {
            instruments.operation_duration.record(waited.as_secs_f64(), &self.receiving);
        }
        // A prefetched batch without a context needs no span.
        if (since.is_some() || headers.is_some()) && self.telemetry.tracer().is_some() {
            self.trace(batch, headers, since);
        }
    }

    fn trace<'h>(
        &self,
        batch: ReceivedBatch,
        headers: Option<impl Iterator<Item = BorrowedHeaders<'h>>>,
        since: Option<SystemTime>,
    ) {
        let builder = || {
            let mut builder = self.telemetry.span(names::RECEIVE, SpanKind::Client, &self.topic);
            builder.start_time = since;
            let builder =
                with(builder, self.group.clone().map(|group| KeyValue::new(attribute::GROUP, group)));
            with(
                builder,
                [
                    partition_id(self.lag.partition(batch.index)),
                    KeyValue::new(attribute::BATCH_COUNT, i64::try_from(batch.records).unwrap_or(i64::MAX)),
                ]
                .into_iter()
                .chain(self.telemetry.offset(batch.first_offset)),
            )
            .with_links(headers.map(links).unwrap_or_default())
        };
        // The caller's span is the parent; without one, a trace begins here.
        if let Some(mut span) = self.telemetry.start_span(builder, &Context::current()) {
            span.end();
        }
    }

    /// Counts records handed out from the partition with this index.
    #[inline]
    pub(crate) fn hands_out(&mut self, index: usize, records: usize) {
        if let Some(handed_out) = self.handed_out.get_mut(index) {
            if handed_out.records == 0 {
                self.unreported.push(index);
            }
            handed_out.records += records as u64;
        }
    }

    /// Reports the records handed out.
    pub(crate) fn flush(&mut self) {
        self.batches = 0;
        while let Some(index) = self.unreported.pop() {
            let Some(handed_out) = self.handed_out.get_mut(index) else { continue };
            let records = std::mem::take(&mut handed_out.records);
            let Some(instruments) = &self.telemetry.inner.instruments else { continue };
            if let Some(handed_out) = self.handed_out.get(index).filter(|known| !known.attributes.is_empty())
            {
                instruments.consumed.add(records, &handed_out.attributes);
                continue;
            }
            let partition = self.lag.partition(index);
            let attributes = self.attributes([
                KeyValue::new(attribute::OPERATION_NAME, names::RECEIVE.operation),
                partition_id(partition),
            ]);
            instruments.consumed.add(records, &attributes);
            if let Some(handed_out) = self.handed_out.get_mut(index) {
                handed_out.attributes = attributes;
            }
        }
    }

    /// Counts a gap in a partition.
    pub(crate) fn misses(&self, partition: u32, reason: &'static str, offsets: u64) {
        let Some(instruments) = &self.telemetry.inner.instruments else { return };
        let attributes =
            self.attributes([partition_id(partition), KeyValue::new(attribute::GAP_REASON, reason)]);
        instruments.gaps.add(1, &attributes);
        instruments.missing.add(offsets, &attributes);
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

/// Metrics of the fetch task of one partition. It counts bytes and reports them when the task waits, after some batches,
/// and at the end.
#[derive(Debug)]
pub(crate) struct FetchTelemetry {
    telemetry: Telemetry,
    /// System, topic, partition.
    attributes: [KeyValue; 3],
    bytes: u64,
    batches: u32,
}

impl FetchTelemetry {
    pub(crate) fn new(telemetry: &Telemetry, at: &TopicPartition) -> Self {
        let telemetry = telemetry.clone();
        let attributes = [
            KeyValue::new(attribute::SYSTEM, telemetry.inner.system),
            destination(&at.topic),
            partition_id(at.partition),
        ];
        Self { telemetry, attributes, bytes: 0, batches: 0 }
    }

    /// Counts a fetched batch.
    pub(crate) fn fetched(&mut self, batch: &EncodedBatch) {
        let Some(instruments) = &self.telemetry.inner.instruments else { return };
        let bytes = batch.len() as u64;
        let of_topic = &self.attributes[..2];
        instruments.consumer_batch_size.record(bytes, of_topic);
        instruments.consumer_batch_messages.record(u64::from(batch.header().offset_span()), of_topic);
        self.bytes += bytes;
        self.batches += 1;
        if self.batches >= FLUSH_EVERY {
            self.flush();
        }
    }

    /// Reports the counted bytes.
    pub(crate) fn flush(&mut self) {
        self.batches = 0;
        let bytes = std::mem::take(&mut self.bytes);
        if let (1.., Some(instruments)) = (bytes, &self.telemetry.inner.instruments) {
            instruments.consumer_io.add(bytes, &self.attributes);
        }
    }

    /// Counts duplicate records that were dropped.
    pub(crate) fn dropped_repeats(&self, records: u64) {
        if let Some(instruments) = &self.telemetry.inner.instruments {
            instruments.dedup_drops.add(records, &self.attributes);
        }
    }
}

impl Drop for FetchTelemetry {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Returns links to the contexts in which the records of a batch were produced; equal neighbours become one link.
fn links<'h>(headers: impl Iterator<Item = BorrowedHeaders<'h>>) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    let mut last = None;
    for headers in headers.take(MAX_RECORDS_READ) {
        // Records that were sent together carry the same bytes, which are read once.
        if last.replace(headers) == Some(headers) {
            continue;
        }
        let Some(context) = TraceContext::from_headers(headers) else { continue };
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
