//! Report of what opening a store and its partitions found.

use std::path::PathBuf;

use crate::{LogError, committed::Committed};

/// Report of what opening a store found. After a clean close partitions open on first use, so their part is complete
/// only then.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Whether the store was closed before; recovery of all partitions then did not run.
    pub was_clean: bool,
    /// Torn ends that were truncated.
    pub cuts: Vec<Cut>,
    /// Damaged batches between intact ones. They remain in the log: a reader returns them with a checksum that does not
    /// match.
    pub damaged: Vec<LogError>,
    /// Ranges of offsets that are lost: damaged bytes without a readable batch, missing files, or a log that ends before
    /// records that were acknowledged as durable. Readers skip them and report them in [`Chunk::gaps`](crate::Chunk).
    pub gaps: Vec<Gap>,
    /// Errors of corrupt partitions. Only these partitions are unusable, and they return this error.
    pub corrupt: Vec<LogError>,
    /// Committed offsets, with their previous values, that lay beyond the end of a partition and were moved back to it:
    /// a power loss took the records before they were synced.
    pub rewound: Vec<Committed>,
    /// Logs that the catalog does not know, found also after a clean close. They are kept in `lost+found/logs`, and
    /// [`Store::adopt`](crate::Store::adopt) takes them back.
    pub set_aside: Vec<SetAsideLog>,
    /// Problems of the catalog that the store survived: its last change was torn and is undone, or it is older than the
    /// store was when it was last in use. Topics, settings and committed offsets may then be those of
    /// an earlier time. Opening for reading also lists bytes that changed after the store was closed.
    pub catalog: Vec<String>,
}

impl RecoveryReport {
    /// Returns whether records are lost or unreadable, or were taken out of use.
    #[must_use]
    pub fn has_damage(&self) -> bool {
        !(self.cuts.is_empty()
            && self.damaged.is_empty()
            && self.gaps.is_empty()
            && self.corrupt.is_empty()
            && self.set_aside.is_empty()
            && self.catalog.is_empty())
    }

    /// Adds the findings of one partition.
    pub(crate) fn append(&mut self, other: Self) {
        self.cuts.extend(other.cuts);
        self.damaged.extend(other.damaged);
        self.gaps.extend(other.gaps);
        self.corrupt.extend(other.corrupt);
    }
}

/// Torn end of a log that was truncated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cut {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset at which the partition ends now.
    pub offset: i64,
    /// Truncated or removed file.
    pub path: PathBuf,
    /// Position of the first removed byte.
    pub position: u64,
    /// Number of bytes removed from it.
    pub bytes: u64,
    /// Problem with these bytes.
    pub problem: String,
    /// Whether it is certain that no record in these bytes was acknowledged: the topic has durability `always`. With other
    /// durabilities records are acknowledged before they are synced, and a power loss may have torn acknowledged ones.
    pub never_acknowledged: bool,
    /// File in `lost+found` that holds these bytes; None if the disk is too full for a copy, and the bytes remain in
    /// the file instead.
    pub kept: Option<PathBuf>,
}

/// Range of offsets whose records are lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// First lost offset.
    pub from: i64,
    /// Offset after the last lost one.
    pub to: i64,
    /// Damaged or missing file.
    pub path: PathBuf,
    /// Position of the damage in the file.
    pub position: u64,
    /// Description of the damage.
    pub problem: String,
}

/// Log without an entry in the catalog, kept in `lost+found/logs`. [`Store::adopt`](crate::Store::adopt) takes it back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAsideLog {
    /// Directory of the log now.
    pub path: PathBuf,
    /// Id of the log.
    pub log_id: u64,
    /// Id and name of its topic, and number of its partition; None if the directory does not hold this information.
    pub topic: Option<(u64, String, u32)>,
}
