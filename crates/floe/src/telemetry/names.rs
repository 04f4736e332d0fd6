//! Names of all metrics, attributes and spans.
//!
//! Names with the prefix `messaging.` or `server.` come from the OpenTelemetry semantic conventions for messaging, which
//! are not stable yet; [`SCHEMA_URL`] holds their version. Names that the conventions lack have the prefix `floe.`.

use std::borrow::Cow;

/// Name of the instrumentation scope.
pub const SCOPE: &str = "floe";

/// The version of the semantic conventions.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// Names of attributes.
pub mod attribute {
    /// The platform: `fluvio`, `walrus`, or `floe` for the embedded log.
    pub const SYSTEM: &str = "messaging.system";
    /// Operation, such as `send`.
    pub const OPERATION_NAME: &str = "messaging.operation.name";
    /// Type of the operation: `create`, `send`, `receive`, `process` or `settle`; `coordinate`, which the conventions lack, for
    /// the work of a member of a shared group.
    pub const OPERATION_TYPE: &str = "messaging.operation.type";
    /// The topic.
    pub const DESTINATION: &str = "messaging.destination.name";
    /// The partition, as text.
    pub const PARTITION: &str = "messaging.destination.partition.id";
    /// The consumer group.
    pub const GROUP: &str = "messaging.consumer.group.name";
    /// The client; see [`TelemetryOptions::client_id`](crate::telemetry::TelemetryOptions::client_id).
    pub const CLIENT_ID: &str = "messaging.client.id";
    /// Records in a batch.
    pub const BATCH_COUNT: &str = "messaging.batch.message_count";
    /// Bytes of a payload.
    pub const BODY_SIZE: &str = "messaging.message.body.size";
    /// Code of the error; absent on success.
    pub const ERROR_TYPE: &str = "error.type";
    /// Host of a connection.
    pub const SERVER_ADDRESS: &str = "server.address";
    /// Port of a connection.
    pub const SERVER_PORT: &str = "server.port";
    /// Attempts to send a batch.
    pub const ATTEMPTS: &str = "floe.attempts";
    /// Reason of a gap.
    pub const GAP_REASON: &str = "floe.gap.reason";
    /// New state of a circuit breaker.
    pub const BREAKER_STATE: &str = "floe.breaker.state";
    /// Previous state of a circuit breaker.
    pub const BREAKER_PREVIOUS_STATE: &str = "floe.breaker.previous_state";
    /// Change of the partitions of a member: `assigned`, `revoked` or `lost`.
    pub const GROUP_CHANGE: &str = "floe.group.change";
    /// Reason of an eviction: `silent` for one by this member, `removed` or `replaced` for one of it.
    pub const EVICTION_REASON: &str = "floe.group.eviction.reason";
    /// Owner of a queue: `producer` or `consumer`.
    pub const QUEUE: &str = "floe.queue.name";

    /// Returns the attribute for the offset of a record, which has the name of the platform in it.
    #[must_use]
    pub fn offset(system: &str) -> &'static str {
        match system {
            "fluvio" => "messaging.fluvio.offset",
            "walrus" => "messaging.walrus.offset",
            _ => "messaging.floe.offset",
        }
    }
}

/// Instrument of a metric, in the terms of OpenTelemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instrument {
    /// A sum that only grows.
    Counter,
    /// A sum that grows and shrinks.
    UpDownCounter,
    /// A value at the time of collection.
    Gauge,
    /// A distribution of values.
    Histogram,
}

impl Instrument {
    /// Returns the name that the documentation uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::UpDownCounter => "up-down counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Definition of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its instrument.
    pub instrument: Instrument,
    /// Its unit, in the notation of OpenTelemetry.
    pub unit: &'static str,
    /// The attributes that it may have.
    pub attributes: &'static [&'static str],
    /// What it measures, and when.
    pub description: &'static str,
}

impl Metric {
    /// Returns the name under a prefix in place of `floe`, which names of the conventions do not have.
    #[must_use]
    pub fn name_under(&self, prefix: &str) -> Cow<'static, str> {
        under(self.name, prefix)
    }
}

/// Returns the name of a metric under a prefix in place of `floe`, which names of the conventions do not have.
///
/// ```
/// assert_eq!(floe::telemetry::names::under("floe.server.ready", "acme"), "acme.server.ready");
/// assert_eq!(floe::telemetry::names::under("messaging.process.duration", "acme"), "messaging.process.duration");
/// ```
#[must_use]
pub fn under<'n>(name: &'n str, prefix: &str) -> Cow<'n, str> {
    match name.strip_prefix("floe.") {
        Some(rest) if prefix != "floe" => Cow::Owned(format!("{prefix}.{rest}")),
        _ => Cow::Borrowed(name),
    }
}

macro_rules! metrics {
    ($($constant:ident = $name:literal, $instrument:ident, $unit:literal, [$($attribute:ident),*], $description:literal;)*) => {
        $(
            #[doc = $description]
            pub const $constant: Metric = Metric {
                name: $name,
                instrument: Instrument::$instrument,
                unit: $unit,
                attributes: &[$(attribute::$attribute),*],
                description: $description,
            };
        )*

        /// All metrics.
        pub const METRICS: &[Metric] = &[$($constant,)*];
    };
}

metrics! {
    OPERATION_DURATION = "messaging.client.operation.duration", Histogram, "s",
        [SYSTEM, OPERATION_NAME, OPERATION_TYPE, DESTINATION, GROUP, ERROR_TYPE],
        "Duration of each engine call, each attempt of an append, and each wait for records.";
    SENT_MESSAGES = "messaging.client.sent.messages", Counter, "{message}",
        [SYSTEM, OPERATION_NAME, DESTINATION, PARTITION, ERROR_TYPE],
        "Records that a producer tried to send, each attempt counted, whether it succeeded or not.";
    CONSUMED_MESSAGES = "messaging.client.consumed.messages", Counter, "{message}",
        [SYSTEM, OPERATION_NAME, DESTINATION, PARTITION, GROUP],
        "Records handed to the application.";
    PROCESS_DURATION = "messaging.process.duration", Histogram, "s",
        [SYSTEM, OPERATION_NAME, DESTINATION, ERROR_TYPE],
        "Duration of the processing of a record by the application.";
    PRODUCER_IO = "floe.producer.io", Counter, "By",
        [SYSTEM, OPERATION_NAME, DESTINATION, PARTITION, ERROR_TYPE],
        "Bytes of batches that a producer tried to send, as sent, each attempt counted.";
    PRODUCER_BATCH_MESSAGES = "floe.producer.batch.messages", Histogram, "{message}",
        [SYSTEM, DESTINATION],
        "Records in each batch that a producer made.";
    PRODUCER_BATCH_SIZE = "floe.producer.batch.size", Histogram, "By",
        [SYSTEM, DESTINATION],
        "Size of each batch that a producer made, as sent.";
    UNDELIVERED_MESSAGES = "floe.producer.undelivered.messages", Counter, "{message}",
        [SYSTEM, DESTINATION, ERROR_TYPE],
        "Records whose delivery failed for good.";
    CONSUMER_IO = "floe.consumer.io", Counter, "By",
        [SYSTEM, DESTINATION, PARTITION],
        "Bytes of batches that a consumer fetched, as received.";
    CONSUMER_BATCH_MESSAGES = "floe.consumer.batch.messages", Histogram, "{message}",
        [SYSTEM, DESTINATION],
        "Records in each batch that a consumer fetched.";
    CONSUMER_BATCH_SIZE = "floe.consumer.batch.size", Histogram, "By",
        [SYSTEM, DESTINATION],
        "Size of each batch that a consumer fetched, as received.";
    CONSUMER_LAG = "floe.consumer.lag", Gauge, "{message}",
        [SYSTEM, DESTINATION, PARTITION, GROUP, CLIENT_ID],
        "Records between the position of a consumer and the end of the partition. Looked up every 5 seconds while metrics are collected.";
    CONSUMER_LAG_TIME = "floe.consumer.lag.time", Gauge, "s",
        [SYSTEM, DESTINATION, PARTITION, GROUP, CLIENT_ID],
        "Age of the first record of the batch handed out last; 0 when nothing is left to read.";
    QUEUE_USAGE = "floe.queue.usage", UpDownCounter, "By",
        [SYSTEM, DESTINATION, CLIENT_ID, QUEUE],
        "Bytes buffered in a producer until their acknowledgement, or in a consumer until the application takes them.";
    QUEUE_LIMIT = "floe.queue.limit", UpDownCounter, "By",
        [SYSTEM, DESTINATION, CLIENT_ID, QUEUE],
        "Most bytes that may be buffered.";
    RECORD_GAPS = "floe.record.gaps", Counter, "{gap}",
        [SYSTEM, DESTINATION, PARTITION, GROUP, GAP_REASON],
        "Gaps that a consumer found in a partition.";
    MISSING_MESSAGES = "floe.record.missing.messages", Counter, "{message}",
        [SYSTEM, DESTINATION, PARTITION, GROUP, GAP_REASON],
        "Offsets inside those gaps.";
    DEDUP_DROPS = "floe.dedup.drops", Counter, "{message}",
        [SYSTEM, DESTINATION, PARTITION],
        "Duplicate records that a consumer dropped.";
    GROUP_MEMBERS = "floe.group.members", UpDownCounter, "{member}",
        [SYSTEM, GROUP],
        "Members of a shared group in this client; the sum over all clients is the group.";
    GROUP_REBALANCES = "floe.group.rebalances", Counter, "{rebalance}",
        [SYSTEM, GROUP],
        "Changes of members, topics or numbers of partitions that a member has seen.";
    GROUP_MOVES = "floe.group.moves", Counter, "{partition}",
        [SYSTEM, DESTINATION, GROUP, GROUP_CHANGE],
        "Partitions that a member got, gave to another one, or lost.";
    GROUP_EVICTIONS = "floe.group.evictions", Counter, "{eviction}",
        [SYSTEM, GROUP, EVICTION_REASON],
        "Evictions by a member of silent ones, and of it.";
    GROUP_FENCED_COMMITS = "floe.group.fenced_commits", Counter, "{commit}",
        [SYSTEM, GROUP],
        "Commits of partitions that another member had taken over.";
    GROUP_HANDOVER = "floe.group.handover.duration", Histogram, "s",
        [SYSTEM, DESTINATION, GROUP],
        "Time in which no member reads a partition that moves: until the records in hand are finished and the next member has it.";
    DLQ_MESSAGES = "floe.dlq.messages", Counter, "{message}",
        [SYSTEM, DESTINATION, ERROR_TYPE],
        "Records that a processor wrote to its dead-letter topic, by their topic of origin.";
    RETRY_ATTEMPTS = "floe.retry.attempts", Counter, "{attempt}",
        [SYSTEM, OPERATION_NAME, DESTINATION, ERROR_TYPE],
        "Retries of batches, readers and calls, with the error of the attempt before.";
    BREAKER_TRANSITIONS = "floe.breaker.transitions", Counter, "{transition}",
        [SYSTEM, SERVER_ADDRESS, BREAKER_STATE, BREAKER_PREVIOUS_STATE],
        "State changes of circuit breakers.";
    CONNECTION_COUNT = "floe.connection.count", UpDownCounter, "{connection}",
        [SYSTEM, SERVER_ADDRESS, SERVER_PORT],
        "Open connections.";
    CONNECTION_ATTEMPTS = "floe.connection.attempts", Counter, "{attempt}",
        [SYSTEM, SERVER_ADDRESS, SERVER_PORT, ERROR_TYPE],
        "Attempts to connect; failed ones have an error type.";
    CONNECTION_TIME = "floe.connection.create_time", Histogram, "s",
        [SYSTEM, SERVER_ADDRESS, SERVER_PORT, ERROR_TYPE],
        "Time until a connection was open or failed.";
}

/// Definition of a kind of span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpanType {
    /// The operation: the first word of the span's name, before the topic, and its `messaging.operation.name`.
    pub operation: &'static str,
    /// `producer`, `consumer` or `client`.
    pub kind: &'static str,
    /// Its `messaging.operation.type`.
    pub operation_type: &'static str,
    /// Attributes besides system, operation and topic, which every span has.
    pub attributes: &'static [&'static str],
    /// What it covers.
    pub description: &'static str,
}

const ANY_OFFSET: &str = "messaging.<system>.offset";

/// One record, from the call to the acknowledgement.
pub const SEND_ONE: SpanType = SpanType {
    operation: "send",
    kind: "producer",
    operation_type: "send",
    attributes: &[attribute::PARTITION, ANY_OFFSET, attribute::BODY_SIZE, attribute::ERROR_TYPE],
    description: "One `Producer::send` inside an active span. The record carries its context.",
};

/// One batch, from the first attempt to the outcome.
pub const SEND_BATCH: SpanType = SpanType {
    operation: "send",
    kind: "client",
    operation_type: "send",
    attributes: &[
        attribute::PARTITION,
        attribute::BATCH_COUNT,
        ANY_OFFSET,
        attribute::ATTEMPTS,
        attribute::ERROR_TYPE,
    ],
    description: "One batch, from its first attempt to its outcome. Child of the context of its records if they \
                  share one, else linked to up to 128 of them.",
};

/// One record that joins a batch.
pub const CREATE: SpanType = SpanType {
    operation: "create",
    kind: "producer",
    operation_type: "create",
    attributes: &[attribute::BODY_SIZE],
    description: "One record buffered by `enqueue`, `enqueue_all` or `send_all` inside an active span; off unless \
                  `create_spans` is set. The record carries its context.",
};

/// Records handed to the application.
pub const RECEIVE: SpanType = SpanType {
    operation: "receive",
    kind: "client",
    operation_type: "receive",
    attributes: &[attribute::PARTITION, attribute::GROUP, attribute::BATCH_COUNT, ANY_OFFSET],
    description: "One wait for records, until a batch is handed to the application; also a prefetched batch whose \
                  records carry headers. Linked to up to 128 contexts of its records.",
};

/// Processing of a record by the application.
pub const PROCESS: SpanType = SpanType {
    operation: "process",
    kind: "consumer",
    operation_type: "process",
    attributes: &[attribute::PARTITION, ANY_OFFSET, attribute::ERROR_TYPE],
    description: "Work inside `Telemetry::process`, and each attempt of a processor. Linked to the context of the \
                  record, or its child with `process_as_child`.",
};

/// A commit of offsets.
pub const COMMIT: SpanType = SpanType {
    operation: "commit",
    kind: "client",
    operation_type: "settle",
    attributes: &[attribute::PARTITION, attribute::ERROR_TYPE],
    description: "One commit of offsets.",
};

/// A join of a shared group.
pub const JOIN: SpanType = SpanType {
    operation: "join",
    kind: "client",
    operation_type: "coordinate",
    attributes: &[attribute::GROUP],
    description: "One join of a shared group, from the record that asks for it until the member has read it back.",
};

/// A partition that a member of a shared group gets.
pub const ASSIGN: SpanType = SpanType {
    operation: "assign",
    kind: "client",
    operation_type: "coordinate",
    attributes: &[attribute::PARTITION, attribute::GROUP],
    description: "A partition that a member of a shared group has got, from its lease until the consumer reads it.",
};

/// A partition that a member of a shared group gives to another one.
pub const DRAIN: SpanType = SpanType {
    operation: "drain",
    kind: "client",
    operation_type: "coordinate",
    attributes: &[attribute::PARTITION, attribute::GROUP],
    description: "A partition that moves to another member of a shared group, from the last record that is handed out \
                  until the other member has it.",
};

/// The partitions of a silent member of a shared group go to others.
pub const TAKE_OVER: SpanType = SpanType {
    operation: "take_over",
    kind: "client",
    operation_type: "coordinate",
    attributes: &[attribute::GROUP],
    description: "The silence of a member of a shared group, from its last record until this member evicts it.",
};

/// All kinds of spans.
pub const SPANS: &[SpanType] =
    &[SEND_ONE, SEND_BATCH, CREATE, RECEIVE, PROCESS, COMMIT, JOIN, ASSIGN, DRAIN, TAKE_OVER];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_metric_is_well_formed() {
        let names: HashSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for Metric { name, instrument, unit, attributes, description } in METRICS {
            assert!(name.starts_with("messaging.") || name.starts_with("floe."), "{name}");
            assert!(
                ["s", "By"].contains(unit) || unit.starts_with('{') && unit.ends_with('}'),
                "{name}: {unit}"
            );
            assert_eq!(attributes.first(), Some(&attribute::SYSTEM), "{name}");
            assert_eq!(attributes.iter().collect::<HashSet<_>>().len(), attributes.len(), "{name}");
            assert!(description.ends_with('.'), "{name}: {description}");
            assert!(*instrument == Instrument::Histogram || *unit != "s" || name.contains("lag"), "{name}");
        }
    }

    #[test]
    fn every_span_is_well_formed() {
        for SpanType { operation, kind, operation_type, attributes, description } in SPANS {
            assert!(["producer", "consumer", "client"].contains(kind), "{operation}: {kind}");
            let types = ["create", "send", "receive", "process", "settle", "coordinate"];
            assert!(types.contains(operation_type), "{operation}: {operation_type}");
            assert_eq!(attributes.iter().collect::<HashSet<_>>().len(), attributes.len(), "{operation}");
            assert!(description.ends_with('.'), "{operation}: {description}");
        }
    }
}
