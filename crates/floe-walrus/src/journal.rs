//! The journal of reads: a local log that stores batches taken from the cluster before a reader gets them.
//!
//! Walrus removes an entry when a client reads it. With a journal, a program that crashes while it processes a record reads
//! the record again: reads resume at the stored offset of the group. The journal removes records that all groups have
//! processed. Offsets are those of the journal on this machine; the cluster has none.

use std::{path::Path, sync::Arc};

use floe_core::{
    Durability, Error, ErrorKind, Result,
    clock::WallClock,
    engine::{Acks, AppendRequest, BatchReader, Engine, ReadRequest},
    topic::{Topic, TopicPartition, TopicSpec},
    url::{EngineUrl, Scheme},
};
use floe_embedded::{EmbeddedEngine, EmbeddedOptions, log_error};
use floe_wire::batch::EncodedBatch;

#[derive(Debug)]
pub(super) struct Journal {
    log: EmbeddedEngine,
}

impl Journal {
    /// Opens the journal in this directory; creates it if it does not exist.
    pub(super) async fn open(path: &Path) -> Result<Arc<Self>> {
        // The record must survive a power failure, because the server has removed it.
        let options = EmbeddedOptions::default().durability(Durability::Always);
        let mut url = EngineUrl::new(Scheme::Embedded);
        url.path = path.to_owned();
        let log = EmbeddedEngine::open_with(&url, options, WallClock::default()).await.map_err(|error| {
            Error::new(error.kind(), format!("the journal {path:?} cannot be opened: {}", error.message()))
                .with_source(error)
        })?;
        Ok(Arc::new(Self { log }))
    }

    /// Returns the engine of the journal.
    pub(super) fn log(&self) -> &dyn Engine {
        &self.log
    }

    /// Whether the journal has this topic.
    pub(super) fn knows(&self, topic: &Topic) -> bool {
        self.log.store().topic(topic.as_str()).is_some()
    }

    /// Creates a topic of the cluster in the journal.
    pub(super) async fn add(&self, topic: &Topic) -> Result<()> {
        if self.knows(topic) {
            return Ok(());
        }
        match self.log.create_topic(TopicSpec::new(topic)).await {
            Err(error) if error.kind() != ErrorKind::TopicAlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Appends a batch durably.
    pub(super) async fn append(&self, topic: &str, batch: EncodedBatch) -> Result<()> {
        let target = Topic::from(topic).partition(0);
        self.log.append(AppendRequest::new(target, batch, Acks::Leader)).await.map(drop)
    }

    pub(super) async fn read(&self, request: ReadRequest) -> Result<Box<dyn BatchReader>> {
        self.log.open(request).await
    }

    /// Stores the offsets of a group, and removes records that every group has processed.
    pub(super) async fn commit(&self, group: Arc<str>, positions: Vec<(TopicPartition, i64)>) -> Result<()> {
        let topics: Vec<Topic> = positions.iter().map(|(at, _)| at.topic.clone()).collect();
        self.log.commit(group, positions).await?;
        for topic in topics {
            if let Err(error) = self.trim(&topic).await {
                tracing::warn!(%topic, %error, "processed records stay in the journal");
            }
        }
        Ok(())
    }

    async fn trim(&self, topic: &Topic) -> Result<()> {
        let store = self.log.store();
        let stored = store.committed_all(None);
        let finished = stored.iter().filter(|row| row.topic == topic.as_str()).map(|row| row.offset).min();
        let Some(finished) = finished else { return Ok(()) };
        let partition = store.partition(topic.as_str(), 0).map_err(log_error)?;
        if finished <= partition.bounds().start {
            return Ok(());
        }
        match tokio::task::spawn_blocking(move || partition.delete_before(finished)).await {
            Ok(done) => done.map_err(log_error),
            Err(stopped) => Err(Error::closed("client").with_source(stopped)),
        }
    }
}
