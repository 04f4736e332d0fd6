//! Sends that survive an unreachable cluster and a crash of the program.
//!
//! ```text
//!  send ──► local log: bounded, on disk ──► drain: in order, one try after the other ──► cluster
//!             │ stored: the send is done        └─► what was acknowledged leaves the local log
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
//! outbox.send("one coffee").await?; // in the local log
//! outbox.drained().await?; // in the topic
//! assert_eq!(outbox.stats().delivered, 1);
//! outbox.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A program that must start while the cluster is away uses [`OutboxBuilder::to`], which connects in the background and
//! tries again until it can.
//!
//! With [`OutboxMode::WhenUnreachable`] records go past the local log while the cluster answers.
//!
//! # Guarantees
//! - What was accepted is delivered, by this process or a later one that opens the same path, in the order in which it
//!   was accepted: per partition, for records that name their partition, by key, or in runs for records without a key.
//! - Nothing is doubled. Batches carry a producer id that is kept on disk and the numbers of their records; after a crash,
//!   also `kill -9`, the ends of the partitions are read, and what is there already is not sent again. Two limits: on an
//!   engine whose records have no offsets (Walrus) there is nothing to look at, and what was on its way comes again. And
//!   a request that a dead process left in the network may be applied after the look.
//! - What survives a loss of power is a matter of [`OutboxBuilder::durability`].
//! - The local log never grows beyond [`OutboxBuilder::max_bytes`] by more than what is being written; what happens then
//!   is a matter of [`WhenOutboxFull`], also when the disk itself is full.
//! - A record that the cluster can never take, because it is too large or has no partition, does not hold up the others:
//!   it moves to the topic `rejected` of the local log, and [`OutboxStats::rejected`] counts it.

mod builder;
mod drain;
mod local;
mod session;
mod source;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod turning;
mod ways;

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

pub use builder::{OutboxBuilder, OutboxMode, WhenOutboxFull};
pub use status::{OutboxReport, OutboxStats};

use self::drain::Shared;
use crate::{
    Error, ErrorKind, IntoRecord, Result, client_core::CloseWithClient, producer::Delivery, topic::Topic,
};

/// How long [`Outbox::close`] waits for deliveries.
const CLOSE_DEADLINE: Duration = Duration::from_secs(30);

/// Accepts records for one topic into a local log, and delivers them from there. Cheap to clone; all clones share the
/// log.
///
/// Dropping the last clone stops the deliveries; what was accepted waits in the log. So does [`Outbox::close`], after it
/// has tried to deliver everything.
#[derive(Clone)]
pub struct Outbox {
    handle: Arc<Handle>,
}

/// Stops the deliveries when the last clone is gone.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.stop_now();
    }
}

impl Outbox {
    fn new(shared: Arc<Shared>) -> Self {
        Self { handle: Arc::new(Handle(shared)) }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.0
    }

    /// Accepts a record: done when it is in the local log, or with [`OutboxMode::WhenUnreachable`] in the cluster.
    /// Returns its number in the local log, if it is there.
    ///
    /// # Errors
    /// [`ErrorKind::BufferFull`] when there is no room, with [`WhenOutboxFull::Fail`]; [`ErrorKind::RecordTooLarge`];
    /// [`ErrorKind::StorageError`] when the local disk fails; [`ErrorKind::Closed`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the record is accepted once or not at all.
    pub async fn send(&self, record: impl IntoRecord) -> Result<Option<i64>> {
        let delivery = self.enqueue(record).await?;
        let placed = delivery.await.map_err(full_disk)?;
        Ok(placed.offset)
    }

    /// As [`Outbox::send`], but returns as soon as the record waits to be written. The delivery tells when it is
    /// accepted; its offset is the number in the local log, if it is there.
    ///
    /// # Errors
    /// As [`Outbox::send`].
    ///
    /// # Cancel safety
    /// As [`Outbox::send`].
    pub async fn enqueue(&self, record: impl IntoRecord) -> Result<Delivery> {
        let mut record = record.into_record();
        let shared = self.shared();
        let size = drain::size_of(&record);
        if !shared.is_granted(size) {
            shared.make_room(size).await?;
        }
        local::address(&mut record);
        let accepted = shared.local.append(&record).await;
        accepted.map_err(|error| error.with_topic(&shared.topic))
    }

    /// Accepts many records: done when all are accepted.
    ///
    /// # Errors
    /// As [`Outbox::send`], for the first record that was refused; those before it are accepted.
    ///
    /// # Cancel safety
    /// If the future is dropped, the first ones are accepted.
    pub async fn send_all<I>(&self, records: I) -> Result<()>
    where
        I: IntoIterator,
        I::Item: IntoRecord,
    {
        for record in records {
            // Failures of those before are told by the flush.
            drop(self.enqueue(record).await?);
        }
        self.shared().flush().await.map_err(full_disk)
    }

    /// Waits until everything accepted before is delivered, given up or rejected; see [`Outbox::stats`] for which. Does
    /// not end while the cluster cannot be reached: put a timeout around it.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when the outbox is closed meanwhile.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn drained(&self) -> Result<()> {
        self.shared().flush().await?;
        self.shared().drained().await
    }

    /// What it has done so far, and why it does not deliver, if it does not.
    #[must_use]
    pub fn stats(&self) -> OutboxStats {
        self.shared().stats()
    }

    /// The topic that it delivers to.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.shared().topic
    }

    /// Accepts nothing more, delivers for at most 30 seconds, and closes the local log. What is left waits there for the
    /// next one who opens it.
    ///
    /// # Errors
    /// [`ErrorKind::StorageError`] when the local disk fails.
    ///
    /// # Cancel safety
    /// If the future is dropped, the outbox is closed to new records, and deliveries go on until it is dropped.
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

/// A full disk is a full outbox.
fn full_disk(error: Error) -> Error {
    if !local::is_disk_full(&error) {
        return error;
    }
    Error::new(ErrorKind::BufferFull, "the disk under the outbox is full").with_source(error)
}

impl CloseWithClient for Shared {
    fn close_by(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        // What is left is kept: not an error.
        Box::pin(async move { self.close(deadline).await.map(drop) })
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("topic", self.topic())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
