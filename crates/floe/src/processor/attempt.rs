//! One attempt at one record: handles it, sends the records made from it, and decides about a failure.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use super::{
    failure::Failure,
    handler::{self, Handler, HandlerError},
    key_queues::PendingRecord,
};
use crate::{
    Error, Message, Producer, Record, Result, RetryPolicy,
    dead_letter::{DeadLetterWriter, PROCESSED, Reason, RecordOrigin},
    producer::{Delivery, refuses_record},
    retry::Retries,
};

/// Runs attempts.
pub(super) struct AttemptRunner {
    pub(super) handler: Handler,
    pub(super) producer: Producer,
    pub(super) dead_letters: Option<DeadLetterWriter>,
    pub(super) timeout: Duration,
    pub(super) retries: RetryPolicy,
    pub(super) marks_origin: bool,
}

/// Outcome of an attempt.
pub(super) enum AttemptOutcome {
    /// Records made from the record, or its dead letter, are in flight.
    Sent { deliveries: Vec<Delivery>, dead: bool },
    /// The attempt failed; the next one is due after this time.
    RetryAfter(Duration),
    /// Another member of the group may have the record, which the handler was dropped for.
    Lost,
    /// The processor must stop.
    Fatal(Error),
}

/// Error of an attempt.
enum AttemptError {
    /// The record or the handler is at fault.
    Failed(Failure),
    /// The processor must stop.
    Fatal(Error),
}

impl AttemptError {
    fn code(&self) -> Cow<'static, str> {
        match self {
            Self::Failed(failure) => Cow::Owned(failure.code_name().to_owned()),
            Self::Fatal(error) => Cow::Borrowed(error.kind().as_str()),
        }
    }
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Fatal(error) => error.fmt(f),
        }
    }
}

impl AttemptRunner {
    pub(super) async fn run(&self, record: &mut PendingRecord) -> AttemptOutcome {
        let receipt = record.message.receipt();
        receipt.while_held(self.attempt(record)).await.unwrap_or(AttemptOutcome::Lost)
    }

    async fn attempt(&self, record: &mut PendingRecord) -> AttemptOutcome {
        let telemetry = self.producer.telemetry();
        let message = &record.message;
        let made = telemetry.process_with(message, self.handle(message), AttemptError::code).await;
        let failure = match made {
            Ok(deliveries) => return AttemptOutcome::Sent { deliveries, dead: false },
            Err(AttemptError::Failed(failure)) => failure,
            Err(AttemptError::Fatal(error)) => return AttemptOutcome::Fatal(error),
        };
        let (retriable, code) = (failure.is_retriable(), failure.code_name().to_owned());
        let text = failure.to_string();
        let error = failure.into_error(message);
        let retries = record.retries.get_or_insert_with(|| Retries::new(self.retries.clone()));
        let accepted = retriable && self.retries.should_retry.accepts_or(&error, |_| true);
        if let Some(delay) = retries.after_if(accepted, &error) {
            tracing::debug!(%error, attempts = record.attempts, ?delay, "the processor retries the record");
            return AttemptOutcome::RetryAfter(delay);
        }
        let Some(writer) = &self.dead_letters else {
            return AttemptOutcome::Fatal(error.with_attempts(record.attempts));
        };
        tracing::warn!(%error, attempts = record.attempts, "the record becomes a dead letter");
        telemetry.buried(&message.topic, &code);
        let reason = Reason { code: &code, text: &text, attempts: record.attempts };
        match writer.enqueue(message, &reason).await {
            Ok(delivery) => AttemptOutcome::Sent { deliveries: vec![delivery], dead: true },
            Err(error) => AttemptOutcome::Fatal(error),
        }
    }

    /// Runs the handler, and enqueues the records that it returns.
    async fn handle(&self, message: &Message) -> Result<Vec<Delivery>, AttemptError> {
        match handler::call(Arc::clone(&self.handler), message.clone(), self.timeout).await {
            Ok(records) => self.enqueue(message, records).await.map_err(|error| {
                if refuses_record(&error) {
                    let code = error.kind().as_str();
                    AttemptError::Failed(Failure::permanent(error).code(code))
                } else {
                    AttemptError::Fatal(error)
                }
            }),
            Err(HandlerError::Failed(failure)) => Err(AttemptError::Failed(failure)),
            Err(HandlerError::RuntimeStopped(error)) => Err(AttemptError::Fatal(error)),
        }
    }

    async fn enqueue(&self, message: &Message, records: Vec<Record>) -> Result<Vec<Delivery>> {
        let mut deliveries = Vec::with_capacity(records.len());
        let mut origin = RecordOrigin::of_message(message);
        for mut record in records {
            if self.marks_origin {
                // A handler that copies headers copies the origin that an earlier processor set.
                record.headers.retain(|(name, _)| name != PROCESSED);
                record = record.header(PROCESSED, origin.to_string());
                origin.index += 1;
            }
            deliveries.push(self.producer.enqueue(record).await?);
        }
        Ok(deliveries)
    }
}
