//! Injected bugs of the members of a shared group, which the rules must detect.

use floe_group::GroupRecord;
use floe_wire::batch::EncodedBatch;

/// Injected bug of the members of a shared group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misdeed {
    /// No bug.
    None,
    /// The offset of a record is stored before the record is handled.
    CommitAhead,
    /// A member under a strict fence goes on while it cannot prove that it lives.
    OutliveTheFence,
    /// Every second member passes over evictions.
    IgnoreEvictions,
}

impl Misdeed {
    /// Whether the bug shows only where a member is away for longer than its session.
    pub(crate) fn needs_absence(self) -> bool {
        matches!(self, Self::OutliveTheFence | Self::IgnoreEvictions)
    }
}

/// Whether a batch of the coordination topic evicts a member.
pub(crate) fn evicts(batch: &EncodedBatch) -> bool {
    let Ok(mut records) = batch.records() else { return false };
    records.any(|record| {
        record.is_ok_and(|record| matches!(GroupRecord::decode(&record.value), Ok(GroupRecord::Evict(_))))
    })
}
