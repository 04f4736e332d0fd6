//! Checks every batch of one partition: is it whole, and does it follow the one before?

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
};

use floe_wire::{
    batch::{EncodedBatch, MAX_SECTION_LEN, ProducerIdentity, Records, Renumbered},
    compress::Decompressor,
};

use super::{GapReason, message::Part};
use crate::engine::Capabilities;

/// Producers that are remembered to recognise repeats on engines without offsets.
const MAX_PRODUCERS: usize = 1024;

/// Batches that are remembered for each of them.
const BATCHES_PER_PRODUCER: usize = 64;

/// What became of a batch. A batch may give several: the records before a hole, the hole, the records after it.
#[derive(Debug)]
pub(super) enum Found {
    Records(Part),
    /// Offsets from the first up to the second should be there and are not.
    Gap(i64, i64, GapReason),
}

impl Found {
    /// Looks at the records of a batch, if nobody did: what is in it besides good records comes as gaps.
    ///
    /// This is left to the task that reads the records next, because walking through them is most of the work that can
    /// be shared: it brings them into the cache of the right processor, and leaves the fetch task time to read ahead.
    pub(super) fn settled(self) -> Vec<Self> {
        match self {
            Self::Records(part) if !part.is_checked && !part.records.is_dense() => {
                let mut found = Vec::new();
                let mut check = OffsetCheck::new(part.from, None, Holes::None);
                check.walk(&part.records, part.memory, part.next, &mut found);
                found
            }
            Self::Records(part) => vec![Self::Records(Part { is_checked: true, ..part })],
            gap @ Self::Gap(..) => vec![gap],
        }
    }
}

/// Holes in the offsets that are no loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holes {
    /// A missing offset is a missing record.
    None,
    /// A module may have dropped records of a batch before it was stored.
    WithinBatches,
    /// Offsets say nothing.
    Anywhere,
    /// Modules work on the records on their way here, and offsets are theirs.
    Made,
}

impl Holes {
    /// Those that a reader without SmartModules meets.
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

/// The offsets of one partition as they should come.
#[derive(Debug)]
pub(super) struct OffsetCheck {
    /// Offset of the next record.
    expected: i64,
    /// Records from here on are not handed out.
    end: Option<i64>,
    holes: Holes,
    /// Present on engines without offsets, where batches are numbered as they come.
    repeats: Option<Repeats>,
    /// Records dropped because they had come before, not asked for yet.
    repeated: u64,
    /// Where the last damaged batch began, while no good one followed: its header may have lied about where it ends.
    damaged_from: Option<i64>,
    decompressor: Decompressor,
}

impl OffsetCheck {
    /// For an engine with offsets.
    pub(super) fn new(expected: i64, end: Option<i64>, holes: Holes) -> Self {
        let decompressor = Decompressor::default();
        Self { expected, end, holes, repeats: None, repeated: 0, damaged_from: None, decompressor }
    }

    /// For an engine without offsets.
    pub(super) fn numbering() -> Self {
        Self { repeats: Some(Repeats::default()), ..Self::new(0, None, Holes::Anywhere) }
    }

    pub(super) fn expected(&self) -> i64 {
        self.expected
    }

    /// Offset at which reading ends, if it does.
    pub(super) fn end(&self) -> Option<i64> {
        self.end
    }

    /// Whether everything up to the end has come.
    pub(super) fn is_complete(&self) -> bool {
        self.end.is_some_and(|end| self.expected >= end)
    }

    /// Goes on at a later offset. Returns the gap, if there is one.
    pub(super) fn skip_to(&mut self, offset: i64, reason: GapReason) -> Option<Found> {
        let from = self.expected;
        self.expected = from.max(offset);
        self.damaged_from = None;
        self.gap(from, offset, reason)
    }

    /// How many records were dropped since the last call because they had come before.
    pub(super) fn take_repeats(&mut self) -> u64 {
        std::mem::take(&mut self.repeated)
    }

    /// Memory for the records of compressed batches that is kept for the next ones.
    pub(super) fn decompressor(&mut self) -> &mut Decompressor {
        &mut self.decompressor
    }

    /// Takes back a part of a gap that was too long.
    pub(super) fn return_to(&mut self, offset: i64) {
        self.expected = self.expected.min(offset);
    }

    /// Takes the next batch, and says what to hand out.
    pub(super) fn accept(&mut self, mut batch: EncodedBatch) -> Vec<Found> {
        let mut found = Vec::new();
        if let Some(repeats) = &mut self.repeats {
            if repeats.is_repeat(batch.header().producer) {
                self.repeated += u64::from(batch.header().offset_span());
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
            // After a damaged batch, what looks like a repeat is the true next batch.
            self.expected = base.max(floor);
        }
        if base > self.expected {
            let missing = self.skip_to(base, GapReason::Missing);
            found.extend(missing.filter(|_| !self.holes.between_batches()));
        }
        let records = batch.verify_checksum();
        let records = records.and_then(|()| batch.records_by(&mut self.decompressor, MAX_SECTION_LEN));
        let Ok(records) = records else {
            let from = self.expected;
            found.extend(self.skip_to(next, GapReason::Corrupt));
            self.damaged_from = Some(from);
            return found;
        };
        self.damaged_from = None;
        let memory = batch.len().max(records.section_len());
        let records_fill_the_batch = i64::from(records.record_count()) == next - base;
        if records_fill_the_batch && self.holes == Holes::None && self.wants_all(base..next) {
            self.expected = next;
            let count = records.record_count() as usize;
            let part = Part { from: base, next, count, memory, records, exact: true, is_checked: false };
            found.push(Found::Records(part));
            return found;
        }
        if records_fill_the_batch && records.is_dense() {
            self.take_whole(&records, memory, base..next, &mut found);
            return found;
        }
        if self.holes == Holes::Made || !self.walk(&records, memory, next, &mut found) {
            self.take_made(&batch, next, &mut found);
        }
        found
    }

    fn wants_all(&self, offsets: Range<i64>) -> bool {
        self.expected == offsets.start && self.end.is_none_or(|end| offsets.end <= end)
    }

    /// Takes what lies between the expected offset and the end of a batch without holes.
    fn take_whole(
        &mut self,
        records: &Records,
        mut memory: usize,
        offsets: Range<i64>,
        found: &mut Vec<Found>,
    ) {
        let from = self.expected.max(offsets.start);
        let to = self.end.map_or(offsets.end, |end| end.min(offsets.end));
        let skip = usize::try_from(from - offsets.start).unwrap_or(usize::MAX);
        let count = usize::try_from(to - from).unwrap_or(0);
        Run { from, skip, count }.close(records, to, &mut memory, found);
        self.expected = offsets.end;
    }

    /// Finds the runs of good records that lie between the expected offset and the end. False, and nothing was done, for
    /// records that a server with modules numbered.
    fn walk(&mut self, records: &Records, memory: usize, next: i64, found: &mut Vec<Found>) -> bool {
        let before = found.len();
        let end = self.end.unwrap_or(i64::MAX);
        let mut run = Run { from: self.expected, skip: 0, count: 0 };
        let mut wanted = self.expected;
        let mut last = i64::MIN;
        let mut damaged = false;
        let mut memory = memory;
        for record in records.borrowed() {
            let Ok(record) = record else {
                damaged = true;
                break;
            };
            let offset = record.offset;
            if offset <= last || offset >= next {
                damaged = true;
                break;
            }
            last = offset;
            if offset >= end {
                break;
            }
            if offset < wanted {
                run.skip += 1;
                continue;
            }
            if offset > wanted && self.holes == Holes::None {
                run.close(records, wanted, &mut memory, found);
                found.extend(self.gap(wanted, offset, GapReason::Missing));
                run = Run { from: offset, skip: run.skip + run.count, count: 0 };
            }
            if run.count == 0 {
                run.from = offset;
            }
            run.count += 1;
            wanted = offset + 1;
        }
        if damaged && self.holes == Holes::WithinBatches {
            found.truncate(before);
            return false;
        }
        if damaged || self.holes == Holes::None {
            run.close(records, wanted, &mut memory, found);
            let reason = if damaged { GapReason::Corrupt } else { GapReason::Missing };
            found.extend(self.gap(wanted, next, reason));
        } else {
            run.close(records, next, &mut memory, found);
        }
        self.expected = next.max(wanted);
        true
    }

    /// Takes a batch that modules made. Its checksum is right, so whatever its offsets are, these are its records.
    fn take_made(&mut self, batch: &EncodedBatch, next: i64, found: &mut Vec<Found>) {
        let from = self.expected;
        let Ok(Renumbered { mut records, count, exact }) = batch.renumbered() else {
            found.extend(self.skip_to(next, GapReason::Corrupt));
            return;
        };
        let memory = batch.len().max(records.section_len());
        let claimed = batch.records().map_or(0, |records| records.record_count());
        // Only the first batch that went into it can reach below what was asked for.
        let before = |record: Option<i64>| record.is_some_and(|offset| offset < from);
        let skip = records.borrowed().take(exact);
        let skip = skip.take_while(|record| before(record.as_ref().ok().map(|record| record.offset))).count();
        for _ in 0..skip {
            records.next();
        }
        self.expected = next;
        if count > skip {
            let count = count - skip;
            found.push(Found::Records(Part {
                from,
                next,
                count,
                memory,
                records,
                exact: false,
                is_checked: true,
            }));
        }
        if u32::try_from(count).is_ok_and(|count| count < claimed) {
            found.extend(self.gap(next - 1, next, GapReason::Corrupt));
        }
    }

    fn gap(&self, from: i64, to: i64, reason: GapReason) -> Option<Found> {
        let to = self.end.map_or(to, |end| to.min(end));
        (from < to).then_some(Found::Gap(from, to, reason))
    }
}

/// Consecutive records of a batch.
#[derive(Debug)]
struct Run {
    from: i64,
    /// Records of the batch before it.
    skip: usize,
    count: usize,
}

impl Run {
    fn close(&self, records: &Records, next: i64, memory: &mut usize, found: &mut Vec<Found>) {
        if self.count == 0 {
            return;
        }
        let mut records = records.clone();
        for _ in 0..self.skip {
            records.next();
        }
        // The runs of a batch share its memory, which is counted once.
        let memory = std::mem::take(memory);
        found.push(Found::Records(Part {
            from: self.from,
            next,
            count: self.count,
            memory,
            records,
            exact: true,
            is_checked: true,
        }));
    }
}

/// The latest batches of the latest producers.
#[derive(Debug, Default)]
struct Repeats {
    seen: HashMap<(i64, i16), VecDeque<i32>>,
    /// Keys of `seen`, oldest first.
    order: VecDeque<(i64, i16)>,
}

impl Repeats {
    fn is_repeat(&mut self, producer: ProducerIdentity) -> bool {
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
