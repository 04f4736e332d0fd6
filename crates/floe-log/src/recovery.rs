//! Recovery of a partition's files.
//!
//! All bytes before the durable point must be intact; otherwise the partition is reported as corrupt and its files stay
//! untouched. Behind that point the log ends at the first batch that is not intact, and the rest is truncated and
//! reported.

use std::{path::PathBuf, sync::Arc};

use crate::{
    LogError,
    catalog::{DurablePoint, StoredLog},
    disk::{DiskFile, Open, read_all},
    frame_reader::{FrameError, FrameReader, Step, StepLimits},
    index::{self, IndexBuilder, IndexEntry},
    log_info::{LOG_INFO, LogInfo, ReadInfo},
    partition::{Appended, OpenedLog, PartitionIdentity, Producers},
    segment::{SEGMENT_HEADER_LEN, Segment, SegmentHeader, SegmentState, base_of, file_name},
    store_shared::StoreShared,
};

/// Torn end of a log that was truncated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset at which the partition ends now.
    pub offset: i64,
    /// Truncated or removed file.
    pub path: PathBuf,
    /// Number of bytes removed from it.
    pub bytes: u64,
    /// Problem with these bytes.
    pub problem: String,
}

/// Torn ends and damaged batches found in a log.
#[derive(Debug, Default)]
pub(crate) struct RecoveryFindings {
    pub(crate) cuts: Vec<Cut>,
    pub(crate) damaged: Vec<LogError>,
}

struct LogRecovery<'a> {
    shared: &'a Arc<StoreShared>,
    identity: &'a PartitionIdentity,
    directory: PathBuf,
    stored: StoredLog,
    found: &'a mut RecoveryFindings,
    producers: Producers,
}

/// Result of opening one segment.
enum SegmentOutcome {
    Whole(Arc<Segment>),
    /// Truncated or removed: later segments do not belong to the log.
    Cut(Option<Arc<Segment>>),
}

/// Opens the log of a partition and truncates a torn end.
pub(crate) fn open_log(
    shared: &Arc<StoreShared>,
    identity: &PartitionIdentity,
    stored: StoredLog,
    found: &mut RecoveryFindings,
) -> Result<OpenedLog, LogError> {
    let directory = shared.log_directory(stored.id);
    LogRecovery { shared, identity, directory, stored, found, producers: Producers::default() }.run()
}

impl LogRecovery<'_> {
    fn run(mut self) -> Result<OpenedLog, LogError> {
        let names = self.io("list", self.shared.disk.list(&self.directory))?;
        if !names.is_empty() {
            self.check_info()?;
        }
        let mut bases: Vec<i64> = names.iter().filter_map(|name| base_of(name)).collect();
        bases.sort_unstable();
        self.remove_expired(&mut bases)?;

        let mut segments: Vec<Arc<Segment>> = Vec::new();
        let mut expected = bases.first().copied().unwrap_or(self.stored.start);
        if expected > self.stored.start {
            // The segment with the start is missing.
            if self.durable_next() > self.stored.start {
                let problem = format!("the segment that holds offset {} is missing", self.stored.start);
                return Err(self.corrupt(self.directory.join(file_name(self.stored.start)), 0, problem));
            }
            expected = self.stored.start;
        }
        let mut remaining = bases.iter().copied();
        while let Some(base) = remaining.next() {
            if base != expected {
                let problem = format!("a segment at offset {base} instead of {expected}");
                let path = self.directory.join(file_name(base));
                self.not_before_durable(self.durable_bytes(base), &path, 0, &problem)?;
                self.not_before_durable_end(expected, path, 0, &problem)?;
                self.cut_files(expected, std::iter::once(base).chain(remaining), &problem)?;
                break;
            }
            let is_last = remaining.len() == 0;
            match self.open_segment(base, is_last)? {
                SegmentOutcome::Whole(segment) => {
                    expected = segment.end();
                    segments.push(segment);
                }
                SegmentOutcome::Cut(segment) => {
                    expected = segment.as_ref().map_or(base, |segment| segment.end());
                    segments.extend(segment);
                    self.cut_files(expected, remaining, "it follows a truncated segment")?;
                    break;
                }
            }
        }
        self.check_reaches_durable(&segments, expected)?;
        for segment in segments.iter().rev().skip(1) {
            segment.seal();
        }
        if expected < self.stored.start {
            // The user deleted all remaining records, and later ones were never synced.
            segments.drain(..).try_for_each(|segment| segment.remove())?;
        }
        let end = expected.max(self.stored.start);
        let durable = segments.last().map(|last| DurablePoint {
            segment: last.base,
            position: last.len(),
            next: last.end(),
        });
        Ok(OpenedLog {
            last_append_ms: segments.last().map_or(0, |last| last.last_append_ms()),
            start: self.stored.start,
            end,
            is_noted: durable == self.stored.durable,
            durable,
            segments,
            producers: self.producers,
        })
    }

    /// Fails if the directory describes another log, and describes the log there if the directory does not.
    fn check_info(&self) -> Result<(), LogError> {
        let (disk, expected) = (&*self.shared.disk, &self.identity.info);
        match self.io("read", LogInfo::read(disk, &self.directory))? {
            ReadInfo::Found(found) if *found == *expected => return Ok(()),
            ReadInfo::Found(found) if !found.is_same_log(expected) => {
                let problem = format!(
                    "the directory belongs to log {} of topic {:?} partition {} of store {:016x}, not to log {} of \
                     store {:016x}",
                    found.log_id,
                    found.topic,
                    found.partition,
                    found.store_id,
                    expected.log_id,
                    expected.store_id
                );
                return Err(self.corrupt(self.directory.join(LOG_INFO), 0, problem));
            }
            ReadInfo::Found(_) | ReadInfo::Missing => {}
            ReadInfo::Damaged(problem) => {
                tracing::warn!(path = %self.directory.display(), problem, "log.info is damaged and written anew");
            }
        }
        // Only a rebuild of the catalog needs the file.
        if let Err(error) = expected.write(disk, &self.directory) {
            tracing::warn!(path = %self.directory.display(), %error, "log.info was not written");
        }
        Ok(())
    }

    /// Fails if the log ends at `end`, before the durable point.
    fn check_reaches_durable(&self, segments: &[Arc<Segment>], end: i64) -> Result<(), LogError> {
        let durable = self.durable_next();
        if end >= durable {
            return Ok(());
        }
        let problem = format!("the log ends at offset {end}, but reached {durable} when it was last synced");
        let (path, len) = segments
            .last()
            .map_or_else(|| (self.directory.clone(), 0), |last| (last.path().to_path_buf(), last.len()));
        Err(self.corrupt(path, len, problem))
    }

    fn durable_next(&self) -> i64 {
        self.stored.durable.map_or(i64::MIN, |point| point.next)
    }

    /// Returns the number of bytes of this segment that must be intact.
    fn durable_bytes(&self, base: i64) -> u64 {
        match self.stored.durable {
            Some(point) if base < point.segment => u64::MAX,
            Some(point) if base == point.segment => point.position,
            _ => 0,
        }
    }

    /// Removes segments that end at or before the start, left by an interrupted retention.
    fn remove_expired(&self, bases: &mut Vec<i64>) -> Result<(), LogError> {
        while let [first, second, ..] = bases.as_slice() {
            if *second > self.stored.start {
                break;
            }
            let path = self.directory.join(file_name(*first));
            self.io("remove", self.shared.disk.remove_file(&path.with_extension("idx")))?;
            self.io("remove", self.shared.disk.remove_file(&path))?;
            bases.remove(0);
        }
        Ok(())
    }

    fn open_segment(&mut self, base: i64, is_last: bool) -> Result<SegmentOutcome, LogError> {
        let path = self.directory.join(file_name(base));
        let file = self.io("open", self.shared.disk.open(&path, Open::Write))?;
        let size = self.io("get the size of", file.size())?;
        let durable = self.durable_bytes(base);

        let head = self.io("read", read_all(&*file, 64))?;
        let header = match SegmentHeader::decode(&head) {
            Ok(header) if header.base == base && header.log_id == self.stored.id => header,
            other => {
                let problem = other
                    .err()
                    .unwrap_or_else(|| format!("the header does not belong to {}", path.display()));
                self.not_before_durable(durable, &path, 0, &problem)?;
                self.cut_files(base, std::iter::once(base), &problem)?;
                return Ok(SegmentOutcome::Cut(None));
            }
        };
        let index_path = path.with_extension("idx");
        if !is_last
            && durable == u64::MAX
            && let Some(summary) = index::read_summary(&*self.shared.disk, &index_path)
            && summary.base == base
            && summary.covered == size
        {
            let state = SegmentState {
                header,
                len: size,
                end: summary.end,
                last_append_ms: summary.last_append_ms,
                index: None,
            };
            return Ok(SegmentOutcome::Whole(Segment::new(&self.shared.files, path, state)));
        }
        let entries = self.trusted_entries(base, durable, size);
        let scope = (header, size, durable, is_last);
        if !entries.is_empty() {
            match self.scan_segment(&path, &file, scope, entries) {
                // The index may be stale: a power loss can bring back an older file.
                Err(LogError::Corrupt { .. }) => {}
                done => return done,
            }
        }
        self.scan_segment(&path, &file, scope, Vec::new())
    }

    /// Reads the index entries before the durable point; bytes behind it may be lost.
    fn trusted_entries(&self, base: i64, durable: u64, size: u64) -> Vec<IndexEntry> {
        let path = self.directory.join(file_name(base)).with_extension("idx");
        let Some((summary, mut entries)) = index::read(&*self.shared.disk, &path, size) else {
            return Vec::new();
        };
        if summary.base != base {
            return Vec::new();
        }
        entries.retain(|entry| u64::from(entry.position) < durable.min(size).min(summary.covered));
        entries
    }

    fn scan_segment(
        &mut self,
        path: &std::path::Path,
        file: &Arc<dyn DiskFile>,
        (header, size, durable, is_last): (SegmentHeader, u64, u64, bool),
        entries: Vec<IndexEntry>,
    ) -> Result<SegmentOutcome, LogError> {
        let base = header.base;
        let (position, offset) = entries.last().map_or((SEGMENT_HEADER_LEN, base), |last| {
            (u64::from(last.position), base + i64::from(last.delta))
        });
        let mut index = IndexBuilder::continuing(base, entries);
        let mut frames = FrameReader::new(Arc::clone(file), position, offset, size);
        let modified_ms = file.modified_ms();
        let mut damaged = Vec::new();
        let problem = loop {
            let (start, expected) = (frames.position(), frames.expected());
            match frames.step(StepLimits::ALL) {
                Ok(Step::Batch(batch, at)) => {
                    if let Err(error) = batch.verify_checksum() {
                        let end = frames.position();
                        if end > durable || (end == durable && frames.expected() != self.durable_next()) {
                            break Some((start, expected, error.to_string()));
                        }
                        // Bit rot rather than a torn end. The next step verifies that the following batch is in place.
                        index.note(expected, at, 0);
                        damaged.push(self.corrupt(path.to_path_buf(), at, error.to_string()));
                        continue;
                    }
                    index.note(batch.base_offset(), at, batch.header().max_timestamp);
                    let appended = Appended { base_offset: batch.base_offset(), timestamp_ms: modified_ms };
                    self.producers.note(batch.header(), appended);
                }
                Ok(Step::End | Step::Stop | Step::WouldBlock) => break None,
                Err(FrameError::Io(error)) => return Err(LogError::io(path, "read", error)),
                Err(FrameError::Bad { problem, .. }) => break Some((start, expected, problem)),
            }
        };
        let (len, end) = match &problem {
            Some((position, offset, _)) => (*position, *offset),
            None => (frames.position(), frames.expected()),
        };
        if let Some((position, _, problem)) = &problem {
            self.not_before_durable(durable, path, *position, problem)?;
            self.io("truncate", file.set_len(*position))?;
            self.note_cut(end, path.to_path_buf(), size - position, problem);
        }
        if len > durable.min(size) || problem.is_some() {
            self.sync_recovered(file)?;
        }
        for error in &damaged {
            tracing::error!(%error, "a batch is damaged; the rest of the partition is usable");
        }
        self.found.damaged.append(&mut damaged);
        let state = SegmentState { header, len, end, last_append_ms: modified_ms, index: Some(index) };
        let segment = Segment::new(&self.shared.files, path.to_path_buf(), state);
        if !is_last {
            segment
                .write_index()
                .unwrap_or_else(|error| tracing::warn!(%error, "the index file was not written"));
        }
        Ok(if problem.is_some() {
            SegmentOutcome::Cut(Some(segment))
        } else {
            SegmentOutcome::Whole(segment)
        })
    }

    /// Syncs recovered bytes and their names: the store serves them from here on and acknowledges them as durable.
    fn sync_recovered(&self, file: &Arc<dyn DiskFile>) -> Result<(), LogError> {
        file.sync().map_err(|error| self.shared.poison(error))?;
        self.io("sync", self.shared.disk.sync_dir(&self.directory))?;
        if self.stored.durable.is_none() {
            // Nothing of the log was ever synced, so the names of its directories may be lost too.
            self.io("sync", self.shared.disk.sync_dir(&self.shared.logs_directory()))?;
            self.io("sync", self.shared.disk.sync_dir(&self.shared.directory))?;
        }
        Ok(())
    }

    /// Removes whole segment files behind a torn end.
    fn cut_files(
        &mut self,
        end: i64,
        bases: impl Iterator<Item = i64>,
        problem: &str,
    ) -> Result<(), LogError> {
        for base in bases {
            let path = self.directory.join(file_name(base));
            let file = self.io("open", self.shared.disk.open(&path, Open::Read))?;
            let bytes = self.io("get the size of", file.size())?;
            self.io("remove", self.shared.disk.remove_file(&path.with_extension("idx")))?;
            self.io("remove", self.shared.disk.remove_file(&path))?;
            self.note_cut(end, path, bytes, problem);
        }
        self.io("sync", self.shared.disk.sync_dir(&self.directory))
    }

    fn note_cut(&mut self, offset: i64, path: PathBuf, bytes: u64, problem: &str) {
        if bytes == 0 {
            // A new segment of which no write reached the disk.
            return;
        }
        tracing::warn!(topic = %self.identity.topic, partition = self.identity.number, offset, bytes,
            path = %path.display(), problem, "truncated a torn end");
        self.found.cuts.push(Cut {
            topic: self.identity.topic.to_string(),
            partition: self.identity.number,
            offset,
            path,
            bytes,
            problem: problem.to_owned(),
        });
    }

    fn not_before_durable(
        &self,
        durable: u64,
        path: &std::path::Path,
        position: u64,
        problem: &str,
    ) -> Result<(), LogError> {
        if position < durable {
            return Err(self.corrupt(path.to_path_buf(), position, problem.to_owned()));
        }
        Ok(())
    }

    fn not_before_durable_end(
        &self,
        offset: i64,
        path: PathBuf,
        position: u64,
        problem: &str,
    ) -> Result<(), LogError> {
        if offset < self.durable_next() {
            return Err(self.corrupt(path, position, problem.to_owned()));
        }
        Ok(())
    }

    fn corrupt(&self, path: PathBuf, position: u64, problem: String) -> LogError {
        LogError::Corrupt {
            topic: self.identity.topic.to_string(),
            partition: self.identity.number,
            path,
            position,
            problem,
        }
    }

    fn io<T>(&self, operation: &'static str, result: std::io::Result<T>) -> Result<T, LogError> {
        result.map_err(|error| LogError::io(&self.directory, operation, error))
    }
}
