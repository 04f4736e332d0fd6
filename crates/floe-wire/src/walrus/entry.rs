//! Content of a topic's entry: a packed record batch, or text.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::{Bytes, BytesMut};

use crate::batch::EncodedBatch;

/// Start of a packed entry; the base64 text of one record batch follows.
pub const PACKED_PREFIX: &str = "floe1:";

/// Base64 written with padding, and read with or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Content of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryContent {
    /// A record batch, with keys, headers and times. The checksum is not verified.
    Batch(EncodedBatch),
    /// One bare value, written with the plain framing or by another client.
    Text(Bytes),
}

impl EntryContent {
    /// Decodes an entry. A malformed packed batch is returned as text, so that no data is lost.
    #[must_use]
    pub fn parse(entry: Bytes) -> Self {
        let unpacked = entry
            .strip_prefix(PACKED_PREFIX.as_bytes())
            .and_then(|text| BASE64.decode(text).ok())
            .and_then(|bytes| EncodedBatch::parse(Bytes::from(bytes)).ok());
        unpacked.map_or(Self::Text(entry), Self::Batch)
    }
}

/// Returns the length of the packed entry of a batch of `batch_len` bytes.
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
    // `room` has exactly the length of padded base64.
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
    fn batches_round_trip() {
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
    fn malformed_batches_are_text() {
        let mut out = BytesMut::new();
        pack_into(&mut out, &batch(3));
        let cut = out.split_to(out.len() - 8).freeze();
        for text in [&b"hello"[..], b"", b"floe1:", b"floe1:????", b"floe1:aGk=", &cut] {
            let text = Bytes::copy_from_slice(text);
            assert_eq!(EntryContent::parse(text.clone()), EntryContent::Text(text));
        }
    }
}
