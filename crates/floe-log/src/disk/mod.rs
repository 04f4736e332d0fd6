//! Disks that hold the files of a store: the file system, memory, or a disk with injected faults.
//!
//! All file access of the log, the catalog's database included, goes through [`Disk`] and [`DiskFile`], so one injected
//! disk is enough to test a full disk, a torn write or a power loss.

mod faulty;
mod memory;
mod overlay;
mod platform;
mod real;

use std::{
    any::Any,
    fmt,
    io::{self, IoSlice},
    path::Path,
    sync::Arc,
};

pub use faulty::{Fault, FaultyDisk};
pub use memory::MemoryDisk;
pub(crate) use overlay::OverlayDisk;
pub use real::RealDisk;

/// Mode in which a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Opens an existing file for reading.
    Read,
    /// Opens an existing file for reading and writing.
    Write,
    /// Opens a file for reading and writing, and creates it if it is missing.
    WriteOrCreate,
    /// Creates a file, or truncates an existing one.
    Create,
}

/// Lock of an open store; dropping it releases the lock.
pub type DiskLock = Box<dyn Any + Send + Sync>;

/// File system operations that a store needs.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Opens a file.
    ///
    /// # Errors
    /// The system's error; [`io::ErrorKind::NotFound`] if the mode requires a file that is missing.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a directory and its parents.
    ///
    /// # Errors
    /// The system's error.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Lists the names in a directory; empty if it does not exist.
    ///
    /// # Errors
    /// The system's error.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Removes a file; succeeds if it is missing.
    ///
    /// # Errors
    /// The system's error.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory and its contents; succeeds if it is missing.
    ///
    /// # Errors
    /// The system's error.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Renames a file atomically, replacing the target; or a directory, whose target must not exist.
    ///
    /// # Errors
    /// The system's error.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Syncs a directory: created, renamed and removed names in it survive a power loss. Does nothing on systems that
    /// cannot sync a directory (Windows).
    ///
    /// # Errors
    /// The system's error.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes the lock on this file, and on its directory where the system can lock one, without waiting, and writes
    /// `contents` into the file. `Ok(Err(_))` holds the contents that
    /// the current owner wrote; empty if the system does not let them be read.
    ///
    /// # Errors
    /// The system's error.
    fn try_lock(&self, path: &Path, contents: &str) -> io::Result<Result<DiskLock, String>>;

    /// Takes the lock of [`Disk::try_lock`] together with other readers, without waiting and without a write. `Ok(Err(_))`
    /// holds the contents that the current owner wrote.
    ///
    /// # Errors
    /// The system's error.
    fn try_lock_shared(&self, path: &Path) -> io::Result<Result<DiskLock, String>>;

    /// Returns the number of files that the process may have open; None if there is no limit.
    fn open_file_limit(&self) -> Option<u64> {
        None
    }

    /// Returns the space of the file system that holds this path; None if the system cannot tell.
    ///
    /// # Errors
    /// The system's error.
    fn space(&self, _path: &Path) -> io::Result<Option<DiskSpace>> {
        Ok(None)
    }

    /// Returns a number pair that distinguishes this directory from every other; None if it is missing, or if the
    /// system has no such number.
    ///
    /// # Errors
    /// The system's error.
    fn identity(&self, _path: &Path) -> io::Result<Option<(u64, u64)>> {
        Ok(None)
    }
}

/// Space of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskSpace {
    /// Size of the file system.
    pub total: u64,
    /// Bytes that this process may still write.
    pub free: u64,
}

impl DiskSpace {
    /// Creates the space of a file system.
    #[must_use]
    pub fn new(total: u64, free: u64) -> Self {
        Self { total, free }
    }
}

/// An open file. Every call names its position, so one file serves any number of readers.
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Writes the first bytes of `slices`, possibly fewer than all, and returns their number.
    ///
    /// # Errors
    /// The system's error.
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize>;

    /// Reads from `position` into the start of `into`, possibly fewer bytes than fit, and returns their number; 0 at
    /// the end of the file.
    ///
    /// # Errors
    /// The system's error.
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize>;

    /// Reads like [`DiskFile::read_at`], but only bytes that are available without waiting for a device; None if there
    /// are none, or if the system cannot tell.
    ///
    /// # Errors
    /// The system's error.
    fn read_cached_at(&self, into: &mut [u8], position: u64) -> io::Result<Option<usize>>;

    /// Syncs the file: written bytes survive a power loss.
    ///
    /// # Errors
    /// The system's error. After a failure the written bytes may be lost, even if a later sync succeeds.
    fn sync(&self) -> io::Result<()>;

    /// Truncates the file, or extends it with zeros.
    ///
    /// # Errors
    /// The system's error.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns whether the last name of the file was removed: what is written is lost once the file is closed. False if
    /// the system cannot tell.
    ///
    /// # Errors
    /// The system's error.
    fn is_unlinked(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Returns the size in bytes.
    ///
    /// # Errors
    /// The system's error.
    fn size(&self) -> io::Result<u64>;

    /// Returns the time of the last write, milliseconds since the Unix epoch; 0 if unknown.
    fn modified_ms(&self) -> i64;
}

/// Returns whether the process or the system has too many open files: a condition that passes, and no fault of the disk.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    platform::is_out_of_files(error)
}

/// Writes all of `bytes`.
pub(crate) fn write_all_at(file: &dyn DiskFile, mut bytes: &[u8], mut position: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = file.write_vectored_at(&[IoSlice::new(bytes)], position)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
        position += written as u64;
    }
    Ok(())
}

/// Reads the file from its start, at most `limit` bytes.
pub(crate) fn read_all(file: &dyn DiskFile, limit: usize) -> io::Result<Vec<u8>> {
    let size = usize::try_from(file.size()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size.min(limit)];
    let filled = read_full_at(file, &mut bytes, 0)?;
    bytes.truncate(filled);
    Ok(bytes)
}

/// Reads until `into` is full or the file ends, and returns the number of bytes.
pub(crate) fn read_full_at(file: &dyn DiskFile, into: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(missing) = into.get_mut(filled..).filter(|missing| !missing.is_empty()) {
        match file.read_at(missing, position + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
