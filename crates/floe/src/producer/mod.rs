//! Sends records: batching, partitioning, delivery.
//!
//! ```text
//!  any task                                               one task for each partition in use
//!
//!  send, enqueue, send_all
//!      │ record
//!      ▼
//!  Partitioner ──► memory budget ──► Accumulator ─────────────► sender: close the batch (compress, checksum)
//!  (or the record   (wait, fail)     open batch: records            │
//!   names it)            ▲           are encoded into it            ▼
//!                        │           queue of closed batches    window of appends in flight ──► Engine::append
//!                        │                                          │                  ▲
//!                        │                                      result             resend, in order
//!                        │                                          │                  │
//!                        └──── memory ◄──── BatchState ◄──── acknowledged        drain, back off, look up
//!                                             │     ▲                            unacknowledged batches
//!                                             │     └──────── failed ◄─────────────────┘
//!                                             ▼
//!                               Delivery of each record, callback
//! ```
//!
//! # Guarantees
//! - Each record ends acknowledged, failed, or reported as failed by the next flush or close.
//! - Records that one task sends to one partition keep their order, also when batches fail and are retried.
//! - With [`DeliveryMode::AtLeastOnce`], the default, a batch whose acknowledgement was lost is looked up in the partition
//!   before it is retried, so sends are idempotent on engines whose records have offsets. On other engines a retry may
//!   store a duplicate, with the same producer id and sequence.
//! - Every record has its outcome by the timeout.
//!
//! Buffered records live in memory: a record is lost if the process dies before its acknowledgement.

mod accumulator;
mod batch;
mod builder;
mod conditional;
mod conditional_batches;
mod config;
mod delivery;
mod enqueue;
mod parallel_encode;
mod partitioner;
mod partitions;
mod passthrough;
mod refusal;
mod resend;
mod sender;
mod shared;
mod shared_producers;
mod shutdown;
mod tail_lookup;
#[cfg(test)]
mod tests;
mod unreported_failures;

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{task::AbortHandle, time::Instant};

pub use builder::ProducerBuilder;
pub(crate) use config::DEFAULT_MAX_REQUEST;
pub(crate) use config::Identity;
pub use config::{DeliveryMode, WhenFull};
pub(crate) use delivery::End;
pub use delivery::{BatchOutcome, Deliveries, Delivery, RecordMetadata};
pub use floe_core::append_condition::{AppendCondition, FencingToken, NotAtEnd};
#[cfg(test)]
pub(crate) use partitioner::STRETCH;
pub(crate) use partitioner::choose_for;
pub use partitioner::{FixedPartition, KeyHash, PartitionChoice, Partitioner};
pub(crate) use passthrough::PassthroughRecord;
pub(crate) use refusal::refuses_record;
pub use shared::{CloseReport, ProducerStats};
pub use shared_producers::SharedProducers;
pub(crate) use tail_lookup::{Written, scan_tail, written};
pub use unreported_failures::Undelivered;

use self::{config::Config, shared::ProducerShared};
use crate::{
    Error, Record, Result,
    client_core::{ClientComponent, ClientCore},
    payload::{PayloadCodec, RecordEncoder, Untyped},
    topic::Topic,
};

/// How long [`Producer::close`] waits for deliveries.
const CLOSE_DEADLINE: Duration = Duration::from_secs(30);

/// Upper bound of the records that [`Producer::send_all`] buffers under one lock, so that other tasks get their turn.
const RUN: usize = 64;

/// Sends records to one topic. Cheap to clone; all clones share batches, memory and settings.
///
/// The parameter is the codec of the values; see [`crate::payload`]. A producer without one, `Producer`, sends bytes. Both
/// take a [`Record`] with key and headers, such as `Record::keyed("ada", order)`, or a value alone.
///
/// Dropping the last clone cancels nothing: buffered records are still sent in the background, as long as the runtime
/// lives. To learn the outcome, [`flush`](Self::flush) or [`close`](Self::close).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> floe::Result<()> {
/// # let client = floe::Client::connect("memory:").await?;
/// # client.admin().create_topic(floe::TopicSpec::new("orders")).await?;
/// let orders = client.producer("orders").start().await?;
/// let coffee = orders.send("one coffee").await?;
/// assert_eq!((coffee.partition, coffee.offset), (0, Some(0)));
///
/// let more = orders.send_all(["tea", "milk", "sugar"]).await?;
/// assert_eq!(more.last().and_then(|sugar| sugar.offset), Some(3));
/// assert!(orders.close().await?.undelivered.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Producer<C = Untyped> {
    handle: Arc<ProducerHandle>,
    codec: C,
}

/// Closes the producer when the last clone is dropped; the senders hold only the shared state.
struct ProducerHandle {
    shared: Arc<ProducerShared>,
    /// Refreshes the number of partitions, on engines with partitions.
    refresh: Option<AbortHandle>,
}

impl Drop for ProducerHandle {
    fn drop(&mut self) {
        if let Some(refresh) = &self.refresh {
            refresh.abort();
        }
        self.shared.begin_close();
    }
}

impl<C> Producer<C> {
    fn start(client: &ClientCore, topic: Topic, partitions: u32, config: Config, codec: C) -> Self {
        let shared = ProducerShared::new(client, topic, partitions, config);
        let weak: Weak<ProducerShared> = Arc::downgrade(&shared);
        client.telemetry().watch_queue("producer", &shared.topic, weak.clone());
        client.register(weak as Weak<dyn ClientComponent>);
        let refresh = shared.capabilities.partitions.then(|| {
            let shared = Arc::downgrade(&shared);
            tokio::spawn(shared::keep_partitions_fresh(shared)).abort_handle()
        });
        Self { handle: Arc::new(ProducerHandle { shared, refresh }), codec }
    }

    fn shared(&self) -> &Arc<ProducerShared> {
        &self.handle.shared
    }

    /// Sends a record and waits for its acknowledgement.
    ///
    /// Records of many tasks share batches; one task that awaits each record before the next sends them one by one. Use
    /// [`enqueue`](Self::enqueue) or [`send_all`](Self::send_all) to fill batches from one task.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue); [`crate::ErrorKind::RequestTimeout`] when the timeout passed without an
    /// acknowledgement; errors of the engine. [`crate::Error::effect`] says whether the record may be stored all the same.
    ///
    /// # Cancel safety
    /// If the future is dropped, the record is sent once or not at all.
    pub async fn send<R>(&self, record: R) -> Result<RecordMetadata>
    where
        C: RecordEncoder<R>,
    {
        let record = self.codec.encode_record(record, self.topic())?;
        let shared = self.shared();
        if shared.telemetry.traces_sending() {
            let body = record.value.as_ref().len();
            let sending = async { shared.enqueue(&record).await?.await };
            let place = |placed: &RecordMetadata| (placed.partition, placed.offset);
            return Box::pin(shared.telemetry.send_one(&shared.topic, body, sending, place)).await;
        }
        shared.enqueue(&record).await?.await
    }

    /// Buffers a record, and returns a future of its outcome, which need not be awaited. Waits for room in memory only,
    /// as [`ProducerBuilder::when_full`] says.
    ///
    /// # Errors
    /// Before anything is buffered: [`crate::ErrorKind::SerializationError`] for a value that cannot be encoded,
    /// [`crate::ErrorKind::RecordTooLarge`], [`crate::ErrorKind::PartitionNotFound`], [`crate::ErrorKind::Unsupported`]
    /// for keys or headers on an engine that has none, [`crate::ErrorKind::BufferFull`], [`crate::ErrorKind::Closed`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the record is sent once or not at all.
    pub async fn enqueue<R>(&self, record: R) -> Result<Delivery>
    where
        C: RecordEncoder<R>,
    {
        let record = self.codec.encode_record(record, self.topic())?;
        self.offer(&record).await
    }

    /// Refuses a record that can never be sent, as [`enqueue`](Self::enqueue) would.
    pub(crate) fn check(&self, record: &Record) -> Result<()> {
        self.shared().check_one(record)
    }

    /// Adds the trace context of the caller to a record that another task sends later.
    pub(crate) fn carry(&self, record: &mut Record) {
        self.shared().carry(record);
    }

    /// As [`enqueue`](Self::enqueue), for a caller that owns the encoded record: moving it from future to future would
    /// cost as much as the rest.
    pub(crate) fn offer<V: AsRef<[u8]>>(&self, record: &Record<V>) -> impl Future<Output = Result<Delivery>> {
        self.shared().enqueue(record)
    }

    /// Sends many records and waits until all have their outcome. Their order is kept within a partition.
    ///
    /// # Errors
    /// As [`send`](Self::send), for the first record that failed. The other records are sent all the same, except those
    /// after a record that could not be encoded or buffered.
    ///
    /// # Cancel safety
    /// If the future is dropped, each record is sent once or not at all, and the records sent are the first ones.
    pub async fn send_all<I>(&self, records: I) -> Result<Vec<RecordMetadata>>
    where
        I: IntoIterator,
        C: RecordEncoder<I::Item>,
    {
        let (deliveries, refused) = self.buffer_all(records).await;
        let acknowledged = deliveries.await?;
        // A record that was buffered comes before the one that was refused.
        refused.map_or(Ok(acknowledged), Err)
    }

    /// Buffers many records, and returns a future of their outcomes, which need not be awaited. Waits for room in memory
    /// only. Costs a fraction of as many [`enqueue`](Self::enqueue)s: consecutive records of one partition are buffered
    /// under one lock, with one clock read.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue), for the first record that could not be buffered. The records before it are sent all
    /// the same, and the next flush reports their failures.
    ///
    /// # Cancel safety
    /// If the future is dropped, each record is sent once or not at all, and the records sent are the first ones.
    pub async fn enqueue_all<I>(&self, records: I) -> Result<Deliveries>
    where
        I: IntoIterator,
        C: RecordEncoder<I::Item>,
    {
        let (deliveries, refused) = self.buffer_all(records).await;
        refused.map_or(Ok(deliveries), Err)
    }

    /// Buffers records until one is refused.
    async fn buffer_all<I>(&self, records: I) -> (Deliveries, Option<Error>)
    where
        I: IntoIterator,
        C: RecordEncoder<I::Item>,
    {
        let mut refused = None;
        let encoded =
            records.into_iter().map_while(|record| match self.codec.encode_record(record, self.topic()) {
                Ok(record) => Some(record),
                Err(error) => {
                    refused = Some(error);
                    None
                }
            });
        // Polled again after its end, `map_while` would continue behind the record that was refused.
        let mut encoded = encoded.fuse();
        let mut deliveries = Deliveries::default();
        let mut waiting = VecDeque::with_capacity(RUN);
        loop {
            waiting.extend(encoded.by_ref().take(RUN - waiting.len()));
            let (taken, rolled) = self.shared().enqueue_run(&waiting, &mut deliveries);
            waiting.drain(..taken);
            if rolled {
                // Lets the sender run.
                enqueue::step_back().await;
                continue;
            }
            // The next record has to wait, is for another partition, or is refused: `offer` handles each case.
            let Some(record) = waiting.pop_front() else {
                if taken == 0 {
                    break;
                }
                continue;
            };
            match self.offer(&record).await {
                Ok(delivery) => deliveries.push_one(&delivery),
                Err(error) => return (deliveries, Some(error)),
            }
        }
        drop(encoded);
        (deliveries, refused)
    }

    /// Sends all records that were buffered before, without waiting for full batches, and waits for the outcomes.
    ///
    /// # Errors
    /// The number of records that were not delivered, and their partitions, with the first cause as source. Earlier
    /// failures whose [`Delivery`] was dropped are reported as well, once.
    ///
    /// # Cancel safety
    /// If the future is dropped, the records are sent all the same.
    pub async fn flush(&self) -> Result<()> {
        self.shared().flush(None).await
    }

    /// As [`flush`](Self::flush), waiting at most `limit`. Records without an outcome by then are still sent.
    ///
    /// # Errors
    /// As [`flush`](Self::flush); [`crate::ErrorKind::RequestTimeout`] with the number of records that still wait, and
    /// their partitions.
    ///
    /// # Cancel safety
    /// As [`flush`](Self::flush).
    pub async fn flush_within(&self, limit: Duration) -> Result<()> {
        self.shared().flush(Some(limit)).await
    }

    /// Closes the producer and all its clones: accepts no more records, sends buffered ones for at most 30 seconds, and
    /// abandons the rest. Further calls return the same report.
    ///
    /// # Errors
    /// [`crate::ErrorKind::RequestTimeout`] if a concurrent close still waits. Records that were not delivered are not an
    /// error but in the report: see [`CloseReport::into_result`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the producer is closed, and buffered records are sent as far as the timeout allows.
    pub async fn close(&self) -> Result<CloseReport> {
        self.close_within(CLOSE_DEADLINE).await
    }

    /// As [`close`](Self::close), waiting at most `limit`.
    ///
    /// # Errors
    /// As [`close`](Self::close).
    ///
    /// # Cancel safety
    /// As [`close`](Self::close).
    pub async fn close_within(&self, limit: Duration) -> Result<CloseReport> {
        let now = Instant::now();
        let deadline = now.checked_add(limit).unwrap_or(now + CLOSE_DEADLINE);
        self.shared().close(deadline).await
    }

    /// Returns whether the producer was closed, by itself or with its client.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared().is_closed()
    }

    pub(crate) fn telemetry(&self) -> &crate::Telemetry {
        &self.shared().telemetry
    }

    /// Returns the topic that the producer sends to.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.shared().topic
    }

    /// Returns the known number of partitions. The producer refreshes it every 5 minutes, and when a record names a partition
    /// that it does not know.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.shared().partitions.count()
    }

    /// Returns the counters since the start.
    #[must_use]
    pub fn stats(&self) -> ProducerStats {
        self.shared().stats()
    }
}

impl<C: PayloadCodec> Producer<C> {
    /// Returns the same producer for bytes: it shares batches, memory and settings with this one.
    #[must_use]
    pub fn raw(&self) -> Producer {
        Producer { handle: Arc::clone(&self.handle), codec: Untyped }
    }
}

impl<C> fmt::Debug for Producer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("topic", self.topic())
            .field("partitions", &self.partitions())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
