//! Sending values.

use std::{fmt, time::Duration};

use super::{PayloadCodec, formats, forward_producer_settings};
use crate::{
    Error, Record, Result,
    producer::{CloseReport, Deliveries, Delivery, Producer, ProducerBuilder, ProducerStats, RecordMetadata},
    topic::Topic,
};

impl ProducerBuilder {
    formats!(TypedProducerBuilder);

    /// Sends values in a format of the program's own.
    pub fn payload<C: PayloadCodec>(self, codec: C) -> TypedProducerBuilder<C> {
        TypedProducerBuilder { inner: self, codec }
    }
}

/// Configures a typed producer before it starts; from [`ProducerBuilder::json`] and its neighbours.
#[must_use = "a builder does nothing until start"]
pub struct TypedProducerBuilder<C> {
    pub(super) inner: ProducerBuilder,
    pub(super) codec: C,
}

impl<C: PayloadCodec> TypedProducerBuilder<C> {
    forward_producer_settings!();

    /// Asks the engine for the topic, and starts.
    ///
    /// # Errors
    /// As [`ProducerBuilder::start`].
    pub async fn start(self) -> Result<TypedProducer<C>> {
        Ok(TypedProducer { inner: self.inner.start().await?, codec: self.codec })
    }
}

impl<C> fmt::Debug for TypedProducerBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedProducerBuilder").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Sends values of one type to one topic. Cheap to clone, as the [`Producer`] inside.
///
/// It takes records, `Record::keyed("ada", order)`, and values alone.
#[derive(Clone)]
pub struct TypedProducer<C> {
    inner: Producer,
    codec: C,
}

impl<C: PayloadCodec> TypedProducer<C> {
    /// Sends a value and waits until it is acknowledged.
    ///
    /// # Errors
    /// [`crate::ErrorKind::SerializationError`] for a value that cannot be encoded; otherwise as [`Producer::send`].
    ///
    /// # Cancel safety
    /// As [`Producer::send`].
    pub async fn send(&self, record: impl Into<Record<C::Value>>) -> Result<RecordMetadata> {
        let record = self.encode(record)?;
        self.inner.offer(&record).await?.await
    }

    /// Buffers a value, and returns a future of its outcome.
    ///
    /// # Errors
    /// [`crate::ErrorKind::SerializationError`] for a value that cannot be encoded; otherwise as
    /// [`Producer::enqueue`].
    ///
    /// # Cancel safety
    /// As [`Producer::enqueue`].
    pub async fn enqueue(&self, record: impl Into<Record<C::Value>>) -> Result<Delivery> {
        let record = self.encode(record)?;
        self.inner.offer(&record).await
    }

    /// Sends many values and waits until all have their outcome.
    ///
    /// # Errors
    /// As [`TypedProducer::send`], for the first value that failed; none after one that cannot be encoded is sent.
    ///
    /// # Cancel safety
    /// As [`Producer::send_all`].
    pub async fn send_all<R>(&self, records: impl IntoIterator<Item = R>) -> Result<Vec<RecordMetadata>>
    where
        R: Into<Record<C::Value>>,
    {
        let mut refused = None;
        let placed = self.inner.send_all(self.encode_all(records, &mut refused)).await?;
        refused.map_or(Ok(placed), Err)
    }

    /// Buffers many values, and returns a future of their outcomes.
    ///
    /// # Errors
    /// As [`TypedProducer::enqueue`], for the first value that failed; those before it are sent all the same.
    ///
    /// # Cancel safety
    /// As [`Producer::enqueue_all`].
    pub async fn enqueue_all<R>(&self, records: impl IntoIterator<Item = R>) -> Result<Deliveries>
    where
        R: Into<Record<C::Value>>,
    {
        let mut refused = None;
        let deliveries = self.inner.enqueue_all(self.encode_all(records, &mut refused)).await?;
        refused.map_or(Ok(deliveries), Err)
    }

    /// Encodes up to the first value that cannot be.
    fn encode_all<R>(
        &self,
        records: impl IntoIterator<Item = R>,
        refused: &mut Option<Error>,
    ) -> impl Iterator<Item = Record<Vec<u8>>>
    where
        R: Into<Record<C::Value>>,
    {
        let encoded = records.into_iter().map_while(move |record| match self.encode(record) {
            Ok(record) => Some(record),
            Err(error) => {
                *refused = Some(error);
                None
            }
        });
        // Asked again after its end, it would go on behind the value that was refused.
        encoded.fuse()
    }

    #[inline]
    fn encode(&self, record: impl Into<Record<C::Value>>) -> Result<Record<Vec<u8>>> {
        super::encode(&self.codec, record, self.inner.topic())
    }

    /// As [`Producer::flush`].
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }

    /// As [`Producer::flush_within`].
    ///
    /// # Errors
    /// As [`Producer::flush_within`].
    pub async fn flush_within(&self, limit: Duration) -> Result<()> {
        self.inner.flush_within(limit).await
    }

    /// As [`Producer::close`].
    ///
    /// # Errors
    /// As [`Producer::close`].
    pub async fn close(&self) -> Result<CloseReport> {
        self.inner.close().await
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

    /// The producer of bytes inside.
    #[must_use]
    pub fn raw(&self) -> &Producer {
        &self.inner
    }
}

impl<C> fmt::Debug for TypedProducer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedProducer").field("inner", &self.inner).finish_non_exhaustive()
    }
}
