//! Stores the offsets of a group.

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;

use super::offsets::Progress;
use crate::{
    Result,
    engine::SharedEngine,
    topic::{Topic, TopicPartition},
};

/// Who asks for a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The policy: only forward, and only where a record was finished.
    ByPolicy,
    /// The application: where it stands, also backwards after a seek.
    ByApplication,
}

/// The offsets of one consumer in one group.
#[derive(Debug)]
pub(super) struct Commits {
    engine: SharedEngine,
    group: Arc<str>,
    partitions: parking_lot::Mutex<Vec<(TopicPartition, Arc<Progress>)>>,
    /// What the engine has stored, as far as this consumer knows. The lock also keeps commits in order: an older one
    /// must not land after a newer one.
    stored: Mutex<Vec<Option<i64>>>,
}

impl Commits {
    pub(super) fn new(
        engine: SharedEngine,
        group: Arc<str>,
        partitions: Vec<(TopicPartition, Arc<Progress>)>,
        stored: Vec<Option<i64>>,
    ) -> Self {
        let partitions = parking_lot::Mutex::new(partitions);
        Self { engine, group, partitions, stored: Mutex::new(stored) }
    }

    /// The consumer reads one more partition.
    pub(super) fn join(&self, at: TopicPartition, progress: Arc<Progress>) {
        self.partitions.lock().push((at, progress));
    }

    /// Stores what changed since the last time.
    ///
    /// # Cancel safety
    /// What was not stored when the future was dropped is stored the next time.
    pub(super) async fn commit(&self, asked: Asked) -> Result<()> {
        let mut stored = self.stored.lock().await;
        let mut indexes = Vec::new();
        let mut positions = Vec::new();
        // Cloned, lest the lock be held while the engine stores.
        let partitions = self.partitions.lock().clone();
        stored.resize(partitions.len(), None);
        for (index, ((at, progress), stored)) in partitions.iter().zip(stored.iter()).enumerate() {
            let due = match asked {
                Asked::ByPolicy => progress.finished().filter(|next| stored.is_none_or(|old| *next > old)),
                Asked::ByApplication => {
                    Some(progress.finished_or_origin()).filter(|next| Some(*next) != *stored)
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

    /// Commits every `period` what was finished meanwhile. A commit that fails is tried again a period later.
    pub(super) async fn run_every(self: Arc<Self>, period: Duration) {
        loop {
            tokio::time::sleep(period).await;
            if let Err(error) = self.commit(Asked::ByPolicy).await {
                tracing::warn!(group = %self.group, topic = ?self.topic(), %error, "commit failed; it is tried again");
            }
        }
    }

    fn topic(&self) -> Option<Topic> {
        self.partitions.lock().first().map(|(at, _)| at.topic.clone())
    }
}
