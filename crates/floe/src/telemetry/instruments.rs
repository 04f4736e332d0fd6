//! Instruments of all metrics. Each measurement covers a batch or a call, never a single record.

use opentelemetry::{
    KeyValue, Value,
    metrics::{Counter, Histogram, Meter, UpDownCounter},
};

use super::names::{self, Metric, attribute};
use crate::{Error, Topic};

/// Boundaries in seconds, from the semantic conventions for messaging.
const DURATIONS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Boundaries for the records of a batch.
const COUNTS: [f64; 11] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5];

/// Boundaries for the bytes of a batch, 256 B to 16 MiB.
const SIZES: [f64; 9] =
    [256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

/// The instruments that record at the time of an event; [`names`] describes them.
#[derive(Debug)]
pub(super) struct Instruments {
    pub(super) operation_duration: Histogram<f64>,
    pub(super) sent: Counter<u64>,
    pub(super) consumed: Counter<u64>,
    pub(super) process_duration: Histogram<f64>,
    pub(super) producer_io: Counter<u64>,
    pub(super) producer_batch_messages: Histogram<u64>,
    pub(super) producer_batch_size: Histogram<u64>,
    pub(super) undelivered: Counter<u64>,
    pub(super) consumer_io: Counter<u64>,
    pub(super) consumer_batch_messages: Histogram<u64>,
    pub(super) consumer_batch_size: Histogram<u64>,
    pub(super) gaps: Counter<u64>,
    pub(super) missing: Counter<u64>,
    pub(super) dedup_drops: Counter<u64>,
    pub(super) group_members: UpDownCounter<i64>,
    pub(super) group_rebalances: Counter<u64>,
    pub(super) group_moves: Counter<u64>,
    pub(super) group_evictions: Counter<u64>,
    pub(super) group_fenced_commits: Counter<u64>,
    pub(super) group_handover: Histogram<f64>,
    dead_letters: Counter<u64>,
    retries: Counter<u64>,
    breaker_transitions: Counter<u64>,
    pub(super) connections: UpDownCounter<i64>,
    pub(super) connection_attempts: Counter<u64>,
    pub(super) connection_time: Histogram<f64>,
}

impl Instruments {
    pub(super) fn new(meter: &Meter, prefix: &str) -> Self {
        let counter = |metric: Metric| {
            let counter = meter.u64_counter(metric.name_under(prefix)).with_unit(metric.unit);
            counter.with_description(metric.description).build()
        };
        let seconds = |metric: Metric| {
            let histogram = meter.f64_histogram(metric.name_under(prefix)).with_unit(metric.unit);
            histogram.with_description(metric.description).with_boundaries(DURATIONS.to_vec()).build()
        };
        let amounts = |metric: Metric, boundaries: &[f64]| {
            let histogram = meter.u64_histogram(metric.name_under(prefix)).with_unit(metric.unit);
            histogram.with_description(metric.description).with_boundaries(boundaries.to_vec()).build()
        };
        let level = |metric: Metric| {
            let counter = meter.i64_up_down_counter(metric.name_under(prefix)).with_unit(metric.unit);
            counter.with_description(metric.description).build()
        };
        Self {
            operation_duration: seconds(names::OPERATION_DURATION),
            sent: counter(names::SENT_MESSAGES),
            consumed: counter(names::CONSUMED_MESSAGES),
            process_duration: seconds(names::PROCESS_DURATION),
            producer_io: counter(names::PRODUCER_IO),
            producer_batch_messages: amounts(names::PRODUCER_BATCH_MESSAGES, &COUNTS),
            producer_batch_size: amounts(names::PRODUCER_BATCH_SIZE, &SIZES),
            undelivered: counter(names::UNDELIVERED_MESSAGES),
            consumer_io: counter(names::CONSUMER_IO),
            consumer_batch_messages: amounts(names::CONSUMER_BATCH_MESSAGES, &COUNTS),
            consumer_batch_size: amounts(names::CONSUMER_BATCH_SIZE, &SIZES),
            gaps: counter(names::RECORD_GAPS),
            missing: counter(names::MISSING_MESSAGES),
            dedup_drops: counter(names::DEDUP_DROPS),
            group_members: level(names::GROUP_MEMBERS),
            group_rebalances: counter(names::GROUP_REBALANCES),
            group_moves: counter(names::GROUP_MOVES),
            group_evictions: counter(names::GROUP_EVICTIONS),
            group_fenced_commits: counter(names::GROUP_FENCED_COMMITS),
            group_handover: seconds(names::GROUP_HANDOVER),
            dead_letters: counter(names::DLQ_MESSAGES),
            retries: counter(names::RETRY_ATTEMPTS),
            breaker_transitions: counter(names::BREAKER_TRANSITIONS),
            connections: level(names::CONNECTION_COUNT),
            connection_attempts: counter(names::CONNECTION_ATTEMPTS),
            connection_time: seconds(names::CONNECTION_TIME),
        }
    }

    #[cold]
    pub(super) fn retried(
        &self,
        system: &'static str,
        operation: &'static str,
        topic: Option<&Topic>,
        cause: &Error,
    ) {
        let mut attributes = vec![
            KeyValue::new(attribute::SYSTEM, system),
            KeyValue::new(attribute::OPERATION_NAME, operation),
            KeyValue::new(attribute::ERROR_TYPE, cause.kind().as_str()),
        ];
        attributes.extend(topic.map(destination));
        self.retries.add(1, &attributes);
    }

    #[cold]
    pub(super) fn buried(&self, system: &'static str, topic: &Topic, code: &str) {
        let attributes = [
            KeyValue::new(attribute::SYSTEM, system),
            destination(topic),
            KeyValue::new(attribute::ERROR_TYPE, code.to_owned()),
        ];
        self.dead_letters.add(1, &attributes);
    }

    #[cold]
    pub(super) fn breaker_changed(
        &self,
        system: &'static str,
        endpoint: &str,
        from: &'static str,
        to: &'static str,
    ) {
        let attributes = [
            KeyValue::new(attribute::SYSTEM, system),
            KeyValue::new(attribute::SERVER_ADDRESS, endpoint.to_owned()),
            KeyValue::new(attribute::BREAKER_PREVIOUS_STATE, from),
            KeyValue::new(attribute::BREAKER_STATE, to),
        ];
        self.breaker_transitions.add(1, &attributes);
    }
}

pub(super) fn destination(topic: &Topic) -> KeyValue {
    KeyValue::new(attribute::DESTINATION, topic.shared())
}

/// The number of a partition as text, as the conventions ask; small numbers without an allocation.
pub(super) fn partition_id(partition: u32) -> KeyValue {
    const USUAL: [&str; 16] =
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"];
    let text = match USUAL.get(partition as usize) {
        Some(text) => Value::from(*text),
        None => Value::from(partition.to_string()),
    };
    KeyValue::new(attribute::PARTITION, text)
}
