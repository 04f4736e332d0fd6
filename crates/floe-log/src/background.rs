//! Threads of a store: several that sync, one for checkpoints and retention, one that writes committed offsets. An executor
//! does the same work without threads.

use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    LogError,
    clock::deadline_after,
    invariant::invariant,
    offsets::Offsets,
    partition::Partition,
    store_shared::StoreShared,
    topics::Topics,
    work::{Executor, Work, WorkKind},
};

/// Number of sync threads. Devices process the syncs of several files concurrently.
const SYNC_THREADS: usize = 4;

pub(crate) fn start(
    shared: &Arc<StoreShared>,
    topics: &Arc<Topics>,
    offsets: &Arc<Offsets>,
) -> Result<Vec<JoinHandle<()>>, LogError> {
    let mut threads = Vec::new();
    if let Some(executor) = &shared.config.executor {
        let config = &shared.config;
        for (kind, interval) in [
            (WorkKind::Checkpoint, config.checkpoint_interval),
            (WorkKind::Retention, config.retention_interval),
        ] {
            plan_maintenance(executor, (kind, interval), Arc::clone(shared), Arc::clone(topics));
        }
        return Ok(threads);
    }
    for number in 0..SYNC_THREADS {
        let shared = Arc::clone(shared);
        threads.push(spawn(&format!("floe-sync-{number}"), move || sync_loop(&shared))?);
    }
    let (maintenance_shared, topics) = (Arc::clone(shared), Arc::clone(topics));
    threads.push(spawn("floe-maintenance", move || maintenance_loop(&maintenance_shared, &topics))?);
    let (shared, offsets) = (Arc::clone(shared), Arc::clone(offsets));
    threads.push(spawn("floe-offsets", move || offsets.run(&shared))?);
    Ok(threads)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LogError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| LogError::io(name, "start thread", error))
}

fn sync_loop(shared: &StoreShared) {
    while let Some(target) = shared.syncs.next_sync() {
        target.run_sync();
    }
}

/// Gives the executor one piece of maintenance, which plans the next one until the store is closed.
fn plan_maintenance(
    executor: &Executor,
    (kind, interval): (WorkKind, Duration),
    shared: Arc<StoreShared>,
    topics: Arc<Topics>,
) {
    executor.take(Work::new(kind, interval, move || {
        if shared.is_closed() {
            return;
        }
        maintain(kind, &shared, &topics);
        if let Some(executor) = shared.config.executor.clone() {
            plan_maintenance(&executor, (kind, interval), shared, topics);
        }
    }));
}

fn maintain(kind: WorkKind, shared: &Arc<StoreShared>, topics: &Topics) {
    if kind == WorkKind::Checkpoint {
        if let Err(error) = checkpoint(shared, topics) {
            tracing::warn!(%error, "checkpoint failed; opening after a crash takes longer");
        }
    } else if let Err(error) = enforce_retention(shared, topics, shared.now_ms()) {
        tracing::warn!(%error, "retention failed to remove some segments");
    }
}

/// Syncs partitions, on several threads unless the store has an executor.
pub(crate) fn sync_all(shared: &StoreShared, partitions: &[Arc<Partition>]) -> Result<(), LogError> {
    let dirty: Vec<_> = partitions.iter().filter(|partition| partition.is_dirty()).collect();
    if shared.config.executor.is_some() {
        return dirty.iter().try_for_each(|partition| partition.sync());
    }
    let share = dirty.len().div_ceil(SYNC_THREADS).max(1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = dirty
            .chunks(share)
            .map(|chunk| scope.spawn(move || chunk.iter().try_for_each(|partition| partition.sync())))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| {
                invariant!(false, "a sync never panics");
                Err(LogError::Closed)
            })
        })
    })
}

fn maintenance_loop(shared: &Arc<StoreShared>, topics: &Topics) {
    let (checkpoints, retention) = (shared.config.checkpoint_interval, shared.config.retention_interval);
    let mut next_checkpoint = deadline_after(checkpoints);
    let mut next_retention = deadline_after(retention);
    while shared.syncs.wait_until(next_checkpoint.min(next_retention)) {
        let now = Instant::now();
        if now >= next_checkpoint {
            maintain(WorkKind::Checkpoint, shared, topics);
            next_checkpoint = deadline_after(checkpoints);
        }
        if now >= next_retention {
            maintain(WorkKind::Retention, shared, topics);
            next_retention = deadline_after(retention);
        }
    }
}

/// Stores the durable point of every partition in the catalog.
pub(crate) fn checkpoint(shared: &StoreShared, topics: &Topics) -> Result<(), LogError> {
    let _one = shared.checkpointing.lock();
    let partitions: Vec<Arc<Partition>> = topics.all().iter().flat_map(|topic| topic.opened()).collect();
    let points: Vec<_> = partitions.iter().filter_map(Partition::take_unnoted_point).collect();
    shared.catalog.set_durable(&points).inspect_err(|_| {
        // The next checkpoint retries, and a close must not claim more than the catalog holds.
        partitions.iter().for_each(|partition| partition.keep_unnoted(&points));
    })?;
    if points.is_empty() { Ok(()) } else { shared.note_catalog_age() }
}

/// Applies retention to the partitions that are open: programs that end before the first interval would otherwise never
/// apply it.
pub(crate) fn enforce_retention_of_opened(shared: &Arc<StoreShared>, topics: &Topics) {
    let opened: Vec<_> =
        topics.all().iter().filter(|topic| topic.has_retention()).flat_map(|topic| topic.opened()).collect();
    if let Err(error) = remove_expired(shared, opened, shared.now_ms()) {
        tracing::warn!(%error, "retention failed to remove some segments");
    }
}

/// Removes segments that the topics' retention no longer keeps. One transaction stores all new starts before any file
/// is removed, so recovery never expects a removed file.
pub(crate) fn enforce_retention(
    shared: &Arc<StoreShared>,
    topics: &Topics,
    now_ms: i64,
) -> Result<(), LogError> {
    let mut partitions = Vec::new();
    for topic in topics.all().iter().filter(|topic| topic.has_retention()) {
        for number in 0..topic.partition_count() {
            match topic.open(shared, number) {
                Ok(partition) => partitions.push(partition),
                // The topic was deleted in the meantime; its files are removed with it.
                Err(LogError::TopicNotFound { .. }) => {}
                // Retention continues with the other partitions.
                Err(error) => {
                    tracing::warn!(topic = %topic.name, partition = number, %error, "retention failed");
                }
            }
        }
    }
    remove_expired(shared, partitions, now_ms)
}

fn remove_expired(
    shared: &StoreShared,
    partitions: Vec<Arc<Partition>>,
    now_ms: i64,
) -> Result<(), LogError> {
    let mut starts = Vec::new();
    let mut segments = Vec::new();
    for partition in partitions {
        match partition.take_expired_segments(now_ms) {
            Ok(Some(expired)) => {
                starts.push((partition.topic_id, partition.number, partition.log_id, expired.start));
                segments.extend(expired.segments);
            }
            Ok(None) | Err(LogError::TopicNotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(topic = %partition.topic, partition = partition.number, %error, "retention failed");
            }
        }
    }
    shared.catalog.set_starts(&starts)?;
    segments.iter().try_for_each(|segment| segment.remove())?;
    if !segments.is_empty() {
        shared.catalog.reserve.fill();
    }
    Ok(())
}
