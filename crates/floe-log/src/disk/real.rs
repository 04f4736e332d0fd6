//! The disk of this machine.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, IoSlice, IoSliceMut, Read, Write},
    path::Path,
    sync::Arc,
    time::UNIX_EPOCH,
};

use rustix::{
    io::{Errno, ReadWriteFlags},
    process::{Resource, getrlimit, setrlimit},
};

use super::{Disk, DiskFile, DiskLock, Open};

/// Most slices that one vectored write takes on Linux.
const MAX_SLICES: usize = 1024;

/// Files of this machine, through plain system calls.
#[derive(Debug, Default)]
pub struct RealDisk {
    _private: (),
}

impl RealDisk {
    /// Raises this process's soft limit of open files to the hard one: every partition that is being written keeps a
    /// file open, and the usual soft limit of 1024 is less than some topics have partitions.
    #[must_use]
    pub fn new() -> Self {
        let mut limit = getrlimit(Resource::Nofile);
        if limit.current != limit.maximum {
            limit.current = limit.maximum;
            // Best effort: the store works with few files, only slower.
            if let Err(error) = setrlimit(Resource::Nofile, limit) {
                tracing::debug!(%error, "the limit of open files stays as it is");
            }
        }
        Self { _private: () }
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => &mut options,
            Open::Write => options.write(true),
            Open::WriteOrCreate => options.write(true).create(true).truncate(false),
            Open::Create => options.write(true).create(true).truncate(true),
        };
        Ok(Arc::new(RealFile { file: options.open(path)? }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        // Names that are not UTF-8 are none of ours.
        entries.filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose()).collect()
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        gone_is_fine(std::fs::remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        gone_is_fine(std::fs::remove_dir_all(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn try_lock(&self, path: &Path, contents: &str) -> io::Result<Result<DiskLock, String>> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                file.write_all(contents.as_bytes())?;
                Ok(Ok(Box::new(file)))
            }
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                file.take(256).read_to_string(&mut owner)?;
                Ok(Err(owner))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn again<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

impl DiskFile for RealFile {
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let slices = slices.get(..MAX_SLICES).unwrap_or(slices);
        again(|| rustix::io::pwritev(&self.file, slices, position))
    }

    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        again(|| rustix::io::pread(&self.file, &mut *into, position))
    }

    fn read_cached_at(&self, into: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        let read = again(|| {
            rustix::io::preadv2(&self.file, &mut [IoSliceMut::new(into)], position, ReadWriteFlags::NOWAIT)
        });
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // A file system without the flag: the caller takes the way that may wait.
            Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn modified_ms(&self) -> i64 {
        let modified = self.file.metadata().and_then(|metadata| metadata.modified()).ok();
        let since_epoch = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since_epoch.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(0)
    }
}
