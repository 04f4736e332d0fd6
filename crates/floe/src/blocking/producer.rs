//! Sending records, without async.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use super::{Background, OutboxBuilder};
use crate::{
    IntoRecord, Result,
    payload::forward_producer_settings,
    producer::{self, CloseReport, ProducerStats, RecordMetadata},
    topic::Topic,
};

/// Configures a producer before it starts; from [`Client::producer`](super::Client::producer).
#[must_use = "a builder does nothing until start"]
pub struct ProducerBuilder {
    pub(super) inner: producer::ProducerBuilder,
    pub(super) runtime: Arc<Background>,
}

impl ProducerBuilder {
    pub(super) fn new(inner: producer::ProducerBuilder, runtime: Arc<Background>) -> Self {
        Self { inner, runtime }
    }

    forward_producer_settings!();

    /// Accepts records into a log at `path`, which survives a crash, and delivers them from there; as
    /// [`producer::ProducerBuilder::outbox`].
    pub fn outbox(self, path: impl AsRef<Path>) -> OutboxBuilder {
        OutboxBuilder::new(self.inner.outbox(path), self.runtime)
    }

    /// Asks the engine for the topic, and starts.
    ///
    /// # Errors
    /// As [`producer::ProducerBuilder::start`]; [`crate::ErrorKind::InvalidCommand`] inside of an async runtime.
    pub fn start(self) -> Result<Producer> {
        let inner = self.runtime.wait(self.inner.start())??;
        Ok(Producer { inner, runtime: self.runtime })
    }
}

impl fmt::Debug for ProducerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Sends records to one topic. Cheap to clone; all clones share batches, memory and settings.
#[derive(Clone)]
pub struct Producer {
    inner: producer::Producer,
    runtime: Arc<Background>,
}

impl Producer {
    /// Sends a record and waits until it is acknowledged. One thread that does so sends records one by one; to fill
    /// batches, use [`enqueue`](Self::enqueue), [`send_all`](Self::send_all), or many threads.
    ///
    /// # Errors
    /// As [`producer::Producer::send`].
    pub fn send(&self, record: impl IntoRecord) -> Result<RecordMetadata> {
        self.runtime.wait(self.inner.send(record))?
    }

    /// Buffers a record; waits for room in memory only.
    ///
    /// # Errors
    /// As [`producer::Producer::enqueue`].
    pub fn enqueue(&self, record: impl IntoRecord) -> Result<Delivery> {
        let inner = self.runtime.wait(self.inner.enqueue(record))??;
        Ok(Delivery::new(inner, &self.runtime))
    }

    /// Sends many records and waits until all have their outcome.
    ///
    /// # Errors
    /// As [`producer::Producer::send_all`].
    pub fn send_all<I>(&self, records: I) -> Result<Vec<RecordMetadata>>
    where
        I: IntoIterator,
        I::Item: IntoRecord,
    {
        self.runtime.wait(self.inner.send_all(records))?
    }

    /// Sends everything that was buffered before, and waits for the outcomes.
    ///
    /// # Errors
    /// As [`producer::Producer::flush`].
    pub fn flush(&self) -> Result<()> {
        self.runtime.wait(self.inner.flush())?
    }

    /// As [`flush`](Self::flush), waiting no longer than `limit`.
    ///
    /// # Errors
    /// As [`producer::Producer::flush_within`].
    pub fn flush_within(&self, limit: Duration) -> Result<()> {
        self.runtime.wait(self.inner.flush_within(limit))?
    }

    /// Takes no more records, and sends what is buffered for at most 30 seconds.
    ///
    /// # Errors
    /// As [`producer::Producer::close`].
    pub fn close(&self) -> Result<CloseReport> {
        self.runtime.wait(self.inner.close())?
    }

    /// The topic that it sends to.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        self.inner.topic()
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> ProducerStats {
        self.inner.stats()
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// The outcome of a record, to be waited for or not. Dropping it takes nothing back.
#[must_use = "wait for it to learn the outcome; a failure that nobody looks at is reported by the next flush"]
pub struct Delivery {
    inner: producer::Delivery,
    runtime: Arc<Background>,
}

impl Delivery {
    pub(super) fn new(inner: producer::Delivery, runtime: &Arc<Background>) -> Self {
        Self { inner, runtime: Arc::clone(runtime) }
    }

    /// Waits for the outcome.
    ///
    /// # Errors
    /// Why the record was not acknowledged; see [`producer::Producer::send`].
    pub fn wait(self) -> Result<RecordMetadata> {
        self.runtime.wait(self.inner)?
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
