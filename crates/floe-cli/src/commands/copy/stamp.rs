//! Marks by which a copy recognises its own batches in the target.
//!
//! A batch carries a producer and the sequence of its first record; engines store them unchanged. A copy gives every
//! partition of the source a producer id of its own, the same in every run. The sequence is chosen so that the number
//! after the last record of the batch is the offset at which the source has to be read next:
//!
//! ```text
//! source offsets   40  41  42  43  44  45  46          41, 44 and 45 pass the filter
//! sequences                    44  45  46              first sequence 44, three records: the copy goes on at 47
//! ```
//!
//! Without a filter the sequences are the offsets of the source. Sequences of later batches are always larger, so for
//! any reader the batches look like those of an ordinary producer.

use floe::engine::batch::{BatchHeader, ProducerIdentity, producer_id};

/// Bits of a position that the sequence holds; the epoch holds those above.
const SEQUENCE_BITS: u32 = 31;

/// Identity of a copy: runs with the same one continue each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CopyIdentity(u64);

impl CopyIdentity {
    pub(super) fn of(parts: &[&str]) -> Self {
        // FNV-1a, which must never change: the identity of a stored batch is compared with it.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        for part in parts {
            (part.len() as u64).to_le_bytes().into_iter().for_each(&mut add);
            part.bytes().for_each(&mut add);
        }
        Self(hash)
    }

    /// Returns the producer id of a partition of the source.
    pub(super) fn lane(self, partition: u32) -> i64 {
        let id = mixed(self.0 ^ mixed(u64::from(partition) + 1)) >> 1;
        producer_id::not_a_task(i64::try_from(id).unwrap_or(i64::MAX))
    }

    /// Returns the group that stores the progress where the target cannot be searched.
    pub(super) fn group(self) -> String {
        format!("floe-copy-{:016x}", self.0)
    }
}

/// Spreads the bits of a number over all bits (the last step of SplitMix64).
pub(super) fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Returns the producer of a batch with `records` records after which the source is read at `next`. None beyond 2^46
/// offsets.
pub(super) fn stamp(lane: i64, next: i64, records: u32) -> Option<ProducerIdentity> {
    let first = next.checked_sub(i64::from(records)).filter(|first| *first >= 0)?;
    let epoch = i16::try_from(first >> SEQUENCE_BITS).ok()?;
    let first_sequence = i32::try_from(first & ((1 << SEQUENCE_BITS) - 1)).ok()?;
    Some(ProducerIdentity { id: lane, epoch, first_sequence })
}

/// Returns the offset at which the source is read after a batch of the copy.
pub(super) fn next_of(header: &BatchHeader) -> i64 {
    let ProducerIdentity { epoch, first_sequence, .. } = header.producer;
    (i64::from(epoch.max(0)) << SEQUENCE_BITS)
        + i64::from(first_sequence.max(0))
        + i64::from(header.offset_span())
}

#[cfg(test)]
mod tests {
    use floe::engine::batch::{BatchBuilder, FinishOptions};

    use super::*;

    #[test]
    fn positions_survive_the_header_of_a_batch() {
        for next in [3, 1000, (1 << 31) - 1, 1 << 31, (1 << 31) + 2, (1 << 45) + 7] {
            let mut builder = BatchBuilder::new(64);
            for _ in 0..3 {
                builder.append(1, None, b"x", &[]).unwrap();
            }
            let options = FinishOptions { producer: stamp(7, next, 3).unwrap(), ..FinishOptions::default() };
            let batch = builder.finish(options).unwrap();
            assert_eq!((next_of(batch.header()), batch.header().producer.id), (next, 7));
        }
        assert_eq!(stamp(7, 1 << 47, 1), None);
        assert_eq!(stamp(7, 2, 3), None);
    }

    #[test]
    fn identities_never_change() {
        let identity = CopyIdentity::of(&["embedded:/a", "orders"]);
        assert_eq!(identity, CopyIdentity::of(&["embedded:/a", "orders"]));
        assert_ne!(identity, CopyIdentity::of(&["embedded:/ao", "rders"]));
        assert_ne!(identity.lane(0), identity.lane(1));
        assert!((0..1000).all(|partition| identity.lane(partition) >= 0));
        assert_eq!(CopyIdentity::of(&[]).group(), "floe-copy-cbf29ce484222325");
    }
}
