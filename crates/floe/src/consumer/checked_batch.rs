//! Checks received batches. A [`CheckedBatch`] is made nowhere else.
//!
//! [`OpenedBatch::open`] verifies the checksum and decompresses the records, to at most [`MAX_SECTION_LEN`] bytes. A walk
//! over the records then verifies that each decodes, that their offsets ascend within the span of the batch, and that the
//! header gives their number; what does not is a gap. For a batch that is wanted as a whole, the walk waits for [`ReceivedBatch::check`] in the task
//! that reads the records next: it brings them into the cache of that processor, and the fetch task has time to read ahead.

use std::ops::Range;

use bytes::Bytes;
use floe_core::invariant;
use floe_wire::{
    WireError,
    batch::{BorrowedRecord, EncodedBatch, MAX_SECTION_LEN, RecordView, Records, Renumbered},
    compress::{Codec, Decompressor},
};

use super::gap::GapReason;

/// Consecutive records of one batch, all of which are readable.
#[derive(Debug, Clone)]
pub(super) struct CheckedBatch {
    from: i64,
    next: i64,
    count: usize,
    memory: usize,
    /// Positioned at the first record.
    records: Records,
    exact: bool,
    /// The batch as the engine stores it, if it was asked for and all of its records are here.
    stored: Option<Box<EncodedBatch>>,
}

impl CheckedBatch {
    /// Offset of the first record.
    #[inline]
    pub(super) fn first_offset(&self) -> i64 {
        self.from
    }

    /// Offset at which reading continues after the batch.
    #[inline]
    pub(super) fn next_offset(&self) -> i64 {
        self.next
    }

    /// Number of records.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Bytes that the batch keeps in memory. Parts of one batch share its memory, which the first of them counts.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Whether the records have the offsets under which they are stored. Otherwise only the batch as a whole has a position,
    /// which advances after all its records are finished.
    #[inline]
    pub(super) fn is_exact(&self) -> bool {
        self.exact
    }

    /// The batch as the engine stores it.
    pub(super) fn stored(&self) -> Option<&EncodedBatch> {
        self.stored.as_deref()
    }

    /// The unread records of the received batch, which may go on after the last checked one.
    pub(super) fn source(&self) -> &Records {
        &self.records
    }

    pub(super) fn records(&self) -> impl Iterator<Item = RecordView> + use<> {
        self.records.clone().take(self.count).map_while(readable)
    }

    pub(super) fn borrowed(&self) -> impl Iterator<Item = BorrowedRecord<'_>> {
        self.records.borrowed().take(self.count).map_while(readable)
    }

    /// Removes the first record and returns it with the result of `make` as its value; see [`Records::next_as`].
    #[inline]
    pub(super) fn pop_as<T>(&mut self, make: impl FnOnce(&[u8], &Bytes) -> T) -> Option<RecordView<T>> {
        if self.count == 0 {
            return None;
        }
        let record = readable(self.records.next_as(make)?)?;
        self.count -= 1;
        if self.exact {
            self.from = record.offset + 1;
        }
        Some(record)
    }
}

/// The outcomes part at once, and the cold one returns nothing: otherwise the compiler copies each record once more.
#[inline]
fn readable<R>(record: Result<R, WireError>) -> Option<R> {
    match record {
        Ok(record) => Some(record),
        Err(_) => {
            tell_unreadable();
            None
        }
    }
}

#[cold]
#[inline(never)]
fn tell_unreadable() {
    invariant!(false, "the records of a checked batch decode");
}

/// Result of a check: readable records, or offsets from the first up to the second that have none.
#[derive(Debug)]
pub(super) enum Found<B> {
    Records(B),
    Gap(i64, i64, GapReason),
}

impl Found<ReceivedBatch> {
    /// Completes the check.
    pub(super) fn check(self) -> Vec<Found<CheckedBatch>> {
        match self {
            Self::Records(batch) => {
                batch.check().map_or_else(|found| found, |whole| vec![Found::Records(whole)])
            }
            Self::Gap(from, to, reason) => vec![Found::Gap(from, to, reason)],
        }
    }
}

/// A batch on its way to the consumer, which may still have to be walked.
#[derive(Debug)]
pub(super) struct ReceivedBatch {
    batch: CheckedBatch,
    is_walked: bool,
}

impl From<CheckedBatch> for ReceivedBatch {
    fn from(batch: CheckedBatch) -> Self {
        Self { batch, is_walked: true }
    }
}

impl ReceivedBatch {
    /// Number of records by the header.
    pub(super) fn len(&self) -> usize {
        self.batch.count
    }

    /// Bytes that the batch keeps in memory.
    pub(super) fn memory(&self) -> usize {
        self.batch.memory
    }

    /// Keeps the stored batch, unless its records are here only in part. Compressed, it takes memory of its own.
    pub(super) fn keep(&mut self, stored: &EncodedBatch) {
        let (batch, header) = (&mut self.batch, stored.header());
        let offsets = (stored.base_offset(), stored.next_offset());
        let is_all = (batch.from, batch.next) == offsets && batch.count == header.offset_span() as usize;
        if is_all && batch.exact {
            if header.attributes.codec() != Ok(Codec::None) {
                batch.memory += stored.len();
            }
            batch.stored = Some(Box::new(stored.clone()));
        }
    }

    /// Completes the check. Returns the batch, or its readable parts and gaps where the records differ from the header.
    pub(super) fn check(self) -> Result<CheckedBatch, Vec<Found<CheckedBatch>>> {
        let Self { batch, is_walked } = self;
        if is_walked || batch.records.is_dense() {
            return Ok(batch);
        }
        // The batch as a whole is of no use where its records have to be chosen.
        let CheckedBatch { from, next, memory, records, .. } = batch;
        Err(walk(&records, memory, from..i64::MAX, next, true).found)
    }

    /// Value of the last record of a batch that a module made, which is walked at once.
    pub(super) fn last_value(&self) -> Option<Bytes> {
        invariant!(self.is_walked, "batches of modules are walked when they arrive");
        self.batch.records().last().map(|record| record.value)
    }
}

/// A batch with a correct checksum, decompressed.
#[derive(Debug)]
pub(super) struct OpenedBatch {
    records: Records,
    memory: usize,
    /// Its span by the header.
    offsets: Range<i64>,
}

impl OpenedBatch {
    /// Verifies the checksum and decompresses the records.
    pub(super) fn open(batch: &EncodedBatch, decompressor: &mut Decompressor) -> Result<Self, WireError> {
        batch.verify_checksum()?;
        let records = batch.records_by(decompressor, MAX_SECTION_LEN)?;
        let memory = batch.len().max(records.section_len());
        Ok(Self { records, memory, offsets: batch.base_offset()..batch.next_offset() })
    }

    /// Whether the header gives one record for each offset of the span.
    pub(super) fn is_full(&self) -> bool {
        i64::from(self.records.record_count()) == self.offsets.end - self.offsets.start
    }

    /// The whole of a full batch, to be walked later.
    pub(super) fn whole(self) -> ReceivedBatch {
        let Self { records, memory, offsets } = self;
        let (from, next, count) = (offsets.start, offsets.end, records.record_count() as usize);
        let batch = CheckedBatch { from, next, count, memory, records, exact: true, stored: None };
        ReceivedBatch { batch, is_walked: false }
    }

    /// The records in `wanted`, where the batch has a readable record for each of its offsets; `Some(None)` if `wanted` has
    /// none of them.
    pub(super) fn dense_part(&self, wanted: &Range<i64>) -> Option<Option<CheckedBatch>> {
        if !self.is_full() || !self.records.is_dense() {
            return None;
        }
        let from = wanted.start.max(self.offsets.start);
        let next = wanted.end.min(self.offsets.end);
        let skip = usize::try_from(from - self.offsets.start).unwrap_or(usize::MAX);
        let count = usize::try_from(next - from).unwrap_or(0);
        let mut memory = self.memory;
        Some(Run { from, skip, count }.close(&self.records, next, &mut memory))
    }

    /// Walks over the records; see [`walk`].
    pub(super) fn walk(&self, wanted: Range<i64>, dense: bool) -> Walk {
        walk(&self.records, self.memory, wanted, self.offsets.end, dense)
    }
}

/// Outcome of a walk over the records of a batch.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) found: Vec<Found<CheckedBatch>>,
    /// Offset at which reading continues.
    pub(super) next: i64,
    /// Whether a record has an offset that does not ascend or lies beyond the span.
    pub(super) is_disordered: bool,
}

/// Finds the runs of readable records in `wanted` in a batch that ends before `next`. With `dense` missing offsets are gaps.
/// Offsets of records that do not decode, or have no offset in the span, are gaps always.
fn walk(records: &Records, mut memory: usize, wanted: Range<i64>, next: i64, dense: bool) -> Walk {
    let mut found = Vec::new();
    let gap = |from: i64, to: i64, is_corrupt: bool| {
        let to = to.min(wanted.end);
        let reason = if is_corrupt { GapReason::Corrupt } else { GapReason::Missing };
        (from < to && (is_corrupt || dense)).then_some(Found::Gap(from, to, reason))
    };
    let mut run = Run { from: wanted.start, skip: 0, count: 0 };
    let mut expected = wanted.start;
    let mut last = i64::MIN;
    let (mut is_corrupt, mut is_disordered) = (false, false);
    for record in records.borrowed() {
        let offset = record.map(|record| record.offset).ok();
        let Some(offset) = offset.filter(|offset| *offset > last && *offset < next) else {
            is_disordered |= offset.is_some();
            is_corrupt = true;
            found.extend(run.close(records, expected, &mut memory).map(Found::Records));
            run = Run { from: expected, skip: run.skip + run.count + 1, count: 0 };
            continue;
        };
        last = offset;
        if offset >= wanted.end {
            break;
        }
        if offset < expected {
            run.skip += 1;
            // The record that does not decode lies before the wanted ones.
            is_corrupt = false;
            continue;
        }
        if offset > expected && (dense || is_corrupt) {
            found.extend(run.close(records, expected, &mut memory).map(Found::Records));
            found.extend(gap(expected, offset, is_corrupt));
            run = Run { from: offset, skip: run.skip + run.count, count: 0 };
        }
        is_corrupt = false;
        if run.count == 0 {
            run.from = offset;
        }
        run.count += 1;
        expected = offset + 1;
    }
    let end = if is_corrupt || dense { expected } else { next };
    found.extend(run.close(records, end, &mut memory).map(Found::Records));
    found.extend(gap(expected, next, is_corrupt));
    Walk { found, next: next.max(expected), is_disordered }
}

/// Checks a batch that modules made. The checksum is correct, so that its records are valid whatever their offsets are.
/// Returns the records from `from` on, and whether all records of the batch are readable.
pub(super) fn check_made(
    batch: &EncodedBatch,
    from: i64,
    next: i64,
) -> Result<(Option<CheckedBatch>, bool), WireError> {
    let Renumbered { mut records, count, exact } = batch.renumbered()?;
    let memory = batch.len().max(records.section_len());
    let claimed = batch.records().map_or(0, |records| records.record_count());
    // Only the first batch that went into it can reach below the requested offset.
    let is_before = |record: &Result<BorrowedRecord<'_>, WireError>| {
        record.as_ref().is_ok_and(|record| record.offset < from)
    };
    let skip = records.borrowed().take(exact).take_while(is_before).count();
    for _ in 0..skip {
        records.next();
    }
    let checked = (count > skip).then_some(CheckedBatch {
        from,
        next,
        count: count.saturating_sub(skip),
        memory,
        records,
        exact: false,
        stored: None,
    });
    Ok((checked, u32::try_from(count).map_or(true, |count| count >= claimed)))
}

/// Consecutive records of a batch.
#[derive(Debug)]
struct Run {
    from: i64,
    /// Records of the batch before the run.
    skip: usize,
    count: usize,
}

impl Run {
    fn close(&self, records: &Records, next: i64, memory: &mut usize) -> Option<CheckedBatch> {
        if self.count == 0 {
            return None;
        }
        let mut records = records.clone();
        for _ in 0..self.skip {
            records.next();
        }
        let (from, count, memory) = (self.from, self.count, std::mem::take(memory));
        Some(CheckedBatch { from, next, count, memory, records, exact: true, stored: None })
    }
}
