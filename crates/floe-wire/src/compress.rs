//! The five codecs of a record batch.
//!
//! Each writes what a Fluvio SPU and its official client expect: gzip as an RFC 1952 stream, snappy in its framing
//! format (not a raw block), LZ4 as a frame of independent 64 KiB blocks without checksums or content size, Zstandard
//! as a frame without content size.
//!
//! Decompression is bounded: the output grows as data arrives, never beyond the caller's limit, and sizes claimed in
//! the input are not used to allocate.

use std::{cell::RefCell, fmt, io::Read, io::Write, ops::RangeInclusive, str::FromStr};

use bytes::Bytes;
use zstd::stream::raw::{CParameter, DParameter, InBuffer, Operation, OutBuffer};

use crate::WireError;

/// Level of Zstandard when none is given: the one that the official client uses.
const DEFAULT_ZSTD_LEVEL: i32 = 1;

/// Largest Zstandard window accepted, as a power of two: 32 MiB, the largest batch. The decoder allocates the window
/// that the frame asks for, so it must not be left to the sender.
const MAX_ZSTD_WINDOW: u32 = 25;

/// Output buffers start no larger than this.
const FIRST_OUTPUT: usize = 64 * 1024;

/// Zstandard encoders of higher levels are not kept for the next batch of this thread: their tables take tens of
/// megabytes and more.
const KEEP_ENCODER_UP_TO: i32 = 6;

/// A Zstandard decoder kept for the next batch of this thread has decoded no more than this, so that a few large
/// batches do not pin large windows.
const KEEP_DECODER_BELOW: usize = 8 * 1024 * 1024;

/// How the record section of a batch is compressed. Numbers as in the batch attributes of Fluvio 0.18 (they differ
/// from the numbers in a Fluvio topic spec).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Stored as it is.
    #[default]
    None,
    /// RFC 1952 stream.
    Gzip,
    /// Snappy framing format.
    Snappy,
    /// LZ4 frame.
    Lz4,
    /// Zstandard frame.
    Zstd,
}

impl Codec {
    /// The codec with this number.
    ///
    /// # Errors
    /// [`WireError::Malformed`] for a number that no codec has.
    pub fn from_code(code: i16) -> Result<Self, WireError> {
        match code {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            other => Err(WireError::malformed("batch attributes", format!("unknown codec {other}"))),
        }
    }

    /// The number of this codec in the batch attributes.
    #[must_use]
    pub fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Lower-case name, as used in options and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl Codec {
    /// Every codec, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The levels that this codec has; `None` if it has no levels.
    #[must_use]
    pub fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Self::None | Self::Snappy | Self::Lz4 => None,
            Self::Gzip => Some(0..=9),
            Self::Zstd => Some(1..=22),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Codec {
    type Err = WireError;

    fn from_str(name: &str) -> Result<Self, WireError> {
        Self::ALL.into_iter().find(|codec| codec.name() == name).ok_or_else(|| {
            WireError::malformed(
                "codec",
                format!("unknown codec '{name}', one of none, gzip, snappy, lz4, zstd"),
            )
        })
    }
}

/// Whether and how a batch is compressed when it closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// The codec. Default: [`Codec::None`].
    pub codec: Codec,
    /// The codec's level, within [`Codec::levels`]. Default: `None`, the level that the official client uses (gzip 6,
    /// zstd 1).
    pub level: Option<i32>,
    /// Record sections of fewer uncompressed bytes than this stay plain. Default: 1024, below which the codecs gain
    /// little. A batch also stays plain when compression would not make it smaller.
    pub threshold: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Self { codec: Codec::None, level: None, threshold: 1024 }
    }
}

impl Compression {
    /// The given codec at its usual level, with the usual threshold.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self { codec, ..Self::default() }
    }

    /// Checks the level, so that a wrong one is noticed when options are read and not when the first batch closes.
    ///
    /// # Errors
    /// [`WireError::Compression`] if the codec has no such level.
    pub fn validate(&self) -> Result<(), WireError> {
        check_level(self.codec, self.level)
    }
}

/// Compresses `input` as one unit and appends the result to `out`.
///
/// # Errors
/// [`WireError::Compression`] if the codec has no such level, or fails. `out` may then hold a part of the result.
pub fn compress(codec: Codec, level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    check_level(codec, level)?;
    match codec {
        Codec::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        Codec::Gzip => {
            let level = level.and_then(|level| u32::try_from(level).ok());
            let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
            let mut encoder = flate2::write::GzEncoder::new(out, level);
            encoder.write_all(input).map_err(|error| failed(codec, &error))?;
            encoder.finish().map_err(|error| failed(codec, &error))?;
            Ok(())
        }
        Codec::Snappy => {
            let mut encoder = snap::write::FrameEncoder::new(out);
            encoder.write_all(input).map_err(|error| failed(codec, &error))?;
            encoder.into_inner().map_err(|error| failed(codec, error.error()))?;
            Ok(())
        }
        Codec::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new()
                .block_mode(lz4_flex::frame::BlockMode::Independent)
                .block_size(lz4_flex::frame::BlockSize::Max64KB);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, out);
            encoder.write_all(input).map_err(|error| failed(codec, &error))?;
            encoder.finish().map_err(|error| failed(codec, &error))?;
            Ok(())
        }
        Codec::Zstd => compress_zstd(level.unwrap_or(DEFAULT_ZSTD_LEVEL), input, out),
    }
}

/// Decompresses `input`, one unit as [`compress`] makes it, to at most `limit` bytes.
///
/// # Errors
/// [`WireError::TooLarge`] when there is more than `limit`; nothing beyond it is kept. [`WireError::Compression`] when
/// the bytes are not what the codec writes, or end early.
pub fn decompress(codec: Codec, input: &[u8], limit: usize) -> Result<Bytes, WireError> {
    match codec {
        Codec::None if input.len() > limit => Err(too_large(limit)),
        Codec::None => Ok(Bytes::copy_from_slice(input)),
        Codec::Gzip => read_bounded(codec, flate2::read::MultiGzDecoder::new(input), input.len(), limit),
        Codec::Snappy => read_bounded(codec, snap::read::FrameDecoder::new(input), input.len(), limit),
        Codec::Lz4 if !is_whole_lz4(input) => Err(failed(codec, &"the frame ends early")),
        Codec::Lz4 => read_bounded(codec, lz4_flex::frame::FrameDecoder::new(input), input.len(), limit),
        Codec::Zstd => decompress_zstd(input, limit),
    }
}

fn check_level(codec: Codec, level: Option<i32>) -> Result<(), WireError> {
    let Some(level) = level else { return Ok(()) };
    match codec.levels() {
        Some(levels) if levels.contains(&level) => Ok(()),
        Some(levels) => {
            Err(failed(codec, &format!("level {level}, must be {} to {}", levels.start(), levels.end())))
        }
        None => Err(failed(codec, &format!("level {level} given, but this codec has no levels"))),
    }
}

/// Reads to the end or to the limit. The buffer starts from the size of the input, which is really there, and grows
/// with what the decoder yields.
fn read_bounded(
    codec: Codec,
    decoder: impl Read,
    available: usize,
    limit: usize,
) -> Result<Bytes, WireError> {
    let mut out = Vec::with_capacity(first_capacity(available, limit));
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(bound).read_to_end(&mut out).map_err(|error| failed(codec, &error))?;
    if out.len() > limit {
        return Err(too_large(limit));
    }
    Ok(Bytes::from(out))
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
    /// Zstandard contexts hold tables of hundreds of kilobytes; making one per batch would cost more than compressing
    /// it.
    static ZSTD_ENCODER: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(None) };
    static ZSTD_DECODER: RefCell<Option<zstd::stream::raw::Decoder<'static>>> = const { RefCell::new(None) };
}

fn compress_zstd(level: i32, input: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    let error = |error: std::io::Error| failed(Codec::Zstd, &error);
    let kept = ZSTD_ENCODER.take().filter(|(kept_level, _)| *kept_level == level);
    let mut encoder = match kept {
        Some((_, encoder)) => encoder,
        None => {
            let mut encoder = zstd::bulk::Compressor::new(level).map_err(error)?;
            encoder.set_parameter(CParameter::ContentSizeFlag(false)).map_err(error)?;
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
        ZSTD_ENCODER.set(Some((level, encoder)));
    }
    Ok(())
}

fn decompress_zstd(input: &[u8], limit: usize) -> Result<Bytes, WireError> {
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
    let mut out: Vec<u8> = Vec::with_capacity(first_capacity(input.len(), limit));
    let mut source = InBuffer::around(input);
    loop {
        if out.len() == out.capacity() {
            // One byte beyond the limit is enough to notice that there is more.
            let room = limit.saturating_add(1).saturating_sub(out.len());
            out.reserve_exact(room.min(out.len().max(FIRST_OUTPUT)));
        }
        let written = out.len();
        let taken = source.pos();
        let mut target = OutBuffer::around_pos(&mut out, written);
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
    Ok(Bytes::from(out))
}

fn failed(codec: Codec, problem: &dyn fmt::Display) -> WireError {
    WireError::Compression { codec: codec.name(), problem: problem.to_string() }
}

fn too_large(limit: usize) -> WireError {
    WireError::TooLarge { what: "decompressed data", size: limit.saturating_add(1), limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(codec: Codec, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        compress(codec, None, input, &mut out).unwrap();
        out
    }

    fn text() -> Vec<u8> {
        (0..5_000).flat_map(|n| format!("line {n} of a log; ").into_bytes()).collect()
    }

    #[test]
    fn each_codec_has_the_framing_that_fluvio_expects() {
        let text = text();
        for (codec, start) in [
            (Codec::Gzip, &[0x1f, 0x8b, 8][..]),
            (Codec::Snappy, b"\xff\x06\x00\x00sNaPpY"),
            // Version 1, independent blocks of 64 KiB; no checksums, no content size.
            (Codec::Lz4, &[0x04, 0x22, 0x4d, 0x18, 0x60, 0x40]),
            // The descriptor byte says: no content size, no single segment, no checksum, no dictionary.
            (Codec::Zstd, &[0x28, 0xb5, 0x2f, 0xfd, 0x00]),
        ] {
            let out = compressed(codec, &text);
            assert!(out.starts_with(start), "{codec}: {:02x?}", &out[..12]);
            assert!(out.len() < text.len() / 2, "{codec}: {}", out.len());
        }
        assert_eq!(compressed(Codec::None, &text), text);
    }

    #[test]
    fn each_codec_and_level_comes_back_and_appends() {
        let text = text();
        for codec in Codec::ALL {
            let levels = codec.levels().map_or(vec![None], |levels| levels.map(Some).collect());
            for level in levels {
                for input in [&text[..], b"", b"x"] {
                    let mut out = b"before".to_vec();
                    compress(codec, level, input, &mut out).unwrap();
                    assert_eq!(&out[..6], b"before");
                    let back = decompress(codec, &out[6..], input.len());
                    assert_eq!(back.as_deref(), Ok(input), "{codec} {level:?}");
                }
            }
        }
    }

    #[test]
    fn output_beyond_the_limit_is_an_error_however_small_the_input() {
        let zeros = vec![0u8; 3_000_000];
        for codec in Codec::ALL {
            let bomb = compressed(codec, &zeros);
            assert!(decompress(codec, &bomb, zeros.len()).is_ok(), "{codec}");
            for limit in [0, 1, 1_000, 65_536, zeros.len() - 1] {
                let outcome = decompress(codec, &bomb, limit);
                assert!(matches!(outcome, Err(WireError::TooLarge { .. })), "{codec} {limit}");
            }
        }
    }

    #[test]
    fn input_that_ends_early_is_an_error() {
        let text = text();
        for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
            let whole = compressed(codec, &text);
            // Cuts at the beginning, throughout, and of the last bytes.
            let cuts = (0..40).chain((40..whole.len()).step_by(61)).chain(whole.len() - 8..whole.len());
            for cut in cuts {
                let outcome = decompress(codec, &whole[..cut], text.len());
                assert!(matches!(outcome, Err(WireError::Compression { .. })), "{codec} cut at {cut}");
            }
        }
        // The snappy framing has no end marker: a cut between two of its chunks cannot be told.
        let whole = compressed(Codec::Snappy, &text);
        assert!(decompress(Codec::Snappy, &whole[..whole.len() - 1], text.len()).is_err());
    }

    #[test]
    fn a_failure_does_not_spoil_the_context_for_the_next_batch() {
        let good = compressed(Codec::Zstd, b"good");
        let mut bad = compressed(Codec::Zstd, &text());
        bad.truncate(100);
        for _ in 0..3 {
            assert!(decompress(Codec::Zstd, &bad, 1 << 20).is_err());
            assert_eq!(decompress(Codec::Zstd, &good, 10).as_deref(), Ok(&b"good"[..]));
        }
    }

    #[test]
    fn a_zstd_window_larger_than_any_batch_is_refused() {
        // A frame header that asks for 2^27 bytes of window, then an empty last block.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (27 - 10) << 3, 0x01, 0x00, 0x00];
        assert!(matches!(decompress(Codec::Zstd, &frame, 100), Err(WireError::Compression { .. })));
        let mut allowed = frame;
        allowed[5] = (25 - 10) << 3;
        assert_eq!(decompress(Codec::Zstd, &allowed, 100).as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn names_and_numbers_of_codecs() {
        for codec in Codec::ALL {
            assert_eq!(codec.name().parse(), Ok(codec));
            assert_eq!(codec.to_string(), codec.name());
            assert_eq!(Codec::from_code(codec.code()), Ok(codec));
        }
        let problem = "brotli".parse::<Codec>().unwrap_err().to_string();
        assert_eq!(problem, "codec: unknown codec 'brotli', one of none, gzip, snappy, lz4, zstd");
        assert!(Codec::from_code(5).is_err());
    }

    #[test]
    fn levels_are_checked() {
        for (codec, level, valid) in [
            (Codec::Gzip, 9, true),
            (Codec::Gzip, 10, false),
            (Codec::Gzip, -1, false),
            (Codec::Zstd, 22, true),
            (Codec::Zstd, 23, false),
            (Codec::Zstd, 0, false),
            (Codec::Lz4, 1, false),
            (Codec::Snappy, 1, false),
            (Codec::None, 1, false),
        ] {
            let compression = Compression { level: Some(level), ..Compression::new(codec) };
            assert_eq!(compression.validate().is_ok(), valid, "{codec} {level}");
        }
        assert_eq!(Compression::default().validate(), Ok(()));
        let compression = Compression { level: Some(23), ..Compression::new(Codec::Zstd) };
        let problem = compression.validate().unwrap_err().to_string();
        assert_eq!(problem, "zstd: level 23, must be 1 to 22");
    }
}
