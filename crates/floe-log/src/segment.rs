//! Segment file of a partition: a header, then batches back to back.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, Weak},
};

use bytes::{Buf, BufMut};

use crate::{
    LogError,
    disk::{Disk, DiskFile, Open, is_out_of_files, write_all_at},
    index::{self, IndexBuilder, IndexEntry, IndexSummary},
    invariant::invariant,
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

/// Size of the header: the position of the first batch.
pub(crate) const SEGMENT_HEADER_LEN: u64 = 64;

/// Rounds of closing other files before an open is given up.
const MAX_ROOM_ATTEMPTS: usize = 4;

const MAGIC: &[u8; 8] = b"floe-seg";
pub(crate) const VERSION: u32 = 1;

/// Header of a segment file; layout in `docs/formats/log.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) log_id: u64,
    pub(crate) base: i64,
    pub(crate) created_ms: i64,
    /// Topic and partition of the log; zero in files of format 1. Only for a reader without the catalog.
    pub(crate) topic_id: u64,
    pub(crate) partition: u32,
    /// Low half of the store id; zero in files of format 1.
    pub(crate) store: u32,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.put_slice(MAGIC);
        bytes.put_u32(VERSION);
        bytes.put_u64(self.log_id);
        bytes.put_i64(self.base);
        bytes.put_i64(self.created_ms);
        bytes.put_u64(self.topic_id);
        bytes.put_u32(self.partition);
        bytes.put_u32(self.store);
        bytes.put_bytes(0, 8);
        bytes.put_u32(crc32c::crc32c(&bytes));
        bytes
    }

    /// Decodes and verifies a header; the error describes the problem.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let Some(mut header) = bytes.get(..64) else {
            return Err(format!("the header has {} of 64 bytes", bytes.len()));
        };
        let (checked, mut checksum) = header.split_at_checked(60).unwrap_or_default();
        if !checked.starts_with(MAGIC) {
            return Err("the file is not a floe segment".to_owned());
        }
        if crc32c::crc32c(checked) != checksum.get_u32() {
            return Err("the checksum of the header does not match".to_owned());
        }
        header.advance(MAGIC.len());
        let version = header.get_u32();
        if version != VERSION {
            return Err(format!("segment version {version}, this release reads {VERSION}"));
        }
        Ok(Self {
            log_id: header.get_u64(),
            base: header.get_i64(),
            created_ms: header.get_i64(),
            topic_id: header.get_u64(),
            partition: header.get_u32(),
            store: header.get_u32(),
        })
    }
}

/// Returns the file name of the segment that starts at this offset.
pub(crate) fn file_name(base: i64) -> String {
    format!("{base:020}.seg")
}

/// Returns the base offset in the file name of a segment; None for other files.
pub(crate) fn base_of(name: &str) -> Option<i64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// Segment of a partition. The bytes up to [`Segment::len`] are complete batches and never change.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: i64,
    pub(crate) created_ms: i64,
    path: PathBuf,
    files: Arc<OpenFiles>,
    file: Mutex<Option<Arc<dyn DiskFile>>>,
    /// Whether the file was used since the last eviction pass.
    touched: AtomicBool,
    /// Whether there are unsynced writes. The file then stays open: a sync through another descriptor might miss a
    /// write error.
    dirty: AtomicBool,
    removed: AtomicBool,
    /// Failure of a sync that an eviction ran; the next sync reports it.
    failed_sync: OnceLock<io::Error>,
    /// Whether appends have ended and the index file is complete.
    sealed: AtomicBool,
    /// Whether damaged bytes follow the last batch: the next append starts a new segment, so that they remain.
    is_closed: bool,
    len: AtomicU64,
    end: AtomicI64,
    last_append_ms: AtomicI64,
    /// None until the index is loaded from its file.
    index: RwLock<Option<IndexBuilder>>,
}

/// Initial state of a [`Segment`].
pub(crate) struct SegmentState {
    pub(crate) header: SegmentHeader,
    pub(crate) len: u64,
    pub(crate) end: i64,
    pub(crate) last_append_ms: i64,
    pub(crate) index: Option<IndexBuilder>,
    pub(crate) is_closed: bool,
}

impl Segment {
    pub(crate) fn new(files: &Arc<OpenFiles>, path: PathBuf, state: SegmentState) -> Arc<Self> {
        Arc::new(Self {
            base: state.header.base,
            created_ms: state.header.created_ms,
            path,
            files: Arc::clone(files),
            file: Mutex::default(),
            touched: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            failed_sync: OnceLock::new(),
            sealed: AtomicBool::new(false),
            is_closed: state.is_closed,
            len: AtomicU64::new(state.len),
            end: AtomicI64::new(state.end),
            last_append_ms: AtomicI64::new(state.last_append_ms),
            index: RwLock::new(state.index),
        })
    }

    /// Creates the file of an empty segment. Removes the file again on failure, if the disk allows it.
    pub(crate) fn create(
        files: &Arc<OpenFiles>,
        directory: &Path,
        header: SegmentHeader,
    ) -> Result<Arc<Self>, LogError> {
        let path = directory.join(file_name(header.base));
        let disk = &files.disk;
        let file = files
            .with_room(|| disk.open(&path, Open::Create))
            .map_err(|e| LogError::io(&path, "create", e))?;
        if let Err(error) = write_all_at(&*file, &header.encode(), 0) {
            if let Err(error) = disk.remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "an incomplete segment file was not removed");
            }
            return Err(LogError::io(&path, "write", error));
        }
        let segment = Self::new(
            files,
            path,
            SegmentState {
                header,
                len: SEGMENT_HEADER_LEN,
                end: header.base,
                last_append_ms: header.created_ms,
                index: Some(IndexBuilder::new(header.base)),
                is_closed: false,
            },
        );
        *segment.file.lock() = Some(file);
        files.opened(&segment);
        Ok(segment)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn index_path(&self) -> PathBuf {
        self.path.with_extension("idx")
    }

    /// Returns the size of header and complete batches in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Returns whether the next append may not extend the file.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Returns (position, offset) of the batches with an index entry.
    pub(crate) fn anchors(&self) -> Vec<(u64, i64)> {
        self.with_index(|index| index::positions(&index.entries, self.base)).unwrap_or_default()
    }

    /// Returns whether the segment holds no batch.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() <= SEGMENT_HEADER_LEN
    }

    /// Returns the offset after the last one in the segment.
    pub(crate) fn end(&self) -> i64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn last_append_ms(&self) -> i64 {
        self.last_append_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn set_dirty(&self, dirty: bool) {
        self.dirty.store(dirty, Ordering::Release);
    }

    /// Publishes appended batches, given as (base offset, position, largest timestamp).
    pub(crate) fn grow(
        &self,
        batches: impl Iterator<Item = (i64, u64, i64)>,
        len: u64,
        end: i64,
        now_ms: i64,
    ) {
        // Held until the end, so that an index written concurrently covers exactly the length it names.
        let mut index = self.index.write();
        if let Some(index) = index.as_mut() {
            for (base_offset, position, max_timestamp) in batches {
                index.note(base_offset, position, max_timestamp);
            }
        }
        invariant!(len > self.len() && end > self.end(), "an append makes its segment longer");
        self.last_append_ms.store(now_ms, Ordering::Relaxed);
        self.len.store(len, Ordering::Release);
        self.end.store(end, Ordering::Release);
        drop(index);
    }

    /// Returns the open file; reopens it after an eviction. Not to be kept, or an eviction does not close it.
    pub(crate) fn file(self: &Arc<Self>) -> Result<Arc<dyn DiskFile>, LogError> {
        self.open_file().map_err(|error| LogError::io(&self.path, "open", error))
    }

    fn open_file(self: &Arc<Self>) -> io::Result<Arc<dyn DiskFile>> {
        self.touched.store(true, Ordering::Relaxed);
        let mut slot = self.file.lock();
        if let Some(file) = &*slot {
            return Ok(Arc::clone(file));
        }
        let file = self.files.with_room(|| self.files.disk.open(&self.path, Open::Write))?;
        *slot = Some(Arc::clone(&file));
        drop(slot);
        self.files.opened(self);
        Ok(file)
    }

    /// Returns a file for a reader that opens the segment for each read, so that it never keeps a removed or evicted file
    /// open.
    pub(crate) fn for_reads(self: &Arc<Self>) -> Arc<dyn DiskFile> {
        Arc::new(SegmentReads { segment: Arc::clone(self) })
    }

    /// Runs `look` on the index and loads it from its file first if necessary; None if that file is unusable.
    fn with_index<T>(&self, look: impl FnOnce(&IndexBuilder) -> T) -> Option<T> {
        if let Some(index) = &*self.index.read() {
            return Some(look(index));
        }
        let mut slot = self.index.write();
        if slot.is_none() {
            let (summary, entries) = index::read(&*self.files.disk, &self.index_path(), self.len())?;
            if summary.base != self.base || summary.covered != self.len() {
                return None;
            }
            let mut loaded = IndexBuilder::new(self.base);
            loaded.entries = entries;
            loaded.cut(self.len(), summary.max_time);
            *slot = Some(loaded);
        }
        slot.as_ref().map(look)
    }

    /// Returns position and offset of a batch at or before the one that holds `offset`.
    pub(crate) fn position_before(&self, offset: i64) -> (u64, i64) {
        let entry = self.with_index(|index| index::entry_for_offset(&index.entries, self.base, offset));
        self.position_of(entry.flatten())
    }

    /// Returns position and offset of a batch before which every record is older than `time`.
    pub(crate) fn position_before_time(&self, time: i64) -> (u64, i64) {
        let entry = self.with_index(|index| index::entry_for_time(&index.entries, time));
        self.position_of(entry.flatten())
    }

    fn position_of(&self, entry: Option<IndexEntry>) -> (u64, i64) {
        entry.map_or((SEGMENT_HEADER_LEN, self.base), |entry| {
            (u64::from(entry.position), self.base + i64::from(entry.delta))
        })
    }

    /// Returns the largest record timestamp; None if unknown, `i64::MIN` if no record has one.
    pub(crate) fn max_time(&self) -> Option<i64> {
        self.with_index(|index| index.max_time)
    }

    /// Writes the index file for the current contents.
    pub(crate) fn write_index(&self) -> Result<(), LogError> {
        let (summary, entries) = {
            let index = self.index.read();
            let Some(index) = &*index else { return Ok(()) };
            let summary = IndexSummary {
                base: self.base,
                covered: self.len(),
                end: self.end(),
                max_time: index.max_time,
                last_append_ms: self.last_append_ms(),
            };
            (summary, index.entries.clone())
        };
        let path = self.index_path();
        index::write(&*self.files.disk, &path, &summary, &entries).map_err(|e| LogError::io(path, "write", e))
    }

    /// Ends appends: from now on the index may be evicted from memory and loaded from its file.
    pub(crate) fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    /// Removes the files and closes them, so that their space is free.
    pub(crate) fn remove(&self) -> Result<(), LogError> {
        self.removed.store(true, Ordering::Release);
        let disk = &self.files.disk;
        for path in [self.path.clone(), self.index_path()] {
            disk.remove_file(&path).map_err(|e| LogError::io(path, "remove", e))?;
        }
        *self.file.lock() = None;
        Ok(())
    }

    /// Closes the file; the next use opens it.
    pub(crate) fn close_file(&self) {
        *self.file.lock() = None;
    }

    /// Returns whether the store itself removed the file.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// Syncs the file: its bytes survive a power loss.
    pub(crate) fn sync(self: &Arc<Self>) -> io::Result<()> {
        if self.removed.load(Ordering::Acquire) {
            return Ok(());
        }
        if let Some(failed) = self.failed_sync.get() {
            return Err(io::Error::new(failed.kind(), failed.to_string()));
        }
        match self.open_file() {
            Ok(file) => file.sync(),
            Err(_) if self.removed.load(Ordering::Acquire) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Closes the file although it is in use, unless a write or read runs at this moment. Unsynced writes are synced first:
    /// a sync through another descriptor might miss a write error. Returns whether it did.
    fn close_by_force(&self) -> bool {
        // A thread that opens its own file waits here for no other thread.
        let Some(mut slot) = self.file.try_lock() else { return false };
        let Some(file) = slot.as_ref().filter(|file| Arc::strong_count(file) == 1) else { return false };
        if let Err(error) = file.sync() {
            // Only the first failure counts.
            let _ = self.failed_sync.set(error);
            return false;
        }
        *slot = None;
        true
    }

    /// Closes the file unless it was used since the last call or has unsynced writes; returns whether it did.
    fn close_if_idle(&self) -> bool {
        if self.touched.swap(false, Ordering::Relaxed) || self.dirty.load(Ordering::Acquire) {
            return false;
        }
        let Some(mut slot) = self.file.try_lock() else { return false };
        *slot = None;
        drop(slot);
        if self.sealed.load(Ordering::Acquire) {
            *self.index.write() = None;
        }
        true
    }
}

/// Reads of a segment through its file at that moment.
#[derive(Debug)]
struct SegmentReads {
    segment: Arc<Segment>,
}

impl DiskFile for SegmentReads {
    fn write_vectored_at(&self, _slices: &[IoSlice<'_>], _position: u64) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        self.segment.open_file()?.read_at(into, position)
    }

    fn read_cached_at(&self, into: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        self.segment.open_file()?.read_cached_at(into, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.segment.open_file()?.sync()
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn size(&self) -> io::Result<u64> {
        self.segment.open_file()?.size()
    }

    fn modified_ms(&self) -> i64 {
        self.segment.last_append_ms()
    }
}

/// Cache of open segment files with second-chance eviction.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    pub(crate) disk: Arc<dyn Disk>,
    limit: usize,
    /// Number of files that are open at most, those with unsynced writes included.
    most: usize,
    /// Segments in the order of opening; one that was used since the last pass gets a second chance.
    queue: Mutex<VecDeque<Weak<Segment>>>,
}

impl OpenFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, limit: usize) -> Arc<Self> {
        // The other half is for connections and everything else.
        let most = disk.open_file_limit().and_then(|limit| usize::try_from(limit / 2).ok());
        let most = most.unwrap_or(usize::MAX).max(1);
        Arc::new(Self { disk, limit: limit.min(most), most, queue: Mutex::default() })
    }

    /// Opens a file with `open`, and closes others first if there are too many.
    pub(crate) fn with_room<T>(&self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        for _ in 0..MAX_ROOM_ATTEMPTS {
            match open() {
                Err(error) if is_out_of_files(&error) && self.make_room() => {}
                result => return result,
            }
        }
        open()
    }

    /// Closes an eighth of the files, the oldest first; returns whether any was closed.
    fn make_room(&self) -> bool {
        let looks = self.queue.lock().len();
        self.close_oldest((looks / 8).max(1), looks) > 0
    }

    /// Closes up to `count` of the files that were opened first, after at most `looks` looks; returns their number.
    fn close_oldest(&self, count: usize, looks: usize) -> usize {
        let mut closed = 0;
        for _ in 0..looks {
            // A sync may take long, so the queue is not locked meanwhile.
            let Some(oldest) = self.queue.lock().pop_front() else { break };
            let Some(segment) = oldest.upgrade() else { continue };
            if segment.close_if_idle() || segment.close_by_force() {
                closed += 1;
            } else {
                self.queue.lock().push_back(oldest);
            }
            if closed == count {
                break;
            }
        }
        closed
    }

    fn opened(&self, segment: &Arc<Segment>) {
        let mut queue = self.queue.lock();
        queue.push_back(Arc::downgrade(segment));
        // Two rounds: the first may only use up second chances.
        let mut looks = queue.len() * 2;
        while queue.len() > self.limit && looks > 0 {
            looks -= 1;
            let Some(oldest) = queue.pop_front() else { break };
            let Some(candidate) = oldest.upgrade() else { continue };
            if Arc::ptr_eq(&candidate, segment) || !candidate.close_if_idle() {
                queue.push_back(oldest);
            }
        }
        let surplus = queue.len().saturating_sub(self.most);
        drop(queue);
        // Not the file that was opened last, which comes at the end.
        self.close_oldest(surplus, surplus.saturating_mul(2));
    }
}
