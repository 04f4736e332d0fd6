//! Store: topics, partitions, offsets, and the lock on its directory.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    Committed, LogError, Partition, RecoveryReport, StoreConfig, TopicConfig, TopicDescription, TopicWatch,
    background,
    catalog::{self, CATALOG_FILE, Catalog, OffsetChange},
    clean_marker,
    config::OpenMode,
    disk::{DiskLock, OverlayDisk},
    invariant::invariant,
    offsets::{self, Offsets},
    opening,
    segment_scan::SegmentScan,
    store_shared::StoreShared,
    sync::{Mutex, atomic::Ordering},
    topics::{Topic, Topics},
};

/// Maximum length of a topic name in bytes; the client above is stricter.
const MAX_NAME_LEN: usize = 1024;

/// Store of topics in one directory, opened by one process at a time. All methods may be called from any thread; they
/// use blocking file IO, but none waits for a producer or a consumer.
#[derive(Debug)]
pub struct Store {
    pub(crate) shared: Arc<StoreShared>,
    pub(crate) topics: Arc<Topics>,
    offsets: Arc<Offsets>,
    report: RecoveryReport,
    /// Serializes changes of topics.
    pub(crate) changing: Mutex<()>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<DiskLock>>,
}

impl Store {
    /// Opens the store and creates its directory if it is missing. If the store was not closed with [`Store::close`],
    /// this recovers all partitions, and [`Store::recovery_report`] returns the result; otherwise each opens on first
    /// use.
    ///
    /// # Errors
    /// [`LogError::Locked`], [`LogError::Format`], [`LogError::InvalidConfig`], [`LogError::Io`],
    /// [`LogError::DiskFull`], [`LogError::CatalogMissing`], [`LogError::CatalogDamaged`], [`LogError::Catalog`].
    pub fn open(mut config: StoreConfig) -> Result<Arc<Self>, LogError> {
        config.check()?;
        let directory = config.directory();
        if config.mode == OpenMode::ReadOnly {
            let lock = opening::lock_shared(&*config.disk, &directory)?;
            config.disk = Arc::new(OverlayDisk::new(config.disk));
            return Self::open_locked(config, Some(lock));
        }
        config.disk.create_dir_all(&directory).map_err(|e| LogError::io(&directory, "create", e))?;
        let lock = opening::lock(&*config.disk, &directory, config.time.wall_ms())?;
        Self::open_locked(config, Some(lock))
    }

    /// Opens the store of a directory that is locked.
    pub(crate) fn open_locked(config: StoreConfig, lock: Option<DiskLock>) -> Result<Arc<Self>, LogError> {
        let (directory, disk, mode) = (config.directory(), Arc::clone(&config.disk), config.mode);
        let is_new = opening::check_catalog(&*disk, &directory)?;
        let path = directory.join(CATALOG_FILE);
        if is_new && mode != OpenMode::Normal {
            return Err(LogError::io(path, "open", io::ErrorKind::NotFound.into()));
        }
        let closed = clean_marker::read(&*disk, &directory)
            .map_err(|e| LogError::io(directory.join("CLEAN"), "read", e))?;
        let examined = catalog::examine(&*disk, &path, closed)?;
        if mode == OpenMode::Normal
            && let Some(problem) = examined.changed
        {
            return Err(LogError::CatalogDamaged { path, problem });
        }
        let catalog = Catalog::open(Arc::clone(&disk), &path, opening::new_store_id(), examined)?;
        if is_new {
            opening::sync_parents(&*disk, &directory);
        }
        let was_clean = clean_marker::take(&*disk, &directory)
            .map_err(|e| LogError::io(directory.join("CLEAN"), "remove", e))?;
        let stored = catalog.topics()?;
        let stored_offsets = catalog.offsets()?;
        let opens_all = !was_clean || config.scans_all;
        let shared = StoreShared::new(config, catalog);
        let topics = Topics::new(stored);
        let set_aside = opening::sort_out_logs(&shared, &topics)?;
        let names: HashMap<_, _> = topics.all().iter().map(|t| (t.id, Arc::clone(&t.name))).collect();
        let offsets = Arc::new(Offsets::new(stored_offsets, &names));
        if opens_all {
            opening::open_all(&shared, &topics)?;
        }
        let report = {
            let mut found = shared.found.lock();
            found.was_clean = was_clean;
            found.set_aside = set_aside;
            found.catalog = opening::check_catalog_age(&shared)?;
            if !was_clean {
                found.rewound = offsets.rewind(&shared, &topics)?;
            }
            found.clone()
        };
        let threads = match mode {
            OpenMode::Normal => {
                shared.catalog.reserve.fill();
                background::start(&shared, &topics, &offsets)?
            }
            OpenMode::ReadOnly | OpenMode::Repair => Vec::new(),
        };
        Ok(Arc::new(Self {
            shared,
            topics,
            offsets,
            report,
            changing: Mutex::default(),
            threads: Mutex::new(threads),
            lock: Mutex::new(lock),
        }))
    }

    /// Returns what opening the store found.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.report
    }

    /// Returns what opening the store, its partitions and readers have found so far: the report of
    /// [`Store::recovery_report`] and everything after it.
    #[must_use]
    pub fn findings(&self) -> RecoveryReport {
        self.shared.found.lock().clone()
    }

    /// Returns the scanned segments of a store that was opened with a full scan.
    pub(crate) fn take_scans(&self) -> Vec<SegmentScan> {
        self.shared.scan.as_ref().map(|scan| std::mem::take(&mut *scan.segments.lock())).unwrap_or_default()
    }

    /// Returns the files that a full scan wrote anew, with the reason.
    pub(crate) fn take_rewritten(&self) -> Vec<(PathBuf, String)> {
        self.shared.scan.as_ref().map(|scan| std::mem::take(&mut *scan.rewritten.lock())).unwrap_or_default()
    }

    /// Opens all partitions that were not used yet, and returns what that and everything before found. Blocks on the
    /// disk; for health checks.
    ///
    /// # Errors
    /// [`LogError::Closed`]; [`LogError::Poisoned`]; [`LogError::Io`].
    pub fn examine(&self) -> Result<RecoveryReport, LogError> {
        self.shared.check_open()?;
        opening::open_all(&self.shared, &self.topics)?;
        Ok(self.findings())
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// [`LogError::TopicExists`]; [`LogError::InvalidConfig`]; [`LogError::Catalog`]; [`LogError::Closed`].
    pub fn create_topic(&self, name: &str, config: TopicConfig) -> Result<(), LogError> {
        self.shared.check_writable()?;
        config.check()?;
        Self::check_topic_name(name)?;
        let _one = self.changing.lock();
        if self.topics.get(name).is_some() {
            return Err(LogError::TopicExists { topic: name.to_owned() });
        }
        let topic = self.shared.catalog.create_topic(name, config, self.shared.now_ms())?;
        self.topics.insert(topic);
        Ok(())
    }

    /// Deletes a topic with its records and committed offsets. Its readers and producers get
    /// [`LogError::TopicNotFound`].
    ///
    /// # Errors
    /// [`LogError::TopicNotFound`]; [`LogError::Io`] if files remain (the next opening of the store removes them);
    /// [`LogError::Catalog`]; [`LogError::Closed`].
    pub fn delete_topic(&self, name: &str) -> Result<(), LogError> {
        self.shared.check_writable()?;
        let _one = self.changing.lock();
        let topic = self.find(name)?;
        let logs = topic.log_ids();
        self.shared.catalog.delete_topic(name, topic.id, &logs)?;
        self.topics.remove(name);
        topic.mark_deleted();
        self.offsets.forget_topic(topic.id);
        let opened = topic.opened();
        opened.iter().for_each(|partition| partition.mark_deleted());
        let mut result = Ok(());
        for partition in &opened {
            result = partition.remove_files().and(result);
        }
        for id in &logs {
            result = opening::remove_log(&self.shared, *id).and(result);
        }
        result?;
        if let Err(error) = self.shared.catalog.finish_deleting(&logs) {
            tracing::warn!(%error, "the next opening looks for files of a deleted topic again");
        }
        self.shared.catalog.reserve.fill();
        Ok(())
    }

    /// Raises the number of partitions of a topic to `total`.
    ///
    /// # Errors
    /// [`LogError::InvalidConfig`] if `total` is lower than the current number; [`LogError::TopicNotFound`];
    /// [`LogError::Catalog`]; [`LogError::Closed`].
    pub fn add_partitions(&self, name: &str, total: u32) -> Result<(), LogError> {
        self.shared.check_writable()?;
        let _one = self.changing.lock();
        let topic = self.find(name)?;
        let present = topic.partition_count();
        if total < present {
            let problem = format!("topic {name:?} has {present}; partitions cannot be removed");
            return Err(LogError::invalid("partitions", problem));
        }
        let logs = self.shared.catalog.add_partitions(name, topic.id, present, total)?;
        topic.add(logs);
        self.topics.changed();
        topic.update_infos(&self.shared);
        Ok(())
    }

    /// Changes the retention of a topic: `change` gets the age and the bytes to keep, of which None is no limit. The next
    /// run of retention applies it.
    ///
    /// # Errors
    /// [`LogError::TopicNotFound`]; [`LogError::Catalog`]; [`LogError::Closed`].
    pub fn change_retention(
        &self,
        name: &str,
        change: impl FnOnce(&mut Option<Duration>, &mut Option<u64>),
    ) -> Result<(), LogError> {
        self.shared.check_writable()?;
        let _one = self.changing.lock();
        let topic = self.find(name)?;
        let mut config = topic.config();
        change(&mut config.retention_age, &mut config.retention_bytes);
        self.shared.catalog.set_retention(name, &config)?;
        topic.set_retention(&config);
        self.topics.changed();
        topic.update_infos(&self.shared);
        Ok(())
    }

    /// Returns all topics, ordered by name.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicDescription> {
        self.topics.all().iter().map(|topic| topic.describe()).collect()
    }

    /// Returns one topic; None if it does not exist.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<TopicDescription> {
        self.topics.get(name).map(|topic| topic.describe())
    }

    /// Subscribes to creation, deletion and extension of topics.
    #[must_use]
    pub fn subscribe_topics(&self) -> TopicWatch {
        TopicWatch {
            topics: Arc::clone(&self.topics),
            shared: Arc::clone(&self.shared),
            id: self.shared.next_reader.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Returns a partition and opens it on first use.
    ///
    /// # Errors
    /// [`LogError::TopicNotFound`]; [`LogError::PartitionNotFound`]; [`LogError::Corrupt`]; [`LogError::Io`];
    /// [`LogError::Closed`].
    pub fn partition(&self, topic: &str, number: u32) -> Result<Arc<Partition>, LogError> {
        if self.shared.is_closed() {
            return Err(LogError::Closed);
        }
        let partition = self.find(topic)?.open(&self.shared, number)?;
        // The topic may have been deleted while the partition was opened.
        partition.check_alive()?;
        Ok(partition)
    }

    /// Returns a partition if it is already open; never blocks on the disk.
    #[must_use]
    pub fn opened(&self, topic: &str, number: u32) -> Option<Arc<Partition>> {
        self.topics.get(topic)?.opened_at(number).filter(|partition| partition.check_alive().is_ok())
    }

    /// Returns whether the store has an [executor](StoreConfig::executor): a caller may then do blocking calls on its own
    /// thread, and depend on no other one.
    #[must_use]
    pub fn has_executor(&self) -> bool {
        self.shared.config.executor.is_some()
    }

    /// Checks that the store is open and healthy, and that its directory is still there.
    ///
    /// # Errors
    /// [`LogError::Closed`]; [`LogError::Poisoned`] after a failed sync; [`LogError::Removed`] if the directory is gone.
    pub fn check(&self) -> Result<(), LogError> {
        self.shared.check_open()?;
        self.shared.check_directory()
    }

    /// Stores a group's position and waits until it is durable.
    ///
    /// # Errors
    /// Same as [`Store::commit_offsets`].
    #[expect(clippy::too_many_arguments, reason = "together they are one position, and their types differ")]
    pub fn commit_offset(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
        offset: i64,
        metadata: Option<&str>,
    ) -> Result<(), LogError> {
        let topic = self.find_partition(topic, partition)?;
        let value = Some((offset, self.shared.now_ms(), metadata));
        let change = offsets::change(group, topic.id, partition, value);
        self.change_offsets(vec![(Arc::clone(&topic.name), change)])
    }

    /// Stores several positions of a group atomically; `done` is called on another thread once they are durable.
    /// Commits that arrive together share one transaction.
    ///
    /// # Errors
    /// Passed to `done`: [`LogError::TopicNotFound`]; [`LogError::PartitionNotFound`]; [`LogError::Catalog`];
    /// [`LogError::Closed`].
    pub fn commit_offsets(
        &self,
        group: &str,
        positions: Vec<(String, u32, i64)>,
        done: impl FnOnce(Result<(), LogError>) + Send + 'static,
    ) {
        let changes: Result<Vec<_>, LogError> = positions
            .into_iter()
            .map(|(topic, partition, offset)| {
                let topic = self.find_partition(&topic, partition)?;
                let value = Some((offset, self.shared.now_ms(), None));
                let change = offsets::change(group, topic.id, partition, value);
                Ok((Arc::clone(&topic.name), change))
            })
            .collect();
        match self.shared.check_writable().and(changes) {
            Ok(changes) => self.offsets.submit(&self.shared, changes, done),
            Err(error) => done(Err(error)),
        }
    }

    /// Returns a group's committed position.
    #[must_use]
    pub fn committed(&self, group: &str, topic: &str, partition: u32) -> Option<Committed> {
        self.offsets.get(group, self.topics.get(topic)?.id, partition)
    }

    /// Returns the committed positions of one group or of all, ordered by group, topic and partition.
    #[must_use]
    pub fn committed_all(&self, group: Option<&str>) -> Vec<Committed> {
        self.offsets.all(group)
    }

    /// Removes a group's position and waits until that is durable; succeeds if there is none.
    ///
    /// # Errors
    /// Same as [`Store::commit_offsets`].
    pub fn forget_offset(&self, group: &str, topic: &str, partition: u32) -> Result<(), LogError> {
        let topic = self.find_partition(topic, partition)?;
        let change = offsets::change(group, topic.id, partition, None);
        self.change_offsets(vec![(Arc::clone(&topic.name), change)])
    }

    fn change_offsets(&self, changes: Vec<(Arc<str>, OffsetChange)>) -> Result<(), LogError> {
        self.shared.check_writable()?;
        let (answer, answered) = mpsc::sync_channel(1);
        self.offsets.submit(&self.shared, changes, move |result| {
            // The receiver outlives the call: this thread waits for it.
            drop(answer.send(result));
        });
        if self.has_executor() {
            self.offsets.write_queued(&self.shared);
        }
        answered.recv().unwrap_or_else(|_| {
            invariant!(false, "every commit is completed");
            Err(LogError::Closed)
        })
    }

    /// Applies retention as of `now_ms` (milliseconds since the Unix epoch); a background thread does so at intervals.
    ///
    /// # Errors
    /// [`LogError::Catalog`]; [`LogError::Io`]; [`LogError::Closed`].
    pub fn enforce_retention(&self, now_ms: i64) -> Result<(), LogError> {
        self.shared.check_writable()?;
        background::enforce_retention(&self.shared, &self.topics, now_ms)
    }

    /// Makes a checkpoint: syncs all appended records, whatever the topics' durability, and moves the point from which
    /// recovery starts.
    ///
    /// # Errors
    /// [`LogError::Poisoned`] if a sync fails, now or earlier; [`LogError::Catalog`]; [`LogError::Closed`].
    pub fn flush(&self) -> Result<(), LogError> {
        self.shared.check_writable()?;
        self.sync_all()?;
        background::checkpoint(&self.shared, &self.topics)
    }

    fn sync_all(&self) -> Result<(), LogError> {
        let opened: Vec<_> = self.topics.all().iter().flat_map(|topic| topic.opened()).collect();
        background::sync_all(&self.shared, &opened)?;
        // A failed sync leaves its segments neither dirty nor durable.
        self.shared.check_health()
    }

    /// Writes submitted batches, applies retention to the partitions that were used, syncs all partitions, and marks the
    /// directory so that the next opening needs no recovery. Later calls return [`LogError::Closed`]; a second close succeeds. Must not be called from a
    /// completion.
    ///
    /// # Errors
    /// [`LogError::Poisoned`]; [`LogError::Catalog`]; [`LogError::Io`]. The store is closed even then. A full disk is no
    /// error: all records are synced, and the next opening recovers.
    pub fn close(&self) -> Result<(), LogError> {
        if self.shared.check_open().is_ok() && self.shared.config.mode == OpenMode::Normal {
            background::enforce_retention_of_opened(&self.shared, &self.topics);
        }
        if !self.shared.close() {
            return Ok(());
        }
        let partitions: Vec<_> = self.topics.all().iter().flat_map(|topic| topic.opened()).collect();
        partitions.iter().for_each(|partition| partition.close());
        self.topics.changed();
        self.stop_threads();
        if self.shared.config.mode == OpenMode::ReadOnly {
            partitions.iter().for_each(|partition| partition.close_files());
            self.shared.catalog.close();
            *self.lock.lock() = None;
            return Ok(());
        }
        let result = self
            .sync_all()
            .and_then(|()| background::checkpoint(&self.shared, &self.topics))
            .and_then(|()| self.shared.note_catalog_age())
            .and_then(|()| self.shared.catalog.version());
        if let Err(error) = &result {
            // No later sync completes these.
            partitions.iter().for_each(|partition| partition.fail_waiting(error));
        }
        partitions.iter().for_each(|partition| partition.close_files());
        self.shared.catalog.close();
        let result = result.and_then(|version| {
            let (disk, directory) = (&*self.shared.disk, &self.shared.directory);
            clean_marker::write(disk, directory, version)
                .map_err(|e| LogError::io(directory.join("CLEAN"), "write", e))
        });
        *self.lock.lock() = None;
        match result {
            // All records are synced. Only the next opening takes longer.
            Err(LogError::DiskFull { path }) => {
                tracing::warn!(path = %path.display(), "the disk is too full to mark the store as closed");
                Ok(())
            }
            result => result,
        }
    }

    fn stop_threads(&self) {
        self.offsets.stop();
        self.shared.syncs.stop();
        if self.has_executor() {
            self.offsets.write_queued(&self.shared);
        }
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a store thread panicked");
            }
        }
    }

    pub(crate) fn check_topic_name(name: &str) -> Result<(), LogError> {
        if name.is_empty() || name.len() > MAX_NAME_LEN {
            let problem = format!("has {} bytes, must have 1 to {MAX_NAME_LEN}", name.len());
            return Err(LogError::invalid("topic name", problem));
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<Arc<Topic>, LogError> {
        self.topics.get(name).ok_or_else(|| LogError::TopicNotFound { topic: name.to_owned() })
    }

    fn find_partition(&self, name: &str, partition: u32) -> Result<Arc<Topic>, LogError> {
        let topic = self.find(name)?;
        if partition < topic.partition_count() {
            return Ok(topic);
        }
        Err(LogError::PartitionNotFound { topic: name.to_owned(), partition })
    }
}

impl Drop for Store {
    /// Stops the threads. Without a [`Store::close`], dropping is like a crash of the process: appended batches are
    /// stored, and the next opening recovers.
    fn drop(&mut self) {
        if self.shared.close() {
            for topic in self.topics.all() {
                topic.opened().iter().for_each(|partition| partition.close());
            }
            self.topics.changed();
            self.stop_threads();
            for topic in self.topics.all() {
                for partition in topic.opened() {
                    partition.fail_waiting(&LogError::Closed);
                    partition.close_files();
                }
            }
            self.shared.catalog.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_of_a_deleted_topic_is_not_opened() {
        let store = Store::open(StoreConfig::memory()).unwrap();
        store.create_topic("t", TopicConfig::new()).unwrap();
        let topic = store.find("t").unwrap();
        store.delete_topic("t").unwrap();
        let opened = topic.open(&store.shared, 0);
        assert!(matches!(opened, Err(LogError::TopicNotFound { .. })), "{opened:?}");
    }

    #[test]
    fn the_start_of_a_log_never_moves_back() {
        let store = Store::open(StoreConfig::memory()).unwrap();
        store.create_topic("t", TopicConfig::new()).unwrap();
        let topic = store.find("t").unwrap();
        let log = topic.log_ids().into_iter().next().unwrap();
        for (start, expected) in [(5, 5), (3, 5), (9, 9)] {
            store.shared.catalog.set_starts(&[(topic.id, 0, log, start)]).unwrap();
            let stored = store.shared.catalog.topics().unwrap();
            assert_eq!(stored.first().unwrap().logs.first().unwrap().start, expected);
        }
    }
}
