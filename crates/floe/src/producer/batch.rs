//! A batch in the hands of a sender.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
};

use floe_wire::batch::{EncodedBatch, FinishOptions, ProducerIdentity};
use tokio::time::Instant;

use super::{
    accumulate::{ClosedBatch, Gathered, Partition},
    delivery::BatchState,
    shared::Shared,
};
use crate::{
    Effect, Error, ErrorKind, Result,
    telemetry::{BatchSpan, Origins},
    topic::TopicPartition,
};

/// What became of a batch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BatchOutcome {
    /// Where it went, or was meant to go.
    pub target: TopicPartition,
    /// How many records it has.
    pub records: u32,
    /// Its size in bytes as sent; 0 if it was never encoded.
    pub bytes: usize,
    /// How often it was sent.
    pub attempts: u32,
    /// Offset of its first record, where records have offsets; or why it was not acknowledged.
    pub result: Result<Option<i64>>,
}

/// A closed batch that a sender answers for: if it is dropped without an outcome, its records fail. So no delivery is
/// left waiting, whatever happens to the sender.
#[derive(Debug)]
pub(super) struct Batch {
    shared: Arc<Shared>,
    partition: Arc<Partition>,
    state: Arc<BatchState>,
    contents: Contents,
    records: u32,
    memory: usize,
    /// When it must be acknowledged.
    pub(super) deadline: Instant,
    /// How often it was sent.
    pub(super) attempts: u32,
    /// An attempt may have appended it although no acknowledgement came.
    pub(super) uncertain: bool,
    /// It may be there because of an attempt before the latest one, which nothing has settled since.
    uncertain_before: bool,
    /// A later batch was acknowledged before this one: resending would change the order.
    pub(super) overtaken: bool,
    /// Why the last attempt failed.
    pub(super) last_error: Option<Error>,
    origins: Origins,
    /// From the first attempt on.
    span: Option<BatchSpan>,
    finished: bool,
}

#[derive(Debug)]
enum Contents {
    Open(Gathered),
    Encoded(EncodedBatch),
    /// Being encoded by another thread; or encoding failed, and the batch has its outcome.
    Gone,
}

impl Batch {
    pub(super) fn new(shared: &Arc<Shared>, partition: &Arc<Partition>, closed: ClosedBatch) -> Self {
        Self {
            shared: Arc::clone(shared),
            partition: Arc::clone(partition),
            state: closed.state,
            records: closed.contents.count(),
            contents: Contents::Open(closed.contents),
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

    /// The bytes, and who wrote them.
    pub(super) fn encoded(&self) -> Option<&EncodedBatch> {
        match &self.contents {
            Contents::Encoded(batch) => Some(batch),
            Contents::Open(_) | Contents::Gone => None,
        }
    }

    /// Encodes to the end: compression, checksum, identity. Once done it stays as it is, so that every attempt sends
    /// the same bytes.
    pub(super) fn encode(&mut self, producer: ProducerIdentity) {
        if let Some(work) = self.encoding(producer) {
            self.set_encoded(work());
        }
    }

    /// What remains to be done to encode the batch, for any thread to do; the result goes to [`Batch::set_encoded`].
    pub(super) fn encoding(
        &mut self,
        producer: ProducerIdentity,
    ) -> Option<impl FnOnce() -> Result<EncodedBatch> + Send + 'static> {
        let gathered = match std::mem::replace(&mut self.contents, Contents::Gone) {
            Contents::Open(gathered) => gathered,
            done => {
                self.contents = done;
                return None;
            }
        };
        let options = FinishOptions { compression: self.shared.config.compression, producer };
        Some(move || {
            gathered.finish(options).map_err(|error| {
                Error::new(ErrorKind::SerializationError, "the batch cannot be encoded").with_source(error)
            })
        })
    }

    /// A batch that cannot be encoded has its outcome then.
    pub(super) fn set_encoded(&mut self, outcome: Result<EncodedBatch>) {
        match outcome {
            Ok(encoded) => {
                self.shared.telemetry.batch_made(&self.shared.topic, self.records, encoded.len());
                self.contents = Contents::Encoded(encoded);
            }
            Err(error) => self.finish(Err(error)),
        }
    }

    /// Counts an attempt that begins now.
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

    /// The attempt ended with an error. That this attempt did nothing says nothing of those before it.
    pub(super) fn attempt_failed(&mut self, error: Error) {
        self.uncertain = self.uncertain_before || error.effect() == Effect::Unknown;
        self.last_error = Some(error);
    }

    /// The partition was looked through, and no attempt has left it there.
    pub(super) fn is_not_there(&mut self) {
        self.uncertain = false;
        self.uncertain_before = false;
    }

    /// Acknowledged.
    pub(super) fn succeed(mut self, base_offset: Option<i64>) {
        self.finish(Ok(base_offset));
    }

    /// Given up.
    pub(super) fn fail(mut self, error: Error) {
        let error = if self.uncertain_before { error.with_effect(Effect::Unknown) } else { error };
        self.finish(Err(error));
    }

    /// Given up because one before it was.
    pub(super) fn halt(mut self) {
        let message = "a batch before it was not delivered, and the order is to be kept";
        let mut error = Error::new(ErrorKind::Closed, message).with_effect(self.effect());
        if let Some(cause) = self.last_error.take() {
            error = error.with_source(cause);
        }
        self.fail(error);
    }

    /// Given up because a later batch was appended. The application decides whether the order matters.
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

    /// Given up because its time is over.
    pub(super) fn expire(self) {
        let limit = self.shared.config.timeout;
        let message = if self.attempts == 0 {
            format!("not sent within {limit:?}")
        } else {
            format!("not acknowledged within {limit:?}")
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
            tracing::warn!(target = %target, records = self.records, %error, "records were not delivered");
            self.shared.ledger.enter(&self.state, self.records, error);
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
                tracing::error!("the delivery callback panicked; the producer goes on");
            }
        }
        // Whoever learns the outcome may look at the memory next.
        self.shared.give_back(self.memory);
        self.state.complete(result);
        self.partition.forget_finished();
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.finished {
            let mut error = Error::new(ErrorKind::Closed, "the producer ended before this was acknowledged")
                .with_effect(self.effect());
            if let Some(cause) = self.last_error.take() {
                error = error.with_source(cause);
            }
            self.finish(Err(error));
        }
    }
}
