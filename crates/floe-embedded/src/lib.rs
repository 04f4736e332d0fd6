//! The engine of `embedded:` and `memory:`: the log of `floe-log` inside the process.
//!
//! | file | holds |
//! | --- | --- |
//! | `options` | the options of a URL, as settings of the log |
//! | `append_order` | the order of appends while their partition is being opened |
//! | `reader` | reads of one partition |
//! | `topic_watch` | changes to topics |
//! | `errors` | the mapping of log errors |
//!
//! Appends run on the caller's task: the log writes with one call and no thread hop. Operations that may wait for the
//! device (opening, uncached reads, creating and deleting topics) run on blocking threads.

mod append_order;
mod errors;
mod options;
mod reader;
mod topic_watch;

use std::{fmt, path::Path, sync::Arc};

use append_order::AppendOrder;
pub use errors::log_error;
use floe_core::{
    Error, ErrorKind, Result,
    engine::{
        AppendAck, AppendRequest, BatchReader, Capabilities, CommittedOffset, Engine, EngineInfo, Health,
        NodeHealth, ReadRequest, Start, Watermarks, refuse_smartmodules,
    },
    topic::{Topic, TopicEvent, TopicInfo, TopicPartition, TopicSpec},
    url::{EngineUrl, Scheme},
};
use floe_log::{LogError, Partition, Store, StoreConfig};
use floe_wire::batch::EncodedBatch;
use futures_util::{future::BoxFuture, stream::BoxStream};
use options::Options;
pub use options::durability_to_log;
use reader::LogReader;
use tokio::sync::oneshot;

/// Topics in an embedded log.
pub struct EmbeddedEngine {
    store: Arc<Store>,
    name: &'static str,
    /// Name of the node in health reports: the directory, or `memory`.
    location: String,
    options: Options,
    append_order: AppendOrder,
}

impl EmbeddedEngine {
    /// Creates an engine over an open store, for example one on a [disk](floe_log::disk) of the caller's. `location` names the
    /// node in health reports. Closing the engine closes the store.
    #[must_use]
    pub fn over(store: Arc<Store>, location: String) -> Self {
        Self {
            store,
            name: "embedded",
            location,
            options: Options::default(),
            append_order: AppendOrder::new(),
        }
    }

    /// Opens the store that the URL names; creates it if it does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for an invalid option; [`ErrorKind::StoreInUse`] when another process has
    /// the store open; [`ErrorKind::StorageError`] and [`ErrorKind::CorruptData`] when it cannot be opened.
    pub async fn open(url: &EngineUrl) -> Result<Self> {
        let options = Options::parse(url)?;
        let (name, location, config) = match url.scheme {
            Scheme::Memory => ("memory", "memory".to_owned(), StoreConfig::memory()),
            _ => ("embedded", url.path.clone(), StoreConfig::at(Path::new(&url.path))),
        };
        let config = options.apply(config);
        let store = blocking(move || Store::open(config)).await.map_err(|error| error.with_engine(name))?;
        let report = store.recovery_report();
        for cut in &report.cuts {
            tracing::warn!(
                store = %location, topic = %cut.topic, partition = cut.partition, offset = cut.offset,
                bytes = cut.bytes, problem = %cut.problem, "cut off an incomplete batch that was never acknowledged"
            );
        }
        for error in &report.damaged {
            tracing::error!(store = %location, %error, "a batch is damaged; readers skip it");
        }
        for moved in &report.rewound {
            tracing::warn!(
                store = %location, group = %moved.group, topic = %moved.topic, partition = moved.partition,
                offset = moved.offset, "a stored offset beyond the end was moved back to the end: records before it were lost"
            );
        }
        for error in &report.corrupt {
            tracing::error!(store = %location, %error, "a partition cannot be used");
        }
        Ok(Self { store, name, location, options, append_order: AppendOrder::new() })
    }

    /// Returns the log of this engine.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    async fn partition(&self, at: &TopicPartition) -> Result<Arc<Partition>> {
        // The first access opens the partition's files; later ones find it in a map.
        if let Some(open) = self.store.opened(at.topic.as_str(), at.partition) {
            return Ok(open);
        }
        let (store, at) = (Arc::clone(&self.store), at.clone());
        blocking(move || store.partition(at.topic.as_str(), at.partition)).await
    }

    async fn append_batch(&self, request: AppendRequest) -> Result<AppendAck> {
        refuse_smartmodules(request.smartmodules.as_ref(), self.name)?;
        let (done, outcome) = oneshot::channel();
        // The caller may have dropped its future; the batch stays in the log nevertheless.
        let done = move |result| drop(done.send(result));
        let at = &request.target;
        let open = self.store.opened(at.topic.as_str(), at.partition);
        match open.filter(|_| self.append_order.is_free(at)) {
            Some(partition) => partition.submit(request.batch, done),
            None => {
                let position = self.append_order.join(at);
                let _turn = match &position {
                    Some(position) => Some(position.turn().await),
                    None => None,
                };
                self.partition(at).await?.submit(request.batch, done);
            }
        }
        match outcome.await {
            Ok(Ok(appended)) => Ok(AppendAck::new(Some(appended.base_offset))),
            Ok(Err(error)) => Err(log_error(error)),
            Err(_) => Err(log_error(LogError::Closed)),
        }
    }

    async fn open_reader(&self, request: ReadRequest) -> Result<Box<dyn BatchReader>> {
        refuse_smartmodules(request.smartmodules.as_ref(), self.name)?;
        let partition = self.partition(&request.source).await?;
        let bounds = partition.bounds();
        let from = match request.from {
            Start::Earliest => bounds.start,
            Start::Latest => partition.readable_end(),
            Start::Offset(offset) => offset,
        };
        let reader = blocking(move || partition.reader(from)).await?;
        Ok(Box::new(LogReader::new(reader, request.max_bytes)))
    }

    fn describe(topic: &floe_log::TopicDescription) -> TopicInfo {
        let mut info = TopicInfo::new(topic.name.as_str(), topic.partitions);
        info.created_at = Some(topic.created_ms);
        info.durability = Some(options::durability_from_log(topic.config.durability));
        info.retention_age = topic.config.retention_age;
        info.retention_bytes = topic.config.retention_bytes;
        info
    }

    /// Describes the topics of the store, ordered by name.
    fn describe_all(store: &Store) -> Vec<TopicInfo> {
        let mut topics: Vec<_> = store.topics().iter().map(Self::describe).collect();
        topics.sort_by(|left, right| left.name.cmp(&right.name));
        topics
    }
}

/// Returns the offset of the first record of `batch`, at or after `start`, whose time is at or after `timestamp`. For a
/// damaged batch it returns `start`; the reader reports the damage.
fn first_since(batch: &EncodedBatch, start: i64, timestamp: i64) -> i64 {
    let Ok(records) = batch.verify_checksum().and_then(|()| batch.records()) else { return start };
    for record in records.map_while(std::result::Result::ok) {
        if record.offset >= start && record.timestamp.is_some_and(|time| time >= timestamp) {
            return record.offset;
        }
    }
    start
}

/// Runs work that may wait for the device on a blocking thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::result::Result<T, LogError> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(log_error),
        Err(stopped) => {
            Err(Error::new(ErrorKind::Closed, "the runtime stopped before the log answered")
                .with_source(stopped))
        }
    }
}

impl fmt::Debug for EmbeddedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedEngine").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Engine for EmbeddedEngine {
    fn info(&self) -> EngineInfo {
        let mut capabilities = Capabilities::FULL;
        capabilities.smartmodules = false;
        EngineInfo::new(self.name, capabilities)
    }

    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendAck>> {
        Box::pin(self.append_batch(request))
    }

    fn open(&self, request: ReadRequest) -> BoxFuture<'_, Result<Box<dyn BatchReader>>> {
        Box::pin(self.open_reader(request))
    }

    fn watermarks(&self, of: TopicPartition) -> BoxFuture<'_, Result<Watermarks>> {
        Box::pin(async move {
            let partition = self.partition(&of).await?;
            let start = partition.bounds().start;
            let high = partition.readable_end();
            Ok(Watermarks::new(start, high, Some(partition.size_bytes())))
        })
    }

    fn offset_for_time(&self, of: TopicPartition, timestamp: i64) -> BoxFuture<'_, Result<Option<i64>>> {
        Box::pin(async move {
            let partition = self.partition(&of).await?;
            let found = blocking(move || {
                let Some(offset) = partition.offset_for_time(timestamp)? else { return Ok(None) };
                let chunk = partition.reader(offset)?.next_chunk(1)?;
                Ok(Some((offset, chunk.batches.into_iter().next())))
            });
            // The log finds the batch; any of its records may be the first one.
            match found.await? {
                None => Ok(None),
                Some((offset, None)) => Ok(Some(offset)),
                Some((offset, Some(batch))) => Ok(Some(first_since(&batch, offset, timestamp))),
            }
        })
    }

    fn commit(&self, group: Arc<str>, positions: Vec<(TopicPartition, i64)>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (done, outcome) = oneshot::channel();
            let positions =
                positions.into_iter().map(|(at, next)| (at.topic.to_string(), at.partition, next)).collect();
            self.store.commit_offsets(&group, positions, move |result| {
                let _ = done.send(result);
            });
            match outcome.await {
                Ok(result) => result.map_err(log_error),
                Err(_) => Err(log_error(LogError::Closed)),
            }
        })
    }

    fn committed(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<Option<i64>>> {
        Box::pin(async move {
            self.store.check().map_err(log_error)?;
            let row = self.store.committed(&group, at.topic.as_str(), at.partition);
            Ok(row.map(|row| row.offset))
        })
    }

    fn list_committed(&self, group: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<CommittedOffset>>> {
        Box::pin(async move {
            self.store.check().map_err(log_error)?;
            let rows = self.store.committed_all(group.as_deref());
            Ok(rows
                .into_iter()
                .map(|row| {
                    let at = Topic::from(row.topic).partition(row.partition);
                    CommittedOffset::new(row.group, at, row.offset).modified_at(Some(row.modified_ms))
                })
                .collect())
        })
    }

    fn forget(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let store = Arc::clone(&self.store);
            blocking(move || store.forget_offset(&group, at.topic.as_str(), at.partition)).await
        })
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        Box::pin(async move {
            self.store.check().map_err(log_error)?;
            Ok(Self::describe_all(&self.store))
        })
    }

    fn topic(&self, name: Topic) -> BoxFuture<'_, Result<TopicInfo>> {
        Box::pin(async move {
            self.store.check().map_err(log_error)?;
            match self.store.topic(name.as_str()) {
                Some(topic) => Ok(Self::describe(&topic)),
                None => Err(log_error(LogError::TopicNotFound { topic: name.to_string() })),
            }
        })
    }

    fn create_topic(&self, spec: TopicSpec) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            spec.validate()?;
            let config = self.options.topic_config(&spec);
            let store = Arc::clone(&self.store);
            blocking(move || store.create_topic(spec.name.as_str(), config)).await
        })
    }

    fn add_partitions(&self, name: Topic, total: u32) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let store = Arc::clone(&self.store);
            let added = blocking(move || store.add_partitions(name.as_str(), total)).await;
            // A number that is too small is an invalid configuration to the log, and an invalid call here.
            added.map_err(|error| match error.kind() {
                ErrorKind::InvalidConfig => Error::new(ErrorKind::InvalidCommand, error.message().to_owned()),
                _ => error,
            })
        })
    }

    fn delete_topic(&self, name: Topic) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let store = Arc::clone(&self.store);
            blocking(move || store.delete_topic(name.as_str())).await
        })
    }

    fn watch(&self) -> BoxFuture<'_, Result<BoxStream<'static, Result<TopicEvent>>>> {
        Box::pin(async move {
            self.store.check().map_err(log_error)?;
            Ok(topic_watch::watch(Arc::clone(&self.store)))
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health>> {
        Box::pin(async move {
            let checked = self.store.check();
            // A store that failed is unhealthy; calling a closed one is an error of the caller.
            if matches!(checked, Err(LogError::Closed)) {
                return Err(log_error(LogError::Closed));
            }
            let state = checked.as_ref().map_or_else(ToString::to_string, |()| "open".to_owned());
            let node = NodeHealth::new(self.location.clone(), checked.is_ok(), state);
            Ok(Health::new(node.ready, vec![node]))
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let store = Arc::clone(&self.store);
            blocking(move || store.close()).await
        })
    }
}
