//! Sparse index of a segment: maps offset and time to a position.
//!
//! With one entry per 64 KiB the index takes 1/4096 of the log. The file (`.idx`) is a cache: recovery can rebuild it
//! from the segment, so a missing or damaged one costs a scan. The byte layout is in `docs/formats/log.md`.

use std::{io, path::Path};

use bytes::{Buf, BufMut};

use crate::disk::{Disk, Open, read_all, write_all_at};

/// Minimum distance in bytes between the batches of two entries.
pub(crate) const INDEX_STEP: u64 = 64 << 10;

const MAGIC: &[u8; 8] = b"floe-idx";
const VERSION: u32 = 1;
pub(crate) const INDEX_HEADER_LEN: usize = 64;
const ENTRY_LEN: usize = 16;

/// Start of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    /// Base offset of the batch minus that of the segment.
    pub(crate) delta: u32,
    /// Position of its first byte in the file.
    pub(crate) position: u32,
    /// Largest record timestamp of the batches before it in the segment.
    pub(crate) max_time_before: i64,
}

/// Summary of a segment up to some byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexSummary {
    /// Base offset of the segment.
    pub(crate) base: i64,
    /// Bytes of the segment file that this index covers.
    pub(crate) covered: u64,
    /// Offset after the last one in those bytes.
    pub(crate) end: i64,
    /// Largest record timestamp in those bytes; `i64::MIN` if there is none.
    pub(crate) max_time: i64,
    /// Append time of the last of those bytes, milliseconds since the Unix epoch.
    pub(crate) last_append_ms: i64,
}

/// Index in memory, built while batches are appended or scanned.
#[derive(Debug, Clone)]
pub(crate) struct IndexBuilder {
    pub(crate) entries: Vec<IndexEntry>,
    base: i64,
    next_at: u64,
    pub(crate) max_time: i64,
}

impl IndexBuilder {
    pub(crate) fn new(base: i64) -> Self {
        Self { entries: Vec::new(), base, next_at: 0, max_time: i64::MIN }
    }

    /// Continues after `entries`; the last one is dropped, since its batch is noted again.
    pub(crate) fn continuing(base: i64, mut entries: Vec<IndexEntry>) -> Self {
        let max_time = entries.pop().map_or(i64::MIN, |last| last.max_time_before);
        Self { entries, base, next_at: 0, max_time }
    }

    /// Adds the batch that starts at `position`.
    pub(crate) fn note(&mut self, base_offset: i64, position: u64, max_timestamp: i64) {
        if position >= self.next_at
            && let (Ok(delta), Ok(at)) = (u32::try_from(base_offset - self.base), u32::try_from(position))
        {
            self.entries.push(IndexEntry { delta, position: at, max_time_before: self.max_time });
            self.next_at = position + INDEX_STEP;
        }
        // Timestamps of zero or less mean that the records have none.
        if max_timestamp > 0 {
            self.max_time = self.max_time.max(max_timestamp);
        }
    }

    /// Drops entries at or after `position` and sets the largest timestamp before it.
    pub(crate) fn cut(&mut self, position: u64, max_time: i64) {
        self.entries.retain(|entry| u64::from(entry.position) < position);
        self.next_at = self.entries.last().map_or(0, |last| u64::from(last.position) + INDEX_STEP);
        self.max_time = max_time;
    }
}

/// Returns (position, offset) of every entry.
pub(crate) fn positions(entries: &[IndexEntry], base: i64) -> Vec<(u64, i64)> {
    entries.iter().map(|entry| (u64::from(entry.position), base + i64::from(entry.delta))).collect()
}

/// Returns the last entry at or before `offset`.
pub(crate) fn entry_for_offset(entries: &[IndexEntry], base: i64, offset: i64) -> Option<IndexEntry> {
    let behind = entries.partition_point(|entry| base + i64::from(entry.delta) <= offset);
    behind.checked_sub(1).and_then(|last| entries.get(last)).copied()
}

/// Returns the last entry before which every record is older than `time`.
pub(crate) fn entry_for_time(entries: &[IndexEntry], time: i64) -> Option<IndexEntry> {
    let behind = entries.partition_point(|entry| entry.max_time_before < time);
    behind.checked_sub(1).and_then(|last| entries.get(last)).copied()
}

/// Writes the index to a temporary file and renames it into place.
pub(crate) fn write(
    disk: &dyn Disk,
    path: &Path,
    summary: &IndexSummary,
    entries: &[IndexEntry],
) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(INDEX_HEADER_LEN + entries.len() * ENTRY_LEN + 4);
    bytes.put_slice(MAGIC);
    bytes.put_u32(VERSION);
    bytes.put_u32(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    bytes.put_i64(summary.base);
    bytes.put_u64(summary.covered);
    bytes.put_i64(summary.end);
    bytes.put_i64(summary.max_time);
    bytes.put_i64(summary.last_append_ms);
    bytes.put_u32(0);
    bytes.put_u32(crc32c::crc32c(&bytes));
    for entry in entries {
        bytes.put_u32(entry.delta);
        bytes.put_u32(entry.position);
        bytes.put_i64(entry.max_time_before);
    }
    bytes.put_u32(crc32c::crc32c(bytes.get(INDEX_HEADER_LEN..).unwrap_or_default()));
    let temporary = path.with_extension("idx.new");
    let file = disk.open(&temporary, Open::Create)?;
    write_all_at(&*file, &bytes, 0)?;
    drop(file);
    disk.rename(&temporary, path)
}

/// Reads the summary of an index file; None if it is missing or damaged.
pub(crate) fn read_summary(disk: &dyn Disk, path: &Path) -> Option<IndexSummary> {
    let file = disk.open(path, Open::Read).ok()?;
    let bytes = read_all(&*file, INDEX_HEADER_LEN).ok()?;
    decode_header(&bytes).map(|(summary, _)| summary)
}

/// Reads a whole index file; None if it is missing or damaged. `segment_bytes` limits the bytes read.
pub(crate) fn read(
    disk: &dyn Disk,
    path: &Path,
    segment_bytes: u64,
) -> Option<(IndexSummary, Vec<IndexEntry>)> {
    let file = disk.open(path, Open::Read).ok()?;
    // Entries are at least one batch header (57 bytes) apart, so a larger index is invalid.
    let limit = usize::try_from(segment_bytes / 2).ok()?.saturating_add(INDEX_HEADER_LEN + ENTRY_LEN + 4);
    let bytes = read_all(&*file, limit).ok()?;
    let (summary, count) = decode_header(&bytes)?;
    let body = bytes.get(INDEX_HEADER_LEN..)?;
    let (mut entries, mut checksum) = body.split_at_checked(body.len().checked_sub(4)?)?;
    if crc32c::crc32c(entries) != checksum.get_u32() || entries.len() != count.checked_mul(ENTRY_LEN)? {
        return None;
    }
    let mut decoded = Vec::with_capacity(entries.len() / ENTRY_LEN);
    while entries.remaining() >= ENTRY_LEN {
        let delta = entries.get_u32();
        let position = entries.get_u32();
        let max_time_before = entries.get_i64();
        decoded.push(IndexEntry { delta, position, max_time_before });
    }
    Some((summary, decoded))
}

fn decode_header(bytes: &[u8]) -> Option<(IndexSummary, usize)> {
    let mut header = bytes.get(..INDEX_HEADER_LEN)?;
    let (checked, mut checksum) = header.split_at_checked(INDEX_HEADER_LEN - 4)?;
    if !checked.starts_with(MAGIC) || crc32c::crc32c(checked) != checksum.get_u32() {
        return None;
    }
    header.advance(MAGIC.len());
    if header.get_u32() != VERSION {
        return None;
    }
    let count = usize::try_from(header.get_u32()).ok()?;
    let summary = IndexSummary {
        base: header.get_i64(),
        covered: header.get_u64(),
        end: header.get_i64(),
        max_time: header.get_i64(),
        last_append_ms: header.get_i64(),
    };
    Some((summary, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    fn sample() -> (IndexSummary, Vec<IndexEntry>) {
        let mut index = IndexBuilder::new(100);
        for batch in 0..40_i64 {
            index.note(100 + batch * 3, 64 + batch as u64 * 10_000, 1_000 + (batch % 7) * 10);
        }
        let summary = IndexSummary {
            base: 100,
            covered: 400_064,
            end: 220,
            max_time: index.max_time,
            last_append_ms: 77,
        };
        (summary, index.entries)
    }

    #[test]
    fn entries_are_a_step_apart_and_survive_a_round_trip() {
        let (summary, entries) = sample();
        assert_eq!(entries.len(), 6);
        assert_eq!(entries[0], IndexEntry { delta: 0, position: 64, max_time_before: i64::MIN });
        let disk = MemoryDisk::new();
        let path = Path::new("/00.idx");
        write(&disk, path, &summary, &entries).unwrap();
        assert_eq!(read(&disk, path, 400_064), Some((summary, entries)));
        assert_eq!(read_summary(&disk, path), Some(summary));
        assert_eq!(disk.paths(), [path], "the temporary file is gone");
    }

    #[test]
    fn damaged_or_truncated_index_is_rejected() {
        let (summary, entries) = sample();
        let disk = MemoryDisk::new();
        let path = Path::new("/00.idx");
        write(&disk, path, &summary, &entries).unwrap();
        let good = disk.contents(path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            disk.put(path, &bad);
            assert_eq!(read(&disk, path, 400_064), None, "byte {at}");
            disk.put(path, &good[..at]);
            assert_eq!(read(&disk, path, 400_064), None, "cut at {at}");
        }
    }

    #[test]
    fn lookups_find_the_entry_at_or_before() {
        let (_, entries) = sample();
        assert_eq!(entry_for_offset(&entries, 100, 99), None);
        assert_eq!(entry_for_offset(&entries, 100, 100), Some(entries[0]));
        assert_eq!(entry_for_offset(&entries, 100, 120), Some(entries[0]));
        assert_eq!(entry_for_offset(&entries, 100, 121), Some(entries[1]));
        assert_eq!(entry_for_offset(&entries, 100, 10_000), entries.last().copied());
        assert_eq!(entry_for_time(&entries, 1), Some(entries[0]));
        assert_eq!(entry_for_time(&entries, 5_000), entries.last().copied());
    }
}
