//! The engine of `embedded:` and `memory:`: the log of `floe-log` inside the process.
//!
//! | file | holds |
//! | --- | --- |
//! | `options` | the options of a URL, as settings of the log |
//! | `append_order` | the order of appends while their partition is being opened |
//! | `reader` | reads of one partition |
//! | `topic_watch` | changes to topics |
//! | `errors` | the mapping of log errors |
//! | [`check`] | check and repair of a store that is not open |
//! | `damage`, `health` | what a store has lost, in words; whether it works |
//!
//! Appends run on the caller's task: the log writes with one call and no thread hop. Operations that may wait for the
//! device (opening, uncached reads, creating and deleting topics) run on blocking threads; over a store with an
//! [executor](StoreConfig::executor) they run on the caller's, and no thread is involved.

mod append_order;
pub mod check;
mod damage;
mod errors;
mod health;
mod options;
mod reader;
mod topic_watch;

use std::{
    fmt, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use append_order::AppendOrder;
pub use errors::log_error;
use floe_core::{
    Error, ErrorKind, Result,
    append_condition::NotAtEnd,
    clock::WallClock,
    engine::{
        AppendAck, AppendRequest, BatchReader, Capabilities, CommittedOffset, Engine, EngineInfo, Health,
        ReadRequest, Start, Watermarks, refuse_smartmodules,
    },
    setting::Section,
    topic::{Topic, TopicEvent, TopicInfo, TopicPartition, TopicSpec, TopicUpdate},
    url::{EngineUrl, Scheme},
};
use floe_log::{LogError, Partition, Store, StoreConfig};
use floe_wire::batch::EncodedBatch;
use futures_util::{future::BoxFuture, stream::BoxStream};
use health::{Access, Examination};
pub use options::{EmbeddedOptions, OpenMode, durability_to_log};
use reader::LogReader;
use tokio::{sync::oneshot, time::Instant};

/// Topics in an embedded log.
pub struct EmbeddedEngine {
    store: Arc<Store>,
    name: &'static str,
    /// Name of the node in health reports: the directory, or `memory`.
    location: String,
    options: EmbeddedOptions,
    append_order: AppendOrder,
    examination: Arc<Examination>,
    /// Time of the first append that did not fit on the disk since one did, in milliseconds since `opened_at` and plus one; 0
    /// if the last one fitted.
    full_since: AtomicU64,
    opened_at: Instant,
}

/// Time for which appends to a full disk may be retried. A disk that stays full is told soon, instead of at the end of the
/// patience that a producer has with a network.
const FULL_DISK_PATIENCE: Duration = Duration::from_secs(1);

impl EmbeddedEngine {
    /// Creates an engine over an open store, for example one on a [disk](floe_log::disk) of the caller's. `location` names the
    /// node in health reports. Closing the engine closes the store.
    #[must_use]
    pub fn over(store: Arc<Store>, location: String) -> Self {
        Self::with_access(store, location, Access::Full)
    }

    fn with_access(store: Arc<Store>, location: String, access: Access) -> Self {
        let examination = Arc::new(Examination::new(access));
        examination.tell(&location, store.recovery_report());
        Self {
            store,
            name: "embedded",
            location,
            options: EmbeddedOptions::default(),
            append_order: AppendOrder::new(),
            examination,
            full_since: AtomicU64::new(0),
            opened_at: Instant::now(),
        }
    }

    /// Opens the store that the URL names; creates it if it does not exist. With `mode=read`, or if the directory cannot be
    /// written, it is opened for reading only; it must exist then. With `mode=existing` a missing one is not created: the
    /// engine has no topics, and whatever is created is lost.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for an invalid option; [`ErrorKind::StoreInUse`] when another process has
    /// the store open; [`ErrorKind::StorageError`] and [`ErrorKind::CorruptData`] when it cannot be opened.
    pub async fn open(url: &EngineUrl) -> Result<Self> {
        Self::open_with(url, EmbeddedOptions::from_url(url)?, WallClock::default()).await
    }

    /// Opens a store as [`EmbeddedEngine::open`] does, with options in place of those of the URL, and a clock for append times
    /// and retention.
    ///
    /// # Errors
    /// As [`EmbeddedEngine::open`].
    pub async fn open_with(url: &EngineUrl, options: EmbeddedOptions, clock: WallClock) -> Result<Self> {
        options.check()?;
        let (name, location, config) = match url.scheme {
            Scheme::Memory if options.mode != OpenMode::Write => {
                let message = "mode is for embedded:, since memory: begins empty";
                return Err(Error::new(ErrorKind::InvalidConfig, message));
            }
            Scheme::Memory => ("memory", "memory".to_owned(), StoreConfig::memory()),
            _ if options.mode == OpenMode::Existing
                && is_missing(&options.apply(StoreConfig::at(&url.path)).directory()) =>
            {
                tracing::info!(path = %url.path.display(), "there is no store in this directory");
                ("embedded", url.path.display().to_string(), StoreConfig::memory())
            }
            _ => ("embedded", url.path.display().to_string(), StoreConfig::at(&url.path)),
        };
        let config = options.apply(config);
        let config = if clock.is_system() { config } else { config.wall_clock(move || clock.now()) };
        let read_only = options.mode == OpenMode::Read;
        let (store, access) =
            on_a_thread(move || open(config, read_only)).await.map_err(|error| error.with_engine(name))?;
        if access == Access::Refused {
            tracing::warn!(store = %location, "the directory cannot be written: opened for reading only");
        }
        Ok(Self { name, options, ..Self::with_access(store, location, access) })
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
        let wanted = at.clone();
        let opening = move |store: &Arc<Store>| store.partition(wanted.topic.as_str(), wanted.partition);
        let partition = blocking(&self.store, opening).await;
        self.examination.tell(&self.location, &self.store.findings_of(at.topic.as_str(), Some(at.partition)));
        partition
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.opened_at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn append_succeeded(&self) {
        if self.full_since.load(Ordering::Relaxed) != 0 {
            self.full_since.store(0, Ordering::Relaxed);
        }
    }

    fn append_failed(&self, error: LogError) -> Error {
        let is_full = matches!(error, LogError::DiskFull { .. });
        let error = log_error(error);
        if !is_full {
            return error;
        }
        let now = self.age_ms().saturating_add(1);
        let since = match self.full_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => now,
            Err(since) => since,
        };
        error.with_retriable(Duration::from_millis(now.saturating_sub(since)) < FULL_DISK_PATIENCE)
    }

    /// Appends a batch; to a partition that ends at `expected_end`, if there is one.
    async fn append_batch(&self, request: AppendRequest, expected_end: Option<i64>) -> Result<AppendAck> {
        refuse_smartmodules(request.smartmodules.as_ref(), self.name)?;
        let (done, outcome) = oneshot::channel();
        // The caller may have dropped its future; the batch stays in the log nevertheless.
        let done = move |result| drop(done.send(result));
        let AppendRequest { target, batch, .. } = request;
        let at = &target;
        let submit = move |partition: &Arc<Partition>| match expected_end {
            Some(end) => partition.submit_at(batch, end, done),
            None => partition.submit(batch, done),
        };
        let open = self.store.opened(at.topic.as_str(), at.partition);
        match open.filter(|_| self.append_order.is_free(at)) {
            Some(partition) => submit(&partition),
            None => {
                let position = self.append_order.join(at);
                let _turn = match &position {
                    Some(position) => Some(position.turn().await),
                    None => None,
                };
                submit(&self.partition(at).await?);
            }
        }
        match outcome.await {
            Ok(Ok(appended)) => {
                self.append_succeeded();
                Ok(AppendAck::new(Some(appended.base_offset)))
            }
            Ok(Err(error)) => Err(self.append_failed(error)),
            Err(_) => Err(log_error(LogError::Closed)),
        }
    }

    async fn append_batch_at(&self, request: AppendRequest, expected: i64) -> Result<AppendAck> {
        let (at, batch) = (request.target.clone(), request.batch.clone());
        let outcome = self.append_batch(request, Some(expected)).await;
        match &outcome {
            // The log remembers the batches of ordinary producers until it is closed; the batch itself is there.
            Err(error) if NotAtEnd::of(error).is_some_and(|found| found.end > expected) => {
                let partition = self.partition(&at).await?;
                let is_stored = blocking(&self.store, move |_| partition.holds_at(&batch, expected)).await?;
                if is_stored { Ok(AppendAck::new(Some(expected))) } else { outcome }
            }
            _ => outcome,
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
        let reader = blocking(&self.store, move |_| partition.reader(from)).await?;
        let here = self.store.has_executor();
        Ok(Box::new(LogReader::new(reader, request.max_bytes).reads_here(here)))
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

/// Whether a directory does not exist or holds nothing.
fn is_missing(directory: &Path) -> bool {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Opens a store; for reading only if that is asked for, or if the system refuses to write there.
fn open(config: StoreConfig, read_only: bool) -> std::result::Result<(Arc<Store>, Access), LogError> {
    if read_only {
        return Ok((Store::open(config.read_only(true))?, Access::Reads));
    }
    match Store::open(config.clone()) {
        Err(error) if is_refusal(&error) => {
            // Where there is no store to read, the refusal is the reason.
            let store = Store::open(config.read_only(true)).map_err(|_| error)?;
            Ok((store, Access::Refused))
        }
        opened => Ok((opened?, Access::Full)),
    }
}

fn is_refusal(error: &LogError) -> bool {
    let LogError::Io { source, .. } = error else { return false };
    matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Runs work that may wait for the device: on a blocking thread, or on this one if the store has an executor.
async fn blocking<T: Send + 'static>(
    store: &Arc<Store>,
    work: impl FnOnce(&Arc<Store>) -> std::result::Result<T, LogError> + Send + 'static,
) -> Result<T> {
    if store.has_executor() {
        return work(store).map_err(log_error);
    }
    let store = Arc::clone(store);
    on_a_thread(move || work(&store)).await
}

/// Runs work that may wait for the device on a blocking thread.
async fn on_a_thread<T: Send + 'static>(
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
        capabilities.mirrors = false;
        EngineInfo::new(self.name, capabilities)
    }

    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendAck>> {
        Box::pin(self.append_batch(request, None))
    }

    fn append_at(&self, request: AppendRequest, end: i64) -> BoxFuture<'_, Result<AppendAck>> {
        Box::pin(self.append_batch_at(request, end))
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
            let found = blocking(&self.store, move |_| {
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
            blocking(&self.store, move |store| store.forget_offset(&group, at.topic.as_str(), at.partition))
                .await
        })
    }

    fn trim(&self, at: TopicPartition, before: i64) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let partition = self.partition(&at).await?;
            if before <= partition.bounds().start {
                return Ok(());
            }
            blocking(&self.store, move |_| partition.delete_before(before)).await
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
                Some(topic) => {
                    let mut info = Self::describe(&topic);
                    let found = damage::findings(&self.store.findings_of(name.as_str(), None));
                    info.damage = found.iter().map(|finding| finding.to_string().into()).collect();
                    Ok(info)
                }
                None => Err(log_error(LogError::TopicNotFound { topic: name.to_string() })),
            }
        })
    }

    fn create_topic(&self, spec: TopicSpec) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            spec.validate()?;
            spec.refuse_cluster_settings(self.name)?;
            let config = self.options.topic_config(&spec);
            blocking(&self.store, move |store| store.create_topic(spec.name.as_str(), config)).await
        })
    }

    fn add_partitions(&self, name: Topic, total: u32) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let added = blocking(&self.store, move |store| store.add_partitions(name.as_str(), total)).await;
            // A number that is too small is an invalid configuration to the log, and an invalid call here.
            added.map_err(|error| match error.kind() {
                ErrorKind::InvalidConfig => Error::new(ErrorKind::InvalidCommand, error.message().to_owned()),
                _ => error,
            })
        })
    }

    fn update_topic(&self, name: Topic, update: TopicUpdate) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            blocking(&self.store, move |store| {
                store.change_retention(name.as_str(), |age, bytes| {
                    *age = update.retention_age.unwrap_or(*age);
                    *bytes = update.retention_bytes.unwrap_or(*bytes);
                })
            })
            .await
        })
    }

    fn delete_topic(&self, name: Topic) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { blocking(&self.store, move |store| store.delete_topic(name.as_str())).await })
    }

    fn watch(&self) -> BoxFuture<'_, Result<BoxStream<'static, Result<TopicEvent>>>> {
        Box::pin(async move {
            self.store.check().map_err(log_error)?;
            Ok(topic_watch::watch(Arc::clone(&self.store)))
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health>> {
        Box::pin(health::check(&self.store, &self.examination, &self.location))
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { blocking(&self.store, move |store| store.close()).await })
    }
}
