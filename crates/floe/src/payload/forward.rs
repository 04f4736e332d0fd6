//! Macros for builders: the methods that choose a codec, and the settings that a blocking builder passes on.

/// Defines the methods that choose a codec of floe, for a builder whose method `payload` changes its parameter.
macro_rules! formats {
    ($builder:ident) => {
        /// Sends or reads values as JSON.
        pub fn json<T>(self) -> $builder<crate::payload::Json<T>>
        where
            crate::payload::Json<T>: crate::payload::PayloadCodec,
        {
            self.payload(crate::payload::Json::new())
        }

        /// Sends or reads values as UTF-8 text.
        pub fn text(self) -> $builder<crate::payload::Text> {
            self.payload(crate::payload::Text)
        }

        /// Sends or reads values as MessagePack.
        #[cfg(feature = "messagepack")]
        pub fn message_pack<T>(self) -> $builder<crate::payload::MessagePack<T>>
        where
            crate::payload::MessagePack<T>: crate::payload::PayloadCodec,
        {
            self.payload(crate::payload::MessagePack::new())
        }
    };
}

/// The settings of [`crate::consumer::ConsumerBuilder`] for a builder that holds one in `self.inner`.
macro_rules! forward_consumer_settings {
    () => {
        crate::blocking::macros::settings! { crate::consumer::ConsumerBuilder:
            from(start: crate::consumer::StartAt);
            partition(partition: u32);
            partitions(partitions: impl IntoIterator<Item = u32>);
            group(group: impl Into<std::sync::Arc<str>>);
            commit(policy: crate::consumer::CommitPolicy);
            ack_mode(mode: crate::consumer::AckMode);
            prefetch_bytes(bytes: usize);
            prefetch_records(records: usize);
            fetch_bytes(bytes: usize);
            isolation(isolation: crate::engine::Isolation);
            stop_at_end();
            rate_limit(records_per_second: std::num::NonZeroU32);
            reconnect(policy: crate::RetryPolicy);
            on_gap(policy: crate::consumer::GapPolicy);
            mirror(cluster: impl Into<std::sync::Arc<str>>);
            smartmodule(module: crate::SmartModule);
        }
    };
}

pub(crate) use {formats, forward_consumer_settings};
