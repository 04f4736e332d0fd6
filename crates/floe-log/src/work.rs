//! Background work of a store, for an executor in place of threads.

use std::{fmt, sync::Arc, time::Duration};

/// Kind of background work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkKind {
    /// Syncs a partition, and completes the appends that wait for that.
    Sync,
    /// Stores the committed offsets that have arrived.
    Commit,
    /// Stores the points from which recovery starts.
    Checkpoint,
    /// Removes what retention no longer keeps.
    Retention,
}

/// Piece of background work of a store that has an [executor](crate::StoreConfig::executor). Dropping it leaves the work
/// undone: appends or commits that wait for it wait on.
///
/// ```
/// use std::sync::mpsc;
///
/// use floe_log::{Store, StoreConfig};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (queue, work) = mpsc::channel();
/// let store = Store::open(StoreConfig::memory().executor(move |work| drop(queue.send(work))))?;
/// for work in work.try_iter().filter(|work| work.delay().is_zero()) {
///     work.run();
/// }
/// # store.close()?;
/// # Ok(())
/// # }
/// ```
pub struct Work {
    kind: WorkKind,
    delay: Duration,
    run: Box<dyn FnOnce() + Send>,
}

impl Work {
    pub(crate) fn new(kind: WorkKind, delay: Duration, run: impl FnOnce() + Send + 'static) -> Self {
        Self { kind, delay, run: Box::new(run) }
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> WorkKind {
        self.kind
    }

    /// Returns the time to wait before it is run.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Does the work on this thread; blocks on file IO at most. Once the store is closed there is nothing left to do.
    pub fn run(self) {
        (self.run)();
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("kind", &self.kind).field("delay", &self.delay).finish_non_exhaustive()
    }
}

/// Function that takes the work of a store.
#[derive(Clone)]
pub(crate) struct Executor(Arc<dyn Fn(Work) + Send + Sync>);

impl Executor {
    pub(crate) fn new(take: impl Fn(Work) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    pub(crate) fn take(&self, work: Work) {
        (self.0)(work);
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Executor")
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::UNIX_EPOCH};

    use floe_wire::batch::{BatchBuilder, FinishOptions};

    use super::*;
    use crate::{Durability, LogError, Store, StoreConfig, TopicConfig, disk::MemoryDisk};

    const NOW: Duration = Duration::from_secs(77);

    struct Driven {
        store: Arc<Store>,
        work: mpsc::Receiver<Work>,
    }

    impl Driven {
        fn open(disk: &MemoryDisk) -> Self {
            let (queue, work) = mpsc::channel();
            let config = StoreConfig::at("/s")
                .disk(Arc::new(disk.clone()))
                .wall_clock(|| UNIX_EPOCH + NOW)
                .executor(move |work| drop(queue.send(work)));
            Self { store: Store::open(config).unwrap(), work }
        }

        /// Runs the work that is due, and returns its kinds.
        fn run(&self) -> Vec<WorkKind> {
            let due: Vec<_> = self.work.try_iter().filter(|work| work.delay().is_zero()).collect();
            due.into_iter().map(|work| (work.kind(), work.run()).0).collect()
        }

        fn append(&self) -> mpsc::Receiver<Result<i64, LogError>> {
            let mut builder = BatchBuilder::new(64);
            builder.append(0, None, b"value", &[]).unwrap();
            let batch = builder.finish(FinishOptions::default()).unwrap();
            let (answer, answered) = mpsc::channel();
            let done = move |result: Result<crate::Appended, LogError>| {
                drop(answer.send(result.map(|appended| appended.base_offset)));
            };
            self.store.partition("t", 0).unwrap().submit(batch, done);
            answered
        }
    }

    #[test]
    fn appends_and_commits_are_done_when_their_work_is() {
        let disk = MemoryDisk::with_power_loss().wall_clock(|| UNIX_EPOCH + NOW);
        let driven = Driven::open(&disk);
        driven.store.create_topic("t", TopicConfig::new().durability(Durability::Always)).unwrap();
        let answered = driven.append();
        assert!(answered.try_recv().is_err() && driven.store.partition("t", 0).unwrap().readable_end() == 0);
        assert_eq!(driven.run(), [WorkKind::Sync]);
        assert_eq!(answered.try_recv().unwrap().unwrap(), 0);

        let (answer, committed) = mpsc::channel();
        for group in ["a", "b"] {
            let answer = answer.clone();
            let done = move |result| answer.send(result).unwrap();
            driven.store.commit_offsets(group, vec![("t".to_owned(), 0, 1)], done);
        }
        assert!(committed.try_recv().is_err());
        assert_eq!(driven.run(), [WorkKind::Commit], "both share the work");
        assert!(committed.try_iter().take(2).all(|result| result.is_ok()));
        assert_eq!(driven.store.committed("a", "t", 0).unwrap().modified_ms, 77_000);
        driven.store.forget_offset("b", "t", 0).unwrap();
        driven.run();

        let unsynced = driven.append();
        driven.store.close().unwrap();
        assert_eq!(unsynced.try_recv().unwrap().unwrap(), 1, "a close syncs");
        assert!(driven.run().len() <= 1, "work that is left does nothing");
        let driven = Driven::open(&disk);
        assert!(driven.store.recovery_report().was_clean && driven.store.committed("b", "t", 0).is_none());
        assert_eq!(driven.store.partition("t", 0).unwrap().bounds().end, 2);
    }

    #[test]
    fn maintenance_comes_back_until_the_store_is_closed() {
        let driven = Driven::open(&MemoryDisk::new());
        let kinds = |work: &[Work]| work.iter().map(Work::kind).collect::<Vec<_>>();
        let planned: Vec<_> = driven.work.try_iter().collect();
        assert_eq!(kinds(&planned), [WorkKind::Checkpoint, WorkKind::Retention]);
        planned.into_iter().for_each(Work::run);
        let again: Vec<_> = driven.work.try_iter().collect();
        assert_eq!(kinds(&again), [WorkKind::Checkpoint, WorkKind::Retention]);
        driven.store.close().unwrap();
        again.into_iter().for_each(Work::run);
        assert_eq!(driven.work.try_iter().count(), 0);
    }

    #[test]
    fn a_store_that_is_dropped_leaves_its_work_undone() {
        let disk = MemoryDisk::with_power_loss();
        let driven = Driven::open(&disk);
        driven.store.create_topic("t", TopicConfig::new().durability(Durability::Always)).unwrap();
        let answered = driven.append();
        let after = disk.after_power_loss(|| false);
        drop(driven);
        assert!(matches!(answered.try_recv(), Ok(Err(LogError::Closed))));
        assert_eq!(Driven::open(&after).store.partition("t", 0).unwrap().bounds().end, 0);
    }
}
