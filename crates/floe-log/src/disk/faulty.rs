//! Disk with injected faults, for tests.

use std::{
    io::{self, IoSlice},
    path::Path,
    sync::Arc,
};

use parking_lot::Mutex;

use super::{Disk, DiskFile, DiskLock, DiskSpace, Open, platform};

/// Kind of an injected fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Writes fail with this error; nothing is written.
    Write(io::ErrorKind),
    /// A write stores only this many bytes and reports a short write.
    ShortWrite(usize),
    /// A write stores only this many bytes, then fails like a full disk.
    Full(usize),
    /// Syncs fail with an input/output error.
    Sync,
    /// Truncating or extending a file fails.
    SetLen,
    /// Creating a file fails.
    Create(io::ErrorKind),
    /// Opening or listing a file or directory, or syncing a directory, fails for lack of file descriptors.
    OutOfFiles,
    /// Reads fail with an input/output error.
    Read,
    /// Cached reads find nothing.
    NotCached,
    /// Removing a file or directory fails with an input/output error.
    Remove,
}

/// Wrapper that injects faults into any disk. Clones share the disk and its planned faults.
///
/// A planned fault hits only files whose name ends with its suffix, so the log can fail while the catalog works.
#[derive(Debug, Clone)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    plans: Arc<Mutex<Vec<FaultPlan>>>,
}

#[derive(Debug)]
struct FaultPlan {
    fault: Fault,
    suffix: String,
    /// Calls that succeed first.
    skip: u64,
    /// Calls that fail afterwards.
    times: u64,
}

impl FaultyDisk {
    /// Wraps a disk, without faults so far.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, plans: Arc::default() }
    }

    /// Plans `fault` for files whose name ends with `suffix`: `skip` calls succeed, the next `times` calls fail.
    pub fn plan(&self, fault: Fault, suffix: &str, skip: u64, times: u64) {
        self.plans.lock().push(FaultPlan { fault, suffix: suffix.to_owned(), skip, times });
    }

    /// Returns the number of planned failures that have not happened yet.
    #[must_use]
    pub fn still_planned(&self) -> u64 {
        self.plans.lock().iter().map(|plan| plan.times).sum()
    }

    /// Removes all planned faults.
    pub fn heal(&self) {
        self.plans.lock().clear();
    }

    fn hit(&self, path: &Path, concerns: impl Fn(Fault) -> bool) -> Option<Fault> {
        hit(&self.plans, path, concerns)
    }

    fn take_descriptor(&self, path: &Path) -> io::Result<()> {
        match self.hit(path, |fault| fault == Fault::OutOfFiles) {
            Some(_) => Err(platform::out_of_files()),
            None => Ok(()),
        }
    }
}

fn hit(plans: &Mutex<Vec<FaultPlan>>, path: &Path, concerns: impl Fn(Fault) -> bool) -> Option<Fault> {
    let name = path.to_string_lossy();
    for plan in plans.lock().iter_mut() {
        if plan.times == 0 || !concerns(plan.fault) || !name.ends_with(&plan.suffix) {
            continue;
        }
        if plan.skip > 0 {
            plan.skip -= 1;
            continue;
        }
        plan.times -= 1;
        return Some(plan.fault);
    }
    None
}

fn broken() -> io::Error {
    io::Error::other("injected input/output error")
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        self.take_descriptor(path)?;
        if matches!(how, Open::Create | Open::WriteOrCreate)
            && let Some(Fault::Create(kind)) = self.hit(path, |fault| matches!(fault, Fault::Create(_)))
        {
            return Err(kind.into());
        }
        let inner = self.inner.open(path, how)?;
        Ok(Arc::new(FaultyFile { inner, path: path.into(), plans: Arc::clone(&self.plans) }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.take_descriptor(path)?;
        self.inner.list(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        match self.hit(path, |fault| fault == Fault::Remove) {
            Some(_) => Err(broken()),
            None => self.inner.remove_file(path),
        }
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        match self.hit(path, |fault| fault == Fault::Remove) {
            Some(_) => Err(broken()),
            None => self.inner.remove_dir_all(path),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.take_descriptor(path)?;
        self.inner.sync_dir(path)
    }

    fn open_file_limit(&self) -> Option<u64> {
        self.inner.open_file_limit()
    }

    fn space(&self, path: &Path) -> io::Result<Option<DiskSpace>> {
        self.inner.space(path)
    }

    fn identity(&self, path: &Path) -> io::Result<Option<(u64, u64)>> {
        self.inner.identity(path)
    }

    fn try_lock(&self, path: &Path, contents: &str) -> io::Result<Result<DiskLock, String>> {
        self.inner.try_lock(path, contents)
    }

    fn try_lock_shared(&self, path: &Path) -> io::Result<Result<DiskLock, String>> {
        self.inner.try_lock_shared(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn DiskFile>,
    path: Box<Path>,
    plans: Arc<Mutex<Vec<FaultPlan>>>,
}

impl FaultyFile {
    fn hit(&self, concerns: impl Fn(Fault) -> bool) -> Option<Fault> {
        hit(&self.plans, &self.path, concerns)
    }

    fn write_only(&self, slices: &[IoSlice<'_>], position: u64, limit: usize) -> io::Result<usize> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(limit).collect();
        self.inner.write_vectored_at(&[IoSlice::new(&bytes)], position)
    }
}

impl DiskFile for FaultyFile {
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let fault =
            self.hit(|fault| matches!(fault, Fault::Write(_) | Fault::ShortWrite(_) | Fault::Full(_)));
        match fault {
            Some(Fault::Write(kind)) => Err(kind.into()),
            Some(Fault::ShortWrite(limit)) => self.write_only(slices, position, limit.max(1)),
            Some(Fault::Full(limit)) => {
                self.write_only(slices, position, limit)?;
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => self.inner.write_vectored_at(slices, position),
        }
    }

    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        match self.hit(|fault| fault == Fault::Read) {
            Some(_) => Err(broken()),
            None => self.inner.read_at(into, position),
        }
    }

    fn read_cached_at(&self, into: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        match self.hit(|fault| fault == Fault::NotCached) {
            Some(_) => Ok(None),
            None => self.inner.read_cached_at(into, position),
        }
    }

    fn sync(&self) -> io::Result<()> {
        match self.hit(|fault| fault == Fault::Sync) {
            Some(_) => Err(broken()),
            None => self.inner.sync(),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match self.hit(|fault| fault == Fault::SetLen) {
            Some(_) => Err(broken()),
            None => self.inner.set_len(len),
        }
    }

    fn is_unlinked(&self) -> io::Result<bool> {
        self.inner.is_unlinked()
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn modified_ms(&self) -> i64 {
        self.inner.modified_ms()
    }
}
