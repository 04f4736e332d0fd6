//! What the numbers of the producers say about records that never came, or came twice.
//!
//! Walrus has no offsets. But every packed batch says which producer wrote it and how many records the producer had
//! written before, so a hole between two batches shows.

use std::collections::{HashMap, VecDeque};

use floe_wire::batch::BatchHeader;

/// Producers that are remembered.
const MAX_PRODUCERS: usize = 1024;

/// First numbers of batches that are remembered for each producer, to tell a repeat from one that comes late.
const REMEMBERED: usize = 64;

/// Dedup wrap within this many numbers.
const MODULUS: u32 = 1 << 31;

/// The numbers that are to come next.
#[derive(Debug, Default)]
pub(super) struct Dedup {
    next: HashMap<(i64, i16), Producer>,
    /// Keys of `next`, oldest first.
    order: VecDeque<(i64, i16)>,
}

#[derive(Debug)]
struct Producer {
    /// Number of the record that is to come next.
    next: u32,
    /// First numbers of the latest batches.
    recent: VecDeque<u32>,
}

impl Producer {
    fn remember(&mut self, first: u32) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(first);
    }
}

/// What a batch tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It follows the one before it, or is the first of its producer, or names none.
    Follows,
    /// So many records of its producer are missing before it.
    Skips(u32),
    /// It has come before.
    Repeats,
    /// It comes after batches that its producer wrote later.
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
            self.next.insert(key, Producer { next: after, recent: VecDeque::from([first]) });
            return Step::Follows;
        };
        if producer.recent.contains(&first) {
            return Step::Repeats;
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
    fn holes_and_repeats_show() {
        let mut dedup = Dedup::default();
        assert_eq!(dedup.step(&header(7, 100, 10)), Step::Follows, "reading begins anywhere");
        assert_eq!(dedup.step(&header(7, 110, 5)), Step::Follows);
        assert_eq!(dedup.step(&header(7, 110, 5)), Step::Repeats);
        assert_eq!(dedup.step(&header(7, 118, 2)), Step::Skips(3));
        assert_eq!(dedup.step(&header(7, 120, 1)), Step::Follows);
        assert_eq!(dedup.step(&header(7, 115, 3)), Step::Late, "the missing ones come after all");
        assert_eq!(dedup.step(&header(8, 0, 1)), Step::Follows, "another producer");
        assert_eq!(dedup.step(&header(-1, -1, 1)), Step::Follows);
    }

    #[test]
    fn numbers_wrap() {
        let mut dedup = Dedup::default();
        assert_eq!(dedup.step(&header(7, i32::MAX - 1, 2)), Step::Follows);
        assert_eq!(dedup.step(&header(7, 0, 1)), Step::Follows);
        assert_eq!(dedup.step(&header(7, i32::MAX, 1)), Step::Late);
        assert_eq!(dedup.step(&header(7, 0, 1)), Step::Repeats);
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
