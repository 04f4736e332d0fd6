//! Gathers the records of one partition into batches until the sender takes them.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use floe_core::invariant;
use floe_wire::{
    WireError,
    batch::{BatchBuilder, EncodedBatch, FinishOptions},
};
use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::Notify, time::Instant};

use super::{config::Config, delivery::BatchState, unreported_failures::UnreportedFailures};
use crate::telemetry::{Origin, Origins};

/// Capacity of the first batch of a partition; the capacity of later ones follows the size of the batch before.
const FIRST_CAPACITY: usize = 1024;

/// Low-water mark: blocked producers wake once this many slots of the batch queue are free, or a quarter of a short
/// queue.
const WAKE_FOR: usize = 8;

/// One partition: its records, and the notifications between its sender and the tasks that enqueue.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) index: u32,
    pub(super) accumulator: Mutex<Accumulator>,
    /// Wakes the sender.
    pub(super) work: Notify,
    /// Wakes tasks that wait for a slot in the queue of closed batches.
    pub(super) room: Notify,
    /// A batch failed for good, and the batches behind it must not be sent; see [`Config::in_order_only`].
    pub(super) halted: AtomicBool,
}

/// Records that the sender has not taken yet.
#[derive(Debug)]
pub(super) struct Accumulator {
    partition: u32,
    unreported: Arc<UnreportedFailures>,
    open: Option<OpenBatch>,
    /// Closed batches, oldest first.
    queue: VecDeque<ClosedBatch>,
    /// Every closed batch without an outcome, taken by the sender or not.
    unfinished: VecDeque<UnfinishedBatch>,
    sender_wait: SenderWait,
    /// No more records are accepted.
    closed: bool,
    /// The sender was started.
    started: bool,
    capacity: usize,
}

/// A closed batch without an outcome, and its number of records.
pub(super) type UnfinishedBatch = (Arc<BatchState>, u32);

/// The condition under which the sender is woken, so that it is not woken for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SenderWait {
    /// The sender runs, and will look for batches by itself.
    Awake,
    /// The open batch has to wait; the sender needs a closed one.
    ForClosedBatch,
    ForAnyRecord,
}

#[derive(Debug)]
struct OpenBatch {
    builder: BatchBuilder,
    state: Arc<BatchState>,
    opened_at: Instant,
    memory: usize,
    origins: Origins,
}

/// A batch that takes no more records, before compression and checksum.
#[derive(Debug)]
pub(super) struct ClosedBatch {
    pub(super) contents: ClosedContents,
    pub(super) state: Arc<BatchState>,
    /// Bytes taken from the producer's memory.
    pub(super) memory: usize,
    /// When it must be acknowledged.
    pub(super) deadline: Instant,
    /// Trace contexts of its records.
    pub(super) origins: Origins,
}

/// The records of a batch before it gets its producer id and sequence.
#[derive(Debug)]
pub(super) enum ClosedContents {
    /// Records encoded one by one.
    Records(BatchBuilder),
    /// A batch that was encoded before and is passed through.
    Encoded(EncodedBatch),
}

impl ClosedContents {
    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Records(builder) => builder.count(),
            Self::Encoded(batch) => batch.header().offset_span(),
        }
    }

    pub(super) fn finish(self, options: FinishOptions) -> Result<EncodedBatch, WireError> {
        match self {
            Self::Records(builder) => builder.finish(options),
            Self::Encoded(batch) => batch.reissued(options),
        }
    }
}

/// A record, checked and ready to be encoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordParts<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: &'a [u8],
    pub(super) headers: &'a [(&'a str, &'a [u8])],
    pub(super) timestamp: Option<i64>,
    /// The partition that the record names.
    pub(super) partition: Option<u32>,
    /// Upper bound of its bytes in a batch.
    pub(super) size: usize,
    pub(super) origin: Option<&'a Origin>,
}

/// The batch that took a record, the index of the record in it, and its timestamp.
type Slot<'a> = (&'a Arc<BatchState>, u32, i64);

/// Why the accumulator did not take a record.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// The open batch had no room and was closed; the next one may belong to another partition.
    Rolled,
    /// The queue of closed batches is full.
    QueueFull,
    /// The record does not fit into any batch.
    Refused(WireError),
    /// The producer is closed.
    Closed,
}

/// The answer to a sender that asks for the next batch.
#[derive(Debug)]
pub(super) enum NextBatch {
    /// The oldest closed batch.
    Closed(ClosedBatch),
    /// The open batch, closed for this call.
    ClosedNow(ClosedBatch),
    /// No batch before this time, unless the sender is woken.
    NotBefore(Option<Instant>),
    /// The producer is closed and nothing is left.
    Finished,
}

impl Partition {
    pub(super) fn new(index: u32, unreported: &Arc<UnreportedFailures>) -> Self {
        let accumulator = Accumulator {
            partition: index,
            unreported: Arc::clone(unreported),
            open: None,
            queue: VecDeque::new(),
            unfinished: VecDeque::new(),
            sender_wait: SenderWait::Awake,
            closed: false,
            started: false,
            capacity: FIRST_CAPACITY,
        };
        Self {
            index,
            accumulator: Mutex::new(accumulator),
            work: Notify::new(),
            room: Notify::new(),
            halted: AtomicBool::new(false),
        }
    }

    /// Closes the open batch, so that it is sent without waiting for more records, and returns the batches without an
    /// outcome.
    pub(super) fn close_batch(&self, config: &Config) -> Vec<UnfinishedBatch> {
        let mut accumulator = self.accumulator.lock();
        accumulator.close_open(config);
        let unfinished = accumulator.unfinished.iter().cloned().collect();
        self.wake_sender(accumulator);
        unfinished
    }

    /// Accepts no more records. Buffered records are still sent.
    pub(super) fn close(&self, config: &Config) {
        let mut accumulator = self.accumulator.lock();
        accumulator.closed = true;
        accumulator.close_open(config);
        accumulator.sender_wait = SenderWait::Awake;
        drop(accumulator);
        self.work.notify_one();
        self.room.notify_waiters();
    }

    /// Wakes the sender, if its condition holds, after releasing the lock.
    pub(super) fn wake_sender(&self, mut accumulator: MutexGuard<'_, Accumulator>) {
        let wake = match accumulator.sender_wait {
            SenderWait::Awake => false,
            SenderWait::ForClosedBatch => !accumulator.queue.is_empty(),
            SenderWait::ForAnyRecord => accumulator.open.is_some() || !accumulator.queue.is_empty(),
        };
        if wake {
            accumulator.sender_wait = SenderWait::Awake;
        }
        drop(accumulator);
        if wake {
            self.work.notify_one();
        }
    }

    /// Takes the next batch to send. `idle`: the sender has nothing in flight.
    pub(super) fn take(&self, config: &Config, idle: bool) -> NextBatch {
        let mut accumulator = self.accumulator.lock();
        let next = accumulator.take(config, idle);
        // Not at the first free slot: waking another thread for each batch would cost as much as the batch.
        let room = accumulator.queue.len() + (config.batch_queue / 4).min(WAKE_FOR) <= config.batch_queue;
        drop(accumulator);
        if room && matches!(next, NextBatch::Closed(_) | NextBatch::ClosedNow(_)) {
            self.room.notify_waiters();
        }
        next
    }

    /// Whether closed batches wait.
    pub(super) fn has_closed(&self) -> bool {
        !self.accumulator.lock().queue.is_empty()
    }

    /// Takes the oldest batch if its deadline has passed.
    ///
    /// # Errors
    /// The deadline of the oldest batch, if there is one.
    pub(super) fn take_late(&self, config: &Config, now: Instant) -> Result<ClosedBatch, Option<Instant>> {
        let mut accumulator = self.accumulator.lock();
        if accumulator.queue.is_empty() {
            let due = accumulator.open.as_ref().map(|open| open.opened_at + config.linger + config.timeout);
            if due.is_none_or(|due| due > now) {
                return Err(due);
            }
            accumulator.close_open(config);
        }
        match accumulator.queue.front() {
            Some(oldest) if oldest.deadline <= now => {}
            other => return Err(other.map(|oldest| oldest.deadline)),
        }
        let late = accumulator.queue.pop_front().ok_or(None);
        drop(accumulator);
        self.room.notify_waiters();
        late
    }

    /// Takes all batches and closes; for a sender that was stopped.
    pub(super) fn take_all(&self, config: &Config) -> VecDeque<ClosedBatch> {
        let mut accumulator = self.accumulator.lock();
        accumulator.closed = true;
        accumulator.close_open(config);
        let all = std::mem::take(&mut accumulator.queue);
        drop(accumulator);
        self.room.notify_waiters();
        all
    }

    /// Forgets batches that have an outcome.
    pub(super) fn forget_finished(&self) {
        let mut accumulator = self.accumulator.lock();
        while accumulator.unfinished.front().is_some_and(|(state, _)| state.is_done()) {
            accumulator.unfinished.pop_front();
        }
    }
}

impl Accumulator {
    /// Whether a record may find a slot in the queue of closed batches.
    pub(super) fn has_room(&self, config: &Config) -> bool {
        self.closed || self.queue.len() < config.batch_queue
    }

    /// Marks the sender as started if there is something to send; true if it was not started before.
    pub(super) fn needs_sender(&mut self) -> bool {
        let needed = !self.started && (self.open.is_some() || !self.queue.is_empty());
        self.started |= needed;
        needed
    }

    /// Encodes a record into the open batch.
    #[inline]
    pub(super) fn append(&mut self, config: &Config, parts: &RecordParts<'_>) -> Result<Slot<'_>, NotTaken> {
        if self.closed {
            return Err(NotTaken::Closed);
        }
        let timestamp = parts.timestamp.unwrap_or_else(|| config.clock.now_millis());
        if let Some(open) = &self.open {
            let fits = open.builder.len() + parts.size <= config.batch_size
                && open.builder.accepts_timestamp(timestamp);
            if !fits {
                if self.queue.len() >= config.batch_queue {
                    return Err(NotTaken::QueueFull);
                }
                self.close_open(config);
                return Err(NotTaken::Rolled);
            }
        } else if self.queue.len() >= config.batch_queue {
            return Err(NotTaken::QueueFull);
        }
        let capacity = self.capacity.max(parts.size);
        let open = self.open.get_or_insert_with(|| OpenBatch {
            builder: BatchBuilder::new(capacity),
            state: Arc::new(BatchState::new(self.partition, Arc::clone(&self.unreported))),
            opened_at: Instant::now(),
            memory: 0,
            origins: Origins::default(),
        });
        let index = match open.builder.append(timestamp, parts.key, parts.value, parts.headers) {
            Ok(index) => index,
            Err(error) => {
                if open.builder.is_empty() {
                    self.open = None;
                }
                return Err(NotTaken::Refused(error));
            }
        };
        open.memory += config.memory_of(parts.size);
        if let Some(origin) = parts.origin {
            open.origins.add(origin);
        }
        if open.builder.len() >= config.batch_size {
            self.close_open(config);
        }
        Ok((self.latest()?, index, timestamp))
    }

    /// Queues an encoded batch behind the open one. `memory`: bytes reserved for it.
    pub(super) fn append_encoded(
        &mut self,
        config: &Config,
        batch: EncodedBatch,
        memory: usize,
    ) -> Result<&Arc<BatchState>, NotTaken> {
        if self.closed {
            return Err(NotTaken::Closed);
        }
        self.close_open(config);
        let state = Arc::new(BatchState::new(self.partition, Arc::clone(&self.unreported)));
        self.close_batch(ClosedBatch {
            contents: ClosedContents::Encoded(batch),
            state,
            memory,
            deadline: Instant::now() + config.timeout,
            origins: Origins::default(),
        });
        self.latest()
    }

    /// The batch that took the latest record, under the lock under which the record was appended.
    #[inline]
    fn latest(&self) -> Result<&Arc<BatchState>, NotTaken> {
        let open = self.open.as_ref().map(|open| &open.state);
        let latest = open.or_else(|| self.queue.back().map(|closed| &closed.state));
        invariant!(
            latest.is_some(),
            "a record that was appended is in the open batch or in the last closed one"
        );
        latest.ok_or(NotTaken::Closed)
    }

    fn close_open(&mut self, config: &Config) {
        let Some(open) = self.open.take() else { return };
        // About the size of this batch: large batches need not grow step by step, and small ones do not hold the memory
        // of a full one.
        self.capacity =
            (open.builder.len() + open.builder.len() / 8).max(FIRST_CAPACITY).min(config.batch_size);
        // The timeout starts at the latest time at which the batch could have been sent.
        let closed_at = match config.linger {
            Duration::ZERO => open.opened_at,
            linger => Instant::now().min(open.opened_at + linger),
        };
        self.close_batch(ClosedBatch {
            contents: ClosedContents::Records(open.builder),
            state: open.state,
            memory: open.memory,
            deadline: closed_at + config.timeout,
            origins: open.origins,
        });
    }

    fn close_batch(&mut self, batch: ClosedBatch) {
        self.unfinished.push_back((Arc::clone(&batch.state), batch.contents.count()));
        self.queue.push_back(batch);
    }

    fn take(&mut self, config: &Config, idle: bool) -> NextBatch {
        self.sender_wait = SenderWait::Awake;
        if let Some(batch) = self.queue.pop_front() {
            return NextBatch::Closed(batch);
        }
        let Some(open) = &self.open else {
            if self.closed {
                return NextBatch::Finished;
            }
            self.sender_wait = SenderWait::ForAnyRecord;
            return NextBatch::NotBefore(None);
        };
        let due = open.opened_at + config.linger;
        if config.linger.is_zero() {
            // Records gather while something is in flight.
            if !idle {
                self.sender_wait = SenderWait::ForClosedBatch;
                return NextBatch::NotBefore(None);
            }
        } else if Instant::now() < due {
            self.sender_wait = SenderWait::ForClosedBatch;
            return NextBatch::NotBefore(Some(due));
        }
        self.close_open(config);
        let closed = self.queue.pop_front();
        invariant!(closed.is_some(), "an open batch is queued when it is closed");
        closed.map_or(NextBatch::NotBefore(None), NextBatch::ClosedNow)
    }
}
