//! Report of what recovery found while a store was opened.

use crate::{LogError, offsets::Committed, recovery::Cut};

/// What opening a store found after it was not closed properly.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Whether the store was closed properly before; then nothing was searched.
    pub was_clean: bool,
    /// Incomplete ends that were cut off. What was cut had not been acknowledged as durable.
    pub cuts: Vec<Cut>,
    /// Batches that are damaged while everything around them is whole. They stay where they are: a reader meets them
    /// with a wrong checksum.
    pub damaged: Vec<LogError>,
    /// Partitions that cannot be used: they, and only they, answer with this error.
    pub corrupt: Vec<LogError>,
    /// Committed offsets, as they were, that lay behind the end of a partition and were moved back to it: the power
    /// was lost before the records were synced.
    pub rewound: Vec<Committed>,
}
