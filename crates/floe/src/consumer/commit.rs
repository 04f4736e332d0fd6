//! Commits the offsets of a group.

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;

use super::ack_tracker::AckTracker;
use crate::{
    Result,
    engine::SharedEngine,
    topic::{Topic, TopicPartition},
};

/// Origin of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommitTrigger {
    /// The policy. Offsets only move forward, where a record was finished or reading began; a seek alone moves none.
    Policy,
    /// The application. Offsets may move back, after a seek.
    Application,
}

impl CommitTrigger {
    /// Returns the offset to store. The group resumes at its start in partitions without news, too.
    pub(super) fn position(self, acks: &AckTracker) -> Option<i64> {
        match self {
            Self::Policy => acks.finished().or_else(|| acks.start()),
            Self::Application => Some(acks.finished_or_origin()),
        }
    }
}

/// Commits the offsets of one consumer for one group.
#[derive(Debug)]
pub(super) struct OffsetCommitter {
    engine: SharedEngine,
    group: Arc<str>,
    partitions: parking_lot::Mutex<Vec<(TopicPartition, Arc<AckTracker>)>>,
    /// Offsets that the engine has stored, as far as this consumer knows. The lock also keeps commits in order: an older one
    /// must not be stored after a newer one.
    stored: Mutex<Vec<Option<i64>>>,
}

impl OffsetCommitter {
    pub(super) fn new(
        engine: SharedEngine,
        group: Arc<str>,
        partitions: Vec<(TopicPartition, Arc<AckTracker>)>,
        stored: Vec<Option<i64>>,
    ) -> Self {
        let partitions = parking_lot::Mutex::new(partitions);
        Self { engine, group, partitions, stored: Mutex::new(stored) }
    }

    /// Adds a partition.
    pub(super) fn join(&self, at: TopicPartition, acks: Arc<AckTracker>) {
        self.partitions.lock().push((at, acks));
    }

    /// Stores the offsets that changed since the last commit.
    ///
    /// # Cancel safety
    /// The next commit stores the offsets that a dropped future did not store.
    pub(super) async fn commit(&self, trigger: CommitTrigger) -> Result<()> {
        let mut stored = self.stored.lock().await;
        let mut indexes = Vec::new();
        let mut positions = Vec::new();
        // A clone, so that the lock is not held while the engine stores.
        let partitions = self.partitions.lock().clone();
        stored.resize(partitions.len(), None);
        for (index, ((at, acks), stored)) in partitions.iter().zip(stored.iter()).enumerate() {
            let due = trigger.position(acks).filter(|next| match trigger {
                CommitTrigger::Policy => stored.is_none_or(|old| *next > old),
                CommitTrigger::Application => Some(*next) != *stored,
            });
            if let Some(next) = due {
                acks.history().commits(next);
                indexes.push((index, next));
                positions.push((at.clone(), next));
            }
        }
        if positions.is_empty() {
            return Ok(());
        }
        self.engine.commit(Arc::clone(&self.group), positions).await?;
        for (index, next) in indexes {
            if let Some(slot) = stored.get_mut(index) {
                *slot = Some(next);
            }
        }
        Ok(())
    }

    /// Commits every `period`. A failed commit is retried after another period.
    pub(super) async fn run_every(self: Arc<Self>, period: Duration) {
        loop {
            tokio::time::sleep(period).await;
            if let Err(error) = self.commit(CommitTrigger::Policy).await {
                tracing::warn!(group = %self.group, topic = ?self.topic(), %error, "commit failed; it is retried");
            }
        }
    }

    fn topic(&self) -> Option<Topic> {
        self.partitions.lock().first().map(|(at, _)| at.topic.clone())
    }
}
