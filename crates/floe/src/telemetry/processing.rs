//! Spans and durations of the application's processing of records.

use std::{any::Any, borrow::Cow, fmt::Display};

use floe_wire::batch::BorrowedHeaders;
use opentelemetry::{
    Context, KeyValue,
    baggage::{BaggageExt as _, KeyValueMetadata},
    context::FutureExt as _,
    trace::{Link, SpanContext, SpanKind, Status, TraceContextExt as _},
};
use tokio::time::Instant;

use super::{
    RecordPosition, Telemetry,
    calls::CANCELLED,
    context::extract,
    instruments::{destination, partition_id},
    names::{self, attribute},
    produce::with,
};
use crate::{Error, Topic};

/// Value of `error.type` for errors of the application, which have no code that floe knows.
const OTHER: &str = "_OTHER";

impl Telemetry {
    /// Runs `work` in a span that is linked to the one in which the record was made, and measures it. The baggage of the
    /// record is current meanwhile.
    pub(crate) async fn process_linked<T, E: Display>(
        &self,
        record: RecordPosition<'_>,
        headers: BorrowedHeaders<'_>,
        work: impl Future<Output = Result<T, E>>,
        code: impl Fn(&E) -> Cow<'static, str>,
    ) -> Result<T, E> {
        let carried = extract(headers);
        let baggage = carried.baggage().iter().map(|(name, (value, metadata))| {
            KeyValueMetadata::new(name.clone(), value.clone(), metadata.clone())
        });
        let parent = if carried.baggage().is_empty() {
            Context::current()
        } else {
            Context::current_with_baggage(baggage.collect::<Vec<_>>())
        };
        let link = carried.span().span_context().clone();
        self.process_in(record, (parent, link), work, code).await
    }

    /// As [`Telemetry::process_linked`], with the span as a child of the one in which the record was made, where the
    /// headers carry one.
    pub(crate) async fn process_child<T, E: Display + 'static>(
        &self,
        record: RecordPosition<'_>,
        headers: BorrowedHeaders<'_>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let carried = extract(headers);
        if !carried.span().span_context().is_valid() {
            return self.process_linked(record, headers, work, error_type).await;
        }
        self.process_in(record, (carried, SpanContext::NONE), work, error_type).await
    }

    async fn process_in<T, E: Display>(
        &self,
        (topic, partition, offset): RecordPosition<'_>,
        (parent, link): (Context, SpanContext),
        work: impl Future<Output = Result<T, E>>,
        code: impl Fn(&E) -> Cow<'static, str>,
    ) -> Result<T, E> {
        let builder = || {
            let builder = self.span(names::PROCESS, SpanKind::Consumer, topic);
            // The builder leaves out an invalid link.
            let builder = builder.with_links(vec![Link::with_context(link)]);
            with(builder, [partition_id(partition)].into_iter().chain(self.offset(offset)))
        };
        let span = self.start_span(builder, &parent);
        let has_span = span.is_some();
        let context = match span {
            Some(span) => parent.with_span(span),
            None => parent,
        };
        let mut processing = Processing {
            telemetry: self,
            topic,
            span: has_span.then(|| context.clone()),
            began: Instant::now(),
            ended: false,
        };
        let outcome = work.with_context(context).await;
        match &outcome {
            Ok(_) => processing.end(None),
            Err(error) => processing.end(Some((code(error), error.to_string()))),
        }
        outcome
    }
}

/// A record that the application processes. Dropped before its end, it counts as cancelled.
struct Processing<'a> {
    telemetry: &'a Telemetry,
    topic: &'a Topic,
    /// The context that holds the span.
    span: Option<Context>,
    began: Instant,
    ended: bool,
}

impl Processing<'_> {
    fn end(&mut self, failure: Option<(Cow<'static, str>, String)>) {
        self.ended = true;
        let error = failure.as_ref().map(|(error, _)| KeyValue::new(attribute::ERROR_TYPE, error.clone()));
        if let Some(context) = &self.span {
            let span = context.span();
            span.set_attributes(error.clone());
            if let Some((_, message)) = failure {
                span.set_status(Status::error(message));
            }
            span.end();
        }
        if let Some(instruments) = &self.telemetry.inner.instruments {
            let mut attributes = vec![
                KeyValue::new(attribute::SYSTEM, self.telemetry.inner.system),
                KeyValue::new(attribute::OPERATION_NAME, names::PROCESS.operation),
                destination(self.topic),
            ];
            attributes.extend(error);
            instruments.process_duration.record(self.began.elapsed().as_secs_f64(), &attributes);
        }
    }
}

impl Drop for Processing<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Some((Cow::Borrowed(CANCELLED), "cancelled".to_owned())));
        }
    }
}

/// Value of `error.type` of an application's error.
pub(crate) fn error_type<E: 'static>(error: &E) -> Cow<'static, str> {
    let ours = (error as &dyn Any).downcast_ref::<Error>();
    Cow::Borrowed(ours.map_or(OTHER, |error| error.kind().as_str()))
}

/// Keeps the current context for `work`, which runs in a task of its own.
pub(crate) fn carrying<F: Future>(work: F) -> impl Future<Output = F::Output> {
    work.with_current_context()
}
