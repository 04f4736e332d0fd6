//! Packed batches: a batch that was put as one packed entry is returned as that entry, so that floe's own clients
//! keep keys, headers and times. Fluvio clients see its records.

use bytes::{Bytes, BytesMut};
use floe_wire::{WireError, batch::EncodedBatch, walrus::pack_into};

/// Attribute bit of a packed batch. Fluvio's servers and clients preserve and ignore it.
const PACKED: i16 = 0x0200;

/// Positions of the checksum and the attributes in a batch header.
const CHECKSUM: std::ops::Range<usize> = 17..21;
const ATTRIBUTES: std::ops::Range<usize> = 21..23;

/// Returns the batch with the attribute bit set.
///
/// # Errors
/// Returns [`WireError::Checksum`] if the batch is damaged.
pub(super) fn mark(batch: &EncodedBatch) -> Result<EncodedBatch, WireError> {
    batch.verify_checksum()?;
    with_attributes(batch, batch.header().attributes.0 | PACKED)
}

/// Returns the entry that a packed batch was put as; `None` for other batches.
pub(super) fn entry_of(batch: &EncodedBatch) -> Option<Bytes> {
    let attributes = batch.header().attributes.0;
    if attributes & PACKED == 0 {
        return None;
    }
    let original = batch.clone().with_base_offset(0).with_leader_epoch(-1);
    let original = with_attributes(&original, attributes & !PACKED).ok()?;
    let mut entry = BytesMut::new();
    pack_into(&mut entry, &original);
    Some(entry.freeze())
}

fn with_attributes(batch: &EncodedBatch, attributes: i16) -> Result<EncodedBatch, WireError> {
    let mut bytes = batch.to_bytes().to_vec();
    // A parsed batch always has its whole header.
    bytes[ATTRIBUTES].copy_from_slice(&attributes.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes[ATTRIBUTES.start..]);
    bytes[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    EncodedBatch::parse(Bytes::from(bytes))
}

#[cfg(test)]
mod tests {
    use floe_wire::batch::{BatchBuilder, FinishOptions};

    use super::*;

    #[test]
    fn packed_batch_round_trips() {
        let mut builder = BatchBuilder::new(128);
        builder.append(7, Some(b"k"), b"v", &[("h", b"1")]).unwrap();
        let batch = builder.finish(FinishOptions::default()).unwrap();
        let marked = mark(&batch).unwrap().with_base_offset(99).with_leader_epoch(0);
        marked.verify_checksum().unwrap();
        assert_eq!(marked.records().unwrap().next().unwrap().unwrap().value, "v");
        let mut entry = BytesMut::new();
        pack_into(&mut entry, &batch);
        assert_eq!(entry_of(&marked), Some(entry.freeze()));
        assert_eq!(entry_of(&batch), None);
        let mut damaged = batch.to_bytes().to_vec();
        damaged[60] ^= 1;
        assert!(mark(&EncodedBatch::parse(damaged.into()).unwrap()).is_err());
    }
}
