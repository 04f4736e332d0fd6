//! Settings that builders around a builder pass on to it, written once.

/// The settings of [`crate::producer::ProducerBuilder`] for a builder that holds one in `self.inner`.
macro_rules! forward_producer_settings {
    () => {
        crate::payload::forward::forward! { crate::producer::ProducerBuilder:
            linger(linger: std::time::Duration);
            batch_size(bytes: usize);
            max_request_size(bytes: usize);
            buffer_memory(bytes: usize);
            batch_queue(batches: usize);
            when_full(when_full: crate::producer::WhenFull);
            timeout(timeout: std::time::Duration);
            retries(policy: crate::RetryPolicy);
            max_in_flight(batches: usize);
            partitioner(partitioner: impl crate::producer::Partitioner);
            compression(codec: crate::Codec);
            compression_level(level: i32);
            compression_threshold(bytes: usize);
            delivery(mode: crate::producer::DeliveryMode);
            acks(acks: crate::engine::Acks);
            on_delivery(callback: impl Fn(&crate::producer::BatchOutcome) + Send + Sync + 'static);
        }
    };
}

/// The settings of [`crate::consumer::ConsumerBuilder`] for a builder that holds one in `self.inner`.
macro_rules! forward_consumer_settings {
    () => {
        crate::payload::forward::forward! { crate::consumer::ConsumerBuilder:
            from(start: crate::consumer::StartAt);
            partition(partition: u32);
            partitions(partitions: impl IntoIterator<Item = u32>);
            group(group: impl Into<std::sync::Arc<str>>);
            commit(policy: crate::consumer::CommitPolicy);
            finish(rule: crate::consumer::Finish);
            prefetch_bytes(bytes: usize);
            prefetch_records(records: usize);
            fetch_bytes(bytes: usize);
            isolation(isolation: crate::engine::Isolation);
            stop_at_end();
            rate_limit(records_per_second: std::num::NonZeroU32);
            reconnect(policy: crate::RetryPolicy);
            on_gap(policy: crate::consumer::GapPolicy);
        }
    };
}

macro_rules! forward {
    ($builder:path: $($name:ident($($argument:ident: $type:ty)?);)*) => {
        $(
            #[doc = concat!("As [`", stringify!($builder), "::", stringify!($name), "`].")]
            pub fn $name(mut self, $($argument: $type)?) -> Self {
                self.inner = self.inner.$name($($argument)?);
                self
            }
        )*
    };
}

pub(crate) use {forward, forward_consumer_settings, forward_producer_settings};
