//! State that a store shares with its partitions and threads.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{
    LogError, StoreConfig, catalog::Catalog, disk::Disk, segment::OpenFiles, sync_queue::SyncQueue,
    tail_cache::TailBudget,
};

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
    closed: AtomicBool,
    poisoned: AtomicBool,
    poison: Mutex<Option<Arc<io::Error>>>,
}

impl StoreShared {
    pub(crate) fn new(config: StoreConfig, catalog: Catalog) -> Arc<Self> {
        Arc::new(Self {
            directory: config.directory(),
            disk: Arc::clone(&config.disk),
            files: OpenFiles::new(Arc::clone(&config.disk), config.open_files),
            tail_budget: TailBudget::new(config.tail_budget),
            config,
            catalog,
            syncs: SyncQueue::default(),
            next_reader: AtomicU64::new(0),
            checkpointing: Mutex::default(),
            closed: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            poison: Mutex::default(),
        })
    }

    pub(crate) fn logs_directory(&self) -> PathBuf {
        self.directory.join("logs")
    }

    pub(crate) fn log_directory(&self, log_id: u64) -> PathBuf {
        self.logs_directory().join(log_id.to_string())
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
        let source = Arc::clone(self.poison.lock().get_or_insert_with(|| Arc::new(error)));
        self.poisoned.store(true, Ordering::Release);
        LogError::Poisoned { source }
    }

    /// Fails once a sync has failed.
    pub(crate) fn check_health(&self) -> Result<(), LogError> {
        if self.poisoned.load(Ordering::Acquire)
            && let Some(source) = &*self.poison.lock()
        {
            return Err(LogError::Poisoned { source: Arc::clone(source) });
        }
        Ok(())
    }

    /// Fails once the store is closed or a sync has failed.
    pub(crate) fn check_open(&self) -> Result<(), LogError> {
        if self.is_closed() {
            return Err(LogError::Closed);
        }
        self.check_health()
    }
}
