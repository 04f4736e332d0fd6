//! Reads records, without async.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use super::macros::{methods, settings, wrapper};
use crate::{
    Message, Result, RetryPolicy, SmartModule,
    consumer::{
        self, AckMode, CommitPolicy, Gap, GapPolicy, Membership, OnUndecodable, RecordBatch, StartAt,
    },
    engine::Isolation,
    payload::{PayloadCodec, RecordDecoder, Untyped, formats},
};

wrapper! {
    /// Configures a consumer before it starts; from [`Client::consumer`](super::Client::consumer).
    #[must_use = "a builder does nothing until start"]
    ConsumerBuilder<C = Untyped>: consumer::ConsumerBuilder<C>
}

impl ConsumerBuilder {
    formats!(ConsumerBuilder);

    /// Reads values of one type, decoded by `codec`.
    pub fn payload<C: PayloadCodec>(self, codec: C) -> ConsumerBuilder<C> {
        ConsumerBuilder::new(self.inner.payload(codec), self.runtime)
    }
}

impl<C: PayloadCodec> ConsumerBuilder<C> {
    /// As [`consumer::ConsumerBuilder::on_undecodable`].
    pub fn on_undecodable(self, policy: OnUndecodable) -> Self {
        Self::new(self.inner.on_undecodable(policy), self.runtime)
    }
}

impl<C: RecordDecoder> ConsumerBuilder<C> {
    settings! { crate::consumer::ConsumerBuilder:
        from(start: StartAt);
        partition(partition: u32);
        partitions(partitions: impl IntoIterator<Item = u32>);
        group(group: impl Into<Arc<str>>);
        shared();
        shared_as(membership: Membership);
        shared_with(consumer: &Consumer<impl Sized> => &consumer.inner);
        commit(policy: CommitPolicy);
        ack_mode(mode: AckMode);
        prefetch_bytes(bytes: usize);
        prefetch_records(records: usize);
        fetch_bytes(bytes: usize);
        keep_stored();
        isolation(isolation: Isolation);
        stop_at_end();
        rate_limit(records_per_second: NonZeroU32);
        retry(policy: RetryPolicy);
        on_gap(policy: GapPolicy);
        mirror(cluster: impl Into<Arc<str>>);
        smartmodule(module: SmartModule);
    }

    methods! { crate::consumer::ConsumerBuilder:
        wrap start(self) -> Consumer<C>;
    }
}

wrapper! {
    /// Reads the records of a topic. As an iterator it continues after errors of one record or one partition, and ends where
    /// [`try_next`](Self::try_next) returns `None`.
    Consumer<C = Untyped>: consumer::Consumer<C>
}

impl<C: RecordDecoder> Consumer<C> {
    methods! { crate::consumer::Consumer:
        wait try_next(&mut self) -> Option<Message<C::Value>>;
        wait next_chunk(&mut self, max: usize, wait: Duration) -> Vec<Message<C::Value>>;
        wait next_batch(&mut self) -> Option<RecordBatch>;
        wait commit(&mut self) -> ();
        wait seek(&mut self, partition: u32, to: StartAt) -> ();
        wait lag(&self) -> u64;
        get gaps(&self) -> Vec<Gap>;
        wait close(self) -> ();
    }

    /// Returns the next record, if one is available within `limit`; no record is lost otherwise. `Ok(None)` also when the
    /// consumer has ended.
    ///
    /// # Errors
    /// As [`consumer::Consumer::try_next`].
    pub fn next_within(&mut self, limit: Duration) -> Result<Option<Message<C::Value>>> {
        self.runtime.wait_within(limit, self.inner.try_next())?.unwrap_or(Ok(None))
    }

    /// Returns the async consumer inside: to pause partitions, and to look at positions.
    pub fn inner(&mut self) -> &mut consumer::Consumer<C> {
        &mut self.inner
    }
}

impl<C: RecordDecoder> Iterator for Consumer<C> {
    type Item = Result<Message<C::Value>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.try_next().transpose()
    }
}
