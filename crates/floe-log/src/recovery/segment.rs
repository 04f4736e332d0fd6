//! Recovery of one segment file.

use std::{path::PathBuf, sync::Arc};

use super::LogRecovery;
use crate::{
    LogError,
    disk::{DiskFile, Open, read_all},
    frame_reader::{FrameError, FrameReader, Step, StepLimits},
    index::{self, IndexBuilder, IndexEntry},
    partition::Appended,
    resync::{Resync, is_in_place},
    segment::{SEGMENT_HEADER_LEN, Segment, SegmentHeader, SegmentState, file_name},
    segment_scan::{Runs, ScanState, SegmentScan},
};

/// Result of opening one segment.
pub(super) enum SegmentOutcome {
    Whole(Arc<Segment>),
    /// The torn end of the log, in its last file; None if that held no batch.
    Cut(Option<Arc<Segment>>),
    /// The file holds no batch of this log; the text describes why.
    Foreign(String),
}

impl SegmentOutcome {
    pub(super) fn is_part_of_log(&self) -> bool {
        matches!(self, Self::Whole(_) | Self::Cut(Some(_)))
    }
}

/// Segment file under recovery.
struct Scope {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
    has_header: bool,
    size: u64,
    /// Bytes that must be intact.
    durable: u64,
    /// Base of the next segment.
    next: Option<i64>,
}

/// Result of a scan so far.
struct Progress {
    index: IndexBuilder,
    /// None unless the scan is a full one.
    runs: Option<Runs>,
}

/// Result of one step of a scan.
enum Scanned {
    Batch,
    End,
    Bad(String),
}

impl LogRecovery<'_> {
    pub(super) fn open_segment(&mut self, base: i64, next: Option<i64>) -> Result<SegmentOutcome, LogError> {
        let path = self.directory.join(file_name(base));
        let file = self.io("open", self.shared.disk.open(&path, Open::Write))?;
        let size = self.io("get the size of", file.size())?;
        let head = self.io("read", read_all(&*file, 64))?;
        let store = self.shared.catalog.short_store_id();
        let is_ours = |header: &SegmentHeader| {
            header.base == base && header.log_id == self.stored.id && [0, store].contains(&header.store)
        };
        let (topic_id, partition, created_ms) =
            (self.identity.topic_id, self.identity.number, file.modified_ms());
        let by_name = SegmentHeader { log_id: self.stored.id, base, created_ms, topic_id, partition, store };
        let decoded = SegmentHeader::decode(&head);
        let has_header = decoded.is_ok();
        let header = match decoded {
            Ok(header) if is_ours(&header) => header,
            Ok(header) => {
                let SegmentHeader { base, log_id, store, .. } = header;
                let problem = format!(
                    "the file is the segment at offset {base} of log {log_id} of store ..{store:08x}"
                );
                self.note_foreign(by_name.base, path, size);
                return Ok(SegmentOutcome::Foreign(problem));
            }
            Err(problem) if self.has_batches(&file, base, size)? => {
                self.damaged(path.clone(), 0, problem);
                by_name
            }
            Err(problem) if next.is_some() || base < self.safe_end() => {
                self.note_foreign(base, path, size);
                return Ok(SegmentOutcome::Foreign(problem));
            }
            Err(problem) => {
                self.cut_file(base, base, &problem)?;
                return Ok(SegmentOutcome::Cut(None));
            }
        };
        let scope = Scope { durable: self.durable_bytes(base), path, file, header, has_header, size, next };
        if let Some(segment) = self.covered_by_index(&scope) {
            return Ok(SegmentOutcome::Whole(segment));
        }
        let mut entries = self.trusted_entries(&scope);
        // The index may be stale: a power loss can bring back an older file.
        if let Some(last) = entries.last()
            && !self.io_at(
                &scope.path,
                is_in_place(&scope.file, u64::from(last.position), base + i64::from(last.delta), size),
            )?
        {
            entries.clear();
        }
        self.scan_segment(scope, entries)
    }

    /// Returns whether a batch of a segment without a usable header is readable.
    fn has_batches(&self, file: &Arc<dyn DiskFile>, base: i64, size: u64) -> Result<bool, LogError> {
        if size <= SEGMENT_HEADER_LEN {
            return Ok(false);
        }
        let position = SEGMENT_HEADER_LEN;
        if self.io("read", is_in_place(file, position, base, size))? {
            return Ok(true);
        }
        let resync = Resync { file, position, expected: base, limit: size, anchors: &[], end: None };
        self.io("read", resync.find()).map(|found| found.is_some())
    }

    /// Accepts a full segment before the durable point without a scan if its index covers it.
    fn covered_by_index(&self, scope: &Scope) -> Option<Arc<Segment>> {
        if scope.next.is_none() || scope.durable < u64::MAX || self.shared.scan.is_some() {
            return None;
        }
        let summary = index::read_summary(&*self.shared.disk, &scope.path.with_extension("idx"))?;
        let is_covered = summary.base == scope.header.base && summary.covered == scope.size;
        is_covered.then(|| {
            let state = SegmentState {
                header: scope.header,
                len: scope.size,
                end: summary.end,
                last_append_ms: summary.last_append_ms,
                index: None,
                is_closed: false,
            };
            Segment::new(&self.shared.files, scope.path.clone(), state)
        })
    }

    /// Reads the index entries before the durable point; bytes behind it may be lost.
    fn trusted_entries(&self, scope: &Scope) -> Vec<IndexEntry> {
        let path = scope.path.with_extension("idx");
        let disk = &*self.shared.disk;
        let Some((summary, mut entries)) = index::read(disk, &path, scope.size) else {
            if let Some(scan) = &self.shared.scan
                && disk.open(&path, Open::Read).is_ok()
            {
                scan.rewritten.lock().push((path, "the index is damaged".to_owned()));
            }
            return Vec::new();
        };
        if summary.base != scope.header.base {
            return Vec::new();
        }
        entries
            .retain(|entry| u64::from(entry.position) < scope.durable.min(scope.size).min(summary.covered));
        entries
    }

    fn scan_segment(&mut self, scope: Scope, entries: Vec<IndexEntry>) -> Result<SegmentOutcome, LogError> {
        let base = scope.header.base;
        let anchors = index::positions(&entries, base);
        let scans_all = self.shared.scan.is_some();
        let known = if scans_all { Vec::new() } else { entries };
        let first = (SEGMENT_HEADER_LEN, base);
        let (position, offset) = anchors.last().copied().filter(|_| !scans_all).unwrap_or(first);
        let index = IndexBuilder::continuing(base, known);
        let mut progress = Progress { index, runs: scans_all.then(Runs::default) };
        let mut frames = FrameReader::new(Arc::clone(&scope.file), position, offset, scope.size);
        let tail = loop {
            let (position, expected) = (frames.position(), frames.expected());
            let problem = match self.scan_batch(&scope, &mut frames, &mut progress)? {
                Scanned::Batch => continue,
                Scanned::End => break None,
                Scanned::Bad(problem) => problem,
            };
            let (file, limit) = (&scope.file, scope.size);
            let resync = Resync { file, position, expected, limit, anchors: &anchors, end: scope.next };
            let found = self.io_at(&scope.path, resync.find())?;
            match found {
                Some((next, offset))
                    if expected < self.safe_end()
                        || scope.next.is_some()
                        || !self.io_at(&scope.path, resync.may_lack_write(next))? =>
                {
                    if offset == expected {
                        self.damaged(scope.path.clone(), position, problem);
                    } else {
                        self.gap((expected, offset), scope.path.clone(), position, problem);
                    }
                    frames.jump(next, offset);
                }
                _ => break Some(problem),
            }
        };
        self.finish_segment(scope, progress, (frames.position(), frames.expected()), tail)
    }

    /// Verifies the next batch. One with a wrong checksum stays in the log if its end is certain.
    fn scan_batch(
        &mut self,
        scope: &Scope,
        frames: &mut FrameReader,
        progress: &mut Progress,
    ) -> Result<Scanned, LogError> {
        let (start, expected) = (frames.position(), frames.expected());
        let (batch, at) = match frames.step(StepLimits::ALL) {
            Ok(Step::Batch(batch, at)) => (batch, at),
            Ok(Step::End | Step::Stop | Step::WouldBlock) => return Ok(Scanned::End),
            Err(FrameError::Io(error)) => return Err(LogError::io(&scope.path, "read", error)),
            Err(FrameError::Bad { problem, .. }) => return Ok(Scanned::Bad(problem)),
        };
        let Err(error) = batch.verify_checksum() else {
            progress.index.note(batch.base_offset(), at, batch.header().max_timestamp);
            if let Some(runs) = &mut progress.runs {
                runs.note((at, frames.position()), (batch.base_offset(), batch.next_offset()));
            }
            let timestamp_ms = scope.file.modified_ms();
            let appended = Appended { base_offset: batch.base_offset(), timestamp_ms };
            self.producers.note_found(batch.header(), appended);
            return Ok(Scanned::Batch);
        };
        let (end, offset) = (frames.position(), frames.expected());
        let is_rot = if end == scope.size {
            scope.next == Some(offset) || offset == self.safe_end()
        } else {
            let resync = Resync {
                file: &scope.file,
                position: start,
                expected,
                limit: scope.size,
                anchors: &[],
                end: None,
            };
            self.io_at(&scope.path, is_in_place(&scope.file, end, offset, scope.size))?
                && (expected < self.safe_end()
                    || scope.next.is_some()
                    || !self.io_at(&scope.path, resync.may_lack_write(end))?)
        };
        if is_rot {
            progress.index.note(expected, at, 0);
            self.damaged(scope.path.clone(), at, error.to_string());
            return Ok(Scanned::Batch);
        }
        frames.jump(start, expected);
        Ok(Scanned::Bad(error.to_string()))
    }

    /// Ends the scan of a segment at (length, offset). `tail` is the problem with the bytes behind, if there are any.
    fn finish_segment(
        &mut self,
        scope: Scope,
        Progress { index, runs }: Progress,
        (len, end): (u64, i64),
        tail: Option<String>,
    ) -> Result<SegmentOutcome, LogError> {
        let is_torn =
            tail.is_some() && scope.next.is_none() && end >= self.safe_end() && len >= scope.durable;
        let mut is_closed = tail.is_some();
        if let Some(problem) = tail {
            if is_torn {
                let kept = self.keep_cut(&*scope.file, scope.header.base, len, scope.size)?;
                if kept.is_some() {
                    self.io("truncate", scope.file.set_len(len))?;
                    is_closed = false;
                }
                self.note_cut(end, (scope.path.clone(), len, scope.size - len), &problem, kept);
            } else {
                self.damaged(scope.path.clone(), len, problem);
            }
        }
        if len > scope.durable.min(scope.size) || is_torn {
            self.sync_recovered(&scope.file)?;
        }
        if let (Some(scan), Some(runs)) = (&self.shared.scan, runs) {
            let size = if is_torn { len } else { scope.size };
            let state = if is_torn { ScanState::Cut } else { ScanState::Segment };
            scan.segments.lock().push(SegmentScan {
                has_header: scope.has_header,
                runs,
                ..self.scan_of(scope.path.clone(), scope.header, size, state)
            });
        }
        let last_append_ms = scope.file.modified_ms();
        let state =
            SegmentState { header: scope.header, len, end, last_append_ms, index: Some(index), is_closed };
        let segment = Segment::new(&self.shared.files, scope.path, state);
        if scope.next.is_some() {
            segment
                .write_index()
                .unwrap_or_else(|error| tracing::warn!(%error, "the index file was not written"));
        }
        Ok(if is_torn { SegmentOutcome::Cut(Some(segment)) } else { SegmentOutcome::Whole(segment) })
    }

    /// Notes a file without usable batches of this log, for a full scan.
    pub(super) fn note_foreign(&self, base: i64, path: PathBuf, size: u64) {
        let header = SegmentHeader {
            log_id: self.stored.id,
            base,
            created_ms: 0,
            topic_id: self.identity.topic_id,
            partition: self.identity.number,
            store: self.shared.catalog.short_store_id(),
        };
        if let Some(scan) = &self.shared.scan {
            scan.segments.lock().push(self.scan_of(path, header, size, ScanState::Foreign));
        }
    }

    fn scan_of(&self, path: PathBuf, header: SegmentHeader, size: u64, state: ScanState) -> SegmentScan {
        SegmentScan {
            topic: Arc::clone(&self.identity.topic),
            partition: self.identity.number,
            log_id: self.stored.id,
            path,
            header,
            has_header: false,
            size,
            runs: Runs::default(),
            state,
        }
    }
}
