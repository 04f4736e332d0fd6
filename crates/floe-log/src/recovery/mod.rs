//! Recovery of a partition's files.
//!
//! Two points count: the durable point of the catalog, and the acknowledged end of a log with durability `always`. Records
//! before them must be there. Damage before them is rot: recovery changes nothing, reports what is lost, and the log
//! continues behind it, so that no offset is assigned twice. Behind them damage is rot only if whole batches follow, and
//! none of the bytes before those look like a write that a power loss kept from the disk; otherwise it is the torn end of
//! the log, which is moved to `lost+found` and reported.

mod segment;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    Cut, Durability, Gap, LogError, RecoveryReport,
    acked::AckedEnd,
    catalog::{DurablePoint, StoredLog},
    disk::{DiskFile, Open},
    known_gaps::{KnownGaps, LOG_GAPS},
    log_info::{LOG_INFO, LogInfo, ReadInfo},
    lost_found::{self, LOST_FOUND},
    partition::{OpenedLog, PartitionIdentity, Producers},
    segment::{Segment, base_of, file_name},
    store_shared::StoreShared,
};
use segment::SegmentOutcome;

/// Findings of each kind that one partition reports; a file full of damage must not fill the memory.
const MAX_FINDINGS: usize = 10_000;

struct LogRecovery<'a> {
    shared: &'a Arc<StoreShared>,
    identity: &'a PartitionIdentity,
    directory: PathBuf,
    stored: StoredLog,
    acked: Option<AckedEnd>,
    known: KnownGaps,
    found: &'a mut RecoveryReport,
    producers: Producers,
    /// Segment files that do not belong to the log, by base offset.
    rejected: Vec<i64>,
}

/// Opens the log of a partition. Damage that leaves the partition usable is added to `found`.
pub(crate) fn open_log(
    shared: &Arc<StoreShared>,
    identity: &PartitionIdentity,
    stored: StoredLog,
    found: &mut RecoveryReport,
) -> Result<OpenedLog, LogError> {
    let directory = shared.log_directory(stored.id);
    let acked = if identity.info.config.durability == Durability::Always {
        shared.acked.read(stored.id).map_err(|e| LogError::io(shared.directory.join("acked"), "read", e))?
    } else {
        None
    };
    let producers = Producers::new(shared.catalog.fences(stored.id)?);
    let (known, rejected) = (KnownGaps::default(), Vec::new());
    LogRecovery { shared, identity, directory, stored, acked, known, found, producers, rejected }.run()
}

impl LogRecovery<'_> {
    fn run(mut self) -> Result<OpenedLog, LogError> {
        let names = self.io("list", self.shared.disk.list(&self.directory))?;
        if !names.is_empty() {
            self.check_info()?;
        }
        // Almost no log has the file, and a thousand partitions would each ask for it.
        if names.iter().any(|name| name == LOG_GAPS) {
            self.known = self.io("read", KnownGaps::read(&*self.shared.disk, &self.directory))?;
        }
        let mut bases: Vec<i64> = names.iter().filter_map(|name| base_of(name)).collect();
        bases.sort_unstable();
        self.remove_expired(&mut bases)?;
        let (mut segments, expected) = self.open_segments(&bases)?;
        for segment in segments.iter().rev().skip(1) {
            segment.seal();
        }
        if expected < self.stored.start {
            // The user deleted all remaining records, and later ones were never synced.
            segments.drain(..).try_for_each(|segment| segment.remove())?;
        }
        let end = expected.max(self.stored.start).max(self.safe_end());
        if end > expected {
            let problem =
                format!("the log ends at offset {expected}, but reached {end} when it was last synced");
            let path =
                segments.last().map_or_else(|| self.directory.clone(), |last| last.path().to_path_buf());
            self.gap((expected, end), path, segments.last().map_or(0, |last| last.len()), problem);
        }
        self.set_rejected_aside(end)?;
        let reached = segments.last().map(|last| DurablePoint {
            segment: last.base,
            position: last.len(),
            next: last.end(),
        });
        // The point of a log whose end is lost stays where it is, so that the lost offsets are never assigned again.
        let durable = match (reached, self.stored.durable) {
            (Some(reached), _) => Some(DurablePoint { next: end, ..reached }),
            (None, stored) => stored,
        };
        Ok(OpenedLog {
            last_append_ms: segments.last().map_or(0, |last| last.last_append_ms()),
            start: self.stored.start,
            end,
            is_noted: durable == self.stored.durable,
            durable,
            acked: self.acked.unwrap_or_default(),
            segments,
            producers: self.producers,
            known_gaps: self.known,
        })
    }

    /// Opens the segments in order; returns them with the offset after the last one.
    fn open_segments(&mut self, bases: &[i64]) -> Result<(Vec<Arc<Segment>>, i64), LogError> {
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        let start = self.stored.start;
        let mut expected = bases.first().map_or(start, |first| start.min(*first));
        let mut remaining = bases.iter().copied().peekable();
        while let Some(base) = remaining.next() {
            let path = self.directory.join(file_name(base));
            if base < expected {
                let problem =
                    format!("the segment starts before offset {expected}, where the previous one ends");
                self.note_foreign(base, path.clone(), 0);
                self.reject(base, path, problem);
                continue;
            }
            let outcome = self.open_segment(base, remaining.peek().copied())?;
            if base > expected && outcome.is_part_of_log() {
                let missing = self.directory.join(file_name(expected));
                self.gap((expected, base), missing, 0, "the segment is missing".to_owned());
            }
            match outcome {
                SegmentOutcome::Whole(segment) => {
                    expected = segment.end();
                    segments.push(segment);
                }
                SegmentOutcome::Foreign(problem) => self.reject(base, path, problem),
                SegmentOutcome::Cut(segment) => {
                    expected = segment.as_ref().map_or(expected, |segment| segment.end());
                    segments.extend(segment);
                }
            }
        }
        Ok((segments, expected))
    }

    /// Returns the offset before which all records must be there.
    fn safe_end(&self) -> i64 {
        let acked = self.acked.map_or(i64::MIN, |acked| acked.end);
        self.stored.durable.map_or(acked, |point| point.next.max(acked))
    }

    /// Returns the number of bytes of this segment that must be intact.
    fn durable_bytes(&self, base: i64) -> u64 {
        match self.stored.durable {
            Some(point) if base < point.segment => u64::MAX,
            Some(point) if base == point.segment => point.position,
            _ => 0,
        }
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
                if let Some(scan) = &self.shared.scan {
                    scan.rewritten.lock().push((self.directory.join(LOG_INFO), problem));
                }
            }
        }
        // Only a rebuild of the catalog needs the file.
        if let Err(error) = expected.write(disk, &self.directory) {
            tracing::warn!(path = %self.directory.display(), %error, "log.info was not written");
        }
        Ok(())
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

    fn cut_directory(&self) -> PathBuf {
        self.shared.directory.join(LOST_FOUND).join(self.stored.id.to_string())
    }

    /// Copies the bytes behind `position` to `lost+found`; None if the disk is full.
    fn keep_cut(
        &self,
        file: &dyn DiskFile,
        base: i64,
        position: u64,
        size: u64,
    ) -> Result<Option<PathBuf>, LogError> {
        let (disk, directory) = (&*self.shared.disk, self.cut_directory());
        let name = format!("{base:020}.{position}.cut");
        let copied = lost_found::copy_aside(disk, file, (position, size), &directory, &name);
        match copied.map_err(|error| LogError::io(&directory, "write to", error)) {
            Ok(path) => Ok(Some(path)),
            Err(LogError::DiskFull { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves the last segment file to `lost+found`, because it holds no batch.
    fn cut_file(&mut self, end: i64, base: i64, problem: &str) -> Result<(), LogError> {
        let (disk, path) = (&*self.shared.disk, self.directory.join(file_name(base)));
        let bytes = self.io("get the size of", disk.open(&path, Open::Read).and_then(|file| file.size()))?;
        self.io("remove", disk.remove_file(&path.with_extension("idx")))?;
        if bytes == 0 {
            // A new segment of which no write reached the disk.
            self.io("remove", disk.remove_file(&path))?;
            return self.io("sync", disk.sync_dir(&self.directory));
        }
        let kept = self.io("set aside", lost_found::set_aside(disk, &path, &self.cut_directory()))?;
        self.note_cut(end, (path, 0, bytes), problem, Some(kept));
        Ok(())
    }

    /// Reports a segment file that does not belong to the log.
    fn reject(&mut self, base: i64, path: PathBuf, problem: String) {
        self.damaged(path, 0, problem);
        self.rejected.push(base);
    }

    /// Moves rejected files away whose names new segments may take. The others stay where they are.
    fn set_rejected_aside(&mut self, end: i64) -> Result<(), LogError> {
        for base in std::mem::take(&mut self.rejected) {
            if base >= end {
                let (disk, path) = (&*self.shared.disk, self.directory.join(file_name(base)));
                self.io("remove", disk.remove_file(&path.with_extension("idx")))?;
                self.io("set aside", lost_found::set_aside(disk, &path, &self.cut_directory()))?;
            }
        }
        Ok(())
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

    fn note_cut(
        &mut self,
        offset: i64,
        (path, position, bytes): (PathBuf, u64, u64),
        problem: &str,
        kept: Option<PathBuf>,
    ) {
        tracing::warn!(topic = %self.identity.topic, partition = self.identity.number, offset, bytes,
            path = %path.display(), problem, kept = ?kept, "truncated a torn end");
        self.found.cuts.push(Cut {
            topic: self.identity.topic.to_string(),
            partition: self.identity.number,
            offset,
            path,
            position,
            bytes,
            problem: problem.to_owned(),
            never_acknowledged: self.identity.info.config.durability == Durability::Always,
            kept,
        });
    }

    /// Reports lost offsets, as far as they are not deleted anyway.
    fn gap(&mut self, (from, to): (i64, i64), path: PathBuf, position: u64, problem: String) {
        let from = from.max(self.stored.start);
        if from < to && !self.known.cover(from, to) && self.found.gaps.len() < MAX_FINDINGS {
            let (topic, partition) = (self.identity.topic.to_string(), self.identity.number);
            tracing::error!(topic, partition, from, to, path = %path.display(), position, problem, "records are lost");
            self.found.gaps.push(Gap { topic, partition, from, to, path, position, problem });
        }
    }

    fn damaged(&mut self, path: PathBuf, position: u64, problem: String) {
        if self.found.damaged.len() < MAX_FINDINGS {
            let error = self.corrupt(path, position, problem);
            self.found.damaged.push(error);
        }
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

    fn io<T>(&self, operation: &'static str, result: io::Result<T>) -> Result<T, LogError> {
        result.map_err(|error| LogError::io(&self.directory, operation, error))
    }

    fn io_at<T>(&self, path: &Path, result: io::Result<T>) -> Result<T, LogError> {
        result.map_err(|error| LogError::io(path, "read", error))
    }
}
