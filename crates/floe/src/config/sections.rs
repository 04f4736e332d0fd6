//! Every setting: its section, name, type, default and meaning. The types, the parsing and the reference come from here.

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

/// What is known about one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingInfo {
    /// The section it belongs to.
    pub section: &'static str,
    /// Its name inside the section.
    pub name: &'static str,
    /// What it accepts.
    pub form: String,
    /// Its default, as it is written.
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

        /// The sections and what they are about.
        pub(super) const SECTIONS: &[(&str, &[&str])] = &[$((stringify!($section), &[$($about),*]),)*];

        /// Full names of all settings.
        pub(super) const NAMES: &[&str] = &[$($(concat!(stringify!($section), ".", stringify!($name)),)*)*];

        impl Settings {
            /// Reads one setting from text; the error says what is accepted.
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
                    _ => Err("there is no such setting".to_owned()),
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

            /// All there is to know about every setting.
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
    /// What concerns the whole client.
    client: ClientSettings {
        /// Time for one attempt of a call that is neither an append nor waiting for records. `auto` of the layers
        /// applies: engines inside the process have no such limit, unless this was set.
        attempt_timeout: Duration = Duration::from_secs(25), positive;
        /// How long closing waits for deliveries and commits.
        close_timeout: Duration = Duration::from_secs(30), positive;
    }
    /// What producers do unless the program says otherwise.
    producer: ProducerSettings {
        /// How long a batch may wait for more records.
        linger: Duration = Duration::ZERO, any;
        /// Size, before compression, at which a batch is closed; `none` is what suits the engine: 256 KiB on Fluvio,
        /// 64 KiB elsewhere.
        batch_size: Option<u64> = None, positive_if_some;
        /// Largest record or batch accepted; `none` is what the engine takes, at most 16 MiB.
        max_request_size: Option<u64> = None, positive_if_some;
        /// Bytes of records that may wait for their acknowledgement.
        buffer_memory: u64 = 32 * 1024 * 1024, positive;
        /// Closed batches of one partition that may wait.
        batch_queue: u32 = 100, positive;
        /// What happens to a record that finds no room.
        when_full: WhenFull = WhenFull::Wait, any;
        /// Time from the closing of a batch to its acknowledgement, retries included.
        timeout: Duration = Duration::from_secs(30), positive;
        /// Most attempts for one batch; `none` is as many as the timeout allows.
        max_attempts: Option<u32> = None, positive_if_some;
        /// Batches of one partition on their way at once.
        max_in_flight: u32 = 5, positive;
        /// When an append counts as done.
        acks: Acks = Acks::Leader, any;
        /// How hard to try; `none` is at least once, with acks none at most once.
        delivery: Option<DeliveryMode> = None, any;
    }
    /// What consumers do unless the program says otherwise.
    consumer: ConsumerSettings {
        /// Bytes read ahead of the application.
        prefetch_bytes: u64 = 8 * 1024 * 1024, any;
        /// Records read ahead of the application.
        prefetch_records: Option<u32> = None, any;
        /// Bytes of one fetch, about.
        fetch_bytes: u64 = 1024 * 1024, positive;
        /// What to see of records that are not on all replicas yet.
        isolation: Isolation = Isolation::ReadUncommitted, any;
        /// When the offsets of a group are stored.
        commit: CommitPolicy = CommitPolicy::Interval(Duration::from_secs(5)), any;
        /// When a record counts as finished.
        ack_mode: AckMode = AckMode::Auto, any;
        /// What to do when records are missing.
        on_gap: GapPolicy = GapPolicy::Fail, any;
        /// Most attempts in a row to read on after a failure; `none` is for ever.
        max_attempts: Option<u32> = None, positive_if_some;
    }
    /// Connections to each node of a Walrus cluster. Other engines need one connection for many calls.
    pool: PoolSettings {
        /// Connections kept open.
        min: u32 = 2, any;
        /// Most connections.
        max: u32 = 10, positive;
        /// How long a connection beyond the minimum may be idle.
        idle_timeout: Duration = Duration::from_secs(300), positive;
        /// How often idle connections are checked.
        health_interval: Duration = Duration::from_secs(30), positive;
    }
    /// How calls are repeated. The waits between attempts hold for batches and broken readers as well.
    retry: RetrySettings {
        /// Whether failed calls are repeated.
        enabled: Switch = Switch::Auto, any;
        /// Most attempts of a call, the first included.
        max_attempts: u32 = 3, positive;
        /// Upper bound of the wait after the first failure.
        first_delay: Duration = Duration::from_millis(100), any;
        /// What the upper bound is multiplied by after every further failure.
        multiplier: f64 = 2.0, at_least_one;
        /// Largest upper bound.
        max_delay: Duration = Duration::from_secs(5), any;
        /// Time for all attempts of a call together.
        deadline: Option<Duration> = Some(Duration::from_secs(30)), positive_if_some;
    }
    /// When a server that fails is left alone for a while.
    breaker: BreakerSettings {
        /// Whether there is a breaker.
        enabled: Switch = Switch::Auto, any;
        /// Failures in a row after which calls are refused.
        failures: u32 = 5, positive;
        /// How long they are refused.
        open_for: Duration = Duration::from_secs(30), positive;
        /// Calls let through to try it afterwards; when all succeed, it is over.
        trials: u32 = 3, positive;
    }
    /// Bounds on what this client asks of the engine.
    limits: LimitSettings {
        /// Calls running at once.
        concurrency: Option<u32> = None, positive_if_some;
        /// Calls started per second.
        rate: Option<u32> = None, positive_if_some;
        /// Calls that may start at once after a pause; `none` is as many as the rate.
        burst: Option<u32> = None, positive_if_some;
    }
    /// How producers compress batches.
    compression: CompressionSettings {
        /// Whether batches are compressed.
        enabled: bool = true, any;
        /// The codec.
        codec: Codec = Codec::None, any;
        /// Level of the codec; `none` is the codec's own default.
        level: Option<i32> = None, any;
        /// Batches of fewer bytes stay plain.
        threshold: u64 = 1024, any;
    }
    /// What the client tells about itself.
    telemetry: TelemetrySettings {
        /// Whether metrics are recorded.
        metrics: bool = true, any;
        /// Whether spans are made.
        spans: bool = true, any;
        /// Whether each record of a batch gets a span of its own.
        create_spans: bool = false, any;
        /// Whether records carry the trace context of their sender.
        propagate: bool = true, any;
        /// Tells the clients of a process apart.
        client_id: Option<String> = None, any;
        /// Headers that the command line sends with OTLP, as `name=value,name=value`.
        otlp_headers: Option<Secret> = None, pairs_if_some;
    }
    /// When the client counts as healthy.
    health: HealthSettings {
        /// Time for a check.
        timeout: Duration = Duration::from_secs(5), positive;
        /// Share of a producer's memory in use from which on a warning is given.
        queue_warning: f64 = 0.8, share;
    }
}
