//! Search for the next whole batch behind damaged bytes of a segment.
//!
//! The first candidate is the position that the damaged batch's own length names; then every position that looks like
//! a header. A candidate counts if its checksum matches, its offset does not lie before the expected one, and the batches
//! after it follow each other up to a known point: an index entry, or the end of the file. The last condition keeps a
//! batch that is embedded in the payload of a damaged one from being taken for a stored one.

use std::{io, sync::Arc};

use floe_wire::batch::{BatchHeader, HEADER_LEN};

use crate::{
    disk::{DiskFile, read_full_at},
    frame_reader::{FrameError, FrameReader, LEADER_EPOCH, Step, StepLimits},
};

/// Bytes read at a time.
const WINDOW: usize = 256 << 10;
/// Position of leader epoch and magic in a batch, and their stored values.
const MARK_AT: usize = 12;
const MARK: [u8; 5] = [0xFF, 0xFF, 0xFF, 0xFF, 2];
/// Bytes that one search reads at most to check candidates, so that payloads full of fake headers cost bounded time.
const MAX_CHECKED: u64 = 1 << 30;
/// Damaged batches that one chain may pass by their own lengths.
const MAX_PASSED: usize = 64;
/// Unit in which systems write a file back: a write lost at a power loss leaves zeros up to a multiple of it.
const PAGE: u64 = 4096;
/// Damaged position in a segment file.
#[derive(Debug)]
pub(crate) struct Resync<'a> {
    pub(crate) file: &'a Arc<dyn DiskFile>,
    /// Position and offset of the batch that is not intact.
    pub(crate) position: u64,
    pub(crate) expected: i64,
    /// End of the bytes to search.
    pub(crate) limit: u64,
    /// Known (position, offset) of batches, in order.
    pub(crate) anchors: &'a [(u64, i64)],
    /// Offset after the segment, if known.
    pub(crate) end: Option<i64>,
}

impl Resync<'_> {
    /// Returns position and offset of the next whole batch; None if there is none.
    pub(crate) fn find(&self) -> io::Result<Option<(u64, i64)>> {
        let own = self.own_end(self.position)?;
        let mut checked = 0;
        if let Some(own) = own
            && let Some(offset) = self.candidate(own, self.expected)?
            && self.chain_holds(own, offset, &mut checked)?
        {
            return Ok(Some((own, offset)));
        }
        let mut window = vec![0; WINDOW];
        let mut start = self.position;
        while start < self.limit && checked < MAX_CHECKED {
            let len = usize::try_from(self.limit - start).unwrap_or(WINDOW).min(WINDOW);
            let bytes = window.get_mut(..len).unwrap_or_default();
            let filled = read_full_at(&**self.file, bytes, start)?;
            let bytes = bytes.get(..filled).unwrap_or_default();
            for at in marks(bytes) {
                let position = start + at as u64;
                if position > self.position
                    && checked < MAX_CHECKED
                    && let Some(offset) = self.candidate(position, self.expected)?
                    && self.chain_holds(position, offset, &mut checked)?
                {
                    return Ok(Some((position, offset)));
                }
            }
            if filled < HEADER_LEN {
                break;
            }
            // Windows overlap by the bytes in which a header may begin and not end.
            start += (filled - HEADER_LEN + 1) as u64;
        }
        // No chain reaches a known point. The damaged batch's own length is then the best evidence.
        let Some(own) = own else { return Ok(None) };
        Ok(self.candidate(own, self.expected)?.map(|offset| (own, offset)))
    }

    /// Returns the end of the batch at `position` by its length field, if that lies before the limit.
    fn own_end(&self, position: u64) -> io::Result<Option<u64>> {
        let mut field = [0; 4];
        let filled = read_full_at(&**self.file, &mut field, position + 8)?;
        let len = u64::try_from(i32::from_be_bytes(field)).ok().filter(|len| filled == 4 && *len >= 45);
        Ok(len.map(|len| position + 12 + len).filter(|end| *end < self.limit))
    }

    /// Returns the base offset of the batch at `position` if it is whole and not before `least`.
    fn candidate(&self, position: u64, least: i64) -> io::Result<Option<i64>> {
        let Some(header) = self.header(position)? else { return Ok(None) };
        let most = self.end.unwrap_or(i64::MAX);
        if header.base_offset < least || header.next_offset() > most || header.leader_epoch != LEADER_EPOCH {
            return Ok(None);
        }
        let mut frames = FrameReader::new(Arc::clone(self.file), position, header.base_offset, self.limit);
        match frames.step(StepLimits { read_size: HEADER_LEN, ..StepLimits::ALL }) {
            Ok(Step::Batch(batch, _)) if batch.verify_checksum().is_ok() => Ok(Some(header.base_offset)),
            Err(FrameError::Io(error)) => Err(error),
            _ => Ok(None),
        }
    }

    fn header(&self, position: u64) -> io::Result<Option<BatchHeader>> {
        let mut bytes = [0; HEADER_LEN];
        let filled = read_full_at(&**self.file, &mut bytes, position)?;
        Ok(bytes.get(..filled).and_then(|bytes| BatchHeader::decode(bytes).ok()))
    }

    /// Returns whether the batches from `position` on follow each other up to a known point.
    fn chain_holds(&self, position: u64, offset: i64, checked: &mut u64) -> io::Result<bool> {
        let mut frames = FrameReader::new(Arc::clone(self.file), position, offset, self.limit);
        for _ in 0..MAX_PASSED {
            loop {
                let at = (frames.position(), frames.expected());
                match frames.step(StepLimits::ALL) {
                    // A wrong checksum is damage, but the next batch being in place shows that this is a batch.
                    Ok(Step::Batch(_, start)) => {
                        *checked += frames.position() - start;
                        if self.anchors.binary_search(&(frames.position(), frames.expected())).is_ok() {
                            return Ok(true);
                        }
                    }
                    Ok(Step::End | Step::Stop | Step::WouldBlock) => {
                        return Ok(self.end.is_none_or(|end| frames.expected() <= end));
                    }
                    Err(FrameError::Io(error)) => return Err(error),
                    Err(FrameError::Bad { .. }) if self.is_torn_end(at)? => return Ok(true),
                    Err(FrameError::Bad { .. }) => {
                        let own = self.own_end(at.0)?;
                        let Some(own) = own else { return Ok(false) };
                        let Some(offset) = self.candidate(own, at.1)? else { return Ok(false) };
                        frames.jump(own, offset);
                        break;
                    }
                }
            }
        }
        Ok(false)
    }

    /// Returns whether only the start of a batch, or zeros, follow: a write that did not reach the disk.
    fn is_torn_end(&self, (position, expected): (u64, i64)) -> io::Result<bool> {
        if let Some(header) = self.header(position)?
            && header.base_offset == expected
            && header.leader_epoch == LEADER_EPOCH
            && header.total_len().is_ok_and(|len| len as u64 > self.limit - position)
        {
            return Ok(true);
        }
        let mut start = [0; 8];
        let filled = read_full_at(&**self.file, &mut start, position)?;
        let left = usize::try_from(self.limit - position).unwrap_or(usize::MAX);
        let expected = expected.to_be_bytes();
        if left < HEADER_LEN && start.get(..filled.min(left)) == expected.get(..filled.min(left)) {
            return Ok(true);
        }
        Ok(self.zeros_from(position)? == self.limit)
    }

    /// Returns the end of the zeros that begin at `position`.
    fn zeros_from(&self, mut position: u64) -> io::Result<u64> {
        let mut window = vec![0; 4096];
        while position < self.limit {
            let len = usize::try_from(self.limit - position).unwrap_or(window.len()).min(window.len());
            let filled = read_full_at(&**self.file, window.get_mut(..len).unwrap_or_default(), position)?;
            let bytes = window.get(..filled).unwrap_or_default();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            position += zeros as u64;
            if zeros < bytes.len() || bytes.is_empty() {
                break;
            }
        }
        Ok(position)
    }

    /// Returns whether one of the pages from the damaged position up to `to` ends with a zero: a power loss may have kept
    /// a write of it from the disk, and later ones not. Contents may end with a zero too; the two look the same.
    pub(crate) fn may_lack_write(&self, to: u64) -> io::Result<bool> {
        let mut page = (self.position / PAGE + 1) * PAGE;
        while page <= to {
            let mut last = [1];
            if read_full_at(&**self.file, &mut last, page - 1)? == 1 && last == [0] {
                return Ok(true);
            }
            page += PAGE;
        }
        Ok(false)
    }
}

/// Returns the positions in `bytes` at which a header may begin.
fn marks(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let last = bytes.len().saturating_sub(HEADER_LEN - 1);
    let candidates = bytes.get(MARK_AT..).unwrap_or_default().windows(MARK.len());
    candidates.enumerate().take(last).filter(|(_, window)| **window == MARK).map(|(at, _)| at)
}

/// Returns whether the batch at `position` begins at `offset`: its header is in place. Its payload may be damaged.
pub(crate) fn is_in_place(
    file: &Arc<dyn DiskFile>,
    position: u64,
    offset: i64,
    limit: u64,
) -> io::Result<bool> {
    let mut frames = FrameReader::new(Arc::clone(file), position, offset, limit);
    match frames.step(StepLimits { read_size: HEADER_LEN, ..StepLimits::ALL }) {
        Ok(Step::Batch(..)) => Ok(true),
        Err(FrameError::Io(error)) => Err(error),
        _ => Ok(false),
    }
}
