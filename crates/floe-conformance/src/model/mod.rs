//! Reference implementation of the contract of [`floe::engine`]: an engine that keeps batches in vectors.
//!
//! Every case of the suite passes on it, and the faulty engines that the suite must detect are wrappers around it. It has no
//! limits and no retention, and is not optimised.

mod producers;
mod reader;
mod store;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use floe::{
    Error, ErrorKind, Result, Topic, TopicPartition, TopicSpec,
    engine::{
        AppendAck, AppendRequest, BatchReader, Capabilities, CommittedOffset, Engine, EngineInfo, Health,
        NodeHealth, ReadRequest, Watermarks,
    },
    topic::{TopicEvent, TopicInfo},
};
use futures_util::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};

use self::{reader::ModelReader, store::Store};

/// Topic changes that a slow watcher may fall behind before its stream ends.
const WATCH_BACKLOG: usize = 1024;

/// Reference engine; see the [module](self). Clones share the data.
#[derive(Debug, Clone)]
pub struct Model {
    store: Arc<Store>,
    closed: Arc<AtomicBool>,
    capabilities: Capabilities,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// Creates an empty engine with all capabilities.
    #[must_use]
    pub fn new() -> Self {
        let mut capabilities = Capabilities::FULL;
        capabilities.append_window = 4;
        Self::with_capabilities(capabilities)
    }

    /// Creates an empty engine with these capabilities.
    #[must_use]
    pub fn with_capabilities(capabilities: Capabilities) -> Self {
        Self { store: Arc::default(), closed: Arc::default(), capabilities }
    }

    /// Loses the end of a partition, as a log does whose last writes had not reached the disk when the power failed: the
    /// batches that reach beyond `end`. Their offsets are assigned again.
    ///
    /// # Errors
    /// The partition does not exist.
    pub fn truncate(&self, at: &TopicPartition, end: i64) -> Result<()> {
        self.store.truncate(at, end)
    }

    /// Fails once the engine is closed.
    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Closed, "the engine is closed"));
        }
        Ok(())
    }

    fn require(&self, ability: bool, name: &'static str) -> Result<()> {
        self.check_open()?;
        if ability { Ok(()) } else { Err(Error::unsupported(name, "model")) }
    }

    fn store(&self, request: &AppendRequest, expected_end: Option<i64>) -> Result<AppendAck> {
        self.check_open()?;
        let batch = &request.batch;
        if batch.len() > self.capabilities.max_batch_bytes {
            return Err(Error::new(
                ErrorKind::RecordTooLarge,
                format!("{} bytes, at most {} allowed", batch.len(), self.capabilities.max_batch_bytes),
            ));
        }
        batch.verify_checksum()?;
        let fences = self.capabilities.conditional_appends;
        let base = self.store.append(&request.target, batch.clone(), (fences, expected_end))?;
        Ok(AppendAck::new(self.capabilities.offsets.then_some(base)))
    }

    fn reader(&self, request: &ReadRequest) -> Result<Box<dyn BatchReader>> {
        self.check_open()?;
        let next = self.store.find_start(&request.source, request.from)?;
        Ok(Box::new(ModelReader::new(self.clone(), request, next)))
    }
}

impl Engine for Model {
    fn info(&self) -> EngineInfo {
        EngineInfo::new("model", self.capabilities)
    }

    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendAck>> {
        Box::pin(async move {
            request.epoch.check()?;
            self.store(&request, None).inspect_err(|error| request.epoch.fail(error))
        })
    }

    fn append_at(&self, request: AppendRequest, end: i64) -> BoxFuture<'_, Result<AppendAck>> {
        Box::pin(async move {
            self.require(self.capabilities.conditional_appends, "conditional appends")?;
            self.store(&request, Some(end))
        })
    }

    fn open(&self, request: ReadRequest) -> BoxFuture<'_, Result<Box<dyn BatchReader>>> {
        Box::pin(async move { self.reader(&request) })
    }

    fn watermarks(&self, of: TopicPartition) -> BoxFuture<'_, Result<Watermarks>> {
        Box::pin(async move {
            self.require(self.capabilities.offsets, "offsets")?;
            self.store.watermarks(&of)
        })
    }

    fn offset_for_time(&self, of: TopicPartition, timestamp: i64) -> BoxFuture<'_, Result<Option<i64>>> {
        Box::pin(async move {
            self.require(self.capabilities.offsets, "offsets")?;
            self.store.offset_for_time(&of, timestamp)
        })
    }

    fn commit(&self, group: Arc<str>, positions: Vec<(TopicPartition, i64)>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.require(self.capabilities.commit_offsets, "stored consumer offsets")?;
            self.store.commit(&group, positions)
        })
    }

    fn committed(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<Option<i64>>> {
        Box::pin(async move {
            self.require(self.capabilities.commit_offsets, "stored consumer offsets")?;
            Ok(self.store.committed(&group, &at))
        })
    }

    fn list_committed(&self, group: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<CommittedOffset>>> {
        Box::pin(async move {
            self.require(self.capabilities.commit_offsets, "stored consumer offsets")?;
            Ok(self.store.list_committed(group.as_deref()))
        })
    }

    fn forget(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.require(self.capabilities.commit_offsets, "stored consumer offsets")?;
            self.store.forget(&group, &at);
            Ok(())
        })
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        Box::pin(async move {
            self.require(self.capabilities.list_topics, "list of topics")?;
            Ok(self.store.topics())
        })
    }

    fn topic(&self, name: Topic) -> BoxFuture<'_, Result<TopicInfo>> {
        Box::pin(async move {
            self.check_open()?;
            self.store.topic(&name)
        })
    }

    fn create_topic(&self, spec: TopicSpec) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.require(self.capabilities.partitions || spec.partitions == 1, "partitions")?;
            spec.validate()?;
            self.store.create(&spec)
        })
    }

    fn add_partitions(&self, name: Topic, total: u32) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.require(self.capabilities.partitions, "partitions")?;
            self.store.add_partitions(&name, total)
        })
    }

    fn delete_topic(&self, name: Topic) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.require(self.capabilities.delete_topic, "deletion of topics")?;
            self.store.delete(&name)
        })
    }

    fn watch(&self) -> BoxFuture<'_, Result<BoxStream<'static, Result<TopicEvent>>>> {
        Box::pin(async move {
            self.require(self.capabilities.list_topics, "list of topics")?;
            let (topics, changes) = self.store.watch();
            let now = stream::iter(topics).map(|info| Ok(TopicEvent::Updated(info)));
            let later = stream::unfold(changes, |mut changes| async move {
                let change = changes.recv().await.ok()?;
                Some((Ok(change), changes))
            });
            Ok(now.chain(later).boxed())
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health>> {
        Box::pin(async move {
            self.check_open()?;
            let node = NodeHealth::new("model", true, "ready");
            Ok(Health::new(true, vec![node]))
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.closed.store(true, Ordering::SeqCst);
            self.store.wake_readers();
            Ok(())
        })
    }
}
