//! Committed position of a consumer group.

/// Committed position of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Group.
    pub group: String,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Next offset to read.
    pub offset: i64,
    /// Metadata that the consumer stored with the offset; may be empty.
    pub metadata: String,
    /// Commit time, milliseconds since the Unix epoch.
    pub modified_ms: i64,
}
