//! Reading records, without async.

use std::{fmt, sync::Arc, time::Duration};

use super::Background;
use crate::{
    Message, Result,
    consumer::{self, RecordBatch, StartAt},
    payload::forward_consumer_settings,
};

/// Configures a consumer before it starts; from [`Client::consumer`](super::Client::consumer).
#[must_use = "a builder does nothing until start"]
pub struct ConsumerBuilder {
    pub(super) inner: consumer::ConsumerBuilder,
    pub(super) runtime: Arc<Background>,
}

impl ConsumerBuilder {
    pub(super) fn new(inner: consumer::ConsumerBuilder, runtime: Arc<Background>) -> Self {
        Self { inner, runtime }
    }

    forward_consumer_settings!();

    /// Finds the partitions and their starts, and begins to read ahead.
    ///
    /// # Errors
    /// As [`consumer::ConsumerBuilder::start`]; [`crate::ErrorKind::InvalidCommand`] inside of an async runtime.
    pub fn start(self) -> Result<Consumer> {
        let inner = self.runtime.wait(self.inner.start())??;
        Ok(Consumer { inner, runtime: self.runtime })
    }
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Reads the records of a topic. As an iterator it goes on after errors that concern one partition, and ends where
/// [`try_next`](Self::try_next) gives `None`.
pub struct Consumer {
    inner: consumer::Consumer,
    runtime: Arc<Background>,
}

impl Consumer {
    /// The next record; waits for one. `None` when nothing more comes.
    ///
    /// # Errors
    /// As [`consumer::Consumer::try_next`].
    pub fn try_next(&mut self) -> Result<Option<Message>> {
        self.runtime.wait(self.inner.try_next())?
    }

    /// The next record, if one comes within `limit`; loses nothing otherwise. `Ok(None)` as well when nothing more
    /// comes at all.
    ///
    /// # Errors
    /// As [`consumer::Consumer::try_next`].
    pub fn next_within(&mut self, limit: Duration) -> Result<Option<Message>> {
        self.runtime.wait_within(limit, self.inner.try_next())?.unwrap_or(Ok(None))
    }

    /// The next records, at most `max`, gathered for at most `wait` after the first one. Empty when nothing more comes.
    ///
    /// # Errors
    /// As [`consumer::Consumer::next_chunk`].
    pub fn next_chunk(&mut self, max: usize, wait: Duration) -> Result<Vec<Message>> {
        self.runtime.wait(self.inner.next_chunk(max, wait))?
    }

    /// The next records as they were stored together; waits for some. Much faster than single records.
    ///
    /// # Errors
    /// As [`consumer::Consumer::next_batch`].
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        self.runtime.wait(self.inner.next_batch())?
    }

    /// Stores the offsets of the group.
    ///
    /// # Errors
    /// As [`consumer::Consumer::commit`].
    pub fn commit(&mut self) -> Result<()> {
        self.runtime.wait(self.inner.commit())?
    }

    /// Goes on elsewhere in one partition.
    ///
    /// # Errors
    /// As [`consumer::Consumer::seek`].
    pub fn seek(&mut self, partition: u32, to: StartAt) -> Result<()> {
        self.runtime.wait(self.inner.seek(partition, to))?
    }

    /// The async consumer inside: to pause partitions, and to look at positions.
    pub fn inner(&mut self) -> &mut consumer::Consumer {
        &mut self.inner
    }

    /// Stops reading, and stores what is finished.
    ///
    /// # Errors
    /// As [`consumer::Consumer::close`].
    pub fn close(self) -> Result<()> {
        self.runtime.wait(self.inner.close())?
    }
}

impl Iterator for Consumer {
    type Item = Result<Message>;

    fn next(&mut self) -> Option<Self::Item> {
        self.try_next().transpose()
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
