//! File `log.gaps` of a log: lost offsets that a repair has reported, so that later openings do not report them anew.
//!
//! Readers report them always. A missing or damaged file only makes the next opening report the gaps. The byte layout is
//! in `docs/formats/log.md`.

use std::{io, path::Path};

use bytes::{Buf, BufMut};

use crate::disk::{Disk, Open, read_all, write_all_at};

/// Name of the file in the log's directory.
pub(crate) const LOG_GAPS: &str = "log.gaps";

const MAGIC: &[u8; 8] = b"floe-gap";
const VERSION: u32 = 1;
/// Limit of the bytes read.
const MAX_LEN: usize = 16 << 20;
const RANGE_LEN: usize = 16;

/// Known lost ranges, in order, apart from each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KnownGaps {
    ranges: Vec<(i64, i64)>,
}

impl KnownGaps {
    pub(crate) fn ranges(&self) -> &[(i64, i64)] {
        &self.ranges
    }

    /// Adds a range and joins it with those that it touches.
    pub(crate) fn add(&mut self, mut from: i64, mut to: i64) {
        if from >= to {
            return;
        }
        self.ranges.retain(|(first, end)| {
            let is_apart = *end < from || *first > to;
            if !is_apart {
                (from, to) = (from.min(*first), to.max(*end));
            }
            is_apart
        });
        let at = self.ranges.partition_point(|(first, _)| *first < from);
        self.ranges.insert(at, (from, to));
    }

    /// Returns whether all offsets of the range are known to be lost.
    pub(crate) fn cover(&self, from: i64, to: i64) -> bool {
        let behind = self.ranges.partition_point(|(first, _)| *first <= from);
        behind.checked_sub(1).and_then(|last| self.ranges.get(last)).is_some_and(|(_, end)| to <= *end)
    }

    /// Reads the file of this directory; empty if it is missing or damaged.
    pub(crate) fn read(disk: &dyn Disk, directory: &Path) -> io::Result<Self> {
        let file = match disk.open(&directory.join(LOG_GAPS), Open::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let decoded = Self::decode(&read_all(&*file, MAX_LEN)?);
        if decoded.is_none() {
            tracing::warn!(path = %directory.display(), "log.gaps is damaged; known gaps are reported anew");
        }
        Ok(decoded.unwrap_or_default())
    }

    /// Writes the file to a temporary one, syncs it and renames it into place.
    pub(crate) fn write(&self, disk: &dyn Disk, directory: &Path) -> io::Result<()> {
        let temporary = directory.join("log.gaps.new");
        let file = disk.open(&temporary, Open::Create)?;
        write_all_at(&*file, &self.encode(), 0)?;
        file.sync()?;
        disk.rename(&temporary, &directory.join(LOG_GAPS))?;
        disk.sync_dir(directory)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_slice(MAGIC);
        bytes.put_u32(VERSION);
        bytes.put_u32(u32::try_from(self.ranges.len()).unwrap_or(u32::MAX));
        for (from, to) in &self.ranges {
            bytes.put_i64(*from);
            bytes.put_i64(*to);
        }
        bytes.put_u32(crc32c::crc32c(&bytes));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (checked, mut checksum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc32c::crc32c(checked) != checksum.get_u32() {
            return None;
        }
        let mut fields = checked.strip_prefix(MAGIC)?;
        if fields.try_get_u32().ok()? != VERSION {
            return None;
        }
        let count = usize::try_from(fields.try_get_u32().ok()?).ok()?;
        if fields.len() != count.checked_mul(RANGE_LEN)? {
            return None;
        }
        let mut gaps = Self::default();
        while fields.has_remaining() {
            gaps.add(fields.get_i64(), fields.get_i64());
        }
        Some(gaps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    #[test]
    fn ranges_that_touch_are_joined() {
        let mut gaps = KnownGaps::default();
        for (from, to) in [(10, 12), (20, 25), (5, 5), (12, 15), (30, 40), (18, 30)] {
            gaps.add(from, to);
        }
        assert_eq!(gaps.ranges(), [(10, 15), (18, 40)]);
        for (from, to, expected) in
            [(10, 15, true), (11, 12, true), (9, 12, false), (14, 19, false), (0, 3, false)]
        {
            assert_eq!(gaps.cover(from, to), expected, "{from}..{to}");
        }
    }

    #[test]
    fn gaps_survive_a_round_trip_and_a_damaged_file_knows_none() {
        let (disk, directory) = (MemoryDisk::new(), Path::new("/logs/3"));
        assert_eq!(KnownGaps::read(&disk, directory).unwrap(), KnownGaps::default());
        let mut gaps = KnownGaps::default();
        gaps.add(3, 9);
        gaps.add(-5, 1);
        gaps.write(&disk, directory).unwrap();
        assert_eq!(KnownGaps::read(&disk, directory).unwrap(), gaps);
        let path = directory.join(LOG_GAPS);
        let good = disk.contents(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            for bytes in [&bad[..], &good[..at]] {
                disk.put(&path, bytes);
                assert_eq!(KnownGaps::read(&disk, directory).unwrap(), KnownGaps::default(), "byte {at}");
            }
        }
    }
}
