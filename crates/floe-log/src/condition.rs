//! Condition of an open store: whether its disk takes writes, and what one of its partitions has lost.

use crate::{
    LogError, RecoveryReport, Store,
    disk::{DiskSpace, Open, write_all_at},
};

/// Free space below which a disk may be called nearly full. Large disks have more left when they are full to a twentieth.
const NEARLY_FULL: u64 = 2 << 30;

/// File that exists for the duration of a probe only.
const PROBE: &str = "PROBE";

impl Store {
    /// Writes a small file next to the catalog and removes it. Fails where every append would: on a full disk, on one that
    /// became read-only, on one that is broken. Nothing is synced, so that frequent health checks cost little.
    ///
    /// # Errors
    /// [`LogError::DiskFull`]; [`LogError::Io`]; those of [`Store::check`].
    pub fn probe(&self) -> Result<(), LogError> {
        self.check()?;
        let (disk, path) = (&self.shared.disk, self.shared.directory.join(PROBE));
        let file = disk.open(&path, Open::Create).map_err(|e| LogError::io(&path, "create", e))?;
        let written = write_all_at(&*file, b"probe\n", 0);
        drop(file);
        // A file that remains on a full disk would take the space of the next probe.
        disk.remove_file(&path).map_err(|e| LogError::io(&path, "remove", e))?;
        written.map_err(|e| LogError::io(&path, "write", e))
    }

    /// Returns the space of the disk if it is nearly full: less than a twentieth and less than 2 GiB are free. None where
    /// there is more, or the disk cannot tell.
    #[must_use]
    pub fn nearly_full(&self) -> Option<DiskSpace> {
        let space = self.shared.disk.space(&self.shared.directory).ok()??;
        (space.free < space.total / 20 && space.free < NEARLY_FULL).then_some(space)
    }

    /// Returns the part of [`Store::findings`] that concerns one topic, or one of its partitions. Its lists of set-aside logs
    /// and of problems of the catalog are empty.
    #[must_use]
    pub fn findings_of(&self, topic: &str, partition: Option<u32>) -> RecoveryReport {
        let is_of = |other: &str, number: u32| other == topic && partition.is_none_or(|only| only == number);
        let concerns = |error: &&LogError| matches!(error, LogError::Corrupt { topic, partition, .. } if is_of(topic, *partition));
        let found = self.shared.found.lock();
        RecoveryReport {
            was_clean: found.was_clean,
            cuts: found.cuts.iter().filter(|cut| is_of(&cut.topic, cut.partition)).cloned().collect(),
            damaged: found.damaged.iter().filter(concerns).cloned().collect(),
            gaps: found.gaps.iter().filter(|gap| is_of(&gap.topic, gap.partition)).cloned().collect(),
            corrupt: found.corrupt.iter().filter(concerns).cloned().collect(),
            rewound: found
                .rewound
                .iter()
                .filter(|moved| is_of(&moved.topic, moved.partition))
                .cloned()
                .collect(),
            set_aside: Vec::new(),
            catalog: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use super::*;
    use crate::{
        StoreConfig,
        disk::{Disk as _, Fault, FaultyDisk, MemoryDisk},
    };

    #[test]
    fn probe_finds_a_disk_that_refuses_writes_and_its_recovery() {
        let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
        let store = Store::open(StoreConfig::at("/").disk(Arc::new(disk.clone()))).unwrap();
        store.probe().unwrap();
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::Other] {
            disk.plan(Fault::Write(kind), PROBE, 0, u64::MAX);
            let error = store.probe().unwrap_err();
            assert_eq!(matches!(error, LogError::DiskFull { .. }), kind == io::ErrorKind::StorageFull);
            disk.heal();
            store.probe().unwrap();
        }
        store.close().unwrap();
        assert!(matches!(store.probe(), Err(LogError::Closed)));
    }

    #[test]
    fn a_disk_with_little_space_is_nearly_full() {
        let disk = MemoryDisk::with_capacity(64 << 20);
        let store = Store::open(StoreConfig::at("/").disk(Arc::new(disk.clone()))).unwrap();
        assert_eq!(store.nearly_full(), None);
        let file = disk.open(std::path::Path::new("/other"), Open::Create).unwrap();
        while disk.space(std::path::Path::new("/")).unwrap().unwrap().free > 3 << 20 {
            write_all_at(&*file, &[0; 1 << 16], file.size().unwrap()).unwrap();
        }
        assert_eq!(store.nearly_full().map(|space| space.total), Some(64 << 20));
        disk.remove_file(std::path::Path::new("/other")).unwrap();
        drop(file);
        assert_eq!(store.nearly_full(), None);
        let real = tempfile::tempdir().unwrap();
        let space = crate::disk::RealDisk::default().space(real.path()).unwrap();
        assert!(space.is_none_or(|space| space.free <= space.total && space.total > 0));
        store.close().unwrap();
    }
}
