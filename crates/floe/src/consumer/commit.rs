//! Stores the offsets of a group.

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;

use super::ack_tracker::AckTracker;
use crate::{
    Result,
    engine::SharedEngine,
    topic::{Topic, TopicPartition},
};

/// Who asks for a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommitTrigger {
    /// The policy: only forward, and only where a record was finished.
    Policy,
    /// The application: where it stands, also backwards after a seek.
    Application,
}

/// The offsets of one consumer in one group.
#[derive(Debug)]
pub(super) struct OffsetCommitter {
    engine: SharedEngine,
    group: Arc<str>,
    partitions: parking_lot::Mutex<Vec<(TopicPartition, Arc<AckTracker>)>>,
    /// What the engine has stored, as far as this consumer knows. The lock also keeps commits in order: an older one
    /// must not land after a newer one.
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

    /// The consumer reads one more partition.
    pub(super) fn join(&self, at: TopicPartition, acks: Arc<AckTracker>) {
        self.partitions.lock().push((at, acks));
    }

    /// Stores what changed since the last time.
    ///
    /// # Cancel safety
    /// What was not stored when the future was dropped is stored the next time.
    pub(super) async fn commit(&self, asked: CommitTrigger) -> Result<()> {
        let mut stored = self.stored.lock().await;
        let mut indexes = Vec::new();
        let mut positions = Vec::new();
        // Cloned, lest the lock be held while the engine stores.
        let partitions = self.partitions.lock().clone();
        stored.resize(partitions.len(), None);
        for (index, ((at, acks), stored)) in partitions.iter().zip(stored.iter()).enumerate() {
            let due = match asked {
                CommitTrigger::Policy => acks.finished().filter(|next| stored.is_none_or(|old| *next > old)),
                CommitTrigger::Application => {
                    Some(acks.finished_or_origin()).filter(|next| Some(*next) != *stored)
                }
            };
            if let Some(next) = due {
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

    /// OffsetCommitter every `period` what was finished meanwhile. A commit that fails is tried again a period later.
    pub(super) async fn run_every(self: Arc<Self>, period: Duration) {
        loop {
            tokio::time::sleep(period).await;
            if let Err(error) = self.commit(CommitTrigger::Policy).await {
                tracing::warn!(group = %self.group, topic = ?self.topic(), %error, "commit failed; it is tried again");
            }
        }
    }

    fn topic(&self) -> Option<Topic> {
        self.partitions.lock().first().map(|(at, _)| at.topic.clone())
    }
}
