//! Results of an outbox: acceptance, counters and the final report.

use crate::Error;

/// A record is in the spool and will be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Accepted {
    /// Offset of the record in the spool, from 0. It says nothing about the offset in the topic.
    pub position: i64,
}

/// Counters of an outbox.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct OutboxStats {
    /// Records accepted by this process.
    pub accepted: u64,
    /// Records delivered by this process, including those that an earlier process had sent without an acknowledgement.
    pub delivered: u64,
    /// Records in the spool that are not known to be delivered.
    pub waiting: u64,
    /// Bytes of the spool.
    pub bytes: u64,
    /// Records dropped to make room, over the life of the spool. Those that were in flight may arrive all the same.
    pub dropped: u64,
    /// Records that the cluster can never accept, over the life of the spool.
    pub rejected: u64,
    /// Error that keeps the outbox from delivering, until the next acknowledgement.
    pub last_error: Option<Error>,
}

/// Final counters of an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OutboxReport {
    /// Records delivered by this process.
    pub delivered: u64,
    /// Records that wait in the spool for the next process that opens it.
    pub waiting: u64,
    /// Records dropped to make room, over the life of the spool.
    pub dropped: u64,
    /// Records that the cluster can never accept, over the life of the spool.
    pub rejected: u64,
}
