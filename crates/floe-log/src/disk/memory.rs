//! Disk in memory, with simulated power loss.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use parking_lot::{Mutex, RwLock};

use super::{Disk, DiskFile, DiskLock, DiskSpace, Open};
use crate::clock::{DiskClock, GivenClock};

/// Piece size of a file. Files consist of pieces, so that growth never copies existing bytes.
const PIECE: usize = 256 << 10;
/// Unit that a simulated power loss keeps or drops.
const PAGE: usize = 4096;

/// Disk in memory. Clones share the files.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    names: Arc<Mutex<Names>>,
    /// Every change holds this lock for reading, so that a copy shows the disk at one instant.
    changes: Arc<RwLock<()>>,
    /// Whether synced contents are stored separately, for [`MemoryDisk::after_power_loss`].
    tracks_sync: bool,
    space: Option<Arc<Space>>,
    /// Clock of the times of writes.
    clock: DiskClock,
}

/// Pages of a disk that can be full. Files have holes: only written pages count.
#[derive(Debug)]
struct Space {
    limit: usize,
    used: AtomicUsize,
}

#[derive(Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, Arc<MemoryFile>>,
    /// Names as of the last sync of their directory.
    synced: BTreeMap<PathBuf, Arc<MemoryFile>>,
    locked: BTreeSet<PathBuf>,
    /// Number of shared locks.
    shared: BTreeMap<PathBuf, usize>,
}

#[derive(Debug, Default)]
struct MemoryFile {
    changes: Arc<RwLock<()>>,
    clock: DiskClock,
    pieces: RwLock<Pieces>,
    synced: Option<Mutex<Vec<u8>>>,
    modified_ms: AtomicI64,
    allocated: Allocated,
}

/// Pages of a file that were written, if the disk can be full.
#[derive(Debug, Default)]
struct Allocated {
    space: Option<Arc<Space>>,
    pages: Mutex<BTreeSet<usize>>,
}

/// Every piece but the last is full.
#[derive(Debug, Default)]
struct Pieces {
    pieces: Vec<Vec<u8>>,
    len: usize,
}

impl MemoryDisk {
    /// Creates an empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an empty disk that keeps a copy of every file as of its last sync: for tests.
    #[must_use]
    pub fn with_power_loss() -> Self {
        Self { tracks_sync: true, ..Self::default() }
    }

    /// Creates an empty disk that is full once this many bytes are written, in units of 4 KiB.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let space = Space { limit: bytes / PAGE, used: AtomicUsize::new(0) };
        Self { space: Some(Arc::new(space)), ..Self::default() }
    }

    /// Sets the clock of the times of writes, for files that are created later. Default: that of the system.
    #[must_use]
    pub fn wall_clock(mut self, read: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = DiskClock(Arc::new(GivenClock(read)));
        self
    }

    /// Returns the disk as a power loss now would leave it: synced names with their synced contents. `keeps` picks the
    /// 4 KiB pages written since then that reached the disk anyway, in any order.
    #[must_use]
    pub fn after_power_loss(&self, mut keeps: impl FnMut() -> bool) -> Self {
        let after = self.empty();
        let _instant = self.changes.write();
        for (path, file) in &self.names.lock().synced {
            let synced = file.synced.as_ref().map(|synced| synced.lock().clone()).unwrap_or_default();
            after.put_file(path, &survivors(synced, &file.pieces.read().to_vec(), &mut keeps), file);
        }
        after
    }

    /// Returns the disk as a process killed now would leave it: all written bytes are present and count as synced.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let after = self.empty();
        let _instant = self.changes.write();
        for (path, file) in &self.names.lock().files {
            after.put_file(path, &file.pieces.read().to_vec(), file);
        }
        after
    }

    /// Returns the contents of a file; None if it is missing.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        self.names.lock().files.get(path).map(|file| file.pieces.read().to_vec())
    }

    /// Stores a file, synced.
    pub fn put(&self, path: &Path, contents: &[u8]) {
        let _change = self.changes.read();
        self.put_file(path, contents, &MemoryFile::default());
    }

    fn put_file(&self, path: &Path, contents: &[u8], like: &MemoryFile) {
        let file = Arc::new(self.empty_file());
        *file.pieces.write() = Pieces::from(contents);
        file.modified_ms.store(like.modified_ms.load(Ordering::Relaxed), Ordering::Relaxed);
        if let Some(synced) = &file.synced {
            *synced.lock() = contents.to_vec();
        }
        let mut names = self.names.lock();
        names.files.insert(path.to_path_buf(), Arc::clone(&file));
        names.synced.insert(path.to_path_buf(), file);
    }

    /// Lists the paths of all files.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.names.lock().files.keys().cloned().collect()
    }

    fn empty(&self) -> Self {
        Self { tracks_sync: self.tracks_sync, clock: self.clock.clone(), ..Self::default() }
    }

    fn lock_owner(&self, path: &Path) -> String {
        String::from_utf8_lossy(&self.contents(path).unwrap_or_default()).into_owned()
    }

    fn empty_file(&self) -> MemoryFile {
        MemoryFile {
            changes: Arc::clone(&self.changes),
            clock: self.clock.clone(),
            synced: self.tracks_sync.then(Mutex::default),
            allocated: Allocated { space: self.space.clone(), pages: Mutex::default() },
            ..MemoryFile::default()
        }
    }
}

fn survivors(synced: Vec<u8>, written: &[u8], keeps: &mut impl FnMut() -> bool) -> Vec<u8> {
    let mut contents = synced;
    for (number, page) in written.chunks(PAGE).enumerate() {
        let start = number * PAGE;
        let end = start + page.len();
        if contents.get(start..end) == Some(page) || !keeps() {
            continue;
        }
        if contents.len() < end {
            contents.resize(end, 0);
        }
        if let Some(target) = contents.get_mut(start..end) {
            target.copy_from_slice(page);
        }
    }
    contents
}

/// Renames all files in a directory; returns whether there are any.
fn move_directory(files: &mut BTreeMap<PathBuf, Arc<MemoryFile>>, from: &Path, to: &Path) -> bool {
    let moved: Vec<_> = files.keys().filter(|path| path.starts_with(from)).cloned().collect();
    for path in &moved {
        if let (Some(file), Ok(within)) = (files.remove(path), path.strip_prefix(from)) {
            files.insert(to.join(within), file);
        }
    }
    !moved.is_empty()
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let _change = self.changes.read();
        let mut names = self.names.lock();
        if let Some(file) = names.files.get(path) {
            if how == Open::Create {
                *file.pieces.write() = Pieces::default();
                file.allocated.free_from(0);
            }
            return Ok(Arc::clone(file) as Arc<dyn DiskFile>);
        }
        if matches!(how, Open::Read | Open::Write) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = Arc::new(self.empty_file());
        names.files.insert(path.to_path_buf(), Arc::clone(&file));
        Ok(file)
    }

    fn space(&self, _path: &Path) -> io::Result<Option<DiskSpace>> {
        Ok(self.space.as_ref().map(|space| {
            let free = space.limit.saturating_sub(space.used.load(Ordering::Acquire));
            DiskSpace::new((space.limit * PAGE) as u64, (free * PAGE) as u64)
        }))
    }

    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        // A directory exists through the names in it.
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let names = self.names.lock();
        let mut found = BTreeSet::new();
        for file in names.files.keys() {
            let name = file.strip_prefix(path).ok().and_then(|rest| rest.iter().next());
            found.extend(name.and_then(|name| name.to_str()).map(str::to_owned));
        }
        Ok(found.into_iter().collect())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let _change = self.changes.read();
        self.names.lock().files.remove(path);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let _change = self.changes.read();
        self.names.lock().files.retain(|file, _| !file.starts_with(path));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _change = self.changes.read();
        let mut names = self.names.lock();
        if let Some(file) = names.files.remove(from) {
            names.files.insert(to.to_path_buf(), file);
            return Ok(());
        }
        let Names { files, synced, .. } = &mut *names;
        let moved = move_directory(files, from, to);
        // The names in a directory move with it, so a power loss finds them where it finds the directory.
        move_directory(synced, from, to);
        if moved { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let _change = self.changes.read();
        if !self.tracks_sync {
            return Ok(());
        }
        let mut names = self.names.lock();
        names.synced.retain(|file, _| file.parent() != Some(path));
        let here: Vec<_> = names
            .files
            .iter()
            .filter(|(file, _)| file.parent() == Some(path))
            .map(|(path, file)| (path.clone(), Arc::clone(file)))
            .collect();
        names.synced.extend(here);
        Ok(())
    }

    fn try_lock(&self, path: &Path, contents: &str) -> io::Result<Result<DiskLock, String>> {
        let mut names = self.names.lock();
        if names.shared.contains_key(path) || !names.locked.insert(path.to_path_buf()) {
            drop(names);
            return Ok(Err(self.lock_owner(path)));
        }
        drop(names);
        let held = MemoryLock { disk: self.clone(), path: path.to_path_buf(), is_shared: false };
        self.put(path, contents.as_bytes());
        Ok(Ok(Box::new(held)))
    }

    fn try_lock_shared(&self, path: &Path) -> io::Result<Result<DiskLock, String>> {
        let mut names = self.names.lock();
        if names.locked.contains(path) {
            drop(names);
            return Ok(Err(self.lock_owner(path)));
        }
        *names.shared.entry(path.to_path_buf()).or_default() += 1;
        Ok(Ok(Box::new(MemoryLock { disk: self.clone(), path: path.to_path_buf(), is_shared: true })))
    }
}

/// Lock of a store; released when dropped.
#[derive(Debug)]
struct MemoryLock {
    disk: MemoryDisk,
    path: PathBuf,
    is_shared: bool,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut names = self.disk.names.lock();
        if !self.is_shared {
            names.locked.remove(&self.path);
        } else if let Some(count) = names.shared.get_mut(&self.path) {
            *count -= 1;
            if *count == 0 {
                names.shared.remove(&self.path);
            }
        }
    }
}

impl DiskFile for MemoryFile {
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let mut at = usize::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let _change = self.changes.read();
        let mut pieces = self.pieces.write();
        self.allocated.add(at, slices.iter().map(|slice| slice.len()).sum())?;
        for slice in slices {
            pieces.write(at, slice);
            at += slice.len();
        }
        drop(pieces);
        self.modified_ms.store(self.clock.0.wall_ms(), Ordering::Relaxed);
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        let position = usize::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok(self.pieces.read().read(into, position))
    }

    fn read_cached_at(&self, into: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        self.read_at(into, position).map(Some)
    }

    fn sync(&self) -> io::Result<()> {
        let _change = self.changes.read();
        if let Some(synced) = &self.synced {
            let contents = self.pieces.read().to_vec();
            *synced.lock() = contents;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let _change = self.changes.read();
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.pieces.write().set_len(len);
        self.allocated.free_from(len.div_ceil(PAGE));
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.pieces.read().len as u64)
    }

    fn modified_ms(&self) -> i64 {
        self.modified_ms.load(Ordering::Relaxed)
    }
}

impl Allocated {
    /// Counts the pages of a write; fails if the disk has too few.
    fn add(&self, at: usize, len: usize) -> io::Result<()> {
        let Some(space) = self.space.as_ref().filter(|_| len > 0) else { return Ok(()) };
        let mut written = self.pages.lock();
        let new: Vec<_> =
            (at / PAGE..=(at + len - 1) / PAGE).filter(|page| !written.contains(page)).collect();
        let take = |used: usize| Some(used + new.len()).filter(|used| *used <= space.limit);
        space
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, take)
            .map_err(|_| io::ErrorKind::StorageFull)?;
        written.extend(new);
        Ok(())
    }

    fn free_from(&self, page: usize) {
        if let Some(space) = &self.space {
            let freed = self.pages.lock().split_off(&page);
            space.used.fetch_sub(freed.len(), Ordering::AcqRel);
        }
    }
}

impl Drop for Allocated {
    fn drop(&mut self) {
        self.free_from(0);
    }
}

impl From<&[u8]> for Pieces {
    fn from(bytes: &[u8]) -> Self {
        let mut pieces = Self::default();
        pieces.write(0, bytes);
        pieces
    }
}

impl Pieces {
    fn to_vec(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    fn set_len(&mut self, len: usize) {
        while self.len < len {
            let room = PIECE - self.len % PIECE;
            let more = room.min(len - self.len);
            if room == PIECE {
                self.pieces.push(Vec::new());
            }
            if let Some(last) = self.pieces.last_mut() {
                last.resize(last.len() + more, 0);
            }
            self.len += more;
        }
        self.pieces.truncate(len.div_ceil(PIECE));
        if let Some(last) = self.pieces.last_mut()
            && len < self.len
        {
            last.truncate(len - (len.div_ceil(PIECE) - 1) * PIECE);
        }
        self.len = len;
    }

    fn write(&mut self, mut at: usize, mut bytes: &[u8]) {
        if at > self.len {
            self.set_len(at);
        }
        while !bytes.is_empty() {
            let within = at % PIECE;
            let (now, later) = bytes.split_at((PIECE - within).min(bytes.len()));
            if at / PIECE == self.pieces.len() {
                self.pieces.push(Vec::new());
            }
            if let Some(piece) = self.pieces.get_mut(at / PIECE) {
                let over = (piece.len() - within).min(now.len());
                let (replaces, extends) = now.split_at(over);
                if let Some(target) = piece.get_mut(within..within + over) {
                    target.copy_from_slice(replaces);
                }
                piece.extend_from_slice(extends);
            }
            at += now.len();
            self.len = self.len.max(at);
            bytes = later;
        }
    }

    fn read(&self, into: &mut [u8], position: usize) -> usize {
        let mut at = position;
        let mut left = into;
        // Behind the end there is no piece, or an empty part of the last one.
        while let Some(part) = self.pieces.get(at / PIECE).and_then(|piece| piece.get(at % PIECE..)) {
            let (now, later) = left.split_at_mut(part.len().min(left.len()));
            if now.is_empty() {
                break;
            }
            now.copy_from_slice(part.get(..now.len()).unwrap_or_default());
            at += now.len();
            left = later;
        }
        at - position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_behave_like_one_vector() {
        let mut model: Vec<u8> = Vec::new();
        let mut pieces = Pieces::default();
        for (at, len) in [(0, 10), (5, 10), (PIECE - 3, 7), (2 * PIECE, PIECE), (100, 3 * PIECE)] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + at) as u8).collect();
            if model.len() < at + len {
                model.resize(at + len, 0);
            }
            model[at..at + len].copy_from_slice(&bytes);
            pieces.write(at, &bytes);
            assert_eq!(pieces.to_vec(), model);
        }
        for len in [3 * PIECE + 1, PIECE, PIECE - 1, 2 * PIECE + 5, 0, 4] {
            model.resize(len, 0);
            pieces.set_len(len);
            assert!(pieces.to_vec() == model, "length {len}");
            let mut read = [0; 100];
            assert_eq!(pieces.read(&mut read, len.saturating_sub(3)), len.min(3));
            let mut all = vec![1; model.len() + 5];
            assert_eq!(pieces.read(&mut all, 0), model.len());
            assert!(all[..len] == model, "length {len}");
        }
    }

    #[test]
    fn power_loss_drops_unsynced_bytes_and_names() {
        let disk = MemoryDisk::with_power_loss();
        let (kept, lost) = (Path::new("/d/kept"), Path::new("/d/lost"));
        let file = disk.open(kept, Open::Create).unwrap();
        file.write_vectored_at(&[IoSlice::new(b"synced")], 0).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_vectored_at(&[IoSlice::new(b" not")], 6).unwrap();
        disk.open(lost, Open::Create).unwrap();
        let after = disk.after_power_loss(|| false);
        assert_eq!(after.contents(kept).unwrap(), b"synced");
        assert_eq!(after.contents(lost), None);
        assert_eq!(disk.after_power_loss(|| true).contents(kept).unwrap(), b"synced not");
    }
}
