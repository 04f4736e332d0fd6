//! Conditional appends: one batch, stored only if the partition ends where the caller expects it, or under a fencing token.

use std::sync::atomic::Ordering;

use floe_wire::{
    batch::{BatchBuilder, EncodedBatch, FinishOptions},
    compress::Compression,
};
use tokio::time::{Instant, timeout_at};

use super::{
    AppendCondition, Producer, conditional_batches::ConditionalBatches, enqueue::REFRESH_PAUSE,
    shared::ProducerShared,
};
use crate::{
    Effect, Error, ErrorKind, Record, Result,
    engine::{Acks, AppendRequest},
    payload::RecordEncoder,
    retry::Retries,
};

impl<C> Producer<C> {
    /// Appends records to a partition as one batch, if the condition holds, and returns the offset of the first one. The
    /// batch is not buffered, and does not wait for records that are.
    ///
    /// With [`AppendCondition::EndsAt`] several writers can share a stream of events: each reads to the end, decides, and
    /// appends what follows from it. If another one was faster, it reads on and decides again.
    ///
    /// ```
    /// use floe::{
    ///     ErrorKind,
    ///     producer::{AppendCondition, NotAtEnd},
    /// };
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> floe::Result<()> {
    /// # let client = floe::Client::connect("memory:").await?;
    /// # client.admin().create_topic(floe::TopicSpec::new("account-7")).await?;
    /// let account = client.producer("account-7").start().await?;
    /// let mut end = account.send_batch(0, ["opened", "deposit 50"], AppendCondition::EndsAt(0)).await? + 2;
    ///
    /// // Another writer appends, so the partition no longer ends where this one has read to.
    /// account.send_batch(0, ["withdraw 40"], AppendCondition::EndsAt(end)).await?;
    /// let refused = account.send_batch(0, ["withdraw 30"], AppendCondition::EndsAt(end)).await.unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::ConditionFailed);
    /// end = NotAtEnd::of(&refused).map_or(end, |found| found.end);
    /// // Here it would read up to `end`, find that 10 are left, and refuse to withdraw 30.
    /// account.send_batch(0, ["withdraw 10"], AppendCondition::EndsAt(end)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// With [`AppendCondition::Token`] a stream has one writer at a time: the first append under a newer epoch ends the
    /// right of older ones.
    ///
    /// Failed attempts are retried until the timeout, and stored once. The engines `embedded:` and `memory:` check
    /// conditions, and `fluvio:` over `floe serve`.
    ///
    /// # Errors
    /// [`ErrorKind::ConditionFailed`] if the partition ends elsewhere, with the [end](super::NotAtEnd) as source;
    /// [`ErrorKind::Fenced`] under an older token; [`ErrorKind::Unsupported`] before anything is sent, on other engines and
    /// with SmartModules; [`ErrorKind::RecordTooLarge`] if the records do not fit into one batch;
    /// [`ErrorKind::InvalidCommand`] for no records, and for a record that names another partition; otherwise as
    /// [`send`](Self::send).
    ///
    /// # Cancel safety
    /// If the future is dropped, the batch is stored once or not at all.
    pub async fn send_batch<I>(&self, partition: u32, records: I, condition: AppendCondition) -> Result<i64>
    where
        I: IntoIterator,
        C: RecordEncoder<I::Item>,
    {
        let shared = self.shared();
        shared.check_conditional(partition).await?;
        let mut batch = Conditional { shared, partition, builder: BatchBuilder::new(1024) };
        for record in records {
            batch.add(&self.codec.encode_record(record, self.topic())?)?;
        }
        let batch = batch.finish(&condition)?;
        let outcome = shared.append_if(partition, &batch, &condition).await;
        shared.counters.count(batch.header().offset_span(), batch.len(), outcome.is_ok());
        outcome.map_err(|error| {
            error.with_operation("produce").with_topic(&shared.topic).with_partition(partition)
        })
    }
}

/// The batch of a conditional append while records are added.
struct Conditional<'a> {
    shared: &'a ProducerShared,
    partition: u32,
    builder: BatchBuilder,
}

impl Conditional<'_> {
    fn add<V: AsRef<[u8]>>(&mut self, record: &Record<V>) -> Result<()> {
        let shared = self.shared;
        if let Some(other) = record.partition.filter(|partition| *partition != self.partition) {
            let message =
                format!("a record for partition {other} in a batch for partition {}", self.partition);
            return Err(shared.produce_error(ErrorKind::InvalidCommand, message));
        }
        let headers: Vec<_> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref())).collect();
        let parts = shared.check(record, &headers)?;
        let size = self.builder.len() + parts.size;
        if shared.config.is_too_large(size) {
            let (size, limit) = shared.config.batch_of(size);
            let message = format!("records that take {size} bytes in one batch; max_request_size is {limit}");
            return Err(shared.produce_error(ErrorKind::RecordTooLarge, message));
        }
        let timestamp = parts.timestamp.unwrap_or_else(|| shared.config.clock.now_millis());
        let added = self.builder.append(timestamp, parts.key, parts.value, &headers);
        added.map(drop).map_err(|error| {
            shared
                .produce_error(ErrorKind::InvalidCommand, "the record does not fit into the batch".to_owned())
                .with_source(error)
        })
    }

    fn finish(self, condition: &AppendCondition) -> Result<EncodedBatch> {
        let shared = self.shared;
        if self.builder.is_empty() {
            let message = "a batch without records".to_owned();
            return Err(shared.produce_error(ErrorKind::InvalidCommand, message));
        }
        let compression: Compression = shared.config.compression;
        let records = self.builder.count();
        let producer = shared.conditional().identify(condition, records);
        let batch = self.builder.finish(FinishOptions { compression, producer }).map_err(|error| {
            shared
                .produce_error(ErrorKind::SerializationError, "the batch cannot be encoded".to_owned())
                .with_source(error)
        })?;
        shared.telemetry.batch_made(&shared.topic, records, batch.len());
        Ok(batch)
    }
}

impl ProducerShared {
    fn conditional(&self) -> &ConditionalBatches {
        self.conditional.get_or_init(ConditionalBatches::default)
    }

    /// Refuses what cannot be sent, before anything is encoded.
    async fn check_conditional(&self, partition: u32) -> Result<()> {
        if !self.capabilities.conditional_appends || self.config.smartmodules.is_some() {
            return Err(Error::unsupported("conditional appends", self.engine_name).with_topic(&self.topic));
        }
        if self.is_closed() {
            return Err(self.closed());
        }
        if self.partition(partition).is_err() && self.capabilities.partitions {
            // The partition may be newer than the last refresh.
            self.refresh_partitions(REFRESH_PAUSE).await;
        }
        self.partition(partition).map(drop)
    }

    /// Appends a batch, with retries until the timeout.
    async fn append_if(
        &self,
        partition: u32,
        batch: &EncodedBatch,
        condition: &AppendCondition,
    ) -> Result<i64> {
        let deadline = Instant::now() + self.config.timeout;
        let memory = u32::try_from(self.config.memory_of(batch.len())).unwrap_or(u32::MAX);
        let timed_out = |effect, cause: Option<Error>| {
            let message = format!("no acknowledgement within {:?}", self.config.timeout);
            let error = Error::new(ErrorKind::RequestTimeout, message).with_effect(effect);
            cause.into_iter().fold(error, |error, cause| error.with_source(cause))
        };
        let _room = match timeout_at(deadline, self.budget.acquire_many(memory)).await {
            Ok(room) => room.map_err(|_| self.closed())?,
            Err(_) => return Err(timed_out(Effect::None, None)),
        };
        let acks = if self.config.acks == Acks::None { Acks::Leader } else { self.config.acks };
        let mut retries = Retries::new(self.config.retries.clone());
        let mut cause = None;
        loop {
            let request = AppendRequest::new(self.topic.partition(partition), batch.clone(), acks);
            let appending = match condition {
                AppendCondition::EndsAt(end) => self.engine.append_at(request, *end),
                // The batch has the producer of the token, which the engine fences.
                _ => self.engine.append(request),
            };
            let error = match timeout_at(deadline, appending).await {
                Ok(Ok(ack)) => {
                    floe_core::invariant!(ack.base_offset.is_some(), "a conditional append has an offset");
                    return Ok(ack.base_offset.unwrap_or_default());
                }
                Ok(Err(error)) => error,
                Err(_) => return Err(timed_out(Effect::Unknown, cause)),
            };
            // The batch names its producer, so that a retry is idempotent.
            let Some(wait) = retries.after(&error).filter(|wait| Instant::now() + *wait < deadline) else {
                return Err(error.with_attempts(retries.attempts()));
            };
            self.counters.retries.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(wait).await;
            cause = Some(error);
        }
    }
}
