//! Verification of the database file before it is opened.
//!
//! redb trusts a file that was closed, and goes back to the previous commit if the last one is damaged. So each opening
//! verifies all pages in a copy in memory, marked so that only the last commit counts. The catalog is small; the store reads all of it anyway.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
};

use redb::{Database, ReadableDatabase, StorageBackend, backends::InMemoryBackend};

use super::{
    CatalogVersion,
    rows::{SYSTEM, changes, read_system},
};

/// Positions and flags of the database header, from the design document of redb (file format 3).
const FLAGS_AT: usize = 9;
const RECOVERY_REQUIRED: u8 = 2;
const TWO_PHASE_COMMIT: u8 = 4;
const GEOMETRY_AT: usize = 12;
const HEADER_LEN: usize = 320;

/// Result of verifying a database file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Whole,
    /// The file was not closed, and its last commit is torn or damaged: opening goes back to the commit before.
    LastCommitDamaged(String),
    Damaged(String),
}

/// Verifies the contents of a database file.
pub(super) fn verify(mut bytes: Vec<u8>) -> io::Result<Verdict> {
    let len = bytes.len() as u64;
    let (Some(header), Some(flags)) = (bytes.get(..HEADER_LEN), bytes.get(FLAGS_AT).copied()) else {
        return Ok(Verdict::Damaged(format!("{len} bytes are too few for a database")));
    };
    let was_closed = flags & RECOVERY_REQUIRED == 0;
    // These numbers have no checksum, and after a crash redb computes them from the length.
    if was_closed && layout_len(header) != Some(len) {
        return Ok(Verdict::Damaged(format!("the header does not describe a file of {len} bytes")));
    }
    if let Some(flags) = bytes.get_mut(FLAGS_AT) {
        *flags |= RECOVERY_REQUIRED | TWO_PHASE_COMMIT;
    }
    let copy = in_memory(&bytes)?;
    let opened = guarded(|| Database::builder().set_check_integrity_on_open(true).create_with_backend(copy));
    let problem = match opened {
        Ok(Ok(_)) => return Ok(Verdict::Whole),
        Ok(Err(error)) => error.to_string(),
        Err(problem) => problem,
    };
    Ok(if was_closed { Verdict::Damaged(problem) } else { Verdict::LastCommitDamaged(problem) })
}

fn in_memory(bytes: &[u8]) -> io::Result<InMemoryBackend> {
    let copy = InMemoryBackend::new();
    copy.set_len(bytes.len() as u64)?;
    copy.write(0, bytes)?;
    Ok(copy)
}

/// Returns the version of a database file that was verified.
pub(super) fn version_of(bytes: &[u8]) -> Option<CatalogVersion> {
    let copy = in_memory(bytes).ok()?;
    let read = || -> Result<Option<CatalogVersion>, redb::Error> {
        let database = Database::builder().create_with_backend(copy)?;
        let transaction = database.begin_read()?;
        let store_id = read_system(&transaction)?.and_then(|(_, store_id)| store_id);
        let changes = changes(&transaction.open_table(SYSTEM)?)?;
        Ok(store_id.map(|store_id| CatalogVersion { store_id, changes }))
    };
    guarded(read).ok()?.ok()?
}

/// Runs a call of redb on a file that may be damaged. A panic there is damage too.
pub(super) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| "the database library cannot read it".to_owned())
}

/// Returns the length of the file that the header describes.
fn layout_len(header: &[u8]) -> Option<u64> {
    let mut numbers = header
        .get(GEOMETRY_AT..)?
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| u64::from(u32::from_le_bytes(*bytes)));
    let mut next = || numbers.next();
    let (page, region_header, region_pages, regions, trailing) =
        (next()?, next()?, next()?, next()?, next()?);
    let full = region_header.checked_add(region_pages)?.checked_mul(regions)?;
    let rest = if trailing > 0 { region_header.checked_add(trailing)? } else { 0 };
    full.checked_add(rest)?.checked_add(1)?.checked_mul(page)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Store, StoreConfig, TopicConfig, disk::MemoryDisk};

    fn catalog(closes: bool) -> Vec<u8> {
        let disk = MemoryDisk::new();
        let store = Store::open(StoreConfig::at("/").disk(std::sync::Arc::new(disk.clone()))).unwrap();
        for number in 0..30 {
            store.create_topic(&format!("topic-{number}"), TopicConfig::new().partitions(5)).unwrap();
        }
        if closes {
            store.close().unwrap();
        }
        disk.contents(Path::new("/meta.redb")).unwrap()
    }

    #[test]
    fn intact_files_are_whole() {
        for closes in [true, false] {
            assert_eq!(verify(catalog(closes)).unwrap(), Verdict::Whole);
        }
    }

    #[test]
    fn zeroed_pages_and_other_lengths_are_damage_or_unused() {
        let good = catalog(true);
        let mut damaged = 0;
        for page in 0..good.len() / 4096 {
            let mut bytes = good.clone();
            bytes[page * 4096..(page + 1) * 4096].fill(0);
            damaged += usize::from(verify(bytes).unwrap() != Verdict::Whole);
        }
        assert!(damaged >= 5, "{damaged} of {} pages", good.len() / 4096);
        for len in [0, 100, 4096, good.len() - 1, good.len() - 4096] {
            assert!(matches!(verify(good[..len].to_vec()).unwrap(), Verdict::Damaged(_)), "{len} bytes");
        }
    }
}
