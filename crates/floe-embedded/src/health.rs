//! Health of a store: whether it works, and what it has lost.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use floe_core::{
    Result,
    engine::{Health, NodeHealth},
};
use floe_log::{LogError, RecoveryReport, Store, disk::DiskSpace};
use parking_lot::Mutex;

use super::{
    blocking,
    damage::{self, Finding},
};

/// Findings that are remembered as told. A store with more of them tells some twice.
const MAX_TOLD: usize = 1000;

/// Access of an engine to its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Access {
    #[default]
    Full,
    /// Reading, as asked for.
    Reads,
    /// Reading, because the directory cannot be written.
    Refused,
}

/// Examination of a store, shared with the threads that run it.
#[derive(Debug, Default)]
pub(crate) struct Examination {
    access: Access,
    /// Whether all partitions were opened once: later damage is found by its readers.
    is_done: AtomicBool,
    /// Held by the thread that examines, so that checks which arrive meanwhile take no thread each.
    one: Arc<tokio::sync::Mutex<()>>,
    told: Mutex<HashSet<Finding>>,
}

/// Condition of a store.
struct Condition {
    /// Failure of the store as a whole.
    failure: Option<LogError>,
    findings: Vec<Finding>,
    /// Space of the disk, if it is nearly full.
    nearly_full: Option<DiskSpace>,
}

impl Examination {
    pub(crate) fn new(access: Access) -> Self {
        Self { access, ..Self::default() }
    }

    /// Writes the findings that were not told before to the log.
    pub(crate) fn tell(&self, store: &str, report: &RecoveryReport) {
        if !report.has_damage() && report.rewound.is_empty() {
            return;
        }
        let mut told = self.told.lock();
        if told.len() >= MAX_TOLD {
            told.clear();
        }
        for finding in damage::findings(report).into_iter().chain(damage::rewound(report)) {
            if told.insert(finding.clone()) {
                finding.tell(store);
            }
        }
    }
}

/// Checks the store. It is not ready if it stopped, its disk refuses writes, its directory is gone, or one of its partitions
/// can be neither read nor written. Lost records make it ready with findings: all that is left is readable, new records are
/// stored, and no restart would help.
pub(crate) async fn check(
    store: &Arc<Store>,
    examination: &Arc<Examination>,
    location: &str,
) -> Result<Health> {
    // A store that failed is unhealthy; calling a closed one is an error of the caller.
    if matches!(store.check(), Err(LogError::Closed)) {
        return Err(super::log_error(LogError::Closed));
    }
    let guard = Arc::clone(&examination.one).lock_owned().await;
    let (examined, name) = (Arc::clone(examination), location.to_owned());
    let condition = blocking(store, move |store| {
        // The thread runs on when the caller gives up, and keeps others from starting.
        let _guard = guard;
        Ok(condition(store, &examined, &name))
    })
    .await?;
    let failed = condition.findings.iter().filter(|finding| finding.is_failure).count();
    let ready = condition.failure.is_none() && failed == 0 && examination.access != Access::Refused;
    let open = match examination.access {
        Access::Full => "open",
        Access::Reads => "open for reading only",
        Access::Refused => "open for reading only, because its directory cannot be written",
    };
    let state = match (&condition.failure, failed) {
        (Some(error), _) => super::log_error(error.clone()).message().to_owned(),
        (None, 0) => open.to_owned(),
        (None, _) => format!("{open}, {failed} of its partitions cannot be used"),
    };
    let store = NodeHealth::new(location, ready, state);
    let disk = condition.nearly_full.map(|DiskSpace { total, free, .. }| {
        let (free, total) = (free >> 20, total >> 20);
        NodeHealth::new("disk", false, format!("nearly full: {free} MiB of {total} MiB are free"))
    });
    let nodes =
        std::iter::once(store).chain(disk).chain(condition.findings.into_iter().map(Finding::into_node));
    Ok(Health::new(ready, nodes.collect()))
}

fn condition(store: &Store, examination: &Examination, location: &str) -> Condition {
    let checked = if examination.access == Access::Full { store.probe() } else { store.check() };
    let mut failure = checked.err();
    if failure.is_none() && !examination.is_done.load(Ordering::Acquire) {
        match store.examine() {
            Ok(_) => examination.is_done.store(true, Ordering::Release),
            Err(error) => failure = Some(error),
        }
    }
    let report = store.findings();
    examination.tell(location, &report);
    Condition { failure, findings: damage::findings(&report), nearly_full: store.nearly_full() }
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use floe_core::{
        Error, ErrorKind, Topic, TopicSpec,
        engine::{Acks, AppendRequest, Engine as _},
    };
    use floe_log::{
        StoreConfig,
        disk::{Fault, FaultyDisk, MemoryDisk},
    };
    use floe_wire::batch::{BatchBuilder, FinishOptions};

    use super::*;
    use crate::EmbeddedEngine;

    async fn engine() -> (FaultyDisk, EmbeddedEngine) {
        let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
        let store = Store::open(StoreConfig::at("/").disk(Arc::new(disk.clone()))).unwrap();
        let engine = EmbeddedEngine::over(store, "place".to_owned());
        engine.create_topic(TopicSpec::new("t")).await.unwrap();
        (disk, engine)
    }

    async fn append(engine: &EmbeddedEngine) -> Result<(), Error> {
        append_of(engine, 5).await
    }

    async fn append_of(engine: &EmbeddedEngine, size: usize) -> Result<(), Error> {
        let mut builder = BatchBuilder::new(1 << 16);
        builder.append(0, None, &vec![b'v'; size], &[]).unwrap();
        let batch = builder.finish(FinishOptions::default()).unwrap();
        let request = AppendRequest::new(Topic::from("t").partition(0), batch, Acks::Leader);
        engine.append(request).await.map(drop)
    }

    #[tokio::test]
    async fn a_disk_that_refuses_writes_is_a_failure_until_it_takes_them() {
        let (disk, engine) = engine().await;
        assert!(engine.health().await.unwrap().ready);
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::Other] {
            disk.plan(Fault::Write(kind), "", 0, u64::MAX);
            let health = engine.health().await.unwrap();
            assert!(!health.ready && health.nodes.iter().all(|node| !node.ready), "{health:?}");
            disk.heal();
            assert!(engine.health().await.unwrap().ready);
        }
        engine.close().await.unwrap();
        assert_eq!(engine.health().await.unwrap_err().kind(), ErrorKind::Closed);
    }

    #[tokio::test]
    async fn a_disk_that_is_nearly_full_is_a_finding() {
        let disk = MemoryDisk::with_capacity(64 << 20);
        let store = Store::open(StoreConfig::at("/").disk(Arc::new(disk))).unwrap();
        let engine = EmbeddedEngine::over(store, "place".to_owned());
        engine.create_topic(TopicSpec::new("t")).await.unwrap();
        assert!(engine.health().await.unwrap().nodes.iter().all(|node| node.ready));
        for _ in 0..500 {
            append_of(&engine, 128 << 10).await.unwrap();
            let health = engine.health().await.unwrap();
            if let Some(disk) = health.nodes.iter().find(|node| node.name == "disk") {
                assert!(health.ready && disk.state.starts_with("nearly full: "), "{health:?}");
                return;
            }
        }
        panic!("the disk is not found to be nearly full");
    }

    #[tokio::test(start_paused = true)]
    async fn appends_to_a_disk_that_stays_full_are_not_retried_for_long() {
        let (disk, engine) = engine().await;
        append(&engine).await.unwrap();
        for _ in 0..2 {
            disk.plan(Fault::Full(0), "", 0, u64::MAX);
            assert!(append(&engine).await.unwrap_err().is_retriable());
            tokio::time::advance(Duration::from_secs(2)).await;
            let error = append(&engine).await.unwrap_err();
            assert_eq!((error.kind(), error.is_retriable()), (ErrorKind::StorageError, false), "{error}");
            disk.heal();
            append(&engine).await.unwrap();
        }
    }
}
