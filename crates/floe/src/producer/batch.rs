//! A closed batch on its way through a sender, from encoding to its outcome.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
};

use floe_wire::batch::{EncodedBatch, FinishOptions, ProducerIdentity};
use tokio::time::Instant;

use super::{
    accumulator::{ClosedBatch, ClosedContents, Partition},
    delivery::{BatchOutcome, BatchState},
    shared::ProducerShared,
};
use crate::{
    Effect, Error, ErrorKind, Result,
    telemetry::{BatchSpan, Origins},
    topic::TopicPartition,
};

/// A closed batch that a sender is responsible for. Dropping it without an outcome fails its records, so no delivery
/// hangs, even if the sender is aborted or panics.
#[derive(Debug)]
pub(super) struct Batch {
    shared: Arc<ProducerShared>,
    partition: Arc<Partition>,
    state: Arc<BatchState>,
    contents: Contents,
    records: u32,
    memory: usize,
    /// When it must be acknowledged.
    pub(super) deadline: Instant,
    /// Number of attempts to send it.
    pub(super) attempts: u32,
    /// An attempt may have appended it without an acknowledgement.
    pub(super) uncertain: bool,
    /// An attempt before the latest one may have appended it, and no lookup has decided that since.
    uncertain_before: bool,
    /// A later batch was acknowledged before this one: resending would change the order.
    pub(super) overtaken: bool,
    /// Error of the last attempt.
    pub(super) last_error: Option<Error>,
    origins: Origins,
    /// Present from the first attempt on.
    span: Option<BatchSpan>,
    finished: bool,
}

#[derive(Debug)]
enum Contents {
    Closed(ClosedContents),
    Encoded(EncodedBatch),
    /// Another thread encodes the batch; or encoding failed, and the batch has its outcome.
    Taken,
}

impl Batch {
    pub(super) fn new(shared: &Arc<ProducerShared>, partition: &Arc<Partition>, closed: ClosedBatch) -> Self {
        Self {
            shared: Arc::clone(shared),
            partition: Arc::clone(partition),
            state: closed.state,
            records: closed.contents.count(),
            contents: Contents::Closed(closed.contents),
            memory: closed.memory,
            deadline: closed.deadline,
            attempts: 0,
            uncertain: false,
            uncertain_before: false,
            overtaken: false,
            last_error: None,
            origins: closed.origins,
            span: None,
            finished: false,
        }
    }

    pub(super) fn records(&self) -> u32 {
        self.records
    }

    /// The encoded batch; `None` before it is encoded, and after encoding failed.
    pub(super) fn encoded(&self) -> Option<&EncodedBatch> {
        match &self.contents {
            Contents::Encoded(batch) => Some(batch),
            Contents::Closed(_) | Contents::Taken => None,
        }
    }

    /// Completes the encoding: compression, checksum, producer id. Every attempt sends the same bytes.
    pub(super) fn encode(&mut self, producer: ProducerIdentity) {
        if let Some(work) = self.encoding(producer) {
            self.set_encoded(work());
        }
    }

    /// Returns the work that completes the encoding, for any thread; its result goes to [`Batch::set_encoded`].
    pub(super) fn encoding(
        &mut self,
        producer: ProducerIdentity,
    ) -> Option<impl FnOnce() -> Result<EncodedBatch> + Send + 'static> {
        let closed = match std::mem::replace(&mut self.contents, Contents::Taken) {
            Contents::Closed(closed) => closed,
            other => {
                floe_core::invariant!(false, "a batch is encoded once");
                self.contents = other;
                return None;
            }
        };
        let options = FinishOptions { compression: self.shared.config.compression, producer };
        Some(move || {
            closed.finish(options).map_err(|error| {
                Error::new(ErrorKind::SerializationError, "the batch cannot be encoded").with_source(error)
            })
        })
    }

    /// Takes the result of the encoding. A batch that cannot be encoded fails.
    pub(super) fn set_encoded(&mut self, outcome: Result<EncodedBatch>) {
        match outcome {
            Ok(encoded) => {
                self.shared.telemetry.batch_made(&self.shared.topic, self.records, encoded.len());
                self.contents = Contents::Encoded(encoded);
            }
            Err(error) => self.finish(Err(error)),
        }
    }

    /// Counts an attempt that starts now.
    pub(super) fn begin_attempt(&mut self, target: &TopicPartition) {
        self.attempts += 1;
        self.uncertain_before = self.uncertain;
        self.uncertain = true;
        let telemetry = &self.shared.telemetry;
        if self.span.is_none() {
            self.span = Some(telemetry.start_batch(target, self.records, &mut self.origins));
        }
        if self.attempts > 1 {
            self.shared.counters.retries.fetch_add(1, Ordering::Relaxed);
            if let Some(error) = &self.last_error {
                telemetry.retried("send", Some(&target.topic), error);
            }
        }
    }

    /// Records the error of an attempt. That this attempt had no effect says nothing about earlier ones.
    pub(super) fn attempt_failed(&mut self, error: Error) {
        let (topic, partition) = (&self.shared.topic, self.partition.index);
        let time_left = self.deadline.saturating_duration_since(Instant::now());
        // A message for every attempt: a target of its own lets an application that tells its user leave them out.
        tracing::warn!(
            target: "floe::producer::retry",
            %topic, partition, attempts = self.attempts, ?time_left, %error,
            "an append failed and is retried until producer.timeout"
        );
        self.uncertain = self.uncertain_before || error.effect() == Effect::Unknown;
        self.last_error = Some(error);
    }

    /// Records that a lookup did not find the batch in the partition.
    pub(super) fn was_not_found(&mut self) {
        self.uncertain = false;
        self.uncertain_before = false;
    }

    /// Completes the batch as acknowledged.
    pub(super) fn succeed(mut self, base_offset: Option<i64>) {
        self.finish(Ok(base_offset));
    }

    /// Completes the batch as failed.
    pub(super) fn fail(mut self, error: Error) {
        let error = if self.uncertain_before { error.with_effect(Effect::Unknown) } else { error };
        self.finish(Err(error));
    }

    /// Fails the batch because an earlier one of its partition failed.
    pub(super) fn halt(mut self) {
        let message = "an earlier batch of the partition was not delivered, and records must stay in order";
        let mut error = Error::new(ErrorKind::Closed, message).with_effect(self.effect());
        if let Some(cause) = self.last_error.take() {
            error = error.with_source(cause);
        }
        self.fail(error);
    }

    /// Fails the batch because a later batch was appended. The application decides whether the order matters.
    pub(super) fn fail_overtaken(mut self) {
        let cause = self.last_error.take();
        let (kind, reason) = cause
            .as_ref()
            .map_or((ErrorKind::ServerError, "no acknowledgement"), |cause| (cause.kind(), cause.message()));
        let message = format!("{reason}; a later batch was appended, so a retry would change the order");
        let mut error = Error::new(kind, message).with_retriable(false).with_effect(self.effect());
        if let Some(cause) = cause {
            error = error.with_source(cause);
        }
        self.fail(error);
    }

    /// Fails the batch because its timeout expired.
    pub(super) fn expire(self) {
        let limit = self.shared.config.timeout;
        let message = if self.attempts == 0 {
            format!("not sent within {limit:?} (limit: producer.timeout)")
        } else {
            format!("not acknowledged within {limit:?} (limit: producer.timeout)")
        };
        let mut error = Error::new(ErrorKind::RequestTimeout, message).with_effect(self.effect());
        if let Some(cause) = self.last_error.clone() {
            error = error.with_source(cause);
        }
        self.fail(error);
    }

    fn effect(&self) -> Effect {
        if self.uncertain { Effect::Unknown } else { Effect::None }
    }

    fn finish(&mut self, result: Result<Option<i64>>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let target = self.shared.topic.partition(self.partition.index);
        let result = result.map_err(|error| {
            let attempts = self.attempts.max(error.attempts());
            error
                .with_engine(self.shared.engine_name)
                .with_operation("produce")
                .with_topic(&target.topic)
                .with_partition(target.partition)
                .with_attempts(attempts)
        });
        let bytes = self.encoded().map_or(0, EncodedBatch::len);
        let span = self.span.take().map(|span| span.attempts(self.attempts));
        self.shared.telemetry.batch_done(&target.topic, self.records, span, &result);
        self.shared.counters.count(self.records, bytes, result.is_ok());
        if let Err(error) = &result {
            if self.shared.config.in_order_only() {
                self.partition.halted.store(true, Ordering::Relaxed);
            }
            // The application gets the error too: a target of its own lets it leave this out of the log.
            tracing::warn!(
                target: "floe::producer::undelivered",
                partition = %target, records = self.records, %error, "records were not delivered"
            );
            self.state.count_failure(self.records, error);
        }
        if let Some(callback) = &self.shared.config.on_delivery {
            let outcome = BatchOutcome {
                target,
                records: self.records,
                bytes,
                attempts: self.attempts,
                result: result.clone(),
            };
            if catch_unwind(AssertUnwindSafe(|| callback(&outcome))).is_err() {
                tracing::error!("the delivery callback panicked");
            }
        }
        // Before the outcome: a caller that learns it may check the memory next.
        self.shared.release(self.memory);
        self.state.complete(result);
        self.partition.forget_finished();
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.finished {
            let mut error = Error::new(ErrorKind::Closed, "the producer stopped before the acknowledgement")
                .with_effect(self.effect());
            if let Some(cause) = self.last_error.take() {
                error = error.with_source(cause);
            }
            self.finish(Err(error));
        }
    }
}
