//! Committed consumer offsets: read from memory, durable before a commit is acknowledged.
//!
//! One thread writes, or the executor; commits that arrive during a transaction share the next one.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Condvar, Mutex, RwLock};

use crate::{
    LogError,
    catalog::{OffsetChange, StoredOffset},
    committed::Committed,
    invariant::invariant,
    store_shared::StoreShared,
    topics::Topics,
    work::{Work, WorkKind},
};

/// Positions of one group by topic id and partition.
type Positions = BTreeMap<(u64, u32), Committed>;

type Done = Box<dyn FnOnce(Result<(), LogError>) + Send>;

struct CommitRequest {
    /// Changes with the topic's name, which only the copy in memory holds.
    changes: Vec<(Arc<str>, OffsetChange)>,
    done: Done,
}

#[derive(Default)]
struct CommitQueue {
    requests: Vec<CommitRequest>,
    stopped: bool,
    /// Whether the executor has the work of writing the requests.
    planned: bool,
}

pub(crate) struct Offsets {
    committed: RwLock<HashMap<String, Positions>>,
    /// Ids of deleted topics: a commit that was queued during the deletion must not restore an offset.
    deleted: Mutex<HashSet<u64>>,
    queue: Mutex<CommitQueue>,
    wake: Condvar,
}

impl std::fmt::Debug for Offsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offsets").field("groups", &self.committed.read().len()).finish_non_exhaustive()
    }
}

impl Offsets {
    /// Loads the catalog's offsets; skips those of topics that no longer exist.
    pub(crate) fn new(stored: Vec<StoredOffset>, names: &HashMap<u64, Arc<str>>) -> Self {
        let mut committed: HashMap<String, Positions> = HashMap::new();
        for row in stored {
            let Some(topic) = names.get(&row.topic_id) else { continue };
            let entry = Committed {
                group: row.group.clone(),
                topic: topic.to_string(),
                partition: row.partition,
                offset: row.offset,
                metadata: row.metadata,
                modified_ms: row.modified_ms,
            };
            committed.entry(row.group).or_default().insert((row.topic_id, row.partition), entry);
        }
        Self {
            committed: RwLock::new(committed),
            deleted: Mutex::default(),
            queue: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    pub(crate) fn submit(
        self: &Arc<Self>,
        shared: &Arc<StoreShared>,
        changes: Vec<(Arc<str>, OffsetChange)>,
        done: impl FnOnce(Result<(), LogError>) + Send + 'static,
    ) {
        let mut queue = self.queue.lock();
        if queue.stopped {
            drop(queue);
            done(Err(LogError::Closed));
            return;
        }
        queue.requests.push(CommitRequest { changes, done: Box::new(done) });
        let Some(executor) = &shared.config.executor else {
            drop(queue);
            self.wake.notify_one();
            return;
        };
        if !std::mem::replace(&mut queue.planned, true) {
            drop(queue);
            let (offsets, shared) = (Arc::clone(self), Arc::clone(shared));
            executor.take(Work::new(WorkKind::Commit, Duration::ZERO, move || offsets.write_queued(&shared)));
        }
    }

    /// Runs the writer thread; returns once the store stops and all queued commits are written.
    pub(crate) fn run(&self, shared: &StoreShared) {
        loop {
            let mut queue = self.queue.lock();
            while queue.requests.is_empty() {
                if queue.stopped {
                    return;
                }
                self.wake.wait(&mut queue);
            }
            let requests = std::mem::take(&mut queue.requests);
            drop(queue);
            self.write(shared, requests);
        }
    }

    /// Writes the queued commits, in place of the thread.
    pub(crate) fn write_queued(&self, shared: &StoreShared) {
        let requests = {
            let mut queue = self.queue.lock();
            queue.planned = false;
            std::mem::take(&mut queue.requests)
        };
        if !requests.is_empty() {
            self.write(shared, requests);
        }
    }

    fn write(&self, shared: &StoreShared, mut requests: Vec<CommitRequest>) {
        {
            let deleted = self.deleted.lock();
            for request in &mut requests {
                request.changes.retain(|(_, change)| !deleted.contains(&change.topic_id));
            }
        }
        let changes: Vec<_> = requests
            .iter()
            .flat_map(|request| request.changes.iter().map(|(_, change)| change.clone()))
            .collect();
        let result = shared.catalog.change_offsets(&changes);
        for request in requests {
            if result.is_ok() {
                for (topic, change) in request.changes {
                    self.apply(&topic, change);
                }
            }
            (request.done)(result.clone());
        }
    }

    fn apply(&self, topic: &str, change: OffsetChange) {
        let key = (change.topic_id, change.partition);
        let mut committed = self.committed.write();
        if self.deleted.lock().contains(&change.topic_id) {
            return;
        }
        match change.value {
            Some((offset, modified_ms, metadata)) => {
                let entry = Committed {
                    group: change.group.clone(),
                    topic: topic.to_owned(),
                    partition: change.partition,
                    offset,
                    metadata,
                    modified_ms,
                };
                committed.entry(change.group).or_default().insert(key, entry);
            }
            None => {
                if let Some(group) = committed.get_mut(&change.group) {
                    group.remove(&key);
                    if group.is_empty() {
                        committed.remove(&change.group);
                    }
                }
            }
        }
    }

    pub(crate) fn get(&self, group: &str, topic_id: u64, partition: u32) -> Option<Committed> {
        self.committed.read().get(group)?.get(&(topic_id, partition)).cloned()
    }

    pub(crate) fn all(&self, group: Option<&str>) -> Vec<Committed> {
        let committed = self.committed.read();
        let mut all: Vec<Committed> = match group {
            Some(group) => committed.get(group).into_iter().flat_map(|g| g.values().cloned()).collect(),
            None => committed.values().flat_map(|g| g.values().cloned()).collect(),
        };
        all.sort_by(|a, b| (&a.group, &a.topic, a.partition).cmp(&(&b.group, &b.topic, b.partition)));
        all
    }

    pub(crate) fn forget_topic(&self, topic_id: u64) {
        let mut committed = self.committed.write();
        self.deleted.lock().insert(topic_id);
        committed.retain(|_, group| {
            group.retain(|(topic, _), _| *topic != topic_id);
            !group.is_empty()
        });
    }

    /// Moves positions beyond the end of their partition back to it: a power loss took those records, and the group
    /// would skip the ones appended in their place. Returns the moved positions with their previous values.
    pub(crate) fn rewind(&self, shared: &StoreShared, topics: &Topics) -> Result<Vec<Committed>, LogError> {
        let mut rewound = Vec::new();
        let mut changes = Vec::new();
        for committed in self.all(None) {
            let Some(topic) = topics.get(&committed.topic) else {
                invariant!(false, "committed offsets belong to existing topics");
                continue;
            };
            let Some(partition) = topic.opened_at(committed.partition) else { continue };
            let end = partition.bounds().end;
            if committed.offset > end {
                let value = Some((end, shared.now_ms(), Some(committed.metadata.as_str())));
                changes.push((
                    Arc::clone(&topic.name),
                    change(&committed.group, topic.id, committed.partition, value),
                ));
                rewound.push(committed);
            }
        }
        if !changes.is_empty() {
            let stored: Vec<_> = changes.iter().map(|(_, change)| change.clone()).collect();
            shared.catalog.change_offsets(&stored)?;
            changes.into_iter().for_each(|(topic, change)| self.apply(&topic, change));
        }
        Ok(rewound)
    }

    pub(crate) fn stop(&self) {
        self.queue.lock().stopped = true;
        self.wake.notify_all();
    }
}

/// Returns the change that stores an offset with its time, or removes it.
pub(crate) fn change(
    group: &str,
    topic_id: u64,
    partition: u32,
    value: Option<(i64, i64, Option<&str>)>,
) -> OffsetChange {
    OffsetChange {
        group: group.to_owned(),
        topic_id,
        partition,
        value: value
            .map(|(offset, now_ms, metadata)| (offset, now_ms, metadata.unwrap_or_default().to_owned())),
    }
}
