//! How far an outbox is, as it is kept on disk.
//!
//! Everything can be computed from the local log and this: the records of each partition are numbered in the order of the
//! log, and the state says where the count stands at `position`. An old state is as good as a new one, as long as the
//! log still has the records after its position: what was delivered since is found at the ends of the partitions.

use floe_wire::batch::{BorrowedHeaders, BorrowedRecord};
use serde::{Deserialize, Serialize};

use super::local;
use crate::{
    consumer::RecordBatch,
    engine::Watermarks,
    producer::{Identity, PartitionChoice, Partitioner, Written},
};

/// Numbers of records wrap within so many.
pub(super) const MODULUS: u32 = 1 << 31;

/// A batch of the local log goes to one partition, as far as its records have no key; and so do all batches that begin
/// in one stretch of so many numbers, since batches may be small.
const RUN: i64 = 256;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The topic that it was made for.
    pub(super) topic: String,
    pub(super) producer_id: i64,
    /// Number of the first record in the local log that is not known to be delivered.
    pub(super) position: i64,
    /// Empty before the first contact.
    pub(super) partitions: Vec<Place>,
    pub(super) dropped: u64,
    pub(super) rejected: u64,
}

/// One partition of the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Number of the next record of this partition.
    pub(super) sequence: u32,
    /// No record from `position` on is in the partition before this offset; unknown where there are no offsets.
    pub(super) settled: Option<i64>,
}

impl State {
    pub(super) fn new(topic: &str) -> Self {
        let topic = topic.to_owned();
        Self {
            topic,
            producer_id: Identity::new_id(),
            position: 0,
            partitions: Vec::new(),
            dropped: 0,
            rejected: 0,
        }
    }

    /// Begins to count in these partitions, under a new name.
    pub(super) fn begin(&mut self, partitions: &[Option<Watermarks>]) {
        self.producer_id = Identity::new_id();
        self.partitions.clear();
        self.extend(partitions);
    }

    /// More partitions than before; only sensible while nothing is on its way.
    pub(super) fn extend(&mut self, partitions: &[Option<Watermarks>]) {
        for marks in partitions.iter().skip(self.partitions.len()) {
            self.partitions.push(Place { sequence: 0, settled: marks.map(|marks| marks.high) });
        }
    }
}

/// Finds the partitions of records. The same on every call, so that a later process finds the same numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places<'a> {
    pub(super) partitioner: &'a dyn Partitioner,
    /// How many partitions there are.
    pub(super) count: u32,
}

impl Places<'_> {
    /// The partition of a record of the local log; `None` if there is none.
    pub(super) fn of(self, batch: &RecordBatch, record: &BorrowedRecord<'_>) -> Option<u32> {
        self.partition_of(self.turn_of(batch, record.headers), (record.key, record.value))
    }

    /// What decides the partition of a record, besides its contents.
    pub(super) fn turn_of(self, batch: &RecordBatch, headers: BorrowedHeaders<'_>) -> (i64, Option<u32>) {
        (batch.base_offset(), local::fixed_partition(headers))
    }

    /// The partition that all records of a batch without headers go to, if there is one.
    pub(super) fn of_all(self, batch: &RecordBatch) -> Option<u32> {
        if let Some(PartitionChoice::Partition(partition)) = self.partitioner.choice_for_all(self.count) {
            return (partition < self.count).then_some(partition);
        }
        let of = |record: &BorrowedRecord<'_>| {
            self.partition_of((batch.base_offset(), None), (record.key, record.value))
        };
        let mut records = batch.borrowed();
        let first = of(&records.next()?)?;
        records.all(|record| of(&record) == Some(first)).then_some(first)
    }

    /// `turn`: the first number of the batch that the record is in.
    pub(super) fn partition_of(
        self,
        (turn, fixed): (i64, Option<u32>),
        (key, value): (Option<&[u8]>, &[u8]),
    ) -> Option<u32> {
        let partition = match fixed {
            Some(partition) => partition,
            None => match self.partitioner.partition(key, value, self.count) {
                PartitionChoice::Partition(partition) => partition,
                PartitionChoice::Any => spread(turn / RUN, self.count),
            },
        };
        (partition < self.count).then_some(partition)
    }
}

/// Spreads numbers evenly, whatever their distances.
fn spread(number: i64, count: u32) -> u32 {
    // The golden ratio: its multiples lie as far from each other as can be.
    let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    ((mixed * u64::from(count)) >> 32) as u32
}

/// The number after so many records.
pub(super) fn advance(sequence: u32, records: u32) -> u32 {
    sequence.wrapping_add(records) % MODULUS
}

/// What is in a partition already, of the records from one number on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    /// Distances from that number, sorted, apart.
    runs: Vec<(u32, u32)>,
}

impl Delivered {
    pub(super) fn new(from: u32, written: &[Written]) -> Self {
        let mut runs = Vec::new();
        for batch in written {
            let Ok(first) = u32::try_from(batch.first_sequence) else { continue };
            let start = first.wrapping_sub(from) % MODULUS;
            // Older than what is asked for, wholly or in part.
            let (start, end) = if start >= MODULUS / 2 {
                (0, (start.wrapping_add(batch.records) % MODULUS))
            } else {
                (start, start + batch.records)
            };
            if start < end && end < MODULUS / 2 {
                runs.push((start, end));
            }
        }
        runs.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for (start, end) in runs {
            match merged.last_mut() {
                Some(last) if last.1 >= start => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        Self { runs: merged }
    }

    /// How many records from the number on are there without a hole.
    pub(super) fn prefix(&self) -> u32 {
        self.runs.first().filter(|first| first.0 == 0).map_or(0, |first| first.1)
    }

    /// From this distance on nothing is there.
    pub(super) fn end(&self) -> u32 {
        self.runs.last().map_or(0, |last| last.1)
    }

    /// Whether the record at this distance is there.
    pub(super) fn contains(&self, distance: u32) -> bool {
        self.runs.iter().any(|(start, end)| (*start..*end).contains(&distance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::KeyHash;

    fn written(first_sequence: i32, records: u32) -> Written {
        Written { first_sequence, records }
    }

    #[test]
    fn what_was_written_is_found_whatever_the_batches() {
        let delivered = Delivered::new(100, &[written(110, 5), written(90, 12), written(102, 3)]);
        assert_eq!((delivered.prefix(), delivered.end()), (5, 15));
        let there: Vec<_> = (0..20).filter(|distance| delivered.contains(*distance)).collect();
        assert_eq!(there, [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]);
        assert_eq!(Delivered::new(100, &[written(80, 20), written(-1, 5)]), Delivered::default());
        assert_eq!(Delivered::default().end(), 0);
    }

    #[test]
    fn numbers_wrap() {
        let from = MODULUS - 2;
        let delivered = Delivered::new(from, &[written(i32::MAX - 1, 2), written(0, 3)]);
        assert_eq!(delivered.prefix(), 5);
        assert_eq!(advance(from, 5), 3);
        assert_eq!(advance(MODULUS - 1, 1), 0);
    }

    #[test]
    fn records_without_a_key_take_turns_in_runs() {
        let places = Places { partitioner: &KeyHash, count: 3 };
        let place = |turn, key: Option<&[u8]>, fixed| places.partition_of((turn, fixed), (key, b"value"));
        assert_eq!(place(0, None, None), place(RUN - 1, None, None));
        assert_eq!(place(5, Some(b"k"), None), place(6_000, Some(b"k"), None));
        assert_eq!([place(5, None, Some(2)), place(5, None, Some(3))], [Some(2), None]);
        // Whatever the size of the batches, all partitions get about as much.
        for batch in [RUN, 2 * RUN, 3 * RUN, 517, 4096] {
            let mut counts = [0; 3];
            for number in 0..300 {
                counts[place(number * batch, None, None).unwrap() as usize] += 1;
            }
            assert!(counts.iter().all(|count| (80..=120).contains(count)), "{batch}: {counts:?}");
        }
    }
}
