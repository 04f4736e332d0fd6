//! How far a partition of the source is copied.

use std::collections::BTreeMap;

/// Offsets of the source that one round covers at most. Rounds follow each other: before the first append of a round, all
/// records before the round are in the target. So every mark shows that the records this far before it are there, in all
/// partitions of the target. The number must never become smaller, since marks outlive the release that wrote them.
pub(super) const ROUND_OFFSETS: i64 = 16 * 1024;

/// How far a partition of the source is copied, for each partition of the target that it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LanePosition {
    /// Partition of the target, and the offset before which it has all of its records.
    done: BTreeMap<u32, i64>,
    /// Offset after the last record in any of them; none before the first one.
    last: Option<i64>,
}

impl LanePosition {
    /// Computes the position from the last mark in each partition of the target.
    pub(super) fn of_stamps(stamps: impl IntoIterator<Item = (u32, Option<i64>)>) -> Self {
        let stamps: Vec<_> = stamps.into_iter().collect();
        let last = stamps.iter().filter_map(|(_, next)| *next).max();
        let floor =
            last.map_or(0, |last| if stamps.len() == 1 { last } else { (last - ROUND_OFFSETS).max(0) });
        let done = stamps.into_iter().map(|(target, next)| (target, next.unwrap_or(0).max(floor)));
        Self { done: done.collect(), last }
    }

    /// Returns the offset at which the source is read.
    pub(super) fn start(&self) -> i64 {
        self.done.values().copied().min().unwrap_or(0)
    }

    /// Returns the offset before which records may have been copied; none before the first one.
    pub(super) fn last(&self) -> Option<i64> {
        self.last
    }

    /// Returns whether a partition of the target has the record of this offset.
    pub(super) fn has(&self, target: u32, offset: i64) -> bool {
        self.done.get(&target).is_some_and(|done| offset < *done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_copy_starts_at_the_beginning() {
        let position = LanePosition::of_stamps([(0, None), (1, None)]);
        assert_eq!((position.start(), position.last()), (0, None));
        assert!(!position.has(0, 0));
    }

    #[test]
    fn one_target_is_continued_at_its_mark() {
        let position = LanePosition::of_stamps([(3, Some(50))]);
        assert_eq!((position.start(), position.last()), (50, Some(50)));
        assert!(position.has(3, 49) && !position.has(3, 50));
    }

    /// A partition that gets few records must not send the copy back to the beginning.
    #[test]
    fn several_targets_are_continued_within_a_round() {
        let far = 10 * ROUND_OFFSETS;
        let position = LanePosition::of_stamps([(0, Some(far)), (1, Some(far - 5)), (2, Some(7)), (3, None)]);
        assert_eq!(position.start(), far - ROUND_OFFSETS);
        assert!(position.has(0, far - 1) && !position.has(0, far));
        assert!(position.has(1, far - 6) && !position.has(1, far - 5));
        assert!(position.has(2, far - ROUND_OFFSETS - 1) && !position.has(2, far - ROUND_OFFSETS));
        let near = LanePosition::of_stamps([(0, Some(20)), (1, None)]);
        assert_eq!(near.start(), 0);
        assert!(near.has(0, 19) && !near.has(1, 0));
    }
}
