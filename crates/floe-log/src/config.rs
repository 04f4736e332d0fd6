//! Configuration of stores and topics.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    LogError,
    clock::{GivenClock, SystemClocks, TimeSource},
    disk::{Disk, MemoryDisk, RealDisk},
    work::{Executor, Work},
};

/// Maximum segment size: positions in a segment are stored in 32 bits, and a batch may start just below the end.
pub(crate) const MAX_SEGMENT_BYTES: u64 = 2 << 30;

/// Names of files and directories of a store, which no namespace may use.
const RESERVED_NAMES: [&str; 6] = ["logs", "journal", "acked", "reserve", "clean", "lock"];

/// Purpose for which a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenMode {
    Normal,
    /// Nothing is written; changes that recovery makes stay in memory.
    ReadOnly,
    /// No thread runs and retention removes nothing.
    Repair,
}

/// Point at which an append is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// After the write to the operating system. Records survive the end of the process, `kill -9` included; a power
    /// loss may take those since the last checkpoint.
    #[default]
    Os,
    /// After the write to the operating system, followed by a background sync at most this many milliseconds later: a
    /// power loss takes at most the records of that interval.
    Interval(u64),
    /// After a sync: acknowledged records survive a power loss, and readers see only synced records.
    Always,
}

/// Configuration of a store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    pub(crate) root: PathBuf,
    pub(crate) namespace: Option<String>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) segment_bytes: u64,
    pub(crate) segment_age: Duration,
    pub(crate) tail_bytes: usize,
    pub(crate) tail_budget: usize,
    pub(crate) retention_interval: Duration,
    pub(crate) checkpoint_interval: Duration,
    pub(crate) open_files: usize,
    pub(crate) mode: OpenMode,
    pub(crate) time: Arc<dyn TimeSource>,
    /// Whether opening scans every segment from its start.
    pub(crate) scans_all: bool,
    /// Takes the background work; without one the store has threads.
    pub(crate) executor: Option<Executor>,
}

impl StoreConfig {
    /// Configures a store in this directory, which is created if it is missing.
    #[must_use]
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self::on(path, Arc::new(RealDisk::new()))
    }

    /// Configures a store in memory, which is lost when dropped.
    #[must_use]
    pub fn memory() -> Self {
        Self::on("/", Arc::new(MemoryDisk::new()))
    }

    fn on(path: impl AsRef<Path>, disk: Arc<dyn Disk>) -> Self {
        Self {
            root: path.as_ref().to_path_buf(),
            namespace: None,
            disk,
            segment_bytes: 256 << 20,
            segment_age: Duration::from_secs(7 * 24 * 3600),
            tail_bytes: 1 << 20,
            tail_budget: 32 << 20,
            retention_interval: Duration::from_secs(30),
            checkpoint_interval: Duration::from_secs(30),
            open_files: 512,
            mode: OpenMode::Normal,
            time: Arc::new(SystemClocks),
            scans_all: false,
            executor: None,
        }
    }

    /// Sets the namespace: a separate store under the same root, with its own topics and lock. None by default.
    #[must_use]
    pub fn namespace(mut self, namespace: Option<String>) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets the disk that holds the files; for tests and custom storage.
    #[must_use]
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    /// Sets the segment size in bytes; 256 MiB by default. Retention removes whole segments, so this is also its
    /// granularity. A topic may override it.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Sets the age at which a new segment is started, so that records of an idle topic expire too; 7 days by default.
    #[must_use]
    pub fn segment_age(mut self, age: Duration) -> Self {
        self.segment_age = age;
        self
    }

    /// Sets the size of the tail cache of a partition with readers, in bytes; 1 MiB by default.
    #[must_use]
    pub fn tail_bytes(mut self, bytes: usize) -> Self {
        self.tail_bytes = bytes;
        self
    }

    /// Sets the limit for all tail caches together, in bytes; 32 MiB by default.
    #[must_use]
    pub fn tail_budget(mut self, bytes: usize) -> Self {
        self.tail_budget = bytes;
        self
    }

    /// Sets the interval of retention; 30 s by default.
    #[must_use]
    pub fn retention_interval(mut self, interval: Duration) -> Self {
        self.retention_interval = interval;
        self
    }

    /// Sets the checkpoint interval; 30 s by default. A checkpoint syncs written records and moves the point from which
    /// recovery starts. Shorter intervals make opening after a crash faster.
    #[must_use]
    pub fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.checkpoint_interval = interval;
        self
    }

    /// Sets the number of segment files that stay open between uses; 512 by default. Files with unsynced writes stay
    /// open in addition.
    #[must_use]
    pub fn open_files(mut self, files: usize) -> Self {
        self.open_files = files;
        self
    }

    /// Sets whether the store is opened for reading only; off by default. Such a store writes nothing: it opens from a
    /// directory that cannot be written, of another user, or on a full disk. It must exist. If it was not closed, recovery
    /// runs in memory, and the files stay as they are. All changes fail with [`LogError::ReadOnly`].
    ///
    /// Several readers may have a store open at once, but none while a writer has it, and no writer while a reader has it:
    /// opening then fails with [`LogError::Locked`].
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.mode = if read_only { OpenMode::ReadOnly } else { OpenMode::Normal };
        self
    }

    /// Sets the clock of append times and of retention. Default: that of the system.
    #[must_use]
    pub fn wall_clock(mut self, read: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.time = Arc::new(GivenClock(read));
        self
    }

    /// Sets a function that takes the background work of the store: syncs, commits, checkpoints and retention. The store
    /// then starts no thread and reads no clock but [`StoreConfig::wall_clock`]; each call does its own file IO, and a call
    /// that waits for work does it itself. Default: threads of the store.
    ///
    /// The function is called with locks of the store held: it queues the work and does not [run](Work::run) it.
    #[must_use]
    pub fn executor(mut self, take: impl Fn(Work) + Send + Sync + 'static) -> Self {
        self.executor = Some(Executor::new(take));
        self
    }

    /// Returns whether the store will have an [executor](Self::executor).
    #[must_use]
    pub fn has_executor(&self) -> bool {
        self.executor.is_some()
    }

    /// Returns the directory of this store: the root, or the namespace's directory in it.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        match &self.namespace {
            Some(namespace) => self.root.join(namespace),
            None => self.root.clone(),
        }
    }

    /// Refuses values under which no store works; opening a store does the same.
    ///
    /// # Errors
    /// [`LogError::InvalidConfig`] that names the setting.
    pub fn check(&self) -> Result<(), LogError> {
        check_segment_bytes(self.segment_bytes)?;
        if self.segment_age.is_zero() {
            return Err(LogError::invalid("segment_age", "must be longer than zero"));
        }
        if self.retention_interval.is_zero() || self.checkpoint_interval.is_zero() {
            return Err(LogError::invalid("interval", "must be longer than zero"));
        }
        if self.open_files == 0 {
            return Err(LogError::invalid("open_files", "must be at least 1"));
        }
        if let Some(namespace) = &self.namespace {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if namespace.is_empty() || namespace.len() > 64 || !namespace.chars().all(allowed) {
                return Err(LogError::invalid(
                    "namespace",
                    format!("{namespace:?} is not 1 to 64 letters, digits, `-` or `_`"),
                ));
            }
            // Some file systems do not distinguish case.
            if RESERVED_NAMES.contains(&namespace.to_ascii_lowercase().as_str()) {
                return Err(LogError::invalid(
                    "namespace",
                    format!("{namespace:?} is reserved for the store"),
                ));
            }
        }
        Ok(())
    }
}

/// Configuration of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicConfig {
    /// Number of partitions; at least one.
    pub partitions: u32,
    /// Point at which an append is acknowledged.
    pub durability: Durability,
    /// Maximum age: segments whose last append is older are removed. While the store is open, a jump of the wall clock
    /// counts only as far as time has passed since. None keeps them forever.
    pub retention_age: Option<Duration>,
    /// Minimum bytes to keep per partition: the oldest segment is removed while at least this many bytes remain without
    /// it. None keeps all segments.
    pub retention_bytes: Option<u64>,
    /// Segment size in bytes; overrides the store's.
    pub segment_bytes: Option<u64>,
    /// Metadata of the layer above; stored and returned unchanged.
    pub metadata: BTreeMap<String, String>,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            partitions: 1,
            durability: Durability::Os,
            retention_age: None,
            retention_bytes: None,
            segment_bytes: None,
            metadata: BTreeMap::new(),
        }
    }
}

impl TopicConfig {
    /// Configures one partition, [`Durability::Os`] and no retention limit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of partitions; 1 by default.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// Sets the durability; [`Durability::Os`] by default.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets the maximum age of segments; no limit by default.
    #[must_use]
    pub fn retention_age(mut self, age: Option<Duration>) -> Self {
        self.retention_age = age;
        self
    }

    /// Sets the bytes to keep per partition; no limit by default.
    #[must_use]
    pub fn retention_bytes(mut self, bytes: Option<u64>) -> Self {
        self.retention_bytes = bytes;
        self
    }

    /// Sets the segment size in bytes; the store's by default.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: Option<u64>) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Sets metadata that is stored and returned unchanged.
    #[must_use]
    pub fn metadata(mut self, metadata: BTreeMap<String, String>) -> Self {
        self.metadata = metadata;
        self
    }

    pub(crate) fn check(&self) -> Result<(), LogError> {
        if self.partitions == 0 {
            return Err(LogError::invalid("partitions", "must be at least 1"));
        }
        if self.durability == Durability::Interval(0) {
            return Err(LogError::invalid(
                "durability",
                "an interval of 0 ms is not supported; use `always`",
            ));
        }
        self.segment_bytes.map_or(Ok(()), check_segment_bytes)
    }
}

fn check_segment_bytes(bytes: u64) -> Result<(), LogError> {
    if (1..=MAX_SEGMENT_BYTES).contains(&bytes) {
        return Ok(());
    }
    Err(LogError::invalid("segment_bytes", format!("{bytes} is not between 1 and {MAX_SEGMENT_BYTES}")))
}
