//! The partitions that a producer knows: those of the start, and those that the topic got later.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, Ordering},
};

use super::accumulator::Partition;

/// A list that only grows, read without a lock: every record looks up its partition.
#[derive(Debug)]
pub(super) struct Partitions {
    head: Part,
    count: AtomicU32,
}

/// What came at once, and what came after it.
#[derive(Debug)]
struct Part {
    partitions: Vec<Arc<Partition>>,
    next: OnceLock<Box<Self>>,
}

impl Part {
    fn new(from: u32, to: u32) -> Self {
        Self {
            partitions: (from..to).map(|index| Arc::new(Partition::new(index))).collect(),
            next: OnceLock::new(),
        }
    }
}

impl Partitions {
    pub(super) fn new(count: u32) -> Self {
        Self { head: Part::new(0, count), count: AtomicU32::new(count) }
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

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Partition>> {
        let parts = std::iter::successors(Some(&self.head), |part| part.next.get().map(Box::as_ref));
        parts.flat_map(|part| &part.partitions)
    }

    /// Adds what is missing to `count`; true if there was something. One caller at a time: of two, one adds nothing.
    pub(super) fn grow_to(&self, count: u32) -> bool {
        let known = self.count();
        if count <= known {
            return false;
        }
        let mut last = &self.head;
        while let Some(next) = last.next.get() {
            last = next;
        }
        let added = last.next.set(Box::new(Part::new(known, count))).is_ok();
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
        let partitions = Partitions::new(2);
        assert!(partitions.get(2).is_none());
        assert!(!partitions.grow_to(2) && !partitions.grow_to(1));
        assert!(partitions.grow_to(3) && partitions.grow_to(6));
        assert_eq!(partitions.count(), 6);
        for index in 0..6 {
            assert_eq!(partitions.get(index).unwrap().index, index);
        }
        assert!(partitions.get(6).is_none());
        assert!(partitions.iter().map(|partition| partition.index).eq(0..6));
    }
}
