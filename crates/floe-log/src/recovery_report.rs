//! Report of what recovery found while a store was opened.

use crate::{LogError, SetAsideLog, offsets::Committed, recovery::Cut};

/// Report of what opening a store found after it was not closed.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Whether the store was closed before; recovery then did not run.
    pub was_clean: bool,
    /// Torn ends that were truncated. The truncated bytes had not been acknowledged as durable.
    pub cuts: Vec<Cut>,
    /// Damaged batches between intact ones. They remain in the log: a reader returns them with a checksum that does not
    /// match.
    pub damaged: Vec<LogError>,
    /// Errors of corrupt partitions. Only these partitions are unusable, and they return this error.
    pub corrupt: Vec<LogError>,
    /// Committed offsets, with their previous values, that lay beyond the end of a partition and were moved back to it:
    /// a power loss took the records before they were synced.
    pub rewound: Vec<Committed>,
    /// Logs that the catalog does not know, found also after a clean close. They are kept in `lost+found/logs`, and
    /// [`Store::adopt`](crate::Store::adopt) takes them back.
    pub set_aside: Vec<SetAsideLog>,
}
