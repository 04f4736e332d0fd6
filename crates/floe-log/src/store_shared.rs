//! State that a store shares with its partitions and threads.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    LogError, RecoveryReport, StoreConfig,
    acked::{AckedEnd, AckedEnds},
    catalog::Catalog,
    clock::StoreClock,
    config::OpenMode,
    disk::Disk,
    recovery_report::Gap,
    segment::OpenFiles,
    segment_scan::ScanNotes,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    sync_queue::SyncQueue,
    tail_cache::TailBudget,
};

/// Slot of the catalog's age in the file of acknowledged ends; no log has this id.
pub(crate) const CATALOG_SLOT: u64 = 0;

/// Gaps that a store remembers; a file of damaged batches only must not fill the memory.
const MAX_GAPS: usize = 10_000;

#[derive(Debug)]
pub(crate) struct StoreShared {
    pub(crate) config: StoreConfig,
    pub(crate) directory: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) files: Arc<OpenFiles>,
    pub(crate) catalog: Catalog,
    pub(crate) tail_budget: Arc<TailBudget>,
    pub(crate) syncs: SyncQueue,
    pub(crate) next_reader: AtomicU64,
    /// Held while durable points are taken from partitions and stored in the catalog, so that a flush waits for a
    /// concurrent checkpoint, and no older point replaces a newer one.
    pub(crate) checkpointing: Mutex<()>,
    pub(crate) acked: AckedEnds,
    clock: StoreClock,
    /// Everything that recovery and readers found so far.
    pub(crate) found: Mutex<RecoveryReport>,
    /// Set if opening scans every segment from its start.
    pub(crate) scan: Option<ScanNotes>,
    closed: AtomicBool,
    poisoned: AtomicBool,
    poison: Mutex<Option<LogError>>,
    /// Identity of the directory when the store was opened.
    identity: Option<(u64, u64)>,
}

impl StoreShared {
    pub(crate) fn new(config: StoreConfig, catalog: Catalog) -> Arc<Self> {
        let identity = config.disk.identity(&config.directory()).unwrap_or_default();
        Arc::new(Self {
            acked: AckedEnds::new(
                Arc::clone(&config.disk),
                config.directory().join("acked"),
                catalog.short_store_id(),
            ),
            found: Mutex::default(),
            clock: StoreClock::new(&*config.time),
            scan: config.scans_all.then(ScanNotes::default),
            directory: config.directory(),
            disk: Arc::clone(&config.disk),
            files: OpenFiles::new(Arc::clone(&config.disk), config.open_files),
            tail_budget: TailBudget::new(config.tail_budget),
            syncs: SyncQueue::new(config.executor.clone()),
            config,
            catalog,
            next_reader: AtomicU64::new(0),
            checkpointing: Mutex::default(),
            closed: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            poison: Mutex::default(),
            identity,
        })
    }

    /// Returns the time of the store, milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms(&*self.config.time)
    }

    pub(crate) fn logs_directory(&self) -> PathBuf {
        self.directory.join("logs")
    }

    pub(crate) fn log_directory(&self, log_id: u64) -> PathBuf {
        self.logs_directory().join(log_id.to_string())
    }

    /// Notes the number of changes of the catalog next to it, so that an older one is noticed later.
    pub(crate) fn note_catalog_age(&self) -> Result<(), LogError> {
        let changes = i64::try_from(self.catalog.changes()?).unwrap_or(i64::MAX);
        let noted = self.acked.read(CATALOG_SLOT).unwrap_or_default().unwrap_or_default();
        if noted.end != changes {
            let next = AckedEnd { sequence: noted.sequence + 1, end: changes };
            if let Err(error) = self.acked.write(CATALOG_SLOT, next) {
                tracing::warn!(%error, "the age of the catalog was not noted");
            }
        }
        Ok(())
    }

    /// Marks the store as closed; false if it already was.
    pub(crate) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Stops acknowledgements after a failed sync, and returns the error for the callers.
    pub(crate) fn poison(&self, error: io::Error) -> LogError {
        tracing::error!(%error, directory = %self.directory.display(), "a sync failed; the store stops");
        self.stop_with(LogError::Poisoned { source: Arc::new(error) })
    }

    /// Stops acknowledgements because this file or directory is gone, and returns the error for the callers.
    pub(crate) fn note_removed(&self, path: &Path) -> LogError {
        tracing::error!(path = %path.display(), "removed while the store was open; the store stops");
        self.stop_with(LogError::Removed { path: path.to_path_buf() })
    }

    /// The first error stays.
    fn stop_with(&self, error: LogError) -> LogError {
        let error = self.poison.lock().get_or_insert(error).clone();
        self.poisoned.store(true, Ordering::Release);
        error
    }

    /// Fails if the path of the store names another directory than it did when the store was opened, or none.
    pub(crate) fn check_directory(&self) -> Result<(), LogError> {
        if self.identity.is_none() {
            return Ok(());
        }
        let found =
            self.disk.identity(&self.directory).map_err(|e| LogError::io(&self.directory, "look at", e))?;
        if found == self.identity { Ok(()) } else { Err(self.note_removed(&self.directory)) }
    }

    /// Reports a gap that a reader found, once.
    pub(crate) fn report_gap(&self, gap: &Gap) {
        let mut found = self.found.lock();
        if found.gaps.len() < MAX_GAPS && !found.gaps.contains(gap) {
            found.gaps.push(gap.clone());
        }
    }

    /// Fails once a sync has failed, or a file is gone.
    pub(crate) fn check_health(&self) -> Result<(), LogError> {
        if self.poisoned.load(Ordering::Acquire)
            && let Some(error) = &*self.poison.lock()
        {
            return Err(error.clone());
        }
        Ok(())
    }

    /// Fails if the store is open for reading only, once it is closed, or once a sync has failed.
    pub(crate) fn check_writable(&self) -> Result<(), LogError> {
        if self.config.mode == OpenMode::ReadOnly {
            return Err(LogError::ReadOnly { path: self.directory.clone() });
        }
        self.check_open()
    }

    /// Fails once the store is closed or a sync has failed.
    pub(crate) fn check_open(&self) -> Result<(), LogError> {
        if self.is_closed() {
            return Err(LogError::Closed);
        }
        self.check_health()
    }
}
