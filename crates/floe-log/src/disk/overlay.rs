//! View of another disk whose changes stay in memory.
//!
//! The code that opens and recovers a store runs on it unchanged, so a check finds exactly what a repair would find, and a
//! store opens from a directory that cannot be written.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};

use super::{Disk, DiskFile, DiskLock, DiskSpace, Open, read_full_at};
use crate::clock;

/// Unit in which changed bytes are kept.
const PAGE: usize = 4096;
/// Limit of the kept bytes of all files: a change beyond it fails like a full disk, which recovery survives.
const MAX_PAGES: usize = (64 << 20) / PAGE;

/// View of a disk. Clones share the changes.
#[derive(Debug, Clone)]
pub(crate) struct OverlayDisk {
    base: Arc<dyn Disk>,
    names: Arc<Mutex<OverlayNames>>,
    pages: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct OverlayNames {
    /// Files that are in use or changed.
    open: BTreeMap<PathBuf, Weak<OverlayFile>>,
    /// Changed and created files, which must stay.
    changed: Vec<Arc<OverlayFile>>,
    /// Changes of names on the base disk, oldest first.
    moves: Vec<NameChange>,
}

#[derive(Debug)]
enum NameChange {
    Removed(PathBuf),
    /// The base disk has what is here under this path under the second one.
    Moved(PathBuf, PathBuf),
}

impl OverlayNames {
    /// Returns the path on the base disk; None if it was removed.
    fn base_path(&self, path: &Path) -> Option<PathBuf> {
        for change in self.moves.iter().rev() {
            match change {
                NameChange::Removed(removed) if path.starts_with(removed) => return None,
                NameChange::Moved(to, from) if path.starts_with(to) => {
                    return path.strip_prefix(to).ok().map(|within| {
                        if within.as_os_str().is_empty() { from.clone() } else { from.join(within) }
                    });
                }
                _ => {}
            }
        }
        Some(path.to_path_buf())
    }

    fn file(&self, path: &Path) -> Option<Arc<OverlayFile>> {
        self.open.get(path).and_then(Weak::upgrade)
    }

    fn remove(&mut self, path: &Path) {
        self.open.retain(|file, _| !file.starts_with(path));
        self.moves.push(NameChange::Removed(path.to_path_buf()));
    }
}

impl OverlayDisk {
    pub(crate) fn new(base: Arc<dyn Disk>) -> Self {
        Self { base, names: Arc::default(), pages: Arc::default() }
    }

    fn is_on_base(&self, path: &Path) -> bool {
        self.base.open(path, Open::Read).is_ok() || self.base.list(path).is_ok_and(|names| !names.is_empty())
    }

    fn add_file(
        &self,
        names: &mut OverlayNames,
        path: &Path,
        base: Option<Arc<dyn DiskFile>>,
    ) -> io::Result<Arc<OverlayFile>> {
        let len = base.as_ref().map_or(Ok(0), |base| base.size())?;
        let is_new = base.is_none();
        let file = Arc::new_cyclic(|this| OverlayFile {
            this: Weak::clone(this),
            names: Arc::downgrade(&self.names),
            used: Arc::clone(&self.pages),
            base,
            contents: RwLock::new(Contents {
                is_changed: is_new,
                base_len: len,
                len,
                pages: BTreeMap::new(),
            }),
        });
        names.open.retain(|_, open| open.strong_count() > 0);
        names.open.insert(path.to_path_buf(), Arc::downgrade(&file));
        if is_new {
            names.changed.push(Arc::clone(&file));
        }
        Ok(file)
    }
}

impl Disk for OverlayDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut names = self.names.lock();
        if let Some(file) = names.file(path) {
            drop(names);
            if how == Open::Create {
                file.set_len(0)?;
            }
            return Ok(file);
        }
        let found = match names.base_path(path).map(|path| self.base.open(&path, Open::Read)) {
            Some(Ok(base)) => Some(base),
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => None,
        };
        let is_replaced = how == Open::Create;
        if found.is_none() && matches!(how, Open::Read | Open::Write) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(self.add_file(&mut names, path, found.filter(|_| !is_replaced))?)
    }

    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        // A directory exists through the names in it.
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let names = self.names.lock();
        let on_base = match names.base_path(path) {
            Some(path) => self.base.list(&path)?,
            None => Vec::new(),
        };
        let mut found: Vec<String> =
            on_base.into_iter().filter(|name| names.base_path(&path.join(name)).is_some()).collect();
        let targets = names.moves.iter().filter_map(|change| match change {
            NameChange::Moved(to, _) if names.base_path(to).is_some() => Some(to),
            _ => None,
        });
        for file in
            names.open.iter().filter(|(_, file)| file.strong_count() > 0).map(|(file, _)| file).chain(targets)
        {
            let name = file.strip_prefix(path).ok().and_then(|rest| rest.iter().next());
            found.extend(name.and_then(|name| name.to_str()).map(str::to_owned));
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.names.lock().remove(path);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.names.lock().remove(path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        let files: Vec<_> = names.open.keys().filter(|path| path.starts_with(from)).cloned().collect();
        let moved: Vec<_> = files.iter().filter_map(|path| Some((path.clone(), names.file(path)?))).collect();
        let base = names.base_path(from).filter(|path| self.is_on_base(path));
        if moved.is_empty() && base.is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        names.remove(to);
        names.remove(from);
        if let Some(base) = base {
            names.moves.push(NameChange::Moved(to.to_path_buf(), base));
        }
        for (path, file) in moved {
            let within = path.strip_prefix(from).unwrap_or(&path);
            let target = if within.as_os_str().is_empty() { to.to_path_buf() } else { to.join(within) };
            names.open.insert(target, Arc::downgrade(&file));
        }
        Ok(())
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self, _path: &Path, _contents: &str) -> io::Result<Result<DiskLock, String>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn try_lock_shared(&self, path: &Path) -> io::Result<Result<DiskLock, String>> {
        self.base.try_lock_shared(path)
    }

    fn open_file_limit(&self) -> Option<u64> {
        self.base.open_file_limit()
    }

    fn space(&self, path: &Path) -> io::Result<Option<DiskSpace>> {
        self.base.space(path)
    }

    fn identity(&self, path: &Path) -> io::Result<Option<(u64, u64)>> {
        self.base.identity(path)
    }
}

/// File of the base disk with the pages that were written here.
#[derive(Debug)]
struct OverlayFile {
    this: Weak<Self>,
    names: Weak<Mutex<OverlayNames>>,
    /// Pages of all files.
    used: Arc<AtomicUsize>,
    base: Option<Arc<dyn DiskFile>>,
    contents: RwLock<Contents>,
}

#[derive(Debug)]
struct Contents {
    is_changed: bool,
    /// Bytes of the base file that count.
    base_len: u64,
    len: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl OverlayFile {
    /// Keeps a file that is about to change.
    fn keep(&self, contents: &mut Contents) {
        if !contents.is_changed {
            contents.is_changed = true;
            if let Some(names) = self.names.upgrade() {
                names.lock().changed.extend(self.this.upgrade());
            }
        }
    }

    /// Reads bytes of the base file, and zeros behind them.
    fn read_base(&self, contents: &Contents, into: &mut [u8], position: u64) -> io::Result<()> {
        let left = contents.base_len.saturating_sub(position);
        let count = usize::try_from(left).unwrap_or(into.len()).min(into.len());
        let (present, rest) = into.split_at_mut(count);
        let filled = match &self.base {
            Some(base) => read_full_at(&**base, present, position)?,
            None => 0,
        };
        present.get_mut(filled..).unwrap_or_default().fill(0);
        rest.fill(0);
        Ok(())
    }

    fn write_page(&self, contents: &mut Contents, position: u64, bytes: &[u8]) -> io::Result<()> {
        let (number, within) = page_of(position);
        if !contents.pages.contains_key(&number) {
            if self.used.fetch_add(1, Ordering::Relaxed) >= MAX_PAGES {
                self.used.fetch_sub(1, Ordering::Relaxed);
                return Err(io::ErrorKind::StorageFull.into());
            }
            let mut page = vec![0; PAGE].into_boxed_slice();
            self.read_base(contents, &mut page, number * PAGE as u64)?;
            contents.pages.insert(number, page);
        }
        let target =
            contents.pages.get_mut(&number).and_then(|page| page.get_mut(within..within + bytes.len()));
        if let Some(target) = target {
            target.copy_from_slice(bytes);
        }
        Ok(())
    }
}

/// Returns the number of the page and the position in it.
fn page_of(position: u64) -> (u64, usize) {
    let page = PAGE as u64;
    (position / page, usize::try_from(position % page).unwrap_or_default())
}

impl DiskFile for OverlayFile {
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], mut position: u64) -> io::Result<usize> {
        let mut contents = self.contents.write();
        self.keep(&mut contents);
        let mut written = 0;
        for slice in slices {
            let mut bytes: &[u8] = slice;
            while !bytes.is_empty() {
                let room = PAGE - page_of(position).1;
                let (now, later) = bytes.split_at(room.min(bytes.len()));
                self.write_page(&mut contents, position, now)?;
                position += now.len() as u64;
                written += now.len();
                contents.len = contents.len.max(position);
                bytes = later;
            }
        }
        Ok(written)
    }

    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        let contents = self.contents.read();
        if let (false, Some(base)) = (contents.is_changed, &self.base) {
            drop(contents);
            return base.read_at(into, position);
        }
        let left = contents.len.saturating_sub(position);
        let count = usize::try_from(left).unwrap_or(into.len()).min(into.len());
        let into = into.get_mut(..count).unwrap_or_default();
        self.read_base(&contents, into, position)?;
        let (first, _) = page_of(position);
        let (last, _) = page_of(position + count as u64);
        for (number, page) in contents.pages.range(first..=last) {
            let start = number * PAGE as u64;
            let from = usize::try_from(position.saturating_sub(start)).unwrap_or(PAGE).min(PAGE);
            let at = usize::try_from(start.saturating_sub(position)).unwrap_or(count).min(count);
            let part = page.get(from..).unwrap_or_default();
            let target = into.get_mut(at..).unwrap_or_default();
            let len = part.len().min(target.len());
            let (target, part) = (target.get_mut(..len), part.get(..len));
            if let (Some(target), Some(part)) = (target, part) {
                target.copy_from_slice(part);
            }
        }
        Ok(count)
    }

    fn read_cached_at(&self, into: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        let contents = self.contents.read();
        if let (false, Some(base)) = (contents.is_changed, &self.base) {
            drop(contents);
            return base.read_cached_at(into, position);
        }
        // The bytes under the changes may have to come from the device.
        Ok(None)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut contents = self.contents.write();
        self.keep(&mut contents);
        contents.base_len = contents.base_len.min(len);
        contents.len = len;
        let (last, within) = page_of(len);
        let cut = contents.pages.split_off(&(if within == 0 { last } else { last + 1 }));
        self.used.fetch_sub(cut.len(), Ordering::Relaxed);
        if let Some(page) = contents.pages.get_mut(&last) {
            page.get_mut(within..).unwrap_or_default().fill(0);
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.contents.read().len)
    }

    fn modified_ms(&self) -> i64 {
        self.base.as_ref().map_or_else(clock::now_ms, |base| base.modified_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{MemoryDisk, read_all, write_all_at};

    fn contents(disk: &dyn Disk, path: &str) -> Option<Vec<u8>> {
        read_all(&*disk.open(Path::new(path), Open::Read).ok()?, usize::MAX).ok()
    }

    #[test]
    fn changes_are_visible_here_and_not_on_the_base_disk() {
        let base = MemoryDisk::new();
        let mut model: Vec<u8> = (0..3 * PAGE + 100).map(|i| (i * 7) as u8).collect();
        base.put(Path::new("/d/a"), &model);
        let overlay = OverlayDisk::new(Arc::new(base.clone()));
        let original = model.clone();
        for (at, len) in
            [(10, 20), (PAGE - 5, 10), (2 * PAGE, PAGE), (3 * PAGE + 90, 2 * PAGE), (6 * PAGE, 3)]
        {
            let bytes = vec![at as u8 ^ 0x5A; len];
            if model.len() < at + len {
                model.resize(at + len, 0);
            }
            model[at..at + len].copy_from_slice(&bytes);
            let file = overlay.open(Path::new("/d/a"), Open::Write).unwrap();
            write_all_at(&*file, &bytes, at as u64).unwrap();
            assert!(contents(&overlay, "/d/a").unwrap() == model, "{at}");
        }
        for len in [2 * PAGE + 7, 50, PAGE + 50] {
            overlay.open(Path::new("/d/a"), Open::Write).unwrap().set_len(len as u64).unwrap();
            model.resize(len, 0);
            assert!(contents(&overlay, "/d/a").unwrap() == model, "{len}");
        }
        assert_eq!(base.contents(Path::new("/d/a")).unwrap(), original);
    }

    #[test]
    fn renamed_and_removed_names_are_those_of_the_view() {
        let base = MemoryDisk::new();
        for path in ["/s/logs/4/a", "/s/logs/4/b", "/s/x", "/s/y"] {
            base.put(Path::new(path), path.as_bytes());
        }
        let overlay = OverlayDisk::new(Arc::new(base.clone()));
        let list = |path: &str| overlay.list(Path::new(path)).unwrap();
        let changed = overlay.open(Path::new("/s/logs/4/b"), Open::Write).unwrap();
        write_all_at(&*changed, b"!", 0).unwrap();
        overlay.rename(Path::new("/s/logs/4"), Path::new("/s/lost+found/logs/4")).unwrap();
        assert_eq!(list("/s/logs"), Vec::<String>::new());
        assert_eq!(list("/s/lost+found/logs"), ["4"]);
        assert_eq!(list("/s/lost+found/logs/4"), ["a", "b"]);
        assert_eq!(contents(&overlay, "/s/lost+found/logs/4/a").unwrap(), b"/s/logs/4/a");
        assert_eq!(contents(&overlay, "/s/lost+found/logs/4/b").unwrap(), b"!s/logs/4/b");
        assert_eq!(contents(&overlay, "/s/logs/4/a"), None);

        overlay.remove_file(Path::new("/s/x")).unwrap();
        overlay.rename(Path::new("/s/y"), Path::new("/s/x")).unwrap();
        assert_eq!(
            (contents(&overlay, "/s/x").unwrap(), contents(&overlay, "/s/y")),
            (b"/s/y".to_vec(), None)
        );
        overlay.open(Path::new("/s/y"), Open::Create).unwrap();
        assert_eq!(contents(&overlay, "/s/y").unwrap(), b"");
        assert_eq!(list("/s"), ["logs", "lost+found", "x", "y"]);
        assert_eq!(base.paths().len(), 4);
        assert_eq!(base.contents(Path::new("/s/logs/4/b")).unwrap(), b"/s/logs/4/b");
    }

    #[test]
    fn changes_beyond_the_limit_fail_like_a_full_disk() {
        let overlay = OverlayDisk::new(Arc::new(MemoryDisk::new()));
        let file = overlay.open(Path::new("/big"), Open::Create).unwrap();
        let chunk = vec![1; 1 << 20];
        let written = (0..100).take_while(|n| write_all_at(&*file, &chunk, n << 20).is_ok()).count();
        assert_eq!(written, 64);
        file.set_len(0).unwrap();
        write_all_at(&*file, &chunk, 0).unwrap();
    }
}
