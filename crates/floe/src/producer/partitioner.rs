//! Chooses the partition of a record.

use std::{fmt, hash::Hasher};

use siphasher::sip::SipHasher24;

/// The choice of a [`Partitioner`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartitionChoice {
    /// This partition. The record is refused with [`crate::ErrorKind::PartitionNotFound`] if it does not exist.
    Partition(u32),
    /// Any partition: the producer stays with one until its batch is full or sent, then takes the next, so that batches
    /// fill and all partitions get their share.
    Any,
}

/// Chooses the partition of records that do not name one in [`crate::Record::partition`].
///
/// It is called once or a few times for each record, on the task that sends it: keep it short.
///
/// ```
/// use floe::producer::{PartitionChoice, Partitioner};
///
/// /// Long records go to the last partition.
/// #[derive(Debug)]
/// struct BySize;
///
/// impl Partitioner for BySize {
///     fn partition(&self, _key: Option<&[u8]>, value: &[u8], partitions: u32) -> PartitionChoice {
///         if value.len() > 1024 { PartitionChoice::Partition(partitions - 1) } else { PartitionChoice::Any }
///     }
/// }
/// ```
pub trait Partitioner: fmt::Debug + Send + Sync + 'static {
    /// Chooses one of `partitions` partitions, of which there is at least one.
    fn partition(&self, key: Option<&[u8]>, value: &[u8], partitions: u32) -> PartitionChoice;

    /// Returns the choice among `partitions` partitions, if it is the same for all records: whole batches need not be
    /// decoded then. The default, `None`, is always correct.
    fn choice_for_all(&self, partitions: u32) -> Option<PartitionChoice> {
        let _ = partitions;
        None
    }
}

/// Hashes keys as the official Fluvio client does, so that both choose the same partition for a key: SipHash-2-4 with zero
/// keys over the length of the key (8 bytes, little endian) and the key, modulo the number of partitions. Records without
/// a key go to [`PartitionChoice::Any`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyHash;

impl Partitioner for KeyHash {
    #[inline]
    fn partition(&self, key: Option<&[u8]>, _value: &[u8], partitions: u32) -> PartitionChoice {
        let Some(key) = key else { return PartitionChoice::Any };
        if partitions == 1 {
            return PartitionChoice::Partition(0);
        }
        let mut hasher = SipHasher24::new_with_keys(0, 0);
        hasher.write(&(key.len() as u64).to_le_bytes());
        hasher.write(key);
        // The remainder is below a u32.
        PartitionChoice::Partition((hasher.finish() % u64::from(partitions)) as u32)
    }

    fn choice_for_all(&self, partitions: u32) -> Option<PartitionChoice> {
        (partitions == 1).then_some(PartitionChoice::Partition(0))
    }
}

/// Sends all records to one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedPartition(pub u32);

impl Partitioner for FixedPartition {
    fn partition(&self, _key: Option<&[u8]>, _value: &[u8], _partitions: u32) -> PartitionChoice {
        PartitionChoice::Partition(self.0)
    }

    fn choice_for_all(&self, _partitions: u32) -> Option<PartitionChoice> {
        Some(PartitionChoice::Partition(self.0))
    }
}

/// Records without a key whose numbers lie in one stretch of this length go to one partition, so that small batches are not
/// spread over all partitions.
pub(crate) const STRETCH: i64 = 256;

/// Returns the partition of a record by its contents and its number alone, so that a later process computes the same one.
/// The number, such as an offset, decides for records that may go to any partition.
pub(crate) fn choose_for(
    partitioner: &dyn Partitioner,
    (key, value): (Option<&[u8]>, &[u8]),
    partitions: u32,
    number: i64,
) -> u32 {
    match partitioner.partition(key, value, partitions) {
        PartitionChoice::Partition(partition) => partition,
        PartitionChoice::Any => spread(number / STRETCH, partitions),
    }
}

/// Spreads numbers evenly, whatever their distances.
fn spread(number: i64, count: u32) -> u32 {
    // Fibonacci hashing: multiples of 2^64 divided by the golden ratio lie far from each other.
    let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    ((mixed * u64::from(count)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_get_the_partition_of_the_official_client() {
        let vectors = [
            ("a", 7),
            ("b", 0),
            ("key-1", 9),
            ("key-2", 1),
            ("hello", 4),
            ("", 9),
            ("0123456789abcdef", 3),
            ("☃", 9),
        ];
        for (key, expected) in vectors {
            let choice = KeyHash.partition(Some(key.as_bytes()), b"value", 10);
            assert_eq!(choice, PartitionChoice::Partition(expected), "{key:?}");
        }
    }

    #[test]
    fn a_single_partition_takes_every_key() {
        assert_eq!(KeyHash.partition(Some(b"a"), b"", 1), PartitionChoice::Partition(0));
    }

    #[test]
    fn records_without_a_key_may_go_anywhere() {
        assert_eq!(KeyHash.partition(None, b"a", 10), PartitionChoice::Any);
        assert_eq!(FixedPartition(3).partition(Some(b"a"), b"", 10), PartitionChoice::Partition(3));
    }

    #[test]
    fn a_choice_for_all_holds_for_every_record() {
        assert_eq!(KeyHash.choice_for_all(1), Some(KeyHash.partition(Some(b"a"), b"", 1)));
        assert_eq!(KeyHash.choice_for_all(2), None);
        assert_eq!(FixedPartition(3).choice_for_all(10), Some(FixedPartition(3).partition(None, b"", 10)));
    }
}
