//! The topics of a store, and the news of their coming and going.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use parking_lot::{Mutex, RwLock};

use crate::{
    LogError, Partition, TopicConfig,
    catalog::{StoredLog, StoredTopic},
    partition::PartitionIdentity,
    recovery::{self, RecoveryFindings},
    store_shared::StoreShared,
    waiters::Waiters,
};

/// A topic, described.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Unique within the store, never used again.
    pub id: u64,
    /// How many partitions it has.
    pub partitions: u32,
    /// What it was created with; `config.partitions` is the present number.
    pub config: TopicConfig,
    /// When it was created, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: u64,
    pub(crate) created_ms: i64,
    config: TopicConfig,
    slots: RwLock<Vec<Arc<PartitionSlot>>>,
    deleted: AtomicBool,
}

/// A partition that is opened when it is first asked for.
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
            config: stored.config,
            slots: RwLock::new(slots),
            deleted: AtomicBool::new(false),
        })
    }

    /// From now on no partition is opened any more; those that are open are in [`Topic::opened`].
    pub(crate) fn mark_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
    }

    pub(crate) fn describe(&self) -> TopicDescription {
        let partitions = self.partition_count();
        let mut config = self.config.clone();
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
        self.config.retention_age.is_some() || self.config.retention_bytes.is_some()
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

    /// The partition, opened now if it was not; what was cut or is damaged goes to `found`.
    pub(crate) fn open(
        &self,
        shared: &Arc<StoreShared>,
        number: u32,
        found: &mut RecoveryFindings,
    ) -> Result<Arc<Partition>, LogError> {
        let slot = usize::try_from(number).ok().and_then(|at| self.slots.read().get(at).cloned());
        let Some(slot) = slot else {
            return Err(LogError::PartitionNotFound { topic: self.name.to_string(), partition: number });
        };
        let mut opened = slot.opened.lock();
        if let Some(result) = &*opened {
            return result.clone();
        }
        // Looked at under the lock of the slot: whoever deletes waits for it and finds what was opened before.
        if self.deleted.load(Ordering::Acquire) {
            return Err(LogError::TopicNotFound { topic: self.name.to_string() });
        }
        let identity = PartitionIdentity {
            topic: Arc::clone(&self.name),
            topic_id: self.id,
            number,
            log_id: slot.log.id,
        };
        let result = recovery::open_log(shared, &identity, slot.log, found)
            .map(|log| Partition::new(shared, identity, &self.config, log));
        // Damage stays; a disk that could not be read may be better the next time.
        if matches!(&result, Ok(_) | Err(LogError::Corrupt { .. })) {
            *opened = Some(result.clone());
        }
        result
    }

    /// The partition, if it is open and nobody is opening it at this moment.
    pub(crate) fn opened_at(&self, number: u32) -> Option<Arc<Partition>> {
        let slots = self.slots.read();
        let opened = slots.get(usize::try_from(number).ok()?)?.opened.try_lock()?;
        opened.as_ref()?.as_ref().ok().cloned()
    }

    /// The partitions that are open.
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

/// Tells when topics are created, deleted or extended.
#[derive(Debug)]
pub struct TopicWatch {
    pub(crate) topics: Arc<Topics>,
    pub(crate) shared: Arc<StoreShared>,
    pub(crate) id: u64,
}

impl TopicWatch {
    /// A number that changes with every change of the topics. Read it before listing the topics: then no change after
    /// the listing is missed.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.topics.generation.load(Ordering::Acquire)
    }

    /// Ready with the present generation once it differs from `seen`; registers the waker otherwise. The waker is
    /// forgotten when the watch is dropped.
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
