//! Decompression into buffers that are reused.
//!
//! A fresh buffer for each batch would cost as much as decompressing into it: the kernel has to find and clear every
//! page.

use std::collections::VecDeque;

use bytes::Bytes;

#[cfg(feature = "gzip")]
use super::gzip;
#[cfg(feature = "lz4")]
use super::lz4;
#[cfg(feature = "snappy")]
use super::snappy;
#[cfg(feature = "zstd")]
use super::zstd;
use super::{
    codec::Codec,
    output::{FIRST_OUTPUT, too_large},
};
use crate::WireError;

/// Most memory that a [`Decompressor`] keeps for reuse, in bytes.
const MAX_KEPT: usize = 8 * 1024 * 1024;

/// Decompresses one unit after another into buffers that it reuses once the last `Bytes` slice into them is dropped.
///
/// It keeps handles to at most 8 MiB of its outputs.
///
/// ```
/// use floe_wire::compress::{Codec, Decompressor, compress};
///
/// let codec = if Codec::Lz4.is_compiled_in() { Codec::Lz4 } else { Codec::None };
/// let mut compressed = Vec::new();
/// compress(codec, None, &[7; 100_000], &mut compressed)?;
/// let mut decompressor = Decompressor::default();
/// for _ in 0..3 {
///     assert_eq!(decompressor.decompress(codec, &compressed, 100_000)?, [7; 100_000][..]);
/// }
/// # Ok::<(), floe_wire::WireError>(())
/// ```
#[derive(Debug, Default)]
pub struct Decompressor {
    /// Outputs handed out, the oldest first, each with the capacity of its buffer.
    lent: VecDeque<(Bytes, usize)>,
    lent_bytes: usize,
    /// Buffer for outputs too small to be worth an element of `lent`.
    small: Vec<u8>,
    /// Length of the previous output.
    last: usize,
}

impl Decompressor {
    /// Decompresses `input`, one unit as [`compress`](crate::compress::compress) makes it, to at most `limit` bytes.
    ///
    /// # Errors
    /// As [`decompress`].
    pub fn decompress(&mut self, codec: Codec, input: &[u8], limit: usize) -> Result<Bytes, WireError> {
        // An output is about as long as the previous one.
        let is_large = self.last >= FIRST_OUTPUT || input.len() >= FIRST_OUTPUT;
        let mut out = if is_large { self.reuse() } else { std::mem::take(&mut self.small) };
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
        if size <= MAX_KEPT {
            self.lent.push_back((output.clone(), size));
            self.lent_bytes += size;
        }
        while self.lent_bytes > MAX_KEPT
            && let Some((_, size)) = self.lent.pop_front()
        {
            self.lent_bytes -= size;
        }
        Ok(output)
    }

    /// Returns whether it keeps memory for reuse.
    #[must_use]
    pub fn keeps_memory(&self) -> bool {
        self.lent_bytes > 0
    }

    /// Drops the memory kept for reuse.
    pub fn release(&mut self) {
        *self = Self { last: self.last, ..Self::default() };
    }

    /// Returns the oldest buffer that no slice refers to any more, with arbitrary contents, or an empty one.
    fn reuse(&mut self) -> Vec<u8> {
        let found = self.lent.iter().position(|(output, _)| output.is_unique());
        let Some((output, size)) = found.and_then(|at| self.lent.remove(at)) else { return Vec::new() };
        self.lent_bytes -= size;
        Vec::from(output)
    }
}

/// Decompresses `input`, one unit as [`compress`](crate::compress::compress) makes it, to at most `limit` bytes.
///
/// # Errors
/// [`WireError::TooLarge`] when the output is longer than `limit`. [`WireError::Compression`] when the input is not in
/// the codec's format, or ends early. [`WireError::CodecNotCompiled`] if the codec's Cargo feature is off.
pub fn decompress(codec: Codec, input: &[u8], limit: usize) -> Result<Bytes, WireError> {
    Decompressor::default().decompress(codec, input, limit)
}

/// Replaces the contents of `out`.
#[cfg_attr(not(feature = "lz4"), expect(unused_variables, reason = "the LZ4 decoder alone uses `expected`"))]
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
        #[cfg(feature = "gzip")]
        Codec::Gzip => gzip::decompress(input, limit, out),
        #[cfg(feature = "snappy")]
        Codec::Snappy => snappy::decompress(input, limit, out),
        #[cfg(feature = "lz4")]
        Codec::Lz4 => lz4::decompress(input, limit, expected, out),
        #[cfg(feature = "zstd")]
        Codec::Zstd => zstd::decompress(input, limit, out),
        #[cfg(not(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd")))]
        other => Err(super::codec::not_compiled(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::tests::{compiled_codecs, compressed, text};

    /// Returns all codecs but gzip, which takes seconds for megabytes in a debug build.
    fn quick_codecs() -> impl Iterator<Item = Codec> {
        compiled_codecs().filter(|codec| *codec != Codec::Gzip)
    }

    #[test]
    fn buffers_are_reused_once_their_output_is_dropped() {
        for codec in quick_codecs() {
            let mut decompressor = Decompressor::default();
            let mut held = VecDeque::new();
            let mut addresses = std::collections::HashSet::new();
            for round in 0..60_usize {
                let input = text(300_000 + 100 * (round % 7));
                let output = decompressor.decompress(codec, &compressed(codec, &input), input.len()).unwrap();
                addresses.insert(output.as_ptr() as usize);
                held.push_back((output.slice(1..), input));
                if held.len() > 3 {
                    let (output, input) = held.pop_front().unwrap();
                    assert_eq!(output, input[1..], "{codec}");
                }
            }
            assert!(addresses.len() < 15, "{codec}: {} buffers for 60 outputs", addresses.len());
        }
    }

    #[test]
    fn small_and_large_outputs_alternate() {
        for codec in quick_codecs() {
            let mut decompressor = Decompressor::default();
            let mut outputs = Vec::new();
            for len in [0, 10, 100_000, 5, 1_000_000, 70_000, 1, 65_536, 65_535, 300_000, 3] {
                let input = text(len);
                let output = decompressor.decompress(codec, &compressed(codec, &input), len).unwrap();
                assert_eq!(output, input, "{codec} {len}");
                outputs.push((output, input));
                assert!(decompressor.lent_bytes <= MAX_KEPT);
                let sum: usize = decompressor.lent.iter().map(|(_, size)| size).sum();
                assert_eq!(sum, decompressor.lent_bytes);
            }
            assert!(outputs.iter().all(|(output, input)| output == input), "{codec}");
        }
    }

    #[test]
    fn kept_memory_is_bounded() {
        let input = text(1_500_000);
        for codec in quick_codecs() {
            let small = compressed(codec, &input);
            let mut decompressor = Decompressor::default();
            let outputs: Vec<_> =
                (0..12).map(|_| decompressor.decompress(codec, &small, input.len()).unwrap()).collect();
            assert!((MAX_KEPT / 2..=MAX_KEPT).contains(&decompressor.lent_bytes), "{codec}");
            assert!(outputs.iter().all(|output| *output == input));
            // An output larger than the limit is not kept.
            let large = vec![0; MAX_KEPT + 1];
            let compressed = compressed(codec, &large);
            assert_eq!(decompressor.decompress(codec, &compressed, large.len()).unwrap(), large);
            assert!(decompressor.lent_bytes <= MAX_KEPT);
        }
    }

    #[test]
    fn kept_memory_can_be_released_and_survives_errors() {
        let input = text(300_000);
        for codec in compiled_codecs().filter(|codec| *codec != Codec::None) {
            let good = compressed(codec, &input);
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
