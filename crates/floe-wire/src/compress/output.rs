//! Output buffers of decompression: they grow with the data that arrives, up to the caller's limit.

#[cfg(any(feature = "gzip", feature = "snappy", feature = "lz4"))]
use std::io::Read;

use crate::WireError;

/// First capacity of an output buffer, in bytes. Shorter outputs are copied to memory of their exact size.
pub(super) const FIRST_OUTPUT: usize = 64 * 1024;

/// Reads `decoder` to its end. The buffer starts from the size of the input, which was really received, and grows with
/// the decoder's output.
#[cfg(any(feature = "gzip", feature = "snappy", feature = "lz4"))]
pub(super) fn read_to_limit(
    codec: super::Codec,
    decoder: impl Read,
    available: usize,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    out.clear();
    out.reserve(first_capacity(available, limit));
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(bound).read_to_end(out).map_err(|error| super::codec::failed(codec, &error))?;
    if out.len() > limit {
        return Err(too_large(limit));
    }
    Ok(())
}

#[cfg(any(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]
pub(super) fn first_capacity(available: usize, limit: usize) -> usize {
    available.saturating_mul(4).min(FIRST_OUTPUT.max(available)).min(limit)
}

pub(super) fn too_large(limit: usize) -> WireError {
    WireError::TooLarge { what: "decompressed data", size: limit.saturating_add(1), limit }
}
