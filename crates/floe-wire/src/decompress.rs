//! Decompression, bounded, into memory that is used again.
//!
//! Fresh memory for the contents of each batch would cost as much as decompressing it: the kernel has to find and clear
//! every page.

use std::{cell::RefCell, collections::VecDeque, io::Read};

use bytes::Bytes;
use lz4_flex::block::DecompressError;
use zstd::stream::raw::{DParameter, InBuffer, Operation, OutBuffer};

use crate::{
    WireError,
    compress::{Codec, failed},
};

/// Largest Zstandard window accepted, as a power of two: 32 MiB, the largest batch. The decoder allocates the window
/// that the frame asks for, so it must not be left to the sender.
const MAX_ZSTD_WINDOW: u32 = 25;

/// Output buffers start no larger than this. What turns out to be smaller is copied to memory of its size.
const FIRST_OUTPUT: usize = 64 * 1024;

/// A Zstandard decoder kept for the next batch of this thread has decoded no more than this, so that a few large
/// batches do not pin large windows.
const KEEP_DECODER_BELOW: usize = 8 * 1024 * 1024;

/// Most memory that a [`Decompressor`] keeps for use again, in bytes.
const KEPT: usize = 8 * 1024 * 1024;

/// Decompresses one unit after the other into memory that it uses again when nobody holds a part of what was in it.
///
/// It keeps handles to at most 8 MiB of what it gave out.
///
/// ```
/// use floe_wire::compress::{Codec, Decompressor, compress};
///
/// let mut packed = Vec::new();
/// compress(Codec::Lz4, None, &[7; 100_000], &mut packed)?;
/// let mut decompressor = Decompressor::default();
/// for _ in 0..3 {
///     assert_eq!(decompressor.decompress(Codec::Lz4, &packed, 100_000)?, [7; 100_000][..]);
/// }
/// # Ok::<(), floe_wire::WireError>(())
/// ```
#[derive(Debug, Default)]
pub struct Decompressor {
    /// What was given out, the oldest first, each with the size of its memory.
    lent: VecDeque<(Bytes, usize)>,
    lent_bytes: usize,
    /// For what is too small to be worth a place in `lent`.
    small: Vec<u8>,
    /// Length of the last output.
    last: usize,
}

impl Decompressor {
    /// Decompresses `input`, one unit as [`compress`](crate::compress::compress) makes it, to at most `limit` bytes.
    ///
    /// # Errors
    /// As [`decompress`].
    pub fn decompress(&mut self, codec: Codec, input: &[u8], limit: usize) -> Result<Bytes, WireError> {
        // Outputs are about as long as those before them.
        let is_large = self.last >= FIRST_OUTPUT || input.len() >= FIRST_OUTPUT;
        let mut out = if is_large { self.take() } else { std::mem::take(&mut self.small) };
        let expected = self.last.saturating_add(self.last / 8).min(limit);
        decompress_into(codec, input, limit, expected, &mut out)?;
        self.last = out.len();
        if out.len() < FIRST_OUTPUT {
            let output = Bytes::copy_from_slice(&out);
            if !is_large && out.capacity() <= 2 * FIRST_OUTPUT {
                self.small = out;
            }
            return Ok(output);
        }
        if out.capacity() / 2 > out.len() {
            out.shrink_to_fit();
        }
        let size = out.capacity();
        let output = Bytes::from(out);
        if size <= KEPT {
            self.lent.push_back((output.clone(), size));
            self.lent_bytes += size;
        }
        while self.lent_bytes > KEPT
            && let Some((_, size)) = self.lent.pop_front()
        {
            self.lent_bytes -= size;
        }
        Ok(output)
    }

    /// Whether it keeps memory.
    #[must_use]
    pub fn keeps_memory(&self) -> bool {
        self.lent_bytes > 0
    }

    /// Gives the memory back.
    pub fn release(&mut self) {
        *self = Self { last: self.last, ..Self::default() };
    }

    /// Memory that nobody else has a part of, with anything in it.
    fn take(&mut self) -> Vec<u8> {
        let found = self.lent.iter().position(|(output, _)| output.is_unique());
        let Some((output, size)) = found.and_then(|at| self.lent.remove(at)) else { return Vec::new() };
        self.lent_bytes -= size;
        Vec::from(output)
    }
}

/// Decompresses `input`, one unit as [`compress`](crate::compress::compress) makes it, to at most `limit` bytes.
///
/// # Errors
/// [`WireError::TooLarge`] when there is more than `limit`; nothing beyond it is kept. [`WireError::Compression`] when
/// the bytes are not what the codec writes, or end early.
pub fn decompress(codec: Codec, input: &[u8], limit: usize) -> Result<Bytes, WireError> {
    Decompressor::default().decompress(codec, input, limit)
}

/// Replaces what is in `out`, whatever it is.
fn decompress_into(
    codec: Codec,
    input: &[u8],
    limit: usize,
    expected: usize,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    match codec {
        Codec::None if input.len() > limit => Err(too_large(limit)),
        Codec::None => {
            out.clear();
            out.extend_from_slice(input);
            Ok(())
        }
        Codec::Gzip => read_bounded(codec, flate2::read::MultiGzDecoder::new(input), input.len(), limit, out),
        Codec::Snappy => read_bounded(codec, snap::read::FrameDecoder::new(input), input.len(), limit, out),
        Codec::Lz4 => match plain_lz4_blocks(input) {
            Some((blocks, block_len)) => lz4_blocks_into(blocks, block_len, limit, expected, out),
            None if !is_whole_lz4(input) => Err(failed(codec, &"the frame ends early")),
            None => read_bounded(codec, lz4_flex::frame::FrameDecoder::new(input), input.len(), limit, out),
        },
        Codec::Zstd => zstd_into(input, limit, out),
    }
}

/// Reads to the end or to the limit. The buffer starts from the size of the input, which is really there, and grows
/// with what the decoder yields.
fn read_bounded(
    codec: Codec,
    decoder: impl Read,
    available: usize,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    out.clear();
    out.reserve(first_capacity(available, limit));
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(bound).read_to_end(out).map_err(|error| failed(codec, &error))?;
    if out.len() > limit {
        return Err(too_large(limit));
    }
    Ok(())
}

/// The blocks of an LZ4 frame of independent blocks without checksums and sizes, which is what both floe and the official
/// client write, and the largest length that a block may have. `None` for frames of other kinds.
fn plain_lz4_blocks(input: &[u8]) -> Option<(&[u8], usize)> {
    const START: [u8; 5] = [0x04, 0x22, 0x4d, 0x18, 0x60];
    let (start, rest) = input.split_first_chunk::<5>()?;
    let (sizes, blocks) = rest.split_first_chunk::<2>()?;
    // Each size with its header's checksum.
    let block_len = match (*start, *sizes) {
        (START, [0x40, 0x82]) => 64 * 1024,
        (START, [0x50, 0xfb]) => 256 * 1024,
        (START, [0x60, 0x51]) => 1024 * 1024,
        (START, [0x70, 0x73]) => 4 * 1024 * 1024,
        _ => return None,
    };
    Some((blocks, block_len))
}

/// Decompresses straight into `out`. The decoder for whole frames would decompress into memory of its own, which it makes
/// and clears for each frame, and copy.
fn lz4_blocks_into(
    mut blocks: &[u8],
    block_len: usize,
    limit: usize,
    expected: usize,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    const STORED: u32 = 1 << 31;
    let ends_early = || failed(Codec::Lz4, &"the frame ends early");
    let mut written = 0;
    loop {
        let (head, rest) = blocks.split_first_chunk::<4>().ok_or_else(ends_early)?;
        let head = u32::from_le_bytes(*head);
        let len = usize::try_from(head & !STORED).unwrap_or(usize::MAX);
        if len == 0 {
            if !rest.is_empty() {
                return Err(failed(Codec::Lz4, &"bytes follow the end of the frame"));
            }
            out.truncate(written);
            return Ok(());
        }
        let (block, rest) = rest.split_at_checked(len).ok_or_else(ends_early)?;
        blocks = rest;
        if head & STORED == 0 {
            // A block that may be 4 MiB long seldom is: room is made for what was usual before.
            let usual = expected.saturating_sub(written).max(len.saturating_mul(4)).max(FIRST_OUTPUT);
            written += match lz4_block_into(block, written, usual.min(block_len), out) {
                Err(DecompressError::OutputTooSmall { .. }) if usual < block_len => {
                    lz4_block_into(block, written, block_len, out)
                }
                outcome => outcome,
            }
            .map_err(|error| failed(Codec::Lz4, &error))?;
        } else if len <= block_len {
            out.truncate(written);
            out.extend_from_slice(block);
            written += len;
        } else {
            return Err(failed(Codec::Lz4, &"a block is longer than the frame allows"));
        }
        if written > limit {
            return Err(too_large(limit));
        }
    }
}

/// Decompresses a block to a place in `out` where so much room is made.
fn lz4_block_into(block: &[u8], at: usize, room: usize, out: &mut Vec<u8>) -> Result<usize, DecompressError> {
    if out.len() < at + room {
        out.resize(at + room, 0);
    }
    let room = out.get_mut(at..at + room).unwrap_or_default();
    lz4_flex::block::decompress_into(block, room)
}

/// Whether the LZ4 frame at the start of `input` goes on to its end mark. The decoder takes a frame that stops between
/// two blocks for a finished one, and would lose what follows in silence. Skippable frames, which no writer of batches
/// uses, are refused.
fn is_whole_lz4(input: &[u8]) -> bool {
    const CONTENT_SIZE: u8 = 1 << 3;
    const DICTIONARY: u8 = 1;
    const BLOCK_CHECKSUMS: u8 = 1 << 4;
    const STORED: u32 = 1 << 31;
    // Magic, flags, block size; then what the flags say; then the header's checksum.
    let Some((&[_, _, _, _, flags, _], rest)) = input.split_first_chunk::<6>() else { return false };
    let optional =
        if flags & CONTENT_SIZE != 0 { 8 } else { 0 } + if flags & DICTIONARY != 0 { 4 } else { 0 };
    let after_block = if flags & BLOCK_CHECKSUMS != 0 { 4 } else { 0 };
    let mut rest = rest.get(optional + 1..).unwrap_or_default();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = (u32::from_le_bytes(*length) & !STORED) as usize;
        if length == 0 {
            return true;
        }
        rest = after.get(length.saturating_add(after_block)..).unwrap_or_default();
    }
    false
}

fn first_capacity(available: usize, limit: usize) -> usize {
    available.saturating_mul(4).min(FIRST_OUTPUT.max(available)).min(limit)
}

thread_local! {
    /// It holds tables of hundreds of kilobytes; making one per batch would cost more than decompressing it.
    static ZSTD_DECODER: RefCell<Option<zstd::stream::raw::Decoder<'static>>> = const { RefCell::new(None) };
}

fn zstd_into(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
    let error = |error: std::io::Error| failed(Codec::Zstd, &error);
    // A decoder that failed is not put back: the next batch starts with a fresh one.
    let mut decoder = match ZSTD_DECODER.take() {
        Some(decoder) => decoder,
        None => {
            let mut decoder = zstd::stream::raw::Decoder::new().map_err(error)?;
            decoder.set_parameter(DParameter::WindowLogMax(MAX_ZSTD_WINDOW)).map_err(error)?;
            decoder
        }
    };
    out.clear();
    out.reserve(first_capacity(input.len(), limit));
    let mut source = InBuffer::around(input);
    loop {
        if out.len() == out.capacity() {
            // One byte beyond the limit is enough to notice that there is more.
            let room = limit.saturating_add(1).saturating_sub(out.len());
            out.reserve_exact(room.min(out.len().max(FIRST_OUTPUT)));
        }
        let written = out.len();
        let taken = source.pos();
        let mut target = OutBuffer::around_pos(out, written);
        let pending = decoder.run(&mut source, &mut target).map_err(error)?;
        if out.len() > limit {
            return Err(too_large(limit));
        }
        if source.pos() == input.len() {
            // Zero: a frame ended here and is written out. Else the decoder either holds output back for want of room,
            // or wants input that is not there.
            if pending == 0 {
                break;
            }
            if out.len() < out.capacity() {
                return Err(failed(Codec::Zstd, &"the frame ends early"));
            }
        }
        if source.pos() == taken && out.len() == written {
            return Err(failed(Codec::Zstd, &"the decoder makes no progress"));
        }
    }
    if input.is_empty() {
        return Err(failed(Codec::Zstd, &"empty input"));
    }
    if out.len() <= KEEP_DECODER_BELOW && decoder.reinit().is_ok() {
        ZSTD_DECODER.set(Some(decoder));
    }
    Ok(())
}

fn too_large(limit: usize) -> WireError {
    WireError::TooLarge { what: "decompressed data", size: limit.saturating_add(1), limit }
}

#[cfg(test)]
mod tests {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    use super::*;
    use crate::compress::compress;

    fn text(len: usize) -> Vec<u8> {
        let stock: Vec<u8> = (0..1000).flat_map(|n| format!("line {n} of a log; ").into_bytes()).collect();
        let mut text = stock.repeat(len / stock.len() + 1);
        text.truncate(len);
        text
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let step = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as u8
        };
        (0..len).map(step).collect()
    }

    fn packed(codec: Codec, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        compress(codec, None, input, &mut out).unwrap();
        out
    }

    fn lz4_frame(info: FrameInfo, input: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        std::io::Write::write_all(&mut encoder, input).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn lz4_frames_of_all_kinds_come_back() {
        let sizes = [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB];
        for (input, size) in [text(5_000_000), noise(700_000), text(10)]
            .iter()
            .flat_map(|input| sizes.map(|size| (input, size)))
        {
            let info = FrameInfo::new().block_size(size);
            let plain = lz4_frame(info.clone().block_mode(BlockMode::Independent), input);
            assert!(plain_lz4_blocks(&plain).is_some(), "the direct way is taken");
            let linked = lz4_frame(info.clone().block_mode(BlockMode::Linked), input);
            let checked = lz4_frame(info.content_checksum(true).block_checksums(true), input);
            for frame in [&plain, &linked, &checked] {
                assert_eq!(decompress(Codec::Lz4, frame, input.len()).as_deref(), Ok(&input[..]));
                let less = decompress(Codec::Lz4, frame, input.len() - 1);
                assert!(matches!(less, Err(WireError::TooLarge { .. })), "{less:?}");
            }
        }
    }

    #[test]
    fn damaged_lz4_frames_are_errors() {
        let good = packed(Codec::Lz4, &text(200_000));
        for cut in [7, 10, 11, 1000, good.len() - 4, good.len() - 1] {
            let outcome = decompress(Codec::Lz4, &good[..cut], 200_000);
            assert!(matches!(outcome, Err(WireError::Compression { .. })), "cut at {cut}: {outcome:?}");
        }
        let trailing = [&good[..], b"x"].concat();
        assert!(decompress(Codec::Lz4, &trailing, 200_000).is_err());
        // A stored block longer than blocks may be, all of which is there.
        let mut long = good[..7].to_vec();
        long.extend_from_slice(&(65_537_u32 | 1 << 31).to_le_bytes());
        long.extend_from_slice(&[0; 65_541]);
        assert!(decompress(Codec::Lz4, &long, 200_000).is_err());
        // A block that unpacks to more than blocks may be.
        let block = lz4_flex::block::compress(&[0; 65_537]);
        let mut long = good[..7].to_vec();
        long.extend_from_slice(&u32::try_from(block.len()).unwrap().to_le_bytes());
        long.extend_from_slice(&block);
        long.extend_from_slice(&[0; 4]);
        assert!(decompress(Codec::Lz4, &long, 200_000).is_err());
    }

    #[test]
    fn memory_is_used_again_when_its_output_is_gone_and_not_before() {
        for codec in [Codec::Lz4, Codec::Zstd] {
            let mut decompressor = Decompressor::default();
            let mut held = VecDeque::new();
            let mut places = std::collections::HashSet::new();
            for round in 0..60_usize {
                let input = text(300_000 + 100 * (round % 7));
                let output = decompressor.decompress(codec, &packed(codec, &input), input.len()).unwrap();
                places.insert(output.as_ptr() as usize);
                held.push_back((output.slice(1..), input));
                if held.len() > 3 {
                    let (output, input) = held.pop_front().unwrap();
                    assert_eq!(output, input[1..], "{codec}");
                }
            }
            assert!(places.len() < 15, "{codec}: {} places for 60 outputs", places.len());
        }
    }

    #[test]
    fn small_and_large_outputs_in_any_order_are_right() {
        for codec in Codec::ALL {
            let mut decompressor = Decompressor::default();
            let mut outputs = Vec::new();
            for len in [0, 10, 100_000, 5, 1_000_000, 70_000, 1, 65_536, 65_535, 300_000, 3] {
                let input = text(len);
                let output = decompressor.decompress(codec, &packed(codec, &input), len).unwrap();
                assert_eq!(output, input, "{codec} {len}");
                outputs.push((output, input));
                assert!(decompressor.lent_bytes <= KEPT);
                let sum: usize = decompressor.lent.iter().map(|(_, size)| size).sum();
                assert_eq!(sum, decompressor.lent_bytes);
            }
            assert!(outputs.iter().all(|(output, input)| output == input), "{codec}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let input = text(1_500_000);
        let packed = packed(Codec::Lz4, &input);
        let mut decompressor = Decompressor::default();
        let outputs: Vec<_> =
            (0..12).map(|_| decompressor.decompress(Codec::Lz4, &packed, input.len()).unwrap()).collect();
        assert!((KEPT / 2..=KEPT).contains(&decompressor.lent_bytes), "{}", decompressor.lent_bytes);
        assert!(outputs.iter().all(|output| *output == input));
        // One that is larger than all of it is not kept.
        let large = vec![0; KEPT + 1];
        let mut packed = Vec::new();
        compress(Codec::Lz4, None, &large, &mut packed).unwrap();
        assert_eq!(decompressor.decompress(Codec::Lz4, &packed, large.len()).unwrap(), large);
        assert!(decompressor.lent_bytes <= KEPT);
    }

    #[test]
    fn kept_memory_can_be_given_back_and_an_error_spoils_nothing() {
        let input = text(300_000);
        for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
            let good = packed(codec, &input);
            let mut decompressor = Decompressor::default();
            assert!(!decompressor.keeps_memory());
            decompressor.decompress(codec, &good, input.len()).unwrap();
            assert!(decompressor.keeps_memory());
            assert!(decompressor.decompress(codec, &good[..good.len() / 2], input.len()).is_err());
            assert_eq!(decompressor.decompress(codec, &good, input.len()).unwrap(), input);
            decompressor.release();
            assert!(!decompressor.keeps_memory());
            assert_eq!(decompressor.decompress(codec, &good, input.len()).unwrap(), input);
        }
    }
}
