//! Storage backend of the catalog's database on a [`Disk`](crate::disk::Disk), so that injected faults reach it too.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use crate::disk::{DiskFile, read_full_at, write_all_at};

/// First failed operation of a database file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) kind: io::ErrorKind,
    /// Whether a sync failed: bytes written before may be lost although they can be read.
    pub(crate) is_sync: bool,
}

/// File of the redb database. After a failure every operation fails: the catalog abandons a failed database and opens a
/// new one, and the old one must not write when it is dropped.
#[derive(Debug)]
pub(crate) struct DatabaseFile {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) failure: Arc<OnceLock<Failure>>,
}

impl DatabaseFile {
    fn attempt<T>(&self, is_sync: bool, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if let Some(failure) = self.failure.get() {
            return Err(failure.kind.into());
        }
        work().inspect_err(|error| {
            // Only the first failure counts.
            let _ = self.failure.set(Failure { kind: error.kind(), is_sync });
        })
    }
}

impl redb::StorageBackend for DatabaseFile {
    fn len(&self) -> io::Result<u64> {
        self.attempt(false, || self.file.size())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.attempt(false, || {
            let filled = read_full_at(&*self.file, out, offset)?;
            if filled < out.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.attempt(false, || self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.attempt(true, || {
            self.file.sync()?;
            // A change of a file that was removed is lost.
            if self.file.is_unlinked()? { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.attempt(false, || write_all_at(&*self.file, data, offset))
    }
}
