//! Settings of a consumer that remain in use after its start.

use std::time::Duration;

#[cfg(doc)]
use super::{Consumer, gap::Gap};
use super::{ack_tracker::AckMode, fetch::FetchSettings};

/// When the offsets of a group are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitPolicy {
    /// Only by [`Consumer::commit`].
    Manual,
    /// At this interval, if records were finished since the last commit, and on close.
    Interval(Duration),
    /// Before the next record or batch is handed out, and on close. Slow. After a crash at most one record is read again.
    PerRecord,
}

/// The reaction to missing records; see [`Gap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GapPolicy {
    /// One error of kind [`ErrorKind::Gap`](crate::ErrorKind::Gap) for each gap. The next call continues after the gap.
    #[default]
    Fail,
    /// A `warn` event, and an entry in [`Consumer::gaps`].
    Report,
    /// A `debug` event, nothing else.
    Skip,
}

/// Settings of a consumer that remain in use after its start.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) commit: CommitPolicy,
    pub(super) ack_mode: AckMode,
    pub(super) gaps: GapPolicy,
    pub(super) fetch: FetchSettings,
}
