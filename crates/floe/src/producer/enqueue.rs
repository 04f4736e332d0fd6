//! The way of a record into a batch: check it, choose its partition, reserve memory, offer it to the accumulator.

use std::{
    collections::VecDeque,
    future::poll_fn,
    slice,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use floe_core::process;
use floe_wire::{WireError, batch::BatchBuilder};
use tokio::sync::{SemaphorePermit, TryAcquireError};

use super::{
    accumulator::{Accumulator, NotTaken, Partition, RecordParts},
    config::WhenFull,
    delivery::{BatchState, Deliveries, Delivery},
    partitioner::PartitionChoice,
    sender,
    shared::ProducerShared,
};
use crate::{Error, ErrorKind, Record, Result, telemetry::Origin};

/// Minimum interval between refreshes of the number of partitions that records for unknown partitions cause.
pub(super) const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// Reserved bytes of the buffer memory. Dropping it releases them.
type Reservation<'a> = SemaphorePermit<'a>;

/// A bound that keeps a record from being buffered.
#[derive(Debug, Clone, Copy)]
enum Limit {
    /// The setting `producer.buffer_memory`.
    Memory,
    /// The setting `producer.batch_queue`, of this partition.
    Queue(u32),
}

/// The result of an attempt to buffer a record without waiting.
enum Attempt {
    Buffered(Delivery),
    Rolled,
    /// The buffer memory lacks this many bytes.
    NoMemory(u32),
    /// The queue of closed batches of this partition is full.
    QueueFull(u32),
}

/// Yields to the tasks that were woken before. Unlike [`tokio::task::yield_now`], it does not wait for the I/O driver, and
/// leaves the task where another thread of the runtime can steal it at once.
pub(super) async fn step_back() {
    let mut stepped = false;
    poll_fn(|context| {
        if std::mem::replace(&mut stepped, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl ProducerShared {
    /// Buffers a record; waits for room as far as the configuration allows.
    pub(super) async fn enqueue<V: AsRef<[u8]>>(self: &Arc<Self>, record: &Record<V>) -> Result<Delivery> {
        // Dropped before the record is taken, it says that the record was not sent.
        let call = self.history.begin(record);
        let body = record.value.as_ref().len();
        let origin = self.telemetry.originate(&self.topic, &record.headers, body, self.capabilities.headers);
        let own = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
        let mut headers: Vec<(&str, &[u8])> = own.chain(added(&origin)).collect();
        if headers.len() > record.headers.len() && self.config.is_too_large(size_of(record, &headers)) {
            headers.truncate(record.headers.len());
            tracing::debug!(topic = %self.topic, "a record has no room for its trace context");
        }
        let parts = RecordParts { origin: Some(&origin), ..self.check(record, &headers)? };
        let mut reserved = None;
        let attempt = match self.try_enqueue(&parts, &mut reserved) {
            Err(error) if error.kind() == ErrorKind::PartitionNotFound && self.capabilities.partitions => {
                // The partition may be newer than the last refresh.
                Box::pin(self.refresh_partitions(REFRESH_PAUSE)).await;
                self.try_enqueue(&parts, &mut reserved)
            }
            attempt => attempt,
        };
        let delivery = match attempt? {
            Attempt::Buffered(delivery) => delivery,
            other => self.enqueue_when_room(&parts, other, reserved).await?,
        };
        delivery.record(call);
        Ok(delivery)
    }

    /// Refuses a record that can never be sent.
    pub(super) fn check_one(&self, record: &Record) -> Result<()> {
        let headers: Vec<_> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref())).collect();
        self.check(record, &headers)?;
        record.partition.map_or(Ok(()), |partition| self.partition(partition).map(drop))
    }

    /// Adds the trace context of the caller to a record that another task sends, if there is room.
    pub(super) fn carry(&self, record: &mut Record) {
        let (topic, body) = (&self.topic, record.value.len());
        let origin = self.telemetry.originate(topic, &record.headers, body, self.capabilities.headers);
        let own = record.headers.len();
        let context = added(&origin).map(|(name, value)| (name.to_owned(), Bytes::copy_from_slice(value)));
        record.headers.extend(context);
        if record.headers.len() > own && self.check_one(record).is_err() {
            record.headers.truncate(own);
        }
    }

    /// Refuses a record that can never be sent, before anything is buffered.
    #[inline]
    pub(super) fn check<'a, V: AsRef<[u8]>>(
        &self,
        record: &'a Record<V>,
        headers: &'a [(&'a str, &'a [u8])],
    ) -> Result<RecordParts<'a>> {
        let key = record.key.as_deref();
        let value = record.value.as_ref();
        if key.is_some() && !self.capabilities.keys {
            return Err(Error::unsupported("keys", self.engine_name).with_topic(&self.topic));
        }
        if !headers.is_empty() && !self.capabilities.headers {
            return Err(Error::unsupported("headers", self.engine_name).with_topic(&self.topic));
        }
        if !self.capabilities.binary {
            // Checked for each record, so that a refused one does not fail the others of its batch.
            crate::engine::check_text(value).map_err(|error| {
                error.with_engine(self.engine_name).with_operation("produce").with_topic(&self.topic)
            })?;
        }
        if let Some(timestamp) = record.timestamp.filter(|timestamp| *timestamp <= 0) {
            return Err(self.too_early(timestamp));
        }
        let size = size_of(record, headers);
        if self.config.is_too_large(size) {
            return Err(self.too_large(size));
        }
        let (timestamp, partition) = (record.timestamp, record.partition);
        Ok(RecordParts { key, value, headers, timestamp, partition, size, origin: None })
    }

    #[cold]
    fn too_early(&self, timestamp: i64) -> Error {
        let message =
            format!("a record of the time {timestamp}: batches hold times after 1970-01-01T00:00:00Z");
        self.produce_error(ErrorKind::InvalidCommand, message)
    }

    #[cold]
    fn too_large(&self, size: usize) -> Error {
        let (size, limit) = self.config.batch_of(size);
        let message = format!("a record that takes {size} bytes in a batch; max_request_size is {limit}");
        self.produce_error(ErrorKind::RecordTooLarge, message)
    }

    #[inline]
    fn choose(&self, parts: &RecordParts<'_>) -> Result<&Arc<Partition>> {
        let choice = match parts.partition {
            Some(partition) => PartitionChoice::Partition(partition),
            None => self.config.partitioner.partition(parts.key, parts.value, self.partitions.count()),
        };
        match choice {
            PartitionChoice::Partition(index) => self.partition(index),
            PartitionChoice::Any => self.partition(self.current.load(Ordering::Relaxed)),
        }
    }

    /// # Errors
    /// [`ErrorKind::PartitionNotFound`].
    #[inline]
    pub(super) fn partition(&self, index: u32) -> Result<&Arc<Partition>> {
        self.partitions.get(index).ok_or_else(|| self.partition_not_found(index))
    }

    /// Reserves memory for records; waits until enough is released.
    pub(super) async fn reserve(&self, memory: usize) -> Result<Reservation<'_>> {
        // At most the buffer memory, which a u32 can hold.
        self.budget.acquire_many(memory as u32).await.map_err(|_| self.closed())
    }

    /// Changes the batches of a partition, the only way to do so: runs `append` under their lock, and starts or wakes the
    /// sender.
    #[inline]
    pub(super) fn offer<T>(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        append: impl FnOnce(&mut Accumulator) -> T,
    ) -> T {
        let mut accumulator = partition.accumulator.lock();
        let appended = append(&mut accumulator);
        if accumulator.needs_sender() {
            drop(accumulator);
            self.start_sender(partition);
        } else {
            partition.wake_sender(accumulator);
        }
        appended
    }

    /// Offers records to one partition in order, under one lock. Each record taken is told to `taken`, and its memory goes
    /// from `reserved` to its batch, which releases it with the outcome. Returns how many were taken, and the reason why
    /// the next one was not.
    #[inline]
    pub(super) fn offer_run(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        run: &[RecordParts<'_>],
        reserved: &mut Reservation<'_>,
        mut taken: impl FnMut(&Arc<BatchState>, u32, i64),
    ) -> (usize, Option<NotTaken>) {
        self.offer(partition, |accumulator| {
            let (mut count, mut memory, mut stopped) = (0, 0, None);
            for parts in run {
                match accumulator.append(&self.config, parts) {
                    Ok((batch, index, timestamp)) => taken(batch, index, timestamp),
                    Err(reason) => {
                        stopped = Some(reason);
                        break;
                    }
                }
                memory += self.config.memory_of(parts.size);
                count += 1;
            }
            let charged = reserved.split(memory);
            floe_core::invariant!(
                charged.is_some(),
                "{memory} bytes were reserved before the records were offered"
            );
            if let Some(charged) = charged {
                charged.forget();
            }
            (count, stopped)
        })
    }

    #[cold]
    fn start_sender(self: &Arc<Self>, partition: &Arc<Partition>) {
        let work = process::inherit(sender::run(Arc::clone(self), Arc::clone(partition)));
        let task = self.runtime.spawn(work);
        self.senders.lock().push(task);
    }

    /// Buffers a record if there is room. A reservation that an earlier attempt left is used.
    #[inline]
    fn try_enqueue<'a>(
        self: &'a Arc<Self>,
        parts: &RecordParts<'_>,
        reserved: &mut Option<Reservation<'a>>,
    ) -> Result<Attempt> {
        let partition = self.choose(parts)?;
        let memory = self.config.memory_of(parts.size) as u32;
        let reservation = match reserved.as_mut() {
            Some(reservation) => reservation,
            None => match self.budget.try_acquire_many(memory) {
                Ok(reservation) => reserved.insert(reservation),
                Err(TryAcquireError::NoPermits) => return Ok(Attempt::NoMemory(memory)),
                Err(TryAcquireError::Closed) => return Err(self.closed()),
            },
        };
        let mut delivery = None;
        let (_, stopped) =
            self.offer_run(partition, slice::from_ref(parts), reservation, |batch, index, timestamp| {
                delivery = Some(Delivery::new(Arc::clone(batch), index, timestamp));
            });
        match (delivery, stopped) {
            (Some(delivery), _) => Ok(Attempt::Buffered(delivery)),
            (None, Some(NotTaken::Rolled)) => {
                self.rotate_from(partition.index);
                Ok(Attempt::Rolled)
            }
            (None, Some(NotTaken::QueueFull)) => {
                // A record that waits for a slow partition must not hold memory that others could use.
                *reserved = None;
                Ok(Attempt::QueueFull(partition.index))
            }
            (None, Some(NotTaken::Refused(error))) => Err(self.refused(partition.index, error)),
            (None, Some(NotTaken::Closed) | None) => Err(self.closed()),
        }
    }

    pub(super) fn refused(&self, partition: u32, error: WireError) -> Error {
        Error::from(error).with_topic(&self.topic).with_partition(partition)
    }

    /// Buffers records from the front, under one lock, until one is for another partition or has to wait. Returns how many,
    /// and whether the batch was closed.
    pub(super) fn enqueue_run<V: AsRef<[u8]>>(
        self: &Arc<Self>,
        records: &VecDeque<Record<V>>,
        deliveries: &mut Deliveries,
    ) -> (usize, bool) {
        // Records that get a span or a line of a history each go one by one.
        let origin = self.telemetry.originate_all(self.capabilities.headers);
        let Some(origin) = origin.filter(|_| !self.history.is_on()) else {
            return (0, false);
        };
        let headers: Vec<_> = added(&origin).collect();
        // User code must not run under the lock: the partitioner, and the views of the values.
        let mut run = Vec::with_capacity(records.len());
        let mut target: Option<&Arc<Partition>> = None;
        let mut memory = 0;
        let now = self.config.clock.now_millis();
        for record in records {
            // Records with headers go one by one, and so do records without room for their trace context.
            let Some(parts) = self.check(record, &headers).ok().filter(|_| record.headers.is_empty()) else {
                break;
            };
            let Ok(partition) = self.choose(&parts) else { break };
            if partition.index != target.get_or_insert(partition).index {
                break;
            }
            memory += self.config.memory_of(parts.size);
            let timestamp = Some(parts.timestamp.unwrap_or(now));
            run.push(RecordParts { timestamp, origin: Some(&origin), ..parts });
        }
        let Some(partition) = target else { return (0, false) };
        // All or none: without memory for all, the caller enqueues the first record alone, which waits.
        let reserved =
            u32::try_from(memory).ok().and_then(|memory| self.budget.try_acquire_many(memory).ok());
        let Some(mut reserved) = reserved else { return (0, false) };
        let (taken, stopped) = self.offer_run(partition, &run, &mut reserved, |batch, index, timestamp| {
            deliveries.push(batch, index, timestamp);
        });
        let rolled = matches!(stopped, Some(NotTaken::Rolled));
        if rolled {
            self.rotate_from(partition.index);
        }
        (taken, rolled)
    }

    /// Buffers a record that did not find room at once.
    #[cold]
    async fn enqueue_when_room<'a>(
        self: &'a Arc<Self>,
        parts: &RecordParts<'_>,
        first: Attempt,
        reserved: Option<Reservation<'a>>,
    ) -> Result<Delivery> {
        let mut hit = Limit::Memory;
        match self.config.when_full {
            WhenFull::Wait => self.wait_for_room(parts, first, reserved, Some(&mut hit)).await,
            WhenFull::Fail => self.wait_for_room(parts, first, reserved, None).await,
            WhenFull::WaitUpTo(limit) => {
                let waiting = self.wait_for_room(parts, first, reserved, Some(&mut hit));
                match tokio::time::timeout(limit, waiting).await {
                    Ok(done) => done,
                    Err(_) => Err(self.full(&format!("no room within {limit:?}"), hit)),
                }
            }
        }
    }

    /// Nothing of the record is buffered until it is taken, so the future can be dropped at any point. Waits only with
    /// `hit`, which holds the limit that it waits for.
    async fn wait_for_room<'a>(
        self: &'a Arc<Self>,
        parts: &RecordParts<'_>,
        first: Attempt,
        mut reserved: Option<Reservation<'a>>,
        mut hit: Option<&mut Limit>,
    ) -> Result<Delivery> {
        let mut attempt = first;
        loop {
            match attempt {
                Attempt::Buffered(delivery) => return Ok(delivery),
                // Lets the sender run, which a tight loop on one thread would keep from the closed batch.
                Attempt::Rolled => step_back().await,
                Attempt::NoMemory(memory) => {
                    let Some(hit) = &mut hit else { return Err(self.full("no room", Limit::Memory)) };
                    **hit = Limit::Memory;
                    reserved = Some(self.reserve(memory as usize).await?);
                }
                Attempt::QueueFull(index) => {
                    let limit = Limit::Queue(index);
                    let Some(hit) = &mut hit else { return Err(self.full("no room", limit)) };
                    **hit = limit;
                    self.wait_for_queue(self.partition(index)?).await;
                }
            }
            attempt = self.try_enqueue(parts, &mut reserved)?;
        }
    }

    /// Waits for a slot in the queue of closed batches.
    pub(super) async fn wait_for_queue(&self, partition: &Partition) {
        let mut room = std::pin::pin!(partition.room.notified());
        room.as_mut().enable();
        if !partition.accumulator.lock().has_room(&self.config) {
            room.await;
        }
    }

    #[cold]
    fn full(&self, problem: &str, hit: Limit) -> Error {
        match hit {
            Limit::Memory => {
                let (used, limit) = (self.stats().buffered_bytes, self.config.buffer_memory);
                let message = format!(
                    "{problem}: {used} of {limit} bytes wait for their acknowledgement (limit: producer.buffer_memory); \
                     the record was not taken"
                );
                self.produce_error(ErrorKind::BufferFull, message)
            }
            Limit::Queue(partition) => {
                let message = format!(
                    "{problem}: {} batches of the partition wait to be sent (limit: producer.batch_queue); the record \
                     was not taken",
                    self.config.batch_queue
                );
                self.produce_error(ErrorKind::BufferFull, message).with_partition(partition)
            }
        }
    }
}

#[inline]
fn size_of<V: AsRef<[u8]>>(record: &Record<V>, headers: &[(&str, &[u8])]) -> usize {
    BatchBuilder::record_len(record.key.as_deref(), record.value.as_ref(), headers)
}

/// Headers that carry the trace context of a record.
fn added(origin: &Origin) -> impl Iterator<Item = (&str, &[u8])> {
    origin.added().iter().map(|(name, value)| (*name, value.as_ref()))
}
