//! Progress of an outbox, as it is kept on disk.
//!
//! The spool and the checkpoint determine everything else: the records of each target partition are numbered in the
//! order of the spool, and the checkpoint holds the numbers at `position`. An old checkpoint is as good as a new one as
//! long as the spool still has the records after its position, because deliveries since then are found at the ends of
//! the partitions.

use serde::{Deserialize, Serialize};

use crate::{
    engine::Watermarks,
    producer::{Identity, Written},
};

/// Record numbers wrap at this value, as the sequences of producers do.
pub(super) const MODULUS: u32 = 1 << 31;

/// Progress of an outbox. Its fields are a format on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// Topic that the outbox delivers to.
    pub(super) topic: String,
    pub(super) producer_id: i64,
    /// Offset in the spool of the first record that is not known to be delivered.
    pub(super) position: i64,
    /// Empty before the first contact with the cluster.
    pub(super) partitions: Vec<PartitionCheckpoint>,
    pub(super) dropped: u64,
    pub(super) rejected: u64,
}

/// Progress in one partition of the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartitionCheckpoint {
    /// Number of the next record of this partition.
    pub(super) sequence: u32,
    /// No record of the spool from `position` on is in the partition before this offset. `None` on engines without
    /// offsets.
    pub(super) settled: Option<i64>,
}

impl Checkpoint {
    pub(super) fn new(topic: &str) -> Self {
        let topic = topic.to_owned();
        let producer_id = Identity::new_id();
        Self { topic, producer_id, position: 0, partitions: Vec::new(), dropped: 0, rejected: 0 }
    }

    /// Restarts the numbering for these partitions under a new producer id.
    pub(super) fn restart(&mut self, partitions: &[Option<Watermarks>]) {
        self.producer_id = Identity::new_id();
        self.partitions.clear();
        self.add_partitions(partitions);
    }

    /// Adds the partitions that the topic has gained. Valid only while no record is in flight.
    pub(super) fn add_partitions(&mut self, partitions: &[Option<Watermarks>]) {
        for marks in partitions.iter().skip(self.partitions.len()) {
            self.partitions.push(PartitionCheckpoint { sequence: 0, settled: marks.map(|marks| marks.high) });
        }
    }
}

/// Returns the number that follows after so many records.
pub(super) fn advance(sequence: u32, records: u32) -> u32 {
    sequence.wrapping_add(records) % MODULUS
}

/// Records that a partition already holds, counted from one number on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DeliveredRanges {
    /// Half-open distances from that number: sorted, disjoint, not adjacent.
    ranges: Vec<(u32, u32)>,
}

impl DeliveredRanges {
    pub(super) fn new(from: u32, written: &[Written]) -> Self {
        let mut found = Vec::new();
        for batch in written {
            let Ok(first) = u32::try_from(batch.first_sequence) else { continue };
            let start = first.wrapping_sub(from) % MODULUS;
            // A batch of the past may reach beyond `from`.
            let (start, end) = if start >= MODULUS / 2 {
                (0, (start.wrapping_add(batch.records) % MODULUS))
            } else {
                (start, start + batch.records)
            };
            if start < end && end < MODULUS / 2 {
                found.push((start, end));
            }
        }
        found.sort_unstable();
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for (start, end) in found {
            match ranges.last_mut() {
                Some(last) if last.1 >= start => last.1 = last.1.max(end),
                _ => ranges.push((start, end)),
            }
        }
        Self { ranges }
    }

    /// Returns how many records are there from the first number on, without a hole.
    pub(super) fn prefix(&self) -> u32 {
        self.ranges.first().filter(|first| first.0 == 0).map_or(0, |first| first.1)
    }

    /// Returns the distance from which on no record is there.
    pub(super) fn end(&self) -> u32 {
        self.ranges.last().map_or(0, |last| last.1)
    }

    /// Returns whether the record at this distance is there.
    pub(super) fn contains(&self, distance: u32) -> bool {
        self.ranges.iter().any(|(start, end)| (*start..*end).contains(&distance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(first_sequence: i32, records: u32) -> Written {
        Written { first_sequence, records }
    }

    #[test]
    fn ranges_are_merged_whatever_the_batches() {
        let delivered = DeliveredRanges::new(100, &[written(110, 5), written(90, 12), written(102, 3)]);
        assert_eq!((delivered.prefix(), delivered.end()), (5, 15));
        let there: Vec<_> = (0..20).filter(|distance| delivered.contains(*distance)).collect();
        assert_eq!(there, [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]);
        assert_eq!(DeliveredRanges::new(100, &[written(80, 20), written(-1, 5)]), DeliveredRanges::default());
        assert_eq!(DeliveredRanges::default().end(), 0);
    }

    #[test]
    fn numbers_wrap() {
        let from = MODULUS - 2;
        let delivered = DeliveredRanges::new(from, &[written(i32::MAX - 1, 2), written(0, 3)]);
        assert_eq!(delivered.prefix(), 5);
        assert_eq!(advance(from, 5), 3);
        assert_eq!(advance(MODULUS - 1, 1), 0);
    }
}
