//! Measures every call of the engine. The outermost layer, so that it measures what the caller waits for.

use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use opentelemetry::{
    Context, KeyValue,
    global::BoxedSpan,
    trace::{Span as _, SpanKind},
};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{
    Telemetry,
    instruments::{Instruments, destination, partition_id},
    names::{self, attribute},
    produce::{fail, with},
};
use crate::{
    Error, Result,
    layer::{Layer, Operation, OperationKind},
};

/// Value of `error.type` for a call that its caller gave up.
pub(super) const CANCELLED: &str = "cancelled";

/// Measures calls, and puts each into a diagnostic span that numbers it.
#[derive(Debug)]
pub(crate) struct Observe(pub(crate) Telemetry);

impl Layer for Observe {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        let mut call = Call::begin(&self.0, operation);
        let diagnostics = tracing::debug_span!(
            "floe.call",
            call = self.0.inner.calls.fetch_add(1, Ordering::Relaxed),
            client = &*self.0.inner.client_id,
            operation = operation.kind.as_str(),
            topic = operation.topic.as_ref().map(crate::Topic::as_str),
            partition = operation.partition,
        );
        let outcome = if diagnostics.is_disabled() {
            attempt().await
        } else {
            let observed = async {
                let outcome = attempt().await;
                match &outcome {
                    Ok(_) => tracing::debug!("done"),
                    Err(error) => tracing::debug!(%error, "failed"),
                }
                outcome
            };
            observed.instrument(diagnostics).await
        };
        call.end(outcome.as_ref().err());
        outcome
    }
}

/// A call under way. One that is dropped counts as cancelled.
struct Call<'a> {
    telemetry: &'a Telemetry,
    operation: &'a Operation,
    began: Instant,
    span: Option<BoxedSpan>,
    ended: bool,
}

impl<'a> Call<'a> {
    fn begin(telemetry: &'a Telemetry, operation: &'a Operation) -> Self {
        let span = match (operation.kind, &operation.topic) {
            (OperationKind::Commit, Some(topic)) => {
                let builder = || {
                    let builder = telemetry.span(names::COMMIT, SpanKind::Client, topic);
                    with(builder, operation.partition.map(partition_id))
                };
                telemetry.start_span(builder, &Context::current())
            }
            // Those who send and receive make the spans for that.
            _ => None,
        };
        Self { telemetry, operation, began: Instant::now(), span, ended: false }
    }

    fn end(&mut self, error: Option<&Error>) {
        self.ended = true;
        if let Some(mut span) = self.span.take() {
            if let Some(error) = error {
                fail(&mut span, error);
            }
            span.end();
        }
        self.record(error.map(|error| error.kind().as_str()));
    }

    fn record(&self, error: Option<&'static str>) {
        let Some(instruments) = &self.telemetry.inner.instruments else { return };
        let operation = self.operation;
        let (name, kind) = names_of(operation.kind);
        let mut attributes = Vec::with_capacity(6);
        attributes.push(KeyValue::new(attribute::SYSTEM, self.telemetry.inner.system));
        attributes.push(KeyValue::new(attribute::OPERATION_NAME, name));
        attributes.extend(operation.topic.as_ref().map(destination));
        attributes.extend(error.map(|error| KeyValue::new(attribute::ERROR_TYPE, error)));
        if operation.kind == OperationKind::Append {
            record_append(instruments, operation, &mut attributes);
        }
        attributes.extend(kind.map(|kind| KeyValue::new(attribute::OPERATION_TYPE, kind)));
        instruments.operation_duration.record(self.began.elapsed().as_secs_f64(), &attributes);
    }
}

fn record_append(instruments: &Instruments, operation: &Operation, attributes: &mut Vec<KeyValue>) {
    let without_partition = attributes.len();
    attributes.extend(operation.partition.map(partition_id));
    instruments.sent.add(u64::from(operation.records), attributes);
    instruments.producer_io.add(operation.bytes as u64, attributes);
    attributes.truncate(without_partition);
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.record(Some(CANCELLED));
        }
    }
}

/// Name and type of an operation in the words of the conventions.
fn names_of(kind: OperationKind) -> (&'static str, Option<&'static str>) {
    match kind {
        OperationKind::Append => ("send", Some("send")),
        OperationKind::Commit => ("commit", Some("settle")),
        other => (other.as_str(), None),
    }
}
