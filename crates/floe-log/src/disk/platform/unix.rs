//! Unix systems: directory syncs and the limit of open files, and positional reads and writes without Linux's fast
//! paths.

use std::{
    fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};
#[cfg(any(test, not(target_os = "linux")))]
use std::{io::IoSlice, os::unix::fs::FileExt};

use rustix::{
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

#[cfg(any(test, not(target_os = "linux")))]
use super::gather::write_gathered;
use crate::disk::DiskSpace;

/// `OPEN_MAX` of macOS: the highest soft limit that it accepts where the hard limit says "unlimited".
const OPEN_MAX: u64 = 10_240;

/// Raises the soft limit of open files to the hard one, or to [`OPEN_MAX`] if the system refuses that.
pub(in crate::disk) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raise = |current| setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum });
    let raised = raise(limit.maximum).or_else(|error| {
        if limit.current.is_some_and(|current| current < OPEN_MAX) {
            raise(Some(OPEN_MAX))
        } else {
            Err(error)
        }
    });
    // Best effort: with few open files the store only works slower.
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files was not raised");
    }
}

/// Returns the number of files that the process may have open; None for no limit.
pub(in crate::disk) fn open_file_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Returns the space of the file system that holds this path.
pub(in crate::disk) fn space(path: &Path) -> io::Result<Option<DiskSpace>> {
    let found = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Some(DiskSpace::new(bytes(found.f_blocks), bytes(found.f_bavail))))
}

/// Returns the error of a process with too many open files.
pub(in crate::disk) fn out_of_files() -> io::Error {
    Errno::MFILE.into()
}

/// Returns whether the process or the system has too many open files.
pub(in crate::disk) fn is_out_of_files(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::MFILE.raw_os_error()) || code == Some(Errno::NFILE.raw_os_error())
}

/// Returns options that create a file which only its owner may read and write. Files that exist keep their mode.
pub(in crate::disk) fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Returns a builder of directories, with their parents, that only their owner may enter. Directories that exist keep
/// their mode.
pub(in crate::disk) fn private_directories() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
}

/// Locks a directory with `lock`, so that the lock does not depend on a file that can be removed.
pub(in crate::disk) fn lock_directory(
    path: &Path,
    lock: fn(&File) -> Result<(), TryLockError>,
) -> Result<File, TryLockError> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let directory = File::open(path).map_err(TryLockError::Error)?;
    lock(&directory)?;
    Ok(directory)
}

/// Returns whether `path` still names the open file.
pub(in crate::disk) fn is_same_file(file: &File, path: &Path) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(named) => Ok(identity(&file.metadata()?) == identity(&named)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns device and inode.
#[expect(clippy::unnecessary_wraps, reason = "other systems have none")]
pub(in crate::disk) fn identity(metadata: &Metadata) -> Option<(u64, u64)> {
    Some((metadata.dev(), metadata.ino()))
}

pub(in crate::disk) fn is_unlinked(metadata: &Metadata) -> bool {
    metadata.nlink() == 0
}

pub(in crate::disk) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(any(test, not(target_os = "linux")))]
pub(in crate::disk) fn write_vectored_at(
    file: &File,
    slices: &[IoSlice<'_>],
    position: u64,
) -> io::Result<usize> {
    write_gathered(slices, |bytes| retry_interrupted(|| file.write_at(bytes, position)))
}

#[cfg(any(test, not(target_os = "linux")))]
pub(in crate::disk) fn read_at(file: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    retry_interrupted(|| file.read_at(into, position))
}

/// Returns None: there is no read that is certain not to wait for the device.
#[cfg(any(test, not(target_os = "linux")))]
pub(in crate::disk) fn read_cached_at(
    _file: &File,
    _into: &mut [u8],
    _position: u64,
) -> io::Result<Option<usize>> {
    Ok(None)
}

#[cfg(any(test, not(target_os = "linux")))]
fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
