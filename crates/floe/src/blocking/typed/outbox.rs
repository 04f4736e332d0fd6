//! Values through an outbox, without async.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    Record, Result,
    blocking::{Background, Delivery, OutboxBuilder},
    outbox::{OutboxReport, OutboxStats},
    payload::{self, PayloadCodec, formats, forward_outbox_settings},
    topic::Topic,
};

impl OutboxBuilder {
    formats!(TypedOutboxBuilder);

    /// Sends values in a format of the program's own.
    pub fn payload<C: PayloadCodec>(self, codec: C) -> TypedOutboxBuilder<C> {
        TypedOutboxBuilder::new(self.inner.payload(codec), self.runtime)
    }
}

/// Configures a typed outbox; from [`ProducerBuilder::outbox`](crate::blocking::ProducerBuilder::outbox), and from
/// [`OutboxBuilder::json`] and its neighbours.
#[must_use = "a builder does nothing until start"]
pub struct TypedOutboxBuilder<C> {
    inner: payload::TypedOutboxBuilder<C>,
    runtime: Arc<Background>,
}

impl<C: PayloadCodec> TypedOutboxBuilder<C> {
    pub(in crate::blocking) fn new(inner: payload::TypedOutboxBuilder<C>, runtime: Arc<Background>) -> Self {
        Self { inner, runtime }
    }

    forward_outbox_settings!();

    /// Opens the local log, and begins to deliver what an earlier process has left in it.
    ///
    /// # Errors
    /// As [`payload::TypedOutboxBuilder::start`]; [`crate::ErrorKind::InvalidCommand`] inside of an async runtime.
    pub fn start(self) -> Result<TypedOutbox<C>> {
        let inner = self.runtime.wait(self.inner.start())??;
        Ok(TypedOutbox { inner, runtime: self.runtime })
    }
}

impl<C> fmt::Debug for TypedOutboxBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Accepts values of one type for one topic into a local log, and delivers them from there in the background; see
/// [`crate::outbox`]. Cheap to clone; all clones share the log.
#[derive(Clone)]
pub struct TypedOutbox<C> {
    inner: payload::TypedOutbox<C>,
    runtime: Arc<Background>,
}

impl<C: PayloadCodec> TypedOutbox<C> {
    /// Accepts a value: done when it is in the local log. Returns its number there.
    ///
    /// # Errors
    /// As [`payload::TypedOutbox::send`].
    pub fn send(&self, record: impl Into<Record<C::Value>>) -> Result<Option<i64>> {
        self.runtime.wait(self.inner.send(record))?
    }

    /// As [`send`](Self::send), but returns as soon as the value waits to be written.
    ///
    /// # Errors
    /// As [`payload::TypedOutbox::enqueue`].
    pub fn enqueue(&self, record: impl Into<Record<C::Value>>) -> Result<Delivery> {
        let inner = self.runtime.wait(self.inner.enqueue(record))??;
        Ok(Delivery::new(inner, Arc::clone(&self.runtime)))
    }

    /// Accepts many values: done when all are accepted.
    ///
    /// # Errors
    /// As [`payload::TypedOutbox::send_all`].
    pub fn send_all<R>(&self, records: impl IntoIterator<Item = R>) -> Result<()>
    where
        R: Into<Record<C::Value>>,
    {
        self.runtime.wait(self.inner.send_all(records))?
    }

    /// Waits until everything accepted before is delivered, given up or rejected; at most `limit`. False if the time was
    /// over first; the deliveries go on.
    ///
    /// # Errors
    /// As [`payload::TypedOutbox::drained`].
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
    /// As [`payload::TypedOutbox::close`].
    pub fn close(&self) -> Result<OutboxReport> {
        self.runtime.wait(self.inner.close())?
    }

    /// As [`close`](Self::close), delivering for at most `limit`.
    ///
    /// # Errors
    /// As [`payload::TypedOutbox::close`].
    pub fn close_within(&self, limit: Duration) -> Result<OutboxReport> {
        self.runtime.wait(self.inner.close_within(limit))?
    }
}

impl<C> fmt::Debug for TypedOutbox<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
