//! Duration, size and span of every engine call.

use std::sync::atomic::Ordering;

use floe_core::{Operation, OperationKind};
use opentelemetry::{
    Context, KeyValue,
    global::BoxedSpan,
    trace::{Span as _, SpanKind},
};
use tokio::time::Instant;

use super::{
    Telemetry,
    instruments::{Instruments, destination, partition_id},
    names::{self, attribute},
    produce::{fail, with},
};
use crate::Error;

/// Value of `error.type` for a call whose future was dropped.
pub(super) const CANCELLED: &str = "cancelled";

impl Telemetry {
    /// Whether calls have to be measured at all.
    pub(crate) fn measures_calls(&self) -> bool {
        self.inner.instruments.is_some() || self.inner.tracer.is_some()
    }

    /// Starts the measurement of a call, and its span where the call has one.
    pub(crate) fn start_call<'a>(&'a self, operation: &'a Operation) -> MeasuredCall<'a> {
        MeasuredCall::begin(self, operation)
    }
}

/// A call in flight. Dropped before its end, it counts as cancelled.
pub(crate) struct MeasuredCall<'a> {
    telemetry: &'a Telemetry,
    operation: &'a Operation,
    began: Instant,
    span: Option<BoxedSpan>,
    ended: bool,
}

impl<'a> MeasuredCall<'a> {
    fn begin(telemetry: &'a Telemetry, operation: &'a Operation) -> Self {
        let span = match (operation.kind, &operation.topic) {
            (OperationKind::Commit, Some(topic)) => {
                let builder = || {
                    let builder = telemetry.span(names::COMMIT, SpanKind::Client, topic);
                    with(builder, operation.partition.map(partition_id))
                };
                telemetry.start_span(builder, &Context::current())
            }
            // Producers and consumers make the spans of sending and receiving.
            _ => None,
        };
        Self { telemetry, operation, began: Instant::now(), span, ended: false }
    }

    /// A `tracing` span that numbers the call.
    pub(crate) fn diagnostics(&self) -> tracing::Span {
        let Self { telemetry, operation, .. } = self;
        tracing::debug_span!(
            "floe.call",
            call = telemetry.inner.calls.fetch_add(1, Ordering::Relaxed),
            client = &*telemetry.inner.client_id,
            operation = operation.kind.as_str(),
            topic = operation.topic.as_ref().map(crate::Topic::as_str),
            partition = operation.partition,
        )
    }

    /// Ends the measurement with the outcome of the call.
    pub(crate) fn end(&mut self, error: Option<&Error>) {
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

impl Drop for MeasuredCall<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.record(Some(CANCELLED));
        }
    }
}

/// Name and type of an operation by the semantic conventions for messaging.
fn names_of(kind: OperationKind) -> (&'static str, Option<&'static str>) {
    match kind {
        OperationKind::Append => ("send", Some("send")),
        OperationKind::Commit => ("commit", Some("settle")),
        other => (other.as_str(), None),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_few_have_a_type() {
        let names: HashSet<_> = OperationKind::ALL.iter().map(|kind| names_of(*kind).0).collect();
        assert_eq!(names.len(), OperationKind::ALL.len());
        let typed: Vec<_> = OperationKind::ALL.iter().filter(|kind| names_of(**kind).1.is_some()).collect();
        assert_eq!(typed, [&OperationKind::Append, &OperationKind::Commit]);
    }
}
