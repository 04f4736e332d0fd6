//! Records of exactly-once tasks that a reader has had.
//!
//! A task numbers the records that it writes to a partition without holes, over all its owners. If an owner that was
//! thought dead writes on, its successor writes some of the records again, perhaps in other batches. So a reader remembers
//! the next number of each task, and drops records below it. It starts anew where the reader starts.

use std::collections::{HashMap, VecDeque};

use floe_core::producer_id;
use floe_wire::batch::BatchHeader;

/// Tasks whose numbers are remembered. A reader that meets more forgets those that it met first, and may then return a
/// record of one twice.
const MAX_TASKS: usize = 10_000;

/// Next sequences of the tasks of one partition.
#[derive(Debug, Default)]
pub(super) struct TaskFilter {
    next: HashMap<i64, i32>,
    /// Keys of `next`, oldest first.
    order: VecDeque<i64>,
}

impl TaskFilter {
    /// Takes note of an intact batch. Returns how many of its first records came before.
    pub(super) fn note(&mut self, header: &BatchHeader) -> i64 {
        let producer = header.producer;
        if !producer_id::is_task(producer.id) || producer.first_sequence < 0 {
            return 0;
        }
        let span = header.offset_span();
        let end = producer_id::sequence_after(producer.first_sequence, span);
        let Some(next) = self.next.get_mut(&producer.id) else {
            if self.order.len() == MAX_TASKS
                && let Some(oldest) = self.order.pop_front()
            {
                self.next.remove(&oldest);
            }
            self.order.push_back(producer.id);
            self.next.insert(producer.id, end);
            return 0;
        };
        let known = producer_id::sequences_between(producer.first_sequence, *next).max(0);
        if known < i64::from(span) {
            *next = end;
        }
        known.min(i64::from(span))
    }
}

#[cfg(test)]
mod tests {
    use floe_wire::batch::{BatchBuilder, EncodedBatch, FinishOptions, ProducerIdentity};

    use super::*;

    fn batch(id: i64, epoch: i16, first_sequence: i32, records: usize) -> EncodedBatch {
        let mut builder = BatchBuilder::new(64);
        for _ in 0..records {
            builder.append(1, None, b"x", &[]).unwrap();
        }
        let producer = ProducerIdentity { id, epoch, first_sequence };
        builder.finish(FinishOptions { producer, ..FinishOptions::default() }).unwrap()
    }

    fn task(number: u32) -> i64 {
        producer_id::task_id("p", "t", 0, number)
    }

    #[test]
    fn records_below_the_next_number_of_their_task_came_before() {
        let mut filter = TaskFilter::default();
        let mut known = |id, epoch, first, records| filter.note(batch(id, epoch, first, records).header());
        assert_eq!(known(task(0), 1, i32::MAX - 1, 3), 0);
        assert_eq!(known(task(1), 1, 0, 1), 0);
        assert_eq!(known(task(0), 1, i32::MAX - 1, 3), 3, "the same batch");
        assert_eq!(known(task(0), 2, i32::MAX, 2), 2, "a part of it, in another epoch");
        assert_eq!(known(task(0), 2, 0, 5), 1, "all but the first are new");
        assert_eq!(known(task(0), 1, 1, 2), 2);
        assert_eq!(known(task(0), 2, 9, 1), 0, "a hole");
        assert_eq!(known(7, 0, 0, 2) + known(7, 0, 0, 2), 0, "not a task");
    }

    #[test]
    fn memory_is_bounded() {
        let mut filter = TaskFilter::default();
        for number in 0..MAX_TASKS as u32 + 1 {
            assert_eq!(filter.note(batch(task(number), 0, 0, 1).header()), 0);
        }
        assert_eq!((filter.next.len(), filter.order.len()), (MAX_TASKS, MAX_TASKS));
        assert_eq!(filter.note(batch(task(1), 0, 0, 1).header()), 1);
        assert_eq!(filter.note(batch(task(0), 0, 0, 1).header()), 0, "the first one is forgotten");
    }
}
