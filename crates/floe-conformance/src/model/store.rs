//! Data of the model: topics, logs and committed offsets.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use floe::{
    Error, ErrorKind, Result, Topic, TopicPartition, TopicSpec,
    engine::{CommittedOffset, Start, Watermarks},
    producer::NotAtEnd,
    topic::{TopicEvent, TopicInfo},
};
use floe_wire::batch::{EncodedBatch, producer_id};
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast, futures::Notified};

use super::{WATCH_BACKLOG, producers};

#[derive(Debug)]
pub(super) struct Store {
    state: Mutex<StoreState>,
    /// Wakes readers after an append, a deletion and the close.
    changed: Notify,
    changes: broadcast::Sender<TopicEvent>,
    next_identity: AtomicU64,
}

#[derive(Debug, Default)]
struct StoreState {
    topics: BTreeMap<Topic, TopicEntry>,
    committed: BTreeMap<(Arc<str>, TopicPartition), i64>,
}

#[derive(Debug)]
struct TopicEntry {
    /// Distinguishes topics of the same name.
    identity: u64,
    partitions: Vec<Log>,
}

#[derive(Debug, Default)]
struct Log {
    batches: Vec<EncodedBatch>,
    /// Next offset of consuming readers, which share it.
    cursor: i64,
}

impl Log {
    fn end(&self) -> i64 {
        self.batches.last().map_or(0, EncodedBatch::next_offset)
    }

    fn at_or_after(&self, offset: i64) -> Option<&EncodedBatch> {
        self.batches.iter().find(|batch| batch.next_offset() > offset)
    }
}

/// Read position: identity of the topic and next offset.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadPosition {
    identity: u64,
    next: i64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            changes: broadcast::Sender::new(WATCH_BACKLOG),
            next_identity: AtomicU64::new(0),
        }
    }
}

impl StoreState {
    fn entry(&self, name: &Topic) -> Result<&TopicEntry> {
        self.topics.get(name).ok_or_else(|| Error::new(ErrorKind::TopicNotFound, "no such topic"))
    }

    fn log(&self, at: &TopicPartition) -> Result<&Log> {
        let partitions = &self.entry(&at.topic)?.partitions;
        partitions.get(at.partition as usize).ok_or_else(|| no_partition(at))
    }

    fn log_mut(&mut self, at: &TopicPartition) -> Result<&mut Log> {
        let entry = self.topics.get_mut(&at.topic);
        let entry = entry.ok_or_else(|| Error::new(ErrorKind::TopicNotFound, "no such topic"))?;
        entry.partitions.get_mut(at.partition as usize).ok_or_else(|| no_partition(at))
    }

    fn infos(&self) -> Vec<TopicInfo> {
        self.topics.iter().map(|(name, entry)| info(name, entry)).collect()
    }
}

fn info(name: &Topic, entry: &TopicEntry) -> TopicInfo {
    TopicInfo::new(name, u32::try_from(entry.partitions.len()).unwrap_or(u32::MAX))
}

fn no_partition(at: &TopicPartition) -> Error {
    Error::new(ErrorKind::PartitionNotFound, format!("no partition {}", at.partition))
}

impl Store {
    /// Appends a batch; to a log that ends at `expected_end`, if there is one. Only a store that `fences` looks at the
    /// producers of batches, for conditional appends and fenced producers.
    pub(super) fn append(
        &self,
        at: &TopicPartition,
        batch: EncodedBatch,
        (fences, expected_end): (bool, Option<i64>),
    ) -> Result<i64> {
        let base = {
            let mut state = self.state.lock();
            let log = state.log_mut(at)?;
            let base = log.end();
            let looks =
                fences && (expected_end.is_some() || producer_id::is_fenced(batch.header().producer.id));
            if looks && let Some(stored) = producers::find(&log.batches, batch.header())? {
                return Ok(stored);
            }
            if let Some(expected) = expected_end.filter(|expected| *expected != base) {
                return Err(NotAtEnd { expected, end: base }.into_error());
            }
            log.batches.push(batch.with_base_offset(base));
            base
        };
        self.changed.notify_waiters();
        Ok(base)
    }

    pub(super) fn truncate(&self, at: &TopicPartition, end: i64) -> Result<()> {
        self.state.lock().log_mut(at)?.batches.retain(|batch| batch.next_offset() <= end);
        Ok(())
    }

    pub(super) fn find_start(&self, at: &TopicPartition, from: Start) -> Result<ReadPosition> {
        let state = self.state.lock();
        let identity = state.entry(&at.topic)?.identity;
        let end = state.log(at)?.end();
        let next = match from {
            Start::Earliest => 0,
            Start::Latest => end,
            Start::Offset(offset) if (0..=end).contains(&offset) => offset,
            Start::Offset(offset) => {
                return Err(Error::new(
                    ErrorKind::OffsetOutOfRange,
                    format!("offset {offset} is outside 0 to {end}"),
                ));
            }
        };
        Ok(ReadPosition { identity, next })
    }

    /// Returns the batch at the position and moves the position behind it. Fails when the topic was deleted.
    pub(super) fn take(
        &self,
        at: &TopicPartition,
        position: &mut ReadPosition,
        consuming: bool,
    ) -> Result<Option<EncodedBatch>> {
        let mut state = self.state.lock();
        if state.entry(&at.topic)?.identity != position.identity {
            return Err(Error::new(ErrorKind::TopicNotFound, "the topic was deleted"));
        }
        let log = state.log_mut(at)?;
        if consuming {
            position.next = log.cursor;
        }
        let Some(batch) = log.at_or_after(position.next).cloned() else { return Ok(None) };
        position.next = batch.next_offset();
        if consuming {
            log.cursor = position.next;
        }
        Ok(Some(batch))
    }

    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(super) fn wake_readers(&self) {
        self.changed.notify_waiters();
    }

    pub(super) fn watermarks(&self, of: &TopicPartition) -> Result<Watermarks> {
        let state = self.state.lock();
        let log = state.log(of)?;
        let size = log.batches.iter().map(|batch| batch.len() as u64).sum();
        Ok(Watermarks::new(0, log.end(), Some(size)))
    }

    pub(super) fn offset_for_time(&self, of: &TopicPartition, timestamp: i64) -> Result<Option<i64>> {
        let batches = self.state.lock().log(of)?.batches.clone();
        for batch in batches {
            for record in batch.records()? {
                let record = record?;
                if record.timestamp.is_some_and(|time| time >= timestamp) {
                    return Ok(Some(record.offset));
                }
            }
        }
        Ok(None)
    }

    pub(super) fn commit(&self, group: &Arc<str>, positions: Vec<(TopicPartition, i64)>) -> Result<()> {
        let mut state = self.state.lock();
        for (at, _) in &positions {
            state.log(at)?;
        }
        for (at, next) in positions {
            state.committed.insert((Arc::clone(group), at), next);
        }
        Ok(())
    }

    pub(super) fn committed(&self, group: &Arc<str>, at: &TopicPartition) -> Option<i64> {
        self.state.lock().committed.get(&(Arc::clone(group), at.clone())).copied()
    }

    pub(super) fn list_committed(&self, group: Option<&str>) -> Vec<CommittedOffset> {
        let state = self.state.lock();
        let rows = state.committed.iter().filter(|((name, _), _)| group.is_none_or(|group| group == &**name));
        rows.map(|((group, at), next)| CommittedOffset::new(Arc::clone(group), at.clone(), *next)).collect()
    }

    pub(super) fn forget(&self, group: &Arc<str>, at: &TopicPartition) {
        self.state.lock().committed.remove(&(Arc::clone(group), at.clone()));
    }

    pub(super) fn topics(&self) -> Vec<TopicInfo> {
        self.state.lock().infos()
    }

    pub(super) fn topic(&self, name: &Topic) -> Result<TopicInfo> {
        Ok(info(name, self.state.lock().entry(name)?))
    }

    pub(super) fn create(&self, spec: &TopicSpec) -> Result<()> {
        let mut state = self.state.lock();
        if state.topics.contains_key(&spec.name) {
            return Err(Error::new(ErrorKind::TopicAlreadyExists, "the topic exists"));
        }
        let identity = self.next_identity.fetch_add(1, Ordering::Relaxed);
        let partitions = (0..spec.partitions).map(|_| Log::default()).collect();
        let entry = TopicEntry { identity, partitions };
        // An error means that there are no watchers.
        let _ = self.changes.send(TopicEvent::Updated(info(&spec.name, &entry)));
        state.topics.insert(spec.name.clone(), entry);
        Ok(())
    }

    pub(super) fn add_partitions(&self, name: &Topic, total: u32) -> Result<()> {
        let mut state = self.state.lock();
        let entry = state.topics.get_mut(name);
        let entry = entry.ok_or_else(|| Error::new(ErrorKind::TopicNotFound, "no such topic"))?;
        let present = entry.partitions.len();
        if (total as usize) < present {
            return Err(Error::new(ErrorKind::InvalidCommand, format!("there are {present} partitions")));
        }
        entry.partitions.resize_with(total as usize, Log::default);
        let _ = self.changes.send(TopicEvent::Updated(info(name, entry)));
        Ok(())
    }

    pub(super) fn delete(&self, name: &Topic) -> Result<()> {
        {
            let mut state = self.state.lock();
            state.entry(name)?;
            state.topics.remove(name);
            state.committed.retain(|(_, at), _| at.topic != *name);
            let _ = self.changes.send(TopicEvent::Deleted(name.clone()));
        }
        self.changed.notify_waiters();
        Ok(())
    }

    /// Returns the topics, and a receiver of all later changes.
    pub(super) fn watch(&self) -> (Vec<TopicInfo>, broadcast::Receiver<TopicEvent>) {
        let state = self.state.lock();
        (state.infos(), self.changes.subscribe())
    }
}
