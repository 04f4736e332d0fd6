//! The newest batches in memory, and the readers that wait for more.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
};

use floe_wire::batch::EncodedBatch;
use parking_lot::Mutex;

/// Wakers that belong to nobody in particular; beyond this many all are woken, and who still cares registers again.
const MAX_LOOSE_WAKERS: usize = 1024;

/// The bytes that all tails of a store may hold together.
#[derive(Debug)]
pub(crate) struct TailBudget {
    used: AtomicUsize,
    limit: usize,
}

impl TailBudget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit })
    }

    fn is_over(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.limit
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// The newest batches of one partition, without a gap: the producers' own bytes, shared by all readers at the end.
/// Filled only while somebody reads the partition.
#[derive(Debug)]
pub(crate) struct Tail {
    ring: Mutex<Ring>,
    readers: AtomicUsize,
    limit: usize,
    budget: Arc<TailBudget>,
}

#[derive(Debug, Default)]
struct Ring {
    batches: VecDeque<EncodedBatch>,
    bytes: usize,
}

impl Tail {
    pub(crate) fn new(limit: usize, budget: &Arc<TailBudget>) -> Self {
        Self { ring: Mutex::default(), readers: AtomicUsize::new(0), limit, budget: Arc::clone(budget) }
    }

    pub(crate) fn add_reader(&self) {
        self.readers.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn remove_reader(&self) {
        if self.readers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.clear();
        }
    }

    pub(crate) fn clear(&self) {
        let mut ring = self.ring.lock();
        self.budget.used.fetch_sub(ring.bytes, Ordering::Relaxed);
        *ring = Ring::default();
    }

    /// Adds appended batches; called in the order of their offsets.
    pub(crate) fn push(&self, batches: impl Iterator<Item = EncodedBatch>) {
        let mut ring = self.ring.lock();
        // Under the lock, so that a reader that leaves now finds the ring as it will stay.
        if self.readers.load(Ordering::Acquire) == 0 {
            return;
        }
        for batch in batches {
            if ring.batches.back().is_some_and(|last| last.next_offset() != batch.base_offset()) {
                self.budget.used.fetch_sub(ring.bytes, Ordering::Relaxed);
                *ring = Ring::default();
            }
            ring.bytes += batch.len();
            self.budget.used.fetch_add(batch.len(), Ordering::Relaxed);
            ring.batches.push_back(batch);
        }
        while ring.bytes > self.limit || self.budget.is_over() {
            let Some(oldest) = ring.batches.pop_front() else { break };
            ring.bytes -= oldest.len();
            self.budget.used.fetch_sub(oldest.len(), Ordering::Relaxed);
        }
    }

    /// Batches from the one that holds `from` on, as long as they end at or before `readable` and fit into
    /// `max_bytes` (the first always fits). Empty if the tail does not reach back to `from`.
    pub(crate) fn read(&self, from: i64, readable: i64, max_bytes: usize) -> Vec<EncodedBatch> {
        let ring = self.ring.lock();
        if ring.batches.front().is_none_or(|first| first.base_offset() > from) {
            return Vec::new();
        }
        let first = ring.batches.partition_point(|batch| batch.next_offset() <= from);
        let mut bytes = 0;
        let fitting = |batch: &&EncodedBatch| {
            let is_first = bytes == 0;
            bytes += batch.len();
            batch.next_offset() <= readable && (is_first || bytes <= max_bytes)
        };
        ring.batches.range(first..).take_while(fitting).cloned().collect()
    }
}

/// Those who wait for the readable end to move.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    inner: Mutex<WaiterLists>,
}

#[derive(Debug, Default)]
struct WaiterLists {
    /// One slot for each reader: leaves with it.
    readers: HashMap<u64, Waker>,
    loose: Vec<Waker>,
}

impl Waiters {
    /// Registers a reader; replaces what it registered before.
    pub(crate) fn register(&self, reader: u64, waker: &Waker) {
        let mut lists = self.inner.lock();
        match lists.readers.get_mut(&reader) {
            Some(present) => present.clone_from(waker),
            None => {
                lists.readers.insert(reader, waker.clone());
            }
        }
    }

    pub(crate) fn unregister(&self, reader: u64) {
        self.inner.lock().readers.remove(&reader);
    }

    /// Registers a waker that no reader owns.
    pub(crate) fn register_loose(&self, waker: &Waker) {
        let mut lists = self.inner.lock();
        if lists.loose.iter().any(|present| present.will_wake(waker)) {
            return;
        }
        let crowd =
            if lists.loose.len() >= MAX_LOOSE_WAKERS { std::mem::take(&mut lists.loose) } else { Vec::new() };
        lists.loose.push(waker.clone());
        drop(lists);
        crowd.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn wake_all(&self) {
        let mut lists = self.inner.lock();
        if lists.readers.is_empty() && lists.loose.is_empty() {
            return;
        }
        let woken: Vec<_> = lists.readers.drain().map(|(_, waker)| waker).collect();
        let loose = std::mem::take(&mut lists.loose);
        drop(lists);
        woken.into_iter().chain(loose).for_each(Waker::wake);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        let lists = self.inner.lock();
        lists.readers.len() + lists.loose.len()
    }
}
