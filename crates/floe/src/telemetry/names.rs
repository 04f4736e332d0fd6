//! Every name that floe gives to metrics, attributes and spans.
//!
//! The names beginning with `messaging.` and `server.` are those of the OpenTelemetry semantic conventions, which are
//! not declared stable yet. That is why they stand in one place, with the version that they come from in
//! [`SCHEMA_URL`]. What the conventions have no name for begins with `floe.`.

/// Name of the instrumentation scope.
pub const SCOPE: &str = "floe";

/// The version of the semantic conventions.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// Names of attributes.
pub mod attribute {
    /// The platform: `fluvio`, `walrus`, or `floe` for the embedded log.
    pub const SYSTEM: &str = "messaging.system";
    /// What was done, such as `send`.
    pub const OPERATION_NAME: &str = "messaging.operation.name";
    /// The kind of what was done: `create`, `send`, `receive`, `process` or `settle`.
    pub const OPERATION_TYPE: &str = "messaging.operation.type";
    /// The topic.
    pub const DESTINATION: &str = "messaging.destination.name";
    /// The partition, as text.
    pub const PARTITION: &str = "messaging.destination.partition.id";
    /// The consumer group.
    pub const GROUP: &str = "messaging.consumer.group.name";
    /// The client; see [`TelemetryOptions::client_id`](crate::telemetry::TelemetryOptions::client_id).
    pub const CLIENT_ID: &str = "messaging.client.id";
    /// How many records a batch has.
    pub const BATCH_COUNT: &str = "messaging.batch.message_count";
    /// Bytes of a payload.
    pub const BODY_SIZE: &str = "messaging.message.body.size";
    /// The code of the error; only where something failed.
    pub const ERROR_TYPE: &str = "error.type";
    /// Host of a connection.
    pub const SERVER_ADDRESS: &str = "server.address";
    /// Port of a connection.
    pub const SERVER_PORT: &str = "server.port";
    /// How often a batch was sent.
    pub const ATTEMPTS: &str = "floe.attempts";
    /// Why records are missing.
    pub const GAP_REASON: &str = "floe.gap.reason";
    /// The state that a circuit breaker went to.
    pub const BREAKER_STATE: &str = "floe.breaker.state";
    /// The state that a circuit breaker came from.
    pub const BREAKER_PREVIOUS_STATE: &str = "floe.breaker.previous_state";
    /// What a queue belongs to: `producer` or `consumer`.
    pub const QUEUE: &str = "floe.queue.name";

    /// Name of the attribute for the offset of a record. Attributes of one platform carry its name.
    #[must_use]
    pub fn offset(system: &str) -> &'static str {
        match system {
            "fluvio" => "messaging.fluvio.offset",
            "walrus" => "messaging.walrus.offset",
            _ => "messaging.floe.offset",
        }
    }
}

/// How a metric is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instrument {
    /// It only grows.
    Counter,
    /// It grows and shrinks.
    UpDownCounter,
    /// It is what it is at the time of looking.
    Gauge,
    /// It counts values by size.
    Histogram,
}

impl Instrument {
    /// The word of the documentation.
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

/// What is fixed about a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it is measured.
    pub instrument: Instrument,
    /// Its unit, in the notation of OpenTelemetry.
    pub unit: &'static str,
    /// The attributes that it may have.
    pub attributes: &'static [&'static str],
    /// What it says, and when it is recorded.
    pub description: &'static str,
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
        "Duration of each call of the engine, each attempt of an append, and each wait for records.";
    SENT_MESSAGES = "messaging.client.sent.messages", Counter, "{message}",
        [SYSTEM, OPERATION_NAME, DESTINATION, PARTITION, ERROR_TYPE],
        "Records that a producer tried to send, each attempt counted, whether it succeeded or not.";
    CONSUMED_MESSAGES = "messaging.client.consumed.messages", Counter, "{message}",
        [SYSTEM, OPERATION_NAME, DESTINATION, PARTITION, GROUP],
        "Records handed to the application.";
    PROCESS_DURATION = "messaging.process.duration", Histogram, "s",
        [SYSTEM, OPERATION_NAME, DESTINATION, ERROR_TYPE],
        "Duration of the handling of a record by the application.";
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
        "Records that a producer gave up.";
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
        "Records between the position of a consumer and the end of the partition. Looked up every 5 seconds while somebody collects.";
    CONSUMER_LAG_TIME = "floe.consumer.lag.time", Gauge, "s",
        [SYSTEM, DESTINATION, PARTITION, GROUP, CLIENT_ID],
        "Age of the first record of the batch handed out last; 0 when nothing is left to read.";
    QUEUE_USAGE = "floe.queue.usage", UpDownCounter, "By",
        [SYSTEM, DESTINATION, CLIENT_ID, QUEUE],
        "Bytes that wait: in a producer for their acknowledgement, in a consumer for the application.";
    QUEUE_LIMIT = "floe.queue.limit", UpDownCounter, "By",
        [SYSTEM, DESTINATION, CLIENT_ID, QUEUE],
        "Bytes that may wait.";
    RECORD_GAPS = "floe.record.gaps", Counter, "{gap}",
        [SYSTEM, DESTINATION, PARTITION, GROUP, GAP_REASON],
        "Gaps in what a consumer read.";
    MISSING_MESSAGES = "floe.record.missing.messages", Counter, "{message}",
        [SYSTEM, DESTINATION, PARTITION, GROUP, GAP_REASON],
        "Offsets that fell into gaps.";
    DEDUP_DROPS = "floe.dedup.drops", Counter, "{message}",
        [SYSTEM, DESTINATION, PARTITION],
        "Records that a consumer dropped because they had come before.";
    DLQ_MESSAGES = "floe.dlq.messages", Counter, "{message}",
        [SYSTEM, DESTINATION, ERROR_TYPE],
        "Records that a processor gave up and wrote to its dead-letter topic, by the topic that they came from.";
    RETRY_ATTEMPTS = "floe.retry.attempts", Counter, "{attempt}",
        [SYSTEM, OPERATION_NAME, DESTINATION, ERROR_TYPE],
        "Attempts after the first: batches sent again, readers opened again, calls repeated. With the error of the attempt before.";
    BREAKER_TRANSITIONS = "floe.breaker.transitions", Counter, "{transition}",
        [SYSTEM, SERVER_ADDRESS, BREAKER_STATE, BREAKER_PREVIOUS_STATE],
        "Changes of state of a circuit breaker.";
    CONNECTION_COUNT = "floe.connection.count", UpDownCounter, "{connection}",
        [SYSTEM, SERVER_ADDRESS, SERVER_PORT],
        "Connections that are open.";
    CONNECTION_ATTEMPTS = "floe.connection.attempts", Counter, "{attempt}",
        [SYSTEM, SERVER_ADDRESS, SERVER_PORT, ERROR_TYPE],
        "Connections that were tried; with an error those that failed.";
    CONNECTION_TIME = "floe.connection.create_time", Histogram, "s",
        [SYSTEM, SERVER_ADDRESS, SERVER_PORT, ERROR_TYPE],
        "Time that it took to open a connection, or to fail.";
}

/// What is fixed about a kind of span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpanType {
    /// The operation: the first word of the span's name, before the topic, and its `messaging.operation.name`.
    pub operation: &'static str,
    /// `producer`, `consumer` or `client`.
    pub kind: &'static str,
    /// Its `messaging.operation.type`.
    pub operation_type: &'static str,
    /// The attributes that it may have besides system, operation and topic, which all have.
    pub attributes: &'static [&'static str],
    /// What it covers.
    pub description: &'static str,
}

const ANY_OFFSET: &str = "messaging.<system>.offset";

/// One record on its way from the call to the acknowledgement.
pub const SEND_ONE: SpanType = SpanType {
    operation: "send",
    kind: "producer",
    operation_type: "send",
    attributes: &[attribute::PARTITION, ANY_OFFSET, attribute::BODY_SIZE, attribute::ERROR_TYPE],
    description: "One `Producer::send` inside an active span. The record carries its context.",
};

/// One batch on its way to the engine.
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
    description: "One wait for records, until a batch is handed to the application; also a batch that was there \
                  already, if its records carry headers. Linked to up to 128 contexts of its records.",
};

/// A record in the hands of the application.
pub const PROCESS: SpanType = SpanType {
    operation: "process",
    kind: "consumer",
    operation_type: "process",
    attributes: &[attribute::PARTITION, ANY_OFFSET, attribute::ERROR_TYPE],
    description: "What runs inside `Telemetry::process`, and each attempt of a processor. Linked to the context of the record, or its child with \
                  `process_as_child`.",
};

/// Offsets that are stored.
pub const COMMIT: SpanType = SpanType {
    operation: "commit",
    kind: "client",
    operation_type: "settle",
    attributes: &[attribute::PARTITION, attribute::ERROR_TYPE],
    description: "One commit of offsets.",
};

/// All kinds of spans.
pub const SPANS: &[SpanType] = &[SEND_ONE, SEND_BATCH, CREATE, RECEIVE, PROCESS, COMMIT];
