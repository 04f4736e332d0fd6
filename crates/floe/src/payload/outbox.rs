//! Values through an outbox.

use std::{fmt, path::Path, time::Duration};

use super::{PayloadCodec, RecordEncoder, formats, forward_outbox_settings};
use crate::{
    Record, Result,
    outbox::{Outbox, OutboxBuilder, OutboxReport, OutboxStats},
    producer::{Delivery, ProducerBuilder},
    topic::Topic,
};

impl<C: PayloadCodec> ProducerBuilder<C> {
    /// Accepts values into a log at `path`, which survives a crash, and delivers them from there; as
    /// [`outbox`](Self::outbox).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("outbox");
    /// use floe::{Client, Record, TopicSpec};
    ///
    /// let client = Client::connect("memory:").await?;
    /// client.admin().create_topic(TopicSpec::new("orders")).await?;
    ///
    /// let outbox = client.producer("orders").json::<Vec<u32>>().outbox(&path).start().await?;
    /// outbox.send(Record::keyed("ada", vec![1, 2])).await?; // in the local log
    /// outbox.drained().await?; // in the topic
    /// outbox.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn outbox(self, path: impl AsRef<Path>) -> TypedOutboxBuilder<C> {
        let (builder, codec) = self.into_untyped();
        builder.outbox(path).payload(codec)
    }
}

impl OutboxBuilder {
    formats!(TypedOutboxBuilder);

    /// Sends values in a format of the program's own.
    pub fn payload<C: PayloadCodec>(self, codec: C) -> TypedOutboxBuilder<C> {
        TypedOutboxBuilder { inner: self, codec }
    }
}

/// Configures a typed outbox; from [`ProducerBuilder::outbox`] and [`OutboxBuilder::json`] and its neighbours.
#[must_use = "a builder does nothing until start"]
pub struct TypedOutboxBuilder<C> {
    inner: OutboxBuilder,
    codec: C,
}

impl<C: PayloadCodec> TypedOutboxBuilder<C> {
    forward_outbox_settings!();

    /// Keeps the log somewhere else than in files.
    #[cfg(test)]
    pub(super) fn store(mut self, store: floe_log::StoreConfig) -> Self {
        self.inner = self.inner.store(store);
        self
    }

    /// Opens the local log, and begins to deliver what an earlier process has left in it.
    ///
    /// # Errors
    /// As [`OutboxBuilder::start`].
    pub async fn start(self) -> Result<TypedOutbox<C>> {
        Ok(TypedOutbox { inner: self.inner.start().await?, codec: self.codec })
    }
}

impl<C> fmt::Debug for TypedOutboxBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedOutboxBuilder").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Accepts values of one type for one topic into a local log, and delivers them from there. Cheap to clone, as the
/// [`Outbox`] inside.
#[derive(Clone)]
pub struct TypedOutbox<C> {
    inner: Outbox,
    codec: C,
}

impl<C: PayloadCodec> TypedOutbox<C> {
    /// Accepts a value: done when it is in the local log. Returns its number there.
    ///
    /// # Errors
    /// [`crate::ErrorKind::SerializationError`] for a value that cannot be encoded; otherwise as [`Outbox::send`].
    ///
    /// # Cancel safety
    /// As [`Outbox::send`].
    pub async fn send(&self, record: impl Into<Record<C::Value>>) -> Result<Option<i64>> {
        self.inner.send(self.encode(record)?).await
    }

    /// As [`TypedOutbox::send`], but returns as soon as the value waits to be written.
    ///
    /// # Errors
    /// As [`TypedOutbox::send`].
    ///
    /// # Cancel safety
    /// As [`Outbox::enqueue`].
    pub async fn enqueue(&self, record: impl Into<Record<C::Value>>) -> Result<Delivery> {
        self.inner.enqueue(self.encode(record)?).await
    }

    /// Accepts many values: done when all are accepted.
    ///
    /// # Errors
    /// As [`TypedOutbox::send`], for the first value that was refused; those before it are accepted.
    ///
    /// # Cancel safety
    /// As [`Outbox::send_all`].
    pub async fn send_all<R>(&self, records: impl IntoIterator<Item = R>) -> Result<()>
    where
        R: Into<Record<C::Value>>,
    {
        let mut refused = None;
        let encoded = records.into_iter().map_while(|record| match self.encode(record) {
            Ok(record) => Some(record),
            Err(error) => {
                refused = Some(error);
                None
            }
        });
        // Asked again after its end, it would go on behind the value that was refused.
        self.inner.send_all(encoded.fuse()).await?;
        refused.map_or(Ok(()), Err)
    }

    fn encode(&self, record: impl Into<Record<C::Value>>) -> Result<Record<Vec<u8>>> {
        self.codec.encode_record(record.into(), self.inner.topic())
    }

    /// As [`Outbox::drained`].
    ///
    /// # Errors
    /// As [`Outbox::drained`].
    ///
    /// # Cancel safety
    /// As [`Outbox::drained`].
    pub async fn drained(&self) -> Result<()> {
        self.inner.drained().await
    }

    /// As [`Outbox::close`].
    ///
    /// # Errors
    /// As [`Outbox::close`].
    ///
    /// # Cancel safety
    /// As [`Outbox::close`].
    pub async fn close(&self) -> Result<OutboxReport> {
        self.inner.close().await
    }

    /// As [`Outbox::close_within`].
    ///
    /// # Errors
    /// As [`Outbox::close`].
    ///
    /// # Cancel safety
    /// As [`Outbox::close`].
    pub async fn close_within(&self, limit: Duration) -> Result<OutboxReport> {
        self.inner.close_within(limit).await
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

    /// The outbox of bytes inside.
    #[must_use]
    pub fn raw(&self) -> &Outbox {
        &self.inner
    }
}

impl<C> fmt::Debug for TypedOutbox<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedOutbox").field("inner", &self.inner).finish_non_exhaustive()
    }
}
