//! Where records of one partition gather until they are sent.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use floe_wire::{
    WireError,
    batch::{BatchBuilder, EncodedBatch, FinishOptions},
};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{builder::Config, delivery::BatchState, unreported_failures::UnreportedFailures};
use crate::telemetry::{Origin, Origins};

/// Room for the first batch of a partition; later ones are made about as large as those before them.
const FIRST_CAPACITY: usize = 1024;

/// Free places in a queue that was full at which those who wait for one are woken, unless the queue is short.
const WAKE_FOR: usize = 8;

/// One partition: its records, and what its sender and those who enqueue tell each other.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) index: u32,
    pub(super) accumulator: Mutex<Accumulator>,
    /// Wakes the sender.
    pub(super) work: Notify,
    /// Wakes those who wait for room in the queue of closed batches.
    pub(super) room: Notify,
    /// A batch failed for good, and those behind it are not to be sent; see [`Config::in_order_only`].
    pub(super) halted: AtomicBool,
}

/// Records that no sender has taken yet.
#[derive(Debug)]
pub(super) struct Accumulator {
    open: Option<OpenBatch>,
    /// Closed batches, oldest first.
    queue: VecDeque<ClosedBatch>,
    /// Every closed batch without an outcome, taken by the sender or not, with its number of records.
    unfinished: VecDeque<(Arc<BatchState>, u32)>,
    /// What the sender sleeps for.
    pub(super) sleeping: Sleeping,
    /// No more records are taken.
    closed: bool,
    /// The sender was started.
    pub(super) started: bool,
    capacity: usize,
}

/// What a sender waits for, so that it is not woken for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sleeping {
    /// Nothing: it is busy, and will look by itself.
    No,
    /// A closed batch; the open one has to wait.
    UntilClosed,
    /// Any record.
    UntilAny,
}

#[derive(Debug)]
struct OpenBatch {
    builder: BatchBuilder,
    state: Arc<BatchState>,
    opened_at: Instant,
    memory: usize,
    /// A batch whose first record has a positive time gives all its records a time, any other gives none.
    timed: bool,
    origins: Origins,
}

/// A batch that takes no more records, not encoded to the end yet.
#[derive(Debug)]
pub(super) struct ClosedBatch {
    pub(super) contents: Gathered,
    pub(super) state: Arc<BatchState>,
    /// Bytes taken from the producer's memory.
    pub(super) memory: usize,
    /// When it must be acknowledged.
    pub(super) deadline: Instant,
    /// Where its records come from.
    pub(super) origins: Origins,
}

/// The records of a batch before it has its identity.
#[derive(Debug)]
pub(super) enum Gathered {
    /// They were encoded one by one.
    Built(BatchBuilder),
    /// Somebody encoded them as a batch before.
    Whole(EncodedBatch),
}

impl Gathered {
    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Built(builder) => builder.count(),
            Self::Whole(batch) => batch.header().offset_span(),
        }
    }

    pub(super) fn finish(self, options: FinishOptions) -> Result<EncodedBatch, WireError> {
        match self {
            Self::Built(builder) => builder.finish(options),
            Self::Whole(batch) => batch.reissued(options),
        }
    }
}

/// A record with what is known about it before it is placed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: &'a [u8],
    pub(super) headers: &'a [(&'a str, &'a [u8])],
    pub(super) timestamp: Option<i64>,
    /// Bytes it may take in a batch, at most.
    pub(super) size: usize,
    pub(super) origin: Option<&'a Origin>,
}

/// What came of offering a record.
#[derive(Debug)]
pub(super) enum Offered {
    /// It is in the latest batch.
    Taken { index: u32, timestamp: i64 },
    /// The open batch had no room and was closed; the next one may be another partition's.
    Rolled,
    /// Too many closed batches wait.
    QueueFull,
    /// No batch can hold it.
    Refused(WireError),
    /// No more records are taken.
    Closed,
}

/// What a sender finds.
#[derive(Debug)]
pub(super) enum Found {
    /// A batch to send.
    Batch(ClosedBatch),
    /// A batch to send, closed just now.
    Open(ClosedBatch),
    /// Nothing before this time, unless it is woken.
    NothingUntil(Option<Instant>),
    /// Nothing, and nothing will come.
    Finished,
}

impl Partition {
    pub(super) fn new(index: u32) -> Self {
        let accumulator = Accumulator {
            open: None,
            queue: VecDeque::new(),
            unfinished: VecDeque::new(),
            sleeping: Sleeping::No,
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

    /// Closes the open batch, so that it is sent without waiting for more, and returns what has no outcome yet.
    pub(super) fn close_batch(&self, config: &Config) -> Vec<(Arc<BatchState>, u32)> {
        let mut accumulator = self.accumulator.lock();
        accumulator.close_open(config);
        let unfinished = accumulator.unfinished.iter().cloned().collect();
        self.wake_sender(accumulator);
        unfinished
    }

    /// Takes no more records, and sends those that are there.
    pub(super) fn close(&self, config: &Config) {
        let mut accumulator = self.accumulator.lock();
        accumulator.closed = true;
        accumulator.close_open(config);
        accumulator.sleeping = Sleeping::No;
        drop(accumulator);
        self.work.notify_one();
        self.room.notify_waiters();
    }

    /// Wakes the sender if it sleeps, after the lock is gone.
    pub(super) fn wake_sender(&self, mut accumulator: parking_lot::MutexGuard<'_, Accumulator>) {
        let wake = match accumulator.sleeping {
            Sleeping::No => false,
            Sleeping::UntilClosed => !accumulator.queue.is_empty(),
            Sleeping::UntilAny => accumulator.open.is_some() || !accumulator.queue.is_empty(),
        };
        if wake {
            accumulator.sleeping = Sleeping::No;
        }
        drop(accumulator);
        if wake {
            self.work.notify_one();
        }
    }

    /// Takes the next batch to send. `idle`: the sender has nothing in flight.
    pub(super) fn take(&self, config: &Config, idle: bool) -> Found {
        let mut accumulator = self.accumulator.lock();
        let found = accumulator.take(config, idle);
        // Not at the first place that becomes free: waking another thread for each batch would cost as much as the batch.
        let room = accumulator.queue.len() + (config.batch_queue / 4).min(WAKE_FOR) <= config.batch_queue;
        drop(accumulator);
        if room && matches!(found, Found::Batch(_) | Found::Open(_)) {
            self.room.notify_waiters();
        }
        found
    }

    /// Whether closed batches wait.
    pub(super) fn has_closed(&self) -> bool {
        !self.accumulator.lock().queue.is_empty()
    }

    /// Takes the oldest batch if it is late, and otherwise says when it will be.
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

    /// Takes everything and closes; for a sender that ends before its time.
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
    /// Whether a record may find room in the queue of closed batches.
    pub(super) fn has_room(&self, config: &Config) -> bool {
        self.closed || self.queue.len() < config.batch_queue
    }

    /// Encodes a record into the open batch.
    #[inline]
    pub(super) fn offer(
        &mut self,
        index: u32,
        config: &Config,
        parts: &Parts<'_>,
        unreported: &Arc<UnreportedFailures>,
    ) -> Offered {
        if self.closed {
            return Offered::Closed;
        }
        let timestamp = parts.timestamp.unwrap_or_else(now_millis);
        if let Some(open) = &self.open {
            let fits = open.builder.len() + parts.size <= config.batch_size
                && open.timed == (timestamp > 0)
                && open.builder.accepts_timestamp(timestamp);
            if !fits {
                if self.queue.len() >= config.batch_queue {
                    return Offered::QueueFull;
                }
                self.close_open(config);
                return Offered::Rolled;
            }
        } else if self.queue.len() >= config.batch_queue {
            return Offered::QueueFull;
        }
        let capacity = self.capacity.max(parts.size);
        let open = self.open.get_or_insert_with(|| OpenBatch {
            builder: BatchBuilder::new(capacity),
            state: Arc::new(BatchState::new(index, Arc::clone(unreported))),
            opened_at: Instant::now(),
            memory: 0,
            timed: timestamp > 0,
            origins: Origins::default(),
        });
        let at = match open.builder.append(timestamp, parts.key, parts.value, parts.headers) {
            Ok(at) => at,
            Err(error) => {
                if open.builder.is_empty() {
                    self.open = None;
                }
                return Offered::Refused(error);
            }
        };
        open.memory += config.memory_of(parts.size);
        if let Some(origin) = parts.origin {
            open.origins.add(origin);
        }
        if open.builder.len() >= config.batch_size {
            self.close_open(config);
        }
        Offered::Taken { index: at, timestamp }
    }

    /// Queues a batch that is whole already, behind the open one. `None` if no more records are taken.
    pub(super) fn offer_whole(
        &mut self,
        index: u32,
        config: &Config,
        (batch, memory): (EncodedBatch, usize),
        unreported: &Arc<UnreportedFailures>,
    ) -> Option<Arc<BatchState>> {
        if self.closed {
            return None;
        }
        self.close_open(config);
        let state = Arc::new(BatchState::new(index, Arc::clone(unreported)));
        let contents = Gathered::Whole(batch);
        self.unfinished.push_back((Arc::clone(&state), contents.count()));
        self.queue.push_back(ClosedBatch {
            contents,
            state: Arc::clone(&state),
            memory,
            deadline: Instant::now() + config.timeout,
            origins: Origins::default(),
        });
        Some(state)
    }

    /// The batch that took the last record, as long as the lock is held since.
    #[inline]
    pub(super) fn latest(&self) -> Option<&Arc<BatchState>> {
        self.open.as_ref().map(|open| &open.state).or_else(|| self.queue.back().map(|closed| &closed.state))
    }

    fn close_open(&mut self, config: &Config) {
        let Some(open) = self.open.take() else { return };
        // About as much room as this one took, so that neither large batches grow step by step nor small ones hold
        // a whole batch of memory.
        self.capacity =
            (open.builder.len() + open.builder.len() / 8).max(FIRST_CAPACITY).min(config.batch_size);
        self.unfinished.push_back((Arc::clone(&open.state), open.builder.count()));
        // The clock starts when the batch could have been sent at the latest.
        let closed_at = match config.linger {
            Duration::ZERO => open.opened_at,
            linger => Instant::now().min(open.opened_at + linger),
        };
        self.queue.push_back(ClosedBatch {
            contents: Gathered::Built(open.builder),
            state: open.state,
            memory: open.memory,
            deadline: closed_at + config.timeout,
            origins: open.origins,
        });
    }

    fn take(&mut self, config: &Config, idle: bool) -> Found {
        self.sleeping = Sleeping::No;
        if let Some(batch) = self.queue.pop_front() {
            return Found::Batch(batch);
        }
        let Some(open) = &self.open else {
            if self.closed {
                return Found::Finished;
            }
            self.sleeping = Sleeping::UntilAny;
            return Found::NothingUntil(None);
        };
        let due = open.opened_at + config.linger;
        if config.linger.is_zero() {
            // Records gather while something is in flight.
            if !idle {
                self.sleeping = Sleeping::UntilClosed;
                return Found::NothingUntil(None);
            }
        } else if Instant::now() < due {
            self.sleeping = Sleeping::UntilClosed;
            return Found::NothingUntil(Some(due));
        }
        self.close_open(config);
        self.queue.pop_front().map_or(Found::NothingUntil(None), Found::Open)
    }
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_millis() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
