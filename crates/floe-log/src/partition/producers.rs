//! Recent batches of every producer of a partition: makes retried appends idempotent, and fences the producers that have
//! fenced ids.

use std::collections::{HashMap, VecDeque};

use floe_wire::batch::{BatchHeader, producer_id};

use super::Appended;
use crate::{
    LogError,
    fences::{FencedProducer, Fences, StoredAt},
};

/// Batches kept per producer: at least as many as a producer keeps in flight.
const BATCHES: usize = 8;
/// Producers kept per partition.
const PRODUCERS: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Producers {
    known: HashMap<i64, RecentBatches>,
    clock: u64,
    pub(crate) fences: Fences,
}

#[derive(Debug)]
struct RecentBatches {
    epoch: i16,
    used: u64,
    batches: VecDeque<SeenBatch>,
}

#[derive(Debug)]
struct SeenBatch {
    first_sequence: i32,
    span: u32,
    checksum: u32,
    appended: Appended,
}

fn names_producer(header: &BatchHeader) -> bool {
    header.producer.is_some() && header.producer.first_sequence >= 0
}

impl Producers {
    /// Creates the table from the fenced producers of the catalog.
    pub(crate) fn new(fenced: Vec<(i64, FencedProducer)>) -> Self {
        Self { fences: Fences::new(fenced), ..Self::default() }
    }

    /// Returns where the batch is stored already; None if it may be appended. `start` is the start of the log.
    pub(crate) fn check(&mut self, header: &BatchHeader, start: i64) -> Result<Option<StoredAt>, LogError> {
        if producer_id::is_fenced(header.producer.id) {
            return self.fences.check(header, start);
        }
        Ok(self.find(header).map(|Appended { base_offset, timestamp_ms }| StoredAt {
            base_offset,
            timestamp_ms,
            end: base_offset + i64::from(header.offset_span()),
        }))
    }

    /// Records a batch that recovery found.
    pub(crate) fn note_found(&mut self, header: &BatchHeader, appended: Appended) {
        if producer_id::is_fenced(header.producer.id) {
            self.fences.note_found(header, appended.base_offset, appended.timestamp_ms);
        } else {
            self.note(header, appended);
        }
    }

    /// Returns the position of the stored batch that this one duplicates.
    fn find(&self, header: &BatchHeader) -> Option<Appended> {
        if !names_producer(header) {
            return None;
        }
        let recent = self.known.get(&header.producer.id).filter(|r| r.epoch == header.producer.epoch)?;
        let same = |seen: &&SeenBatch| {
            seen.first_sequence == header.producer.first_sequence
                && seen.span == header.offset_span()
                && seen.checksum == header.checksum
        };
        recent.batches.iter().find(same).map(|seen| seen.appended)
    }

    /// Records a batch.
    pub(crate) fn note(&mut self, header: &BatchHeader, appended: Appended) {
        if producer_id::is_fenced(header.producer.id) {
            self.fences.note(header, appended.base_offset, appended.timestamp_ms);
            return;
        }
        if !names_producer(header) {
            return;
        }
        self.clock += 1;
        if self.known.len() >= PRODUCERS && !self.known.contains_key(&header.producer.id) {
            self.evict_idle();
        }
        let recent = self.known.entry(header.producer.id).or_insert_with(|| RecentBatches {
            epoch: header.producer.epoch,
            used: 0,
            batches: VecDeque::new(),
        });
        if recent.epoch != header.producer.epoch {
            recent.epoch = header.producer.epoch;
            recent.batches.clear();
        }
        recent.used = self.clock;
        if recent.batches.len() >= BATCHES {
            recent.batches.pop_front();
        }
        recent.batches.push_back(SeenBatch {
            first_sequence: header.producer.first_sequence,
            span: header.offset_span(),
            checksum: header.checksum,
            appended,
        });
    }

    /// Drops the batches of a producer at or after an offset, because their write failed.
    pub(crate) fn forget_from(&mut self, header: &BatchHeader, offset: i64) {
        if let Some(recent) = self.known.get_mut(&header.producer.id) {
            recent.batches.retain(|seen| seen.appended.base_offset < offset);
        }
    }

    /// Evicts the least recently used tenth, so that the search runs once per thousand new producers.
    fn evict_idle(&mut self) {
        let mut ages: Vec<u64> = self.known.values().map(|recent| recent.used).collect();
        let (_, oldest_kept, _) = ages.select_nth_unstable(PRODUCERS / 10);
        let oldest_kept = *oldest_kept;
        self.known.retain(|_, recent| recent.used >= oldest_kept);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use floe_wire::batch::{EncodedBatch, ProducerIdentity};

    use super::*;

    fn header(id: i64, epoch: i16, first_sequence: i32) -> BatchHeader {
        let mut bytes = vec![0u8; 57];
        bytes[8..12].copy_from_slice(&45_i32.to_be_bytes());
        bytes[16] = 2;
        let mut header = *EncodedBatch::parse(Bytes::from(bytes)).unwrap().header();
        header.producer = ProducerIdentity { id, epoch, first_sequence };
        header
    }

    fn at(base_offset: i64) -> Appended {
        Appended { base_offset, timestamp_ms: 0 }
    }

    #[test]
    fn only_an_identical_batch_is_a_duplicate() {
        let mut producers = Producers::default();
        producers.note(&header(1, 0, 0), at(10));
        producers.note(&header(1, 0, 1), at(11));
        assert_eq!(producers.find(&header(1, 0, 0)), Some(at(10)));
        assert_eq!(producers.find(&header(1, 0, 1)), Some(at(11)));
        assert_eq!(producers.find(&header(1, 0, 2)), None);
        assert_eq!(producers.find(&header(1, 1, 0)), None);
        assert_eq!(producers.find(&header(2, 0, 0)), None);
        let mut other = header(1, 0, 0);
        other.checksum ^= 1;
        assert_eq!(producers.find(&other), None, "same sequence, different contents");
    }

    #[test]
    fn failed_old_and_idle_batches_are_dropped() {
        let mut producers = Producers::default();
        for sequence in 0..20 {
            producers.note(&header(7, 0, sequence), at(i64::from(sequence)));
        }
        assert_eq!(producers.find(&header(7, 0, 11)), None);
        assert_eq!(producers.find(&header(7, 0, 12)), Some(at(12)));
        producers.forget_from(&header(7, 0, 18), 18);
        assert_eq!(producers.find(&header(7, 0, 17)), Some(at(17)));
        assert_eq!(producers.find(&header(7, 0, 18)), None);
        for id in 100..100 + PRODUCERS as i64 {
            producers.note(&header(id, 0, 0), at(1));
        }
        assert!(producers.known.len() <= PRODUCERS);
        assert_eq!(producers.find(&header(7, 0, 17)), None);
    }

    #[test]
    fn batches_without_a_producer_are_never_duplicates() {
        let mut producers = Producers::default();
        producers.note(&header(-1, -1, -1), at(1));
        producers.note(&header(3, 0, -1), at(1));
        assert_eq!(producers.find(&header(-1, -1, -1)), None);
        assert_eq!(producers.find(&header(3, 0, -1)), None);
        assert!(producers.known.is_empty());
    }
}
