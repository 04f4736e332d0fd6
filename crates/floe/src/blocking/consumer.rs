//! Blocking consumers.

use std::{fmt, sync::Arc, time::Duration};

use super::Background;
use crate::{
    Message, Result,
    consumer::{self, OnUndecodable, RecordBatch, StartAt},
    payload::{PayloadCodec, RecordDecoder, Untyped, formats, forward_consumer_settings},
};

/// Configures a consumer before it starts; from [`Client::consumer`](super::Client::consumer).
#[must_use = "a builder does nothing until start"]
pub struct ConsumerBuilder<C = Untyped> {
    pub(super) inner: consumer::ConsumerBuilder<C>,
    pub(super) runtime: Arc<Background>,
}

impl ConsumerBuilder {
    pub(super) fn new(inner: consumer::ConsumerBuilder, runtime: Arc<Background>) -> Self {
        Self { inner, runtime }
    }

    formats!(ConsumerBuilder);

    /// Decodes the values with a codec.
    pub fn payload<C: PayloadCodec>(self, codec: C) -> ConsumerBuilder<C> {
        ConsumerBuilder { inner: self.inner.payload(codec), runtime: self.runtime }
    }
}

impl<C: PayloadCodec> ConsumerBuilder<C> {
    /// As [`consumer::ConsumerBuilder::on_undecodable`].
    pub fn on_undecodable(mut self, policy: OnUndecodable) -> Self {
        self.inner = self.inner.on_undecodable(policy);
        self
    }
}

impl<C: RecordDecoder> ConsumerBuilder<C> {
    forward_consumer_settings!();

    /// Blocks on [`consumer::ConsumerBuilder::start`].
    ///
    /// # Errors
    /// As [`consumer::ConsumerBuilder::start`]; [`crate::ErrorKind::InvalidCommand`] inside of an async runtime.
    pub fn start(self) -> Result<Consumer<C>> {
        let inner = self.runtime.wait(self.inner.start())??;
        Ok(Consumer { inner, runtime: self.runtime })
    }
}

impl<C> fmt::Debug for ConsumerBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Reads the records of a topic. As an iterator it continues after errors of one record or one partition, and ends where
/// [`try_next`](Self::try_next) returns `None`.
pub struct Consumer<C = Untyped> {
    inner: consumer::Consumer<C>,
    runtime: Arc<Background>,
}

impl<C: RecordDecoder> Consumer<C> {
    /// Blocks on [`consumer::Consumer::try_next`].
    ///
    /// # Errors
    /// As [`consumer::Consumer::try_next`].
    pub fn try_next(&mut self) -> Result<Option<Message<C::Value>>> {
        self.runtime.wait(self.inner.try_next())?
    }

    /// Returns the next record, if one is available within `limit`; no record is lost otherwise. `Ok(None)` also when the
    /// consumer has ended.
    ///
    /// # Errors
    /// As [`consumer::Consumer::try_next`].
    pub fn next_within(&mut self, limit: Duration) -> Result<Option<Message<C::Value>>> {
        self.runtime.wait_within(limit, self.inner.try_next())?.unwrap_or(Ok(None))
    }

    /// Blocks on [`consumer::Consumer::next_chunk`].
    ///
    /// # Errors
    /// As [`consumer::Consumer::next_chunk`].
    pub fn next_chunk(&mut self, max: usize, wait: Duration) -> Result<Vec<Message<C::Value>>> {
        self.runtime.wait(self.inner.next_chunk(max, wait))?
    }

    /// Blocks on [`consumer::Consumer::next_batch`].
    ///
    /// # Errors
    /// As [`consumer::Consumer::next_batch`].
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        self.runtime.wait(self.inner.next_batch())?
    }

    /// Blocks on [`consumer::Consumer::commit`].
    ///
    /// # Errors
    /// As [`consumer::Consumer::commit`].
    pub fn commit(&mut self) -> Result<()> {
        self.runtime.wait(self.inner.commit())?
    }

    /// Blocks on [`consumer::Consumer::seek`].
    ///
    /// # Errors
    /// As [`consumer::Consumer::seek`].
    pub fn seek(&mut self, partition: u32, to: StartAt) -> Result<()> {
        self.runtime.wait(self.inner.seek(partition, to))?
    }

    /// Returns the async consumer inside: to pause partitions, and to look at positions.
    pub fn inner(&mut self) -> &mut consumer::Consumer<C> {
        &mut self.inner
    }

    /// Blocks on [`consumer::Consumer::close`].
    ///
    /// # Errors
    /// As [`consumer::Consumer::close`].
    pub fn close(self) -> Result<()> {
        self.runtime.wait(self.inner.close())?
    }
}

impl<C: PayloadCodec> Consumer<C> {
    /// As [`consumer::Consumer::undecodable`].
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.inner.undecodable()
    }
}

impl<C: RecordDecoder> Iterator for Consumer<C> {
    type Item = Result<Message<C::Value>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.try_next().transpose()
    }
}

impl<C> fmt::Debug for Consumer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
