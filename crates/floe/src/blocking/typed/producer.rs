//! Sending values, without async.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use super::TypedOutboxBuilder;
use crate::{
    Record, Result,
    blocking::{Background, Delivery, ProducerBuilder},
    payload::{self, PayloadCodec, formats, forward_producer_settings},
    producer::{CloseReport, ProducerStats, RecordMetadata},
    topic::Topic,
};

impl ProducerBuilder {
    formats!(TypedProducerBuilder);

    /// Sends values in a format of the program's own.
    pub fn payload<C: PayloadCodec>(self, codec: C) -> TypedProducerBuilder<C> {
        TypedProducerBuilder { inner: self.inner.payload(codec), runtime: self.runtime }
    }
}

/// Configures a typed producer before it starts; from [`ProducerBuilder::json`] and its neighbours.
#[must_use = "a builder does nothing until start"]
pub struct TypedProducerBuilder<C> {
    inner: payload::TypedProducerBuilder<C>,
    runtime: Arc<Background>,
}

impl<C: PayloadCodec> TypedProducerBuilder<C> {
    forward_producer_settings!();

    /// Accepts values into a log at `path`, which survives a crash, and delivers them from there; as
    /// [`payload::TypedProducerBuilder::outbox`].
    pub fn outbox(self, path: impl AsRef<Path>) -> TypedOutboxBuilder<C> {
        TypedOutboxBuilder::new(self.inner.outbox(path), self.runtime)
    }

    /// Asks the engine for the topic, and starts.
    ///
    /// # Errors
    /// As [`payload::TypedProducerBuilder::start`]; [`crate::ErrorKind::InvalidCommand`] inside of an async runtime.
    pub fn start(self) -> Result<TypedProducer<C>> {
        let inner = self.runtime.wait(self.inner.start())??;
        Ok(TypedProducer { inner, runtime: self.runtime })
    }
}

impl<C> fmt::Debug for TypedProducerBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Sends values of one type to one topic. Cheap to clone; all clones share batches, memory and settings.
///
/// It takes records, `Record::keyed("ada", order)`, and values alone.
#[derive(Clone)]
pub struct TypedProducer<C> {
    inner: payload::TypedProducer<C>,
    runtime: Arc<Background>,
}

impl<C: PayloadCodec> TypedProducer<C> {
    /// Sends a value and waits until it is acknowledged. One thread that does so sends values one by one; to fill
    /// batches, use [`enqueue`](Self::enqueue), [`send_all`](Self::send_all), or many threads.
    ///
    /// # Errors
    /// As [`payload::TypedProducer::send`].
    pub fn send(&self, record: impl Into<Record<C::Value>>) -> Result<RecordMetadata> {
        self.runtime.wait(self.inner.send(record))?
    }

    /// Buffers a value; waits for room in memory only.
    ///
    /// # Errors
    /// As [`payload::TypedProducer::enqueue`].
    pub fn enqueue(&self, record: impl Into<Record<C::Value>>) -> Result<Delivery> {
        let inner = self.runtime.wait(self.inner.enqueue(record))??;
        Ok(Delivery::new(inner, &self.runtime))
    }

    /// Sends many values and waits until all have their outcome.
    ///
    /// # Errors
    /// As [`payload::TypedProducer::send_all`].
    pub fn send_all<R>(&self, records: impl IntoIterator<Item = R>) -> Result<Vec<RecordMetadata>>
    where
        R: Into<Record<C::Value>>,
    {
        self.runtime.wait(self.inner.send_all(records))?
    }

    /// Sends everything that was buffered before, and waits for the outcomes.
    ///
    /// # Errors
    /// As [`payload::TypedProducer::flush`].
    pub fn flush(&self) -> Result<()> {
        self.runtime.wait(self.inner.flush())?
    }

    /// As [`flush`](Self::flush), waiting no longer than `limit`.
    ///
    /// # Errors
    /// As [`payload::TypedProducer::flush_within`].
    pub fn flush_within(&self, limit: Duration) -> Result<()> {
        self.runtime.wait(self.inner.flush_within(limit))?
    }

    /// Takes no more values, and sends what is buffered for at most 30 seconds.
    ///
    /// # Errors
    /// As [`payload::TypedProducer::close`].
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

impl<C> fmt::Debug for TypedProducer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
