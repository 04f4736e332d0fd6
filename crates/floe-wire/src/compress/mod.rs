//! Compression of record batches: four codecs, each behind a Cargo feature of its name.
//!
//! The output of each codec is what a Fluvio SPU and its official client expect: gzip as an RFC 1952 stream, snappy in
//! its framing format (not a raw block), LZ4 as a frame of independent 64 KiB blocks without checksums or content
//! size, Zstandard as a frame without content size.
//!
//! Decompression is bounded: the output grows as data arrives, never beyond the caller's limit, and sizes claimed in
//! the input are not used to allocate.
//!
//! A codec whose feature is off fails with [`WireError::CodecNotCompiled`], in both directions.

mod codec;
mod decompressor;
#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
mod output;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "zstd")]
mod zstd;

pub use codec::{Codec, Compression};
pub use decompressor::{Decompressor, decompress};

use crate::WireError;

/// Compresses `input` as one unit and appends the result to `out`.
///
/// # Errors
/// [`WireError::CodecNotCompiled`] if the codec's Cargo feature is off; [`WireError::Compression`] if the codec has no
/// such level, or fails. `out` may then hold a part of the result.
pub fn compress(codec: Codec, level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    codec::check(codec, level)?;
    match codec {
        Codec::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        #[cfg(feature = "gzip")]
        Codec::Gzip => gzip::compress(level, input, out),
        #[cfg(feature = "snappy")]
        Codec::Snappy => snappy::compress(input, out),
        #[cfg(feature = "lz4")]
        Codec::Lz4 => lz4::compress(input, out),
        #[cfg(feature = "zstd")]
        Codec::Zstd => zstd::compress(level, input, out),
        #[cfg(not(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd")))]
        other => Err(codec::not_compiled(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn compiled_codecs() -> impl Iterator<Item = Codec> {
        Codec::ALL.into_iter().filter(|codec| codec.is_compiled_in())
    }

    pub(super) fn compressed(codec: Codec, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        compress(codec, None, input, &mut out).unwrap();
        out
    }

    /// Returns text of this length that compresses well.
    pub(super) fn text(len: usize) -> Vec<u8> {
        let stock: Vec<u8> = (0..1000).flat_map(|n| format!("line {n} of a log; ").into_bytes()).collect();
        let mut text = stock.repeat(len / stock.len() + 1);
        text.truncate(len);
        text
    }

    #[test]
    fn each_codec_has_the_framing_that_fluvio_expects() {
        let text = text(100_000);
        for codec in compiled_codecs() {
            let start = match codec {
                Codec::None => &text[..],
                Codec::Gzip => &[0x1f, 0x8b, 8],
                Codec::Snappy => b"\xff\x06\x00\x00sNaPpY",
                // Version 1, independent blocks of 64 KiB; no checksums, no content size.
                Codec::Lz4 => &[0x04, 0x22, 0x4d, 0x18, 0x60, 0x40],
                // The descriptor byte: no content size, no single segment, no checksum, no dictionary.
                Codec::Zstd => &[0x28, 0xb5, 0x2f, 0xfd, 0x00],
            };
            let out = compressed(codec, &text);
            assert!(out.starts_with(start), "{codec}: {:02x?}", &out[..12]);
            assert!(codec == Codec::None || out.len() < text.len() / 2, "{codec}: {}", out.len());
        }
    }

    #[test]
    fn each_codec_and_level_round_trips_and_appends() {
        let text = text(100_000);
        for codec in compiled_codecs() {
            let levels = codec.levels().map_or(vec![None], |levels| levels.map(Some).collect());
            for level in levels {
                for input in [&text[..], b"", b"x"] {
                    let mut out = b"before".to_vec();
                    compress(codec, level, input, &mut out).unwrap();
                    assert_eq!(&out[..6], b"before");
                    let output = decompress(codec, &out[6..], input.len());
                    assert_eq!(output.as_deref(), Ok(input), "{codec} {level:?}");
                }
            }
        }
    }

    #[test]
    fn a_codec_that_is_not_compiled_in_fails_in_both_directions() {
        for codec in Codec::ALL {
            let mut out = Vec::new();
            let outcomes = [
                compress(codec, None, b"", &mut out),
                decompress(codec, &compressed(Codec::None, &out), 10).map(drop),
                Compression::new(codec).validate(),
            ];
            for outcome in outcomes {
                if codec.is_compiled_in() {
                    assert_eq!(outcome, Ok(()), "{codec}");
                } else {
                    assert_eq!(outcome, Err(WireError::CodecNotCompiled { codec: codec.name() }));
                }
            }
        }
    }

    #[test]
    fn output_beyond_the_limit_is_an_error_however_small_the_input() {
        let zeros = vec![0u8; 3_000_000];
        for codec in compiled_codecs() {
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
        let text = text(100_000);
        for codec in compiled_codecs().filter(|codec| *codec != Codec::None) {
            let complete = compressed(codec, &text);
            let cuts = if codec == Codec::Snappy {
                // The snappy framing has no end marker: a cut between two of its chunks is undetectable.
                vec![complete.len() - 1]
            } else {
                // At the beginning, throughout, and within the last bytes.
                let throughout = (40..complete.len()).step_by(61);
                (0..40).chain(throughout).chain(complete.len() - 8..complete.len()).collect()
            };
            for cut in cuts {
                let outcome = decompress(codec, &complete[..cut], text.len());
                assert!(matches!(outcome, Err(WireError::Compression { .. })), "{codec} cut at {cut}");
            }
        }
    }
}
