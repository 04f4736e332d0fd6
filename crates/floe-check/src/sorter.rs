//! Sorting of more entries than memory holds: sorted runs in a temporary file, merged at the end.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    env,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
    process,
    sync::atomic::{AtomicU64, Ordering},
};

/// Entries that are read from a run at once.
const READ_AHEAD: usize = 1024;

/// Collects entries, and returns them in ascending order.
#[derive(Debug)]
pub(crate) struct Sorter<const W: usize> {
    buffer: Vec<[u64; W]>,
    limit: usize,
    file: Option<File>,
    /// Entries of each run.
    runs: Vec<u64>,
}

impl<const W: usize> Sorter<W> {
    /// Creates a sorter that holds about `memory` bytes.
    pub(crate) fn new(memory: usize) -> Self {
        let limit = (memory / (8 * W)).max(READ_AHEAD);
        Self { buffer: Vec::new(), limit, file: None, runs: Vec::new() }
    }

    pub(crate) fn push(&mut self, entry: [u64; W]) -> io::Result<()> {
        if self.buffer.len() == self.limit {
            self.spill()?;
        }
        self.buffer.push(entry);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.buffer.sort_unstable();
        let mut file = match self.file.take() {
            Some(file) => file,
            None => temporary_file(&env::temp_dir())?,
        };
        let mut bytes = Vec::with_capacity(READ_AHEAD * W * 8);
        for entries in self.buffer.chunks(READ_AHEAD) {
            bytes.clear();
            bytes.extend(entries.iter().flatten().flat_map(|word| word.to_le_bytes()));
            file.write_all(&bytes)?;
        }
        self.runs.push(self.buffer.len() as u64);
        self.buffer.clear();
        self.file = Some(file);
        Ok(())
    }

    /// Returns the entries in ascending order.
    pub(crate) fn sorted(mut self) -> io::Result<Sorted<W>> {
        let Some(file) = &mut self.file else {
            self.buffer.sort_unstable();
            let last = Run { at: 0, left: 0, read: self.buffer, next: 0 };
            return Sorted::new(None, vec![last]);
        };
        file.flush()?;
        self.buffer.sort_unstable();
        let mut runs = Vec::new();
        let mut at = 0;
        for left in self.runs {
            runs.push(Run { at, left, read: Vec::new(), next: 0 });
            at += left * 8 * W as u64;
        }
        runs.push(Run { at, left: 0, read: self.buffer, next: 0 });
        Sorted::new(self.file, runs)
    }
}

/// Creates a file without a name, which is gone with its handle.
fn temporary_file(folder: &Path) -> io::Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    for _ in 0..1000 {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("floe-check-{}-{number}", process::id()));
        match File::options().read(true).write(true).create_new(true).open(&path) {
            Ok(file) => {
                fs::remove_file(&path)?;
                return Ok(file);
            }
            // Of an earlier process with this number.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("the folder of temporary files is full of them"))
}

/// A sorted part of the entries.
#[derive(Debug)]
struct Run<const W: usize> {
    /// Position of the next byte to read.
    at: u64,
    /// Entries that were not read from the file.
    left: u64,
    read: Vec<[u64; W]>,
    next: usize,
}

impl<const W: usize> Run<W> {
    fn pop(&mut self, file: Option<&mut File>) -> io::Result<Option<[u64; W]>> {
        if self.next == self.read.len()
            && self.left > 0
            && let Some(file) = file
        {
            let count = self.left.min(READ_AHEAD as u64);
            let mut bytes = vec![0; count as usize * 8 * W];
            file.seek(SeekFrom::Start(self.at))?;
            file.read_exact(&mut bytes)?;
            self.at += bytes.len() as u64;
            self.left -= count;
            self.next = 0;
            self.read.clear();
            self.read.extend(bytes.chunks_exact(8 * W).map(|entry| {
                let mut words = [0; W];
                for (word, bytes) in words.iter_mut().zip(entry.chunks_exact(8)) {
                    *word = bytes.try_into().map_or(0, u64::from_le_bytes);
                }
                words
            }));
        }
        let found = self.read.get(self.next).copied();
        self.next += usize::from(found.is_some());
        Ok(found)
    }
}

/// Entries in ascending order.
#[derive(Debug)]
pub(crate) struct Sorted<const W: usize> {
    file: Option<File>,
    runs: Vec<Run<W>>,
    heads: BinaryHeap<Reverse<([u64; W], usize)>>,
}

impl<const W: usize> Sorted<W> {
    fn new(mut file: Option<File>, mut runs: Vec<Run<W>>) -> io::Result<Self> {
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (number, run) in runs.iter_mut().enumerate() {
            heads.extend(run.pop(file.as_mut())?.map(|entry| Reverse((entry, number))));
        }
        Ok(Self { file, runs, heads })
    }

    pub(crate) fn peek(&self) -> Option<&[u64; W]> {
        self.heads.peek().map(|Reverse((entry, _))| entry)
    }

    pub(crate) fn pop(&mut self) -> io::Result<Option<[u64; W]>> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(None) };
        let Reverse((entry, number)) = *head;
        match self.runs[number].pop(self.file.as_mut())? {
            Some(next) => *head = Reverse((next, number)),
            None => {
                std::collections::binary_heap::PeekMut::pop(head);
            }
        }
        Ok(Some(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_in_order_from_memory_and_from_runs() {
        for count in [0, 1, 1000, 1024, 1025, 5000, 20_000_u64] {
            let mut sorter = Sorter::<2>::new(0);
            let mut expected = Vec::new();
            for number in 0..count {
                let entry = [number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50, number];
                sorter.push(entry).unwrap();
                expected.push(entry);
            }
            expected.sort_unstable();
            let mut sorted = sorter.sorted().unwrap();
            let mut found = Vec::new();
            while let Some(next) = sorted.peek().copied() {
                assert_eq!(sorted.pop().unwrap(), Some(next));
                found.push(next);
            }
            assert_eq!(found, expected);
            assert_eq!(sorted.pop().unwrap(), None);
        }
    }
}
