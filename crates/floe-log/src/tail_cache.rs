//! Cache of the newest batches of a partition.

use std::{collections::VecDeque, sync::Arc};

use floe_wire::batch::EncodedBatch;

use crate::{
    invariant::invariant,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Limit for the bytes in all tail caches of a store together.
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

/// Newest batches of one partition, without a gap. Readers at the end share the producers' own bytes. Filled only while
/// the partition has readers.
#[derive(Debug)]
pub(crate) struct TailCache {
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

impl TailCache {
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

    /// Adds appended batches, in the order of their offsets.
    pub(crate) fn push(&self, batches: impl Iterator<Item = EncodedBatch>) {
        let mut ring = self.ring.lock();
        // Checked under the lock, so that the last reader to leave clears everything that was added.
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
            let Some(oldest) = ring.batches.pop_front() else {
                // The other caches of the store use up the budget.
                invariant!(ring.bytes == 0, "an empty tail cache counts no bytes");
                break;
            };
            ring.bytes -= oldest.len();
            self.budget.used.fetch_sub(oldest.len(), Ordering::Relaxed);
        }
    }

    /// Returns batches from the one that holds `from` on, as long as they end at or before `readable` and fit into
    /// `max_bytes` (the first always fits). Empty if the cache does not reach back to `from`.
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn batch(base_offset: i64, len: usize) -> EncodedBatch {
        let mut bytes = vec![0u8; len];
        bytes[8..12].copy_from_slice(&(len as i32 - 12).to_be_bytes());
        bytes[16] = 2;
        EncodedBatch::parse(Bytes::from(bytes)).unwrap().with_base_offset(base_offset)
    }

    #[test]
    fn batches_are_cached_for_readers_only_and_within_both_limits() {
        let budget = TailBudget::new(1_500);
        let (tail, other) = (TailCache::new(1_000, &budget), TailCache::new(1_000, &budget));
        tail.push([batch(0, 100)].into_iter());
        assert_eq!((tail.read(0, 1, 1_000).len(), budget.used()), (0, 0), "no reader");
        tail.add_reader();
        tail.push((1..21).map(|offset| batch(offset, 100)));
        assert_eq!(budget.used(), 1_000);
        assert!(tail.read(10, 21, 10_000).is_empty(), "too old");
        assert_eq!(tail.read(11, 21, 10_000).len(), 10);
        assert_eq!(tail.read(15, 18, 10_000).len(), 3, "only what is readable");
        assert_eq!(tail.read(15, 21, 250).len(), 2);
        assert_eq!(tail.read(15, 21, 1).len(), 1, "one always");
        other.add_reader();
        other.push((0..10).map(|offset| batch(offset, 100)));
        assert_eq!(budget.used(), 1_500, "the second cache gets the rest of the budget");
        assert_eq!(other.read(5, 10, 10_000).len(), 5);
        tail.remove_reader();
        assert_eq!(budget.used(), 500);
    }

    #[test]
    fn gap_clears_the_cache() {
        let tail = TailCache::new(1_000, &TailBudget::new(1_000));
        tail.add_reader();
        tail.push([batch(0, 100), batch(5, 100)].into_iter());
        assert!(tail.read(0, 6, 1_000).is_empty());
        assert_eq!(tail.read(5, 6, 1_000).len(), 1);
    }
}
