//! Reading a partition: from memory at the end, in large reads behind it.

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
    segment::Segment,
};

/// Whole batches, in order, without a gap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The batches; empty at the end of the partition. The first one may start before the offset asked for.
    pub batches: Vec<EncodedBatch>,
}

/// What [`Reader::try_next_chunk`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TryChunk {
    /// Batches, or none at the end.
    Ready(Chunk),
    /// The next bytes must be read from the device: call [`Reader::next_chunk`] where waiting is allowed.
    WouldBlock,
}

/// A position in a partition. Any number of readers work side by side and beside appends.
pub struct Reader {
    partition: Arc<Partition>,
    id: u64,
    next: i64,
    verifies: bool,
    /// Where in a segment file the next batch is, if known.
    place: Option<(Arc<Segment>, FrameReader)>,
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
            place: None,
        })
    }

    /// Whether to check the checksum of every batch; off by default, since the consumer checks it.
    #[must_use]
    pub fn verify(mut self, verifies: bool) -> Self {
        self.verifies = verifies;
        self
    }

    /// The offset that comes next.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.next
    }

    /// The partition that is read.
    #[must_use]
    pub fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// Goes to another offset.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`]; the reader then stays where it was.
    pub fn seek(&mut self, offset: i64) -> Result<(), LogError> {
        self.partition.check_range(offset)?;
        self.next = offset;
        self.place = None;
        Ok(())
    }

    /// The next batches: at most `max_bytes` of them, but at least one if there is any. Empty at the end. May wait
    /// for the device, never for a producer.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`] if retention removed what comes next; [`LogError::Corrupt`]; [`LogError::Io`];
    /// [`LogError::TopicNotFound`] once the topic is deleted; [`LogError::Closed`].
    pub fn next_chunk(&mut self, max_bytes: usize) -> Result<Chunk, LogError> {
        match self.read(max_bytes, true)? {
            TryChunk::Ready(chunk) => Ok(chunk),
            // Cannot be: waiting was allowed.
            TryChunk::WouldBlock => Ok(Chunk::default()),
        }
    }

    /// As [`Reader::next_chunk`], but takes only what is in memory already.
    ///
    /// # Errors
    /// As [`Reader::next_chunk`].
    pub fn try_next_chunk(&mut self, max_bytes: usize) -> Result<TryChunk, LogError> {
        self.read(max_bytes, false)
    }

    /// Ready with the readable end once there is something to read at this reader's position; registers the waker
    /// otherwise. The waker is forgotten when the reader is dropped.
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
            self.place = None;
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
            let (segment, mut frames) = match self.place.take() {
                Some(place) => place,
                None => self.find_place()?,
            };
            // Appends since the last read.
            frames.limit = segment.len();
            let limits = StepLimits {
                max_len: if bytes == 0 { usize::MAX } else { max_bytes.saturating_sub(bytes) },
                readable,
                read_size: max_bytes.clamp(MIN_READ, MAX_READ),
                may_wait,
            };
            match frames.step(limits).map_err(|error| self.partition.frame_error(&segment, error))? {
                Step::Batch(batch, _) => {
                    // A place found through the index may lie before the offset that is wanted.
                    if batch.next_offset() > self.next {
                        self.next = batch.next_offset();
                        bytes += batch.len();
                        batches.push(batch);
                    }
                    self.place = Some((segment, frames));
                }
                Step::Stop => {
                    self.place = Some((segment, frames));
                    break;
                }
                Step::WouldBlock => {
                    self.place = Some((segment, frames));
                    if batches.is_empty() {
                        return Ok(TryChunk::WouldBlock);
                    }
                    break;
                }
                // The next segment starts where this one ends: found anew in the next round.
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
            && let Some((_, frames)) = &mut self.place
        {
            frames.rest();
        }
        self.finish(batches)
    }

    fn find_place(&self) -> Result<(Arc<Segment>, FrameReader), LogError> {
        let Some(segment) = self.partition.segment_for(self.next) else {
            // Retention was faster.
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
