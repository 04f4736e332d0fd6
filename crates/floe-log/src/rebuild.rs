//! Catalog made anew from the directories of the logs, and logs taken back into the catalog.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    LogError, SetAsideLog, Store, StoreConfig, TopicConfig,
    catalog::{self, Catalog},
    disk::Disk,
    log_info::{LogInfo, ReadInfo},
    lost_found::{self, LOST_FOUND},
    opening,
};

/// Result of [`Store::rebuild`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebuilt {
    /// Names of the topics in the new catalog.
    pub topics: Vec<String>,
    /// Path under which the previous catalog is kept; None if there was none.
    pub previous: Option<PathBuf>,
    /// Directories that do not tell their topic, or tell one that another log has. The next opening sets them aside.
    pub unknown: Vec<PathBuf>,
}

/// Topic as the directories of its logs describe it: partition to log id and start.
struct FoundTopic {
    name: String,
    created_ms: i64,
    config: TopicConfig,
    logs: BTreeMap<u32, (u64, i64)>,
}

impl Store {
    /// Makes the catalog of a closed store anew from its log directories, and keeps the previous catalog in
    /// `lost+found`. Committed offsets are lost, and so is a start within a segment: records before it, back to the
    /// start of the segment, are readable again.
    ///
    /// # Errors
    /// [`LogError::Locked`]; [`LogError::Io`]; [`LogError::DiskFull`]; [`LogError::Catalog`].
    pub fn rebuild(config: &StoreConfig) -> Result<Rebuilt, LogError> {
        config.check()?;
        let _lock = opening::lock(&*config.disk, &config.directory(), config.time.wall_ms())?;
        Self::rebuild_locked(config)
    }

    /// Makes the catalog anew in a directory that is locked.
    pub(crate) fn rebuild_locked(config: &StoreConfig) -> Result<Rebuilt, LogError> {
        let (disk, directory) = (&config.disk, config.directory());
        let io = |operation| move |error| LogError::io(config.directory(), operation, error);
        let logs = directory.join("logs");
        let mut infos = Vec::new();
        let mut rebuilt = Rebuilt::default();
        for name in disk.list(&logs).map_err(io("list"))? {
            let Ok(id) = name.parse::<u64>() else { continue };
            match LogInfo::read(&**disk, &logs.join(&name)).map_err(io("read"))? {
                ReadInfo::Found(info) if info.log_id == id => infos.push(*info),
                _ => rebuilt.unknown.push(logs.join(name)),
            }
        }
        let store_id = most_frequent_store(&infos).unwrap_or_else(opening::new_store_id);
        let topics = group(&**disk, &logs, infos, store_id, &mut rebuilt.unknown).map_err(io("list"))?;
        // Without the marker the next opening checks all logs.
        disk.remove_file(&directory.join("CLEAN")).map_err(io("remove"))?;
        disk.sync_dir(&directory).map_err(io("sync"))?;
        let path = directory.join("meta.redb");
        let next_id = lost_found::largest_log_id(&**disk, &directory).map_err(io("list"))?.saturating_add(1);
        let new = directory.join("meta.redb.new");
        disk.remove_file(&new).map_err(io("remove"))?;
        let examined = catalog::examine(&**disk, &new, None)?;
        let catalog = Catalog::open(Arc::clone(disk), &new, store_id, examined)?;
        catalog.raise_next_id(next_id)?;
        for (id, topic) in topics {
            let partitions =
                topic.logs.keys().next_back().map_or(0, |last| last + 1).max(topic.config.partitions);
            let present: Vec<_> = (0..partitions).map(|number| topic.logs.get(&number).copied()).collect();
            let config = TopicConfig { partitions, ..topic.config };
            catalog.adopt_topic(&topic.name, (id, topic.created_ms), config, &present)?;
            rebuilt.topics.push(topic.name);
        }
        catalog.close();
        if lost_found::has_contents(&**disk, &path).map_err(io("open"))? {
            let kept = lost_found::set_aside(&**disk, &path, &directory.join(LOST_FOUND))
                .map_err(io("set aside"))?;
            rebuilt.previous = Some(kept);
        }
        disk.rename(&new, &path).map_err(io("rename"))?;
        disk.sync_dir(&directory).map_err(io("sync"))?;
        rebuilt.topics.sort();
        Ok(rebuilt)
    }

    /// Lists the logs in `lost+found/logs`.
    ///
    /// # Errors
    /// [`LogError::Io`]; [`LogError::Closed`].
    pub fn set_aside_logs(&self) -> Result<Vec<SetAsideLog>, LogError> {
        self.shared.check_open()?;
        let directory = &self.shared.directory;
        lost_found::set_aside_logs(&*self.shared.disk, directory)
            .map_err(|e| LogError::io(directory, "list", e))
    }

    /// Takes set-aside logs of one topic back into the catalog as the topic `name`, with the configuration that they
    /// describe. A log that does not tell its partition becomes the first free one; partitions without a log are empty.
    ///
    /// # Errors
    /// [`LogError::TopicExists`]; [`LogError::InvalidConfig`] if there are no logs, if two are of the same partition, or
    /// if a log's id is in use; [`LogError::Io`]; [`LogError::Catalog`]; [`LogError::Closed`].
    pub fn adopt(&self, name: &str, logs: &[SetAsideLog]) -> Result<(), LogError> {
        self.shared.check_writable()?;
        Self::check_topic_name(name)?;
        let _one = self.changing.lock();
        if self.topics.get(name).is_some() {
            return Err(LogError::TopicExists { topic: name.to_owned() });
        }
        let disk = &*self.shared.disk;
        let mut info = None;
        for log in logs {
            if let ReadInfo::Found(found) =
                LogInfo::read(disk, &log.path).map_err(|e| LogError::io(&log.path, "read", e))?
            {
                if found.store_id != self.shared.catalog.store_id() {
                    let problem = format!("{} belongs to another store", log.path.display());
                    return Err(LogError::invalid("set-aside logs", problem));
                }
                info.get_or_insert(*found);
            }
        }
        let slots = self.assign_partitions(logs)?;
        let (id, created_ms, config) = info.map_or((0, self.shared.now_ms(), TopicConfig::new()), |info| {
            (info.topic_id, info.created_ms, info.config)
        });
        let last = slots.keys().next_back().map_or(0, |last| last + 1);
        let config = TopicConfig { partitions: last.max(config.partitions), ..config };
        let mut present = vec![None; usize::try_from(config.partitions).unwrap_or(0)];
        for (number, log) in &slots {
            let target = self.shared.log_directory(log.log_id);
            let io = |operation| move |error| LogError::io(&log.path, operation, error);
            let start = lost_found::first_offset(disk, &log.path).map_err(io("list"))?;
            // The new description is written when the partition opens.
            disk.remove_file(&log.path.join(crate::log_info::LOG_INFO)).map_err(io("remove"))?;
            disk.create_dir_all(&self.shared.logs_directory()).map_err(io("create"))?;
            disk.rename(&log.path, &target).map_err(io("move"))?;
            if let Some(slot) = usize::try_from(*number).ok().and_then(|at| present.get_mut(at)) {
                *slot = Some((log.log_id, start));
            }
        }
        let logs_directory = self.shared.logs_directory();
        disk.sync_dir(&logs_directory).map_err(|e| LogError::io(&logs_directory, "sync", e))?;
        let topic = self.shared.catalog.adopt_topic(name, (id, created_ms), config, &present)?;
        self.topics.insert(topic);
        Ok(())
    }

    /// Assigns the logs to partitions.
    fn assign_partitions<'l>(
        &self,
        logs: &'l [SetAsideLog],
    ) -> Result<BTreeMap<u32, &'l SetAsideLog>, LogError> {
        let invalid = |problem: String| Err(LogError::invalid("set-aside logs", problem));
        if logs.is_empty() {
            return invalid("there are none".to_owned());
        }
        let mut slots = BTreeMap::new();
        for log in logs {
            let is_known = self.topics.all().iter().any(|topic| topic.log_ids().contains(&log.log_id));
            if is_known || slots.values().any(|other: &&SetAsideLog| other.log_id == log.log_id) {
                return invalid(format!("the id of {} is in use", log.path.display()));
            }
            if let Some((_, _, partition)) = &log.topic
                && let Some(other) = slots.insert(*partition, log)
            {
                let (a, b) = (other.path.display(), log.path.display());
                return invalid(format!("{a} and {b} are both partition {partition}"));
            }
        }
        for log in logs.iter().filter(|log| log.topic.is_none()) {
            let free = (0..).find(|number| !slots.contains_key(number)).unwrap_or(u32::MAX);
            slots.insert(free, log);
        }
        Ok(slots)
    }
}

fn most_frequent_store(infos: &[LogInfo]) -> Option<u64> {
    let mut counts = BTreeMap::new();
    for info in infos {
        *counts.entry(info.store_id).or_insert(0_usize) += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(id, _)| id)
}

/// Groups the logs of one store by topic id. Logs that have no place are added to `unknown`.
fn group(
    disk: &dyn Disk,
    logs: &Path,
    mut infos: Vec<LogInfo>,
    store_id: u64,
    unknown: &mut Vec<PathBuf>,
) -> std::io::Result<BTreeMap<u64, FoundTopic>> {
    // The newest topic keeps a name that an older one had before it was deleted.
    infos.sort_by_key(|info| std::cmp::Reverse((info.topic_id, info.log_id)));
    let mut topics: BTreeMap<u64, FoundTopic> = BTreeMap::new();
    for info in infos {
        let path = logs.join(info.log_id.to_string());
        let name_is_taken = topics.iter().any(|(id, topic)| *id != info.topic_id && topic.name == info.topic);
        if info.store_id != store_id || name_is_taken {
            unknown.push(path);
            continue;
        }
        let start = lost_found::first_offset(disk, &path)?;
        let partitions = info.config.partitions;
        let topic = topics.entry(info.topic_id).or_insert_with(|| FoundTopic {
            name: info.topic,
            created_ms: info.created_ms,
            config: info.config,
            logs: BTreeMap::new(),
        });
        topic.config.partitions = topic.config.partitions.max(partitions);
        match topic.logs.entry(info.partition) {
            Entry::Occupied(_) => unknown.push(path),
            Entry::Vacant(slot) => {
                slot.insert((info.log_id, start));
            }
        }
    }
    Ok(topics)
}
