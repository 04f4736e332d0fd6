//! Positions of readers: order and gaps of what each of them got.

use std::{collections::HashMap, io};

use crate::sorter::Sorter;

/// Kinds of ranges in which no record may exist.
pub(crate) const SKIPPED: u64 = 0;
pub(crate) const AHEAD: u64 = 1;

/// Ranges of offsets that must hold no record: `[partition, from, to, line * 2 + kind, process or group]`.
pub(crate) type Ranges = Sorter<5>;

/// Position of a reader in a partition.
#[derive(Debug)]
struct ReaderPosition {
    /// First offset that the reader has covered.
    start: u64,
    /// Offset of the next record.
    next: u64,
}

/// Readers by process and partition.
#[derive(Debug)]
pub(crate) struct Readers {
    positions: HashMap<(u32, u32), ReaderPosition>,
    /// Ranges that were read: `[partition, from, to]`.
    covered: Sorter<3>,
}

impl Readers {
    pub(crate) fn new(memory: usize) -> Self {
        Self { positions: HashMap::new(), covered: Sorter::new(memory) }
    }

    fn end(&mut self, at: (u32, u32)) -> io::Result<()> {
        match self.positions.remove(&at) {
            Some(position) if position.start < position.next => {
                self.covered.push([at.1.into(), position.start, position.next])
            }
            _ => Ok(()),
        }
    }

    /// A reader begins, at this offset if it is known.
    pub(crate) fn assign(&mut self, process: u32, partition: u32, offset: Option<u64>) -> io::Result<()> {
        self.end((process, partition))?;
        if let Some(offset) = offset {
            self.positions.insert((process, partition), ReaderPosition { start: offset, next: offset });
        }
        Ok(())
    }

    /// A reader was told that records are missing.
    pub(crate) fn gap(&mut self, process: u32, partition: u32, end: u64) -> io::Result<()> {
        let next = self.positions.get(&(process, partition)).map_or(end, |position| position.next.max(end));
        self.assign(process, partition, Some(next))
    }

    /// A reader got a record. Returns the position from which it went backwards.
    pub(crate) fn poll(
        &mut self,
        (process, partition): (u32, u32),
        offset: u64,
        line: u64,
        ranges: &mut Ranges,
    ) -> io::Result<Option<u64>> {
        let fresh = ReaderPosition { start: offset, next: offset };
        let position = self.positions.entry((process, partition)).or_insert(fresh);
        let expected = position.next;
        if offset < expected {
            return Ok(Some(expected));
        }
        position.next = offset + 1;
        if offset > expected {
            ranges.push([partition.into(), expected, offset, line * 2 + SKIPPED, process.into()])?;
        }
        Ok(None)
    }

    /// Ends all readers and returns the ranges that were read.
    pub(crate) fn finish(mut self) -> io::Result<Sorter<3>> {
        for at in self.positions.keys().copied().collect::<Vec<_>>() {
            self.end(at)?;
        }
        Ok(self.covered)
    }
}
