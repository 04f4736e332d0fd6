//! Memory to receive frames in, used again once nobody holds a part of what was in it.
//!
//! A frame is handed out as a slice of the memory that it was received in. Fresh memory for each large frame would cost
//! more than the frame: the kernel has to find and clear a page for every 4 KiB of it. So a handle stays behind, and when
//! the last slice is gone the memory is filled anew.

use std::collections::VecDeque;

use bytes::BytesMut;

/// Least room to read into.
const LEAST: usize = 16 * 1024;

/// Room made for a frame of which less has come. What a peer says of a frame's size never makes it more; only frames
/// that have come do.
const UNSEEN: usize = 1024 * 1024;

/// Most memory that is kept for use again, in bytes; also what a frame that has come makes room for at most.
const KEPT: usize = 16 * 1024 * 1024;

/// Memory of fewer bytes is not worth keeping.
const WORTH_KEEPING: usize = 64 * 1024;

/// What is being received, and the memory of what was.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Received and not handed out yet.
    pub(super) filling: BytesMut,
    /// Whether a frame was handed out from the memory of `filling`.
    is_lent: bool,
    /// Length of the last frame.
    last: usize,
    /// Handles to memory that frames were handed out from, the oldest first.
    lent: VecDeque<Memory>,
    lent_bytes: usize,
    /// Size of the memory of `filling`.
    size: usize,
}

/// An empty handle.
#[derive(Debug)]
struct Memory {
    handle: BytesMut,
    size: usize,
}

impl Buffers {
    /// Notes that a frame of this length was taken off the front of `filling`.
    pub(super) fn handed_out(&mut self, len: usize) {
        self.is_lent = true;
        self.last = len;
    }

    /// Makes room behind what is in `filling`. Of the frame that begins there `missing` bytes have not come; `None` if
    /// its length is not known.
    pub(super) fn make_room(&mut self, missing: Option<usize>) {
        let room = missing.unwrap_or(self.last).min(UNSEEN.max(self.last)).clamp(LEAST, KEPT);
        if self.filling.try_reclaim(room) {
            return;
        }
        let needed = self.filling.len() + room;
        let mut next = match self.reclaim(needed) {
            Some(memory) => memory,
            None if self.is_lent => {
                // A little more, for frames of about the same length.
                let size = needed + needed / 8;
                Memory { handle: BytesMut::with_capacity(size), size }
            }
            None => {
                // Nobody else has a part of it, so it grows in place if the allocator can do that.
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

    /// Whether memory is kept that nobody may need for a while.
    pub(super) fn is_rich(&self) -> bool {
        !self.lent.is_empty() || self.size > WORTH_KEEPING
    }

    /// Keeps no memory but for what was received and not handed out.
    pub(super) fn release(&mut self) {
        let filling = std::mem::take(&mut self.filling);
        *self = Self::default();
        self.filling.extend_from_slice(&filling);
        self.size = self.filling.capacity();
    }

    /// Memory that nobody has a part of any more.
    fn reclaim(&mut self, room: usize) -> Option<Memory> {
        let at = self.lent.iter_mut().position(|memory| memory.handle.try_reclaim(room))?;
        let memory = self.lent.remove(at)?;
        self.lent_bytes -= memory.size;
        Some(memory)
    }

    fn keep(&mut self, memory: Memory) {
        if memory.size < WORTH_KEEPING || memory.size > KEPT {
            return;
        }
        self.lent_bytes += memory.size;
        self.lent.push_back(memory);
        while self.lent_bytes > KEPT
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

    /// Receives a frame whose bytes are all this one, as a connection does.
    fn receive(buffers: &mut Buffers, byte: u8, len: usize) -> Bytes {
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
    fn memory_is_used_again_when_its_frame_is_gone_and_not_before() {
        let mut buffers = Buffers::default();
        let mut places = std::collections::HashSet::new();
        let mut held = VecDeque::new();
        for round in 0..100_u8 {
            let frame = receive(&mut buffers, round, FRAME);
            places.insert(frame.as_ptr() as usize);
            held.push_back((round, frame));
            if held.len() > 3 {
                let (byte, frame) = held.pop_front().unwrap();
                assert!(frame.iter().all(|found| *found == byte), "frame {byte} was overwritten");
            }
        }
        // Each of four frames in turn; the first grew to its size.
        assert!(places.len() <= 6, "{} places for 100 frames", places.len());
    }

    #[test]
    fn a_part_of_a_frame_holds_all_of_its_memory() {
        let mut buffers = Buffers::default();
        let part = receive(&mut buffers, 1, FRAME).slice(FRAME - 1..);
        for byte in 2..50 {
            drop(receive(&mut buffers, byte, FRAME));
        }
        assert_eq!(part, [1][..]);
    }

    #[test]
    fn what_came_of_the_next_frame_moves_with_it() {
        let mut buffers = Buffers::default();
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
    fn a_length_that_a_peer_claims_gets_no_more_room_than_any_other() {
        let mut buffers = Buffers::default();
        buffers.make_room(Some(usize::MAX));
        assert!(buffers.filling.capacity() <= 2 * UNSEEN, "{}", buffers.filling.capacity());
        drop(receive(&mut buffers, 1, 4 * UNSEEN));
        buffers.make_room(Some(usize::MAX));
        assert!(buffers.filling.capacity() <= 10 * UNSEEN, "{}", buffers.filling.capacity());
    }

    #[test]
    fn what_is_kept_is_bounded_and_given_back() {
        let mut buffers = Buffers::default();
        assert!(!buffers.is_rich());
        // All of them are held, then let go at once.
        let frames: Vec<_> = (0..100).map(|byte| receive(&mut buffers, byte, FRAME)).collect();
        drop(frames);
        assert!(buffers.lent_bytes <= KEPT);
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
        let mut buffers = Buffers::default();
        let frames: Vec<_> = (0..100).map(|byte| receive(&mut buffers, byte, 100)).collect();
        assert_eq!(buffers.lent_bytes, 0, "nothing so small is kept");
        for (byte, frame) in frames.iter().enumerate() {
            assert!(frame.iter().all(|found| usize::from(*found) == byte));
        }
    }
}
