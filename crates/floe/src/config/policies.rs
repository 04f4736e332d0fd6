//! Policies of producers and consumers, which settings name by words. `producer` and `consumer` re-export them.

use std::time::Duration;

/// Policy for a record that finds no room in the producer's memory.
///
/// Matching is exhaustive on purpose: a program that maps its own settings shall notice a new policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// The call waits. Not forever: batches that cannot be sent fail by
    /// [`ProducerBuilder::timeout`](crate::producer::ProducerBuilder::timeout), and free memory.
    #[default]
    Wait,
    /// The call waits this long at most, then fails with [`ErrorKind::BufferFull`](crate::ErrorKind::BufferFull).
    WaitUpTo(Duration),
    /// The call fails with [`ErrorKind::BufferFull`](crate::ErrorKind::BufferFull) at once.
    Fail,
}

/// Delivery guarantee of a producer. There are two, so matching is exhaustive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryMode {
    /// A batch is retried until it is acknowledged or times out, in order. A batch whose acknowledgement was lost is
    /// looked up in the partition before the retry.
    AtLeastOnce,
    /// A batch is sent once, and the next does not wait for its acknowledgement. Failures are reported, not retried.
    AtMostOnce,
}

/// When the offsets of a group are stored.
///
/// Matching is exhaustive on purpose, as with [`WhenFull`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitPolicy {
    /// Only by [`Consumer::commit`](crate::Consumer::commit).
    Manual,
    /// At this interval, if a record was finished since the last commit, and on close.
    Interval(Duration),
    /// Before the next record (or batch) is handed out, and on close. Slow; a crash redelivers at most one record.
    PerRecord,
}

/// When a record counts as finished, so that an offset beyond it may be stored. Matching is exhaustive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AckMode {
    /// When the next one is asked for: right for a loop that handles one record after the other.
    #[default]
    Auto,
    /// When it was acknowledged by [`Message::ack`](crate::Message::ack) or
    /// [`RecordBatch::ack`](crate::consumer::RecordBatch::ack): right for records handled by several tasks. Stored
    /// offsets follow the oldest record that was not acknowledged.
    Explicit,
}

/// Policy of a consumer for missing records. Matching is exhaustive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GapPolicy {
    /// The consumer returns an error of kind [`ErrorKind::Gap`](crate::ErrorKind::Gap), once for each gap. The next call
    /// goes on after it.
    #[default]
    Fail,
    /// The consumer logs a `warn` event and lists the gap in [`Consumer::gaps`](crate::Consumer::gaps).
    Report,
    /// The consumer logs a `debug` event.
    Skip,
}
