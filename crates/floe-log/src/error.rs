//! Error type of this crate.

use std::{io, path::PathBuf, sync::Arc};

use floe_wire::WireError;

use crate::disk::is_out_of_files;

/// Error of a store or partition. Cloning is cheap: one failed write completes every append of its run.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Another process (or another store of this process) has the directory open.
    #[error(
        "data directory {} is in use{}; to share it, run `floe serve` there and connect to the server",
        path.display(), pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Process that holds the lock, if its lock file can be read.
        pid: Option<u32>,
    },
    /// The topic does not exist, or was deleted in the meantime.
    #[error("topic {topic:?} does not exist")]
    TopicNotFound {
        /// Requested name.
        topic: String,
    },
    /// The topic name is taken.
    #[error("topic {topic:?} already exists")]
    TopicExists {
        /// Requested name.
        topic: String,
    },
    /// The topic has no partition of this number.
    #[error("topic {topic:?} has no partition {partition}")]
    PartitionNotFound {
        /// The topic.
        topic: String,
        /// Requested partition.
        partition: u32,
    },
    /// The offset was removed by retention, or was never assigned.
    #[error(
        "offset {offset} is out of range: the partition holds offsets from {start} up to, but not including, {end}"
    )]
    OutOfRange {
        /// Requested offset.
        offset: i64,
        /// First readable offset.
        start: i64,
        /// Offset after the last readable one.
        end: i64,
    },
    /// The batch exceeds the size limit.
    #[error("the batch has {size} bytes; the limit is {limit}")]
    TooLarge {
        /// Size of the batch in bytes.
        size: usize,
        /// Limit in bytes.
        limit: usize,
    },
    /// The submitted batch is damaged or empty; nothing was written.
    #[error("the batch was rejected: {source}")]
    BadBatch {
        /// Problem with the batch.
        source: WireError,
    },
    /// The partition has stored a batch of a newer epoch of this fenced producer; nothing was written.
    #[error("epoch {epoch} of the producer is fenced: the partition has stored a batch of epoch {newest}")]
    Fenced {
        /// Epoch of the refused batch.
        epoch: i16,
        /// Newest epoch that the partition has stored.
        newest: i16,
    },
    /// Some records of the batch of a task are stored and others are not, or they were stored so long ago that the
    /// partition does not remember at which offsets; nothing was written.
    #[error(
        "the task has stored its records before sequence {next_sequence} already, and the batch begins with sequence \
         {first_sequence}"
    )]
    StoredBefore {
        /// Sequence of the first record of the batch.
        first_sequence: i32,
        /// Sequence after the last stored record of the task.
        next_sequence: i32,
    },
    /// The partition holds batches of too many fenced producers to remember one more; nothing was written.
    #[error(
        "the partition has records of {limit} fenced producers, and refuses further ones until retention removes some"
    )]
    TooManyFenced {
        /// Fenced producers that a partition remembers.
        limit: usize,
    },
    /// The partition does not end at the offset that the append asked for; nothing was written.
    #[error("the partition ends at offset {end}, not at {expected}")]
    NotAtEnd {
        /// End that the append asked for.
        expected: i64,
        /// Actual end: the offset that the next record receives.
        end: i64,
    },
    /// Stored bytes differ from the written ones. The file was neither truncated nor repaired.
    #[error("topic {topic:?} partition {partition} is corrupt in {} at byte {position}: {problem}", path.display())]
    Corrupt {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The damaged file.
        path: PathBuf,
        /// Position in the file.
        position: u64,
        /// Description of the damage.
        problem: String,
    },
    /// A file operation failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Attempted operation, as a verb.
        operation: &'static str,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// The disk is full. The batch, or the change of topics or offsets, was not stored; the store works again once
    /// there is space.
    #[error("no space left on the disk that holds {}; free some or shorten the retention of a topic", path.display())]
    DiskFull {
        /// File that could not grow.
        path: PathBuf,
    },
    /// The process, or the system, has as many files open as it may. Nothing was lost; the operation may be retried.
    #[error(
        "too many open files to use {}; raise the limit (`ulimit -n`, or `LimitNOFILE=` of the service)",
        path.display()
    )]
    TooManyOpenFiles {
        /// File that could not be opened.
        path: PathBuf,
    },
    /// A sync failed earlier. The unsynced bytes may be lost, and a later sync cannot tell: the store acknowledges
    /// nothing more until it is opened again.
    #[error("the store stopped after a failed sync ({source}); check the disk, then reopen the store")]
    Poisoned {
        /// The failed sync.
        source: Arc<io::Error>,
    },
    /// The directory of the store, or a file in it, was removed or replaced while the store was open. What was written
    /// since is lost; the store acknowledges nothing more until it is opened again.
    #[error(
        "{} was removed or replaced while the store was open; the store stopped: restore the directory, then reopen it",
        path.display()
    )]
    Removed {
        /// The file or directory.
        path: PathBuf,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The store is open for reading only; nothing was changed.
    #[error("the store {} is open for reading only", path.display())]
    ReadOnly {
        /// The directory.
        path: PathBuf,
    },
    /// The data directory has a format version that this release cannot read.
    #[error("the data directory has format {found}, this release reads format {supported}")]
    Format {
        /// Version in the data directory.
        found: u64,
        /// Version that this release reads.
        supported: u64,
    },
    /// A setting is invalid.
    #[error("{setting}: {problem}")]
    InvalidConfig {
        /// Name of the setting.
        setting: &'static str,
        /// Problem with its value.
        problem: String,
    },
    /// The directory holds logs but no catalog that assigns them to topics. Nothing was changed.
    #[error(
        "{} is missing or empty, but there are logs next to it: restore it from a backup, rebuild it from the logs, or \
         move the logs away to start with an empty store",
        path.display()
    )]
    CatalogMissing {
        /// Expected path of the catalog.
        path: PathBuf,
    },
    /// The catalog is damaged. Nothing was changed.
    #[error("the catalog {} is damaged: {problem}; restore it from a backup, or rebuild it from the logs", path.display())]
    CatalogDamaged {
        /// Path of the catalog.
        path: PathBuf,
        /// Description of the damage.
        problem: String,
    },
    /// An operation of the catalog (`meta.redb`) failed.
    #[error("catalog: {source}")]
    Catalog {
        /// The database's error.
        source: Arc<redb::Error>,
    },
}

impl LogError {
    pub(crate) fn io(path: impl Into<PathBuf>, operation: &'static str, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            _ if is_out_of_files(&source) => Self::TooManyOpenFiles { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { path, operation, source: Arc::new(source) },
        }
    }

    pub(crate) fn catalog(source: impl Into<redb::Error>) -> Self {
        Self::Catalog { source: Arc::new(source.into()) }
    }

    pub(crate) fn invalid(setting: &'static str, problem: impl Into<String>) -> Self {
        Self::InvalidConfig { setting, problem: problem.into() }
    }
}
