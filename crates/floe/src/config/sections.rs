//! All settings: section, name, type, default and meaning. Each table generates the types, the parser and the reference; the
//! options of the engines are tables of their crates.

use std::{sync::LazyLock, time::Duration};

use floe_core::{
    section,
    setting::{Contradiction, Section, SettingInfo, any, at_least_one, if_some, positive},
};
#[cfg(feature = "embedded")]
use floe_embedded::EmbeddedOptions;
#[cfg(feature = "fluvio")]
use floe_fluvio::FluvioOptions;
#[cfg(feature = "walrus")]
use floe_walrus::WalrusOptions;

use super::{
    policies::{AckMode, CommitPolicy, DeliveryMode, GapPolicy, WhenFull},
    secret::Secret,
    value::{Switch, metric_name, pairs, share, topic_name},
};
use crate::{
    Codec,
    engine::{Acks, Isolation},
};

/// Calls a macro with the fields of [`Settings`]: name and type of each section.
macro_rules! sections {
    ($($(#[cfg($cfg:meta)])? $section:ident: $type:ty;)*) => {
        /// The typed settings of every section.
        #[derive(Debug, Clone, PartialEq, Default)]
        #[non_exhaustive]
        pub struct Settings {
            $(
                $(#[cfg($cfg)])?
                #[doc = concat!("The section `", stringify!($section), "`.")]
                pub $section: $type,
            )*
        }

        /// The sections with their descriptions.
        pub(super) const SECTIONS: &[(&str, &[&str])] = &[$(
            $(#[cfg($cfg)])?
            (stringify!($section), <$type as Section>::ABOUT),
        )*];

        /// Full names of all settings.
        pub(super) static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
            let mut names = Vec::new();
            $($(#[cfg($cfg)])? names.extend(<$type as Section>::KEYS);)*
            names
        });

        impl Settings {
            /// Parses one setting; the error says what it accepts.
            pub(super) fn set(&mut self, key: &str, text: &str) -> Result<(), String> {
                match key.split_once('.') {
                    $($(#[cfg($cfg)])? Some((stringify!($section), name)) => self.$section.set(name, text),)*
                    _ => Err("unknown setting".to_owned()),
                }
            }

            /// The value of a setting as text.
            pub(super) fn show(&self, key: &str) -> Option<String> {
                match key.split_once('.') {
                    $($(#[cfg($cfg)])? Some((stringify!($section), name)) => self.$section.show(name),)*
                    _ => None,
                }
            }

            /// The first settings that cannot hold together, with their section.
            pub(super) fn contradiction(&self) -> Option<(&'static str, Contradiction)> {
                $(
                    $(#[cfg($cfg)])?
                    if let Some(found) = self.$section.contradiction() {
                        return Some((stringify!($section), found));
                    }
                )*
                None
            }

            /// Returns the documentation of all settings.
            #[must_use]
            pub fn reference() -> Vec<SettingInfo> {
                let mut all = Vec::new();
                $($(#[cfg($cfg)])? all.extend(<$type as Section>::reference());)*
                all
            }
        }
    };
}

sections! {
    client: ClientSettings;
    producer: ProducerSettings;
    consumer: ConsumerSettings;
    retry: RetrySettings;
    breaker: BreakerSettings;
    limits: LimitSettings;
    compression: CompressionSettings;
    telemetry: TelemetrySettings;
    health: HealthSettings;
    groups: GroupSettings;
    #[cfg(feature = "embedded")]
    embedded: EmbeddedOptions;
    #[cfg(feature = "fluvio")]
    fluvio: FluvioOptions;
    #[cfg(feature = "walrus")]
    walrus: WalrusOptions;
}

/// At least once needs acknowledgements.
fn acks_fit(producer: &ProducerSettings) -> Option<Contradiction> {
    let without = producer.acks == Acks::None && producer.delivery == Some(DeliveryMode::AtLeastOnce);
    without.then(|| Contradiction::new("acks", "delivery", "at least once needs acks"))
}

/// A level without a codec waits for one, which another source may choose.
fn level_fits(compression: &CompressionSettings) -> Option<Contradiction> {
    let (codec, level) = (compression.codec, compression.level?);
    let codecs: &[Codec] = if codec == Codec::None { &Codec::ALL } else { std::slice::from_ref(&codec) };
    if codecs.iter().any(|codec| codec.levels().is_some_and(|levels| levels.contains(&level))) {
        return None;
    }
    let levels = |codec: &Codec| {
        codec.levels().map(|levels| format!("{codec} has {} to {}", levels.start(), levels.end()))
    };
    let known: Vec<_> = codecs.iter().filter_map(levels).collect();
    let known = if known.is_empty() { format!("{codec} has no levels") } else { known.join(", ") };
    Some(Contradiction::new("level", "codec", format!("level {level}, but {known}")))
}

section! {
    /// The client as a whole.
    client: ClientSettings {
        /// Timeout of one attempt of a call, except appends and the wait for records. Engines inside the process have no
        /// timeout unless this is set.
        attempt_timeout: Duration = Duration::from_secs(25), positive;
        /// How long a close waits for deliveries and commits.
        close_timeout: Duration = Duration::from_secs(30), positive;
    }
}

section! {
    /// Defaults of producers.
    producer: ProducerSettings {
        /// How long a batch may wait for more records.
        linger: Duration = Duration::ZERO, any;
        /// Size, before compression, at which a batch is closed; `none` is the default of the engine: 256 KiB on Fluvio,
        /// 64 KiB elsewhere.
        batch_size: Option<u64> = None, if_some(positive);
        /// Largest batch accepted, and with it the largest record; `none` is the limit of the engine, at most 16 MiB for a
        /// value and 64 KiB for the rest.
        max_request_size: Option<u64> = None, if_some(positive);
        /// Bytes of buffered and unacknowledged records.
        buffer_memory: u64 = 32 * 1024 * 1024, positive;
        /// Closed batches queued for one partition.
        batch_queue: u32 = 100, positive;
        /// What happens when the buffer memory is full.
        when_full: WhenFull = WhenFull::Wait, any;
        /// Time from the closing of a batch to its acknowledgement, retries included.
        timeout: Duration = Duration::from_secs(30), positive;
        /// Most attempts to send one batch; `none` is as many as the timeout allows.
        max_attempts: Option<u32> = None, if_some(positive);
        /// Batches of one partition in flight at once.
        max_in_flight: u32 = 5, positive;
        /// When an append is acknowledged.
        acks: Acks = Acks::Leader, any;
        /// Delivery guarantee; `none` is at least once, with acks none at most once.
        delivery: Option<DeliveryMode> = None, any;
    }
    where acks_fit
}

section! {
    /// Defaults of consumers.
    consumer: ConsumerSettings {
        /// Bytes prefetched.
        prefetch_bytes: u64 = 8 * 1024 * 1024, positive;
        /// Records prefetched; `none` is bounded by the bytes alone.
        prefetch_records: Option<u32> = None, if_some(positive);
        /// Approximate size of one fetch.
        fetch_bytes: u64 = 1024 * 1024, positive;
        /// Whether records are read before they are on all replicas.
        isolation: Isolation = Isolation::ReadUncommitted, any;
        /// When the offsets of a group are stored.
        commit: CommitPolicy = CommitPolicy::Interval(Duration::from_secs(5)), any;
        /// When a record counts as finished.
        ack_mode: AckMode = AckMode::Auto, any;
        /// What happens when records are missing.
        on_gap: GapPolicy = GapPolicy::Fail, any;
        /// Most consecutive attempts to reconnect after a failure; `none` is no limit.
        max_attempts: Option<u32> = None, if_some(positive);
    }
}

section! {
    /// Retries of calls. The back-off applies to batches and broken readers as well.
    retry: RetrySettings {
        /// Whether failed calls are retried.
        enabled: Switch = Switch::Auto, any;
        /// Most attempts of a call, the first included.
        max_attempts: u32 = 3, positive;
        /// Upper bound of the back-off after the first failure.
        first_delay: Duration = Duration::from_millis(100), any;
        /// Factor of the upper bound for each further failure.
        multiplier: f64 = 2.0, at_least_one;
        /// Largest upper bound.
        max_delay: Duration = Duration::from_secs(5), any;
        /// Deadline of all attempts of a call together.
        deadline: Option<Duration> = Some(Duration::from_secs(30)), if_some(positive);
    }
}

section! {
    /// Circuit breaker: refuses calls to a server that keeps failing.
    breaker: BreakerSettings {
        /// Whether the breaker is on.
        enabled: Switch = Switch::Auto, any;
        /// Consecutive failures after which calls are refused.
        failures: u32 = 5, positive;
        /// How long calls are refused.
        open_for: Duration = Duration::from_secs(30), positive;
        /// Trial calls let through afterwards; when all succeed, the circuit closes.
        trials: u32 = 3, positive;
    }
}

section! {
    /// Bounds on the calls of this client.
    limits: LimitSettings {
        /// Concurrent calls.
        concurrency: Option<u32> = None, if_some(positive);
        /// Calls started per second.
        rate: Option<u32> = None, if_some(positive);
        /// Burst: calls that may start at once after a pause; `none` is as many as the rate.
        burst: Option<u32> = None, if_some(positive);
    }
}

section! {
    /// Compression of batches by producers.
    compression: CompressionSettings {
        /// Whether batches are compressed.
        enabled: bool = true, any;
        /// The codec. It needs the Cargo feature of its name.
        codec: Codec = Codec::None, any;
        /// Level of the codec; `none` is the codec's own default.
        level: Option<i32> = None, any;
        /// Smaller batches are not compressed.
        threshold: u64 = 1024, any;
    }
    where level_fits
}

section! {
    /// Metrics, spans and propagated trace context.
    telemetry: TelemetrySettings {
        /// Whether metrics are recorded.
        metrics: bool = true, any;
        /// Whether spans are made.
        spans: bool = true, any;
        /// Whether each record of a batch gets a span of its own.
        create_spans: bool = false, any;
        /// Whether records carry the trace context of their sender.
        propagate: bool = true, any;
        /// Prefix of the names of floe's own metrics, in place of `floe`; names of the conventions stay as they are.
        metrics_prefix: String = "floe".to_owned(), metric_name;
        /// Id that tells the clients of a process apart; `none` is `floe-1`, `floe-2` and so on.
        client_id: Option<String> = None, any;
        /// Headers that the command-line tool sends with OTLP, as `name=value,name=value`.
        otlp_headers: Option<Secret> = None, if_some(pairs);
    }
}

section! {
    /// Shared groups.
    groups: GroupSettings {
        /// Topic through which the members of shared groups find each other. All members of a group need the same.
        topic: String = "floe-groups".to_owned(), topic_name;
    }
}

section! {
    /// Health checks.
    health: HealthSettings {
        /// Timeout of a check.
        timeout: Duration = Duration::from_secs(5), positive;
        /// Share of a producer's buffer memory in use at which a warning starts.
        queue_warning: f64 = 0.8, share;
    }
}
