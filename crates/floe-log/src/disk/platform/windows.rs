//! Windows: positional reads and writes that also move the cursor of the file, which nothing here uses.

use std::{
    fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError},
    io::{self, IoSlice},
    os::windows::fs::FileExt,
    path::Path,
};

use super::gather::write_gathered;
use crate::disk::DiskSpace;

/// Does nothing: handles are not limited per process.
pub(in crate::disk) fn raise_file_limit() {}

/// `ERROR_TOO_MANY_OPEN_FILES`.
const TOO_MANY_OPEN_FILES: i32 = 4;

/// Returns None: handles are not limited per process.
pub(in crate::disk) fn open_file_limit() -> Option<u64> {
    None
}

/// Returns None: the standard library cannot tell.
pub(in crate::disk) fn space(_path: &Path) -> io::Result<Option<DiskSpace>> {
    Ok(None)
}

/// Returns the error of a process with too many open files.
pub(in crate::disk) fn out_of_files() -> io::Error {
    io::Error::from_raw_os_error(TOO_MANY_OPEN_FILES)
}

/// Returns whether the process has too many open files.
pub(in crate::disk) fn is_out_of_files(error: &io::Error) -> bool {
    error.raw_os_error() == Some(TOO_MANY_OPEN_FILES)
}

/// Returns options without a mode: a file inherits the access list of its directory.
pub(in crate::disk) fn private_options() -> OpenOptions {
    OpenOptions::new()
}

/// Returns a builder of directories with their parents, which inherit the access list of theirs.
pub(in crate::disk) fn private_directories() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    builder
}

/// Fails: a directory cannot be opened as a file. A locked file cannot be removed here, so its lock is enough.
pub(in crate::disk) fn lock_directory(
    _path: &Path,
    _lock: fn(&File) -> Result<(), TryLockError>,
) -> Result<File, TryLockError> {
    Err(TryLockError::Error(io::ErrorKind::Unsupported.into()))
}

/// Returns true: a file that is open here cannot be removed or replaced.
pub(in crate::disk) fn is_same_file(_file: &File, _path: &Path) -> io::Result<bool> {
    Ok(true)
}

/// Returns None: the standard library offers no stable number.
pub(in crate::disk) fn identity(_metadata: &Metadata) -> Option<(u64, u64)> {
    None
}

/// Returns false: an open file cannot be removed.
pub(in crate::disk) fn is_unlinked(_metadata: &Metadata) -> bool {
    false
}

/// Does nothing: a directory cannot be opened as a file, and NTFS journals changes of names itself.
pub(in crate::disk) fn sync_dir(_path: &Path) -> io::Result<()> {
    Ok(())
}

pub(in crate::disk) fn write_vectored_at(
    file: &File,
    slices: &[IoSlice<'_>],
    position: u64,
) -> io::Result<usize> {
    write_gathered(slices, |bytes| file.seek_write(bytes, position))
}

pub(in crate::disk) fn read_at(file: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    file.seek_read(into, position)
}

/// Returns None: there is no read that is certain not to wait for the device.
pub(in crate::disk) fn read_cached_at(
    _file: &File,
    _into: &mut [u8],
    _position: u64,
) -> io::Result<Option<usize>> {
    Ok(None)
}
