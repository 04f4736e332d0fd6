//! Settings of a producer, as its builder collects and checks them.

use std::{fmt, sync::Arc, time::Duration};

use floe_wire::{
    batch::{BatchBuilder, HEADER_LEN, MAX_BATCH_LEN},
    compress::Compression,
};

use super::{delivery::BatchOutcome, partitioner::Partitioner};
pub use crate::config::{DeliveryMode, WhenFull};
use crate::{
    RetryPolicy, SmartModules, WallClock,
    engine::{Acks, Capabilities},
};

/// Largest batch accepted by default, where the engine takes more: a value of 16 MiB, with room for its key, its headers and
/// the framing of the batch.
pub(crate) const DEFAULT_MAX_REQUEST: usize = 16 * 1024 * 1024 + 64 * 1024;

/// Upper bound of linger and timeout: a later deadline could overflow the clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Bytes of a batch with one record, apart from that record.
const BATCH_OVERHEAD: usize = HEADER_LEN + 4;

/// The producer id under which a producer writes, and where it continues; by default a new one.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Producer id in the header of every batch; positive.
    pub(crate) producer_id: i64,
    /// Producer epoch in the header of every batch; not negative.
    pub(crate) epoch: i16,
    /// For each partition the sequence of the next record, and, if known, an offset before which every record of this
    /// producer is acknowledged.
    pub(crate) partitions: Vec<(i32, Option<i64>)>,
}

impl Identity {
    /// A random producer id, which no log fences.
    pub(crate) fn new_id() -> i64 {
        let id = i64::try_from(floe_core::random::bits() >> 1).unwrap_or(i64::MAX);
        floe_core::producer_id::unreserved(id)
    }
}

pub(super) type Callback = Arc<dyn Fn(&BatchOutcome) + Send + Sync>;

/// All settings of a producer.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) linger: Duration,
    pub(super) batch_size: usize,
    pub(super) max_request_size: usize,
    pub(super) buffer_memory: usize,
    pub(super) batch_queue: usize,
    pub(super) when_full: WhenFull,
    pub(super) timeout: Duration,
    pub(super) retries: RetryPolicy,
    pub(super) max_in_flight: usize,
    pub(super) partitioner: Arc<dyn Partitioner>,
    pub(super) compression: Compression,
    /// `None`: follows from `acks`.
    pub(super) delivery: Option<DeliveryMode>,
    pub(super) acks: Acks,
    pub(super) on_delivery: Option<Callback>,
    pub(super) identity: Option<Identity>,
    pub(super) smartmodules: Option<SmartModules>,
    /// Time of records that have none.
    pub(super) clock: WallClock,
}

impl Config {
    /// Checks the settings, and caps sizes and durations at the limits of the engine and the clock.
    ///
    /// # Errors
    /// A message that names the setting and the values it accepts.
    pub(super) fn checked(mut self, capabilities: Capabilities) -> Result<Self, String> {
        let limit = capabilities.max_batch_bytes.min(MAX_BATCH_LEN);
        // The default gives way; a size that was chosen is not cut in silence.
        if self.max_request_size > limit && self.max_request_size != DEFAULT_MAX_REQUEST {
            return Err(format!(
                "max_request_size is {} bytes: the maximum on this engine is {limit}",
                self.max_request_size
            ));
        }
        self.max_request_size = self.max_request_size.min(limit);
        // An empty record must fit.
        let least = BATCH_OVERHEAD + BatchBuilder::record_len(None, &[], &[]);
        if let Some(problem) = self.problem(least) {
            return Err(problem);
        }
        self.batch_size = self.batch_size.clamp(least, self.max_request_size);
        self.linger = self.linger.min(LONGEST);
        self.timeout = self.retries.deadline.unwrap_or(LONGEST).min(self.timeout).min(LONGEST);
        Ok(self)
    }

    fn problem(&self, least: usize) -> Option<String> {
        if self.max_request_size < least {
            Some(format!("max_request_size is {} bytes: the minimum is {least}", self.max_request_size))
        } else if self.batch_size == 0 {
            Some("batch_size is 0: the minimum is 1 byte".to_owned())
        } else if self.buffer_memory == 0 || self.buffer_memory > u32::MAX as usize {
            Some(format!("buffer_memory is {} bytes: it must be 1 to {}", self.buffer_memory, u32::MAX))
        } else if self.batch_queue == 0 {
            Some("batch_queue is 0: the minimum is 1 batch".to_owned())
        } else if self.max_in_flight == 0 {
            Some("max_in_flight is 0: the minimum is 1 batch".to_owned())
        } else if self.timeout.is_zero() {
            Some("timeout is 0: no batch could be acknowledged in time".to_owned())
        } else if self.acks == Acks::None && self.delivery_mode() == DeliveryMode::AtLeastOnce {
            Some("at-least-once delivery needs acks: choose Acks::Leader or Acks::Committed".to_owned())
        } else if let Some(problem) = self.retries.problem() {
            Some(format!("retries: {problem}"))
        } else {
            self.compression.validate().err().map(|error| format!("compression: {error}"))
        }
    }

    pub(super) fn delivery_mode(&self) -> DeliveryMode {
        self.delivery.unwrap_or(match self.acks {
            Acks::None => DeliveryMode::AtMostOnce,
            Acks::Leader | Acks::Committed => DeliveryMode::AtLeastOnce,
        })
    }

    /// Whether a batch that failed for good stops its partition. The owner of a given identity sends the failed records
    /// again, before the records behind them.
    pub(super) fn in_order_only(&self) -> bool {
        self.identity.is_some()
    }

    /// Bytes that a record of this size takes from the memory: a record larger than all of it gets all of it.
    pub(super) fn memory_of(&self, size: usize) -> usize {
        size.min(self.buffer_memory)
    }

    /// Whether a record of this size is larger than the largest batch.
    pub(super) fn is_too_large(&self, size: usize) -> bool {
        let (batch, limit) = self.batch_of(size);
        batch > limit
    }

    /// Bytes of a batch with one record of this size, and their limit.
    pub(super) fn batch_of(&self, size: usize) -> (usize, usize) {
        (size.saturating_add(BATCH_OVERHEAD), self.max_request_size)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("linger", &self.linger)
            .field("batch_size", &self.batch_size)
            .field("delivery", &self.delivery_mode())
            .finish_non_exhaustive()
    }
}
