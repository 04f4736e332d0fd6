//! Disk of a simulated server: memory behind seeded faults.

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::Arc,
};

use floe_log::disk::{Disk, DiskFile, DiskLock, DiskSpace, MemoryDisk, Open};
use parking_lot::Mutex;

use crate::rng::Rng;

/// Percentage of reads that have to wait for the device.
const UNCACHED: u64 = 30;

/// Disk of one incarnation of a server. It stops with the server: what it holds then is in the memory below, which the
/// next incarnation gets, as it is or as a power loss leaves it.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    memory: MemoryDisk,
    state: Arc<Mutex<DeviceState>>,
}

struct DeviceState {
    rng: Rng,
    is_full: bool,
    fails_syncs: bool,
    /// Files whose sync failed: later syncs succeed without effect, as those of kernels that drop the pages.
    unsyncable: BTreeSet<PathBuf>,
    /// The injected bug: syncs of segments are left out.
    skips_syncs: bool,
    /// Changes until the device stops, with the function to call then.
    stop: Option<(u64, OnStop)>,
    is_stopped: bool,
}

type OnStop = Box<dyn FnOnce() + Send>;

/// Extent to which the device makes a change.
enum Permit {
    All,
    /// A random part, after which the device has stopped.
    Part,
}

impl Device {
    pub(crate) fn new(memory: MemoryDisk, rng: Rng, skips_syncs: bool) -> Self {
        let state = DeviceState {
            rng,
            is_full: false,
            fails_syncs: false,
            unsyncable: BTreeSet::new(),
            skips_syncs,
            stop: None,
            is_stopped: false,
        };
        Self { memory, state: Arc::new(Mutex::new(state)) }
    }

    /// Sets whether writes find no room.
    pub(crate) fn set_full(&self, is_full: bool) {
        self.state.lock().is_full = is_full;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.state.lock().is_full
    }

    /// Makes all syncs fail from now on.
    pub(crate) fn fail_syncs(&self) {
        self.state.lock().fails_syncs = true;
    }

    /// Stops in the middle of a later change, and calls `on_stop` then.
    pub(crate) fn stop_after(&self, changes: u64, on_stop: impl FnOnce() + Send + 'static) {
        self.state.lock().stop = Some((changes, Box::new(on_stop)));
    }

    /// Stops now: all later changes fail.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.is_stopped = true;
        state.stop = None;
    }

    fn permit(&self) -> io::Result<Permit> {
        let mut state = self.state.lock();
        if state.is_stopped {
            return Err(down());
        }
        match &mut state.stop {
            Some((0, _)) => {
                state.is_stopped = true;
                Ok(Permit::Part)
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(Permit::All)
            }
            None => Ok(Permit::All),
        }
    }

    /// Makes a change that is done as a whole or not at all.
    fn change<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.permit()? {
            Permit::All => change(),
            Permit::Part => {
                // The half of these changes is done when the device stops; no caller learns of it.
                if self.state.lock().rng.percent(50) {
                    let _ = change();
                }
                Err(self.stopped())
            }
        }
    }

    fn stopped(&self) -> io::Error {
        let on_stop = self.state.lock().stop.take();
        if let Some((_, on_stop)) = on_stop {
            on_stop();
        }
        down()
    }

    fn file(&self, path: &Path, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(DeviceFile { device: self.clone(), path: path.to_path_buf(), inner })
    }
}

fn down() -> io::Error {
    io::Error::other("the machine is down")
}

impl fmt::Debug for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceState").field("is_stopped", &self.is_stopped).finish_non_exhaustive()
    }
}

impl Disk for Device {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let inner = match how {
            Open::Read | Open::Write => self.memory.open(path, how)?,
            Open::WriteOrCreate | Open::Create => self.change(|| self.memory.open(path, how))?,
        };
        Ok(self.file(path, inner))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change(|| self.memory.create_dir_all(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.memory.list(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(|| self.memory.remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change(|| self.memory.remove_dir_all(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|| self.memory.rename(from, to))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if self.state.lock().fails_syncs {
            return Err(io::Error::other("injected failure of a sync"));
        }
        self.change(|| self.memory.sync_dir(path))
    }

    fn space(&self, path: &Path) -> io::Result<Option<DiskSpace>> {
        self.memory.space(path)
    }

    /// The lock ends with the incarnation, also while tasks of it are still there.
    fn try_lock(&self, _path: &Path, _contents: &str) -> io::Result<Result<DiskLock, String>> {
        Ok(Ok(Box::new(())))
    }

    fn try_lock_shared(&self, _path: &Path) -> io::Result<Result<DiskLock, String>> {
        Ok(Ok(Box::new(())))
    }
}

#[derive(Debug)]
struct DeviceFile {
    device: Device,
    path: PathBuf,
    inner: Arc<dyn DiskFile>,
}

impl DeviceFile {
    /// Writes a random part from the start.
    fn write_part(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let part = self.device.state.lock().rng.within(0..=bytes.len() as u64);
        bytes.truncate(usize::try_from(part).unwrap_or(0));
        self.inner.write_vectored_at(&[IoSlice::new(&bytes)], position).map(drop)
    }

    /// Returns whether a sync has its effect.
    fn may_sync(&self) -> io::Result<bool> {
        let mut state = self.device.state.lock();
        if state.fails_syncs {
            state.unsyncable.insert(self.path.clone());
            return Err(io::Error::other("injected failure of a sync"));
        }
        if state.skips_syncs && self.path.extension().is_some_and(|extension| extension == "seg") {
            return Ok(false);
        }
        Ok(!state.unsyncable.contains(&self.path))
    }
}

impl DiskFile for DeviceFile {
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        match self.device.permit()? {
            Permit::All if self.device.state.lock().is_full => {
                self.write_part(slices, position)?;
                Err(io::ErrorKind::StorageFull.into())
            }
            Permit::All => self.inner.write_vectored_at(slices, position),
            Permit::Part => {
                self.write_part(slices, position)?;
                Err(self.device.stopped())
            }
        }
    }

    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        self.inner.read_at(into, position)
    }

    fn read_cached_at(&self, into: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        if self.device.state.lock().rng.percent(UNCACHED) {
            return Ok(None);
        }
        self.inner.read_cached_at(into, position)
    }

    fn sync(&self) -> io::Result<()> {
        if self.may_sync()? { self.device.change(|| self.inner.sync()) } else { Ok(()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.device.change(|| self.inner.set_len(len))
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn modified_ms(&self) -> i64 {
        self.inner.modified_ms()
    }
}
