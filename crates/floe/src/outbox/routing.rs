//! Target partitions of the records in the spool.
//!
//! The route of a record depends on its contents and on the batch of the spool that it lies in, so that a later process
//! computes the same partition, and with it the same number.

use bytes::Bytes;
use floe_wire::batch::{BorrowedHeaders, BorrowedRecord};

use crate::{
    Message, Record,
    consumer::RecordBatch,
    producer::{PartitionChoice, Partitioner, choose_for},
};

/// Header that holds the partition chosen by the program. The spool has one partition only.
const PARTITION: &str = "floe-outbox-partition";

/// Computes the partitions of records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Router<'a> {
    pub(super) partitioner: &'a dyn Partitioner,
    /// Number of partitions of the topic.
    pub(super) partitions: u32,
}

/// Facts that decide the partition of a record, besides its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RouteHint {
    /// Base offset of the batch in the spool that the record lies in.
    pub(super) batch: i64,
    /// Partition chosen by the program.
    pub(super) fixed: Option<u32>,
}

impl RouteHint {
    pub(super) fn new(batch: &RecordBatch, headers: BorrowedHeaders<'_>) -> Self {
        Self { batch: batch.base_offset(), fixed: fixed_partition(headers) }
    }
}

impl Router<'_> {
    /// Returns the partition of a record of the spool; `None` if the topic does not have it.
    pub(super) fn of(self, batch: &RecordBatch, record: &BorrowedRecord<'_>) -> Option<u32> {
        self.route(RouteHint::new(batch, record.headers), record.key, record.value)
    }

    /// Returns the partition that all records of a batch without headers go to, if there is one.
    pub(super) fn of_all(self, batch: &RecordBatch) -> Option<u32> {
        if let Some(PartitionChoice::Partition(partition)) = self.partitioner.choice_for_all(self.partitions)
        {
            return (partition < self.partitions).then_some(partition);
        }
        let hint = RouteHint { batch: batch.base_offset(), fixed: None };
        let of = |record: &BorrowedRecord<'_>| self.route(hint, record.key, record.value);
        let mut records = batch.borrowed();
        let first = of(&records.next()?)?;
        records.all(|record| of(&record) == Some(first)).then_some(first)
    }

    /// Returns the partition of a record with these contents; `None` if the topic does not have it.
    pub(super) fn route(self, hint: RouteHint, key: Option<&[u8]>, value: &[u8]) -> Option<u32> {
        let partition = match hint.fixed {
            Some(partition) => partition,
            None => choose_for(self.partitioner, (key, value), self.partitions, hint.batch),
        };
        (partition < self.partitions).then_some(partition)
    }
}

/// Moves the partition chosen by the program into a header.
pub(super) fn store_fixed_partition<V>(record: &mut Record<V>) {
    if let Some(partition) = record.partition.take() {
        record.headers.push((PARTITION.to_owned(), Bytes::from(partition.to_string())));
    }
}

fn fixed_partition(headers: BorrowedHeaders<'_>) -> Option<u32> {
    str::from_utf8(headers.get(PARTITION)?).ok()?.parse().ok()
}

/// Returns the record as the program gave it, without its partition.
pub(super) fn restore(message: &Message) -> Record {
    message.to_record(|name| name != PARTITION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::{KeyHash, STRETCH};

    #[test]
    fn records_without_a_key_take_turns_in_stretches() {
        let router = Router { partitioner: &KeyHash, partitions: 3 };
        let route =
            |batch, key: Option<&[u8]>, fixed| router.route(RouteHint { batch, fixed }, key, b"value");
        assert_eq!(route(0, None, None), route(STRETCH - 1, None, None));
        assert_eq!(route(5, Some(b"k"), None), route(6_000, Some(b"k"), None));
        assert_eq!([route(5, None, Some(2)), route(5, None, Some(3))], [Some(2), None]);
        // All partitions get about as much, whatever the size of the batches.
        for batch in [STRETCH, 2 * STRETCH, 3 * STRETCH, 517, 4096] {
            let mut counts = [0; 3];
            for number in 0..300 {
                counts[route(number * batch, None, None).unwrap() as usize] += 1;
            }
            assert!(counts.iter().all(|count| (80..=120).contains(count)), "{batch}: {counts:?}");
        }
    }
}
