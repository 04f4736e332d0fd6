//! What all handles and senders of one producer share.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use floe_wire::batch::{BatchBuilder, HEADER_LEN};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, TryAcquireError},
    task::JoinHandle,
    time::Instant,
};

use super::{
    accumulate::{Accumulator, Offered, Partition, Parts, now_millis},
    builder::{Config, Identity, WhenFull},
    closing::CloseReport,
    delivery::{Deliveries, Delivery},
    ledger::Ledger,
    partitioner::Choice,
    partitions::Partitions,
    sender,
};
use crate::{
    Error, ErrorKind, Record, Result,
    client_core::ClientCore,
    engine::{Capabilities, SharedEngine},
    telemetry::{Origin, Queue, Telemetry},
    topic::{MAX_PARTITIONS, Topic},
};

/// How often records for a partition that is not known may ask whether there is one.
const SOON: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) engine: SharedEngine,
    pub(super) telemetry: Telemetry,
    pub(super) engine_name: &'static str,
    pub(super) capabilities: Capabilities,
    pub(super) topic: Topic,
    pub(super) config: Config,
    /// Marks the batches of this producer; positive and random.
    pub(super) producer_id: i64,
    pub(super) partitions: Partitions,
    /// When the number of partitions was last asked for; held while some are added, and by a close.
    pub(super) growth: Mutex<Option<Instant>>,
    /// The partition that takes records which may go anywhere.
    current: AtomicU32,
    /// Bytes that may still be buffered.
    pub(super) budget: Semaphore,
    pub(super) ledger: Arc<Ledger>,
    pub(super) counters: Counters,
    pub(super) runtime: Handle,
    /// The senders that were started.
    pub(super) senders: Mutex<Vec<JoinHandle<()>>>,
    /// The report of the first close; later ones return the same.
    pub(super) report: tokio::sync::Mutex<Option<CloseReport>>,
}

/// What a producer has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProducerStats {
    /// Records acknowledged.
    pub records: u64,
    /// Batches acknowledged.
    pub batches: u64,
    /// Bytes of the batches acknowledged, as sent.
    pub bytes: u64,
    /// How often a batch was sent again.
    pub retries: u64,
    /// Bytes of records that wait for their acknowledgement.
    pub buffered_bytes: u64,
    /// Records that failed.
    pub failed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) records: AtomicU64,
    batches: AtomicU64,
    bytes: AtomicU64,
    pub(super) retries: AtomicU64,
    failed: AtomicU64,
}

impl Counters {
    pub(super) fn count(&self, records: u32, bytes: usize, acknowledged: bool) {
        if acknowledged {
            self.records.fetch_add(u64::from(records), Ordering::Relaxed);
            self.batches.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        } else {
            self.failed.fetch_add(u64::from(records), Ordering::Relaxed);
        }
    }
}

/// What became of an attempt to buffer a record.
enum Pushed {
    Done(Delivery),
    Rolled,
    NoMemory(u32),
    QueueFull(u32),
}

impl Shared {
    pub(super) fn new(client: &ClientCore, topic: Topic, partitions: u32, config: Config) -> Arc<Self> {
        let engine = client.engine();
        let info = engine.info();
        let mut capabilities = info.capabilities;
        // Servers drop the headers of records that pass through modules.
        capabilities.headers &= config.smartmodules.is_none();
        Arc::new(Self {
            engine: Arc::clone(engine),
            telemetry: client.telemetry().clone(),
            engine_name: info.name,
            capabilities,
            topic,
            budget: Semaphore::new(config.buffer_memory),
            producer_id: config.identity.as_ref().map_or_else(Identity::new_id, |known| known.producer_id),
            config,
            partitions: Partitions::new(partitions),
            growth: Mutex::default(),
            // Many short-lived producers must not all write to the first partition.
            current: AtomicU32::new((floe_core::random::bits() % u64::from(partitions)) as u32),
            ledger: Arc::default(),
            counters: Counters::default(),
            runtime: Handle::current(),
            senders: Mutex::default(),
            report: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn stats(&self) -> ProducerStats {
        let counters = &self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let free = self.budget.available_permits();
        ProducerStats {
            records: read(&counters.records),
            batches: read(&counters.batches),
            bytes: read(&counters.bytes),
            retries: read(&counters.retries),
            buffered_bytes: self.config.buffer_memory.saturating_sub(free) as u64,
            failed: read(&counters.failed),
        }
    }

    pub(super) fn give_back(&self, memory: usize) {
        self.budget.add_permits(memory);
    }

    /// Records that may go anywhere go on to the next partition, if they went to this one.
    pub(super) fn leave(&self, partition: u32) {
        let next = (partition + 1) % self.partitions.count().max(1);
        // Whoever else moved on in the meantime did what was needed.
        let _ = self.current.compare_exchange(partition, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Buffers a record; waits for room as far as the configuration allows.
    pub(super) async fn enqueue<V: AsRef<[u8]>>(self: &Arc<Self>, record: &Record<V>) -> Result<Delivery> {
        let body = record.value.as_ref().len();
        let origin = self.telemetry.originate(&self.topic, &record.headers, body, self.capabilities.headers);
        let own = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
        let mut headers: Vec<(&str, &[u8])> = own.chain(added(&origin)).collect();
        if headers.len() > record.headers.len() && self.is_too_large(record, &headers) {
            headers.truncate(record.headers.len());
            tracing::debug!(topic = %self.topic, "a record has no room for its trace context");
        }
        let parts = Parts { origin: Some(&origin), ..self.check(record, &headers)? };
        let pushed = match self.push(&parts, record.partition, false) {
            Err(error) if error.kind() == ErrorKind::PartitionNotFound && self.capabilities.partitions => {
                // It may be newer than what is known here.
                Box::pin(self.look_for_partitions(SOON)).await;
                self.push(&parts, record.partition, false)
            }
            pushed => pushed,
        };
        match pushed? {
            Pushed::Done(delivery) => Ok(delivery),
            other => self.enqueue_slowly(&parts, record.partition, other).await,
        }
    }

    fn is_too_large<V: AsRef<[u8]>>(&self, record: &Record<V>, headers: &[(&str, &[u8])]) -> bool {
        let size = BatchBuilder::record_len(record.key.as_deref(), record.value.as_ref(), headers);
        size.saturating_add(HEADER_LEN + 4) > self.config.max_request_size
    }

    /// Refuses what can never be sent, before anything is buffered.
    #[inline]
    pub(super) fn check<'a, V: AsRef<[u8]>>(
        &self,
        record: &'a Record<V>,
        headers: &'a [(&'a str, &'a [u8])],
    ) -> Result<Parts<'a>> {
        let key = record.key.as_deref();
        let value = record.value.as_ref();
        if key.is_some() && !self.capabilities.keys {
            return Err(Error::unsupported("keys", self.engine_name).with_topic(&self.topic));
        }
        if !headers.is_empty() && !self.capabilities.headers {
            return Err(Error::unsupported("headers", self.engine_name).with_topic(&self.topic));
        }
        if !self.capabilities.binary {
            // Here, so that one record that cannot be carried does not fail the batch that it would share.
            crate::engine::check_text(value).map_err(|error| {
                error.with_engine(self.engine_name).with_operation("produce").with_topic(&self.topic)
            })?;
        }
        let size = BatchBuilder::record_len(key, value, headers);
        if size.saturating_add(HEADER_LEN + 4) > self.config.max_request_size {
            return Err(self.too_large(size));
        }
        Ok(Parts { key, value, headers, timestamp: record.timestamp, size, origin: None })
    }

    #[cold]
    fn too_large(&self, size: usize) -> Error {
        Error::new(
            ErrorKind::RecordTooLarge,
            format!("a record of about {size} bytes; max_request_size is {}", self.config.max_request_size),
        )
        .with_engine(self.engine_name)
        .with_operation("produce")
        .with_topic(&self.topic)
    }

    #[inline]
    fn choose(&self, parts: &Parts<'_>, fixed: Option<u32>) -> Result<(u32, &Arc<Partition>)> {
        let choice = match fixed {
            Some(partition) => Choice::Partition(partition),
            None => self.config.partitioner.partition(parts.key, parts.value, self.partitions.count()),
        };
        let index = match choice {
            Choice::Partition(partition) => partition,
            Choice::Any => self.current.load(Ordering::Relaxed),
        };
        match self.partitions.get(index) {
            Some(partition) => Ok((index, partition)),
            None => Err(self.no_such_partition(index)),
        }
    }

    #[cold]
    pub(super) fn no_such_partition(&self, partition: u32) -> Error {
        Error::new(
            ErrorKind::PartitionNotFound,
            format!("partition {partition} of a topic with {}", self.partitions.count()),
        )
        .with_engine(self.engine_name)
        .with_operation("produce")
        .with_topic(&self.topic)
        .with_partition(partition)
    }

    /// Buffers a record if there is room. `paid`: its memory was taken already.
    #[inline]
    fn push(self: &Arc<Self>, parts: &Parts<'_>, fixed: Option<u32>, paid: bool) -> Result<Pushed> {
        let (index, partition) = self.choose(parts, fixed)?;
        let memory = self.config.memory_of(parts.size) as u32;
        let permit = if paid {
            None
        } else {
            match self.budget.try_acquire_many(memory) {
                Ok(permit) => Some(permit),
                Err(TryAcquireError::NoPermits) => return Ok(Pushed::NoMemory(memory)),
                Err(TryAcquireError::Closed) => return Err(self.closed()),
            }
        };
        let mut accumulator = partition.accumulator.lock();
        let offered = accumulator.offer(index, &self.config, parts, &self.ledger);
        let taken = matches!(offered, Offered::Taken { .. });
        let batch = accumulator.latest().filter(|_| taken).cloned();
        self.after_offer(partition, accumulator, taken);
        match offered {
            Offered::Taken { index: at, timestamp } => {
                // The batch gives it back when it has its outcome.
                if let Some(permit) = permit {
                    permit.forget();
                }
                match batch {
                    Some(batch) => Ok(Pushed::Done(Delivery::new(batch, at, timestamp))),
                    None => Err(self.closed()),
                }
            }
            Offered::Rolled => {
                self.leave(index);
                Ok(Pushed::Rolled)
            }
            Offered::QueueFull => Ok(Pushed::QueueFull(index)),
            Offered::Refused(error) => Err(Error::from(error).with_topic(&self.topic).with_partition(index)),
            Offered::Closed => Err(self.closed()),
        }
    }

    /// Buffers records from the front, under one lock, until one is for another partition or needs more than a moment.
    /// Returns how many, and whether the batch was closed.
    pub(super) fn push_run<V: AsRef<[u8]>>(
        self: &Arc<Self>,
        records: &VecDeque<Record<V>>,
        deliveries: &mut Deliveries,
    ) -> (usize, bool) {
        // Where each of them gets a span, they go one by one.
        let Some(origin) = self.telemetry.originate_all(self.capabilities.headers) else {
            return (0, false);
        };
        let headers: Vec<_> = added(&origin).collect();
        // Foreign code, which must not run under the lock: the partitioner, and the views of the values.
        let mut run = Vec::with_capacity(records.len());
        let mut target = None;
        let mut memory = 0;
        let now = now_millis();
        for record in records {
            // Those with headers of their own go one by one, and so do those without room for what they are to carry.
            let Some(parts) = self.check(record, &headers).ok().filter(|_| record.headers.is_empty()) else {
                break;
            };
            let Ok((index, partition)) = self.choose(&parts, record.partition) else { break };
            if index != target.get_or_insert((index, partition)).0 {
                break;
            }
            memory += self.config.memory_of(parts.size);
            let timestamp = Some(parts.timestamp.unwrap_or(now));
            run.push(Parts { timestamp, origin: Some(&origin), ..parts });
        }
        let Some((index, partition)) = target else { return (0, false) };
        // For all at once, or else the first goes the way that waits.
        let Some(permit) =
            u32::try_from(memory).ok().and_then(|memory| self.budget.try_acquire_many(memory).ok())
        else {
            return (0, false);
        };
        permit.forget();
        let (taken, stopped) = self.push_paid((index, partition), &run, memory, deliveries);
        let rolled = matches!(stopped, Some(Offered::Rolled));
        if rolled {
            self.leave(index);
        }
        (taken, rolled)
    }

    /// Buffers records under one lock, for which `memory` was taken; what is not needed of it is given back. Returns how
    /// many, and what stopped it before the end.
    pub(super) fn push_paid(
        self: &Arc<Self>,
        (index, partition): (u32, &Arc<Partition>),
        run: &[Parts<'_>],
        mut memory: usize,
        deliveries: &mut Deliveries,
    ) -> (usize, Option<Offered>) {
        let mut accumulator = partition.accumulator.lock();
        let (mut taken, mut stopped) = (0, None);
        for parts in run {
            match accumulator.offer(index, &self.config, parts, &self.ledger) {
                Offered::Taken { index: at, timestamp } => {
                    if let Some(batch) = accumulator.latest() {
                        deliveries.push(batch, at, timestamp);
                    }
                }
                other => {
                    stopped = Some(other);
                    break;
                }
            }
            memory -= self.config.memory_of(parts.size);
            taken += 1;
        }
        self.after_offer(partition, accumulator, taken > 0);
        if memory > 0 {
            self.give_back(memory);
        }
        (taken, stopped)
    }

    /// Starts or wakes the sender of a partition that was offered records.
    #[inline]
    pub(super) fn after_offer(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        mut accumulator: MutexGuard<'_, Accumulator>,
        taken: bool,
    ) {
        if taken && !accumulator.started {
            accumulator.started = true;
            drop(accumulator);
            self.start_sender(partition);
        } else {
            partition.wake_sender(accumulator);
        }
    }

    #[cold]
    fn start_sender(self: &Arc<Self>, partition: &Arc<Partition>) {
        let task = self.runtime.spawn(sender::run(Arc::clone(self), Arc::clone(partition)));
        self.senders.lock().push(task);
    }

    /// The ways of a record that did not find room at once.
    #[cold]
    async fn enqueue_slowly(
        self: &Arc<Self>,
        parts: &Parts<'_>,
        fixed: Option<u32>,
        first: Pushed,
    ) -> Result<Delivery> {
        match self.config.when_full {
            WhenFull::Wait => self.wait_for_room(parts, fixed, first, true).await,
            WhenFull::Fail => self.wait_for_room(parts, fixed, first, false).await,
            WhenFull::WaitUpTo(limit) => {
                let waiting = self.wait_for_room(parts, fixed, first, true);
                match tokio::time::timeout(limit, waiting).await {
                    Ok(done) => done,
                    Err(_) => Err(self.full(&format!("no room within {limit:?}"))),
                }
            }
        }
    }

    /// Until the record is taken nothing of it is buffered, so this can be dropped at any point.
    async fn wait_for_room(
        self: &Arc<Self>,
        parts: &Parts<'_>,
        fixed: Option<u32>,
        first: Pushed,
        may_wait: bool,
    ) -> Result<Delivery> {
        let mut permit = None;
        let mut pushed = first;
        loop {
            match pushed {
                Pushed::Done(delivery) => {
                    if let Some(permit) = permit {
                        tokio::sync::SemaphorePermit::forget(permit);
                    }
                    return Ok(delivery);
                }
                // A batch was closed: lets the sender run, which a tight loop on one thread would keep from it.
                Pushed::Rolled => super::step_back().await,
                Pushed::NoMemory(_) | Pushed::QueueFull(_) if !may_wait => {
                    return Err(self.full("no room"));
                }
                Pushed::NoMemory(bytes) => {
                    let taken = self.budget.acquire_many(bytes).await.map_err(|_| self.closed())?;
                    permit = Some(taken);
                }
                Pushed::QueueFull(index) => self.wait_for_queue(index).await?,
            }
            pushed = self.push(parts, fixed, permit.is_some())?;
        }
    }

    pub(super) async fn wait_for_queue(&self, index: u32) -> Result<()> {
        let Some(partition) = self.partitions.get(index) else {
            return Err(self.no_such_partition(index));
        };
        let mut room = std::pin::pin!(partition.room.notified());
        room.as_mut().enable();
        if !partition.accumulator.lock().has_room(&self.config) {
            room.await;
        }
        Ok(())
    }

    #[cold]
    fn full(&self, what: &str) -> Error {
        let message = format!(
            "{what}: {} of {} bytes are waiting to be acknowledged",
            self.stats().buffered_bytes,
            self.config.buffer_memory
        );
        Error::new(ErrorKind::BufferFull, message)
            .with_engine(self.engine_name)
            .with_operation("produce")
            .with_topic(&self.topic)
    }

    #[cold]
    pub(super) fn closed(&self) -> Error {
        Error::closed("producer").with_topic(&self.topic)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.budget.is_closed()
    }

    /// Asks how many partitions the topic has, unless that was done within `pause`, and takes up those that are new.
    #[cold]
    pub(super) async fn look_for_partitions(&self, pause: Duration) {
        {
            let mut asked = self.growth.lock();
            if asked.is_some_and(|at| at.elapsed() < pause) {
                return;
            }
            *asked = Some(Instant::now());
        }
        match self.engine.topic(self.topic.clone()).await {
            Ok(info) => {
                let growth = self.growth.lock();
                if !self.is_closed() && self.partitions.grow_to(info.partitions.min(MAX_PARTITIONS)) {
                    drop(growth);
                    tracing::info!(topic = %self.topic, partitions = info.partitions, "the topic has grown");
                }
            }
            // Whether the topic is gone shows when records are sent.
            Err(error) => tracing::debug!(topic = %self.topic, %error, "partitions are not known"),
        }
    }
}

impl Queue for Shared {
    fn used(&self) -> u64 {
        self.stats().buffered_bytes
    }

    fn limit(&self) -> u64 {
        self.config.buffer_memory as u64
    }
}

/// Headers that records get from where they come from.
fn added(origin: &Origin) -> impl Iterator<Item = (&str, &[u8])> {
    origin.added().iter().map(|(name, value)| (*name, value.as_ref()))
}
