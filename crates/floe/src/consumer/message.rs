//! Results of reading: single records, and whole batches.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use floe_wire::batch::{BorrowedRecord, Headers, RecordView};

use super::{
    ack_tracker::{AckGroup, AckTracker},
    checked_batch::CheckedBatch,
    task_lease::TaskLease,
};
use crate::{
    Record,
    engine::EncodedBatch,
    telemetry::TraceContext,
    topic::{Topic, TopicPartition},
};

/// One record of a topic. Key, value and headers are slices of the received batch: a message keeps its batch in memory.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Message<V = Bytes> {
    /// The topic of the record.
    pub topic: Topic,
    /// The partition of the record.
    pub partition: u32,
    /// The offset of the record in its partition. On engines without offsets the number of the record in this consumer,
    /// from 0.
    pub offset: i64,
    /// Milliseconds since the Unix epoch, if the record has a time.
    pub timestamp: Option<i64>,
    /// The key, if the record has one; may be empty.
    pub key: Option<Bytes>,
    /// The payload.
    pub value: V,
    /// Names and values that belong to the record.
    pub headers: Headers,
    acknowledgement: Option<Acknowledgement>,
}

impl Message {
    /// Returns a record without an acknowledgement, for code of this crate that reads batches.
    pub(crate) fn of_record(topic: Topic, partition: u32, record: RecordView) -> Self {
        Self::new(topic, partition, record, None)
    }

    /// Returns a record with the contents of the message and those headers whose names `keep` accepts. The producer that
    /// sends it chooses the partition.
    pub(crate) fn to_record(&self, keep: impl Fn(&str) -> bool) -> Record {
        let headers = self.headers.iter().filter(|(name, _)| keep(name));
        Record {
            key: self.key.clone(),
            value: self.value.clone(),
            headers: headers.map(|(name, value)| (name.to_owned(), Bytes::copy_from_slice(value))).collect(),
            timestamp: self.timestamp,
            partition: None,
        }
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

    /// Returns the message with another value, such as a decoded one.
    #[must_use]
    #[inline]
    pub fn map<T>(self, change: impl FnOnce(V) -> T) -> Message<T> {
        let Self { topic, partition, offset, timestamp, key, value, headers, acknowledgement } = self;
        let value = change(value);
        Message { topic, partition, offset, timestamp, key, value, headers, acknowledgement }
    }

    /// Returns the trace and the span in which the record was produced, if its headers hold them.
    #[must_use]
    pub fn trace_context(&self) -> Option<TraceContext> {
        TraceContext::from_headers(self.headers.borrowed())
    }

    /// Returns the span context and the baggage of the record for OpenTelemetry. The application attaches it, or makes it
    /// the parent or a link of a span, as [`Telemetry::process`](crate::telemetry::Telemetry::process) does.
    #[cfg(feature = "telemetry")]
    #[must_use]
    pub fn context(&self) -> opentelemetry::Context {
        crate::telemetry::extract(self.headers.borrowed())
    }

    /// Returns a handle that acknowledges the record without the message.
    pub(crate) fn receipt(&self) -> Receipt {
        Receipt { acknowledgement: self.acknowledgement.clone(), offset: self.offset }
    }

    /// Returns the lease under which the record was read, with [`AckMode::Explicit`](super::AckMode::Explicit).
    pub(crate) fn task_lease(&self) -> Option<TaskLease> {
        let acknowledgement = self.acknowledgement.as_ref()?;
        Some(TaskLease::new(self.partition, Arc::clone(&acknowledgement.acks)))
    }

    /// Marks the record as finished, for [`AckMode::Explicit`](super::AckMode::Explicit). Acknowledging is idempotent and
    /// possible in any order and from any task; stored offsets follow the oldest record that is not acknowledged. Has no
    /// effect with [`AckMode::Auto`](super::AckMode::Auto), and after a seek of the partition.
    pub fn ack(&self) {
        if let Some(acknowledgement) = &self.acknowledgement {
            acknowledgement.acknowledge_one(self.offset);
        }
    }
}

impl<V, F> Message<Result<V, F>> {
    /// Returns the message with its decoded value, or the message without a value and the failure.
    #[inline]
    pub(super) fn transpose(self) -> Result<Message<V>, Box<(Message<()>, F)>> {
        let Self { topic, partition, offset, timestamp, key, value, headers, acknowledgement } = self;
        match value {
            Ok(value) => {
                Ok(Message { topic, partition, offset, timestamp, key, value, headers, acknowledgement })
            }
            Err(failure) => {
                let value = ();
                let message =
                    Message { topic, partition, offset, timestamp, key, value, headers, acknowledgement };
                Err(Box::new((message, failure)))
            }
        }
    }
}

/// Acknowledges one record, and tells when that has become void.
pub(crate) struct Receipt {
    acknowledgement: Option<Acknowledgement>,
    offset: i64,
}

impl Receipt {
    /// As [`Message::ack`].
    pub(crate) fn ack(&self) {
        if let Some(acknowledgement) = &self.acknowledgement {
            acknowledgement.acknowledge_one(self.offset);
        }
    }

    /// Whether another member of a shared group may have the record.
    pub(crate) fn is_lost(&self) -> bool {
        self.acknowledgement.as_ref().is_some_and(|acknowledgement| acknowledgement.acks.is_lost())
    }

    /// Runs `work`, the handling of the record, and drops it once another member of a shared group may have the record: `None`.
    pub(crate) async fn while_held<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let Some(acknowledgement) = &self.acknowledgement else { return Some(work.await) };
        tokio::select! {
            biased;
            outcome = work => Some(outcome),
            () = acknowledgement.acks.lost() => None,
        }
    }
}

/// Target of an acknowledgement.
#[derive(Clone)]
pub(super) struct Acknowledgement {
    pub(super) acks: Arc<AckTracker>,
    pub(super) generation: u64,
    /// Set where only the batch as a whole has a position, with the number of the record in it.
    pub(super) group: Option<(Arc<AckGroup>, i64)>,
}

impl Acknowledgement {
    fn acknowledge_one(&self, offset: i64) {
        self.acks.history().finished(offset);
        match &self.group {
            None => self.acknowledge(offset, offset.saturating_add(1)),
            Some((group, index)) => {
                if let Some((from, next)) = group.acknowledge(*index) {
                    self.acknowledge(from, next);
                }
            }
        }
    }

    fn acknowledge(&self, from: i64, to: i64) {
        self.acks.acknowledge(self.generation, from, to);
    }
}

impl fmt::Debug for Acknowledgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acknowledgement")
    }
}

/// Consecutive records of one partition that were stored together. All of them were checked to be readable.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RecordBatch {
    /// The topic of the batch.
    pub topic: Topic,
    /// The partition of the batch.
    pub partition: u32,
    batch: CheckedBatch,
    /// Set where the offsets of the records are not those under which they are stored.
    group: Option<Arc<AckGroup>>,
    /// Number of records that were removed.
    taken: i64,
    acknowledgement: Option<Acknowledgement>,
}

impl RecordBatch {
    pub(super) fn new(at: &TopicPartition, batch: CheckedBatch) -> Self {
        let group = (!batch.is_exact())
            .then(|| Arc::new(AckGroup::new(batch.first_offset(), batch.next_offset(), batch.len())));
        Self {
            topic: at.topic.clone(),
            partition: at.partition,
            batch,
            group,
            taken: 0,
            acknowledgement: None,
        }
    }

    /// Returns the offset of the first record.
    #[must_use]
    pub fn first_offset(&self) -> i64 {
        self.batch.first_offset()
    }

    /// Returns the offset at which reading continues after this batch.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.batch.next_offset()
    }

    /// Returns the number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Returns whether the batch has no records. Batches of a consumer always have some.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many bytes the batch keeps in memory, uncompressed.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.batch.memory()
    }

    /// Returns an iterator over the records; keys and values are slices of the batch.
    pub fn records(&self) -> impl Iterator<Item = RecordView> + use<> {
        self.batch.records()
    }

    /// Returns an iterator over the records, borrowed: the fastest way to read them, because no reference count changes.
    pub fn borrowed(&self) -> impl Iterator<Item = BorrowedRecord<'_>> {
        self.batch.borrowed()
    }

    /// Returns the batch as the engine stores it, with the same records and a verified checksum, to forward it without encoding
    /// them again: [`EncodedBatch::with_producer`] makes it a batch that can be appended anywhere. `None` unless the
    /// consumer [keeps stored batches](super::ConsumerBuilder::keep_stored), and where only some of the records are here:
    /// after a start in the middle of a batch, beside a gap, with SmartModules, on engines without offsets.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> floe::Result<()> {
    /// use floe::{
    ///     Client, TopicSpec,
    ///     consumer::StartAt,
    ///     engine::{Acks, AppendRequest, batch::ProducerIdentity},
    ///     topic::Topic,
    /// };
    ///
    /// let client = Client::connect("memory:").await?;
    /// for name in ["orders", "mirror"] {
    ///     client.admin().create_topic(TopicSpec::new(name)).await?;
    /// }
    /// client.producer("orders").start().await?.send("one coffee").await?;
    ///
    /// let consumer = client.consumer("orders").from(StartAt::Beginning).keep_stored().stop_at_end();
    /// let mut consumer = consumer.start().await?;
    /// while let Some(batch) = consumer.next_batch().await? {
    ///     let stored = batch.stored().expect("all of the batch is wanted");
    ///     let forwarded = stored.clone().with_producer(ProducerIdentity::NONE);
    ///     let to = Topic::from("mirror").partition(batch.partition);
    ///     client.engine().append(AppendRequest::new(to, forwarded, Acks::Leader)).await?;
    /// }
    /// # assert_eq!(client.admin().watermarks(Topic::from("mirror").partition(0)).await?.high, 1);
    /// # consumer.close().await
    /// # }
    /// ```
    #[must_use]
    pub fn stored(&self) -> Option<&EncodedBatch> {
        self.batch.stored().filter(|_| self.taken == 0 && self.group.is_none())
    }

    /// Offset of the first record of the stored batch.
    pub(crate) fn base_offset(&self) -> i64 {
        self.batch.source().base_offset()
    }

    /// Whether this is the whole of the stored batch.
    pub(crate) fn is_whole(&self) -> bool {
        let all = u32::try_from(self.len()).is_ok_and(|count| count == self.batch.source().record_count());
        all && self.group.is_none() && self.taken == 0
    }

    /// Bytes of the records of the stored batch, uncompressed.
    pub(crate) fn section_len(&self) -> usize {
        self.batch.source().section_len()
    }

    /// Whether any record may have headers.
    pub(crate) fn has_headers(&self) -> bool {
        self.batch.source().trailer_state() != floe_wire::batch::TrailerState::Absent
    }

    /// Marks all records as finished; see [`Message::ack`].
    pub fn ack(&self) {
        if let Some(acknowledgement) = &self.acknowledgement {
            let history = acknowledgement.acks.history();
            if history.is_on() {
                self.borrowed().for_each(|record| history.finished(record.offset));
            }
            acknowledgement.acknowledge(self.first_offset(), self.next_offset());
        }
    }

    /// Removes the first record and returns it with the result of `make` as its value.
    #[inline]
    pub(super) fn pop_as<T>(&mut self, make: impl FnOnce(&[u8], &Bytes) -> T) -> Option<RecordView<T>> {
        let record = self.batch.pop_as(make)?;
        self.taken += 1;
        Some(record)
    }

    /// Offsets that are handed out with the record that was removed last and has this offset.
    #[inline]
    pub(super) fn handed_out_with(&self, offset: i64) -> (i64, i64) {
        match (&self.group, self.len()) {
            // The last record of a batch includes the offsets after it that have no record.
            (None, 0) => (offset, self.next_offset()),
            (None, _) => (offset, offset + 1),
            (Some(_), 0) => (self.first_offset(), self.next_offset()),
            (Some(_), _) => (self.first_offset(), self.first_offset()),
        }
    }

    /// The group of the record that was removed last, and its number in the group.
    #[inline]
    pub(super) fn group_of_last(&self) -> Option<(Arc<AckGroup>, i64)> {
        self.group.as_ref().map(|group| (Arc::clone(group), self.taken - 1))
    }

    pub(super) fn with_acknowledgement(mut self, acknowledgement: Option<Acknowledgement>) -> Self {
        self.acknowledgement = acknowledgement;
        self
    }
}
