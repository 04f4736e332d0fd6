//! Handled records of groups, and commits that run ahead of them.

use std::{
    collections::{BTreeMap, HashMap},
    io,
};

use crate::readers::{AHEAD, Ranges};

/// Progress of a group in a partition.
#[derive(Debug, Default)]
struct GroupProgress {
    /// All records below are handled, or were reported as missing.
    done: u64,
    /// Handled ranges above, apart from each other.
    above: BTreeMap<u64, u64>,
}

impl GroupProgress {
    /// Adds a range, and joins it with its neighbours.
    fn add(&mut self, mut from: u64, mut to: u64) {
        if let Some((start, end)) = self.above.range(..=from).next_back().map(|(start, end)| (*start, *end))
            && end >= from
        {
            from = start;
            to = to.max(end);
        }
        while let Some((start, end)) = self.above.range(from..=to).next().map(|(start, end)| (*start, *end)) {
            self.above.remove(&start);
            to = to.max(end);
        }
        if from <= self.done {
            self.done = self.done.max(to);
        } else {
            self.above.insert(from, to);
        }
    }

    /// Returns the ranges below `next` that are not handled, and treats them as handled from now on.
    fn pass(&mut self, next: u64) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        while self.done < next {
            match self.above.pop_first() {
                Some((start, end)) if start < next => {
                    missing.push((self.done, start));
                    self.done = end;
                }
                above => {
                    missing.push((self.done, next));
                    self.done = next;
                    self.above.extend(above);
                    // A range that begins here is part of it.
                    if let Some(end) = self.above.remove(&next) {
                        self.done = end;
                    }
                }
            }
        }
        missing
    }
}

/// Progress of groups by group and partition.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    progress: HashMap<(u32, u32), GroupProgress>,
    /// Groups of which handled records are recorded; the others are not judged.
    judged: Vec<bool>,
}

impl Groups {
    /// A member begins at an offset, which is the first one of the group or must not be ahead of it.
    pub(crate) fn assign(
        &mut self,
        at: (u32, u32),
        offset: u64,
        line: u64,
        ranges: &mut Ranges,
    ) -> io::Result<()> {
        if let Some(progress) = self.progress.get_mut(&at) {
            return report(progress.pass(offset), at, line, ranges);
        }
        self.progress.insert(at, GroupProgress { done: offset, above: BTreeMap::new() });
        Ok(())
    }

    /// A member got a record: the first one tells where the group begins.
    pub(crate) fn poll(&mut self, at: (u32, u32), offset: u64) {
        self.progress.entry(at).or_insert_with(|| GroupProgress { done: offset, above: BTreeMap::new() });
    }

    pub(crate) fn handle(&mut self, at: (u32, u32), offset: u64) {
        let group = at.0 as usize;
        if self.judged.len() <= group {
            self.judged.resize(group + 1, false);
        }
        self.judged[group] = true;
        self.poll(at, offset);
        self.gap(at, offset, offset + 1);
    }

    /// Records that the system reported as missing, or that the application skipped, need no handling.
    pub(crate) fn gap(&mut self, at: (u32, u32), from: u64, to: u64) {
        if let Some(progress) = self.progress.get_mut(&at) {
            progress.add(from, to);
        }
    }

    pub(crate) fn commit(
        &mut self,
        at: (u32, u32),
        next: u64,
        line: u64,
        ranges: &mut Ranges,
    ) -> io::Result<()> {
        let progress = self.progress.entry(at).or_default();
        report(progress.pass(next), at, line, ranges)
    }

    /// An administrator sets the position.
    pub(crate) fn reset(&mut self, at: (u32, u32), offset: u64) {
        self.progress.insert(at, GroupProgress { done: offset, above: BTreeMap::new() });
    }

    pub(crate) fn judged(&self, group: u64) -> bool {
        usize::try_from(group).is_ok_and(|group| self.judged.get(group) == Some(&true))
    }
}

fn report(missing: Vec<(u64, u64)>, at: (u32, u32), line: u64, ranges: &mut Ranges) -> io::Result<()> {
    missing
        .into_iter()
        .try_for_each(|(from, to)| ranges.push([at.1.into(), from, to, line * 2 + AHEAD, at.0.into()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_in_any_order() {
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
            let mut progress = GroupProgress::default();
            for number in order {
                progress.add(number, number + 1);
            }
            assert_eq!((progress.done, progress.above.len()), (4, 0), "{order:?}");
        }
    }

    #[test]
    fn missing_ranges_are_reported_once() {
        let mut progress = GroupProgress::default();
        for (from, to) in [(0, 2), (3, 4), (6, 8)] {
            progress.add(from, to);
        }
        assert_eq!(progress.pass(2), []);
        assert_eq!(progress.pass(6), [(2, 3), (4, 6)]);
        assert_eq!((progress.done, progress.above.len()), (8, 0));
        assert_eq!(progress.pass(6), []);
        assert_eq!(progress.pass(9), [(8, 9)]);
    }
}
