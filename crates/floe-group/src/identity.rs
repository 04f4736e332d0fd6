//! Names of members, partitions and leases.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest topic name or instance name, in bytes.
const MAX_NAME_LEN: usize = 1024;

/// Newest algorithm of distribution. A group uses the newest that all members know; so far there is one.
pub(crate) const NEWEST_ALGORITHM: u8 = 1;

/// Identity of a member: random, chosen by its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemberId(pub u128);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Partition of a topic that a group reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupPartition {
    /// Topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: u32,
}

impl GroupPartition {
    /// Names a partition.
    #[must_use]
    pub fn new(topic: impl Into<String>, partition: u32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

/// A partition under the lease that a member holds on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The partition.
    pub partition: GroupPartition,
    /// Offset of the record that granted the lease.
    pub lease: i64,
}

pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_LEN
}
