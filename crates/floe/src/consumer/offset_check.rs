//! Checks that each batch of a partition follows the previous one.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
};

use floe_core::producer_id;
use floe_wire::{
    WireError,
    batch::{EncodedBatch, ProducerIdentity},
    compress::Decompressor,
};

use super::{
    checked_batch::{CheckedBatch, Found, OpenedBatch, ReceivedBatch, check_made},
    gap::{Gap, GapReason},
    task_filter::TaskFilter,
};
use crate::{Error, engine::Capabilities};

/// Producers whose batches are remembered, to detect duplicates on engines without offsets.
const MAX_PRODUCERS: usize = 1024;

/// Batches that are remembered for each producer.
const BATCHES_PER_PRODUCER: usize = 64;

/// Holes in the offsets that do not mean a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holes {
    /// A missing offset is a missing record.
    None,
    /// A module may have dropped records of a batch before it was stored.
    WithinBatches,
    /// Any offset may be missing.
    Anywhere,
    /// Modules process the records while they are read, and choose the offsets.
    Made,
}

impl Holes {
    /// Holes that a reader without SmartModules meets.
    pub(super) fn without_modules(capabilities: Capabilities) -> Self {
        if !capabilities.dense_offsets {
            Self::Anywhere
        } else if capabilities.sparse_batches {
            Self::WithinBatches
        } else {
            Self::None
        }
    }

    fn between_batches(self) -> bool {
        matches!(self, Self::Anywhere | Self::Made)
    }
}

/// Tracks the offsets of one partition.
#[derive(Debug)]
pub(super) struct OffsetCheck {
    /// Offset of the next record.
    expected: i64,
    /// Records from this offset on are not read.
    end: Option<i64>,
    holes: Holes,
    /// Present on engines without offsets, where batches are numbered as they arrive.
    duplicates: Option<DuplicateFilter>,
    /// Finds records of tasks that came before, on engines with offsets.
    tasks: TaskFilter,
    /// Duplicate records that were dropped since the last [`OffsetCheck::take_duplicates`].
    dropped: u64,
    /// Start of the last damaged batch, until an intact one follows: the end in its header may be wrong.
    damaged_from: Option<i64>,
    decompressor: Decompressor,
}

impl OffsetCheck {
    /// Checks a partition of an engine with offsets.
    pub(super) fn new(expected: i64, end: Option<i64>, holes: Holes) -> Self {
        let (tasks, decompressor) = (TaskFilter::default(), Decompressor::default());
        Self { expected, end, holes, duplicates: None, tasks, dropped: 0, damaged_from: None, decompressor }
    }

    /// Numbers the records of a partition of an engine without offsets.
    pub(super) fn numbering() -> Self {
        Self { duplicates: Some(DuplicateFilter::default()), ..Self::new(0, None, Holes::Anywhere) }
    }

    pub(super) fn expected(&self) -> i64 {
        self.expected
    }

    /// Offset at which reading ends.
    pub(super) fn end(&self) -> Option<i64> {
        self.end
    }

    /// Whether everything before the end has arrived.
    pub(super) fn is_complete(&self) -> bool {
        self.end.is_some_and(|end| self.expected >= end)
    }

    /// Continues at a later offset. Returns the gap, if there is one.
    pub(super) fn skip_to<B>(&mut self, offset: i64, reason: GapReason) -> Option<Found<B>> {
        let from = self.expected;
        self.expected = from.max(offset);
        self.damaged_from = None;
        self.gap(from, offset, reason)
    }

    /// Returns how many duplicate records were dropped since the last call.
    pub(super) fn take_duplicates(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// The decompressor, which reuses its memory for the next batches.
    pub(super) fn decompressor(&mut self) -> &mut Decompressor {
        &mut self.decompressor
    }

    /// Takes back a part of a gap that was too long.
    pub(super) fn return_to(&mut self, offset: i64) {
        self.expected = self.expected.min(offset);
    }

    /// Accepts the next batch. Returns its wanted records and the gaps around them, in the order of their offsets.
    pub(super) fn accept(&mut self, mut batch: EncodedBatch) -> Vec<Found<ReceivedBatch>> {
        let mut found = Vec::new();
        if let Some(duplicates) = &mut self.duplicates {
            if duplicates.is_duplicate(batch.header().producer) {
                self.dropped += u64::from(batch.header().offset_span());
                return found;
            }
            batch = batch.with_base_offset(self.expected);
        }
        let (base, next) = (batch.base_offset(), batch.next_offset());
        let floor = self.damaged_from.map_or(self.expected, |from| from.min(self.expected));
        if next <= floor || base < 0 {
            return found;
        }
        if base < self.expected {
            // After a damaged batch, an apparent duplicate is the true next batch.
            self.expected = base.max(floor);
        }
        if base > self.expected {
            let missing = self.skip_to(base, GapReason::Missing);
            found.extend(missing.filter(|_| !self.holes.between_batches()));
        }
        let opened = match OpenedBatch::open(&batch, &mut self.decompressor) {
            Ok(opened) => opened,
            // The checksum is correct, so the header is.
            Err(WireError::TooLarge { .. }) => {
                found.extend(self.skip_to(next, GapReason::TooLarge));
                return found;
            }
            Err(_) => {
                let from = self.expected;
                found.extend(self.skip_to(next, GapReason::Corrupt));
                self.damaged_from = Some(from);
                return found;
            }
        };
        self.damaged_from = None;
        if producer_id::is_task(batch.header().producer.id) && self.duplicates.is_none() {
            self.drop_known(&batch);
            if self.expected >= next {
                return found;
            }
        }
        if self.holes == Holes::None && opened.is_full() && self.wants_all(base..next) {
            self.expected = next;
            found.push(Found::Records(opened.whole()));
            return found;
        }
        let checked = self.check(&batch, &opened);
        found.extend(checked.into_iter().map(|found| match found {
            Found::Records(checked) => Found::Records(checked.into()),
            Found::Gap(from, to, reason) => Found::Gap(from, to, reason),
        }));
        found
    }

    /// Accepts a gap that the engine reports in place of a batch, and returns it as far as it is news; `None` for any other
    /// error, and for a gap that the position has passed already.
    pub(super) fn accept_gap<B>(&mut self, error: &Error) -> Option<Vec<Found<B>>> {
        let gap = Gap::of(error).filter(|gap| gap.to > self.expected)?;
        Some(self.skip_to(gap.to, gap.reason).into_iter().collect())
    }

    /// Passes over the records of a task that came before.
    fn drop_known(&mut self, batch: &EncodedBatch) {
        let behind = batch.base_offset() + self.tasks.note(batch.header());
        self.dropped += u64::try_from(behind - self.expected).unwrap_or(0);
        self.expected = self.expected.max(behind);
    }

    fn wants_all(&self, offsets: Range<i64>) -> bool {
        self.expected == offsets.start && self.end.is_none_or(|end| offsets.end <= end)
    }

    /// Checks the records between the expected offset and the end.
    fn check(&mut self, batch: &EncodedBatch, opened: &OpenedBatch) -> Vec<Found<CheckedBatch>> {
        let wanted = self.expected..self.end.unwrap_or(i64::MAX);
        if let Some(part) = opened.dense_part(&wanted) {
            self.expected = batch.next_offset();
            return part.map(Found::Records).into_iter().collect();
        }
        if self.holes != Holes::Made {
            let walk = opened.walk(wanted, self.holes == Holes::None);
            // Where modules work on batches before they are stored, such offsets may be theirs.
            if !walk.is_disordered || self.holes != Holes::WithinBatches {
                self.expected = walk.next;
                return walk.found;
            }
        }
        let next = batch.next_offset();
        let Ok((checked, is_complete)) = check_made(batch, self.expected, next) else {
            return self.skip_to(next, GapReason::Corrupt).into_iter().collect();
        };
        self.expected = next;
        let damage = if is_complete { None } else { self.gap(next - 1, next, GapReason::Corrupt) };
        checked.map(Found::Records).into_iter().chain(damage).collect()
    }

    fn gap<B>(&self, from: i64, to: i64, reason: GapReason) -> Option<Found<B>> {
        let to = self.end.map_or(to, |end| to.min(end));
        (from < to).then_some(Found::Gap(from, to, reason))
    }
}

/// Remembers the latest batches of the latest producers.
#[derive(Debug, Default)]
struct DuplicateFilter {
    seen: HashMap<(i64, i16), VecDeque<i32>>,
    /// Keys of `seen`, oldest first.
    order: VecDeque<(i64, i16)>,
}

impl DuplicateFilter {
    fn is_duplicate(&mut self, producer: ProducerIdentity) -> bool {
        if !producer.is_some() || producer.first_sequence < 0 {
            return false;
        }
        let key = (producer.id, producer.epoch);
        if !self.seen.contains_key(&key) {
            if self.order.len() == MAX_PRODUCERS
                && let Some(oldest) = self.order.pop_front()
            {
                self.seen.remove(&oldest);
            }
            self.order.push_back(key);
        }
        let sequences = self.seen.entry(key).or_default();
        if sequences.contains(&producer.first_sequence) {
            return true;
        }
        if sequences.len() == BATCHES_PER_PRODUCER {
            sequences.pop_front();
        }
        sequences.push_back(producer.first_sequence);
        false
    }
}
