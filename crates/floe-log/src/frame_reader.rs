//! Sequential reader of the batches in a segment file, with few, large reads.

use std::{collections::VecDeque, io, sync::Arc};

use bytes::{Buf, Bytes};
use floe_wire::batch::{BatchHeader, EncodedBatch, HEADER_LEN};

use crate::{disk::DiskFile, invariant::invariant};

/// Smallest read. Measured to cost as little per byte as sendfile.
pub(crate) const MIN_READ: usize = 256 << 10;
/// Largest read, unless one batch is larger.
pub(crate) const MAX_READ: usize = 1 << 20;

/// Number of buffers kept for reuse: about as many as a consumer's prefetching holds.
const MAX_BUFFERS: usize = 12;

/// Leader epoch of every stored batch. A single node has no leader changes, and a fixed value makes damage to these
/// bytes visible, which lie outside the checksum.
pub(crate) const LEADER_EPOCH: i32 = -1;

/// Position in a segment file, with the bytes read ahead of it.
#[derive(Debug)]
pub(crate) struct FrameReader {
    file: Arc<dyn DiskFile>,
    /// Bytes of the file from `position` on.
    ahead: Bytes,
    position: u64,
    /// Buffers filled so far, oldest first; `ahead` is the end of the last one. A buffer is reused once the last batch
    /// that points into it is dropped: fresh memory costs a page fault per 4 KiB, more than the read itself.
    buffers: VecDeque<Arc<Vec<u8>>>,
    /// Base offset that the next batch must have. Checked because base offset and length lie outside the checksum.
    expected: i64,
    /// Position and offset of the batch before `position`, if it was read here.
    previous: Option<(u64, i64)>,
    /// End of the readable part of the file.
    pub(crate) limit: u64,
}

/// Result of [`FrameReader::step`].
#[derive(Debug)]
pub(crate) enum Step {
    /// The next batch and its position.
    Batch(EncodedBatch, u64),
    /// The end of the readable part.
    End,
    /// The next batch exceeds the size limit or is not readable yet. It stays the next one.
    Stop,
    /// The next bytes are not cached, and the step must not wait for the device.
    WouldBlock,
}

/// Error of [`FrameReader::step`].
#[derive(Debug)]
pub(crate) enum FrameError {
    Io(io::Error),
    /// The bytes at `position` are not the batch that belongs there.
    Bad {
        position: u64,
        problem: String,
    },
}

/// Limits of [`FrameReader::step`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepLimits {
    pub(crate) max_len: usize,
    /// Offset at or before which returned batches end.
    pub(crate) readable: i64,
    /// Bytes to request when a read is necessary.
    pub(crate) read_size: usize,
    pub(crate) may_wait: bool,
}

impl StepLimits {
    /// No limits, with large reads.
    pub(crate) const ALL: Self =
        Self { max_len: usize::MAX, readable: i64::MAX, read_size: MAX_READ, may_wait: true };
}

impl FrameReader {
    pub(crate) fn new(file: Arc<dyn DiskFile>, position: u64, expected: i64, limit: u64) -> Self {
        let (ahead, buffers) = (Bytes::new(), VecDeque::new());
        Self { file, ahead, position, buffers, expected, previous: None, limit }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn expected(&self) -> i64 {
        self.expected
    }

    /// Continues at another batch.
    pub(crate) fn jump(&mut self, position: u64, expected: i64) {
        self.ahead = Bytes::new();
        self.previous = None;
        self.position = position;
        self.expected = expected;
    }

    pub(crate) fn step(&mut self, limits: StepLimits) -> Result<Step, FrameError> {
        if self.position >= self.limit {
            return Ok(Step::End);
        }
        if !self.fill(HEADER_LEN, limits)? {
            return Ok(Step::WouldBlock);
        }
        let header = BatchHeader::decode(&self.ahead).map_err(|error| self.bad(error.to_string()))?;
        if header.base_offset != self.expected {
            let found = header.base_offset;
            return Err(self.bad(format!("a batch at offset {found} instead of {}", self.expected)));
        }
        if header.leader_epoch != LEADER_EPOCH {
            return Err(self.bad(format!("a batch with leader epoch {}", header.leader_epoch)));
        }
        if header.last_offset_delta < 0 || header.next_offset() <= header.base_offset {
            return Err(self.bad(format!("a batch with last offset delta {}", header.last_offset_delta)));
        }
        let len = header.total_len().map_err(|error| self.bad(error.to_string()))?;
        if len as u64 > self.limit - self.position {
            let left = self.limit - self.position;
            return Err(self.bad(format!("a batch of {len} bytes, but only {left} bytes follow")));
        }
        if header.next_offset() > limits.readable || len > limits.max_len {
            return Ok(Step::Stop);
        }
        if !self.fill(len, limits)? {
            return Ok(Step::WouldBlock);
        }
        let bytes = self.ahead.split_to(len);
        let batch = EncodedBatch::parse(bytes).map_err(|error| self.bad(error.to_string()))?;
        let start = self.position;
        self.previous = Some((start, self.expected));
        self.position += len as u64;
        self.expected = header.next_offset();
        Ok(Step::Batch(batch, start))
    }

    /// Goes back to the previous batch if that is damaged: its length may be wrong, and then the next batch may lie within it.
    pub(crate) fn step_back_if_damaged(&mut self) -> io::Result<()> {
        let Some((position, expected)) = self.previous.take() else { return Ok(()) };
        let mut again = Self::new(Arc::clone(&self.file), position, expected, self.limit);
        match again.step(StepLimits { read_size: HEADER_LEN, ..StepLimits::ALL }) {
            Ok(Step::Batch(batch, _)) if batch.verify_checksum().is_ok() => Ok(()),
            Err(FrameError::Io(error)) => Err(error),
            _ => {
                self.jump(position, expected);
                Ok(())
            }
        }
    }

    /// Reads until `needed` bytes are ahead; returns false if that requires waiting and the limits forbid it.
    fn fill(&mut self, needed: usize, limits: StepLimits) -> Result<bool, FrameError> {
        if self.ahead.remaining() >= needed {
            return Ok(true);
        }
        let left = usize::try_from(self.limit - self.position).unwrap_or(usize::MAX);
        let want = limits.read_size.max(needed).min(left);
        let mut buffer = self.room(want);
        let mut len = self.ahead.len();
        invariant!(buffer.len() >= want, "a read buffer holds the requested bytes");
        let into = buffer.get_mut(..want).unwrap_or_default();
        let filled = self.read(into, &mut len, needed, limits.may_wait);
        // Also after a failure: the buffer begins with the bytes that were ahead before.
        let buffer = Arc::new(buffer);
        self.ahead = Bytes::from_owner(Filled { buffer: Arc::clone(&buffer), len });
        if self.buffers.len() == MAX_BUFFERS {
            self.buffers.pop_front();
        }
        self.buffers.push_back(buffer);
        filled
    }

    /// Frees the buffers: a reader that waits at the end of a quiet partition needs none.
    pub(crate) fn release_buffers(&mut self) {
        if self.ahead.is_empty() {
            self.ahead = Bytes::new();
            self.buffers.clear();
        }
    }

    /// Returns a buffer of at least `want` bytes that begins with the bytes ahead.
    fn room(&mut self, want: usize) -> Vec<u8> {
        let fits = |buffer: &Vec<u8>| buffer.len() >= want && buffer.len() <= want.max(MAX_READ) * 2;
        let mut room = self.free_buffer().filter(fits).unwrap_or_else(|| vec![0; want]);
        if let Some(start) = room.get_mut(..self.ahead.len()) {
            start.copy_from_slice(&self.ahead);
        }
        room
    }

    /// Returns a buffer that no batch points into. Keeps one more such buffer and frees the others.
    fn free_buffer(&mut self) -> Option<Vec<u8>> {
        let mut found = None;
        let mut spare = 1;
        for buffer in std::mem::take(&mut self.buffers) {
            match Arc::try_unwrap(buffer) {
                Err(used) => self.buffers.push_back(used),
                Ok(free) if found.is_none() => found = Some(free),
                Ok(free) if spare > 0 => {
                    spare -= 1;
                    self.buffers.push_back(Arc::new(free));
                }
                Ok(_) => {}
            }
        }
        found
    }

    /// Reads until `needed` bytes of `into` are filled; `len` counts the filled ones.
    fn read(
        &self,
        into: &mut [u8],
        len: &mut usize,
        needed: usize,
        may_wait: bool,
    ) -> Result<bool, FrameError> {
        while *len < needed {
            let at = self.position + *len as u64;
            let target = into.get_mut(*len..).unwrap_or_default();
            let read = if may_wait {
                self.file.read_at(target, at).map_err(FrameError::Io)?
            } else {
                match self.file.read_cached_at(target, at).map_err(FrameError::Io)? {
                    Some(read) => read,
                    None => return Ok(false),
                }
            };
            if read == 0 {
                let problem = format!("the file ends {len} bytes into a batch");
                return Err(self.bad(problem));
            }
            *len += read;
        }
        Ok(true)
    }

    fn bad(&self, problem: String) -> FrameError {
        FrameError::Bad { position: self.position, problem }
    }
}

/// Filled part of a buffer. Keeps the buffer from being reused.
#[derive(Debug)]
struct Filled {
    buffer: Arc<Vec<u8>>,
    len: usize,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}
