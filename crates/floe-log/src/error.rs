//! The one error of this crate.

use std::{io, path::PathBuf, sync::Arc};

use floe_wire::WireError;

/// What a call on the store can fail with. Cloning is cheap: one failed write answers every producer behind it.
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
        /// Who holds it, if its lock file says so.
        pid: Option<u32>,
    },
    /// No such topic, or it was deleted meanwhile.
    #[error("topic {topic:?} does not exist")]
    TopicNotFound {
        /// The name asked for.
        topic: String,
    },
    /// The name is taken.
    #[error("topic {topic:?} exists already")]
    TopicExists {
        /// The name asked for.
        topic: String,
    },
    /// The topic has fewer partitions.
    #[error("topic {topic:?} has no partition {partition}")]
    PartitionNotFound {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: u32,
    },
    /// The offset was removed by retention, or was never assigned.
    #[error("offset {offset} is out of range: the partition holds {start} up to, not including, {end}")]
    OutOfRange {
        /// The offset asked for.
        offset: i64,
        /// First offset that can be read.
        start: i64,
        /// Offset after the last one that can be read.
        end: i64,
    },
    /// The batch does not fit.
    #[error("the batch has {size} bytes, at most {limit} fit")]
    TooLarge {
        /// Bytes of the batch.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The batch given to `submit` is damaged or empty; nothing was written.
    #[error("the batch was refused: {source}")]
    BadBatch {
        /// What is wrong with it.
        source: WireError,
    },
    /// Stored bytes are not what was written. Nothing was cut or repaired: the file is left as it is.
    #[error("topic {topic:?} partition {partition} is corrupt in {} at byte {position}: {problem}", path.display())]
    Corrupt {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The damaged file.
        path: PathBuf,
        /// Where in the file.
        position: u64,
        /// What is wrong.
        problem: String,
    },
    /// The disk refused an operation.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as a verb.
        operation: &'static str,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// No space is left. The batch, or the change of topics or offsets, was not stored; all is as before and works again
    /// once there is room.
    #[error("no space left on the disk that holds {}; free some or shorten the retention of a topic", path.display())]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// A sync failed earlier. What the kernel held back is lost or not, nobody can know: nothing more is
    /// acknowledged until the store is opened again.
    #[error("the store stopped after a failed sync ({source}); check the disk, then open the store again")]
    Poisoned {
        /// The failed sync.
        source: Arc<io::Error>,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The files are of a version that this release cannot read.
    #[error("the data directory has format {found}, this release reads format {supported}")]
    Format {
        /// Version in the files.
        found: u64,
        /// Version of this release.
        supported: u64,
    },
    /// A setting makes no sense.
    #[error("{setting}: {problem}")]
    InvalidConfig {
        /// Which setting.
        setting: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// There are logs and no catalog that says whose they are. Nothing was changed.
    #[error(
        "{} is missing or empty although there are logs beside it: put it back from a copy, or move the logs away \
         to begin anew",
        path.display()
    )]
    CatalogMissing {
        /// Where the catalog should be.
        path: PathBuf,
    },
    /// The catalog (`meta.redb`) refused an operation.
    #[error("catalog: {source}")]
    Catalog {
        /// What the database said.
        source: Arc<redb::Error>,
    },
}

impl LogError {
    pub(crate) fn io(path: impl Into<PathBuf>, operation: &'static str, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
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
