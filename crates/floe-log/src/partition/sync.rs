//! Syncs of appended bytes, and acknowledgements that wait for them.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use super::{Appended, Partition, append::Done};
use crate::{
    Durability, LogError,
    acked::AckedEnd,
    catalog::DurablePoint,
    disk::{Open, is_out_of_files},
    invariant::invariant,
    log_info::LOG_INFO,
    segment::Segment,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    sync_queue::SyncTarget,
};

/// Time until a sync that found no free file descriptor is retried.
const OUT_OF_FILES_WAIT: Duration = Duration::from_millis(100);

/// Sync state of a partition.
#[derive(Debug)]
pub(super) struct SyncState {
    dirty: Mutex<Dirty>,
    /// Appends that wait for a sync, in the order of their offsets.
    waiting: Mutex<VecDeque<PendingAck>>,
    /// Serializes syncs; the next one covers all appends that arrived in the meantime.
    running: Mutex<()>,
    /// Whether the partition is queued for a sync thread.
    queued: AtomicBool,
    durable: Mutex<Option<DurablePoint>>,
    /// Acknowledged end as stored, for [`Durability::Always`].
    acked: Mutex<AckedEnd>,
    /// Whether a full segment was synced since its durable point was last stored.
    pub(super) rolled: AtomicBool,
    /// Whether the durable point has moved since it was last stored in the catalog.
    pub(super) unnoted: AtomicBool,
    /// Whether a later sync is planned.
    planned: AtomicBool,
}

#[derive(Debug, Default)]
struct Dirty {
    segments: Vec<Arc<Segment>>,
    point: Option<DurablePoint>,
    created: Created,
}

/// Files and directories created since the last sync, whose names must be synced too. In rising order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Created {
    #[default]
    Nothing,
    File,
    Directory,
}

struct PendingAck {
    end: i64,
    appended: Appended,
    done: Done,
}

impl std::fmt::Debug for PendingAck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingAck").field("end", &self.end).finish_non_exhaustive()
    }
}

impl SyncState {
    pub(super) fn new(durable: Option<DurablePoint>, is_noted: bool, acked: AckedEnd) -> Self {
        Self {
            dirty: Mutex::default(),
            waiting: Mutex::default(),
            running: Mutex::default(),
            queued: AtomicBool::new(false),
            durable: Mutex::new(durable),
            acked: Mutex::new(acked),
            rolled: AtomicBool::new(false),
            unnoted: AtomicBool::new(!is_noted),
            planned: AtomicBool::new(false),
        }
    }

    pub(super) fn durable_point(&self) -> Option<DurablePoint> {
        *self.durable.lock()
    }
}

impl Partition {
    /// Records unsynced bytes and plans the sync that the topic's durability demands.
    pub(super) fn mark_dirty(self: &Arc<Self>, segment: &Arc<Segment>, next: i64) {
        let mut dirty = self.sync.dirty.lock();
        // Set under the lock under which a finished sync clears it.
        segment.set_dirty(true);
        let was_clean = dirty.segments.is_empty();
        if !dirty.segments.last().is_some_and(|last| Arc::ptr_eq(last, segment)) {
            dirty.segments.push(Arc::clone(segment));
        }
        dirty.point = Some(DurablePoint { segment: segment.base, position: segment.len(), next });
        drop(dirty);
        if was_clean {
            let delay = match self.durability {
                Durability::Always => return,
                Durability::Interval(ms) => Duration::from_millis(ms),
                Durability::Os => self.shared.config.checkpoint_interval,
            };
            // A sync that is already planned runs sooner.
            if !self.sync.planned.swap(true, Ordering::AcqRel) {
                self.shared.syncs.sync_later(Arc::clone(self) as _, delay);
            }
        }
    }

    /// Records that a file was created, and its directory if it is the first file.
    pub(super) fn mark_created(&self, is_first: bool) {
        let mut dirty = self.sync.dirty.lock();
        dirty.created = dirty.created.max(if is_first { Created::Directory } else { Created::File });
    }

    /// Completes `done` once all records before `end` are durable.
    pub(super) fn when_durable(&self, end: i64, appended: Appended, done: Done) {
        self.sync.waiting.lock().push_back(PendingAck { end, appended, done });
    }

    /// Queues the partition for a sync thread.
    pub(crate) fn request_sync(self: &Arc<Self>) {
        if !self.sync.queued.swap(true, Ordering::AcqRel) {
            self.shared.syncs.sync_now(Arc::clone(self) as _);
        }
    }

    /// Returns whether there are unsynced bytes or unacknowledged appends.
    pub(crate) fn is_dirty(&self) -> bool {
        let dirty = self.sync.dirty.lock();
        let is_dirty = dirty.point.is_some() || dirty.created != Created::Nothing;
        drop(dirty);
        // A running sync has already taken its segments, but they are dirty until it is done.
        is_dirty || !self.sync.waiting.lock().is_empty() || self.sync.running.is_locked()
    }

    /// Syncs unsynced bytes and completes the appends that wait for them. Without a free file descriptor nothing is synced;
    /// the appends wait on, and a later sync is planned.
    pub(crate) fn sync(self: &Arc<Self>) -> Result<(), LogError> {
        let _running = self.sync.running.lock();
        self.sync.queued.store(false, Ordering::Release);
        let result = self.shared.check_health().and_then(|()| self.sync_dirty());
        match &result {
            Ok(()) => self.acknowledge_durable(),
            Err(LogError::TooManyOpenFiles { .. }) => {
                if !self.sync.planned.swap(true, Ordering::AcqRel) {
                    self.shared.syncs.sync_later(Arc::clone(self) as _, OUT_OF_FILES_WAIT);
                }
            }
            Err(error) => self.fail_waiting(error),
        }
        if self.deleted.load(Ordering::Acquire) {
            // Appends that raced with the deletion of the topic: no later sync completes them.
            self.fail_waiting(&LogError::TopicNotFound { topic: self.topic.to_string() });
        }
        result
    }

    fn sync_dirty(&self) -> Result<(), LogError> {
        let Dirty { segments, point, created } = std::mem::take(&mut *self.sync.dirty.lock());
        let synced = segments.iter().try_for_each(Segment::sync).and_then(|()| self.sync_names(created));
        if let Err(error) = synced {
            if self.deleted.load(Ordering::Acquire) {
                return Ok(());
            }
            if is_out_of_files(&error) {
                self.keep_dirty(Dirty { segments, point, created });
                return Err(LogError::io(&self.directory, "sync", error));
            }
            return Err(self.shared.poison(error));
        }
        segments.iter().try_for_each(|segment| self.check_linked(segment))?;
        {
            let dirty = self.sync.dirty.lock();
            for segment in &segments {
                if !dirty.segments.iter().any(|again| Arc::ptr_eq(again, segment)) {
                    segment.set_dirty(false);
                }
            }
        }
        let Some(point) = point else { return Ok(()) };
        let previous = self.sync.durable.lock().replace(point);
        invariant!(
            previous.is_none_or(|previous| previous.next <= point.next),
            "the durable point never moves back"
        );
        self.sync.unnoted.store(true, Ordering::Release);
        if segments.first().is_some_and(|first| first.base != point.segment) {
            self.sync.rolled.store(true, Ordering::Release);
        }
        self.durable_end.fetch_max(point.next, Ordering::AcqRel);
        if self.durability == Durability::Always {
            self.note_acked(point.next);
        }
        Ok(())
    }

    /// Takes back what a sync did not even try.
    fn keep_dirty(&self, mut kept: Dirty) {
        let mut dirty = self.sync.dirty.lock();
        for segment in std::mem::take(&mut dirty.segments) {
            if !kept.segments.iter().any(|present| Arc::ptr_eq(present, &segment)) {
                kept.segments.push(segment);
            }
        }
        kept.point = dirty.point.or(kept.point);
        kept.created = dirty.created.max(kept.created);
        *dirty = kept;
    }

    /// Fails if the file of a segment was removed by another program, and stops the store.
    pub(super) fn check_linked(&self, segment: &Arc<Segment>) -> Result<(), LogError> {
        if segment.is_removed() || self.deleted.load(Ordering::Acquire) {
            return Ok(());
        }
        let file = match segment.file() {
            Ok(file) => file,
            // A later look finds it.
            Err(LogError::TooManyOpenFiles { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let is_unlinked = file.is_unlinked().map_err(|e| LogError::io(segment.path(), "look at", e))?;
        // Retention and deletion set their flags before they remove the file.
        if is_unlinked && !segment.is_removed() && !self.deleted.load(Ordering::Acquire) {
            return Err(self.shared.note_removed(segment.path()));
        }
        Ok(())
    }

    /// Stores the end that is about to be acknowledged, so that recovery finds a log that ends before it.
    fn note_acked(&self, end: i64) {
        let mut acked = self.sync.acked.lock();
        *acked = AckedEnd { sequence: acked.sequence + 1, end };
        if let Err(error) = self.shared.acked.write(self.log_id, *acked) {
            tracing::warn!(topic = %self.topic, partition = self.number, %error,
                "the acknowledged end was not stored; a loss behind the last checkpoint would look like a torn end");
        }
    }

    fn sync_names(&self, created: Created) -> io::Result<()> {
        if created == Created::Nothing {
            return Ok(());
        }
        let (disk, files) = (&self.shared.disk, &self.shared.files);
        if created == Created::Directory {
            files.with_room(|| disk.open(&self.directory.join(LOG_INFO), Open::Write))?.sync()?;
        }
        files.with_room(|| disk.sync_dir(&self.directory))?;
        if created == Created::Directory {
            files.with_room(|| disk.sync_dir(&self.shared.logs_directory()))?;
            files.with_room(|| disk.sync_dir(&self.shared.directory))?;
        }
        Ok(())
    }

    fn acknowledge_durable(&self) {
        let durable_end = self.durable_end.load(Ordering::Acquire);
        if self.durability == Durability::Always {
            self.waiters.wake_all();
        }
        loop {
            // Completed one by one without the lock, since a completion may submit again.
            let mut waiting = self.sync.waiting.lock();
            if waiting.front().is_none_or(|first| first.end > durable_end) {
                return;
            }
            let Some(first) = waiting.pop_front() else { return };
            drop(waiting);
            (first.done)(Ok(first.appended));
        }
    }

    pub(crate) fn fail_waiting(&self, error: &LogError) {
        let waiting = std::mem::take(&mut *self.sync.waiting.lock());
        for append in waiting {
            (append.done)(Err(error.clone()));
        }
    }
}

impl SyncTarget for Partition {
    fn note_sync_is_due(&self) {
        self.sync.planned.store(false, Ordering::Release);
    }

    fn run_sync(self: Arc<Self>) {
        if let Err(error) = self.sync().and_then(|()| self.note_full_segments()) {
            tracing::error!(topic = %self.topic, partition = self.number, %error, "sync failed");
        }
        // An appender that has drained the queue for long leaves the rest to this thread.
        self.drain_queue();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{Store, StoreConfig, TopicConfig};

    #[test]
    fn append_that_races_with_topic_deletion_is_completed() {
        let store = Store::open(StoreConfig::memory()).unwrap();
        store.create_topic("t", TopicConfig::new().durability(Durability::Always)).unwrap();
        let partition = store.partition("t", 0).unwrap();
        partition.mark_deleted();
        let (answer, answered) = mpsc::channel();
        let appended = Appended { base_offset: 0, timestamp_ms: 0 };
        partition.when_durable(1, appended, Box::new(move |result| answer.send(result).unwrap()));
        partition.sync().unwrap();
        assert!(matches!(answered.try_recv(), Ok(Err(LogError::TopicNotFound { .. }))));
    }
}
