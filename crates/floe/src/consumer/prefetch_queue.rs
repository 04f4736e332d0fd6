//! Queues of the partitions of a consumer, with one bound on memory for all.
//!
//! A fetch task asks for room before it reads. There is room while the bound is not reached, and always for a partition with
//! an empty queue. Memory is therefore at most the bound and one batch for each partition, and no partition starves. Batches
//! leave the queues round-robin.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use floe_core::invariant;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{checked_batch::ReceivedBatch, gap::Gap, message::RecordBatch, partition::Partition};
use crate::Error;

/// Bytes in the queues at which the consumer is woken while fetch tasks are still busy.
const WORTH_WAKING: usize = 256 * 1024;

/// Result of a fetch task.
#[derive(Debug)]
pub(super) enum Prefetched {
    Records(ReceivedBatch),
    /// The rest of a batch whose partition was paused.
    Rest(RecordBatch),
    Gap(Gap),
    Error(Error),
}

impl Prefetched {
    /// Bytes in memory and number of records, for a batch.
    fn size(&self) -> Option<(usize, usize)> {
        match self {
            Self::Records(batch) => Some((batch.memory(), batch.len())),
            Self::Rest(batch) => Some((batch.memory(), batch.len())),
            Self::Gap(_) | Self::Error(_) => None,
        }
    }
}

/// Result of [`PrefetchQueue::poll`].
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are items, and a box would cost an allocation for each batch"
)]
pub(super) enum Polled {
    /// The next item of the partition with this index.
    Item(usize, Prefetched),
    /// [`PrefetchQueue::poll_change`] has something to tell first.
    Changed,
    /// The topic was deleted. The last result.
    Deleted(Error),
    /// Every partition has ended.
    End,
}

/// A change that the consumer takes before the next record.
#[derive(Debug)]
pub(super) enum Change {
    /// A partition is read under this index, which is new or that of a partition that was left.
    Joined(usize, Partition),
    /// The partition with this index is not read any more.
    Left(usize),
    /// The consumer ends with this error.
    Failed(Error),
    /// [`PrefetchQueue::close`] was called.
    Closed,
}

/// The queues of all partitions, addressed by the index of the partition in the consumer.
#[derive(Debug)]
pub(super) struct PrefetchQueue {
    state: Mutex<QueueState>,
    max_bytes: usize,
    max_records: usize,
    /// Whether fetch tasks read only while the consumer waits: reading removes records, and what is removed and not handed
    /// out is lost with the process.
    on_demand: bool,
    /// Set with `QueueState::closed`; read without the lock.
    closed: AtomicBool,
    /// Whether [`PrefetchQueue::poll_change`] has something to tell; read without the lock.
    changed: AtomicBool,
}

#[derive(Debug, Default)]
struct QueueState {
    partitions: Vec<PartitionQueue>,
    /// Changes that the consumer has not taken yet. The queues of new partitions exist.
    changes: VecDeque<Change>,
    /// Whether nothing is handed out for the time being: the member of a shared group has not proven that it lives.
    fenced: bool,
    /// Whether further partitions may come, so that the end of all is no end.
    open_ended: bool,
    /// Partitions with items that are not paused, the next one first.
    ready: VecDeque<usize>,
    /// Partitions whose fetch tasks wait for room.
    waiting: Vec<usize>,
    bytes: usize,
    records: usize,
    ended: usize,
    deleted: Option<Error>,
    closed: bool,
    /// With `on_demand`: whether the consumer has found no item and none has come since.
    demand: bool,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct PartitionQueue {
    items: VecDeque<Prefetched>,
    /// Wakes the fetch task when there may be room.
    room: Arc<Notify>,
    /// Batches in the queue.
    batches: usize,
    /// Raised by a seek. Items of an older generation are dropped.
    generation: u64,
    is_ready: bool,
    is_waiting: bool,
    paused: bool,
    ended: bool,
    /// Whether the consumer has taken an item since the partition joined.
    taken: bool,
}

impl PrefetchQueue {
    pub(super) fn new(count: usize, max_bytes: usize, max_records: usize) -> Arc<Self> {
        Arc::new(Self::with(count, max_bytes, max_records, false))
    }

    fn with(count: usize, max_bytes: usize, max_records: usize, on_demand: bool) -> Self {
        let partitions = (0..count).map(|_| PartitionQueue::default()).collect();
        Self {
            state: Mutex::new(QueueState { partitions, ..QueueState::default() }),
            max_bytes,
            max_records,
            on_demand,
            closed: AtomicBool::new(false),
            changed: AtomicBool::new(false),
        }
    }

    /// Queues of a consumer whose partitions come and go.
    pub(super) fn open_ended(max_bytes: usize, max_records: usize) -> Arc<Self> {
        let mut queue = Self::with(0, max_bytes, max_records, false);
        queue.state.get_mut().open_ended = true;
        Arc::new(queue)
    }

    /// Queues of an engine where reading removes records: at most one batch of each partition is read ahead of the
    /// consumer, and only while it waits.
    pub(super) fn on_demand(count: usize) -> Arc<Self> {
        Arc::new(Self::with(count, 1, 1, true))
    }

    /// Opens the queue of one more partition, or of the one that was left with the index `again`, with its first item. `make`
    /// receives the index and the generation. Returns the index; `None` after [`PrefetchQueue::close`].
    pub(super) fn join(
        &self,
        again: Option<usize>,
        first: Option<Prefetched>,
        make: impl FnOnce(usize, u64) -> Partition,
    ) -> Option<usize> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        let index = again.unwrap_or(state.partitions.len());
        if again.is_none() {
            state.partitions.push(PartitionQueue::default());
        }
        let is_ready = first.is_some();
        let queue = state.partition(index)?;
        queue.items.extend(first);
        (queue.is_ready, queue.paused, queue.taken) = (is_ready, false, false);
        let generation = queue.generation;
        if is_ready {
            state.ready.push_back(index);
        }
        let partition = make(index, generation);
        self.change(&mut state, Change::Joined(index, partition));
        Some(index)
    }

    /// Drops the items of a partition and ends its fetch task. The consumer hands out nothing more of it. Returns whether the
    /// consumer has taken anything of the partition since it joined, and may have it in hand.
    pub(super) fn leave(&self, index: usize) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return true;
        }
        self.clear(&mut state, index);
        self.change(&mut state, Change::Left(index));
        state.partition(index).is_some_and(|queue| queue.taken)
    }

    /// Hands out nothing while `fenced`.
    pub(super) fn fence(&self, fenced: bool) {
        let mut state = self.state.lock();
        if state.fenced == fenced {
            return;
        }
        state.fenced = fenced;
        self.changed.store(true, Ordering::Release);
        state.wake();
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.state.lock().fenced
    }

    /// Ends the consumer with an error, also while it is fenced.
    pub(super) fn fail(&self, error: Error) {
        self.change(&mut self.state.lock(), Change::Failed(error));
    }

    fn change(&self, state: &mut QueueState, change: Change) {
        state.changes.push_back(change);
        self.changed.store(true, Ordering::Release);
        state.wake();
    }

    /// Whether the consumer has to call [`PrefetchQueue::poll_change`] before it hands out more.
    #[inline]
    pub(super) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }

    /// Returns the next change; `None` after the last one. Waits while the queue is fenced.
    pub(super) fn poll_change(&self, cx: &Context<'_>) -> Poll<Option<Change>> {
        let mut state = self.state.lock();
        if state.closed {
            return Poll::Ready(Some(Change::Closed));
        }
        if let Some(change) = state.changes.pop_front() {
            return Poll::Ready(Some(change));
        }
        if state.fenced {
            state.waits(cx);
            return Poll::Pending;
        }
        self.changed.store(false, Ordering::Release);
        Poll::Ready(None)
    }

    /// Waits until a fetch task may read. `false` means that the task has to end.
    pub(super) async fn room(&self, index: usize, generation: u64) -> bool {
        loop {
            let room = {
                let mut state = self.state.lock();
                let has_room = self.has_room(&state);
                let demand = state.demand || !self.on_demand;
                let (closed, has_items) = (state.closed, !state.ready.is_empty());
                let Some(queue) = state.partition(index) else { return false };
                if closed || queue.generation != generation {
                    return false;
                }
                if !queue.paused && demand && (queue.batches == 0 || has_room) {
                    return true;
                }
                let room = Arc::clone(&queue.room);
                // Only `resume` wakes the fetch task of a paused partition.
                if !queue.paused && !queue.is_waiting {
                    queue.is_waiting = true;
                    state.waiting.push(index);
                }
                if has_items {
                    state.wake();
                }
                room
            };
            room.notified().await;
        }
    }

    /// Adds an item of a fetch task. `false` means that the task has to end.
    ///
    /// The consumer is woken once the queues hold [`WORTH_WAKING`] bytes, or by [`PrefetchQueue::wake`], which every fetch
    /// task calls before it waits. Waking another thread costs as much as checking a batch; a run of batches pays it once.
    pub(super) fn push(&self, index: usize, generation: u64, item: Prefetched) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        let closed = state.closed;
        let Some(queue) = state.partition(index) else { return false };
        if closed || queue.generation != generation {
            return false;
        }
        let size = item.size();
        queue.items.push_back(item);
        queue.batches += usize::from(size.is_some());
        let paused = queue.paused;
        let becomes_ready = !paused && !queue.is_ready;
        queue.is_ready |= becomes_ready;
        if becomes_ready {
            state.ready.push_back(index);
        }
        let mut worth_waking = true;
        if let Some((bytes, records)) = size {
            state.bytes += bytes;
            state.records += records;
            state.demand = false;
            worth_waking = self.on_demand || state.bytes >= WORTH_WAKING;
        }
        if worth_waking && !paused {
            state.wake();
        }
        true
    }

    /// Wakes the consumer if there are items. Called by fetch tasks before they wait.
    pub(super) fn wake(&self) {
        let mut state = self.state.lock();
        if !state.ready.is_empty() {
            state.wake();
        }
    }

    /// Ends a partition. `deleted` is set where the topic was deleted.
    pub(super) fn end(&self, index: usize, generation: u64, deleted: Option<Error>) {
        let mut state = self.state.lock();
        let Some(queue) = state.partition(index) else { return };
        if queue.generation == generation && !queue.ended {
            queue.ended = true;
            state.ended += 1;
            if state.deleted.is_none() {
                state.deleted = deleted;
            }
            state.wake();
        }
    }

    /// Returns the next item, of the partition whose turn it is.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Polled> {
        let mut state = self.state.lock();
        let state = &mut *state;
        if self.has_changed() {
            return Poll::Ready(Polled::Changed);
        }
        while let Some(index) = state.ready.pop_front() {
            let Some(queue) = state.partition(index) else { continue };
            queue.is_ready = false;
            // A pause or a seek leaves the partition in `ready`.
            if queue.paused {
                continue;
            }
            let Some(item) = queue.items.pop_front() else { continue };
            let size = item.size();
            queue.taken = true;
            queue.batches -= usize::from(size.is_some());
            queue.is_ready = !queue.items.is_empty();
            if queue.is_ready {
                state.ready.push_back(index);
            }
            if let Some((bytes, records)) = size {
                state.bytes -= bytes;
                state.records -= records;
                self.wake_for_room(state, index);
            }
            return Poll::Ready(Polled::Item(index, item));
        }
        if let Some(end) = state.end() {
            return Poll::Ready(end);
        }
        state.waits(cx);
        if self.on_demand && !state.demand {
            state.demand = true;
            state.wake_waiting();
        }
        Poll::Pending
    }

    /// Puts an item back that was taken and not used up.
    pub(super) fn put_back(&self, index: usize, item: Prefetched) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let size = item.size();
        let Some(queue) = state.partition(index) else { return };
        queue.batches += usize::from(size.is_some());
        queue.items.push_front(item);
        if !queue.paused && !queue.is_ready {
            queue.is_ready = true;
            state.ready.push_back(index);
        }
        if let Some((bytes, records)) = size {
            state.bytes += bytes;
            state.records += records;
        }
    }

    pub(super) fn pause(&self, index: usize) {
        if let Some(queue) = self.state.lock().partition(index) {
            queue.paused = true;
        }
    }

    pub(super) fn resume(&self, index: usize) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(queue) = state.partition(index) else { return };
        queue.paused = false;
        queue.room.notify_one();
        if !queue.items.is_empty() && !queue.is_ready {
            queue.is_ready = true;
            state.ready.push_back(index);
        }
        state.wake();
    }

    /// Drops the items of a partition and reopens its queue. Returns the generation of the next fetch task.
    pub(super) fn restart(&self, index: usize) -> u64 {
        self.clear(&mut self.state.lock(), index)
    }

    fn clear(&self, state: &mut QueueState, index: usize) -> u64 {
        let Some(queue) = state.partition(index) else { return 0 };
        let items = std::mem::take(&mut queue.items);
        queue.batches = 0;
        queue.generation += 1;
        queue.room.notify_one();
        let generation = queue.generation;
        if std::mem::take(&mut queue.ended) {
            state.ended -= 1;
        }
        for (bytes, records) in items.iter().filter_map(Prefetched::size) {
            state.bytes -= bytes;
            state.records -= records;
        }
        self.wake_for_room(state, index);
        generation
    }

    /// Drops all items. [`PrefetchQueue::poll_change`] returns [`Change::Closed`] from now on.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        self.closed.store(true, Ordering::Release);
        self.changed.store(true, Ordering::Release);
        state.ready.clear();
        state.changes.clear();
        for queue in &mut state.partitions {
            queue.items.clear();
            queue.batches = 0;
            queue.room.notify_one();
        }
        (state.bytes, state.records) = (0, 0);
        state.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn has_room(&self, state: &QueueState) -> bool {
        state.bytes < self.max_bytes && state.records < self.max_records
    }

    /// Wakes fetch tasks after an item has left the queue of `index`.
    fn wake_for_room(&self, state: &mut QueueState, index: usize) {
        if self.has_room(state) {
            // Each of them reads one batch or waits for records, so that a wake without effect happens once a batch at most.
            state.wake_waiting();
        } else if let Some(queue) = state.partition(index)
            && queue.batches == 0
            && queue.is_waiting
        {
            queue.room.notify_one();
        }
    }

    /// Bound on the bytes in the queues, apart from one batch for each partition.
    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Bytes and records in the queues.
    pub(super) fn held(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.bytes, state.records)
    }
}

impl QueueState {
    /// Wakes the fetch tasks that wait for room.
    fn wake_waiting(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        for index in waiting.drain(..) {
            if let Some(queue) = self.partition(index) {
                queue.is_waiting = false;
                queue.room.notify_one();
            }
        }
        self.waiting = waiting;
    }

    /// The queue of a partition. Indexes come from [`PrefetchQueue::new`] and [`PrefetchQueue::join`].
    fn partition(&mut self, index: usize) -> Option<&mut PartitionQueue> {
        let queue = self.partitions.get_mut(index);
        invariant!(queue.is_some(), "partition {index} has a queue");
        queue
    }

    /// The end of the consumer, once it is reached.
    fn end(&mut self) -> Option<Polled> {
        let all_ended = self.ended == self.partitions.len() && !self.open_ended;
        // A paused partition may hold items, which `resume` brings out.
        if all_ended && self.partitions.iter().all(|queue| queue.items.is_empty()) {
            return Some(self.deleted.take().map_or(Polled::End, Polled::Deleted));
        }
        if self.deleted.is_some() && self.partitions.iter().all(|queue| queue.paused || queue.ended) {
            return self.deleted.take().map(Polled::Deleted);
        }
        None
    }

    /// Keeps the waker of the consumer.
    fn waits(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
