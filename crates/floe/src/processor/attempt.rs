//! One attempt at one record: handles it, sends the records made from it, and decides about a failure.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    exact::{Made, Settled, Slot},
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
    /// With exactly once: the output of dead letters, if they are kept.
    pub(super) dead_output: Option<usize>,
}

/// Records on their way to the output.
pub(super) enum Sent {
    /// They are in flight. `dead`: they are the dead letter of the record.
    Deliveries { made: Vec<Delivery>, dead: bool },
    /// The task of the partition has them, and tells how many it has sent; nothing, if it is lost.
    ToTask(oneshot::Receiver<Result<Settled>>),
}

/// Outcome of an attempt.
pub(super) enum AttemptOutcome {
    /// Records made from the record, or its dead letter, are on their way.
    Sent(Sent),
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
        if let Some(slot) = &mut record.slot {
            match slot.is_recorded().await {
                Some(false) => {}
                Some(true) => {
                    let recorded = record.slot.take().map(|slot| to_task(slot, 0, (Vec::new(), false)));
                    return recorded.map_or(AttemptOutcome::Lost, AttemptOutcome::Sent);
                }
                None => return AttemptOutcome::Lost,
            }
        }
        let telemetry = self.producer.telemetry();
        let PendingRecord { message, slot, .. } = &mut *record;
        let message = &*message;
        let made = telemetry.process_with(message, self.handle(message, slot), AttemptError::code).await;
        let failure = match made {
            Ok(sent) => return AttemptOutcome::Sent(sent),
            Err(AttemptError::Failed(failure)) => failure,
            Err(AttemptError::Fatal(error)) => return AttemptOutcome::Fatal(error),
        };
        let message = &record.message;
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
        if let (Some(slot), Some(output)) = (record.slot.take(), self.dead_output) {
            let letter = writer.letter(message, &reason);
            return AttemptOutcome::Sent(to_task(slot, output, (vec![letter], true)));
        }
        match writer.enqueue(message, &reason).await {
            Ok(delivery) => AttemptOutcome::Sent(Sent::Deliveries { made: vec![delivery], dead: true }),
            Err(error) => AttemptOutcome::Fatal(error),
        }
    }

    /// Runs the handler, and sends the records that it returns.
    async fn handle(&self, message: &Message, slot: &mut Option<Slot>) -> Result<Sent, AttemptError> {
        match handler::call(Arc::clone(&self.handler), message.clone(), self.timeout).await {
            Ok(records) => self.send(message, records, slot).await.map_err(|error| {
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

    async fn send(
        &self,
        message: &Message,
        mut records: Vec<Record>,
        slot: &mut Option<Slot>,
    ) -> Result<Sent> {
        if self.marks_origin {
            let mut origin = RecordOrigin::of_message(message);
            for record in &mut records {
                // A handler that copies headers copies the origin that an earlier processor set.
                record.headers.retain(|(name, _)| name != PROCESSED);
                record.headers.push((PROCESSED.to_owned(), origin.to_string().into()));
                origin.index += 1;
            }
        }
        if slot.is_some() {
            // All of them or none: the record becomes a dead letter otherwise.
            records.iter().try_for_each(|record| self.producer.check(record))?;
            records.iter_mut().for_each(|record| self.producer.carry(record));
        }
        if let Some(slot) = slot.take() {
            return Ok(to_task(slot, 0, (records, false)));
        }
        let mut deliveries = Vec::with_capacity(records.len());
        for record in records {
            deliveries.push(self.producer.enqueue(record).await?);
        }
        Ok(Sent::Deliveries { made: deliveries, dead: false })
    }
}

/// Gives records to the task of their partition. For an input record that is recorded the task has them already.
fn to_task(slot: Slot, output: usize, (records, dead): (Vec<Record>, bool)) -> Sent {
    let (done, told) = oneshot::channel();
    slot.give(Made { output, dead, records, done });
    Sent::ToTask(told)
}
