//! Appends with flat combining: the thread that holds the writer lock also writes the batches of the others.
//!
//! ```text
//!  submit ──► queue ──► the thread that gets the writer lock drains it:
//!                       assign offsets ─► one vectored write ─► index, tail, end ─► wake readers ─► done
//! ```
//!
//! A single producer needs no thread switch; concurrent ones share system calls. Offsets are assigned under the writer
//! lock, and all batches of one write are stored or none.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::Arc,
};

use floe_wire::{
    WireError,
    batch::{EncodedBatch, MAX_BATCH_LEN, producer_id},
};

use super::{Appended, Partition, Producers};
use crate::{
    Durability, LogError,
    clock::TOLERANCE_MS,
    disk::DiskFile,
    fences::StoredAt,
    frame_reader::LEADER_EPOCH,
    invariant::invariant,
    log_info::LOG_INFO,
    segment::{SEGMENT_HEADER_LEN, Segment, SegmentHeader},
    sync::atomic::Ordering,
};

/// Batches per write: each takes two slices, and Linux accepts 1024 per call.
const MAX_RUN: usize = 512;
/// Drains in a row before a background thread takes over, so that no producer writes for the others forever.
const MAX_DRAINS: usize = 64;

/// Minimum time between two looks whether the directory of the store, or the file of a partition, was removed under it: each
/// costs two system calls, and only that tells an append into a removed file from any other.
const LOOK_INTERVAL_MS: i64 = 100;

/// Completion of an append.
pub(super) type Done = Box<dyn FnOnce(Result<Appended, LogError>) + Send>;

/// Queued append.
pub(super) struct PendingAppend {
    batch: EncodedBatch,
    /// End that the partition must have, unless the batch is stored already.
    expected_end: Option<i64>,
    done: Done,
}

impl std::fmt::Debug for PendingAppend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingAppend").field("bytes", &self.batch.len()).finish_non_exhaustive()
    }
}

/// Append state, guarded by the writer lock.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) producers: Producers,
    pub(super) next: i64,
    last_append_ms: i64,
    /// Time of the last look whether the segment file still has a name.
    looked_ms: i64,
    /// Set once appends are impossible: a failed write could not be undone, or the store was closed.
    broken: Option<LogError>,
}

impl Writer {
    pub(super) fn new(producers: Producers, next: i64, last_append_ms: i64) -> Self {
        Self { producers, next, last_append_ms, looked_ms: 0, broken: None }
    }

    /// Returns where the append is stored already; None if it may be stored now. `start` is the start of the log.
    fn check(&mut self, append: &PendingAppend, start: i64) -> Result<Option<StoredAt>, LogError> {
        let stored = self.producers.check(append.batch.header(), start)?;
        match append.expected_end {
            Some(expected) if stored.is_none() && expected != self.next => {
                Err(LogError::NotAtEnd { expected, end: self.next })
            }
            _ => Ok(stored),
        }
    }
}

/// Batch with its assigned offset.
struct AssignedBatch {
    batch: EncodedBatch,
    done: Done,
    /// Position of the stored records that this batch repeats.
    duplicate_of: Option<StoredAt>,
}

impl Partition {
    /// Appends a batch. `done` is called exactly once: with the base offset once the topic's durability is reached, or
    /// with the error if nothing was stored. It runs on this thread, or on another one that writes or syncs at the same
    /// moment; it must be short, may call `submit`, and must not call anything else that blocks.
    ///
    /// Batches submitted by one thread are stored in the order of submission. If a write fails, all batches of that
    /// write fail, so none is stored behind a missing one.
    ///
    /// The append is idempotent for a batch that names a producer (id, epoch and first sequence): if it equals one of
    /// the producer's last batches, it is not stored again, and `done` receives the offset of the stored one.
    ///
    /// A producer with a [fenced id](floe_wire::batch::producer_id) cannot append once a batch of a newer epoch of it is
    /// stored, also after the store was reopened. The records of a task are stored once, by their sequences, also if they
    /// come in other batches.
    ///
    /// # Errors
    /// Passed to `done`: [`LogError::BadBatch`] (wrong checksum, no records), [`LogError::TooLarge`],
    /// [`LogError::DiskFull`], [`LogError::Io`], [`LogError::TopicNotFound`] (deleted), [`LogError::Poisoned`],
    /// [`LogError::Closed`]. For fenced producers also [`LogError::Fenced`], [`LogError::StoredBefore`] and
    /// [`LogError::TooManyFenced`].
    pub fn submit(
        self: &Arc<Self>,
        batch: EncodedBatch,
        done: impl FnOnce(Result<Appended, LogError>) + Send + 'static,
    ) {
        self.enqueue(PendingAppend { batch, expected_end: None, done: Box::new(done) });
    }

    /// Appends a batch as [`Partition::submit`] does, if the partition ends at `expected_end`: nothing is stored between
    /// the check and the batch. A batch that is stored already, at whatever offset, succeeds.
    ///
    /// # Errors
    /// Passed to `done`: [`LogError::NotAtEnd`] with the actual end, and those of [`Partition::submit`].
    pub fn submit_at(
        self: &Arc<Self>,
        batch: EncodedBatch,
        expected_end: i64,
        done: impl FnOnce(Result<Appended, LogError>) + Send + 'static,
    ) {
        self.enqueue(PendingAppend { batch, expected_end: Some(expected_end), done: Box::new(done) });
    }

    /// Returns whether the batch at `offset` is this one, which names its producer: a retry after the store was reopened
    /// finds its first attempt. Blocks on the disk.
    ///
    /// # Errors
    /// The errors of [`Reader::next_chunk`](super::Reader::next_chunk).
    pub fn holds_at(self: &Arc<Self>, batch: &EncodedBatch, offset: i64) -> Result<bool, LogError> {
        let bounds = self.bounds();
        if !batch.header().producer.is_some() || !(bounds.start..self.readable_end()).contains(&offset) {
            return Ok(false);
        }
        let chunk = self.reader(offset)?.next_chunk(1)?;
        Ok(chunk.batches.first().is_some_and(|found| {
            let (found, wanted) = (found.header(), batch.header());
            found.base_offset == offset
                && (found.producer, found.checksum) == (wanted.producer, wanted.checksum)
        }))
    }

    fn enqueue(self: &Arc<Self>, append: PendingAppend) {
        if let Err(error) = self.check_batch(&append.batch) {
            (append.done)(Err(error));
            return;
        }
        self.queue.lock().push_back(append);
        self.drain_queue();
    }

    fn check_batch(&self, batch: &EncodedBatch) -> Result<(), LogError> {
        self.check_alive()?;
        self.shared.check_writable()?;
        if batch.len() > MAX_BATCH_LEN {
            return Err(LogError::TooLarge { size: batch.len(), limit: MAX_BATCH_LEN });
        }
        let (delta, producer) = (batch.header().last_offset_delta, batch.header().producer);
        let problem = if delta < 0 {
            format!("last offset delta {delta}")
        } else if producer_id::is_fenced(producer.id) && (producer.epoch < 0 || producer.first_sequence < 0) {
            format!(
                "a fenced producer with epoch {} and sequence {}",
                producer.epoch, producer.first_sequence
            )
        } else {
            return batch.verify_checksum().map_err(|source| LogError::BadBatch { source });
        };
        Err(LogError::BadBatch { source: WireError::Malformed { what: "record batch", problem } })
    }

    /// Writes the queued batches, unless another thread holds the writer lock: that thread then writes them.
    pub(crate) fn drain_queue(self: &Arc<Self>) {
        for _ in 0..MAX_DRAINS {
            let Some(mut writer) = self.writer.try_lock() else { return };
            let run = self.take_run();
            if !run.is_empty() {
                self.append_run(&mut writer, run);
            }
            drop(writer);
            // A thread that queued a batch while the lock was held relies on this check.
            if self.queue.lock().is_empty() {
                return;
            }
        }
        self.request_sync();
    }

    /// Waits for the writer lock and runs `then` before appends continue.
    pub(super) fn with_writer<T>(self: &Arc<Self>, then: impl FnOnce(&mut Writer) -> T) -> T {
        let result = then(&mut self.writer.lock());
        if !self.queue.lock().is_empty() {
            self.drain_queue();
        }
        result
    }

    /// Waits for the writer lock, writes the queued batches, and runs `then` before appends continue.
    pub(crate) fn with_writer_idle<T>(self: &Arc<Self>, then: impl FnOnce() -> T) -> T {
        let mut writer = self.writer.lock();
        loop {
            let run = self.take_run();
            if run.is_empty() {
                break;
            }
            self.append_run(&mut writer, run);
        }
        let result = then();
        drop(writer);
        if !self.queue.lock().is_empty() {
            self.drain_queue();
        }
        result
    }

    /// Writes the queued batches and refuses later ones.
    pub(crate) fn close(self: &Arc<Self>) {
        let mut writer = self.writer.lock();
        loop {
            let run = self.take_run();
            if run.is_empty() {
                break;
            }
            self.append_run(&mut writer, run);
        }
        writer.broken = Some(LogError::Closed);
        drop(writer);
        self.drain_queue();
        self.tail.clear();
        self.waiters.wake_all();
    }

    /// Closes the files of a closed store, also for holders of this partition.
    pub(crate) fn close_files(&self) {
        self.segments.read().iter().for_each(|segment| segment.close_file());
    }

    fn take_run(&self) -> Vec<PendingAppend> {
        let mut queue = self.queue.lock();
        let count = queue.len().min(MAX_RUN);
        queue.drain(..count).collect()
    }

    /// Fails all queued and unacknowledged appends; for a deleted topic.
    pub(crate) fn fail_queue(&self, error: &LogError) {
        let queued: VecDeque<_> = std::mem::take(&mut *self.queue.lock());
        for pending in queued {
            (pending.done)(Err(error.clone()));
        }
        self.fail_waiting(error);
    }

    fn append_run(self: &Arc<Self>, writer: &mut Writer, run: Vec<PendingAppend>) {
        let mut waiting = VecDeque::from(run);
        while !waiting.is_empty() {
            if let Err(error) = self.append_some(writer, &mut waiting) {
                // Batches behind a failed one in this run fail too, so that none overtakes it.
                for pending in waiting {
                    (pending.done)(Err(error.clone()));
                }
                return;
            }
        }
    }

    /// Appends as many batches from the front as fit into the segment, at least one. On failure those are completed
    /// with the error, and the rest stays in `waiting`.
    fn append_some(
        self: &Arc<Self>,
        writer: &mut Writer,
        waiting: &mut VecDeque<PendingAppend>,
    ) -> Result<(), LogError> {
        if self.deleted.load(Ordering::Acquire) {
            return Err(LogError::TopicNotFound { topic: self.topic.to_string() });
        }
        self.shared.check_health()?;
        if let Some(error) = &writer.broken {
            return Err(error.clone());
        }
        let now_ms = self.shared.now_ms().max(writer.last_append_ms);
        let first_len = waiting.front().map_or(0, |first| first.batch.len());
        let segment = self.segment_for_append(writer, first_len, now_ms)?;
        if now_ms - writer.looked_ms >= LOOK_INTERVAL_MS {
            self.shared.check_directory()?;
            self.check_linked(&segment)?;
            writer.looked_ms = now_ms;
        }

        // Opened before anything is assigned, and held until the segment is marked as dirty: nothing closes it meanwhile.
        let file = segment.file()?;
        let first_offset = writer.next;
        invariant!(segment.end() == first_offset, "appends continue at the end of the last segment");
        let first_position = segment.len();
        let mut position = first_position;
        let mut assigned = Vec::with_capacity(waiting.len());
        while let Some(next) = waiting.front() {
            let len = next.batch.len() as u64;
            if position + len > self.segment_bytes && position > SEGMENT_HEADER_LEN {
                break;
            }
            let Some(next) = waiting.pop_front() else { break };
            let duplicate_of = match writer.check(&next, self.start()) {
                Ok(stored) => stored,
                Err(error) => {
                    (next.done)(Err(error));
                    continue;
                }
            };
            let PendingAppend { batch, done, .. } = next;
            let batch = batch.with_base_offset(writer.next).with_leader_epoch(LEADER_EPOCH);
            if duplicate_of.is_none() {
                let appended = Appended { base_offset: writer.next, timestamp_ms: now_ms };
                writer.producers.note(batch.header(), appended);
                writer.next = batch.next_offset();
                position += len;
            }
            assigned.push(AssignedBatch { batch, done, duplicate_of });
        }

        if let Err(error) = self.write((&*file, &segment), first_position, &assigned) {
            for append in &assigned {
                writer.producers.forget_from(append.batch.header(), first_offset);
            }
            writer.producers.fences.undo(first_offset);
            writer.next = first_offset;
            writer.broken = self.undo((&*file, &segment), first_position);
            for append in assigned {
                (append.done)(Err(error.clone()));
            }
            return Err(error);
        }
        writer.producers.fences.settle();
        writer.last_append_ms = now_ms;
        self.publish(&segment, (first_position, position), (writer.next, now_ms), assigned);
        drop(file);
        Ok(())
    }

    fn write(
        &self,
        (file, segment): (&dyn DiskFile, &Segment),
        position: u64,
        assigned: &[AssignedBatch],
    ) -> Result<(), LogError> {
        let prefixes: Vec<_> = stored(assigned).map(|batch| (batch.prefix(), batch.rest())).collect();
        if prefixes.is_empty() {
            return Ok(());
        }
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(prefixes.len() * 2);
        for (prefix, rest) in &prefixes {
            slices.push(IoSlice::new(prefix));
            slices.push(IoSlice::new(rest));
        }
        write_all_vectored(file, &mut slices, position)
            .map_err(|error| LogError::io(segment.path(), "write", error))
    }

    /// Truncates the segment to its length before a failed write; returns the error if that fails too.
    fn undo(&self, (file, segment): (&dyn DiskFile, &Segment), good_end: u64) -> Option<LogError> {
        let cut = file.set_len(good_end).map_err(|error| LogError::io(segment.path(), "truncate", error));
        cut.err().inspect(|error| {
            tracing::error!(topic = %self.topic, partition = self.number, %error,
                "a failed append could not be undone; the partition refuses further appends");
        })
    }

    fn publish(
        self: &Arc<Self>,
        segment: &Arc<Segment>,
        (first_position, end_position): (u64, u64),
        (next, now_ms): (i64, i64),
        assigned: Vec<AssignedBatch>,
    ) {
        if end_position > first_position {
            let mut position = first_position;
            let noted = stored(&assigned).map(|batch| {
                let at = position;
                position += batch.len() as u64;
                (batch.base_offset(), at, batch.header().max_timestamp)
            });
            segment.grow(noted, end_position, next, now_ms);
            self.tail.push(stored(&assigned).cloned());
            self.end.store(next, Ordering::Release);
            self.mark_dirty(segment, next);
        }
        let waits = self.durability == Durability::Always;
        if !waits {
            self.waiters.wake_all();
        }
        for append in assigned {
            let (base_offset, end) = (append.batch.base_offset(), append.batch.next_offset());
            let stored = StoredAt { base_offset, timestamp_ms: now_ms, end };
            let StoredAt { base_offset, timestamp_ms, end } = append.duplicate_of.unwrap_or(stored);
            let appended = Appended { base_offset, timestamp_ms };
            if waits {
                self.when_durable(end, appended, append.done);
            } else {
                (append.done)(Ok(appended));
            }
        }
        if waits {
            self.request_sync();
        }
    }

    /// Returns the segment for a batch of this length, and starts a new one if necessary.
    fn segment_for_append(
        self: &Arc<Self>,
        writer: &Writer,
        len: usize,
        now_ms: i64,
    ) -> Result<Arc<Segment>, LogError> {
        let last = self.segments.read().last().cloned();
        if let Some(last) = last {
            let max_age = i64::try_from(self.shared.config.segment_age.as_millis()).unwrap_or(i64::MAX);
            let is_full = last.len() + len as u64 > self.segment_bytes;
            let is_old = is_older(&last, max_age, now_ms);
            // Index entries hold the offset relative to the base in 32 bits.
            let is_far = writer.next - last.base > i64::from(u32::MAX / 2);
            // A log whose end is lost continues behind the lost offsets.
            let continues = last.end() == writer.next && !last.is_closed();
            if continues && (last.is_empty() || !(is_full || is_old || is_far)) {
                return Ok(last);
            }
        }
        self.roll(writer.next, now_ms)
    }

    /// Starts a new segment at `next`. The writer lock must be held.
    fn roll(self: &Arc<Self>, next: i64, now_ms: i64) -> Result<Arc<Segment>, LogError> {
        // Creating directories must not replace a store that was removed.
        self.shared.check_directory()?;
        let previous = self.segments.read().last().cloned();
        if let Some(previous) = &previous {
            match previous.write_index() {
                Ok(()) => previous.seal(),
                // The file is only a cache: the index stays in memory, and recovery can rebuild it.
                Err(error) => tracing::warn!(%error, "the index file was not written"),
            }
        } else {
            let disk = &self.shared.disk;
            disk.create_dir_all(&self.directory).map_err(|e| LogError::io(&self.directory, "create", e))?;
            let info = self.info.lock();
            info.write(&**disk, &self.directory)
                .map_err(|e| LogError::io(self.directory.join(LOG_INFO), "write", e))?;
        }
        let header = SegmentHeader {
            log_id: self.log_id,
            base: next,
            created_ms: now_ms,
            topic_id: self.topic_id,
            partition: self.number,
            store: self.shared.catalog.short_store_id(),
        };
        let segment = Segment::create(&self.shared.files, &self.directory, header)?;
        self.mark_created(previous.is_none());
        self.segments.write().push(Arc::clone(&segment));
        if previous.is_some() {
            // Syncs the full segment now rather than at the next checkpoint.
            self.request_sync();
        }
        Ok(segment)
    }

    /// Starts a new segment if the current one has batches and is at least this old, or has times of a clock that was ahead:
    /// the creation time of the next one then bounds its age. For retention.
    pub(crate) fn roll_if_older(self: &Arc<Self>, age_ms: i64, now_ms: i64) -> Result<(), LogError> {
        let writer = self.writer.lock();
        let last = self.segments.read().last().cloned();
        let rolled = match last {
            Some(last) if !last.is_empty() && is_older(&last, age_ms, now_ms) => {
                let roll = || self.roll(writer.next, now_ms.max(writer.last_append_ms)).map(drop);
                match roll() {
                    Err(LogError::DiskFull { .. }) if self.shared.catalog.reserve.release() => roll(),
                    rolled => rolled,
                }
            }
            _ => Ok(()),
        };
        drop(writer);
        if !self.queue.lock().is_empty() {
            self.drain_queue();
        }
        rolled
    }
}

/// Returns whether a segment is at least this old, or has times in the future.
fn is_older(segment: &Segment, age_ms: i64, now_ms: i64) -> bool {
    let newest = segment.created_ms.max(segment.last_append_ms());
    now_ms.saturating_sub(segment.created_ms) >= age_ms || newest.saturating_sub(now_ms) > TOLERANCE_MS
}

fn stored(assigned: &[AssignedBatch]) -> impl Iterator<Item = &EncodedBatch> {
    assigned.iter().filter(|append| append.duplicate_of.is_none()).map(|append| &append.batch)
}

fn write_all_vectored(
    file: &dyn DiskFile,
    mut slices: &mut [IoSlice<'_>],
    mut position: u64,
) -> io::Result<()> {
    while !slices.is_empty() {
        let written = file.write_vectored_at(slices, position)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        position += written as u64;
        IoSlice::advance_slices(&mut slices, written);
    }
    Ok(())
}
