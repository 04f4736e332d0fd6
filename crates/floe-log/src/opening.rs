//! Steps of opening a store: lock, leftovers of deleted topics, recovery of all partitions.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    LogError,
    catalog::{CATALOG_FILE, EARLIER},
    clock,
    disk::{Disk, DiskLock},
    log_info::{LogInfo, ReadInfo},
    lost_found,
    recovery_report::SetAsideLog,
    store_shared::{CATALOG_SLOT, StoreShared},
    sync::Mutex,
    topics::{Topic, Topics},
};

pub(crate) fn lock(disk: &dyn Disk, directory: &Path, now_ms: i64) -> Result<DiskLock, LogError> {
    let path = directory.join("LOCK");
    let contents = format!("pid {}\nsince {}\n", std::process::id(), now_ms);
    let locked = disk.try_lock(&path, &contents).map_err(|e| LogError::io(&path, "lock", e))?;
    locked.map_err(|owner| locked_by(&owner, directory))
}

/// Takes the lock together with other readers; writes nothing.
pub(crate) fn lock_shared(disk: &dyn Disk, directory: &Path) -> Result<DiskLock, LogError> {
    let path = directory.join("LOCK");
    let locked = disk.try_lock_shared(&path).map_err(|e| LogError::io(&path, "lock", e))?;
    locked.map_err(|owner| locked_by(&owner, directory))
}

fn locked_by(owner: &str, directory: &Path) -> LogError {
    let pid = owner.lines().find_map(|line| line.strip_prefix("pid ")?.trim().parse().ok());
    LogError::Locked { path: directory.to_path_buf(), pid }
}

/// Returns whether the store is new. Fails for logs without a catalog: [`crate::Store::rebuild`] makes a new one.
pub(crate) fn check_catalog(disk: &dyn Disk, directory: &Path) -> Result<bool, LogError> {
    let path = directory.join(CATALOG_FILE);
    if lost_found::has_contents(disk, &path).map_err(|e| LogError::io(&path, "open", e))? {
        return Ok(false);
    }
    let logs = directory.join("logs");
    let names = disk.list(&logs).map_err(|e| LogError::io(&logs, "list", e))?;
    if names.iter().any(|name| name.parse::<u64>().is_ok()) {
        return Err(LogError::CatalogMissing { path });
    }
    Ok(true)
}

/// Syncs the directories above a new store, as far as they may be opened, so that its name survives a power loss.
pub(crate) fn sync_parents(disk: &dyn Disk, directory: &Path) {
    for parent in directory.ancestors().skip(1) {
        // The parent of a relative path.
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        if let Err(error) = disk.sync_dir(parent) {
            tracing::debug!(path = %parent.display(), %error, "a parent directory of the store was not synced");
            return;
        }
    }
}

/// Returns an id for a new store. Two stores get the same one with a probability of 2^-64.
pub(crate) fn new_store_id() -> u64 {
    RandomState::new().hash_one(clock::now_ms()).max(1)
}

/// Removes the leftovers of deleted topics, and sets aside the logs that the catalog does not know. Returns those.
pub(crate) fn sort_out_logs(shared: &StoreShared, topics: &Topics) -> Result<Vec<SetAsideLog>, LogError> {
    let (disk, logs) = (&*shared.disk, shared.logs_directory());
    let deleting = shared.catalog.deleting()?;
    for id in &deleting {
        remove_log(shared, *id)?;
    }
    shared.catalog.finish_deleting(&deleting)?;
    let known: HashSet<u64> = topics.all().iter().flat_map(|topic| topic.log_ids()).collect();
    let mut set_aside = Vec::new();
    for name in disk.list(&logs).map_err(|e| LogError::io(&logs, "list", e))? {
        // Keeps names that are not log ids.
        if let Ok(id) = name.parse::<u64>()
            && !known.contains(&id)
        {
            set_aside.push(set_aside_log(shared, id, &logs.join(name))?);
        }
    }
    let largest = lost_found::largest_log_id(disk, &shared.directory)
        .map_err(|e| LogError::io(&shared.directory, "list", e))?;
    shared.catalog.raise_next_id(largest.saturating_add(1))?;
    Ok(set_aside)
}

/// Returns the problems with the catalog that the store survives, and notes its present age.
pub(crate) fn check_catalog_age(shared: &StoreShared) -> Result<Vec<String>, LogError> {
    let mut problems = shared.catalog.problems.clone();
    let noted = shared.acked.read(CATALOG_SLOT).map_err(|e| LogError::io(&shared.directory, "read", e))?;
    let (present, known) = (shared.catalog.changes()?, noted.map_or(0, |noted| noted.end));
    if known > i64::try_from(present).unwrap_or(i64::MAX) {
        problems.push(format!(
            "the catalog has {present} changes, but had {known} when the store was last in use; {EARLIER}"
        ));
        shared.note_catalog_age()?;
    }
    Ok(problems)
}

fn set_aside_log(shared: &StoreShared, log_id: u64, path: &Path) -> Result<SetAsideLog, LogError> {
    let disk = &*shared.disk;
    let topic = match LogInfo::read(disk, path).map_err(|e| LogError::io(path, "read", e))? {
        ReadInfo::Found(info) => Some((info.topic_id, info.topic, info.partition)),
        ReadInfo::Missing | ReadInfo::Damaged(_) => None,
    };
    let target = lost_found::set_aside(disk, path, &lost_found::logs_directory(&shared.directory))
        .map_err(|e| LogError::io(path, "set aside", e))?;
    Ok(SetAsideLog { path: target, log_id, topic })
}

/// Removes the directory of a deleted topic's log. A directory that names another log is set aside instead: the catalog
/// may belong to another store.
pub(crate) fn remove_log(shared: &StoreShared, log_id: u64) -> Result<(), LogError> {
    let path: PathBuf = shared.logs_directory().join(log_id.to_string());
    let info = LogInfo::read(&*shared.disk, &path).map_err(|e| LogError::io(&path, "read", e))?;
    if let ReadInfo::Found(info) = info
        && (info.store_id, info.log_id) != (shared.catalog.store_id(), log_id)
    {
        return set_aside_log(shared, log_id, &path).map(drop);
    }
    shared.disk.remove_dir_all(&path).map_err(|e| LogError::io(&path, "remove", e))
}

/// Opens all partitions, on several threads unless the store has an executor. Corrupt ones are reported by the store's findings.
pub(crate) fn open_all(shared: &Arc<StoreShared>, topics: &Topics) -> Result<(), LogError> {
    let mut all: Vec<(Arc<Topic>, u32)> = Vec::new();
    for topic in topics.all() {
        all.extend((0..topic.partition_count()).map(|number| (Arc::clone(&topic), number)));
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let remaining = Mutex::new(all.into_iter());
    let failed = Mutex::new(None);
    let open_remaining = || {
        while failed.lock().is_none() {
            let Some((topic, number)) = remaining.lock().next() else { return };
            match topic.open(shared, number) {
                Ok(_) | Err(LogError::Corrupt { .. } | LogError::TopicNotFound { .. }) => {}
                Err(error) => *failed.lock() = Some(error),
            }
        }
    };
    if shared.config.executor.is_some() {
        open_remaining();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(open_remaining);
            }
        });
    }
    failed.into_inner().map_or(Ok(()), Err)
}
