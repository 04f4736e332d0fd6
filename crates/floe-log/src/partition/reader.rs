//! Reader of a partition: from the tail cache at the end, in large reads from segment files before it.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll},
};

use floe_wire::batch::EncodedBatch;

use super::Partition;
use crate::{
    Gap, LogError,
    frame_reader::{FrameError, FrameReader, MAX_READ, MIN_READ, Step, StepLimits},
    invariant::invariant,
    segment::Segment,
    sync::atomic::Ordering,
};

/// Consecutive whole batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Batches in order, without a gap; empty at the end of the partition. The first one may start before the requested
    /// offset.
    pub batches: Vec<EncodedBatch>,
    /// Lost ranges between the requested offset and the first of these batches, or the new position if there is none.
    pub gaps: Vec<Gap>,
}

/// Result of [`Reader::try_next_chunk`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TryChunk {
    /// Batches; none at the end of the partition.
    Ready(Chunk),
    /// The next bytes are not cached: call [`Reader::next_chunk`] where blocking is allowed.
    WouldBlock,
}

/// Reader with a position in a partition. Any number of readers run concurrently with each other and with appends.
pub struct Reader {
    partition: Arc<Partition>,
    id: u64,
    next: i64,
    verifies: bool,
    /// Segment and file position of the next batch, if known.
    location: Option<(Arc<Segment>, FrameReader)>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("topic", &self.partition.topic)
            .field("partition", &self.partition.number)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Reader {
    pub(crate) fn new(partition: &Arc<Partition>, from: i64) -> Result<Self, LogError> {
        partition.check_alive()?;
        partition.check_range(from)?;
        partition.tail.add_reader();
        Ok(Self {
            partition: Arc::clone(partition),
            id: partition.shared.next_reader.fetch_add(1, Ordering::Relaxed),
            next: from,
            verifies: false,
            location: None,
        })
    }

    /// Sets whether the reader verifies the checksum of every batch; off by default, since the consumer does.
    #[must_use]
    pub fn verify(mut self, verifies: bool) -> Self {
        self.verifies = verifies;
        self
    }

    /// Returns the next offset.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.next
    }

    /// Returns the partition.
    #[must_use]
    pub fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// Moves to another offset.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`]; the position is then unchanged.
    pub fn seek(&mut self, offset: i64) -> Result<(), LogError> {
        self.partition.check_range(offset)?;
        self.next = offset;
        self.location = None;
        Ok(())
    }

    /// Returns the next batches: at most `max_bytes`, but at least one batch if there is any; empty at the end. May
    /// block on the device, but never on a producer.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`] if retention removed the next batch; [`LogError::Corrupt`]; [`LogError::Io`];
    /// [`LogError::TopicNotFound`] once the topic is deleted; [`LogError::Closed`].
    pub fn next_chunk(&mut self, max_bytes: usize) -> Result<Chunk, LogError> {
        match self.read(max_bytes, true)? {
            TryChunk::Ready(chunk) => Ok(chunk),
            TryChunk::WouldBlock => {
                invariant!(false, "a read that may wait never reports WouldBlock");
                Ok(Chunk::default())
            }
        }
    }

    /// Returns the next batches like [`Reader::next_chunk`], but only if that needs no waiting for the device.
    ///
    /// # Errors
    /// As [`Reader::next_chunk`].
    pub fn try_next_chunk(&mut self, max_bytes: usize) -> Result<TryChunk, LogError> {
        self.read(max_bytes, false)
    }

    /// Resolves to the readable end once there is a batch at this reader's position; registers the waker otherwise.
    /// Dropping the reader removes the waker.
    ///
    /// # Errors
    /// [`LogError::TopicNotFound`] once the topic is deleted; [`LogError::Closed`].
    pub fn poll_beyond(&self, cx: &mut Context<'_>) -> Poll<Result<i64, LogError>> {
        self.partition.poll_with(self.next, || self.partition.waiters.register(self.id, cx.waker()))
    }

    fn read(&mut self, max_bytes: usize, may_wait: bool) -> Result<TryChunk, LogError> {
        self.partition.check_alive()?;
        let start = self.partition.start();
        let readable = self.partition.readable_end();
        if self.next < start {
            return Err(LogError::OutOfRange { offset: self.next, start, end: readable.max(start) });
        }
        if self.next >= readable {
            return Ok(TryChunk::Ready(Chunk::default()));
        }
        let from_memory = self.partition.tail.read(self.next, readable, max_bytes);
        if let Some(last) = from_memory.last() {
            self.next = last.next_offset();
            self.location = None;
            return self.finish(from_memory, Vec::new());
        }
        self.read_files(readable, max_bytes, may_wait).map_err(|error| self.explain(error))
    }

    /// Returns the reason of an error if the files were removed during the read.
    fn explain(&self, error: LogError) -> LogError {
        let start = self.partition.start();
        match self.partition.check_alive() {
            Err(reason) => reason,
            Ok(()) if self.next < start => LogError::OutOfRange {
                offset: self.next,
                start,
                end: self.partition.readable_end().max(start),
            },
            Ok(()) => error,
        }
    }

    fn finish(&self, batches: Vec<EncodedBatch>, gaps: Vec<Gap>) -> Result<TryChunk, LogError> {
        if self.verifies {
            for batch in &batches {
                batch.verify_checksum().map_err(|error| LogError::Corrupt {
                    topic: self.partition.topic.to_string(),
                    partition: self.partition.number,
                    path: self
                        .partition
                        .segment_for(batch.base_offset())
                        .map(|segment| segment.path().to_path_buf())
                        .unwrap_or_default(),
                    position: 0,
                    problem: error.to_string(),
                })?;
            }
        }
        Ok(TryChunk::Ready(Chunk { batches, gaps }))
    }

    fn read_files(&mut self, readable: i64, max_bytes: usize, may_wait: bool) -> Result<TryChunk, LogError> {
        let mut batches: Vec<EncodedBatch> = Vec::new();
        let mut gaps = Vec::new();
        let mut bytes = 0;
        // Position of the last batch, and of the reader before it.
        let mut last = (0, self.next);
        while self.next < readable {
            let Some((segment, mut frames)) = self.take_location() else {
                if batches.is_empty() {
                    gaps.extend(self.skip_missing_start(readable)?);
                    continue;
                }
                break;
            };
            // Includes appends since the last read.
            frames.limit = segment.len();
            let problem = match frames.step(step_limits(max_bytes, bytes, readable, may_wait)) {
                Ok(Step::Batch(batch, position)) => {
                    // The index may lead to a batch before the requested offset.
                    if batch.next_offset() > self.next {
                        last = (position, self.next);
                        self.next = batch.next_offset();
                        bytes += batch.len();
                        batches.push(batch);
                    }
                    self.location = Some((segment, frames));
                    continue;
                }
                // The readable end never lies within a batch, so one that crosses it has a damaged offset count.
                Ok(Step::Stop) if bytes == 0 => Some("a batch that ends behind the readable end".to_owned()),
                Ok(Step::Stop) => {
                    self.location = Some((segment, frames));
                    break;
                }
                Ok(Step::WouldBlock) => {
                    self.location = Some((segment, frames));
                    if batches.is_empty() {
                        return Ok(TryChunk::WouldBlock);
                    }
                    break;
                }
                // The next segment starts where this one ends; the next iteration looks it up.
                Ok(Step::End) if self.begins_next_segment(&segment, &frames) => continue,
                Ok(Step::End) => None,
                Err(FrameError::Bad { problem, .. }) => Some(problem),
                Err(error) => return Err(self.partition.frame_error(&segment, error)),
            };
            if let Some(batch) = batches.pop_if(|batch| batch.verify_checksum().is_err()) {
                // Its offset count may be wrong, and then the damage begins with it.
                frames.jump(last.0, batch.base_offset());
                self.next = last.1;
            }
            // Batches before the damage come first, and the search for those behind it may block.
            if !may_wait || !batches.is_empty() {
                self.location = Some((segment, frames));
                if batches.is_empty() {
                    return Ok(TryChunk::WouldBlock);
                }
                break;
            }
            gaps.extend(self.skip_damage(segment, frames, problem, readable)?);
        }
        self.release_buffers_at(readable);
        self.finish(batches, gaps)
    }

    /// Frees the buffers of a reader that waits at the end.
    fn release_buffers_at(&mut self, readable: i64) {
        if self.next >= readable
            && let Some((_, frames)) = &mut self.location
        {
            frames.release_buffers();
        }
    }

    /// Returns whether another segment starts at the position of this reader, which is the end of `segment`.
    fn begins_next_segment(&self, segment: &Arc<Segment>, frames: &FrameReader) -> bool {
        frames.expected() >= self.next
            && self.partition.segment_for(self.next).is_some_and(|next| !Arc::ptr_eq(&next, segment))
    }

    /// Moves behind damaged bytes, or behind the end of a segment that ends too early; returns the lost range. `problem`
    /// describes the damage; None for a missing end.
    fn skip_damage(
        &mut self,
        segment: Arc<Segment>,
        mut frames: FrameReader,
        problem: Option<String>,
        readable: i64,
    ) -> Result<Option<Gap>, LogError> {
        let (position, expected) = (frames.position(), frames.expected());
        let found = problem.is_some() && self.partition.resync(&segment, &mut frames)?;
        let to = if found {
            frames.expected()
        } else {
            // Appends since the read began lie behind the readable end and are not lost.
            self.partition.next_base(segment.base).unwrap_or(readable).min(readable)
        };
        let problem = problem.unwrap_or_else(|| "the segment ends too early".to_owned());
        let gap = self.gap((expected, to), segment.path().to_path_buf(), position, problem);
        if found {
            self.location = Some((segment, frames));
        }
        Ok(gap)
    }

    /// Moves to the first segment if that starts behind this reader's position.
    fn skip_missing_start(&mut self, readable: i64) -> Result<Option<Gap>, LogError> {
        let start = self.partition.start();
        if self.next < start {
            return Err(LogError::OutOfRange { offset: self.next, start, end: readable.max(start) });
        }
        let to = self.partition.next_base(self.next).unwrap_or(readable).min(readable);
        let problem = "the segment is missing".to_owned();
        Ok(self.gap((self.next, to), self.partition.directory.clone(), 0, problem))
    }

    /// Moves to `to` and reports the offsets before it as lost.
    fn gap(
        &mut self,
        (expected, to): (i64, i64),
        path: PathBuf,
        position: u64,
        problem: String,
    ) -> Option<Gap> {
        let from = self.next.max(expected);
        self.next = self.next.max(to);
        if from >= to {
            return None;
        }
        let (topic, partition) = (self.partition.topic.to_string(), self.partition.number);
        let gap = Gap { topic, partition, from, to, path, position, problem };
        if !self.partition.known_gaps.cover(from, to) {
            self.partition.shared.report_gap(&gap);
        }
        Some(gap)
    }

    /// Returns segment and position of the next batch; None if it lies before the first segment.
    fn take_location(&mut self) -> Option<(Arc<Segment>, FrameReader)> {
        if let Some(location) = self.location.take() {
            return Some(location);
        }
        let segment = self.partition.segment_for(self.next)?;
        let (position, offset) = segment.position_before(self.next);
        let frames = FrameReader::new(segment.for_reads(), position, offset, segment.len());
        Some((segment, frames))
    }
}

/// Returns the limits of the next step of a read that has `bytes` of its `max_bytes`; the first batch has no limit.
fn step_limits(max_bytes: usize, bytes: usize, readable: i64, may_wait: bool) -> StepLimits {
    let max_len = if bytes == 0 { usize::MAX } else { max_bytes.saturating_sub(bytes) };
    StepLimits { max_len, readable, read_size: max_bytes.clamp(MIN_READ, MAX_READ), may_wait }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.partition.waiters.unregister(self.id);
        self.partition.tail.remove_reader();
    }
}
