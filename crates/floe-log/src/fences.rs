//! Fenced producers of a partition: the newest epoch of each, and its recent batches.
//!
//! Which producers are fenced, their id tells ([`producer_id`]). Appends ask this table under the writer lock; batches of
//! other producers never reach it. The catalog has a copy up to the durable point, and recovery notes the batches behind.

use std::collections::{HashMap, HashSet, VecDeque};

use floe_wire::batch::{BatchHeader, producer_id};

use crate::LogError;

/// Batches kept per producer: more than a producer keeps in flight.
const BATCHES: usize = 16;
/// Fenced producers kept per partition. One is forgotten only once retention has removed its last batch; while there are
/// more, batches of others are refused.
pub(crate) const PRODUCERS: usize = 10_000;

/// Stored batch of a fenced producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FencedBatch {
    pub(crate) epoch: i16,
    pub(crate) first_sequence: i32,
    pub(crate) span: u32,
    pub(crate) checksum: u32,
    pub(crate) base_offset: i64,
    pub(crate) timestamp_ms: i64,
}

impl FencedBatch {
    fn of(header: &BatchHeader, base_offset: i64, timestamp_ms: i64) -> Self {
        Self {
            epoch: header.producer.epoch,
            first_sequence: header.producer.first_sequence,
            span: header.offset_span(),
            checksum: header.checksum,
            base_offset,
            timestamp_ms,
        }
    }

    fn next_sequence(&self) -> i32 {
        producer_id::sequence_after(self.first_sequence, self.span)
    }

    fn end(&self) -> i64 {
        self.base_offset + i64::from(self.span)
    }

    /// Returns how far behind the first record of this batch a sequence lies; None if it lies outside.
    fn delta(&self, sequence: i32) -> Option<i64> {
        let delta = producer_id::sequences_between(self.first_sequence, sequence);
        (0..i64::from(self.span)).contains(&delta).then_some(delta)
    }
}

/// Fenced producer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FencedProducer {
    /// Recent batches, in the order of their offsets and epochs; at least one.
    pub(crate) batches: VecDeque<FencedBatch>,
}

impl FencedProducer {
    /// Returns where the records of a task are stored; None if none of them is.
    fn find_records(&self, header: &BatchHeader) -> Result<Option<StoredAt>, LogError> {
        let first = header.producer.first_sequence;
        let Some(next) = self.batches.back().map(FencedBatch::next_sequence) else { return Ok(None) };
        let known = producer_id::sequences_between(first, next);
        if known <= 0 {
            return Ok(None);
        }
        let last = producer_id::sequence_after(first, header.offset_span() - 1);
        let holding = |sequence| {
            let found = self.batches.iter().rev().find_map(|batch| Some((batch, batch.delta(sequence)?)));
            found.map(|(batch, delta)| (batch.base_offset + delta, batch.timestamp_ms))
        };
        let is_whole = known >= i64::from(header.offset_span());
        match (holding(first), holding(last)) {
            (Some((base_offset, timestamp_ms)), Some((last, _))) if is_whole => {
                Ok(Some(StoredAt { base_offset, timestamp_ms, end: last + 1 }))
            }
            _ => Err(LogError::StoredBefore { first_sequence: first, next_sequence: next }),
        }
    }

    /// Returns where the very same batch is stored.
    fn find_batch(&self, header: &BatchHeader) -> Option<StoredAt> {
        let wanted = FencedBatch::of(header, 0, 0);
        let found = self.batches.iter().find(|batch| {
            (batch.epoch, batch.first_sequence, batch.span, batch.checksum)
                == (wanted.epoch, wanted.first_sequence, wanted.span, wanted.checksum)
        })?;
        let (base_offset, timestamp_ms) = (found.base_offset, found.timestamp_ms);
        Some(StoredAt { base_offset, timestamp_ms, end: found.end() })
    }
}

/// Position of stored records that a batch repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredAt {
    pub(crate) base_offset: i64,
    pub(crate) timestamp_ms: i64,
    /// Offset after the last one of them.
    pub(crate) end: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Fences {
    known: HashMap<i64, FencedProducer>,
    /// Producers of the batches that were noted since the last [`Fences::settle`].
    unsettled: Vec<i64>,
    /// Producers whose state differs from that in the catalog.
    changed: HashSet<i64>,
    /// Start of the log when producers were last forgotten.
    pruned_at: i64,
}

impl Fences {
    /// Creates the table from the rows of the catalog.
    pub(crate) fn new(stored: Vec<(i64, FencedProducer)>) -> Self {
        Self { known: stored.into_iter().collect(), ..Self::default() }
    }

    /// Returns where the batch is stored already; None if it may be appended. `start` is the start of the log.
    pub(crate) fn check(&mut self, header: &BatchHeader, start: i64) -> Result<Option<StoredAt>, LogError> {
        let producer = header.producer;
        let Some(known) = self.known.get(&producer.id) else {
            return if self.has_room(start) {
                Ok(None)
            } else {
                Err(LogError::TooManyFenced { limit: PRODUCERS })
            };
        };
        let newest = known.batches.back().map_or(producer.epoch, |last| last.epoch);
        if producer_id::is_older(producer.epoch, newest) {
            return Err(LogError::Fenced { epoch: producer.epoch, newest });
        }
        if producer_id::is_task(producer.id) {
            return known.find_records(header);
        }
        Ok(known.find_batch(header))
    }

    fn has_room(&mut self, start: i64) -> bool {
        if self.known.len() >= PRODUCERS && start > self.pruned_at {
            self.pruned_at = start;
            let changed = &mut self.changed;
            self.known.retain(|id, known| {
                let stays = known.batches.back().is_some_and(|last| last.end() > start);
                if !stays {
                    changed.insert(*id);
                }
                stays
            });
        }
        self.known.len() < PRODUCERS
    }

    /// Records a batch that is about to be stored, until [`Fences::settle`] or [`Fences::undo`].
    pub(crate) fn note(&mut self, header: &BatchHeader, base_offset: i64, timestamp_ms: i64) {
        let id = header.producer.id;
        let batch = FencedBatch::of(header, base_offset, timestamp_ms);
        self.known.entry(id).or_default().batches.push_back(batch);
        self.unsettled.push(id);
        self.changed.insert(id);
    }

    /// Records a batch that recovery found; the rows of the catalog may hold it.
    pub(crate) fn note_found(&mut self, header: &BatchHeader, base_offset: i64, timestamp_ms: i64) {
        let newest = self.known.get(&header.producer.id).and_then(|known| known.batches.back());
        if newest.is_none_or(|newest| newest.base_offset < base_offset) {
            self.note(header, base_offset, timestamp_ms);
            self.settle();
        }
    }

    /// Keeps the batches that were noted since the last call, which are stored.
    pub(crate) fn settle(&mut self) {
        for id in self.unsettled.drain(..) {
            if let Some(known) = self.known.get_mut(&id) {
                let surplus = known.batches.len().saturating_sub(BATCHES);
                known.batches.drain(..surplus);
            }
        }
    }

    /// Forgets the batches that were noted since the last [`Fences::settle`], because their write failed.
    pub(crate) fn undo(&mut self, first_offset: i64) {
        for id in self.unsettled.drain(..) {
            if let Some(known) = self.known.get_mut(&id) {
                while known.batches.back().is_some_and(|last| last.base_offset >= first_offset) {
                    known.batches.pop_back();
                }
                if known.batches.is_empty() {
                    self.known.remove(&id);
                }
            }
        }
    }

    /// Returns the producers that changed since the last call, for the catalog; None for one that is forgotten.
    pub(crate) fn take_changed(&mut self) -> Vec<(i64, Option<FencedProducer>)> {
        self.changed.drain().map(|id| (id, self.known.get(&id).cloned())).collect()
    }

    /// Takes back changes that the catalog did not store.
    pub(crate) fn keep_changed(&mut self, ids: impl Iterator<Item = i64>) {
        self.changed.extend(ids);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use floe_wire::batch::{EncodedBatch, ProducerIdentity};

    use super::*;

    fn header(id: i64, epoch: i16, first_sequence: i32, records: i32) -> BatchHeader {
        let mut bytes = vec![0u8; 57];
        bytes[8..12].copy_from_slice(&45_i32.to_be_bytes());
        bytes[16] = 2;
        bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
        let mut header = *EncodedBatch::parse(Bytes::from(bytes)).unwrap().header();
        header.producer = ProducerIdentity { id, epoch, first_sequence };
        header
    }

    /// A table, and the end of the log whose batches it sees.
    #[derive(Default)]
    struct Log {
        fences: Fences,
        end: i64,
    }

    impl Log {
        /// Appends, and returns the offset, or the kind of refusal.
        fn append(&mut self, header: &BatchHeader) -> Result<i64, &'static str> {
            match self.fences.check(header, 0) {
                Ok(Some(stored)) => Ok(stored.base_offset),
                Ok(None) => {
                    self.fences.note(header, self.end, 0);
                    self.fences.settle();
                    self.end += i64::from(header.offset_span());
                    Ok(self.end - i64::from(header.offset_span()))
                }
                Err(LogError::Fenced { .. }) => Err("fenced"),
                Err(LogError::StoredBefore { .. }) => Err("stored before"),
                Err(LogError::TooManyFenced { .. }) => Err("too many"),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn task(number: u32) -> i64 {
        producer_id::task_id("p", "t", 0, number)
    }

    #[test]
    fn older_epochs_are_fenced_also_where_epochs_wrap() {
        let mut log = Log::default();
        for (sequence, lease) in
            [0_i64, 1, 16_000, 32_000, 32_767, 32_768, 40_000, 56_000, 65_536].iter().enumerate()
        {
            let epoch = producer_id::folded_epoch(*lease);
            assert_eq!(log.append(&header(task(0), epoch, sequence as i32, 1)), Ok(sequence as i64));
            if *lease > 0 {
                let older = producer_id::folded_epoch(lease - 1);
                assert_eq!(log.append(&header(task(0), older, sequence as i32 + 1, 1)), Err("fenced"));
            }
        }
        let token = producer_id::token_id("writer");
        assert_eq!(log.append(&header(token, 7, 0, 1)), Ok(9));
        assert_eq!(log.append(&header(token, 6, 0, 1)), Err("fenced"));
        assert_eq!(log.append(&header(token, 8, 0, 1)), Ok(10), "tokens count anew in each epoch");
        assert_eq!(log.append(&header(token, 8, 0, 1)), Ok(10), "the same batch");
        let mut other = header(token, 8, 0, 1);
        other.checksum ^= 1;
        assert_eq!(log.append(&other), Ok(11), "another batch with the same number");
    }

    #[test]
    fn records_of_a_task_are_found_by_their_sequences_however_they_are_cut() {
        let mut log = Log::default();
        let batch = |epoch, first, records| header(task(0), epoch, first, records);
        assert_eq!(log.append(&batch(1, i32::MAX - 1, 2)), Ok(0));
        assert_eq!(log.append(&header(task(1), 1, 0, 5)), Ok(2));
        assert_eq!(log.append(&batch(1, 0, 3)), Ok(7), "sequences wrap");
        let mut remade = batch(1, 0, 3);
        remade.checksum ^= 1;
        assert_eq!(log.append(&remade), Ok(7));
        assert_eq!(log.append(&batch(2, 1, 2)), Ok(8), "a successor repeats a part");
        let stored = log.fences.check(&batch(2, i32::MAX, 3), 0).unwrap().unwrap();
        assert_eq!((stored.base_offset, stored.end), (1, 9), "cut across two batches");
        assert_eq!(log.append(&batch(2, 2, 2)), Err("stored before"), "one of the records is new");
        for sequence in 3..39 {
            assert_eq!(log.append(&batch(2, sequence, 1)), Ok(i64::from(sequence) + 7));
        }
        assert_eq!(log.append(&batch(2, 0, 1)), Err("stored before"));
        assert_eq!(log.append(&batch(2, 25, 1)), Ok(32));
        assert_eq!(log.append(&batch(2, 50, 1)), Ok(46), "holes are for readers to report");
    }

    #[test]
    fn failed_write_leaves_the_table_as_it_was() {
        let mut log = Log::default();
        log.append(&header(task(0), 1, 0, 1)).unwrap();
        log.append(&header(producer_id::token_id("a"), 1, 0, 1)).unwrap();
        let before = log.fences.known.clone();
        for sequence in 1..100 {
            log.fences.note(&header(task(0), 2, sequence, 1), 1 + i64::from(sequence), 0);
        }
        log.fences.note(&header(producer_id::token_id("a"), 9, 0, 1), 101, 0);
        log.fences.note(&header(task(1), 9, 0, 1), 102, 0);
        log.fences.undo(2);
        assert_eq!(log.fences.known, before);
        assert_eq!(log.append(&header(task(0), 1, 1, 1)), Ok(2));
    }

    #[test]
    fn producer_is_forgotten_only_with_its_last_batch() {
        let mut log = Log::default();
        for number in 0..PRODUCERS as u32 {
            log.append(&header(task(number), 5, 0, 1)).unwrap();
        }
        log.fences.take_changed();
        let more = header(task(PRODUCERS as u32), 1, 0, 1);
        assert_eq!(log.append(&more), Err("too many"));
        assert_eq!(log.append(&header(task(3), 4, 1, 1)), Err("fenced"));
        assert!(matches!(log.fences.check(&more, 3), Ok(None)), "retention removed three batches");
        let forgotten = log.fences.take_changed();
        assert!(forgotten.len() == 3 && forgotten.iter().all(|(_, known)| known.is_none()), "{forgotten:?}");
        assert_eq!(log.append(&header(task(3), 4, 1, 1)), Err("fenced"), "the fourth batch is there");
    }
}
