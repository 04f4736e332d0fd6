//! An outbox, without async.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use super::{Background, Delivery};
use crate::{
    IntoRecord, Result,
    outbox::{self, OutboxReport, OutboxStats},
    payload::forward_outbox_settings,
    topic::Topic,
};

/// Configures an outbox; from [`ProducerBuilder::outbox`](super::ProducerBuilder::outbox) or [`OutboxBuilder::to`].
#[must_use = "a builder does nothing until start"]
pub struct OutboxBuilder {
    pub(super) inner: outbox::OutboxBuilder,
    pub(super) runtime: Arc<Background>,
}

impl OutboxBuilder {
    pub(super) fn new(inner: outbox::OutboxBuilder, runtime: Arc<Background>) -> Self {
        Self { inner, runtime }
    }

    /// An outbox for a topic of the engine at `url`, which need not be reachable yet; as [`outbox::OutboxBuilder::to`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidConfig`] when no runtime can be started.
    pub fn to(url: &str, topic: impl Into<Topic>, path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::new(outbox::OutboxBuilder::to(url, topic, path), Background::start()?))
    }

    forward_outbox_settings!();

    /// Opens the local log, and begins to deliver what an earlier process has left in it.
    ///
    /// # Errors
    /// As [`outbox::OutboxBuilder::start`]; [`crate::ErrorKind::InvalidCommand`] inside of an async runtime.
    pub fn start(self) -> Result<Outbox> {
        let inner = self.runtime.wait(self.inner.start())??;
        Ok(Outbox { inner, runtime: self.runtime })
    }
}

impl fmt::Debug for OutboxBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Accepts records for one topic into a local log, and delivers them from there in the background; see
/// [`crate::outbox`]. Cheap to clone; all clones share the log.
#[derive(Clone)]
pub struct Outbox {
    inner: outbox::Outbox,
    runtime: Arc<Background>,
}

impl Outbox {
    /// Accepts a record: done when it is in the local log. Returns its number there.
    ///
    /// # Errors
    /// As [`outbox::Outbox::send`].
    pub fn send(&self, record: impl IntoRecord) -> Result<Option<i64>> {
        self.runtime.wait(self.inner.send(record))?
    }

    /// As [`send`](Self::send), but returns as soon as the record waits to be written.
    ///
    /// # Errors
    /// As [`outbox::Outbox::enqueue`].
    pub fn enqueue(&self, record: impl IntoRecord) -> Result<Delivery> {
        let inner = self.runtime.wait(self.inner.enqueue(record))??;
        Ok(Delivery::new(inner, Arc::clone(&self.runtime)))
    }

    /// Accepts many records: done when all are accepted.
    ///
    /// # Errors
    /// As [`outbox::Outbox::send_all`].
    pub fn send_all<I>(&self, records: I) -> Result<()>
    where
        I: IntoIterator,
        I::Item: IntoRecord,
    {
        self.runtime.wait(self.inner.send_all(records))?
    }

    /// Waits until everything accepted before is delivered, given up or rejected; at most `limit`. False if the time was
    /// over first; the deliveries go on.
    ///
    /// # Errors
    /// As [`outbox::Outbox::drained`].
    pub fn drained_within(&self, limit: Duration) -> Result<bool> {
        self.runtime.wait_within(limit, self.inner.drained())?.map_or(Ok(false), |done| done.map(|()| true))
    }

    /// What it has done so far, and why it does not deliver, if it does not.
    #[must_use]
    pub fn stats(&self) -> OutboxStats {
        self.inner.stats()
    }

    /// The topic that it delivers to.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        self.inner.topic()
    }

    /// Accepts nothing more, delivers for at most 30 seconds, and closes the local log.
    ///
    /// # Errors
    /// As [`outbox::Outbox::close`].
    pub fn close(&self) -> Result<OutboxReport> {
        self.runtime.wait(self.inner.close())?
    }

    /// As [`close`](Self::close), delivering for at most `limit`.
    ///
    /// # Errors
    /// As [`outbox::Outbox::close`].
    pub fn close_within(&self, limit: Duration) -> Result<OutboxReport> {
        self.runtime.wait(self.inner.close_within(limit))?
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
