//! File `acked` of a store: the acknowledged end of every log with durability `always`.
//!
//! Recovery compares it with the recovered end: a log that ends before it has lost acknowledged records. Each log has two
//! slots that are written in turn, so a torn write leaves the older one. The file is never synced: its bytes reach the
//! disk later than the records that they count, and an older value only finds less.

use std::{io, path::PathBuf, sync::Arc};

use bytes::{Buf, BufMut};
use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, Open, read_full_at, write_all_at};

const SLOT: usize = 32;

#[derive(Debug)]
pub(crate) struct AckedEnds {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Low half of the store id: another store's file must not count.
    store: u32,
    file: Mutex<Option<Arc<dyn DiskFile>>>,
}

/// Acknowledged end of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AckedEnd {
    /// Number of writes so far; its parity picks the slot.
    pub(crate) sequence: u64,
    pub(crate) end: i64,
}

impl AckedEnds {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf, store: u32) -> Self {
        Self { disk, path, store, file: Mutex::default() }
    }

    fn file(&self, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut file = self.file.lock();
        if let Some(file) = &*file {
            return Ok(Arc::clone(file));
        }
        let opened = self.disk.open(&self.path, how)?;
        if how != Open::Read {
            *file = Some(Arc::clone(&opened));
        }
        Ok(opened)
    }

    /// Returns the acknowledged end of a log; None if there is none.
    pub(crate) fn read(&self, log_id: u64) -> io::Result<Option<AckedEnd>> {
        let file = match self.file(Open::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = [0; 2 * SLOT];
        let filled = read_full_at(&*file, &mut bytes, position(log_id))?;
        let slots = bytes.get(..filled).unwrap_or_default().chunks_exact(SLOT);
        Ok(slots.filter_map(|slot| self.decode(slot, log_id)).max_by_key(|acked| acked.sequence))
    }

    pub(crate) fn write(&self, log_id: u64, acked: AckedEnd) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(SLOT);
        bytes.put_u64(log_id);
        bytes.put_u64(acked.sequence);
        bytes.put_i64(acked.end);
        bytes.put_u32(self.store);
        bytes.put_u32(crc32c::crc32c(&bytes));
        let slot = (acked.sequence % 2) * SLOT as u64;
        write_all_at(&*self.file(Open::WriteOrCreate)?, &bytes, position(log_id) + slot)
    }

    fn decode(&self, slot: &[u8], log_id: u64) -> Option<AckedEnd> {
        let (mut fields, mut checksum) = slot.split_at_checked(SLOT - 4)?;
        if crc32c::crc32c(fields) != checksum.get_u32() || fields.get_u64() != log_id {
            return None;
        }
        let acked = AckedEnd { sequence: fields.get_u64(), end: fields.get_i64() };
        (fields.get_u32() == self.store).then_some(acked)
    }
}

fn position(log_id: u64) -> u64 {
    log_id.saturating_mul(2 * SLOT as u64)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::MemoryDisk;

    #[test]
    fn damage_to_one_slot_leaves_the_other() {
        let disk = MemoryDisk::new();
        let path = Path::new("/acked");
        let acked = AckedEnds::new(Arc::new(disk.clone()), path.to_path_buf(), 9);
        assert_eq!(acked.read(3).unwrap(), None);
        for sequence in 1..=5 {
            acked.write(3, AckedEnd { sequence, end: sequence as i64 * 10 }).unwrap();
            acked.write(1, AckedEnd { sequence, end: 7 }).unwrap();
        }
        assert_eq!(acked.read(3).unwrap(), Some(AckedEnd { sequence: 5, end: 50 }));
        assert_eq!(acked.read(2).unwrap(), None);
        let good = disk.contents(path).unwrap();
        for at in 3 * 64..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            disk.put(path, &bad);
            let read = AckedEnds::new(Arc::new(disk.clone()), path.to_path_buf(), 9).read(3).unwrap();
            let expected = if at < 3 * 64 + 32 { 50 } else { 40 };
            assert_eq!(read.map(|acked| acked.end), Some(expected), "byte {at}");
        }
    }
}
