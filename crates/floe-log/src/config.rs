//! What a store and a topic can be told.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    LogError,
    disk::{Disk, MemoryDisk, RealDisk},
};

/// Largest segment: positions inside a segment are stored in 32 bits, and a batch may start just below the end.
pub(crate) const MAX_SEGMENT_BYTES: u64 = 2 << 30;

/// Names of files and folders of a store, which no namespace may take.
const RESERVED_NAMES: [&str; 2] = ["logs", "journal"];

/// When an append counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// After the bytes were handed to the operating system. Survives the end of the process, `kill -9` included; a
    /// power loss may take what was written since the last checkpoint.
    #[default]
    Os,
    /// As [`Durability::Os`], and synced in the background at most this many milliseconds later: a power loss takes
    /// at most that much.
    Interval(u64),
    /// After a sync: a power loss takes nothing that was acknowledged, and readers see only what is synced.
    Always,
}

/// How to open a store.
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
}

impl StoreConfig {
    /// A store in this directory, which is created if it is missing.
    #[must_use]
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self::on(path, Arc::new(RealDisk::new()))
    }

    /// A store in memory: same code, no files, gone when dropped.
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
        }
    }

    /// A separate store under the same root: own topics, own lock. None by default.
    #[must_use]
    pub fn namespace(mut self, namespace: Option<String>) -> Self {
        self.namespace = namespace;
        self
    }

    /// Where files are kept; for tests, and for storage of your own.
    #[must_use]
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    /// A new segment is started when the current one would exceed this many bytes; 256 MiB by default. Retention
    /// removes whole segments, so this is also its grain. A topic may set its own.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// A new segment is started when the current one is this old, so that an idle topic ages out too; 7 days by
    /// default.
    #[must_use]
    pub fn segment_age(mut self, age: Duration) -> Self {
        self.segment_age = age;
        self
    }

    /// How many of the newest bytes of a partition that has readers stay in memory; 1 MiB by default.
    #[must_use]
    pub fn tail_bytes(mut self, bytes: usize) -> Self {
        self.tail_bytes = bytes;
        self
    }

    /// Upper bound for all these tails together; 32 MiB by default.
    #[must_use]
    pub fn tail_budget(mut self, bytes: usize) -> Self {
        self.tail_budget = bytes;
        self
    }

    /// How often retention looks for segments to remove; 30 s by default.
    #[must_use]
    pub fn retention_interval(mut self, interval: Duration) -> Self {
        self.retention_interval = interval;
        self
    }

    /// How often what was written is synced and noted as the point from which recovery starts; 30 s by default.
    /// Shorter makes opening after a crash faster.
    #[must_use]
    pub fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.checkpoint_interval = interval;
        self
    }

    /// How many segment files stay open between uses; 512 by default. Files with unsynced writes stay open beyond
    /// that.
    #[must_use]
    pub fn open_files(mut self, files: usize) -> Self {
        self.open_files = files;
        self
    }

    /// The directory of this store: the root, or the namespace's folder in it.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        match &self.namespace {
            Some(namespace) => self.root.join(namespace),
            None => self.root.clone(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), LogError> {
        check_segment_bytes(self.segment_bytes)?;
        if self.segment_age.is_zero() {
            return Err(LogError::invalid("segment_age", "must be longer than zero"));
        }
        if self.retention_interval.is_zero() || self.checkpoint_interval.is_zero() {
            return Err(LogError::invalid("interval", "must be longer than zero"));
        }
        if self.open_files == 0 {
            return Err(LogError::invalid("open_files", "at least one file must stay open"));
        }
        if let Some(namespace) = &self.namespace {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if namespace.is_empty() || namespace.len() > 64 || !namespace.chars().all(allowed) {
                return Err(LogError::invalid(
                    "namespace",
                    format!("{namespace:?} is not 1 to 64 letters, digits, `-` or `_`"),
                ));
            }
            if RESERVED_NAMES.contains(&namespace.as_str()) {
                return Err(LogError::invalid(
                    "namespace",
                    format!("{namespace:?} is a name of the store's own"),
                ));
            }
        }
        Ok(())
    }
}

/// What a topic is created with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicConfig {
    /// How many partitions; at least one.
    pub partitions: u32,
    /// When an append counts as done.
    pub durability: Durability,
    /// Segments whose last append is older than this are removed. None: kept for ever.
    pub retention_age: Option<Duration>,
    /// The oldest segments of a partition are removed while more bytes than this remain without them. None: no
    /// bound.
    pub retention_bytes: Option<u64>,
    /// Overrides the store's segment size.
    pub segment_bytes: Option<u64>,
    /// Kept and handed back, never looked at: for the server on top.
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
    /// One partition, durability `os`, kept for ever.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many partitions; 1 by default.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// When an append counts as done; [`Durability::Os`] by default.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Removes segments whose last append is older than this; kept for ever by default.
    #[must_use]
    pub fn retention_age(mut self, age: Option<Duration>) -> Self {
        self.retention_age = age;
        self
    }

    /// Removes the oldest segments while more bytes than this remain without them; no bound by default.
    #[must_use]
    pub fn retention_bytes(mut self, bytes: Option<u64>) -> Self {
        self.retention_bytes = bytes;
        self
    }

    /// Overrides the store's segment size.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: Option<u64>) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Kept and handed back, never looked at.
    #[must_use]
    pub fn metadata(mut self, metadata: BTreeMap<String, String>) -> Self {
        self.metadata = metadata;
        self
    }

    pub(crate) fn check(&self) -> Result<(), LogError> {
        if self.partitions == 0 {
            return Err(LogError::invalid("partitions", "a topic has at least one partition"));
        }
        if self.durability == Durability::Interval(0) {
            return Err(LogError::invalid("durability", "an interval of 0 ms is `always`: say that"));
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
