//! Reader of a partition: from the tail cache at the end, in large reads from segment files before it.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use floe_wire::batch::EncodedBatch;

use super::Partition;
use crate::{
    LogError,
    frame_reader::{FrameReader, MAX_READ, MIN_READ, Step, StepLimits},
    invariant::invariant,
    segment::Segment,
};

/// Consecutive whole batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Batches in order, without a gap; empty at the end of the partition. The first one may start before the requested
    /// offset.
    pub batches: Vec<EncodedBatch>,
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
            return self.finish(from_memory);
        }
        self.read_files(readable, max_bytes, may_wait)
    }

    fn finish(&self, batches: Vec<EncodedBatch>) -> Result<TryChunk, LogError> {
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
        Ok(TryChunk::Ready(Chunk { batches }))
    }

    fn read_files(&mut self, readable: i64, max_bytes: usize, may_wait: bool) -> Result<TryChunk, LogError> {
        let mut batches = Vec::new();
        let mut bytes = 0;
        while self.next < readable {
            let (segment, mut frames) = match self.location.take() {
                Some(location) => location,
                None => self.find_location()?,
            };
            // Includes appends since the last read.
            frames.limit = segment.len();
            let limits = StepLimits {
                max_len: if bytes == 0 { usize::MAX } else { max_bytes.saturating_sub(bytes) },
                readable,
                read_size: max_bytes.clamp(MIN_READ, MAX_READ),
                may_wait,
            };
            match frames.step(limits).map_err(|error| self.partition.frame_error(&segment, error))? {
                Step::Batch(batch, _) => {
                    // The index may lead to a batch before the requested offset.
                    if batch.next_offset() > self.next {
                        self.next = batch.next_offset();
                        bytes += batch.len();
                        batches.push(batch);
                    }
                    self.location = Some((segment, frames));
                }
                Step::Stop => {
                    self.location = Some((segment, frames));
                    break;
                }
                Step::WouldBlock => {
                    self.location = Some((segment, frames));
                    if batches.is_empty() {
                        return Ok(TryChunk::WouldBlock);
                    }
                    break;
                }
                // The next segment starts where this one ends; the next iteration looks it up.
                Step::End if frames.expected() >= self.next => {
                    if self.partition.segment_for(self.next).is_none_or(|next| Arc::ptr_eq(&next, &segment)) {
                        break;
                    }
                }
                Step::End => {
                    return Err(LogError::Corrupt {
                        topic: self.partition.topic.to_string(),
                        partition: self.partition.number,
                        path: segment.path().to_path_buf(),
                        position: frames.position(),
                        problem: format!("the segment ends before offset {}", self.next),
                    });
                }
            }
        }
        if self.next >= readable
            && let Some((_, frames)) = &mut self.location
        {
            frames.release_buffers();
        }
        self.finish(batches)
    }

    fn find_location(&self) -> Result<(Arc<Segment>, FrameReader), LogError> {
        let Some(segment) = self.partition.segment_for(self.next) else {
            // Retention removed the segment.
            let start = self.partition.start();
            return Err(LogError::OutOfRange {
                offset: self.next,
                start,
                end: self.partition.readable_end().max(start),
            });
        };
        let (position, offset) = segment.position_before(self.next);
        let file = match segment.file() {
            Ok(file) => file,
            Err(error) => {
                self.partition.check_alive()?;
                self.partition.check_range(self.next)?;
                return Err(error);
            }
        };
        let frames = FrameReader::new(file, position, offset, segment.len());
        Ok((segment, frames))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.partition.waiters.unregister(self.id);
        self.partition.tail.remove_reader();
    }
}
