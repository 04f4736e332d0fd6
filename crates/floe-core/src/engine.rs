//! The contract between the client and the places where topics live.
//!
//! Applications do not call engines; they use `floe::Client`. This module is for authors of engines and layers.

use std::{fmt, sync::Arc};

/// Encoded batches, which engines store and return unchanged. The re-export spares an engine a dependency on `floe-wire`.
pub use floe_wire::{
    WireError,
    batch::{self, EncodedBatch},
};
use futures_util::{future::BoxFuture, stream::BoxStream};

use crate::{
    Result,
    smartmodule::SmartModules,
    topic::{Topic, TopicEvent, TopicInfo, TopicPartition, TopicSpec, TopicUpdate},
};
pub use crate::{
    append_epoch::AppendEpoch,
    engine_health::{Health, NodeHealth},
    placement::Placement,
};

/// A shared engine.
pub type SharedEngine = Arc<dyn Engine>;

/// A store of record batches, local or remote.
///
/// # Contract
/// - Implementers: report capabilities honestly. A missing capability returns [`crate::ErrorKind::Unsupported`]
///   before any IO, never a silent no-op. Set kind, retriability and effect of errors; operation, topic and partition are added
///   by the client.
/// - Wrappers: implement `floe::layer::Layer`, not this trait.
/// - Every method may be called concurrently. Any returned future may be dropped at any await point; an append that
///   was dropped is in the log once or not at all.
/// - After [`Engine::close`] every call fails with [`crate::ErrorKind::Closed`].
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// Name and capabilities. No IO.
    fn info(&self) -> EngineInfo;

    /// Address of the server that a call about a partition (or, with `None`, about no partition) would reach now, where it
    /// is known without IO and is a single server. Calls with one endpoint fail together.
    fn endpoint(&self, at: Option<&TopicPartition>) -> Option<Arc<str>> {
        let _ = at;
        None
    }

    /// Servers that hold a partition, where they are known without IO. Engines without servers keep this default.
    fn placement(&self, of: &TopicPartition) -> Option<Placement> {
        let _ = of;
        None
    }

    /// Appends one batch to one partition.
    ///
    /// # Order
    /// Appends to one partition are applied in the order in which their futures were first polled. A sender keeps at most
    /// [`Capabilities::append_window`] of them in flight.
    ///
    /// After an append failed, an engine with a window above 1 stores no append behind it in the same [`AppendRequest::epoch`]
    /// that it has not sent yet: it calls [`AppendEpoch::fail`] before it reports the failure, and [`AppendEpoch::check`] right before
    /// it sends or stores a batch. The failure is reported at once; appends sent before it end with whatever becomes of
    /// them. Appends of other epochs are not affected, and a dropped future ends no epoch.
    ///
    /// The sender waits for every append in flight, begins another epoch and resends in order. An append that failed
    /// although a later one of its sender was stored is not resent, because that would change the order: the records are
    /// in the log already, or the sender reports them as failed. An engine that ignores epochs is correct with a window of 1;
    /// with a larger one, such reports become more frequent.
    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendAck>>;

    /// Appends one batch as [`Engine::append`] does, if the partition ends at this offset: the check and the append are one
    /// step. Otherwise [`crate::ErrorKind::ConditionFailed`] with the [actual end](crate::append_condition::NotAtEnd) as
    /// source.
    ///
    /// A batch names its producer, so that a retry is idempotent: one that is stored already succeeds, wherever the
    /// partition ends now.
    ///
    /// Engines without [`Capabilities::conditional_appends`] keep this default.
    fn append_at(&self, request: AppendRequest, end: i64) -> BoxFuture<'_, Result<AppendAck>> {
        let _ = (request, end);
        refuse("conditional appends", self.info())
    }

    /// Opens a read position.
    fn open(&self, request: ReadRequest) -> BoxFuture<'_, Result<Box<dyn BatchReader>>>;

    /// First and next offset of a partition.
    fn watermarks(&self, of: TopicPartition) -> BoxFuture<'_, Result<Watermarks>>;

    /// Log end: the offset that the next record will get, at or above the high watermark. Engines without the distinction
    /// keep this default.
    fn log_end(&self, of: TopicPartition) -> BoxFuture<'_, Result<i64>> {
        Box::pin(async move { Ok(self.watermarks(of).await?.high) })
    }

    /// Offset of the first record whose time is at or after `timestamp` (milliseconds since the Unix epoch); `None`
    /// when there is no such record yet.
    fn offset_for_time(&self, of: TopicPartition, timestamp: i64) -> BoxFuture<'_, Result<Option<i64>>>;

    /// Stores, for a group, the offsets of the next records to read. Durable when it returns.
    ///
    /// Engines without [`Capabilities::commit_offsets`] keep the defaults of this and the next three methods.
    fn commit(&self, group: Arc<str>, positions: Vec<(TopicPartition, i64)>) -> BoxFuture<'_, Result<()>> {
        let _ = (group, positions);
        refuse(STORED_OFFSETS, self.info())
    }

    /// The stored offset of the next record to read.
    fn committed(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<Option<i64>>> {
        let _ = (group, at);
        refuse(STORED_OFFSETS, self.info())
    }

    /// Stored offsets of one group, or of all groups.
    fn list_committed(&self, group: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<CommittedOffset>>> {
        let _ = group;
        refuse(STORED_OFFSETS, self.info())
    }

    /// Deletes a stored offset. Deleting a missing one succeeds.
    fn forget(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<()>> {
        let _ = (group, at);
        refuse(STORED_OFFSETS, self.info())
    }

    /// All topics, ordered by name. Engines without [`Capabilities::list_topics`] keep the defaults of this and of
    /// [`Engine::watch`].
    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        refuse(LIST, self.info())
    }

    /// One topic.
    fn topic(&self, name: Topic) -> BoxFuture<'_, Result<TopicInfo>>;

    /// Creates a topic; records can be appended as soon as this returns.
    fn create_topic(&self, spec: TopicSpec) -> BoxFuture<'_, Result<()>>;

    /// Raises the number of partitions to `total`; the new ones accept appends as soon as this returns. The present number
    /// succeeds, a smaller one is [`crate::ErrorKind::InvalidCommand`]. Records stay in their partitions.
    ///
    /// Engines with a fixed number of partitions keep this default.
    fn add_partitions(&self, name: Topic, total: u32) -> BoxFuture<'_, Result<()>> {
        let _ = (name, total);
        refuse("operation that adds partitions", self.info())
    }

    /// Removes the records of a partition before an offset, which becomes its start. An offset at or before the start
    /// succeeds, one beyond the high watermark is [`crate::ErrorKind::OffsetOutOfRange`].
    ///
    /// Engines that remove records by retention only keep this default.
    fn trim(&self, at: TopicPartition, before: i64) -> BoxFuture<'_, Result<()>> {
        let _ = (at, before);
        refuse("operation that removes the first records of a partition", self.info())
    }

    /// Changes settings of a topic. Idempotent; all changes are made or none.
    ///
    /// Engines whose topics keep the settings of their creation keep this default.
    fn update_topic(&self, name: Topic, update: TopicUpdate) -> BoxFuture<'_, Result<()>> {
        let _ = (name, update);
        refuse("operation that changes the settings of a topic", self.info())
    }

    /// Deletes a topic with its records and the offsets stored for it. Engines without [`Capabilities::delete_topic`] keep
    /// this default.
    fn delete_topic(&self, name: Topic) -> BoxFuture<'_, Result<()>> {
        let _ = name;
        refuse("deletion of topics", self.info())
    }

    /// The topics now, then every change to them.
    fn watch(&self) -> BoxFuture<'_, Result<BoxStream<'static, Result<TopicEvent>>>> {
        refuse(LIST, self.info())
    }

    /// Health of the engine and its nodes.
    fn health(&self) -> BoxFuture<'_, Result<Health>>;

    /// Releases all resources. A second call succeeds.
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}

const STORED_OFFSETS: &str = "stored consumer offsets";
const LIST: &str = "list of topics";

/// Refuses a call for which the engine lacks a capability.
fn refuse<'a, T: Send + 'a>(capability: &'static str, engine: EngineInfo) -> BoxFuture<'a, Result<T>> {
    Box::pin(std::future::ready(Err(crate::Error::unsupported(capability, engine.name))))
}

/// An open read position. The reader fetches only on demand.
pub trait BatchReader: fmt::Debug + Send + 'static {
    /// Returns the next batch, pending while there is none. `None` means that the engine closed the position for good, for
    /// example because the topic was deleted.
    ///
    /// The first batch may begin below the requested offset; the caller drops those records. After an error the caller
    /// opens another reader, with one exception: an error that carries a [`Gap`](crate::gap::Gap) reports records that the
    /// engine has lost, and the next call continues behind them. Engines whose readers cannot tell need not report gaps
    /// between two batches; the caller finds them by the offsets.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the next call returns the batch that this call would have returned.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>>;

    /// Resolves to true once [`BatchReader::next`] has something to return, without reading it, so that a caller can first
    /// reserve memory for it. Resolves to false at once from readers that cannot tell, which is the default. A layer that
    /// wraps readers passes it on.
    ///
    /// # Cancel safety
    /// Cancel safe.
    fn ready(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(false))
    }

    /// The end of the range that was read, once [`BatchReader::next`] returned `None`: all records before this offset were
    /// returned, or dropped by SmartModules. `None` from readers that do not know. A layer that wraps readers passes it on.
    fn looked_up_to(&self) -> Option<i64> {
        None
    }
}

/// Name and capabilities of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineInfo {
    /// Short name used in messages, logs and metrics, such as `embedded`.
    pub name: &'static str,
    /// Capabilities of the engine.
    pub capabilities: Capabilities,
}

impl EngineInfo {
    /// Creates the description of an engine.
    #[must_use]
    pub fn new(name: &'static str, capabilities: Capabilities) -> Self {
        Self { name, capabilities }
    }
}

/// Capabilities of an engine. Few, because each changes the requests that a caller may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// A topic can have more than one partition.
    pub partitions: bool,
    /// Records have offsets: a read can start anywhere, and watermarks are known.
    pub offsets: bool,
    /// Offsets of a partition have no holes: a missing one means a missing record.
    pub dense_offsets: bool,
    /// Offsets can be stored for a group.
    pub commit_offsets: bool,
    /// The topics can be listed and watched.
    pub list_topics: bool,
    /// Topics can be deleted.
    pub delete_topic: bool,
    /// Records keep their keys.
    pub keys: bool,
    /// Records keep their headers.
    pub headers: bool,
    /// Values may be any bytes. Otherwise they must be text that is not empty and does not end in white space.
    pub binary: bool,
    /// A read takes the record away from every other reader.
    pub consuming_reads: bool,
    /// Records can go through SmartModules on their way in and out.
    pub smartmodules: bool,
    /// A topic can be mirrored between clusters, so that a consumer can read the partitions of one.
    pub mirrors: bool,
    /// [`Engine::append_at`] works, and every append of a producer with a [fenced id](crate::producer_id) is
    /// [refused](crate::ErrorKind::Fenced) once a batch of a newer epoch of it is stored.
    pub conditional_appends: bool,
    /// A batch may have been stored without some of its records, by a module that dropped them: a hole within a whole
    /// batch is no loss, even with `dense_offsets`.
    pub sparse_batches: bool,
    /// Appends to one partition that may be in flight at once without losing their order; at least 1.
    pub append_window: usize,
    /// Largest batch in bytes.
    pub max_batch_bytes: usize,
    /// Bytes, before compression, at which a producer closes a batch unless it is told otherwise.
    pub batch_bytes: usize,
}

impl Capabilities {
    /// All capabilities, with one append in flight and the largest batch that the format allows. An engine switches off
    /// those that it lacks.
    pub const FULL: Self = Self {
        partitions: true,
        offsets: true,
        dense_offsets: true,
        commit_offsets: true,
        list_topics: true,
        delete_topic: true,
        keys: true,
        headers: true,
        binary: true,
        consuming_reads: false,
        smartmodules: true,
        mirrors: true,
        conditional_appends: true,
        sparse_batches: false,
        append_window: 1,
        max_batch_bytes: floe_wire::batch::MAX_BATCH_LEN,
        batch_bytes: 64 * 1024,
    };

    /// Returns the capabilities with some of them changed.
    ///
    /// ```
    /// use floe_core::engine::Capabilities;
    ///
    /// let capabilities = Capabilities::FULL.with(|it| it.smartmodules = false);
    /// assert!(capabilities.keys && !capabilities.smartmodules);
    /// ```
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Names and values of the boolean capabilities, for tables.
    #[must_use]
    pub fn flags(&self) -> [(&'static str, bool); 13] {
        [
            ("partitions", self.partitions),
            ("offsets", self.offsets),
            ("dense_offsets", self.dense_offsets),
            ("commit_offsets", self.commit_offsets),
            ("list_topics", self.list_topics),
            ("delete_topic", self.delete_topic),
            ("keys", self.keys),
            ("headers", self.headers),
            ("binary", self.binary),
            ("consuming_reads", self.consuming_reads),
            ("smartmodules", self.smartmodules),
            ("mirrors", self.mirrors),
            ("conditional_appends", self.conditional_appends),
        ]
    }
}

/// The acknowledgement that completes an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Acks {
    /// No acknowledgement; losses are possible.
    None,
    /// The leader has stored the batch.
    #[default]
    Leader,
    /// All in-sync replicas have stored the batch.
    Committed,
}

/// Visibility of records to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Isolation {
    /// All records of the leader.
    #[default]
    ReadUncommitted,
    /// Only records that all in-sync replicas have.
    ReadCommitted,
}

/// A batch to append.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AppendRequest {
    /// The target partition.
    pub target: TopicPartition,
    /// The batch; its base offset is assigned by the engine.
    pub batch: EncodedBatch,
    /// The acknowledgement to wait for.
    pub acks: Acks,
    /// Modules that its records go through before they are stored. Only with [`Capabilities::smartmodules`].
    pub smartmodules: Option<SmartModules>,
    /// Appends that the engine refuses after this one failed, and whose failure refuses this one; see [`Engine::append`].
    pub epoch: AppendEpoch,
}

impl AppendRequest {
    /// Creates a request without SmartModules that belongs to no epoch.
    #[must_use]
    pub fn new(target: TopicPartition, batch: EncodedBatch, acks: Acks) -> Self {
        Self { target, batch, acks, smartmodules: None, epoch: AppendEpoch::default() }
    }

    /// Takes the next place in an epoch. Requests of one epoch are passed to the engine in the order of their places.
    #[must_use]
    pub fn epoch(mut self, epoch: &AppendEpoch) -> Self {
        self.epoch = epoch.next();
        self
    }
}

/// The acknowledgement of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppendAck {
    /// Offset of the first record; `None` on engines without offsets, with [`Acks::None`], and where SmartModules may have
    /// dropped records.
    pub base_offset: Option<i64>,
}

impl AppendAck {
    /// Creates an acknowledgement.
    #[must_use]
    pub fn new(base_offset: Option<i64>) -> Self {
        Self { base_offset }
    }
}

/// Start of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Start {
    /// At the oldest record that is still there.
    Earliest,
    /// After the newest record: only records appended from now on.
    Latest,
    /// At this offset.
    Offset(i64),
}

/// A read position to open.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReadRequest {
    /// The partition to read.
    pub source: TopicPartition,
    /// Start of the read.
    pub from: Start,
    /// About how many bytes to fetch at once. A larger batch is fetched whole all the same.
    pub max_bytes: usize,
    /// Visibility of records.
    pub isolation: Isolation,
    /// Modules that the records go through before they come here. Only with [`Capabilities::smartmodules`].
    pub smartmodules: Option<SmartModules>,
    /// End of the read, exclusive. With modules, which may drop all records before it, the reader ends when no further
    /// record can follow; see [`BatchReader::looked_up_to`].
    pub until: Option<i64>,
    /// Whether the reader ends where the topic has no further record at the moment. Only with
    /// [`Capabilities::consuming_reads`], on an engine without offsets.
    pub stop_when_empty: bool,
}

impl ReadRequest {
    /// Creates a read of uncommitted records, about 1 MiB at once, without SmartModules.
    #[must_use]
    pub fn new(source: TopicPartition, from: Start) -> Self {
        Self {
            source,
            from,
            max_bytes: 1024 * 1024,
            isolation: Isolation::default(),
            smartmodules: None,
            until: None,
            stop_when_empty: false,
        }
    }

    /// Ends the reader where the topic has no further record at the moment.
    #[must_use]
    pub fn stop_when_empty(mut self, stop: bool) -> Self {
        self.stop_when_empty = stop;
        self
    }

    /// Sets about how many bytes to fetch at once.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets the visibility of records.
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Sets the end of the read, exclusive.
    #[must_use]
    pub fn until(mut self, offset: Option<i64>) -> Self {
        self.until = offset;
        self
    }
}

/// First and next offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Watermarks {
    /// Offset of the oldest record that is still there.
    pub start: i64,
    /// High watermark: the end of the records that readers may see.
    pub high: i64,
    /// Bytes stored, where the engine knows.
    pub size_bytes: Option<u64>,
}

impl Watermarks {
    /// Creates the watermarks of a partition.
    #[must_use]
    pub fn new(start: i64, high: i64, size_bytes: Option<u64>) -> Self {
        Self { start, high, size_bytes }
    }

    /// Returns the number of offsets between the watermarks; the number of records where offsets are dense.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.lag(self.start).unwrap_or(0)
    }

    /// Returns the lag of a reader: the number of offsets from its next one to the high watermark. None if it is beyond that.
    #[must_use]
    pub fn lag(&self, next: i64) -> Option<u64> {
        u64::try_from(self.high.saturating_sub(next)).ok()
    }
}

/// A stored consumer offset.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommittedOffset {
    /// The group that stored it.
    pub group: Arc<str>,
    /// The partition it belongs to.
    pub at: TopicPartition,
    /// Offset of the next record to read.
    pub next: i64,
    /// When it was stored, milliseconds since the Unix epoch, where the engine knows.
    pub modified_at: Option<i64>,
}

impl CommittedOffset {
    /// Creates a stored offset whose time is unknown.
    #[must_use]
    pub fn new(group: impl Into<Arc<str>>, at: TopicPartition, next: i64) -> Self {
        Self { group: group.into(), at, next, modified_at: None }
    }

    /// Sets when it was stored.
    #[must_use]
    pub fn modified_at(mut self, milliseconds: Option<i64>) -> Self {
        self.modified_at = milliseconds;
        self
    }
}

/// Refuses SmartModules, for engines without them.
///
/// # Errors
/// [`crate::ErrorKind::Unsupported`] if there are some.
pub fn refuse_smartmodules(modules: Option<&SmartModules>, engine: &'static str) -> Result<()> {
    modules.map_or(Ok(()), |modules| crate::smartmodule::check(modules, engine, false))
}

/// Checks a value for engines without [`Capabilities::binary`]: UTF-8, not empty, no white space at its end.
///
/// # Errors
/// [`crate::ErrorKind::InvalidCommand`] that names the rule.
pub fn check_text(value: &[u8]) -> Result<()> {
    let rule = match std::str::from_utf8(value) {
        Err(_) => "the value is not UTF-8; the engine carries text only",
        Ok("") => "the value is empty; the engine carries no empty values",
        Ok(text) if text.ends_with(char::is_whitespace) => {
            "the value ends in white space, which the engine would drop"
        }
        Ok(_) => return Ok(()),
    };
    Err(crate::Error::new(crate::ErrorKind::InvalidCommand, rule))
}
