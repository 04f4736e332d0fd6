//! Snappy: the framing format, not a raw block.

use std::io::Write;

use super::{
    codec::{Codec, failed},
    output::read_to_limit,
};
use crate::WireError;

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    let mut encoder = snap::write::FrameEncoder::new(out);
    encoder.write_all(input).map_err(|error| failed(Codec::Snappy, &error))?;
    encoder.into_inner().map_err(|error| failed(Codec::Snappy, error.error()))?;
    Ok(())
}

pub(super) fn decompress(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
    read_to_limit(Codec::Snappy, snap::read::FrameDecoder::new(input), input.len(), limit, out)
}
