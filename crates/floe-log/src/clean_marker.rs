//! File `CLEAN` of a store: exists only between a clean close and the next opening.
//!
//! It holds the checksum of the catalog as it was closed. The database verifies the pages of its last commit and nothing else,
//! so that only this finds bytes that changed in free pages or in the commit before, where later commits and the recovery
//! after a crash would meet them.

use std::{io, path::Path};

use crate::{
    catalog::{CATALOG_FILE, CatalogVersion, ClosedCatalog, MAX_VERIFIED},
    disk::{Disk, Open, read_all, write_all_at},
};

const NAME: &str = "CLEAN";

/// Larger than any marker.
const MAX_LEN: usize = 4096;

/// Removes the marker, and returns whether there was one.
pub(crate) fn take(disk: &dyn Disk, directory: &Path) -> io::Result<bool> {
    let path = directory.join(NAME);
    match disk.open(&path, Open::Read) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Syncs the names of a new store's files.
            disk.sync_dir(directory)?;
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    disk.remove_file(&path)?;
    // Synced before any write, so that no marker is left after a crash.
    disk.sync_dir(directory)?;
    Ok(true)
}

/// Writes the marker of a store whose catalog is closed and has this version.
pub(crate) fn write(disk: &dyn Disk, directory: &Path, version: CatalogVersion) -> io::Result<()> {
    let catalog = disk.open(&directory.join(CATALOG_FILE), Open::Write)?;
    // The checksum may not reach the device before the bytes that it covers.
    catalog.sync()?;
    let bytes = read_all(&*catalog, MAX_VERIFIED + 1)?;
    let mut marker = "closed\n".to_owned();
    if bytes.len() <= MAX_VERIFIED {
        marker.push_str(&ClosedCatalog::of(version, &bytes).encode());
    }
    let file = disk.open(&directory.join(NAME), Open::Create)?;
    write_all_at(&*file, marker.as_bytes(), 0)?;
    file.sync()?;
    disk.sync_dir(directory)
}

/// Reads how the catalog was closed; None without a marker, and for those of releases before the line.
pub(crate) fn read(disk: &dyn Disk, directory: &Path) -> io::Result<Option<ClosedCatalog>> {
    match disk.open(&directory.join(NAME), Open::Read).and_then(|file| read_all(&*file, MAX_LEN)) {
        Ok(marker) => Ok(ClosedCatalog::decode(&String::from_utf8_lossy(&marker))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{LogError, RepairAction, Store, StoreConfig, TopicConfig, disk::MemoryDisk};

    fn closed_store() -> (MemoryDisk, StoreConfig) {
        let disk = MemoryDisk::new();
        let config = StoreConfig::at("/s").disk(Arc::new(disk.clone()));
        for name in ["a", "b"] {
            let store = Store::open(config.clone()).unwrap();
            store.create_topic(name, TopicConfig::new()).unwrap();
            store.close().unwrap();
        }
        (disk, config)
    }

    #[test]
    fn a_changed_byte_anywhere_in_a_closed_catalog_is_found() {
        let (disk, config) = closed_store();
        let path = Path::new("/s/meta.redb");
        let (good, marker) = (disk.contents(path).unwrap(), disk.contents(Path::new("/s/CLEAN")).unwrap());
        let mut unused = 0;
        for at in (0..4096).step_by(101).chain((4096..good.len()).step_by(9973)) {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            disk.put(path, &bytes);
            disk.put(Path::new("/s/CLEAN"), &marker);
            let refused = Store::open(config.clone());
            assert!(matches!(refused, Err(LogError::CatalogDamaged { .. })), "byte {at}: {refused:?}");
            let report = crate::check(&config).unwrap();
            let repair = report.problems.first().map(|problem| problem.repair);
            unused += usize::from(repair == Some(RepairAction::AcceptCatalog));
            assert!(!report.is_whole(), "byte {at}");
        }
        assert!(unused >= 10, "{unused} places that no row uses");
    }

    #[test]
    fn repair_accepts_a_catalog_whose_rows_are_whole() {
        let (disk, config) = closed_store();
        let path = Path::new("/s/meta.redb");
        let mut bytes = disk.contents(path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        disk.put(path, &bytes);
        assert!(Store::open(config.clone()).is_err());
        assert!(Store::open(config.clone()).is_err(), "a refusal changes nothing");
        let topics = |config: StoreConfig| Store::open(config).unwrap().topics().len();
        assert_eq!(topics(config.clone().read_only(true)), 2, "reading needs no repair");
        let repaired = crate::repair(&config).unwrap();
        assert!(repaired.after.is_whole() && repaired.kept.is_empty(), "{repaired:?}");
        assert_eq!(topics(config), 2);
    }

    #[test]
    fn a_catalog_of_another_time_is_no_damage_of_this_kind() {
        let (disk, config) = closed_store();
        let path = Path::new("/s/meta.redb");
        let backup = disk.contents(path).unwrap();
        let store = Store::open(config.clone()).unwrap();
        store.create_topic("c", TopicConfig::new()).unwrap();
        store.close().unwrap();
        disk.put(path, &backup);
        assert_eq!(Store::open(config).unwrap().topics().len(), 2);
    }
}
