//! All settings: section, name, type, default and meaning. One table generates the types, the parser and the reference.

use std::time::Duration;

use super::{
    policies::{AckMode, CommitPolicy, DeliveryMode, GapPolicy, WhenFull},
    secret::Secret,
    value::{Setting, Switch, any, at_least_one, pairs_if_some, positive, positive_if_some, share},
};
use crate::{
    Codec,
    engine::{Acks, Isolation},
};

/// Documentation of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingInfo {
    /// Its section.
    pub section: &'static str,
    /// Its name inside the section.
    pub name: &'static str,
    /// Accepted values.
    pub form: String,
    /// Its default, in the notation of a file.
    pub default: String,
    /// What it does.
    pub meaning: String,
}

macro_rules! settings {
    ($(
        $(#[doc = $about:literal])*
        $section:ident: $type:ident {
            $($(#[doc = $meaning:literal])* $name:ident: $value:ty = $default:expr, $check:ident;)*
        }
    )*) => {
        $(
            $(#[doc = $about])*
            #[derive(Debug, Clone, PartialEq)]
            #[non_exhaustive]
            pub struct $type {
                $($(#[doc = $meaning])* pub $name: $value,)*
            }

            impl Default for $type {
                fn default() -> Self {
                    Self { $($name: $default,)* }
                }
            }
        )*

        /// The typed settings of every section.
        #[derive(Debug, Clone, PartialEq, Default)]
        #[non_exhaustive]
        pub struct Settings {
            $($(#[doc = $about])* pub $section: $type,)*
        }

        /// The sections with their descriptions.
        pub(super) const SECTIONS: &[(&str, &[&str])] = &[$((stringify!($section), &[$($about),*]),)*];

        /// Full names of all settings.
        pub(super) const NAMES: &[&str] = &[$($(concat!(stringify!($section), ".", stringify!($name)),)*)*];

        impl Settings {
            /// Parses one setting; the error says what it accepts.
            pub(super) fn set(&mut self, key: &str, text: &str) -> Result<(), String> {
                match key {
                    $($(concat!(stringify!($section), ".", stringify!($name)) => {
                        let value = <$value as Setting>::read(text)?;
                        match $check(&value) {
                            Some(problem) => Err(problem.to_owned()),
                            None => {
                                self.$section.$name = value;
                                Ok(())
                            }
                        }
                    })*)*
                    _ => Err("unknown setting".to_owned()),
                }
            }

            /// The value of a setting as text.
            #[must_use]
            pub(super) fn show(&self, key: &str) -> Option<String> {
                match key {
                    $($(concat!(stringify!($section), ".", stringify!($name)) =>
                        Some(Setting::show(&self.$section.$name)),)*)*
                    _ => None,
                }
            }

            /// Returns the documentation of all settings.
            #[must_use]
            pub fn reference() -> Vec<SettingInfo> {
                let defaults = Self::default();
                vec![$($(SettingInfo {
                    section: stringify!($section),
                    name: stringify!($name),
                    form: <$value as Setting>::form(),
                    default: Setting::show(&defaults.$section.$name),
                    meaning: [$($meaning),*].map(str::trim).join(" "),
                },)*)*]
            }
        }
    };
}

settings! {
    /// The client as a whole.
    client: ClientSettings {
        /// Timeout of one attempt of a call, except appends and the wait for records. Engines inside the process have no
        /// timeout unless this is set.
        attempt_timeout: Duration = Duration::from_secs(25), positive;
        /// How long a close waits for deliveries and commits.
        close_timeout: Duration = Duration::from_secs(30), positive;
    }
    /// Defaults of producers.
    producer: ProducerSettings {
        /// How long a batch may wait for more records.
        linger: Duration = Duration::ZERO, any;
        /// Size, before compression, at which a batch is closed; `none` is the default of the engine: 256 KiB on Fluvio,
        /// 64 KiB elsewhere.
        batch_size: Option<u64> = None, positive_if_some;
        /// Largest batch accepted, and with it the largest record; `none` is the limit of the engine, at most 16 MiB for a
        /// value and 64 KiB for the rest.
        max_request_size: Option<u64> = None, positive_if_some;
        /// Bytes of buffered and unacknowledged records.
        buffer_memory: u64 = 32 * 1024 * 1024, positive;
        /// Closed batches queued for one partition.
        batch_queue: u32 = 100, positive;
        /// What happens when the buffer memory is full.
        when_full: WhenFull = WhenFull::Wait, any;
        /// Time from the closing of a batch to its acknowledgement, retries included.
        timeout: Duration = Duration::from_secs(30), positive;
        /// Most attempts to send one batch; `none` is as many as the timeout allows.
        max_attempts: Option<u32> = None, positive_if_some;
        /// Batches of one partition in flight at once.
        max_in_flight: u32 = 5, positive;
        /// When an append is acknowledged.
        acks: Acks = Acks::Leader, any;
        /// Delivery guarantee; `none` is at least once, with acks none at most once.
        delivery: Option<DeliveryMode> = None, any;
    }
    /// Defaults of consumers.
    consumer: ConsumerSettings {
        /// Bytes prefetched.
        prefetch_bytes: u64 = 8 * 1024 * 1024, positive;
        /// Records prefetched; `none` is bounded by the bytes alone.
        prefetch_records: Option<u32> = None, positive_if_some;
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
        max_attempts: Option<u32> = None, positive_if_some;
    }
    /// Connection pool of each node of a Walrus cluster. Other engines multiplex calls over one connection.
    pool: PoolSettings {
        /// Connections that stay open.
        min: u32 = 2, any;
        /// Most connections.
        max: u32 = 10, positive;
        /// Idle time after which a connection beyond the minimum is closed.
        idle_timeout: Duration = Duration::from_secs(300), positive;
        /// Interval of the health checks of idle connections.
        health_interval: Duration = Duration::from_secs(30), positive;
    }
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
        deadline: Option<Duration> = Some(Duration::from_secs(30)), positive_if_some;
    }
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
    /// Bounds on the calls of this client.
    limits: LimitSettings {
        /// Concurrent calls.
        concurrency: Option<u32> = None, positive_if_some;
        /// Calls started per second.
        rate: Option<u32> = None, positive_if_some;
        /// Burst: calls that may start at once after a pause; `none` is as many as the rate.
        burst: Option<u32> = None, positive_if_some;
    }
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
        /// Id that tells the clients of a process apart; `none` is `floe-1`, `floe-2` and so on.
        client_id: Option<String> = None, any;
        /// Headers that the command-line tool sends with OTLP, as `name=value,name=value`.
        otlp_headers: Option<Secret> = None, pairs_if_some;
    }
    /// Health checks.
    health: HealthSettings {
        /// Timeout of a check.
        timeout: Duration = Duration::from_secs(5), positive;
        /// Share of a producer's buffer memory in use at which a warning starts.
        queue_warning: f64 = 0.8, share;
    }
}
