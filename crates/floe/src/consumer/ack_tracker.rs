//! Tracks finished records, and with them the offset that may be stored for a group.

use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::task_facts::{SharedProgress, TaskFacts};
use crate::{config::AckMode, history::PartitionHistory};

/// Bound on the runs of unacknowledged records of one partition. Each takes a few dozen bytes; a program that leaves out every
/// second record reaches the bound after 130,000 records.
pub(super) const MAX_RUNS: usize = 65_536;

/// Stands for no finished record.
const NOTHING: i64 = i64::MIN;

/// Tracks the finished records of one partition. The consumer and acknowledgements from any task write it, the committer
/// reads it.
#[derive(Debug)]
pub(super) struct AckTracker {
    mode: AckMode,
    /// Offset at which reading began, or to which a seek moved it.
    origin: AtomicI64,
    /// Offset at which reading began, or [`NOTHING`] after a seek.
    start: AtomicI64,
    /// With [`AckMode::Auto`]: offset after the last finished record, or [`NOTHING`].
    finished: AtomicI64,
    /// Whether the consumer hands out no further record of the partition.
    left: AtomicBool,
    /// Whether another member of the group may have the partition, and wakes those that wait for that.
    lost: AtomicBool,
    losing: Notify,
    /// With [`AckMode::Explicit`].
    window: Mutex<AckWindow>,
    history: PartitionHistory,
    /// Set where the partition is read for a task, which stores its own progress once it has begun.
    task: Option<TaskFacts>,
    progress: OnceLock<SharedProgress>,
}

impl AckTracker {
    pub(super) fn new(mode: AckMode, origin: i64) -> Self {
        Self {
            mode,
            origin: AtomicI64::new(origin),
            start: AtomicI64::new(origin),
            finished: AtomicI64::new(NOTHING),
            left: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            losing: Notify::new(),
            window: Mutex::new(AckWindow::new(origin, 0)),
            history: PartitionHistory::default(),
            task: None,
            progress: OnceLock::new(),
        }
    }

    /// Tells a history of finished records.
    pub(super) fn with_history(self, history: PartitionHistory) -> Self {
        Self { history, ..self }
    }

    /// The history of the partition.
    #[inline]
    pub(super) fn history(&self) -> &PartitionHistory {
        &self.history
    }

    /// Whether a later call of the application finishes its records.
    pub(super) fn is_auto(&self) -> bool {
        self.mode == AckMode::Auto
    }

    /// Reads for a task.
    pub(super) fn for_task(self, task: Option<TaskFacts>) -> Self {
        Self { task, ..self }
    }

    pub(super) fn task(&self) -> Option<&TaskFacts> {
        self.task.as_ref()
    }

    pub(super) fn set_progress(&self, progress: SharedProgress) {
        // The first one stays.
        let _ = self.progress.set(progress);
    }

    /// Returns the progress of the task to store; `None` before the task has begun.
    pub(super) fn task_progress(&self) -> Option<(i64, String)> {
        Some(self.progress.get()?.commit(self.is_settled()))
    }

    /// Restarts at another offset. Acknowledgements of records handed out before have no effect any more.
    pub(super) fn restart(&self, origin: i64) {
        let mut window = self.window.lock();
        self.origin.store(origin, Ordering::Release);
        self.start.store(NOTHING, Ordering::Release);
        self.finished.store(NOTHING, Ordering::Release);
        *window = AckWindow::new(origin, window.generation + 1);
    }

    /// With [`AckMode::Auto`]: finishes all records below `next`.
    #[inline]
    pub(super) fn finish_below(&self, next: i64) {
        if self.mode == AckMode::Auto {
            self.history.finished_below(next);
            self.finished.store(next, Ordering::Release);
        }
    }

    /// Adds the records from `from` up to `to`, which go to the application. Returns the generation that their
    /// acknowledgement must carry, if they need one.
    #[inline]
    pub(super) fn hand_out(&self, from: i64, to: i64) -> Option<u64> {
        match self.mode {
            AckMode::Auto => None,
            AckMode::Explicit => {
                let mut window = self.window.lock();
                window.hand_out(from, to);
                Some(window.generation)
            }
        }
    }

    /// Notes that no further record of the partition is handed out.
    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }

    /// Notes that the records in hand are no longer those of this consumer: another member of the group may have them.
    pub(super) fn lose(&self) {
        self.leave();
        self.lost.store(true, Ordering::Release);
        self.losing.notify_waiters();
    }

    /// Whether [`AckTracker::lose`] was called.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Waits for [`AckTracker::lose`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub(super) async fn lost(&self) {
        // Made before the look, so that it hears of a loss in between.
        let losing = self.losing.notified();
        if !self.is_lost() {
            losing.await;
        }
    }

    /// Whether all records that were handed out are finished, and no further ones come.
    pub(super) fn is_settled(&self) -> bool {
        self.left.load(Ordering::Acquire) && self.unacknowledged().is_none()
    }

    /// Whether the bound on unacknowledged runs is reached.
    pub(super) fn is_full(&self) -> bool {
        self.mode == AckMode::Explicit && self.window.lock().unacknowledged.len() >= MAX_RUNS
    }

    /// With [`AckMode::Explicit`]: the offset of the first unacknowledged record, and the number of unacknowledged offsets;
    /// `None` if there is none.
    pub(super) fn unacknowledged(&self) -> Option<(i64, u64)> {
        let window = self.window.lock();
        let first = *window.unacknowledged.first_key_value()?.0;
        let offsets: i64 = window.unacknowledged.iter().map(|(from, to)| to - from).sum();
        Some((first, u64::try_from(offsets).unwrap_or_default()))
    }

    /// Acknowledges the records from `from` up to `to`.
    pub(super) fn acknowledge(&self, generation: u64, from: i64, to: i64) {
        let mut window = self.window.lock();
        if window.generation == generation {
            window.acknowledge(from, to);
        }
    }

    /// Returns the offset below which all records are finished; `None` while none is.
    pub(super) fn finished(&self) -> Option<i64> {
        let finished = match self.mode {
            AckMode::Auto => self.finished.load(Ordering::Acquire),
            AckMode::Explicit => {
                let window = self.window.lock();
                let low = window.low();
                if low > window.origin { low } else { NOTHING }
            }
        };
        (finished != NOTHING).then_some(finished)
    }

    /// Returns the offset at which reading began; `None` after a seek.
    pub(super) fn start(&self) -> Option<i64> {
        Some(self.start.load(Ordering::Acquire)).filter(|start| *start != NOTHING)
    }

    /// As [`AckTracker::finished`], or the offset at which reading began.
    pub(super) fn finished_or_origin(&self) -> i64 {
        self.finished().unwrap_or_else(|| self.origin.load(Ordering::Acquire))
    }
}

/// Records that are finished only together, because their offsets are not those under which they are stored.
#[derive(Debug)]
pub(super) struct AckGroup {
    /// The offsets of the group.
    from: i64,
    next: i64,
    count: i64,
    /// The unacknowledged records, numbered from 0.
    window: Mutex<AckWindow>,
}

impl AckGroup {
    pub(super) fn new(from: i64, next: i64, count: usize) -> Self {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let mut window = AckWindow::new(0, 0);
        window.hand_out(0, count);
        Self { from, next, count, window: Mutex::new(window) }
    }

    /// Acknowledges one record. Returns the offsets of the group once all its records are acknowledged.
    pub(super) fn acknowledge(&self, index: i64) -> Option<(i64, i64)> {
        let mut window = self.window.lock();
        window.acknowledge(index, index.saturating_add(1));
        (window.low() == self.count).then_some((self.from, self.next))
    }
}

/// The unacknowledged records, as runs of offsets.
///
/// Acknowledgements mostly come in order, so that there is one run. [`MAX_RUNS`] bounds the memory; the consumer checks it before
/// it hands out more.
#[derive(Debug)]
struct AckWindow {
    generation: u64,
    origin: i64,
    /// Offset after the last record handed out.
    position: i64,
    /// Start of each run to the offset after its end. Runs neither touch nor overlap.
    unacknowledged: BTreeMap<i64, i64>,
}

impl AckWindow {
    fn new(origin: i64, generation: u64) -> Self {
        Self { generation, origin, position: origin, unacknowledged: BTreeMap::new() }
    }

    fn hand_out(&mut self, from: i64, to: i64) {
        if from >= to {
            return;
        }
        self.position = to;
        match self.unacknowledged.last_entry() {
            Some(mut last) if *last.get() >= from => {
                last.insert(to);
            }
            _ => {
                self.unacknowledged.insert(from, to);
            }
        }
    }

    fn acknowledge(&mut self, from: i64, to: i64) {
        while let Some((&start, &end)) = self.unacknowledged.range(..to).next_back() {
            if end <= from {
                break;
            }
            self.unacknowledged.remove(&start);
            if to < end {
                self.unacknowledged.insert(to, end);
            }
            if start < from {
                self.unacknowledged.insert(start, from);
                break;
            }
        }
    }

    /// Returns the offset below which no record is unacknowledged.
    fn low(&self) -> i64 {
        self.unacknowledged.first_key_value().map_or(self.position, |(start, _)| *start)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn auto_finishes_the_previous_record() {
        let acks = AckTracker::new(AckMode::Auto, 7);
        assert_eq!((acks.finished(), acks.finished_or_origin()), (None, 7));
        assert_eq!(acks.hand_out(7, 8), None);
        assert_eq!(acks.finished(), None);
        acks.finish_below(8);
        assert_eq!(acks.finished(), Some(8));
        acks.restart(3);
        assert_eq!((acks.finished(), acks.finished_or_origin()), (None, 3));
    }

    #[test]
    fn explicit_waits_for_the_oldest_record() {
        let acks = AckTracker::new(AckMode::Explicit, 0);
        let generation = acks.hand_out(0, 1).unwrap();
        acks.hand_out(1, 2);
        acks.hand_out(5, 6); // after a gap
        acks.finish_below(6); // asking for more finishes nothing
        acks.acknowledge(generation, 1, 2);
        assert_eq!(acks.finished(), None);
        acks.acknowledge(generation, 0, 1);
        acks.acknowledge(generation, 0, 1);
        assert_eq!(acks.finished(), Some(5));
        acks.acknowledge(generation, 5, 6);
        assert_eq!(acks.finished(), Some(6));
    }

    #[test]
    fn a_group_is_finished_as_a_whole() {
        let group = AckGroup::new(10, 12, 3);
        assert_eq!([2, 0, 0, 2].map(|index| group.acknowledge(index)), [None; 4]);
        assert_eq!(group.acknowledge(1), Some((10, 12)));
        assert_eq!(group.acknowledge(0), Some((10, 12)), "once more");
    }

    #[test]
    fn acknowledgements_before_a_seek_have_no_effect() {
        let acks = AckTracker::new(AckMode::Explicit, 0);
        let before = acks.hand_out(0, 1).unwrap();
        acks.restart(0);
        let after = acks.hand_out(0, 1).unwrap();
        acks.acknowledge(before, 0, 1);
        assert_eq!(acks.finished(), None);
        acks.acknowledge(after, 0, 1);
        assert_eq!(acks.finished(), Some(1));
    }

    #[test]
    fn unacknowledged_runs_are_bounded() {
        let acks = AckTracker::new(AckMode::Explicit, 0);
        let mut generation = 0;
        for at in 0.. {
            if acks.is_full() {
                break;
            }
            assert!(at < 3 * MAX_RUNS as i64, "it never becomes full");
            generation = acks.hand_out(at, at + 1).unwrap();
            if at % 2 == 1 {
                acks.acknowledge(generation, at, at + 1);
            }
        }
        acks.acknowledge(generation, 0, 1);
        assert!(!acks.is_full());
    }

    proptest! {
        /// Records are handed out in order with holes between them. Acknowledgements come in any order, with duplicates, some as
        /// ranges.
        #[test]
        fn the_finished_offset_is_never_ahead_of_an_unacknowledged_record(
            steps in proptest::collection::vec((0u8..3, 0i64..6, 0usize..64, 1i64..5), 1..300),
        ) {
            let acks = AckTracker::new(AckMode::Explicit, 10);
            let (mut next, mut handed, mut waiting) = (10i64, Vec::new(), BTreeSet::new());
            for (step, hole, pick, width) in steps {
                if step == 0 {
                    let from = next + if hole > 3 { hole } else { 0 };
                    acks.hand_out(from, from + width);
                    waiting.extend(from..from + width);
                    handed.push((from, from + width));
                    next = from + width;
                } else if !handed.is_empty() {
                    let (from, to) = handed[pick % handed.len()];
                    let from = if step == 1 { from } else { (from + hole).min(to) };
                    acks.acknowledge(0, from, to);
                    waiting.retain(|at| !(from..to).contains(at));
                }
                let exact = waiting.first().copied().unwrap_or(next);
                prop_assert_eq!(acks.finished_or_origin().max(10), exact.max(10));
                prop_assert!(waiting.range(..acks.finished_or_origin()).next().is_none());
            }
        }
    }
}
