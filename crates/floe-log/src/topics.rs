//! Topics of a store, and notifications of their changes.

use std::{
    collections::BTreeMap,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    LogError, Partition, RecoveryReport, TopicConfig,
    catalog::{StoredLog, StoredTopic},
    log_info::LogInfo,
    partition::PartitionIdentity,
    recovery,
    store_shared::StoreShared,
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    waiters::Waiters,
};

/// Description of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicDescription {
    /// Name.
    pub name: String,
    /// Id, unique within the store and never reused.
    pub id: u64,
    /// Number of partitions.
    pub partitions: u32,
    /// Current configuration.
    pub config: TopicConfig,
    /// Creation time, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: u64,
    pub(crate) created_ms: i64,
    config: RwLock<TopicConfig>,
    slots: RwLock<Vec<Arc<PartitionSlot>>>,
    deleted: AtomicBool,
}

/// Partition that is opened on first use.
#[derive(Debug)]
struct PartitionSlot {
    log: StoredLog,
    opened: Mutex<Option<Result<Arc<Partition>, LogError>>>,
}

impl Topic {
    pub(crate) fn new(stored: StoredTopic) -> Arc<Self> {
        let slots = stored.logs.into_iter().map(PartitionSlot::new).collect();
        Arc::new(Self {
            name: stored.name.into(),
            id: stored.id,
            created_ms: stored.created_ms,
            config: RwLock::new(stored.config),
            slots: RwLock::new(slots),
            deleted: AtomicBool::new(false),
        })
    }

    /// Prevents partitions from being opened; [`Topic::opened`] returns those that are.
    pub(crate) fn mark_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
    }

    pub(crate) fn describe(&self) -> TopicDescription {
        let partitions = self.partition_count();
        let mut config = self.config();
        config.partitions = partitions;
        TopicDescription {
            name: self.name.to_string(),
            id: self.id,
            partitions,
            config,
            created_ms: self.created_ms,
        }
    }

    pub(crate) fn has_retention(&self) -> bool {
        let config = self.config.read();
        config.retention_age.is_some() || config.retention_bytes.is_some()
    }

    pub(crate) fn config(&self) -> TopicConfig {
        self.config.read().clone()
    }

    /// Replaces the retention by that of `config`, for the partitions that are open and those that will be.
    pub(crate) fn set_retention(&self, config: &TopicConfig) {
        // A partition that is opened meanwhile reads this, or has its slot locked until the loop below reaches it.
        self.config.write().clone_from(config);
        for partition in self.opened() {
            partition.set_retention(config);
        }
    }

    pub(crate) fn partition_count(&self) -> u32 {
        u32::try_from(self.slots.read().len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn log_ids(&self) -> Vec<u64> {
        self.slots.read().iter().map(|slot| slot.log.id).collect()
    }

    pub(crate) fn add(&self, logs: Vec<StoredLog>) {
        self.slots.write().extend(logs.into_iter().map(PartitionSlot::new));
    }

    /// Returns the partition and opens it on first use; adds what that finds to the findings of the store.
    pub(crate) fn open(&self, shared: &Arc<StoreShared>, number: u32) -> Result<Arc<Partition>, LogError> {
        let slot = usize::try_from(number).ok().and_then(|at| self.slots.read().get(at).cloned());
        let Some(slot) = slot else {
            return Err(LogError::PartitionNotFound { topic: self.name.to_string(), partition: number });
        };
        let mut opened = slot.opened.lock();
        if let Some(result) = &*opened {
            return result.clone();
        }
        // Checked under the lock of the slot: a concurrent deletion waits for it and then finds the open partition.
        if self.deleted.load(Ordering::Acquire) {
            return Err(LogError::TopicNotFound { topic: self.name.to_string() });
        }
        let identity = PartitionIdentity {
            topic: Arc::clone(&self.name),
            topic_id: self.id,
            number,
            log_id: slot.log.id,
            info: self.log_info(shared, number, slot.log.id),
        };
        let mut found = RecoveryReport::default();
        let result = recovery::open_log(shared, &identity, slot.log, &mut found)
            .map(|log| Partition::new(shared, identity, &self.config.read(), log));
        if let Err(error @ LogError::Corrupt { .. }) = &result {
            found.corrupt.push(error.clone());
        }
        // Damage is permanent; after an IO error the next call retries.
        if matches!(&result, Ok(_) | Err(LogError::Corrupt { .. })) {
            shared.found.lock().append(found);
            *opened = Some(result.clone());
        }
        result
    }

    fn log_info(&self, shared: &StoreShared, partition: u32, log_id: u64) -> LogInfo {
        LogInfo {
            store_id: shared.catalog.store_id(),
            log_id,
            topic_id: self.id,
            partition,
            created_ms: self.created_ms,
            topic: self.name.to_string(),
            config: TopicConfig { partitions: self.partition_count(), ..self.config() },
        }
    }

    /// Rewrites the descriptions in the directories of the logs after partitions were added.
    pub(crate) fn update_infos(&self, shared: &StoreShared) {
        for (number, log_id) in (0..).zip(self.log_ids()) {
            let info = self.log_info(shared, number, log_id);
            if let Some(partition) = self.opened_at(number) {
                partition.set_info(info);
            } else if let Err(error) = info.update(&*shared.disk, &shared.log_directory(log_id)) {
                tracing::warn!(topic = %self.name, partition = number, %error, "log.info was not written");
            }
        }
    }

    /// Returns the partition if it is open; None while another thread opens it.
    pub(crate) fn opened_at(&self, number: u32) -> Option<Arc<Partition>> {
        let slots = self.slots.read();
        let opened = slots.get(usize::try_from(number).ok()?)?.opened.try_lock()?;
        opened.as_ref()?.as_ref().ok().cloned()
    }

    /// Returns the open partitions.
    pub(crate) fn opened(&self) -> Vec<Arc<Partition>> {
        let slots = self.slots.read().clone();
        slots.iter().filter_map(|slot| slot.opened.lock().as_ref()?.as_ref().ok().cloned()).collect()
    }
}

impl PartitionSlot {
    fn new(log: StoredLog) -> Arc<Self> {
        Arc::new(Self { log, opened: Mutex::default() })
    }
}

/// All topics of a store.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_name: RwLock<BTreeMap<String, Arc<Topic>>>,
    generation: AtomicU64,
    waiters: Waiters,
}

impl Topics {
    pub(crate) fn new(topics: Vec<StoredTopic>) -> Arc<Self> {
        let by_name = topics.into_iter().map(|topic| (topic.name.clone(), Topic::new(topic))).collect();
        Arc::new(Self { by_name: RwLock::new(by_name), ..Self::default() })
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.by_name.read().get(name).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.by_name.read().values().cloned().collect()
    }

    pub(crate) fn insert(&self, topic: StoredTopic) {
        self.by_name.write().insert(topic.name.clone(), Topic::new(topic));
        self.changed();
    }

    pub(crate) fn remove(&self, name: &str) {
        self.by_name.write().remove(name);
        self.changed();
    }

    pub(crate) fn changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.waiters.wake_all();
    }
}

/// Subscription to creation, deletion and extension of topics.
#[derive(Debug)]
pub struct TopicWatch {
    pub(crate) topics: Arc<Topics>,
    pub(crate) shared: Arc<StoreShared>,
    pub(crate) id: u64,
}

impl TopicWatch {
    /// Returns a number that every change of the topics increases. Read it before listing the topics, so that no change
    /// after the listing is missed.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.topics.generation.load(Ordering::Acquire)
    }

    /// Resolves to the current generation once it differs from `seen`; registers the waker otherwise. Dropping the
    /// watch removes the waker.
    ///
    /// # Errors
    /// [`LogError::Closed`] once the store is closed.
    pub fn poll_changed(&self, seen: u64, cx: &mut Context<'_>) -> Poll<Result<u64, LogError>> {
        let look = || {
            if self.shared.is_closed() {
                return Poll::Ready(Err(LogError::Closed));
            }
            let generation = self.generation();
            if generation == seen { Poll::Pending } else { Poll::Ready(Ok(generation)) }
        };
        if look().is_pending() {
            self.topics.waiters.register(self.id, cx.waker());
        }
        look()
    }
}

impl Drop for TopicWatch {
    fn drop(&mut self) {
        self.topics.waiters.unregister(self.id);
    }
}
