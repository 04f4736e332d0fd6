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
    if out.is_empty() && available == 0 {
        return Err(failed(codec, &"empty input"));
    }
    Ok(Bytes::from(out))
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
    ZSTD_ENCODER.set(Some((level, encoder)));
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
