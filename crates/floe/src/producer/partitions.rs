//! The partitions that a producer knows: those of the start, and those added to the topic later.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, Ordering},
};

use super::{accumulator::Partition, unreported_failures::UnreportedFailures};

/// A list that only grows, read without a lock: every record looks up its partition.
#[derive(Debug)]
pub(super) struct Partitions {
    head: Segment,
    count: AtomicU32,
}

/// Partitions that were added at once, and the segment after them.
#[derive(Debug)]
struct Segment {
    partitions: Vec<Arc<Partition>>,
    next: OnceLock<Box<Self>>,
}

impl Segment {
    fn new(from: u32, to: u32, unreported: &Arc<UnreportedFailures>) -> Self {
        Self {
            partitions: (from..to).map(|index| Arc::new(Partition::new(index, unreported))).collect(),
            next: OnceLock::new(),
        }
    }
}

impl Partitions {
    pub(super) fn new(count: u32, unreported: &Arc<UnreportedFailures>) -> Self {
        Self { head: Segment::new(0, count, unreported), count: AtomicU32::new(count) }
    }

    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&Arc<Partition>> {
        match self.head.partitions.get(index as usize) {
            Some(partition) => Some(partition),
            None => self.later(index),
        }
    }

    #[cold]
    fn later(&self, index: u32) -> Option<&Arc<Partition>> {
        self.iter().nth(index as usize)
    }

    /// All partitions, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Partition>> {
        let segments = std::iter::successors(Some(&self.head), |segment| segment.next.get().map(Box::as_ref));
        segments.flat_map(|segment| &segment.partitions)
    }

    /// Adds partitions up to `count`; true if some were added. Not for concurrent callers: all but one would add nothing.
    pub(super) fn grow_to(&self, count: u32, unreported: &Arc<UnreportedFailures>) -> bool {
        let known = self.count();
        if count <= known {
            return false;
        }
        let mut last = &self.head;
        while let Some(next) = last.next.get() {
            last = next;
        }
        let added = last.next.set(Box::new(Segment::new(known, count, unreported))).is_ok();
        if added {
            self.count.store(count, Ordering::Release);
        }
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_added_at_the_end() {
        let unreported = Arc::default();
        let partitions = Partitions::new(2, &unreported);
        assert!(partitions.get(2).is_none());
        let grow_to = |count| partitions.grow_to(count, &unreported);
        assert!(!grow_to(2) && !grow_to(1));
        assert!(grow_to(3) && grow_to(6));
        assert_eq!(partitions.count(), 6);
        for index in 0..6 {
            assert_eq!(partitions.get(index).unwrap().index, index);
        }
        assert!(partitions.get(6).is_none());
        assert!(partitions.iter().map(|partition| partition.index).eq(0..6));
    }
}
