//! LZ4: a frame of independent 64 KiB blocks, without checksums and without content size.

use std::io::Write;

use lz4_flex::{
    block::DecompressError,
    frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo},
};

use super::{
    codec::{Codec, failed},
    output::{FIRST_OUTPUT, read_to_limit, too_large},
};
use crate::WireError;

/// Marks a block's length when the block is stored uncompressed.
const STORED: u32 = 1 << 31;

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(input).map_err(|error| failed(Codec::Lz4, &error))?;
    encoder.finish().map_err(|error| failed(Codec::Lz4, &error))?;
    Ok(())
}

/// Decompresses one frame. `expected` is the length of output that was usual so far.
pub(super) fn decompress(
    input: &[u8],
    limit: usize,
    expected: usize,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    match independent_blocks(input) {
        Some((blocks, block_len)) => decompress_blocks(blocks, block_len, limit, expected, out),
        None if !has_end_mark(input) => Err(failed(Codec::Lz4, &"the frame ends early")),
        None => read_to_limit(Codec::Lz4, FrameDecoder::new(input), input.len(), limit, out),
    }
}

/// Returns the blocks of a frame of independent blocks without checksums and sizes, the kind that floe and the
/// official client write, with the largest length that a block may have. Returns `None` for frames of other kinds.
fn independent_blocks(input: &[u8]) -> Option<(&[u8], usize)> {
    const START: [u8; 5] = [0x04, 0x22, 0x4d, 0x18, 0x60];
    let (start, rest) = input.split_first_chunk::<5>()?;
    let (sizes, blocks) = rest.split_first_chunk::<2>()?;
    // Each block size is followed by the checksum of the frame header.
    let block_len = match (*start, *sizes) {
        (START, [0x40, 0x82]) => 64 * 1024,
        (START, [0x50, 0xfb]) => 256 * 1024,
        (START, [0x60, 0x51]) => 1024 * 1024,
        (START, [0x70, 0x73]) => 4 * 1024 * 1024,
        _ => return None,
    };
    Some((blocks, block_len))
}

/// Decompresses straight into `out`. The frame decoder of `lz4_flex` would allocate and clear a buffer for each frame,
/// decompress into it, and copy.
fn decompress_blocks(
    mut blocks: &[u8],
    block_len: usize,
    limit: usize,
    expected: usize,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
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
            // A block may be 4 MiB long and seldom is: the first attempt reserves the usual length only.
            let usual = expected.saturating_sub(written).max(len.saturating_mul(4)).max(FIRST_OUTPUT);
            written += match decompress_block(block, written, usual.min(block_len), out) {
                Err(DecompressError::OutputTooSmall { .. }) if usual < block_len => {
                    decompress_block(block, written, block_len, out)
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

/// Decompresses a block to `out[at..]`, growing `out` by up to `room` bytes.
fn decompress_block(
    block: &[u8],
    at: usize,
    room: usize,
    out: &mut Vec<u8>,
) -> Result<usize, DecompressError> {
    if out.len() < at + room {
        out.resize(at + room, 0);
    }
    let room = out.get_mut(at..at + room).unwrap_or_default();
    lz4_flex::block::decompress_into(block, room)
}

/// Returns whether the frame at the start of `input` reaches its end mark. The frame decoder of `lz4_flex` takes a
/// frame that stops between two blocks for a complete one, and would lose the remaining blocks silently. Skippable
/// frames, which no writer of batches uses, are refused.
fn has_end_mark(input: &[u8]) -> bool {
    const CONTENT_SIZE: u8 = 1 << 3;
    const DICTIONARY: u8 = 1;
    const BLOCK_CHECKSUMS: u8 = 1 << 4;
    // Magic, flags, block size; then the optional fields that the flags announce; then the header's checksum.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::{
        decompress,
        tests::{compressed, text},
    };

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

    fn frame(info: FrameInfo, input: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(input).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn frames_of_all_kinds_round_trip() {
        let sizes = [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB];
        for (input, size) in [text(5_000_000), noise(700_000), text(10)]
            .iter()
            .flat_map(|input| sizes.map(|size| (input, size)))
        {
            let info = FrameInfo::new().block_size(size);
            let plain = frame(info.clone().block_mode(BlockMode::Independent), input);
            assert!(independent_blocks(&plain).is_some(), "the fast path is taken");
            let linked = frame(info.clone().block_mode(BlockMode::Linked), input);
            let checked = frame(info.content_checksum(true).block_checksums(true), input);
            for whole in [&plain, &linked, &checked] {
                assert_eq!(decompress(Codec::Lz4, whole, input.len()).as_deref(), Ok(&input[..]));
                let less = decompress(Codec::Lz4, whole, input.len() - 1);
                assert!(matches!(less, Err(WireError::TooLarge { .. })), "{less:?}");
            }
        }
    }

    #[test]
    fn damaged_frames_are_errors() {
        let good = compressed(Codec::Lz4, &text(200_000));
        for cut in [7, 10, 11, 1000, good.len() - 4, good.len() - 1] {
            let outcome = decompress(Codec::Lz4, &good[..cut], 200_000);
            assert!(matches!(outcome, Err(WireError::Compression { .. })), "cut at {cut}: {outcome:?}");
        }
        let trailing = [&good[..], b"x"].concat();
        assert!(decompress(Codec::Lz4, &trailing, 200_000).is_err());
        // A stored block that is complete but longer than the frame allows.
        let mut long = good[..7].to_vec();
        long.extend_from_slice(&(65_537_u32 | 1 << 31).to_le_bytes());
        long.extend_from_slice(&[0; 65_541]);
        assert!(decompress(Codec::Lz4, &long, 200_000).is_err());
        // A block that decompresses to more than the frame allows.
        let block = lz4_flex::block::compress(&[0; 65_537]);
        let mut long = good[..7].to_vec();
        long.extend_from_slice(&u32::try_from(block.len()).unwrap().to_le_bytes());
        long.extend_from_slice(&block);
        long.extend_from_slice(&[0; 4]);
        assert!(decompress(Codec::Lz4, &long, 200_000).is_err());
    }
}
