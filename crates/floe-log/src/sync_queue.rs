//! Queue of requested syncs, and the timer of planned ones. With an executor both are its work, and the queue stays empty.

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use crate::{
    clock::deadline_after,
    work::{Executor, Work, WorkKind},
};

/// Target of a background sync; implemented by the partition.
pub(crate) trait SyncTarget: fmt::Debug + Send + Sync {
    /// Notes that the planned sync is about to run, so that later writes plan the next one.
    fn note_sync_is_due(&self);

    /// Syncs unsynced bytes and completes the appends that wait for it.
    fn run_sync(self: Arc<Self>);
}

/// Queue between partitions, which request syncs, and the threads that run them.
#[derive(Debug, Default)]
pub(crate) struct SyncQueue {
    queue: Mutex<QueuedSyncs>,
    to_sync: Condvar,
    timer: Condvar,
    executor: Option<Executor>,
}

#[derive(Debug, Default)]
struct QueuedSyncs {
    to_sync: VecDeque<Arc<dyn SyncTarget>>,
    /// Planned syncs with their due times, at most one per partition. Not sorted: the list is short and searched only
    /// when a sync is due.
    planned: Vec<(Instant, Arc<dyn SyncTarget>)>,
    stopped: bool,
}

impl SyncQueue {
    pub(crate) fn new(executor: Option<Executor>) -> Self {
        Self { executor, ..Self::default() }
    }

    pub(crate) fn sync_now(&self, target: Arc<dyn SyncTarget>) {
        if let Some(executor) = &self.executor {
            executor.take(Work::new(WorkKind::Sync, Duration::ZERO, move || target.run_sync()));
            return;
        }
        self.queue.lock().to_sync.push_back(target);
        self.to_sync.notify_one();
    }

    /// Plans a sync. A target may plan its next one only after [`SyncTarget::note_sync_is_due`].
    pub(crate) fn sync_later(&self, target: Arc<dyn SyncTarget>, delay: Duration) {
        if let Some(executor) = &self.executor {
            executor.take(Work::new(WorkKind::Sync, delay, move || {
                target.note_sync_is_due();
                target.run_sync();
            }));
            return;
        }
        self.queue.lock().planned.push((deadline_after(delay), target));
        self.timer.notify_one();
    }

    /// Waits for the next target to sync and returns it; None once the store stops.
    pub(crate) fn next_sync(&self) -> Option<Arc<dyn SyncTarget>> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(target) = queue.to_sync.pop_front() {
                return Some(target);
            }
            if queue.stopped {
                return None;
            }
            self.to_sync.wait(&mut queue);
        }
    }

    /// Queues planned syncs as they become due, until `deadline`; returns false once the store stops.
    pub(crate) fn wait_until(&self, deadline: Instant) -> bool {
        let mut queue = self.queue.lock();
        loop {
            if queue.stopped {
                return false;
            }
            let now = Instant::now();
            let due: Vec<_> = queue.planned.extract_if(.., |(at, _)| *at <= now).collect();
            let any_due = !due.is_empty();
            queue.to_sync.extend(due.into_iter().map(|(_, target)| {
                target.note_sync_is_due();
                target
            }));
            if any_due {
                self.to_sync.notify_all();
            }
            if now >= deadline {
                return true;
            }
            let next = queue.planned.iter().map(|(at, _)| *at).min().map_or(deadline, |at| at.min(deadline));
            self.timer.wait_until(&mut queue, next);
        }
    }

    pub(crate) fn stop(&self) {
        let mut queue = self.queue.lock();
        queue.stopped = true;
        queue.planned.clear();
        self.to_sync.notify_all();
        self.timer.notify_all();
    }
}
