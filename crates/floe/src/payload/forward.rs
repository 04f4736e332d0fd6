//! What several builders have in common, written once: the formats of payloads, and the settings that a builder around a
//! builder passes on to it.

/// The formats that come with floe, for a builder whose method `payload` makes it a `$typed`.
macro_rules! formats {
    ($typed:ident) => {
        /// Values as JSON.
        pub fn json<T>(self) -> $typed<crate::payload::Json<T>>
        where
            crate::payload::Json<T>: crate::payload::PayloadCodec,
        {
            self.payload(crate::payload::Json::new())
        }

        /// Values as UTF-8 text.
        pub fn text(self) -> $typed<crate::payload::Text> {
            self.payload(crate::payload::Text)
        }

        /// Values as MessagePack.
        #[cfg(feature = "messagepack")]
        pub fn message_pack<T>(self) -> $typed<crate::payload::MessagePack<T>>
        where
            crate::payload::MessagePack<T>: crate::payload::PayloadCodec,
        {
            self.payload(crate::payload::MessagePack::new())
        }
    };
}

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
            smartmodule(module: crate::SmartModule);
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

/// The settings of [`crate::outbox::OutboxBuilder`] for a builder that holds one in `self.inner`.
macro_rules! forward_outbox_settings {
    () => {
        crate::payload::forward::forward! { crate::outbox::OutboxBuilder:
            max_bytes(bytes: u64);
            max_record_bytes(bytes: usize);
            when_full(when_full: crate::outbox::WhenOutboxFull);
            mode(mode: crate::outbox::OutboxMode);
            durability(durability: crate::Durability);
            partitioner(partitioner: impl crate::producer::Partitioner);
        }
    };
}

/// The settings of [`crate::processor::ProcessorBuilder`] for a builder that holds one in `self.inner`.
macro_rules! forward_processor_settings {
    () => {
        crate::payload::forward::forward! { crate::processor::ProcessorBuilder:
            group(group: impl Into<std::sync::Arc<str>>);
            concurrency(handlers: usize);
            order(order: crate::processor::Order);
            handler_timeout(limit: std::time::Duration);
            retries(policy: crate::RetryPolicy);
            dead_letters(dead_letters: crate::processor::DeadLetters);
            drain_timeout(limit: std::time::Duration);
            commit_interval(interval: std::time::Duration);
            max_held(records: usize);
            mark_origin(marks: bool);
            without_stored_offsets();
            stop_at_end();
            consumer(
                configure: impl FnOnce(crate::consumer::ConsumerBuilder) -> crate::consumer::ConsumerBuilder
                    + Send + Sync + 'static
            );
            producer(
                configure: impl FnOnce(crate::producer::ProducerBuilder) -> crate::producer::ProducerBuilder
                    + Send + Sync + 'static
            );
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

pub(crate) use {
    formats, forward, forward_consumer_settings, forward_outbox_settings, forward_processor_settings,
    forward_producer_settings,
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// The public setters in the source of a builder: what takes the builder and gives it back.
    fn setters(source: &str) -> BTreeSet<&str> {
        let functions = source.split("\n    pub fn ").skip(1);
        let signatures = functions.filter_map(|function| function.split_once('{')).map(|(head, _)| head);
        signatures
            .filter(|head| head.contains("self") && head.trim_end().ends_with("-> Self"))
            .filter_map(|head| head.split_once('(').map(|(name, _)| name))
            .collect()
    }

    /// The setters that a macro of this file passes on.
    fn forwarded(name: &str) -> BTreeSet<&'static str> {
        let start = format!("macro_rules! {name} {{");
        let (_, rest) = include_str!("forward.rs").split_once(&start).unwrap();
        let (list, _) = rest.split_once("\n}\n").unwrap();
        let lines = list.lines().filter_map(|line| line.strip_prefix("            "));
        lines
            .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
            .filter_map(|line| line.split_once('(').map(|(name, _)| name))
            .collect()
    }

    #[test]
    fn every_setting_is_passed_on() {
        for (builder, name) in [
            (include_str!("../producer/builder.rs"), "forward_producer_settings"),
            (include_str!("../consumer/builder.rs"), "forward_consumer_settings"),
            (include_str!("../outbox/builder.rs"), "forward_outbox_settings"),
            (include_str!("../processor/builder.rs"), "forward_processor_settings"),
        ] {
            let setters = setters(builder);
            assert!(setters.len() >= 5, "{name}: the setters of the builder were not found: {setters:?}");
            assert_eq!(forwarded(name), setters, "{name} and the builder differ");
        }
    }
}
