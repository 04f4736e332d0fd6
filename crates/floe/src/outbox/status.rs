//! What an outbox has done.

use crate::Error;

/// What an outbox has done so far.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct OutboxStats {
    /// Records accepted by this process and in the local log.
    pub accepted: u64,
    /// Records delivered by this process, those included that an earlier one had sent without learning it.
    pub delivered: u64,
    /// Records in the local log that are not known to be delivered.
    pub waiting: u64,
    /// Bytes of the local log.
    pub bytes: u64,
    /// Records given up to make room, over the whole life of the log; of those on their way some may arrive.
    pub dropped: u64,
    /// Records that the cluster can never take, over the whole life of the log.
    pub rejected: u64,
    /// Why nothing is delivered at present.
    pub last_error: Option<Error>,
}

/// How an outbox ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OutboxReport {
    /// Records delivered by this process.
    pub delivered: u64,
    /// Records that wait in the local log for the next process that opens it.
    pub waiting: u64,
    /// Records given up to make room, over the whole life of the log.
    pub dropped: u64,
    /// Records that the cluster can never take, over the whole life of the log.
    pub rejected: u64,
}
