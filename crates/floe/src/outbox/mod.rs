//! Sends that survive an unreachable cluster and a crash of the program.
//!
//! ```text
//!  send ──► spool: a bounded log on disk ──► delivery session: in order, retried ──► cluster
//!             │ in the log: accepted           └─► acknowledged records leave the spool
//! ```
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("outbox");
//! use floe::{Client, TopicSpec};
//!
//! let client = Client::connect("memory:").await?;
//! client.admin().create_topic(TopicSpec::new("orders")).await?;
//!
//! let outbox = client.producer("orders").outbox(&path).start().await?;
//! let accepted = outbox.send("one coffee").await?; // in the spool
//! assert_eq!(accepted.position, 0);
//! outbox.drained().await?; // in the topic
//! assert_eq!(outbox.stats().delivered, 1);
//! outbox.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A program that must start while the cluster is unreachable uses [`OutboxBuilder::to`], which connects in the
//! background and retries.
//!
//! # Guarantees
//! - Accepted records are delivered, by this process or a later one that opens the same path, in the order in which they
//!   were accepted: per partition for records that name their partition, per key for records with a key, and in runs for
//!   records without one.
//! - Deliveries are idempotent. Batches carry a producer id that is kept on disk and the numbers of their records; after a
//!   crash, also `kill -9`, the session reads the ends of the partitions and sends no record that is there already. There
//!   are two limits. On an engine whose records have no offsets (Walrus) it cannot look, and records in flight at the
//!   crash are duplicated. And the network may still deliver a request of the dead process after the look.
//! - [`OutboxBuilder::durability`] decides whether accepted records survive a loss of power.
//! - The spool exceeds [`OutboxBuilder::max_bytes`] by no more than the batches in flight to it. [`WhenOutboxFull`] decides
//!   what happens then, and when the disk is full.
//! - A record that the cluster can never accept, because it is too large or its partition does not exist, does not hold up
//!   the others: it moves to the topic `rejected` of the spool, and [`OutboxStats::rejected`] counts it.
//!
//! An outbox needs the feature `embedded`; without it, [`OutboxBuilder::start`] fails.

mod admission;
mod builder;
mod checkpoint;
mod delivery;
mod routing;
mod settings;
mod shared;
#[cfg(feature = "embedded")]
mod spool;
#[cfg(not(feature = "embedded"))]
#[path = "spool_absent.rs"]
mod spool;
mod status;
mod supervisor;
#[cfg(all(test, feature = "embedded"))]
mod tests;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use floe_core::invariant;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

pub use builder::OutboxBuilder;
pub use settings::WhenOutboxFull;
pub use status::{Accepted, OutboxReport, OutboxStats};

use self::shared::OutboxShared;
use crate::{
    Error, ErrorKind, Result,
    client_core::ClientComponent,
    health::ComponentHealth,
    payload::{RecordEncoder, Untyped},
    producer::Delivery,
    topic::Topic,
};

/// Deadline of [`Outbox::close`].
const CLOSE_DEADLINE: Duration = Duration::from_secs(30);

/// Accepts records for one topic into a spool on disk, and delivers them from there. Cheap to clone; all clones share the
/// spool.
///
/// `C` is the codec of the values, as with [`Producer`](crate::Producer).
///
/// Dropping the last clone stops the deliveries; accepted records wait in the spool. [`Outbox::close`] does the same
/// after it has tried to deliver everything.
#[derive(Clone)]
pub struct Outbox<C = Untyped> {
    handle: Arc<OutboxHandle>,
    codec: C,
}

/// Stops the deliveries when the last clone of an outbox is dropped.
struct OutboxHandle(Arc<OutboxShared>);

impl Drop for OutboxHandle {
    fn drop(&mut self) {
        self.0.stop_now();
    }
}

impl<C> Outbox<C> {
    fn new(shared: Arc<OutboxShared>, codec: C) -> Self {
        Self { handle: Arc::new(OutboxHandle(shared)), codec }
    }

    fn shared(&self) -> &Arc<OutboxShared> {
        &self.handle.0
    }

    /// Accepts a record. Returns when it is in the spool; from then on it will be delivered.
    ///
    /// # Errors
    /// [`ErrorKind::SerializationError`] for a value that cannot be encoded; [`ErrorKind::BufferFull`] when there is no
    /// room, with [`WhenOutboxFull::Fail`]; [`ErrorKind::RecordTooLarge`]; [`ErrorKind::StorageError`] when the disk of the
    /// spool fails; [`ErrorKind::Closed`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the record is accepted once or not at all.
    pub async fn send<R>(&self, record: R) -> Result<Accepted>
    where
        C: RecordEncoder<R>,
    {
        self.enqueue(record).await?.await
    }

    /// As [`Outbox::send`], but returns as soon as the record waits to be written, with a future of its acceptance.
    ///
    /// # Errors
    /// As [`Outbox::send`].
    ///
    /// # Cancel safety
    /// As [`Outbox::send`].
    pub async fn enqueue<R>(&self, record: R) -> Result<Acceptance>
    where
        C: RecordEncoder<R>,
    {
        let shared = self.shared();
        let mut record = self.codec.encode_record(record, shared.topic())?;
        let size = admission::record_bytes(&record);
        if !shared.is_granted(size) {
            shared.make_room(size).await?;
        }
        routing::store_fixed_partition(&mut record);
        match shared.spool.append(&record).await {
            Ok(delivery) => Ok(Acceptance { delivery }),
            Err(error) => Err(error.with_topic(shared.topic())),
        }
    }

    /// Accepts many records. Returns when all are in the spool.
    ///
    /// # Errors
    /// As [`Outbox::send`], for the first record that was not accepted; the records before it are accepted.
    ///
    /// # Cancel safety
    /// If the future is dropped, the records accepted are the first ones.
    pub async fn send_all<I>(&self, records: I) -> Result<()>
    where
        I: IntoIterator,
        C: RecordEncoder<I::Item>,
    {
        let mut refused = None;
        for record in records {
            match self.enqueue(record).await {
                // The flush reports failures.
                Ok(acceptance) => drop(acceptance),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        self.shared().spool.flush().await.map_err(admission::full_disk)?;
        refused.map_or(Ok(()), Err)
    }

    /// Waits until every record accepted before is delivered, dropped or rejected; [`Outbox::stats`] counts each. The
    /// future does not end while the cluster is unreachable: put a timeout around it.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when the outbox is closed meanwhile.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn drained(&self) -> Result<()> {
        self.shared().drained().await
    }

    /// Returns counters, and the error that keeps it from delivering, if there is one.
    #[must_use]
    pub fn stats(&self) -> OutboxStats {
        self.shared().stats()
    }

    /// Returns the topic that it delivers to.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        self.shared().topic()
    }

    /// Refuses further records, delivers for at most 30 seconds, and closes the spool. Records that are left wait there
    /// for the next process that opens the path.
    ///
    /// # Errors
    /// [`ErrorKind::StorageError`] when the disk of the spool fails.
    ///
    /// # Cancel safety
    /// If the future is dropped, the outbox refuses records, and deliveries continue until it is dropped.
    pub async fn close(&self) -> Result<OutboxReport> {
        self.close_within(CLOSE_DEADLINE).await
    }

    /// As [`Outbox::close`], delivering for at most `limit`.
    ///
    /// # Errors
    /// As [`Outbox::close`].
    ///
    /// # Cancel safety
    /// As [`Outbox::close`].
    pub async fn close_within(&self, limit: Duration) -> Result<OutboxReport> {
        let now = Instant::now();
        self.shared().close(now.checked_add(limit).unwrap_or(now + CLOSE_DEADLINE)).await
    }
}

impl<C> fmt::Debug for Outbox<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("topic", self.topic())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl ClientComponent for OutboxShared {
    fn close_by(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        // Records left in the spool are not lost, so they are no error.
        Box::pin(async move { self.close(deadline).await.map(drop) })
    }

    fn health(&self) -> ComponentHealth {
        let stats = self.stats();
        let mut health =
            ComponentHealth::new("outbox", self.topic()).queue(stats.bytes, self.settings.max_bytes);
        health.counters = vec![
            ("accepted", stats.accepted),
            ("delivered", stats.delivered),
            ("waiting", stats.waiting),
            ("dropped", stats.dropped),
            ("rejected", stats.rejected),
        ];
        health.finding = stats.last_error.map(|error| {
            format!("the outbox of {} cannot deliver, {} records wait: {error}", self.topic(), stats.waiting)
        });
        health
    }
}

/// The acceptance of one record by an outbox, to be awaited or not.
///
/// Dropping it cancels nothing: the record is written all the same, and if that fails, the next [`Outbox::send_all`] or
/// [`Outbox::drained`] reports it.
///
/// # Errors
/// As [`Outbox::send`].
///
/// # Cancel safety
/// Awaiting `&mut acceptance` can be cancelled and resumed.
#[must_use = "await it to learn whether the record is accepted"]
#[derive(Debug)]
pub struct Acceptance {
    delivery: Delivery,
}

impl Future for Acceptance {
    type Output = Result<Accepted>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let written = ready!(Pin::new(&mut self.delivery).poll(context)).map_err(admission::full_disk)?;
        let Some(position) = written.offset else {
            invariant!(false, "the spool numbers its records");
            return Poll::Ready(Err(Error::new(ErrorKind::StorageError, "the spool returned no offset")));
        };
        Poll::Ready(Ok(Accepted { position }))
    }
}
