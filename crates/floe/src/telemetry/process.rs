//! What applications do with records.

use std::{any::Any, borrow::Cow, fmt::Display};

use opentelemetry::{
    Context, KeyValue,
    baggage::{BaggageExt as _, KeyValueMetadata},
    context::FutureExt as _,
    trace::{Link, SpanContext, SpanKind, Status, TraceContextExt as _},
};
use tokio::time::Instant;

use super::{
    HandledRecord, Telemetry,
    context::extract,
    instruments::{destination, partition_id},
    layer::CANCELLED,
    names::{self, attribute},
    produce::with,
};
use crate::{Error, Topic};

/// Value of `error.type` for errors that are not floe's: what would tell them apart is theirs.
const OTHER: &str = "_OTHER";

impl Telemetry {
    /// Runs `work`, the handling of a message, in a span of its own that is linked to the one in which the message was
    /// made, and measures it. The baggage of the message is current meanwhile.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> floe::Result<()> {
    /// # let client = floe::Client::connect("memory:").await?;
    /// # client.admin().create_topic(floe::TopicSpec::new("orders")).await?;
    /// # client.producer("orders").start().await?.send("one coffee").await?;
    /// # let mut orders = client.consumer("orders").from(floe::consumer::StartAt::Beginning).start().await?;
    /// let telemetry = client.telemetry().clone();
    /// if let Some(message) = orders.try_next().await? {
    ///     telemetry.process(&message, async { brew(&message.value).await }).await?;
    /// }
    /// # async fn brew(_: &[u8]) -> floe::Result<()> { Ok(()) }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What `work` returns.
    ///
    /// # Cancel safety
    /// As `work`. Dropping the future counts as the error `cancelled`.
    pub async fn process<'a, T, E: Display + 'static>(
        &self,
        record: impl Into<HandledRecord<'a>>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.process_with(record, work, error_type).await
    }

    /// As [`Telemetry::process`], where the errors have codes of their own.
    pub(crate) async fn process_with<'a, T, E: Display>(
        &self,
        record: impl Into<HandledRecord<'a>>,
        work: impl Future<Output = Result<T, E>>,
        code: impl Fn(&E) -> Cow<'static, str>,
    ) -> Result<T, E> {
        let record = record.into();
        let carried = extract(record.headers);
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

    /// As [`Telemetry::process`], with the span as a child of the one in which the message was made: one trace from the
    /// producer to the end, right where each message is handled alone.
    ///
    /// # Errors
    /// What `work` returns.
    ///
    /// # Cancel safety
    /// As [`Telemetry::process`].
    pub async fn process_as_child<'a, T, E: Display + 'static>(
        &self,
        record: impl Into<HandledRecord<'a>>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let record = record.into();
        let carried = extract(record.headers);
        if !carried.span().span_context().is_valid() {
            return self.process(record, work).await;
        }
        self.process_in(record, (carried, SpanContext::NONE), work, error_type).await
    }

    async fn process_in<T, E: Display>(
        &self,
        record: HandledRecord<'_>,
        (parent, link): (Context, SpanContext),
        work: impl Future<Output = Result<T, E>>,
        code: impl Fn(&E) -> Cow<'static, str>,
    ) -> Result<T, E> {
        let builder = || {
            let builder = self.span(names::PROCESS, SpanKind::Consumer, record.topic);
            // Links that lead nowhere are left out by the builder.
            let builder = builder.with_links(vec![Link::with_context(link)]);
            with(
                builder,
                [
                    partition_id(record.partition),
                    KeyValue::new(attribute::offset(self.inner.system), record.offset),
                ],
            )
        };
        let span = self.start_span(builder, &parent);
        let has_span = span.is_some();
        let context = match span {
            Some(span) => parent.with_span(span),
            None => parent,
        };
        let mut processing = Processing {
            telemetry: self,
            topic: record.topic,
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

/// A message in the hands of the application.
struct Processing<'a> {
    telemetry: &'a Telemetry,
    topic: &'a Topic,
    /// The context whose span is ours.
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
            self.end(Some((Cow::Borrowed(CANCELLED), "given up".to_owned())));
        }
    }
}

fn error_type<E: 'static>(error: &E) -> Cow<'static, str> {
    let ours = (error as &dyn Any).downcast_ref::<Error>();
    Cow::Borrowed(ours.map_or(OTHER, |error| error.kind().as_str()))
}

/// Takes the current context along, into a task of its own.
pub(crate) fn carrying<F: Future>(work: F) -> impl Future<Output = F::Output> {
    work.with_current_context()
}
