//! Counters and report of a processor.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::topic::TopicPartition;

/// Counters of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProcessorStats {
    /// Records read.
    pub read: u64,
    /// Records that are done: every record made from them is acknowledged.
    pub handled: u64,
    /// Records written to the output topic and acknowledged.
    pub produced: u64,
    /// Attempts after the first one.
    pub retries: u64,
    /// Records that went to the dead-letter topic.
    pub dead_letters: u64,
}

/// Final counters of a processor, and the records that it left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "it lists the records that are left"]
#[non_exhaustive]
pub struct ProcessorReport {
    /// Records read.
    pub read: u64,
    /// Records that are done: every record made from them is acknowledged.
    pub handled: u64,
    /// Records written to the output topic and acknowledged.
    pub produced: u64,
    /// Attempts after the first one.
    pub retries: u64,
    /// Records that went to the dead-letter topic.
    pub dead_letters: u64,
    /// Records that were read and not done within the drain timeout; the next run begins with them.
    pub left: Vec<LeftOver>,
}

/// Records of one partition that a processor read and did not finish.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOver {
    /// The partition.
    pub at: TopicPartition,
    /// Offset of the first of them.
    pub first_offset: i64,
    /// Number of records.
    pub records: u64,
}

impl fmt::Display for LeftOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} from offset {} on", self.records, self.at, self.first_offset)
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) read: AtomicU64,
    pub(super) handled: AtomicU64,
    pub(super) produced: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) dead_letters: AtomicU64,
}

impl Counters {
    pub(super) fn stats(&self) -> ProcessorStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProcessorStats {
            read: read(&self.read),
            handled: read(&self.handled),
            produced: read(&self.produced),
            retries: read(&self.retries),
            dead_letters: read(&self.dead_letters),
        }
    }

    pub(super) fn report(&self, left: Vec<LeftOver>) -> ProcessorReport {
        let ProcessorStats { read, handled, produced, retries, dead_letters } = self.stats();
        ProcessorReport { read, handled, produced, retries, dead_letters, left }
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
