//! Receive-buffer pool. A buffer is recycled when the last `Bytes` slice into it is dropped.
//!
//! Frames are returned as slices of the buffer that they were received in. A fresh buffer for each large frame would cost
//! more than the frame itself, because the kernel finds and clears a page for every 4 KiB. The pool keeps a handle to each
//! buffer and reuses it once it is the only owner.

use std::collections::VecDeque;

use bytes::BytesMut;

/// Minimum free space before a read.
const MIN_ROOM: usize = 16 * 1024;

/// Maximum free space for a frame on the word of its length field alone. Only frames that were received raise it.
const MAX_UNTRUSTED_ROOM: usize = 1024 * 1024;

/// Maximum bytes kept for reuse, and maximum free space before a read.
const MAX_KEPT: usize = 16 * 1024 * 1024;

/// Smaller buffers are freed instead of kept.
const MIN_KEPT: usize = 64 * 1024;

/// The buffer being filled, and older ones that wait for reuse.
#[derive(Debug, Default)]
pub(super) struct RecvBuffers {
    /// Bytes that were received and not returned as a frame yet.
    pub(super) filling: BytesMut,
    /// Whether a frame was returned from the buffer of `filling`.
    is_lent: bool,
    /// Length of the last frame.
    last: usize,
    /// Buffers that frames were returned from, the oldest first.
    lent: VecDeque<Memory>,
    lent_bytes: usize,
    /// Size of the buffer of `filling`.
    size: usize,
}

/// An empty handle to a buffer.
#[derive(Debug)]
struct Memory {
    handle: BytesMut,
    size: usize,
}

impl RecvBuffers {
    /// Records that a frame of this length was split off the front of `filling`.
    pub(super) fn handed_out(&mut self, len: usize) {
        self.is_lent = true;
        self.last = len;
    }

    /// Makes room behind the bytes in `filling`. `missing` bytes of the frame that begins there were not received yet;
    /// `None` if its length is not known.
    pub(super) fn make_room(&mut self, missing: Option<usize>) {
        let room =
            missing.unwrap_or(self.last).min(MAX_UNTRUSTED_ROOM.max(self.last)).clamp(MIN_ROOM, MAX_KEPT);
        if self.filling.try_reclaim(room) {
            return;
        }
        let needed = self.filling.len() + room;
        let mut next = match self.reclaim(needed) {
            Some(memory) => memory,
            None if self.is_lent => {
                // Slack for frames of about the same length.
                let size = needed + needed / 8;
                Memory { handle: BytesMut::with_capacity(size), size }
            }
            None => {
                // No frame refers to the buffer, so it may grow in place.
                self.filling.reserve(room);
                self.size = self.filling.capacity();
                return;
            }
        };
        next.handle.extend_from_slice(&self.filling);
        let mut handle = std::mem::replace(&mut self.filling, next.handle);
        handle.clear();
        let size = std::mem::replace(&mut self.size, next.size);
        self.is_lent = false;
        self.keep(Memory { handle, size });
    }

    /// Whether an idle connection holds memory worth releasing.
    pub(super) fn is_rich(&self) -> bool {
        !self.lent.is_empty() || self.size > MIN_KEPT
    }

    /// Frees all buffers except the bytes of an incomplete frame.
    pub(super) fn release(&mut self) {
        let filling = std::mem::take(&mut self.filling);
        *self = Self::default();
        self.filling.extend_from_slice(&filling);
        self.size = self.filling.capacity();
    }

    /// Takes a buffer that no frame refers to any more.
    fn reclaim(&mut self, room: usize) -> Option<Memory> {
        let at = self.lent.iter_mut().position(|memory| memory.handle.try_reclaim(room))?;
        let memory = self.lent.remove(at)?;
        self.lent_bytes -= memory.size;
        Some(memory)
    }

    fn keep(&mut self, memory: Memory) {
        if memory.size < MIN_KEPT || memory.size > MAX_KEPT {
            return;
        }
        self.lent_bytes += memory.size;
        self.lent.push_back(memory);
        while self.lent_bytes > MAX_KEPT
            && let Some(oldest) = self.lent.pop_front()
        {
            self.lent_bytes -= oldest.size;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const FRAME: usize = 300 * 1024;

    /// Receives a frame filled with one byte, as a connection does.
    fn receive(buffers: &mut RecvBuffers, byte: u8, len: usize) -> Bytes {
        buffers.make_room(None);
        while buffers.filling.len() < len {
            buffers.make_room(Some(len - buffers.filling.len()));
            let room = buffers.filling.capacity() - buffers.filling.len();
            let some = room.min(len - buffers.filling.len()).min(50_000);
            assert!(some > 0, "there is room");
            buffers.filling.extend_from_slice(&vec![byte; some]);
        }
        let frame = buffers.filling.split_to(len).freeze();
        buffers.handed_out(len);
        frame
    }

    #[test]
    fn buffer_is_reused_only_after_its_frame_is_dropped() {
        let mut buffers = RecvBuffers::default();
        let mut addresses = std::collections::HashSet::new();
        let mut held = VecDeque::new();
        for round in 0..100_u8 {
            let frame = receive(&mut buffers, round, FRAME);
            addresses.insert(frame.as_ptr() as usize);
            held.push_back((round, frame));
            if held.len() > 3 {
                let (byte, frame) = held.pop_front().unwrap();
                assert!(frame.iter().all(|found| *found == byte), "frame {byte} was overwritten");
            }
        }
        // Four frames take turns; the first buffer grew to its size.
        assert!(addresses.len() <= 6, "{} buffers for 100 frames", addresses.len());
    }

    #[test]
    fn slice_of_a_frame_keeps_the_buffer() {
        let mut buffers = RecvBuffers::default();
        let part = receive(&mut buffers, 1, FRAME).slice(FRAME - 1..);
        for byte in 2..50 {
            drop(receive(&mut buffers, byte, FRAME));
        }
        assert_eq!(part, [1][..]);
    }

    #[test]
    fn start_of_the_next_frame_moves_to_the_next_buffer() {
        let mut buffers = RecvBuffers::default();
        for byte in 0..20 {
            buffers.make_room(Some(FRAME));
            while buffers.filling.capacity() - buffers.filling.len() < FRAME + 3 {
                buffers.make_room(Some(FRAME + 3));
            }
            let before = buffers.filling.len();
            buffers.filling.extend_from_slice(&vec![byte; FRAME - before]);
            buffers.filling.extend_from_slice(&[byte + 1; 3]);
            let frame = buffers.filling.split_to(FRAME).freeze();
            buffers.handed_out(FRAME);
            assert!(frame.iter().all(|found| *found == byte));
            assert_eq!(buffers.filling, [byte + 1; 3][..]);
        }
    }

    #[test]
    fn claimed_length_does_not_raise_the_allocation() {
        let mut buffers = RecvBuffers::default();
        buffers.make_room(Some(usize::MAX));
        assert!(buffers.filling.capacity() <= 2 * MAX_UNTRUSTED_ROOM, "{}", buffers.filling.capacity());
        drop(receive(&mut buffers, 1, 4 * MAX_UNTRUSTED_ROOM));
        buffers.make_room(Some(usize::MAX));
        assert!(buffers.filling.capacity() <= 10 * MAX_UNTRUSTED_ROOM, "{}", buffers.filling.capacity());
    }

    #[test]
    fn kept_memory_is_bounded_and_released() {
        let mut buffers = RecvBuffers::default();
        assert!(!buffers.is_rich());
        // All frames are held and then dropped together.
        let frames: Vec<_> = (0..100).map(|byte| receive(&mut buffers, byte, FRAME)).collect();
        drop(frames);
        assert!(buffers.lent_bytes <= MAX_KEPT);
        assert_eq!(buffers.lent_bytes, buffers.lent.iter().map(|memory| memory.size).sum::<usize>());
        assert!(buffers.lent.len() > 10);
        assert!(buffers.is_rich());
        buffers.filling.clear();
        buffers.filling.extend_from_slice(b"left");
        buffers.release();
        assert!(!buffers.is_rich());
        assert_eq!((buffers.lent.len(), buffers.lent_bytes), (0, 0));
        assert_eq!(buffers.filling, &b"left"[..]);
    }

    #[test]
    fn small_frames_share_memory() {
        let mut buffers = RecvBuffers::default();
        let frames: Vec<_> = (0..100).map(|byte| receive(&mut buffers, byte, 100)).collect();
        assert_eq!(buffers.lent_bytes, 0, "small buffers are not kept");
        for (byte, frame) in frames.iter().enumerate() {
            assert!(frame.iter().all(|found| usize::from(*found) == byte));
        }
    }
}
