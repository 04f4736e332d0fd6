//! An outbox, without async.

use std::{path::Path, time::Duration};

use super::{
    Background, ProducerBuilder,
    macros::{methods, settings, wrapper},
};
use crate::{
    Durability, Result,
    outbox::{self, Accepted, OutboxReport, OutboxStats, WhenOutboxFull},
    payload::{PayloadCodec, RecordEncoder, Untyped, formats},
    producer::Partitioner,
    topic::Topic,
};

wrapper! {
    /// Configures an outbox; from [`ProducerBuilder::outbox`](super::ProducerBuilder::outbox) or [`OutboxBuilder::to`].
    #[must_use = "a builder does nothing until start"]
    OutboxBuilder<C = Untyped>: outbox::OutboxBuilder<C>
}

impl<C> ProducerBuilder<C> {
    /// Puts a spool at `path` before the producer, so that records survive a crash and an unreachable cluster; as
    /// [`ProducerBuilder::outbox`](crate::producer::ProducerBuilder::outbox).
    pub fn outbox(self, path: impl AsRef<Path>) -> OutboxBuilder<C> {
        OutboxBuilder::new(self.inner.outbox(path), self.runtime)
    }
}

impl OutboxBuilder {
    /// Configures an outbox for a topic of the engine at `url`, which need not be reachable yet; as
    /// [`outbox::OutboxBuilder::to`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidConfig`] when no runtime can be started.
    pub fn to(url: &str, topic: impl Into<Topic>, path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::new(outbox::OutboxBuilder::to(url, topic, path), Background::start()?))
    }

    formats!(OutboxBuilder);

    /// Sends values of one type, encoded by `codec`.
    pub fn payload<C: PayloadCodec>(self, codec: C) -> OutboxBuilder<C> {
        OutboxBuilder::new(self.inner.payload(codec), self.runtime)
    }
}

impl<C> OutboxBuilder<C> {
    settings! { crate::outbox::OutboxBuilder:
        max_bytes(bytes: u64);
        max_record_bytes(bytes: usize);
        when_full(when_full: WhenOutboxFull);
        durability(durability: Durability);
        partitioner(partitioner: impl Partitioner);
    }

    methods! { crate::outbox::OutboxBuilder:
        wrap start(self) -> Outbox<C>;
    }
}

wrapper! {
    /// Accepts records for one topic into a spool on disk, and delivers them from there in the background; see
    /// [`crate::outbox`]. Cheap to clone; all clones share the spool.
    #[derive(Clone)]
    Outbox<C = Untyped>: outbox::Outbox<C>
}

impl<C> Outbox<C> {
    methods! { crate::outbox::Outbox:
        wait send<R>(&self, record: R) -> Accepted where C: RecordEncoder<R>;
        wrap enqueue<R>(&self, record: R) -> Acceptance where C: RecordEncoder<R>;
        wait send_all<I>(&self, records: I) -> () where I: IntoIterator, C: RecordEncoder<I::Item>;
        wait close(&self) -> OutboxReport;
        wait close_within(&self, limit: Duration) -> OutboxReport;
        get topic(&self) -> &Topic;
        get stats(&self) -> OutboxStats;
    }

    /// Waits until every record accepted before is delivered, dropped or rejected, for at most `limit`. Returns false if
    /// the time was over first; the deliveries continue.
    ///
    /// # Errors
    /// As [`outbox::Outbox::drained`].
    pub fn drained_within(&self, limit: Duration) -> Result<bool> {
        self.runtime.wait_within(limit, self.inner.drained())?.map_or(Ok(false), |done| done.map(|()| true))
    }
}

wrapper! {
    /// The acceptance of one record, to be waited for or not. Dropping it does not cancel the record.
    #[must_use = "wait for it to learn whether the record is accepted"]
    Acceptance: outbox::Acceptance
}

impl Acceptance {
    /// Waits until the record is in the spool.
    ///
    /// # Errors
    /// As [`outbox::Outbox::send`].
    pub fn wait(self) -> Result<Accepted> {
        self.runtime.wait(self.inner)?
    }
}
