//! Brings the partitions of a consumer together: one queue for each, one bound on memory for all.
//!
//! A fetch task asks for room before it reads. There is room while the bound is not reached, and always for a
//! partition that holds nothing: so the memory is at most the bound and one batch for each partition, and no partition
//! keeps another from being read. Batches leave the queues round-robin.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Gap, Partition, RecordBatch};
use crate::Error;

/// Bytes in the queues at which the consumer is woken while fetch tasks are still busy.
const WORTH_WAKING: usize = 256 * 1024;

/// What a fetch task found.
#[derive(Debug)]
pub(super) enum Prefetched {
    Records(RecordBatch),
    Gap(Gap),
    Error(Error),
}

/// What the consumer gets.
#[derive(Debug)]
pub(super) enum Polled {
    /// From the partition with this index.
    Item(usize, Prefetched),
    /// The topic has one more partition, which takes the next index.
    Joined(Partition),
    /// The topic was deleted; nothing more comes.
    Deleted(Error),
    /// Every partition has ended.
    End,
    /// [`PrefetchQueue::close`] was called.
    Closed,
}

/// The queues of all partitions, addressed by their index in the consumer.
#[derive(Debug)]
pub(super) struct PrefetchQueue {
    state: Mutex<QueueState>,
    max_bytes: usize,
    max_records: usize,
    /// Set with `QueueState::closed`; read without the lock.
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct QueueState {
    queue: Vec<PartitionQueue>,
    /// Partitions that the consumer does not know of yet. Their queue are there.
    joined: VecDeque<Partition>,
    /// Partitions with something to hand out that are not paused, the next one first.
    ready: VecDeque<usize>,
    /// Partitions whose fetch tasks wait for room.
    waiting: Vec<usize>,
    bytes: usize,
    records: usize,
    ended: usize,
    deleted: Option<Error>,
    closed: bool,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct PartitionQueue {
    queue: VecDeque<Prefetched>,
    /// Wakes the fetch task when there may be room.
    room: Arc<Notify>,
    /// Batches in the queue.
    batches: usize,
    /// Raised by a seek; what comes for an older one is dropped.
    generation: u64,
    is_ready: bool,
    is_waiting: bool,
    paused: bool,
    ended: bool,
}

impl PrefetchQueue {
    pub(super) fn new(count: usize, max_bytes: usize, max_records: usize) -> Arc<Self> {
        let queue = (0..count).map(|_| PartitionQueue::default()).collect();
        Arc::new(Self {
            state: Mutex::new(QueueState { queue, ..QueueState::default() }),
            max_bytes,
            max_records,
            closed: AtomicBool::new(false),
        })
    }

    /// Opens the queue of one more partition, with what comes first in it. `make` gets its index. Nothing happens once
    /// nothing more is wanted.
    pub(super) fn join(&self, first: Option<Prefetched>, make: impl FnOnce(usize) -> Partition) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        let index = state.queue.len();
        let is_ready = first.is_some();
        state.queue.push(PartitionQueue {
            queue: first.into_iter().collect(),
            is_ready,
            ..PartitionQueue::default()
        });
        if is_ready {
            state.ready.push_back(index);
        }
        state.joined.push_back(make(index));
        wake(&mut state.waker);
    }

    /// For fetch tasks: waits until there is room. `false` means that nothing more is wanted.
    pub(super) async fn room(&self, index: usize, generation: u64) -> bool {
        loop {
            let room = {
                let mut state = self.state.lock();
                let has_room = self.has_room(&state);
                let closed = state.closed;
                let Some(lane) = state.queue.get_mut(index) else { return false };
                if closed || lane.generation != generation {
                    return false;
                }
                if !lane.paused && (lane.batches == 0 || has_room) {
                    return true;
                }
                if !state.ready.is_empty() {
                    wake(&mut state.waker);
                }
                let Some(lane) = state.queue.get_mut(index) else { return false };
                // A paused partition is woken by `resume` alone.
                if !lane.paused && !lane.is_waiting {
                    lane.is_waiting = true;
                    let room = Arc::clone(&lane.room);
                    state.waiting.push(index);
                    room
                } else {
                    Arc::clone(&lane.room)
                }
            };
            room.notified().await;
        }
    }

    /// For fetch tasks: hands over. `false` means that nothing more is wanted.
    ///
    /// The consumer is woken once enough has gathered, or by [`PrefetchQueue::tell`], which every fetch task calls before it
    /// waits. Waking another thread costs as much as checking a batch; this way a run of batches costs it once.
    pub(super) fn push(&self, index: usize, generation: u64, item: Prefetched) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(lane) = state.queue.get_mut(index) else { return false };
        if state.closed || lane.generation != generation {
            return false;
        }
        let mut worth_waking = true;
        if let Prefetched::Records(batch) = &item {
            lane.batches += 1;
            state.bytes += batch.memory();
            state.records += batch.len();
            worth_waking = state.bytes >= WORTH_WAKING;
        }
        lane.queue.push_back(item);
        if !lane.paused {
            if !lane.is_ready {
                lane.is_ready = true;
                state.ready.push_back(index);
            }
            if worth_waking {
                wake(&mut state.waker);
            }
        }
        true
    }

    /// For fetch tasks, before they wait: wakes the consumer if there is something for it.
    pub(super) fn tell(&self) {
        let mut state = self.state.lock();
        if !state.ready.is_empty() {
            wake(&mut state.waker);
        }
    }

    /// For fetch tasks: nothing more comes for this partition. `deleted` is set where the topic is gone.
    pub(super) fn end(&self, index: usize, generation: u64, deleted: Option<Error>) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(lane) = state.queue.get_mut(index) else { return };
        if lane.generation == generation && !lane.ended {
            lane.ended = true;
            state.ended += 1;
            if state.deleted.is_none() {
                state.deleted = deleted;
            }
            wake(&mut state.waker);
        }
    }

    /// The next item of the partition whose turn it is.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Polled> {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.closed {
            return Poll::Ready(Polled::Closed);
        }
        if let Some(partition) = state.joined.pop_front() {
            return Poll::Ready(Polled::Joined(partition));
        }
        while let Some(index) = state.ready.pop_front() {
            let Some(lane) = state.queue.get_mut(index) else { continue };
            lane.is_ready = false;
            if lane.paused {
                continue;
            }
            let Some(item) = lane.queue.pop_front() else { continue };
            if !lane.queue.is_empty() {
                lane.is_ready = true;
                state.ready.push_back(index);
            }
            if let Prefetched::Records(batch) = &item {
                lane.batches -= 1;
                state.bytes -= batch.memory();
                state.records -= batch.len();
                self.wake_for_room(state, index);
            }
            return Poll::Ready(Polled::Item(index, item));
        }
        let all_ended = state.ended == state.queue.len();
        // A paused partition may hold something that a later `resume` brings out.
        if all_ended && state.queue.iter().all(|lane| lane.queue.is_empty()) {
            return Poll::Ready(match state.deleted.take() {
                Some(error) => Polled::Deleted(error),
                None => Polled::End,
            });
        }
        if state.deleted.is_some()
            && state.queue.iter().all(|lane| lane.paused || lane.ended)
            && let Some(error) = state.deleted.take()
        {
            return Poll::Ready(Polled::Deleted(error));
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Puts back what was taken and not used up.
    pub(super) fn put_back(&self, index: usize, item: Prefetched) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(lane) = state.queue.get_mut(index) else { return };
        if let Prefetched::Records(batch) = &item {
            lane.batches += 1;
            state.bytes += batch.memory();
            state.records += batch.len();
        }
        lane.queue.push_front(item);
        if !lane.paused && !lane.is_ready {
            lane.is_ready = true;
            state.ready.push_back(index);
        }
    }

    pub(super) fn pause(&self, index: usize) {
        if let Some(lane) = self.state.lock().queue.get_mut(index) {
            lane.paused = true;
        }
    }

    pub(super) fn resume(&self, index: usize) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(lane) = state.queue.get_mut(index) else { return };
        lane.paused = false;
        if !lane.queue.is_empty() && !lane.is_ready {
            lane.is_ready = true;
            state.ready.push_back(index);
        }
        lane.room.notify_one();
        wake(&mut state.waker);
    }

    /// Drops what the partition holds and opens it anew. Returns the generation of the next fetch task.
    pub(super) fn restart(&self, index: usize) -> u64 {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(lane) = state.queue.get_mut(index) else { return 0 };
        for item in lane.queue.drain(..) {
            if let Prefetched::Records(batch) = item {
                state.bytes -= batch.memory();
                state.records -= batch.len();
            }
        }
        lane.batches = 0;
        lane.generation += 1;
        if lane.ended {
            lane.ended = false;
            state.ended -= 1;
        }
        let generation = lane.generation;
        self.wake_for_room(state, index);
        generation
    }

    /// Drops everything. Nothing comes any more.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        self.closed.store(true, Ordering::Release);
        state.ready.clear();
        state.joined.clear();
        for lane in &mut state.queue {
            lane.queue.clear();
            lane.batches = 0;
            lane.room.notify_one();
        }
        (state.bytes, state.records) = (0, 0);
        wake(&mut state.waker);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn has_room(&self, state: &QueueState) -> bool {
        state.bytes < self.max_bytes && state.records < self.max_records
    }

    /// After something left the queue of `index`.
    fn wake_for_room(&self, state: &mut QueueState, index: usize) {
        if self.has_room(state) {
            // Each of them reads one batch or waits for records, so nobody is woken for nothing more than once a batch.
            for waiting in state.waiting.drain(..) {
                if let Some(lane) = state.queue.get_mut(waiting) {
                    lane.is_waiting = false;
                    lane.room.notify_one();
                }
            }
        } else if let Some(lane) = state.queue.get(index)
            && lane.batches == 0
            && lane.is_waiting
        {
            lane.room.notify_one();
        }
    }

    /// Most bytes in the queues, one batch for each partition aside.
    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Bytes and records in the queues.
    pub(super) fn held(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.bytes, state.records)
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
