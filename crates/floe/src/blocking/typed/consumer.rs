//! Reading values, without async.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    Message, Result,
    blocking::{Background, ConsumerBuilder},
    consumer::{self, StartAt},
    payload::{self, OnUndecodable, PayloadCodec, formats, forward_consumer_settings},
};

impl ConsumerBuilder {
    formats!(TypedConsumerBuilder);

    /// Reads values in a format of the program's own.
    pub fn payload<C: PayloadCodec>(self, codec: C) -> TypedConsumerBuilder<C> {
        TypedConsumerBuilder { inner: self.inner.payload(codec), runtime: self.runtime }
    }
}

/// Configures a typed consumer before it starts; from [`ConsumerBuilder::json`] and its neighbours.
#[must_use = "a builder does nothing until start"]
pub struct TypedConsumerBuilder<C> {
    inner: payload::TypedConsumerBuilder<C>,
    runtime: Arc<Background>,
}

impl<C: PayloadCodec> TypedConsumerBuilder<C> {
    forward_consumer_settings!();

    /// What happens to a record that does not decode; as [`payload::TypedConsumerBuilder::on_undecodable`].
    pub fn on_undecodable(mut self, policy: OnUndecodable) -> Self {
        self.inner = self.inner.on_undecodable(policy);
        self
    }

    /// Finds the partitions and their starts, and begins to read ahead.
    ///
    /// # Errors
    /// As [`payload::TypedConsumerBuilder::start`]; [`crate::ErrorKind::InvalidCommand`] inside of an async runtime.
    pub fn start(self) -> Result<TypedConsumer<C>> {
        let inner = self.runtime.wait(self.inner.start())??;
        Ok(TypedConsumer { inner, runtime: self.runtime })
    }
}

impl<C> fmt::Debug for TypedConsumerBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Reads values of one type from one topic. As an iterator it goes on after errors that concern one record or one
/// partition, and ends where [`try_next`](Self::try_next) gives `None`.
pub struct TypedConsumer<C> {
    inner: payload::TypedConsumer<C>,
    runtime: Arc<Background>,
}

impl<C: PayloadCodec> TypedConsumer<C> {
    /// The next value; waits for one. `None` when nothing more comes.
    ///
    /// # Errors
    /// As [`payload::TypedConsumer::try_next`].
    pub fn try_next(&mut self) -> Result<Option<Message<C::Value>>> {
        self.runtime.wait(self.inner.try_next())?
    }

    /// The next value, if one comes within `limit`; loses nothing otherwise. `Ok(None)` as well when nothing more comes at
    /// all.
    ///
    /// # Errors
    /// As [`payload::TypedConsumer::try_next`].
    pub fn next_within(&mut self, limit: Duration) -> Result<Option<Message<C::Value>>> {
        self.runtime.wait_within(limit, self.inner.try_next())?.unwrap_or(Ok(None))
    }

    /// The next values, at most `max`, gathered for at most `wait` after the first one. Empty when nothing more comes.
    ///
    /// # Errors
    /// As [`payload::TypedConsumer::next_chunk`].
    pub fn next_chunk(&mut self, max: usize, wait: Duration) -> Result<Vec<Message<C::Value>>> {
        self.runtime.wait(self.inner.next_chunk(max, wait))?
    }

    /// How many records did not decode so far.
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.inner.undecodable()
    }

    /// Stores the offsets of the group.
    ///
    /// # Errors
    /// As [`payload::TypedConsumer::commit`].
    pub fn commit(&mut self) -> Result<()> {
        self.runtime.wait(self.inner.commit())?
    }

    /// Goes on elsewhere in one partition.
    ///
    /// # Errors
    /// As [`consumer::Consumer::seek`].
    pub fn seek(&mut self, partition: u32, to: StartAt) -> Result<()> {
        self.runtime.wait(self.inner.raw().seek(partition, to))?
    }

    /// The async consumer of bytes inside: to pause partitions, and to look at positions. Records taken from it are not
    /// decoded.
    pub fn raw(&mut self) -> &mut consumer::Consumer {
        self.inner.raw()
    }

    /// Stops reading, and stores what is finished.
    ///
    /// # Errors
    /// As [`payload::TypedConsumer::close`].
    pub fn close(self) -> Result<()> {
        self.runtime.wait(self.inner.close())?
    }
}

impl<C: PayloadCodec> Iterator for TypedConsumer<C> {
    type Item = Result<Message<C::Value>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.try_next().transpose()
    }
}

impl<C> fmt::Debug for TypedConsumer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
