//! Parameters of a benchmark, and the numbers of its records.

use std::{num::NonZeroU64, ops::Range, time::Duration};

use floe::{Codec, Durability};

use super::schedule::Schedule;

/// Most records of one run; the verifier keeps one bit per record.
pub(super) const MAX_RECORDS: u64 = 1 << 33;

/// End of the writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Amount {
    /// After this number of records, over all producers.
    Records(u64),
    /// After this time.
    Time(Duration),
}

/// Parameters of a benchmark, from flags and settings.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) amount: Amount,
    /// Records per second over all producers. Without a rate, producers write as fast as they can.
    pub(crate) rate: Option<NonZeroU64>,
    /// Bytes of a value.
    pub(crate) size: usize,
    pub(crate) topics: u32,
    /// Partitions of each topic.
    pub(crate) partitions: u32,
    /// Producers of each topic.
    pub(crate) producers: u32,
    /// Consumers of each topic, which divide its partitions.
    pub(crate) consumers: u32,
    pub(crate) durability: Option<Durability>,
    pub(crate) seed: u64,
    pub(crate) compression: Codec,
    pub(crate) batch_size: usize,
    pub(crate) linger: Duration,
}

impl Load {
    /// Returns a load of one producer and one consumer with the defaults of the command line.
    pub(crate) fn of_records(records: u64) -> Self {
        Self {
            amount: Amount::Records(records),
            rate: None,
            size: 100,
            topics: 1,
            partitions: 1,
            producers: 1,
            consumers: 1,
            durability: None,
            seed: 1,
            compression: Codec::None,
            batch_size: 64 * 1024,
            linger: Duration::ZERO,
        }
    }

    pub(super) fn schedule(&self) -> Option<Schedule> {
        self.rate.map(|rate| Schedule::new(rate, self.seed))
    }

    pub(super) fn numbering(&self) -> Numbering {
        Numbering { topics: self.topics.into(), producers: self.producers.into() }
    }
}

/// Division of the record numbers of a run among its writers: writer W of N has the numbers W, W + N, W + 2 N, and so on.
/// Writers take the topics in turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbering {
    topics: u64,
    /// Producers of each topic.
    producers: u64,
}

impl Numbering {
    /// Returns the writers of the run.
    pub(super) fn writers(self) -> Range<u64> {
        0..self.topics * self.producers
    }

    /// Returns the topic of a writer.
    pub(super) fn topic(self, writer: u64) -> u64 {
        writer % self.topics
    }

    /// Returns how many of the first `records` numbers a writer has.
    pub(super) fn share(self, records: u64, writer: u64) -> u64 {
        records.saturating_sub(writer).div_ceil(self.writers().end)
    }

    /// Returns the number of the writer's `nth` record, from 0.
    pub(super) fn number(self, writer: u64, nth: u64) -> u64 {
        nth * self.writers().end + writer
    }

    /// Returns the writer of a record, and how many records it wrote before it.
    pub(super) fn origin(self, number: u64) -> (u64, u64) {
        (number % self.writers().end, number / self.writers().end)
    }

    /// Returns the place of a writer among those of its topic.
    pub(super) fn place(self, writer: u64) -> u64 {
        writer / self.topics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_writer() {
        let numbering = Numbering { topics: 3, producers: 2 };
        for records in [0, 1, 5, 6, 7, 100] {
            let mut numbers: Vec<_> = numbering
                .writers()
                .flat_map(|writer| {
                    (0..numbering.share(records, writer)).map(move |nth| numbering.number(writer, nth))
                })
                .collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..records).collect::<Vec<_>>());
        }
        assert_eq!(numbering.origin(numbering.number(4, 17)), (4, 17));
        assert_eq!((numbering.topic(4), numbering.place(4)), (1, 1));
    }
}
