//! Gzip: an RFC 1952 stream.

use std::io::Write;

use super::{
    codec::{Codec, failed},
    output::read_to_limit,
};
use crate::WireError;

pub(super) fn compress(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    let level = level.and_then(|level| u32::try_from(level).ok());
    let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
    let mut encoder = flate2::write::GzEncoder::new(out, level);
    encoder.write_all(input).map_err(|error| failed(Codec::Gzip, &error))?;
    encoder.finish().map_err(|error| failed(Codec::Gzip, &error))?;
    Ok(())
}

pub(super) fn decompress(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
    read_to_limit(Codec::Gzip, flate2::read::MultiGzDecoder::new(input), input.len(), limit, out)
}
