//! Disk backed by the file system of this machine.

use std::{
    fs::{File, TryLockError},
    io::{self, IoSlice, Read, Write},
    path::Path,
    sync::Arc,
    time::UNIX_EPOCH,
};

use super::{Disk, DiskFile, DiskLock, DiskSpace, Open, platform};

/// Attempts to lock a file that other programs remove.
const MAX_LOCK_RETRIES: usize = 10;

/// The file system of this machine.
#[derive(Debug, Default)]
pub struct RealDisk {
    _private: (),
}

impl RealDisk {
    /// Returns the disk and, on Unix, raises the process's soft limit of open files to the hard one: every partition
    /// that is being written keeps a file open, and common soft limits (1024 on Linux, 256 on macOS) are lower than
    /// the partition count of some topics.
    #[must_use]
    pub fn new() -> Self {
        platform::raise_file_limit();
        Self { _private: () }
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = platform::private_options();
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
        platform::private_directories().create(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        // The store only creates UTF-8 names.
        entries.filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose()).collect()
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        ignore_missing(std::fs::remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        ignore_missing(std::fs::remove_dir_all(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        platform::sync_dir(path)
    }

    fn try_lock(&self, path: &Path, contents: &str) -> io::Result<Result<DiskLock, String>> {
        let directory = match platform::lock_directory(
            path.parent().unwrap_or(Path::new(".")),
            File::try_lock,
        ) {
            Ok(directory) => Some(directory),
            Err(TryLockError::WouldBlock) => return Ok(Err(owner(path))),
            Err(TryLockError::Error(error)) => {
                // Some network file systems lock only files that are open for writing.
                tracing::debug!(path = %path.display(), %error, "the directory is locked by its file only");
                None
            }
        };
        for _ in 0..MAX_LOCK_RETRIES {
            let mut options = platform::private_options();
            let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
            match file.try_lock() {
                Ok(()) if platform::is_same_file(&file, path)? => {
                    // A full disk must not keep the store closed: the contents only name the owner.
                    if let Err(error) = file.set_len(0).and_then(|()| file.write_all(contents.as_bytes())) {
                        tracing::debug!(path = %path.display(), %error, "the owner of the lock was not noted");
                    }
                    return Ok(Ok(Box::new((file, directory))));
                }
                // The file was removed before it was locked, so another process may lock a new one.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Err(owner(path))),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::other("the lock file is removed again and again"))
    }

    fn try_lock_shared(&self, path: &Path) -> io::Result<Result<DiskLock, String>> {
        let parent = path.parent().unwrap_or(Path::new("."));
        let mut held = Vec::new();
        // Either may be out of reach: the file in a directory of another user, the directory on Windows.
        let locks = [
            platform::lock_directory(parent, File::try_lock_shared),
            File::open(path)
                .map_err(TryLockError::Error)
                .and_then(|file| file.try_lock_shared().map(|()| file)),
        ];
        for lock in locks {
            match lock {
                Ok(file) => held.push(file),
                Err(TryLockError::WouldBlock) => return Ok(Err(owner(path))),
                Err(TryLockError::Error(error)) => {
                    tracing::debug!(path = %path.display(), %error, "not locked for reading");
                }
            }
        }
        Ok(Ok(Box::new(held)))
    }

    fn open_file_limit(&self) -> Option<u64> {
        platform::open_file_limit()
    }

    fn space(&self, path: &Path) -> io::Result<Option<DiskSpace>> {
        platform::space(path)
    }

    fn identity(&self, path: &Path) -> io::Result<Option<(u64, u64)>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(platform::identity(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Returns what the owner of the lock wrote into its file; empty if it cannot be read. Locks on Windows are mandatory
/// and also prevent reading.
fn owner(path: &Path) -> String {
    let mut owner = String::new();
    let read = File::open(path).and_then(|file| file.take(256).read_to_string(&mut owner));
    if let Err(error) = read {
        tracing::debug!(path = %path.display(), %error, "the owner of the lock cannot be read");
        owner.clear();
    }
    owner
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl DiskFile for RealFile {
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        platform::write_vectored_at(&self.file, slices, position)
    }

    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        platform::read_at(&self.file, into, position)
    }

    fn read_cached_at(&self, into: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        platform::read_cached_at(&self.file, into, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn is_unlinked(&self) -> io::Result<bool> {
        Ok(platform::is_unlinked(&self.file.metadata()?))
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
