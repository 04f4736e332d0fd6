//! What a store and its partitions have in common.

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use crate::{
    LogError, Partition, StoreConfig, catalog::Catalog, disk::Disk, segment::OpenFiles, tail::TailBudget,
};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: StoreConfig,
    pub(crate) directory: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) files: Arc<OpenFiles>,
    pub(crate) catalog: Catalog,
    pub(crate) tail_budget: Arc<TailBudget>,
    pub(crate) work: Work,
    pub(crate) next_reader: AtomicU64,
    closed: AtomicBool,
    poisoned: AtomicBool,
    poison: Mutex<Option<Arc<io::Error>>>,
}

impl Shared {
    pub(crate) fn new(config: StoreConfig, catalog: Catalog) -> Arc<Self> {
        Arc::new(Self {
            directory: config.directory(),
            disk: Arc::clone(&config.disk),
            files: OpenFiles::new(Arc::clone(&config.disk), config.open_files),
            tail_budget: TailBudget::new(config.tail_budget),
            config,
            catalog,
            work: Work::default(),
            next_reader: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            poison: Mutex::default(),
        })
    }

    pub(crate) fn logs_directory(&self) -> PathBuf {
        self.directory.join("logs")
    }

    pub(crate) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// A failed sync: nothing is acknowledged any more.
    pub(crate) fn poison(&self, error: io::Error) -> LogError {
        tracing::error!(%error, directory = %self.directory.display(), "a sync failed: the store stops");
        let source = Arc::clone(self.poison.lock().get_or_insert_with(|| Arc::new(error)));
        self.poisoned.store(true, Ordering::Release);
        LogError::Poisoned { source }
    }

    /// Fails once the store cannot acknowledge anything any more.
    pub(crate) fn check_health(&self) -> Result<(), LogError> {
        if self.poisoned.load(Ordering::Acquire)
            && let Some(source) = &*self.poison.lock()
        {
            return Err(LogError::Poisoned { source: Arc::clone(source) });
        }
        Ok(())
    }

    /// Fails once the store is closed or poisoned.
    pub(crate) fn check_open(&self) -> Result<(), LogError> {
        if self.is_closed() {
            return Err(LogError::Closed);
        }
        self.check_health()
    }
}

/// The instant after this delay; one beyond what the clock can hold is never.
pub(crate) fn later(delay: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(delay).unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 3600))
}

/// What the background threads are asked to do.
#[derive(Debug, Default)]
pub(crate) struct Work {
    queue: Mutex<WorkQueue>,
    to_sync: Condvar,
    timer: Condvar,
}

#[derive(Debug, Default)]
struct WorkQueue {
    to_sync: VecDeque<Arc<Partition>>,
    /// Syncs that are due later, one for each partition. Few different delays exist, so this is nearly sorted; it is searched, not sorted.
    later: Vec<(Instant, Arc<Partition>)>,
    stopped: bool,
}

impl Work {
    pub(crate) fn sync_now(&self, partition: &Arc<Partition>) {
        self.queue.lock().to_sync.push_back(Arc::clone(partition));
        self.to_sync.notify_one();
    }

    /// Called once for each partition until [`Partition::sync_is_due`] says that it was handed out.
    pub(crate) fn sync_later(&self, partition: &Arc<Partition>, delay: Duration) {
        self.queue.lock().later.push((later(delay), Arc::clone(partition)));
        self.timer.notify_one();
    }

    /// The next partition to sync; waits for one. None when the store stops.
    pub(crate) fn next_sync(&self) -> Option<Arc<Partition>> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(partition) = queue.to_sync.pop_front() {
                return Some(partition);
            }
            if queue.stopped {
                return None;
            }
            self.to_sync.wait(&mut queue);
        }
    }

    /// Hands out syncs that have become due, until `deadline`; false when the store stops.
    pub(crate) fn wait_until(&self, deadline: Instant) -> bool {
        let mut queue = self.queue.lock();
        loop {
            if queue.stopped {
                return false;
            }
            let now = Instant::now();
            let due: Vec<_> = queue.later.extract_if(.., |(at, _)| *at <= now).collect();
            let handed_out = !due.is_empty();
            queue.to_sync.extend(due.into_iter().map(|(_, partition)| {
                partition.sync_is_due();
                partition
            }));
            if handed_out {
                self.to_sync.notify_all();
            }
            if now >= deadline {
                return true;
            }
            let next = queue.later.iter().map(|(at, _)| *at).min().map_or(deadline, |at| at.min(deadline));
            self.timer.wait_until(&mut queue, next);
        }
    }

    pub(crate) fn stop(&self) {
        let mut queue = self.queue.lock();
        queue.stopped = true;
        queue.later.clear();
        self.to_sync.notify_all();
        self.timer.notify_all();
    }
}
