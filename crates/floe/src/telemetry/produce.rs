//! Telemetry of producers: the trace context that records carry, and the spans of records and batches.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use opentelemetry::{
    Context, KeyValue,
    context::FutureExt as _,
    global::BoxedSpan,
    trace::{Link, Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _},
};

use super::{
    Telemetry,
    context::{Carried, carried, carried_by_current, has_something_to_carry},
    instruments::{destination, partition_id},
    names::{self, SpanType, attribute},
    w3c::TRACEPARENT,
};
use crate::{Error, Result, Topic, TopicPartition};

/// Most record contexts that one span links to.
pub(super) const MAX_LINKS: usize = 128;

/// Origin of records: the span context that they carry or were sent in, and the headers that hold it.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// `None` without a context.
    context: Option<Arc<Carried>>,
    /// Whether the producer adds the headers: the records lack them, and the engine carries headers.
    adds: bool,
}

impl Origin {
    /// Headers to add to each record.
    #[inline]
    pub(crate) fn added(&self) -> &[(&'static str, Bytes)] {
        match &self.context {
            Some(context) if self.adds => &context.headers,
            _ => &[],
        }
    }

    #[inline]
    fn span(&self) -> Option<&SpanContext> {
        self.context.as_ref()?.span.as_ref()
    }
}

/// The span contexts of the records of a batch, as many as a span links to.
#[derive(Debug, Default)]
pub(crate) struct Origins(Vec<SpanContext>);

impl Origins {
    #[inline]
    pub(crate) fn add(&mut self, origin: &Origin) {
        if let Some(span) = origin.span() {
            self.push(span);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn push(&mut self, span: &SpanContext) {
        // Records of one span are consecutive, so comparing with the last context removes most duplicates.
        if self.0.len() < MAX_LINKS && self.0.last() != Some(span) {
            self.0.push(span.clone());
        }
    }
}

/// The span of a batch, ended by its outcome.
pub(crate) struct BatchSpan(Option<BoxedSpan>);

impl BatchSpan {
    /// Sets the number of attempts.
    pub(crate) fn attempts(mut self, attempts: u32) -> Self {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(attribute::ATTEMPTS, i64::from(attempts)));
        }
        self
    }
}

/// Marks the context of `Producer::send`, whose record has its span already.
struct InsideSend;

impl Telemetry {
    /// Whether a record sent now should carry a context or baggage.
    #[inline]
    pub(crate) fn carries(&self) -> bool {
        self.inner.propagate && has_something_to_carry()
    }

    /// Determines the origin of a record: the context in its headers, else the current one. `can_carry`: the engine
    /// carries headers.
    #[inline]
    pub(crate) fn originate(
        &self,
        topic: &Topic,
        headers: &[(String, Bytes)],
        body: usize,
        can_carry: bool,
    ) -> Origin {
        if headers.is_empty() && !self.carries() {
            return Origin::default();
        }
        self.originate_slowly(topic, headers, body, can_carry)
    }

    fn originate_slowly(
        &self,
        topic: &Topic,
        headers: &[(String, Bytes)],
        body: usize,
        can_carry: bool,
    ) -> Origin {
        // A forwarded record keeps the context in which it was made.
        if headers.iter().any(|(name, _)| name == TRACEPARENT) {
            let context = Carried { span: carried(headers), headers: Vec::new() };
            return Origin { context: Some(Arc::new(context)), adds: false };
        }
        if !self.carries() {
            return Origin::default();
        }
        let create = if self.inner.create_spans { self.start_create(topic, body) } else { None };
        let _current = create.map(|span| Context::current_with_span(span).attach());
        Origin { context: Some(carried_by_current()), adds: can_carry }
    }

    /// As [`Telemetry::originate`] for all records of a call without headers; `None` where each gets a span of its own.
    #[inline]
    pub(crate) fn originate_all(&self, can_carry: bool) -> Option<Origin> {
        if !self.carries() {
            return Some(Origin::default());
        }
        if self.inner.create_spans {
            return None;
        }
        Some(Origin { context: Some(carried_by_current()), adds: can_carry })
    }

    fn start_create(&self, topic: &Topic, body: usize) -> Option<BoxedSpan> {
        let parent = Context::current();
        if !parent.has_active_span() || parent.get::<InsideSend>().is_some() {
            return None;
        }
        let builder = || {
            let builder = self.span(names::CREATE, SpanKind::Producer, topic);
            with(builder, [KeyValue::new(attribute::BODY_SIZE, size(body))])
        };
        self.start_span(builder, &parent)
    }

    /// Whether a record that is sent alone gets a span of its own.
    #[inline]
    pub(crate) fn traces_sending(&self) -> bool {
        self.tracer().is_some() && Context::map_current(Context::has_active_span)
    }

    /// Sends one record in a span of its own. `place` extracts partition and offset from the outcome.
    pub(crate) async fn send_one<T>(
        &self,
        topic: &Topic,
        body: usize,
        sending: impl Future<Output = Result<T>>,
        place: impl Fn(&T) -> (u32, Option<i64>),
    ) -> Result<T> {
        let builder = || {
            let builder = self.span(names::SEND_ONE, SpanKind::Producer, topic);
            with(builder, [KeyValue::new(attribute::BODY_SIZE, size(body))])
        };
        let Some(span) = self.start_span(builder, &Context::current()) else { return sending.await };
        let context = Context::current_with_span(span).with_value(InsideSend);
        let outcome = sending.with_context(context.clone()).await;
        let span = context.span();
        match &outcome {
            Ok(sent) => {
                let (partition, offset) = place(sent);
                span.set_attribute(partition_id(partition));
                if let Some(offset) = offset {
                    span.set_attributes(self.offset(offset));
                }
            }
            Err(error) => {
                span.set_attribute(KeyValue::new(attribute::ERROR_TYPE, error.kind().as_str()));
                span.set_status(Status::error(error.to_string()));
            }
        }
        span.end();
        outcome
    }

    /// Starts the span of a batch before its first attempt.
    pub(crate) fn start_batch(
        &self,
        target: &TopicPartition,
        records: u32,
        origins: &mut Origins,
    ) -> BatchSpan {
        if self.tracer().is_none() {
            return BatchSpan(None);
        }
        let origins = std::mem::take(&mut origins.0);
        let (parent, links) = match <[SpanContext; 1]>::try_from(origins) {
            Ok([only]) => (Context::new().with_remote_span_context(only), Vec::new()),
            Err(several) => (Context::new(), several.into_iter().map(Link::with_context).collect()),
        };
        let builder = || {
            let builder = self.span(names::SEND_BATCH, SpanKind::Client, &target.topic).with_links(links);
            with(
                builder,
                [partition_id(target.partition), KeyValue::new(attribute::BATCH_COUNT, i64::from(records))],
            )
        };
        BatchSpan(self.start_span(builder, &parent))
    }

    /// Records the size of an encoded batch.
    pub(crate) fn batch_made(&self, topic: &Topic, records: u32, bytes: usize) {
        let Some(instruments) = &self.inner.instruments else { return };
        let attributes = [KeyValue::new(attribute::SYSTEM, self.inner.system), destination(topic)];
        instruments.producer_batch_messages.record(u64::from(records), &attributes);
        instruments.producer_batch_size.record(bytes as u64, &attributes);
    }

    /// Ends the span of a batch, and counts its records if they are undelivered.
    pub(crate) fn batch_done(
        &self,
        topic: &Topic,
        records: u32,
        span: Option<BatchSpan>,
        result: &Result<Option<i64>>,
    ) {
        if let Some(BatchSpan(Some(mut span))) = span {
            match result {
                Ok(Some(offset)) => {
                    span.set_attributes(self.offset(*offset));
                }
                Ok(None) => {}
                Err(error) => fail(&mut span, error),
            }
            span.end();
        }
        if let (Err(error), Some(instruments)) = (result, &self.inner.instruments) {
            let attributes = [
                KeyValue::new(attribute::SYSTEM, self.inner.system),
                destination(topic),
                KeyValue::new(attribute::ERROR_TYPE, error.kind().as_str()),
            ];
            instruments.undelivered.add(u64::from(records), &attributes);
        }
    }

    /// Returns a span of this kind with the attributes that all spans have.
    pub(super) fn span(&self, span: SpanType, kind: SpanKind, topic: &Topic) -> SpanBuilder {
        let attributes = vec![
            KeyValue::new(attribute::SYSTEM, self.inner.system),
            KeyValue::new(attribute::OPERATION_NAME, span.operation),
            KeyValue::new(attribute::OPERATION_TYPE, span.operation_type),
            destination(topic),
        ];
        let mut builder = SpanBuilder::from_name(format!("{} {topic}", span.operation)).with_kind(kind);
        builder.attributes = Some(attributes);
        builder
    }
}

/// Adds attributes before the span starts, so that samplers see them.
pub(super) fn with(mut builder: SpanBuilder, more: impl IntoIterator<Item = KeyValue>) -> SpanBuilder {
    builder.attributes.get_or_insert_default().extend(more);
    builder
}

pub(super) fn size(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

pub(super) fn fail(span: &mut BoxedSpan, error: &Error) {
    span.set_attribute(KeyValue::new(attribute::ERROR_TYPE, error.kind().as_str()));
    span.set_status(Status::error(error.to_string()));
}

impl fmt::Debug for BatchSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BatchSpan").field(&self.0.as_ref().map(|span| span.span_context().span_id())).finish()
    }
}
