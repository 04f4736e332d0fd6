//! Sending records: batching, partitioning, delivery.
//!
//! ```text
//!  any task                                               one task for each partition in use
//!
//!  send, enqueue, send_all
//!      │ record
//!      ▼
//!  Partitioner ──► memory budget ──► Accumulator ─────────────► sender: close the batch (compress, checksum)
//!  (or the record   (wait, fail)     open batch: records            │
//!   says it)             ▲           are encoded into it            ▼
//!                        │           queue of full batches      window of appends in flight ──► Engine::append
//!                        │                                          │                  ▲
//!                        │                                      answer             send again, in order
//!                        │                                          │                  │
//!                        └──── memory ◄──── BatchState ◄──── acknowledged        drain, back off, look for what
//!                                             │     ▲                            was appended without an answer
//!                                             │     └──────── given up ◄───────────────┘
//!                                             ▼
//!                               Delivery of each record, callback
//! ```
//!
//! # Guarantees
//! - A record ends acknowledged, failed, or listed as failed by the next flush or close.
//! - Records that one task sends to one partition keep their order, also when batches fail and are sent again.
//! - With [`DeliveryMode::AtLeastOnce`], the default, a batch whose answer was lost is looked for in the partition
//!   before it is sent again, so it is not doubled on engines whose records have offsets. Elsewhere a repeat is
//!   possible; it carries the same producer id and sequence.
//! - Everything ends by the timeout at the latest.
//!
//! What is buffered lives in memory: it is lost if the process dies before it is acknowledged.

mod accumulate;
mod ahead;
mod batch;
mod builder;
mod closing;
mod delivery;
mod ledger;
mod partitioner;
mod partitions;
mod pool;
mod recover;
mod relay;
mod resolve;
mod sender;
mod shared;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use tokio::{task::AbortHandle, time::Instant};

pub use batch::BatchOutcome;
pub use builder::{DeliveryMode, ProducerBuilder, WhenFull};
pub(crate) use builder::{Detour, Identity};
pub use closing::CloseReport;
pub use delivery::{Deliveries, Delivery, Placed};
pub use ledger::Undelivered;
pub use partitioner::{Choice, KeyHash, Partitioner, Specific};
pub use pool::ProducerPool;
pub(crate) use relay::Relayed;
pub(crate) use resolve::{Written, written};
pub use shared::ProducerStats;

use self::{builder::Config, shared::Shared};
use crate::{
    Error, IntoRecord, Record, Result,
    client_core::{ClientCore, CloseWithClient},
    topic::Topic,
};

/// How long [`Producer::close`] waits for deliveries.
const CLOSE_DEADLINE: Duration = Duration::from_secs(30);

/// How often a producer asks whether the topic has got more partitions.
const REFRESH: Duration = Duration::from_secs(300);

/// Sends records to one topic. Cheap to clone; all clones share batches, memory and settings.
///
/// Dropping the last clone takes nothing back: what is buffered is still sent in the background, as long as the runtime
/// lives. To know the outcome, [`flush`](Self::flush) or [`close`](Self::close).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> floe::Result<()> {
/// # let client = floe::Client::connect("memory:").await?;
/// # client.admin().create_topic(floe::TopicSpec::new("orders")).await?;
/// let orders = client.producer("orders").start().await?;
/// let placed = orders.send("one coffee").await?;
/// assert_eq!((placed.partition, placed.offset), (0, Some(0)));
///
/// let many = orders.send_all(["tea", "milk", "sugar"]).await?;
/// assert_eq!(many.last().and_then(|placed| placed.offset), Some(3));
/// assert!(orders.close().await?.undelivered.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Producer {
    handle: Arc<ProducerHandle>,
}

/// Ends the producer when the last clone is gone; the senders themselves keep only what is shared.
struct ProducerHandle {
    shared: Arc<Shared>,
    /// Looks for new partitions, where topics can have several.
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

/// Lets other tasks run, and first those that were woken before. Unlike [`tokio::task::yield_now`], it does not wait for a
/// look at the network, and leaves the task where another thread of the runtime can take it up at once.
async fn step_back() {
    let mut stepped = false;
    poll_fn(|context| {
        if std::mem::replace(&mut stepped, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Takes up new partitions until the producer is gone.
async fn refresh(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(REFRESH).await;
        let Some(shared) = shared.upgrade().filter(|shared| !shared.is_closed()) else { return };
        shared.look_for_partitions(Duration::ZERO).await;
    }
}

impl Producer {
    fn start(client: &ClientCore, topic: Topic, partitions: u32, config: Config) -> Self {
        let shared = Shared::new(client, topic, partitions, config);
        let weak: Weak<Shared> = Arc::downgrade(&shared);
        client.telemetry().watch_queue("producer", &shared.topic, weak.clone());
        client.register(weak as Weak<dyn CloseWithClient>);
        let refresh = shared.capabilities.partitions.then(|| {
            let shared = Arc::downgrade(&shared);
            tokio::spawn(refresh(shared)).abort_handle()
        });
        Self { handle: Arc::new(ProducerHandle { shared, refresh }) }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Sends a record and waits until it is acknowledged.
    ///
    /// Records of many tasks share batches; one task that awaits each record before the next sends them one by one. Use
    /// [`enqueue`](Self::enqueue) or [`send_all`](Self::send_all) to fill batches from one task.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue); [`crate::ErrorKind::RequestTimeout`] when the timeout passed without an
    /// acknowledgement; whatever the engine refused the batch with. [`crate::Error::effect`] says whether the record
    /// may be there all the same.
    ///
    /// # Cancel safety
    /// If the future is dropped, the record is sent once or not at all.
    pub async fn send(&self, record: impl IntoRecord) -> Result<Placed> {
        let record = record.into_record();
        let shared = self.shared();
        if shared.telemetry.traces_sending() {
            let body = record.value.as_ref().len();
            let sending = async { shared.enqueue(&record).await?.await };
            let place = |placed: &Placed| (placed.partition, placed.offset);
            return Box::pin(shared.telemetry.send_one(&shared.topic, body, sending, place)).await;
        }
        shared.enqueue(&record).await?.await
    }

    /// Buffers a record, and returns a future of its outcome, which need not be awaited. Waits for room in memory only,
    /// as [`ProducerBuilder::when_full`] says.
    ///
    /// # Errors
    /// Before anything is buffered: [`crate::ErrorKind::RecordTooLarge`], [`crate::ErrorKind::PartitionNotFound`],
    /// [`crate::ErrorKind::Unsupported`] for keys or headers on an engine that has none,
    /// [`crate::ErrorKind::BufferFull`], [`crate::ErrorKind::Closed`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the record is sent once or not at all.
    pub async fn enqueue(&self, record: impl IntoRecord) -> Result<Delivery> {
        let record = record.into_record();
        self.offer(&record).await
    }

    /// As [`enqueue`](Self::enqueue), for who has the record already: moving it from future to future costs as much as
    /// the rest.
    pub(crate) fn offer<V: AsRef<[u8]>>(&self, record: &Record<V>) -> impl Future<Output = Result<Delivery>> {
        self.shared().enqueue(record)
    }

    /// Sends many records and waits until all have their outcome. Their order is kept within a partition.
    ///
    /// # Errors
    /// As [`send`](Self::send), for the first record that failed; the others are sent all the same, except those after
    /// one that could not be buffered.
    ///
    /// # Cancel safety
    /// If the future is dropped, each record is sent once or not at all, and those sent are the first ones.
    pub async fn send_all<I>(&self, records: I) -> Result<Vec<Placed>>
    where
        I: IntoIterator,
        I::Item: IntoRecord,
    {
        let (deliveries, refused) = self.buffer_all(records).await;
        let placed = deliveries.await?;
        // A record that was buffered comes before the one that was refused.
        refused.map_or(Ok(placed), Err)
    }

    /// Buffers many records, and returns a future of their outcomes, which need not be awaited. Waits for room in memory
    /// only. Costs a fraction of as many [`enqueue`](Self::enqueue)s: records that follow each other in one partition
    /// are buffered under one lock, with one look at the clock.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue), for the first record that could not be buffered; those before it are sent all the
    /// same, and the next flush reports any of them that fail.
    ///
    /// # Cancel safety
    /// If the future is dropped, each record is sent once or not at all, and those sent are the first ones.
    pub async fn enqueue_all<I>(&self, records: I) -> Result<Deliveries>
    where
        I: IntoIterator,
        I::Item: IntoRecord,
    {
        let (deliveries, refused) = self.buffer_all(records).await;
        refused.map_or(Ok(deliveries), Err)
    }

    /// Buffers records until one is refused.
    async fn buffer_all<I>(&self, records: I) -> (Deliveries, Option<Error>)
    where
        I: IntoIterator,
        I::Item: IntoRecord,
    {
        let mut records = records.into_iter();
        let mut deliveries = Deliveries::default();
        let mut waiting = VecDeque::with_capacity(RUN);
        loop {
            waiting.extend(records.by_ref().take(RUN - waiting.len()).map(IntoRecord::into_record));
            let (taken, rolled) = self.shared().push_run(&waiting, &mut deliveries);
            waiting.drain(..taken);
            if rolled {
                // Lets the sender run.
                step_back().await;
                continue;
            }
            // The first that was not taken in passing; the one way that waits, refuses and changes the partition.
            let Some(record) = waiting.pop_front() else {
                if taken == 0 {
                    return (deliveries, None);
                }
                continue;
            };
            match self.offer(&record).await {
                Ok(delivery) => deliveries.add(&delivery),
                Err(error) => return (deliveries, Some(error)),
            }
        }
    }

    /// Sends everything that was buffered before, without waiting for full batches, and waits for the outcomes.
    ///
    /// # Errors
    /// If records were not delivered: how many of which partitions, with the first cause as source. Earlier failures
    /// that nobody looked at, because their [`Delivery`] was dropped, are reported as well, once.
    ///
    /// # Cancel safety
    /// If the future is dropped, the records are sent all the same.
    pub async fn flush(&self) -> Result<()> {
        self.shared().flush(None).await
    }

    /// As [`flush`](Self::flush), waiting no longer than `limit`. What has no outcome by then is still sent.
    ///
    /// # Errors
    /// As [`flush`](Self::flush); [`crate::ErrorKind::RequestTimeout`] that says how many records of which partitions
    /// still wait.
    ///
    /// # Cancel safety
    /// As [`flush`](Self::flush).
    pub async fn flush_within(&self, limit: Duration) -> Result<()> {
        self.shared().flush(Some(limit)).await
    }

    /// Takes no more records, and sends what is buffered for at most 30 seconds; what is left then is given up.
    /// Concerns all clones. Closing again returns the same report.
    ///
    /// # Errors
    /// [`crate::ErrorKind::RequestTimeout`] if another close still waits. What was not delivered is not an error but
    /// in the report: see [`CloseReport::into_result`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the producer is closed, and what was buffered is sent as far as the timeout allows.
    pub async fn close(&self) -> Result<CloseReport> {
        self.close_within(CLOSE_DEADLINE).await
    }

    /// As [`close`](Self::close), waiting no longer than `limit`.
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

    /// Whether it was closed, by itself or with its client.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared().is_closed()
    }

    pub(crate) fn telemetry(&self) -> &crate::Telemetry {
        &self.shared().telemetry
    }

    /// The topic that it sends to.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.shared().topic
    }

    /// How many partitions the producer knows. It asks every 5 minutes whether there are more, and when a record is for
    /// one that it does not know.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.shared().partitions.count()
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> ProducerStats {
        self.shared().stats()
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("topic", self.topic())
            .field("partitions", &self.partitions())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Records that [`Producer::send_all`] buffers under one lock, at most; few enough that others get their turn.
const RUN: usize = 64;
