//! Syncs that partitions have asked for, and the timer that makes planned ones due.

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use crate::clock::deadline_after;

/// Something that a background thread syncs: a partition.
pub(crate) trait SyncTarget: fmt::Debug + Send + Sync {
    /// Notes that the planned sync is about to run, so that later writes plan the next one.
    fn note_sync_is_due(&self);

    /// Syncs unsynced bytes and completes the appends that wait for it.
    fn run_sync(self: Arc<Self>);
}

/// What the background threads are asked to do.
#[derive(Debug, Default)]
pub(crate) struct SyncQueue {
    queue: Mutex<QueuedSyncs>,
    to_sync: Condvar,
    timer: Condvar,
}

#[derive(Debug, Default)]
struct QueuedSyncs {
    to_sync: VecDeque<Arc<dyn SyncTarget>>,
    /// Syncs that are due later, one for each partition. Few different delays exist, so this is nearly sorted; it is searched, not sorted.
    later: Vec<(Instant, Arc<dyn SyncTarget>)>,
    stopped: bool,
}

impl SyncQueue {
    pub(crate) fn sync_now(&self, target: Arc<dyn SyncTarget>) {
        self.queue.lock().to_sync.push_back(target);
        self.to_sync.notify_one();
    }

    /// Called once for each partition until [`SyncTarget::note_sync_is_due`] says that it was handed out.
    pub(crate) fn sync_later(&self, target: Arc<dyn SyncTarget>, delay: Duration) {
        self.queue.lock().later.push((deadline_after(delay), target));
        self.timer.notify_one();
    }

    /// The next partition to sync; waits for one. None when the store stops.
    pub(crate) fn next_sync(&self) -> Option<Arc<dyn SyncTarget>> {
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
                partition.note_sync_is_due();
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
