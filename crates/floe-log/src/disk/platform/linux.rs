//! Linux: vectored positional writes, and reads that are served from the page cache only.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
};

use rustix::io::{Errno, ReadWriteFlags};

pub(in crate::disk) use super::unix::{
    identity, is_out_of_files, is_same_file, is_unlinked, lock_directory, open_file_limit, out_of_files,
    private_directories, private_options, raise_file_limit, space, sync_dir,
};

/// Most slices that one `pwritev` takes (`UIO_MAXIOV` in the kernel).
const MAX_SLICES: usize = 1024;

pub(in crate::disk) fn write_vectored_at(
    file: &File,
    slices: &[IoSlice<'_>],
    position: u64,
) -> io::Result<usize> {
    let slices = slices.get(..MAX_SLICES).unwrap_or(slices);
    retry_interrupted(|| rustix::io::pwritev(file, slices, position))
}

pub(in crate::disk) fn read_at(file: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    retry_interrupted(|| rustix::io::pread(file, &mut *into, position))
}

pub(in crate::disk) fn read_cached_at(
    file: &File,
    into: &mut [u8],
    position: u64,
) -> io::Result<Option<usize>> {
    let read = retry_interrupted(|| {
        rustix::io::preadv2(file, &mut [IoSliceMut::new(into)], position, ReadWriteFlags::NOWAIT)
    });
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        // File systems without `RWF_NOWAIT`, such as tmpfs of older kernels.
        Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn retry_interrupted<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}
