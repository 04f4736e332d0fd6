//! The five codecs of a record batch.
//!
//! Each writes what a Fluvio SPU and its official client expect: gzip as an RFC 1952 stream, snappy in its framing
//! format (not a raw block), LZ4 as a frame of independent 64 KiB blocks without checksums or content size, Zstandard
//! as a frame without content size.
//!
//! Decompression is bounded: the output grows as data arrives, never beyond the caller's limit, and sizes claimed in
//! the input are not used to allocate.

use std::{cell::RefCell, fmt, io::Write, ops::RangeInclusive, str::FromStr};

use zstd::stream::raw::CParameter;

use crate::WireError;
pub use crate::decompress::{Decompressor, decompress};

/// Level of Zstandard when none is given: the one that the official client uses.
const DEFAULT_ZSTD_LEVEL: i32 = 1;

/// Shortest repetition, in bytes, that the default level looks for: what that level has for contents of more than 256 KiB,
/// and so the official client, which does not tell the encoder how much there will be. For shorter contents the encoder
/// would look for 6, which is slower by 5 to 35 % for contents of 64 to 256 KiB, and packs text of events less well.
const LEAST_MATCH: u32 = 7;

/// Zstandard encoders of higher levels are not kept for the next batch of this thread: their tables take tens of
/// megabytes and more.
const KEEP_ENCODER_UP_TO: i32 = 6;

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

thread_local! {
    /// It holds tables of hundreds of kilobytes; making one per batch would cost more than compressing it.
    static ZSTD_ENCODER: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(None) };
}

fn compress_zstd(level: i32, input: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    let error = |error: std::io::Error| failed(Codec::Zstd, &error);
    let kept = ZSTD_ENCODER.take().filter(|(kept_level, _)| *kept_level == level);
    let mut encoder = match kept {
        Some((_, encoder)) => encoder,
        None => {
            let mut encoder = zstd::bulk::Compressor::new(level).map_err(error)?;
            encoder.set_parameter(CParameter::ContentSizeFlag(false)).map_err(error)?;
            if level == DEFAULT_ZSTD_LEVEL {
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
        ZSTD_ENCODER.set(Some((level, encoder)));
    }
    Ok(())
}

pub(crate) fn failed(codec: Codec, problem: &dyn fmt::Display) -> WireError {
    WireError::Compression { codec: codec.name(), problem: problem.to_string() }
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
