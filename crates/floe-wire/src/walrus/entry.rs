//! One entry of a topic: a packed record batch, or text.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::{Bytes, BytesMut};

use crate::batch::EncodedBatch;

/// What a packed entry begins with; base64 of one record batch follows.
pub const PACKED_PREFIX: &str = "floe1:";

/// Written with padding; read with or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryContent {
    /// Records of floe, with all that belongs to them. The checksum is not verified.
    Batch(EncodedBatch),
    /// A value by itself, written by the plain framing or by another client.
    Text(Bytes),
}

impl EntryContent {
    /// Looks what an entry is. What begins like a packed batch and is none is text: nothing gets lost.
    #[must_use]
    pub fn parse(entry: Bytes) -> Self {
        let unpacked = entry
            .strip_prefix(PACKED_PREFIX.as_bytes())
            .and_then(|text| BASE64.decode(text).ok())
            .and_then(|bytes| EncodedBatch::parse(Bytes::from(bytes)).ok());
        unpacked.map_or(Self::Text(entry), Self::Batch)
    }
}

/// Length of the packed entry of a batch of `batch_len` bytes.
#[must_use]
pub const fn packed_len(batch_len: usize) -> usize {
    PACKED_PREFIX.len() + batch_len.div_ceil(3) * 4
}

/// Appends the packed entry of a batch.
pub fn pack_into(out: &mut BytesMut, batch: &EncodedBatch) {
    out.extend_from_slice(PACKED_PREFIX.as_bytes());
    let start = out.len();
    out.resize(start + batch.len().div_ceil(3) * 4, 0);
    let bytes = batch.to_bytes();
    // The room is exactly what padded base64 takes.
    let room = out.get_mut(start..).unwrap_or_default();
    let written = BASE64.encode_slice(&bytes, room).unwrap_or_default();
    out.truncate(start + written);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, FinishOptions};

    pub(in crate::walrus) fn batch(value_len: usize) -> EncodedBatch {
        let mut builder = BatchBuilder::new(128);
        builder.append(5, Some(b"k\0"), &vec![0xff; value_len], &[("h", b"\xfe")]).unwrap();
        builder.finish(FinishOptions::default()).unwrap()
    }

    #[test]
    fn batches_come_out_as_they_went_in() {
        for value_len in 0..9 {
            let moved = batch(value_len).with_base_offset(7);
            let batch = EncodedBatch::parse(moved.to_bytes()).unwrap();
            let mut out = BytesMut::new();
            pack_into(&mut out, &moved);
            assert_eq!(out.len(), packed_len(batch.len()));
            assert!(out.starts_with(b"floe1:") && out.is_ascii());
            let packed = out.freeze();
            assert_eq!(EntryContent::parse(packed.clone()), EntryContent::Batch(batch.clone()));
            let unpadded = Bytes::copy_from_slice(packed.split(|byte| *byte == b'=').next().unwrap());
            assert_eq!(EntryContent::parse(unpadded), EntryContent::Batch(batch));
        }
    }

    #[test]
    fn everything_else_is_text() {
        let mut out = BytesMut::new();
        pack_into(&mut out, &batch(3));
        let cut = out.split_to(out.len() - 8).freeze();
        for text in [&b"hello"[..], b"", b"floe1:", b"floe1:????", b"floe1:aGk=", &cut] {
            let text = Bytes::copy_from_slice(text);
            assert_eq!(EntryContent::parse(text.clone()), EntryContent::Text(text));
        }
    }
}
