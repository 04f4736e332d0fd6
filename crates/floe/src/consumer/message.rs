//! What a consumer hands out: single records, and whole batches.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use floe_wire::batch::{BorrowedRecord, Headers, RecordView, Records};

use super::{
    ack_tracker::{AckGroup, AckTracker},
    offset_check::Found,
};
use crate::{telemetry::TraceContext, topic::Topic};

/// One record of a topic. Key, value and headers are slices of the batch that was received; keeping a message keeps its
/// batch in memory.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Message<V = Bytes> {
    /// The topic it came from.
    pub topic: Topic,
    /// The partition it came from.
    pub partition: u32,
    /// Its offset in the partition. Engines without offsets: its number in this stream, from 0.
    pub offset: i64,
    /// Milliseconds since the Unix epoch, where the record has a time.
    pub timestamp: Option<i64>,
    /// The key, if it has one; may be empty.
    pub key: Option<Bytes>,
    /// The payload.
    pub value: V,
    /// Names and values that came with the record.
    pub headers: Headers,
    acknowledgement: Option<Acknowledgement>,
}

impl Message {
    /// A record without an acknowledgement, for code of this crate that reads batches.
    pub(crate) fn of_record(topic: Topic, partition: u32, record: RecordView) -> Self {
        Self::new(topic, partition, record, None)
    }
}

impl<V> Message<V> {
    #[inline]
    pub(super) fn new(
        topic: Topic,
        partition: u32,
        record: RecordView<V>,
        acknowledgement: Option<Acknowledgement>,
    ) -> Self {
        let RecordView { offset, timestamp, key, value, headers } = record;
        Self { topic, partition, offset, timestamp, key, value, headers, acknowledgement }
    }

    /// The same message with another value, such as a decoded one.
    #[must_use]
    #[inline]
    pub fn map<T>(self, change: impl FnOnce(V) -> T) -> Message<T> {
        let Self { topic, partition, offset, timestamp, key, value, headers, acknowledgement } = self;
        let value = change(value);
        Message { topic, partition, offset, timestamp, key, value, headers, acknowledgement }
    }

    /// The value, and the message without it.
    #[inline]
    pub(crate) fn split(self) -> (Message<()>, V) {
        let Self { topic, partition, offset, timestamp, key, value, headers, acknowledgement } = self;
        (Message { topic, partition, offset, timestamp, key, value: (), headers, acknowledgement }, value)
    }

    /// The trace and the span in which the record was made, if its headers tell.
    #[must_use]
    pub fn trace_context(&self) -> Option<TraceContext> {
        TraceContext::from_headers(self.headers.borrowed())
    }

    /// The span context and the baggage that came with the record, for OpenTelemetry: attach it, or make it the parent
    /// or a link of a span. [`Telemetry::process`](crate::telemetry::Telemetry::process) does that.
    #[cfg(feature = "telemetry")]
    #[must_use]
    pub fn context(&self) -> opentelemetry::Context {
        crate::telemetry::extract(self.headers.borrowed())
    }

    /// What [`Message::ack`] does, without the message.
    pub(crate) fn receipt(&self) -> Receipt {
        Receipt { acknowledgement: self.acknowledgement.clone(), offset: self.offset }
    }

    /// Marks the record as finished, for [`AckMode::Explicit`](super::AckMode::Explicit). Messages may be acknowledged in any
    /// order, from any task, more than once; stored offsets follow the oldest that is not. Does nothing where records
    /// finish otherwise, and after a seek of the partition.
    pub fn ack(&self) {
        if let Some(acknowledgement) = &self.acknowledgement {
            acknowledgement.give_one(self.offset);
        }
    }
}

/// Acknowledges one record.
pub(crate) struct Receipt {
    acknowledgement: Option<Acknowledgement>,
    offset: i64,
}

impl Receipt {
    /// As [`Message::ack`].
    pub(crate) fn ack(&self) {
        if let Some(acknowledgement) = &self.acknowledgement {
            acknowledgement.give_one(self.offset);
        }
    }
}

/// Where an acknowledgement goes.
#[derive(Clone)]
pub(super) struct Acknowledgement {
    pub(super) acks: Arc<AckTracker>,
    pub(super) generation: u64,
    /// Set where records have a place only together, with the number of this one among them.
    pub(super) together: Option<(Arc<AckGroup>, i64)>,
}

impl Acknowledgement {
    fn give_one(&self, offset: i64) {
        match &self.together {
            None => self.give(offset, offset.saturating_add(1)),
            Some((together, index)) => {
                if let Some((from, next)) = together.acknowledge(*index) {
                    self.give(from, next);
                }
            }
        }
    }

    fn give(&self, from: i64, to: i64) {
        self.acks.acknowledge(self.generation, from, to);
    }
}

impl fmt::Debug for Acknowledgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acknowledgement")
    }
}

/// Consecutive records of one partition, as they were stored together. Every record in it was checked to be readable.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RecordBatch {
    /// The topic it came from.
    pub topic: Topic,
    /// The partition it came from.
    pub partition: u32,
    from: i64,
    next: i64,
    count: usize,
    memory: usize,
    records: Records,
    /// Set where the offsets of the records are not those under which they are stored.
    together: Option<Arc<AckGroup>>,
    /// Records taken out.
    taken: i64,
    is_checked: bool,
    acknowledgement: Option<Acknowledgement>,
}

/// The part of a received batch that is handed out.
#[derive(Debug)]
pub(super) struct Part {
    /// Offset of the first record.
    pub(super) from: i64,
    /// Offset at which reading goes on after it.
    pub(super) next: i64,
    /// Records to hand out.
    pub(super) count: usize,
    /// Bytes that it keeps in memory.
    pub(super) memory: usize,
    /// Stands at the first of them; once checked, all of them decode.
    pub(super) records: Records,
    /// The offsets are those under which the records are stored. Otherwise only the part as a whole has a place: nothing
    /// of it is finished before all of it is.
    pub(super) exact: bool,
    /// Somebody looked whether the records are what the header says. Only whole batches are left to be looked at.
    pub(super) is_checked: bool,
}

impl RecordBatch {
    pub(super) fn new(topic: Topic, partition: u32, part: Part) -> Self {
        let Part { from, next, count, memory, records, exact, is_checked } = part;
        let together = (!exact).then(|| Arc::new(AckGroup::new(from, next, count)));
        Self {
            topic,
            partition,
            from,
            next,
            count,
            memory,
            records,
            together,
            taken: 0,
            is_checked,
            acknowledgement: None,
        }
    }

    /// The batch, once it is known that its records are what its header says; otherwise what is in it instead.
    pub(super) fn settled(mut self) -> Result<Self, Vec<Found>> {
        self.is_checked = self.is_checked || self.records.is_dense();
        if self.is_checked {
            return Ok(self);
        }
        let Self { from, next, count, memory, records, .. } = self;
        let part = Part { from, next, count, memory, records, exact: true, is_checked: false };
        Err(Found::Records(part).settled())
    }

    /// Offset of the first record.
    #[must_use]
    pub fn first_offset(&self) -> i64 {
        self.from
    }

    /// Offset at which reading goes on after this batch.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.next
    }

    /// How many records it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has no records. Batches handed out always have some.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes that the batch keeps in memory, uncompressed.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// The records; keys and values are slices of the batch.
    pub fn records(&self) -> impl Iterator<Item = RecordView> + use<> {
        self.records.clone().take(self.count).map_while(Result::ok)
    }

    /// The records, borrowed: the fastest way to read them, because no reference count is touched.
    pub fn borrowed(&self) -> impl Iterator<Item = BorrowedRecord<'_>> {
        self.records.borrowed().take(self.count).map_while(Result::ok)
    }

    /// Offset of the first record of the batch that it is a part of.
    pub(crate) fn base_offset(&self) -> i64 {
        self.records.base_offset()
    }

    /// Whether it is all that was stored together.
    pub(crate) fn is_whole(&self) -> bool {
        let all = u32::try_from(self.count).is_ok_and(|count| count == self.records.record_count());
        all && self.together.is_none() && self.taken == 0
    }

    /// Bytes of the records of the batch that it is a part of, uncompressed.
    pub(crate) fn section_len(&self) -> usize {
        self.records.section_len()
    }

    /// Whether any of its records may have headers.
    pub(crate) fn has_headers(&self) -> bool {
        self.records.trailer_state() != floe_wire::batch::TrailerState::Absent
    }

    /// Marks all its records as finished; see [`Message::ack`].
    pub fn ack(&self) {
        if let Some(acknowledgement) = &self.acknowledgement {
            acknowledgement.give(self.from, self.next);
        }
    }

    /// Takes the next record out, with what `make` makes of its value; see [`Records::next_as`].
    #[inline]
    pub(super) fn pop_as<T>(&mut self, make: impl FnOnce(&[u8], &Bytes) -> T) -> Option<RecordView<T>> {
        if self.count == 0 {
            return None;
        }
        let record = self.records.next_as(make)?.ok()?;
        self.count -= 1;
        self.taken += 1;
        if self.together.is_none() {
            self.from = record.offset + 1;
        }
        Some(record)
    }

    /// The offsets that are finished when the record taken last is, which has this one, and those before it.
    #[inline]
    pub(super) fn finished_with(&self, offset: i64) -> (i64, i64) {
        match (&self.together, self.count) {
            // Offsets that the batch occupies without records end with its last record.
            (None, 0) => (offset, self.next),
            (None, _) => (offset, offset + 1),
            (Some(_), 0) => (self.from, self.next),
            (Some(_), _) => (self.from, self.from),
        }
    }

    /// What an acknowledgement of the record taken last needs besides its offset.
    #[inline]
    pub(super) fn place(&self) -> Option<(Arc<AckGroup>, i64)> {
        self.together.as_ref().map(|together| (Arc::clone(together), self.taken - 1))
    }

    pub(super) fn with_acknowledgement(mut self, acknowledgement: Option<Acknowledgement>) -> Self {
        self.acknowledgement = acknowledgement;
        self
    }
}
