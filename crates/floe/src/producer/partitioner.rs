//! Which partition a record goes to.

use std::{fmt, hash::Hasher};

use siphasher::sip::SipHasher24;

/// What a [`Partitioner`] decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartitionChoice {
    /// This partition, and no other. One that does not exist is refused with
    /// [`crate::ErrorKind::PartitionNotFound`].
    Partition(u32),
    /// Any: the producer stays with one partition until its batch is full or sent, then takes the next, so that
    /// batches fill and all partitions get their share.
    Any,
}

/// Decides which partition a record goes to, unless [`crate::Record::partition`] says so already.
///
/// Called once or a few times for each record, on the task that sends it: keep it short.
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

    /// What it chooses of so many partitions whatever the record is, if that is known: whole batches need no look at
    /// their records then. `None`, which is always right, unless it is implemented.
    fn choice_for_all(&self, partitions: u32) -> Option<PartitionChoice> {
        let _ = partitions;
        None
    }
}

/// Places keys as the official Fluvio client does, so that both put a key into the same partition: SipHash-2-4 with
/// zero keys over the length of the key (8 bytes, little endian) and the key, modulo the number of partitions. Records
/// without a key go to [`PartitionChoice::Any`].
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

/// Everything goes to one partition.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_the_official_client_puts_them() {
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
    fn a_choice_for_all_is_told_only_where_no_record_has_another() {
        assert_eq!(KeyHash.choice_for_all(1), Some(KeyHash.partition(Some(b"a"), b"", 1)));
        assert_eq!(KeyHash.choice_for_all(2), None);
        assert_eq!(FixedPartition(3).choice_for_all(10), Some(FixedPartition(3).partition(None, b"", 10)));
    }
}
