//! Zstandard: a frame without content size.

use std::cell::RefCell;

use zstd::stream::raw::{CParameter, DParameter, InBuffer, Operation, OutBuffer};

use super::{
    codec::{Codec, failed},
    output::{FIRST_OUTPUT, first_capacity, too_large},
};
use crate::WireError;

/// Level when the options name none, as in the official client.
const DEFAULT_LEVEL: i32 = 1;

/// Shortest match in bytes at the default level. Zstandard uses 7 at this level for contents of more than 256 KiB, and
/// so does the official client, which does not tell the encoder the content size. For shorter contents the encoder
/// would choose 6, which is slower by 5 to 35 % for contents of 64 to 256 KiB and compresses text of events less well.
const LEAST_MATCH: u32 = 7;

/// Highest level whose encoder the thread keeps. The tables of higher levels take tens of megabytes and more.
const KEEP_ENCODER_UP_TO: i32 = 6;

/// Largest window accepted, as a power of two: 32 MiB, the largest batch. The decoder allocates the window that the
/// frame header asks for, so the sender must not choose it.
const MAX_WINDOW_LOG: u32 = 25;

/// Largest output after which the thread keeps its decoder, in bytes: a few large batches must not pin large windows.
const KEEP_DECODER_BELOW: usize = 8 * 1024 * 1024;

thread_local! {
    /// The encoder of this thread. Its tables take hundreds of kilobytes: allocating them for each batch would cost
    /// more than compressing it.
    static ENCODER: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(None) };

    /// The decoder of this thread. Its tables take hundreds of kilobytes: allocating them for each batch would cost
    /// more than decompressing it.
    static DECODER: RefCell<Option<zstd::stream::raw::Decoder<'static>>> = const { RefCell::new(None) };
}

pub(super) fn compress(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    let level = level.unwrap_or(DEFAULT_LEVEL);
    let error = |error: std::io::Error| failed(Codec::Zstd, &error);
    let kept = ENCODER.take().filter(|(kept_level, _)| *kept_level == level);
    let mut encoder = match kept {
        Some((_, encoder)) => encoder,
        None => {
            let mut encoder = zstd::bulk::Compressor::new(level).map_err(error)?;
            encoder.set_parameter(CParameter::ContentSizeFlag(false)).map_err(error)?;
            if level == DEFAULT_LEVEL {
                encoder.set_parameter(CParameter::MinMatch(LEAST_MATCH)).map_err(error)?;
            }
            encoder
        }
    };
    let start = out.len();
    out.reserve(zstd::zstd_safe::compress_bound(input.len()));
    let mut destination = std::io::Cursor::new(std::mem::take(out));
    destination.set_position(u64::try_from(start).unwrap_or(u64::MAX));
    let outcome = encoder.compress_to_buffer(input, &mut destination);
    *out = destination.into_inner();
    outcome.map_err(error)?;
    if level <= KEEP_ENCODER_UP_TO {
        ENCODER.set(Some((level, encoder)));
    }
    Ok(())
}

pub(super) fn decompress(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
    let error = |error: std::io::Error| failed(Codec::Zstd, &error);
    // A decoder that fails is dropped: the next batch starts with a fresh one.
    let mut decoder = match DECODER.take() {
        Some(decoder) => decoder,
        None => {
            let mut decoder = zstd::stream::raw::Decoder::new().map_err(error)?;
            decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG)).map_err(error)?;
            decoder
        }
    };
    out.clear();
    out.reserve(first_capacity(input.len(), limit));
    let mut source = InBuffer::around(input);
    loop {
        if out.len() == out.capacity() {
            // One byte beyond the limit proves that the output is too large.
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
            // Zero means that a frame ended here and is written out. Otherwise the decoder lacks either room for more
            // output or input.
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
        DECODER.set(Some(decoder));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::{
        decompress,
        tests::{compressed, text},
    };

    #[test]
    fn a_failure_does_not_affect_the_next_batch() {
        let good = compressed(Codec::Zstd, b"good");
        let mut bad = compressed(Codec::Zstd, &text(100_000));
        bad.truncate(100);
        for _ in 0..3 {
            assert!(decompress(Codec::Zstd, &bad, 1 << 20).is_err());
            assert_eq!(decompress(Codec::Zstd, &good, 10).as_deref(), Ok(&b"good"[..]));
        }
    }

    #[test]
    fn a_window_larger_than_any_batch_is_refused() {
        // A frame header that asks for a window of 2^27 bytes, then an empty last block.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (27 - 10) << 3, 0x01, 0x00, 0x00];
        assert!(matches!(decompress(Codec::Zstd, &frame, 100), Err(WireError::Compression { .. })));
        let mut allowed = frame;
        allowed[5] = (25 - 10) << 3;
        assert_eq!(decompress(Codec::Zstd, &allowed, 100).as_deref(), Ok(&b""[..]));
    }
}
