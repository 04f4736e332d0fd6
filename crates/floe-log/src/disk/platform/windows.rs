//! Windows: positional reads and writes that also move the cursor of the file, which nothing here uses.

use std::{
    fs::File,
    io::{self, IoSlice},
    os::windows::fs::FileExt,
    path::Path,
};

use super::gather::write_gathered;

/// Does nothing: handles are not limited per process.
pub(in crate::disk) fn raise_file_limit() {}

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
