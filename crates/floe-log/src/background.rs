//! The threads of a store: a few that sync, one that keeps house.

use std::{collections::HashMap, sync::Arc, thread::JoinHandle, time::Instant};

use crate::{
    LogError,
    clock::{self, deadline_after},
    offsets::Offsets,
    partition::Partition,
    recovery::RecoveryFindings,
    store_shared::StoreShared,
    topics::Topics,
};

/// Syncs of different files run side by side: a device takes several at once.
const SYNC_THREADS: usize = 4;

pub(crate) fn start(
    shared: &Arc<StoreShared>,
    topics: &Arc<Topics>,
    offsets: &Arc<Offsets>,
) -> Result<Vec<JoinHandle<()>>, LogError> {
    let mut threads = Vec::new();
    for number in 0..SYNC_THREADS {
        let shared = Arc::clone(shared);
        threads.push(spawn(&format!("floe-sync-{number}"), move || sync_loop(&shared))?);
    }
    let (house_shared, topics) = (Arc::clone(shared), Arc::clone(topics));
    threads.push(spawn("floe-house", move || house_loop(&house_shared, &topics))?);
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

/// Syncs many partitions, several at a time.
pub(crate) fn sync_side_by_side(partitions: &[Arc<Partition>]) -> Result<(), LogError> {
    let dirty: Vec<_> = partitions.iter().filter(|partition| partition.is_dirty()).collect();
    let share = dirty.len().div_ceil(SYNC_THREADS).max(1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = dirty
            .chunks(share)
            .map(|chunk| scope.spawn(move || chunk.iter().try_for_each(|partition| partition.sync())))
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(LogError::Closed)))
    })
}

fn house_loop(shared: &Arc<StoreShared>, topics: &Topics) {
    let (checkpoints, retention) = (shared.config.checkpoint_interval, shared.config.retention_interval);
    let mut next_checkpoint = deadline_after(checkpoints);
    let mut next_retention = deadline_after(retention);
    while shared.syncs.wait_until(next_checkpoint.min(next_retention)) {
        let now = Instant::now();
        if now >= next_checkpoint {
            if let Err(error) = checkpoint(shared, topics) {
                tracing::warn!(%error, "no checkpoint: opening after a crash will take longer");
            }
            next_checkpoint = deadline_after(checkpoints);
        }
        if now >= next_retention {
            if let Err(error) = enforce_retention(shared, topics, clock::now_ms()) {
                tracing::warn!(%error, "retention could not remove everything");
            }
            next_retention = deadline_after(retention);
        }
    }
}

/// Notes in the catalog how far everything is synced.
pub(crate) fn checkpoint(shared: &StoreShared, topics: &Topics) -> Result<(), LogError> {
    let partitions: Vec<Arc<Partition>> = topics.all().iter().flat_map(|topic| topic.opened()).collect();
    let points: Vec<_> = partitions
        .iter()
        .filter_map(|partition| partition.take_unnoted_point().map(|point| (partition.log_id, point)))
        .collect();
    shared.catalog.set_durable(&points).inspect_err(|_| {
        // The next checkpoint tries again, and a close must not claim more than the catalog says.
        partitions.iter().for_each(|partition| partition.keep_unnoted());
    })
}

/// Removes what the topics' retention does not keep. All new starts go into one transaction, before any file goes:
/// a missing file is then never a surprise.
pub(crate) fn enforce_retention(
    shared: &Arc<StoreShared>,
    topics: &Topics,
    now_ms: i64,
) -> Result<(), LogError> {
    let mut starts = HashMap::new();
    let mut segments = Vec::new();
    for topic in topics.all().iter().filter(|topic| topic.has_retention()) {
        for number in 0..topic.partition_count() {
            let retired = topic
                .open(shared, number, &mut RecoveryFindings::default())
                .and_then(|partition| Ok((partition.retire_expired(now_ms)?, partition)));
            match retired {
                Ok((Some(retired), partition)) => {
                    starts.insert(partition.log_id, (topic.id, number, partition.log_id, retired.start));
                    segments.extend(retired.segments);
                }
                // Deleted meanwhile: nothing is left to remove.
                Ok((None, _)) | Err(LogError::TopicNotFound { .. }) => {}
                // The other partitions go on.
                Err(error) => tracing::warn!(topic = %topic.name, partition = number, %error, "no retention"),
            }
        }
    }
    let starts: Vec<_> = starts.into_values().collect();
    shared.catalog.set_starts(&starts)?;
    segments.iter().try_for_each(|segment| segment.remove())
}
