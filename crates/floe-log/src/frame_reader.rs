//! Walking through the batches of a segment file with few, large reads.

use std::{collections::VecDeque, io, sync::Arc};

use bytes::{Buf, Bytes};
use floe_wire::batch::{BatchHeader, EncodedBatch, HEADER_LEN};

use crate::disk::DiskFile;

/// Smallest read: as cheap per byte as sendfile, by measurement.
pub(crate) const MIN_READ: usize = 256 << 10;
/// Largest read, unless one batch is larger.
pub(crate) const MAX_READ: usize = 1 << 20;

/// Buffers that are remembered to be filled again: about as many as a consumer's prefetching holds.
const MAX_BUFFERS: usize = 12;

/// Leader epoch of every stored batch. One node has no leaders to tell apart, and a fixed value lets damage to these
/// bytes be seen, which lie outside the checksum.
pub(crate) const LEADER_EPOCH: i32 = -1;

/// A place in a segment file, with what was read ahead of it.
#[derive(Debug)]
pub(crate) struct FrameReader {
    file: Arc<dyn DiskFile>,
    /// Bytes of the file from `position` on.
    ahead: Bytes,
    position: u64,
    /// The buffers filled before, oldest first; `ahead` is the end of the last one. Each is filled again once nobody
    /// holds a batch of it: fresh memory costs a page fault every 4 KiB, more than reading into it does.
    buffers: VecDeque<Arc<Vec<u8>>>,
    /// Base offset that the next batch must have: base offset and length lie outside a batch's checksum.
    expected: i64,
    /// Where the readable part of the file ends.
    pub(crate) limit: u64,
}

/// What the next step met.
#[derive(Debug)]
pub(crate) enum Step {
    /// A batch, and where it starts.
    Batch(EncodedBatch, u64),
    /// The limit.
    End,
    /// The next batch does not fit, or is not readable yet. It stays the next one.
    Stop,
    /// The next bytes are not in memory and waiting was not allowed.
    WouldBlock,
}

/// Why a step failed.
#[derive(Debug)]
pub(crate) enum FrameError {
    Io(io::Error),
    /// The bytes at `position` are no batch that belongs there.
    Bad {
        position: u64,
        problem: String,
    },
}

/// What a step may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepLimits {
    pub(crate) max_len: usize,
    /// Batches end at or before this offset.
    pub(crate) readable: i64,
    /// How much to read when something must be read.
    pub(crate) read_size: usize,
    pub(crate) may_wait: bool,
}

impl StepLimits {
    /// Everything, in large reads.
    pub(crate) const ALL: Self =
        Self { max_len: usize::MAX, readable: i64::MAX, read_size: MAX_READ, may_wait: true };
}

impl FrameReader {
    pub(crate) fn new(file: Arc<dyn DiskFile>, position: u64, expected: i64, limit: u64) -> Self {
        Self { file, ahead: Bytes::new(), position, buffers: VecDeque::new(), expected, limit }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn expected(&self) -> i64 {
        self.expected
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
            return Err(self.bad(format!("a batch at offset {found} where {} belongs", self.expected)));
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
            return Err(self.bad(format!("a batch of {len} bytes where only {left} follow")));
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
        self.position += len as u64;
        self.expected = header.next_offset();
        Ok(Step::Batch(batch, start))
    }

    /// Reads until `needed` bytes are ahead; false if that would have to wait and may not.
    fn fill(&mut self, needed: usize, limits: StepLimits) -> Result<bool, FrameError> {
        if self.ahead.remaining() >= needed {
            return Ok(true);
        }
        let left = usize::try_from(self.limit - self.position).unwrap_or(usize::MAX);
        let want = limits.read_size.max(needed).min(left);
        let mut buffer = self.room(want);
        let mut len = self.ahead.len();
        let into = buffer.get_mut(..want).unwrap_or_default();
        let filled = self.read(into, &mut len, needed, limits.may_wait);
        // Also after a failure: what was there before is still the start of it.
        let buffer = Arc::new(buffer);
        self.ahead = Bytes::from_owner(Filled { buffer: Arc::clone(&buffer), len });
        if self.buffers.len() == MAX_BUFFERS {
            self.buffers.pop_front();
        }
        self.buffers.push_back(buffer);
        filled
    }

    /// Gives the memory back: a reader that waits at the end of a quiet partition needs none.
    pub(crate) fn rest(&mut self) {
        if self.ahead.is_empty() {
            self.ahead = Bytes::new();
            self.buffers.clear();
        }
    }

    /// Memory for at least `want` bytes that begins with what is ahead.
    fn room(&mut self, want: usize) -> Vec<u8> {
        let fits = |buffer: &Vec<u8>| buffer.len() >= want && buffer.len() <= want.max(MAX_READ) * 2;
        let mut room = self.free_buffer().filter(fits).unwrap_or_else(|| vec![0; want]);
        if let Some(start) = room.get_mut(..self.ahead.len()) {
            start.copy_from_slice(&self.ahead);
        }
        room
    }

    /// A buffer that nobody holds a batch of. One more is kept; the memory of the others is given back.
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

    /// Reads into `into`, of which `len` bytes are there, until `needed` are.
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

/// The part of a buffer that was read. Keeps the buffer from being filled again.
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
