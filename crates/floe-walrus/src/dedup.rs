//! Detection of missing and duplicate batches by the sequence numbers of producers.
//!
//! Walrus has no offsets. A packed batch carries the id of its producer and the sequence number of its first record, so a
//! gap between two batches is visible.

use std::collections::{HashMap, VecDeque};

use floe_wire::batch::BatchHeader;

/// Most producers that are tracked; the oldest is evicted.
const MAX_PRODUCERS: usize = 1024;

/// Sequence numbers of recent batches that are kept for each producer, to tell a duplicate from a late batch.
const MAX_RECENT: usize = 64;

/// Sequence numbers wrap at this value.
const MODULUS: u32 = 1 << 31;

/// Tracks the next expected sequence number of each producer.
#[derive(Debug, Default)]
pub(super) struct Dedup {
    next: HashMap<(i64, i16), ProducerSequence>,
    /// Keys of `next`, oldest first.
    order: VecDeque<(i64, i16)>,
}

#[derive(Debug)]
struct ProducerSequence {
    /// Sequence number of the next record.
    next: u32,
    /// First sequence numbers of the latest batches.
    recent: VecDeque<u32>,
}

impl ProducerSequence {
    fn remember(&mut self, first: u32) {
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(first);
    }
}

/// Position of a batch in the sequence of its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Follows the previous batch, is the first of its producer, or names no producer.
    Follows,
    /// This many records of the producer are missing before it.
    Skips(u32),
    /// Was received before.
    Duplicate,
    /// Arrives after later batches of the producer.
    Late,
}

impl Dedup {
    pub(super) fn step(&mut self, header: &BatchHeader) -> Step {
        let producer = header.producer;
        let Ok(first) = u32::try_from(producer.first_sequence) else { return Step::Follows };
        if !producer.is_some() {
            return Step::Follows;
        }
        let key = (producer.id, producer.epoch);
        let after = first.wrapping_add(header.offset_span()) % MODULUS;
        let Some(producer) = self.next.get_mut(&key) else {
            if self.order.len() == MAX_PRODUCERS
                && let Some(oldest) = self.order.pop_front()
            {
                self.next.remove(&oldest);
            }
            self.order.push_back(key);
            self.next.insert(key, ProducerSequence { next: after, recent: VecDeque::from([first]) });
            return Step::Follows;
        };
        if producer.recent.contains(&first) {
            return Step::Duplicate;
        }
        producer.remember(first);
        let ahead = first.wrapping_sub(producer.next) % MODULUS;
        if ahead >= MODULUS / 2 {
            return Step::Late;
        }
        producer.next = after;
        if ahead == 0 { Step::Follows } else { Step::Skips(ahead) }
    }
}

#[cfg(test)]
mod tests {
    use floe_wire::batch::{BatchBuilder, FinishOptions, ProducerIdentity};

    use super::*;

    fn header(id: i64, first_sequence: i32, records: usize) -> BatchHeader {
        let mut builder = BatchBuilder::new(64);
        for _ in 0..records {
            builder.append(1, None, b"x", &[]).unwrap();
        }
        let producer = ProducerIdentity { id, epoch: 0, first_sequence };
        *builder.finish(FinishOptions { producer, ..FinishOptions::default() }).unwrap().header()
    }

    #[test]
    fn gaps_and_duplicates_are_detected() {
        let mut dedup = Dedup::default();
        assert_eq!(dedup.step(&header(7, 100, 10)), Step::Follows, "a read may begin anywhere");
        assert_eq!(dedup.step(&header(7, 110, 5)), Step::Follows);
        assert_eq!(dedup.step(&header(7, 110, 5)), Step::Duplicate);
        assert_eq!(dedup.step(&header(7, 118, 2)), Step::Skips(3));
        assert_eq!(dedup.step(&header(7, 120, 1)), Step::Follows);
        assert_eq!(dedup.step(&header(7, 115, 3)), Step::Late, "the missing records arrive late");
        assert_eq!(dedup.step(&header(8, 0, 1)), Step::Follows, "another producer");
        assert_eq!(dedup.step(&header(-1, -1, 1)), Step::Follows);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut dedup = Dedup::default();
        assert_eq!(dedup.step(&header(7, i32::MAX - 1, 2)), Step::Follows);
        assert_eq!(dedup.step(&header(7, 0, 1)), Step::Follows);
        assert_eq!(dedup.step(&header(7, i32::MAX, 1)), Step::Late);
        assert_eq!(dedup.step(&header(7, 0, 1)), Step::Duplicate);
    }

    #[test]
    fn memory_is_bounded() {
        let mut dedup = Dedup::default();
        for id in 0..5000 {
            dedup.step(&header(id, 0, 1));
        }
        assert_eq!((dedup.next.len(), dedup.order.len()), (MAX_PRODUCERS, MAX_PRODUCERS));
    }
}
