//! Where files are kept: real ones, memory, or a disk that fails on purpose.
//!
//! Everything that the log does to files goes through [`Disk`] and [`DiskFile`], the catalog's database included, so
//! one injected disk is enough to test a full disk, a torn write or a power loss.

mod faulty;
mod memory;
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
pub use real::RealDisk;

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Must exist; is not written.
    Read,
    /// Must exist.
    Write,
    /// Is created if missing, kept as it is if not.
    WriteOrCreate,
    /// Is created, or emptied.
    Create,
}

/// Held for as long as a store is open; dropping it releases the lock.
pub type DiskLock = Box<dyn Any + Send + Sync>;

/// A file system, as far as a log needs one.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Opens a file.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::NotFound`] if it must exist and does not.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a directory and its parents.
    ///
    /// # Errors
    /// What the system says.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Names in a directory; empty if it does not exist.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Removes a file; fine if it is gone already.
    ///
    /// # Errors
    /// What the system says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory with everything in it; fine if it is gone already.
    ///
    /// # Errors
    /// What the system says.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Puts a file in the place of another, at once.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes created, renamed and removed names of a directory survive a power loss.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes the lock on this file without waiting and writes `contents` into it. `Ok(Err(_))` holds what the present
    /// owner wrote.
    ///
    /// # Errors
    /// What the system says.
    fn try_lock(&self, path: &Path, contents: &str) -> io::Result<Result<DiskLock, String>>;
}

/// An open file. Positions are given with each call, so one file serves any number of readers.
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Writes from the start of `slices`, possibly less than all; returns how many bytes.
    ///
    /// # Errors
    /// What the system says.
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize>;

    /// Reads from `position` into the start of `into`, possibly less than it holds; returns how many bytes, 0 at the
    /// end of the file.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize>;

    /// As [`DiskFile::read_at`], but only what needs no waiting for a device: None if nothing can be had that way.
    ///
    /// # Errors
    /// What the system says.
    fn read_cached_at(&self, into: &mut [u8], position: u64) -> io::Result<Option<usize>>;

    /// Makes what was written survive a power loss.
    ///
    /// # Errors
    /// What the system says. After that the written bytes may be gone, whatever a later sync says.
    fn sync(&self) -> io::Result<()>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Size in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn size(&self) -> io::Result<u64>;

    /// When the file was last written, milliseconds since the Unix epoch; 0 if unknown.
    fn modified_ms(&self) -> i64;
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

/// Reads the whole file, at most `limit` bytes of it.
pub(crate) fn read_all(file: &dyn DiskFile, limit: usize) -> io::Result<Vec<u8>> {
    let size = usize::try_from(file.size()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size.min(limit)];
    let filled = read_full_at(file, &mut bytes, 0)?;
    bytes.truncate(filled);
    Ok(bytes)
}

/// Reads until `into` is full or the file ends; returns how many bytes.
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
