//! The engine of `walrus://`: a cluster of distributed Walrus nodes.
//!
//! ```text
//!  append ─► TopicAppender ─► pool of a node ─► connection    entries of a topic in order
//!  next   ─► TopicFetcher  ─► pool of a node ─► connection    unread batches stay in the fetcher
//!                 └─► journal (a local log), if the URL names one
//! ```
//!
//! | file | holds |
//! | --- | --- |
//! | `options` | the options of a URL |
//! | `cluster`, `balance` | the nodes, the leaders of topics, load balancing |
//! | `pool`, `link`, `pipelined` | connections: pool of a node, handshake, pipelined requests |
//! | `append` | appends: the order of a topic |
//! | `topic_fetcher`, `reader`, `dedup` | reads of a topic; detection of duplicate and missing batches |
//! | `plain_framing` | records as plain text entries |
//! | `journal` | reads that survive a restart |
//! | `errors` | the mapping of server errors |
//!
//! The [`Capabilities`] report the limits of Walrus: a topic is one sequence without partitions, offsets or replay, a read
//! takes an entry away from every other reader, and topics can be neither listed nor deleted.

mod append;
mod balance;
mod cluster;
mod dedup;
mod errors;
#[cfg(feature = "journal")]
mod journal;
#[cfg(not(feature = "journal"))]
#[path = "journal_absent.rs"]
mod journal;
mod link;
mod options;
mod pipelined;
mod plain_framing;
mod pool;
mod reader;
mod topic_fetcher;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use floe_core::{
    Error, ErrorKind, Result,
    dial::{Dial, TcpDial},
    engine::{
        AppendAck, AppendRequest, BatchReader, Capabilities, CommittedOffset, Engine, EngineInfo, Health,
        ReadRequest, Start, Watermarks, refuse_smartmodules,
    },
    setting::Section,
    topic::{Topic, TopicInfo, TopicPartition, TopicSpec},
    url::EngineUrl,
};
use floe_wire::{
    batch::HEADER_LEN,
    walrus::{MAX_TOPIC_LEN, max_packed_batch, max_plain_value},
};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{sync::watch, task::AbortHandle};

use self::{
    append::{QUEUE_DEPTH, TopicAppender},
    cluster::Cluster,
    journal::Journal,
    reader::{JournaledReader, WalrusReader},
    topic_fetcher::TopicFetcher,
};

pub use balance::{Balance, Balancing, Candidate, ConsistentHash, LeastConnections, RoundRobin};
pub use options::{Framing, WalrusOptions};

/// Name of the engine.
const NAME: &str = "walrus";

/// Largest batch of the plain framing, whose records are sent one by one: that of one value as large as a frame of 65,536
/// bytes allows beside `PUT`, the longest topic name and their spaces.
const MAX_PLAIN_BATCH: usize = MAX_PLAIN_VALUE + HEADER_LEN + 16;

/// Largest value of the plain framing.
const MAX_PLAIN_VALUE: usize = max_plain_value(MAX_TOPIC_LEN);

/// Idle appenders that are kept.
const MAX_IDLE_TOPICS: usize = 1024;

/// Topics in a cluster of distributed Walrus nodes. Connect with `floe::Client::connect`, or with
/// [`WalrusEngine::connect_with`] and `floe::Client::from_engine` to supply a dialler.
pub struct WalrusEngine {
    cluster: Arc<Cluster>,
    options: Arc<WalrusOptions>,
    journal: Option<Arc<Journal>>,
    appenders: Mutex<HashMap<Topic, Arc<TopicAppender>>>,
    fetchers: Mutex<HashMap<Topic, Arc<TopicFetcher>>>,
    counters: Arc<WalrusCounters>,
    closing: watch::Sender<bool>,
    closed: AtomicBool,
    upkeep: AbortHandle,
}

/// Counters behind [`WalrusStats`].
#[derive(Debug, Default)]
struct WalrusCounters {
    unanswered_reads: AtomicU64,
    missing_records: AtomicU64,
    duplicate_batches: AtomicU64,
    late_batches: AtomicU64,
}

/// Counters of reads; see [`WalrusEngine::stats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WalrusStats {
    /// Reads without a reply. Each may have taken an entry, which is lost then.
    pub unanswered_reads: u64,
    /// Records that are missing between two batches of one producer: taken by another reader, or skipped by the
    /// server.
    pub missing_records: u64,
    /// Duplicate batches, which the consumer or the journal drops.
    pub duplicate_batches: u64,
    /// Batches that arrived after later ones of the same producer.
    pub late_batches: u64,
}

impl WalrusEngine {
    /// Returns the TCP dialler for Walrus nodes, with quick acknowledgements: nodes reply in several segments with Nagle's
    /// algorithm on.
    #[must_use]
    pub fn tcp() -> TcpDial {
        TcpDial::default().quick_ack(true)
    }

    /// Connects over TCP to the cluster that the URL names. One node that answers is enough.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for invalid options; [`ErrorKind::ConnectionRefused`],
    /// [`ErrorKind::ConnectionTimeout`] and the like when no node can be reached; errors of the journal.
    pub async fn connect(url: &EngineUrl) -> Result<Self> {
        // Without quick acknowledgements every reply takes 40 ms: the server sends it in two small segments.
        Self::connect_with(url, Arc::new(Self::tcp())).await
    }

    /// Connects as [`WalrusEngine::connect`], over connections that `dial` opens.
    ///
    /// # Errors
    /// As [`WalrusEngine::connect`].
    pub async fn connect_with(url: &EngineUrl, dial: Arc<dyn Dial>) -> Result<Self> {
        let options = WalrusOptions::from_url(url).map_err(|error| error.with_engine(NAME))?;
        Self::open_with(url, options, dial).await
    }

    /// Connects as [`WalrusEngine::connect_with`], with options in place of those of the URL.
    ///
    /// # Errors
    /// As [`WalrusEngine::connect`].
    pub async fn open_with(url: &EngineUrl, options: WalrusOptions, dial: Arc<dyn Dial>) -> Result<Self> {
        options.check().map_err(|error| error.with_engine(NAME))?;
        let options = Arc::new(options);
        let journal = match &options.journal {
            Some(path) => Some(Journal::open(path).await?),
            None => None,
        };
        let cluster = Arc::new(Cluster::new(&url.hosts, &dial, &options));
        cluster.connect().await.map_err(|error| error.with_engine(NAME).with_operation("connect"))?;
        let upkeep = tokio::spawn(Arc::clone(&cluster).maintain()).abort_handle();
        Ok(Self {
            cluster,
            options,
            journal,
            appenders: Mutex::default(),
            fetchers: Mutex::default(),
            counters: Arc::default(),
            closing: watch::Sender::new(false),
            closed: AtomicBool::new(false),
            upkeep,
        })
    }

    /// Returns the counters of reads.
    #[must_use]
    pub fn stats(&self) -> WalrusStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WalrusStats {
            unanswered_reads: of(&self.counters.unanswered_reads),
            missing_records: of(&self.counters.missing_records),
            duplicate_batches: of(&self.counters.duplicate_batches),
            late_batches: of(&self.counters.late_batches),
        }
    }

    fn capabilities(&self) -> Capabilities {
        let packed = self.options.framing == Framing::Packed;
        let journaled = self.journal.is_some();
        let mut capabilities = Capabilities::FULL;
        capabilities.partitions = false;
        capabilities.offsets = journaled;
        capabilities.dense_offsets = journaled;
        capabilities.commit_offsets = journaled;
        capabilities.list_topics = false;
        capabilities.delete_topic = false;
        capabilities.keys = packed;
        capabilities.headers = packed;
        capabilities.binary = packed;
        capabilities.consuming_reads = true;
        capabilities.smartmodules = false;
        capabilities.mirrors = false;
        capabilities.conditional_appends = false;
        capabilities.sparse_batches = false;
        capabilities.append_window = if packed { QUEUE_DEPTH } else { 1 };
        capabilities.max_batch_bytes = if packed { max_packed_batch(MAX_TOPIC_LEN) } else { MAX_PLAIN_BATCH };
        capabilities
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::closed("client")) } else { Ok(()) }
    }

    /// Checks a partition without IO.
    fn check_partition(&self, at: &TopicPartition) -> Result<()> {
        self.check_open()?;
        floe_wire::walrus::check_topic(at.topic.as_str()).map_err(errors::request)?;
        if at.partition == 0 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::PartitionNotFound, "a Walrus topic has only partition 0"))
    }

    async fn append_batch(&self, request: AppendRequest) -> Result<AppendAck> {
        refuse_smartmodules(request.smartmodules.as_ref(), NAME)?;
        self.check_partition(&request.target)?;
        let appender = self.appender(&request.target.topic)?;
        appender.append(&request, self.options.framing).await?;
        Ok(AppendAck::new(None))
    }

    fn appender(&self, topic: &Topic) -> Result<Arc<TopicAppender>> {
        let mut appenders = self.appenders.lock();
        // Checked under the lock, so that a close cannot miss an appender.
        self.check_open()?;
        if let Some(appender) = appenders.get(topic) {
            return Ok(Arc::clone(appender));
        }
        if appenders.len() >= MAX_IDLE_TOPICS {
            appenders.retain(|_, appender| Arc::strong_count(appender) > 1);
        }
        let name = Arc::from(topic.as_str());
        let appender = TopicAppender::start(Arc::clone(&self.cluster), Arc::clone(&self.options), name);
        appenders.insert(topic.clone(), Arc::clone(&appender));
        Ok(appender)
    }

    fn fetcher(&self, topic: &Topic) -> Arc<TopicFetcher> {
        let mut fetchers = self.fetchers.lock();
        let new = || {
            TopicFetcher::new(
                Arc::from(topic.as_str()),
                Arc::clone(&self.cluster),
                Arc::clone(&self.options),
                Arc::clone(&self.counters),
                self.closing.subscribe(),
            )
        };
        Arc::clone(fetchers.entry(topic.clone()).or_insert_with(new))
    }

    async fn open_reader(&self, request: ReadRequest) -> Result<Box<dyn BatchReader>> {
        refuse_smartmodules(request.smartmodules.as_ref(), NAME)?;
        self.check_partition(&request.source)?;
        let topic = request.source.topic.clone();
        let Some(journal) = &self.journal else {
            if let Start::Offset(_) = request.from {
                return Err(Error::unsupported("offsets", NAME));
            }
            self.cluster.state_of(&Arc::from(topic.as_str())).await?;
            return Ok(Box::new(WalrusReader::new(self.fetcher(&topic), &request)));
        };
        self.journal_of(&topic).await?;
        let max_bytes = request.max_bytes;
        let log = journal.read(request).await?;
        let reader = JournaledReader::new(log, Arc::clone(journal), self.fetcher(&topic), max_bytes);
        Ok(Box::new(reader))
    }

    /// Returns the journal, after it has created the topic there if the cluster has it.
    async fn journal_of(&self, topic: &Topic) -> Result<&Journal> {
        let Some(journal) = &self.journal else { return Err(Error::unsupported("offsets", NAME)) };
        self.check_open()?;
        if !journal.knows(topic) {
            self.cluster.state_of(&Arc::from(topic.as_str())).await?;
            journal.add(topic).await?;
        }
        Ok(journal)
    }

    /// Returns the journal for calls about stored offsets.
    fn offsets(&self) -> Result<&Journal> {
        self.journal.as_deref().ok_or_else(|| Error::unsupported("stored consumer offsets", NAME))
    }

    async fn describe(&self, name: Topic) -> Result<TopicInfo> {
        self.check_partition(&name.partition(0))?;
        self.cluster.state_of(&Arc::from(name.as_str())).await?;
        Ok(TopicInfo::new(name, 1))
    }

    async fn create(&self, spec: TopicSpec) -> Result<()> {
        self.check_open()?;
        spec.validate()?;
        spec.refuse_cluster_settings(NAME)?;
        if spec.partitions > 1 {
            return Err(Error::unsupported("partitions", NAME));
        }
        if spec.durability.is_some() {
            return Err(Error::unsupported("choice of durability", NAME));
        }
        if spec.retention_age.is_some() || spec.retention_bytes.is_some() || spec.segment_bytes.is_some() {
            return Err(Error::unsupported("retention or segment size for a topic", NAME));
        }
        // REGISTER answers OK for an existing topic.
        match self.cluster.state_of(&Arc::from(spec.name.as_str())).await {
            Ok(_) => {
                return Err(Error::new(ErrorKind::TopicAlreadyExists, format!("{} exists", spec.name)));
            }
            Err(error) if error.kind() == ErrorKind::TopicNotFound => {}
            Err(error) => return Err(error),
        }
        self.cluster.register(spec.name.as_str()).await
    }

    async fn shut_down(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.closing.send_replace(true);
        self.upkeep.abort();
        self.appenders.lock().clear();
        let fetchers = std::mem::take(&mut *self.fetchers.lock());
        let mut lost = Ok(());
        if self.journal.is_none() {
            let mut fetchers: Vec<_> = fetchers.iter().collect();
            fetchers.sort_by_key(|(topic, _)| *topic);
            for (topic, fetcher) in fetchers {
                let batches = fetcher.finish().await;
                if batches > 0 {
                    tracing::warn!(%topic, batches, "batches were taken from the cluster and not read: they are lost");
                    let message =
                        format!("{batches} batches were taken from the cluster and not read: they are lost");
                    lost = Err(Error::new(ErrorKind::Gap, message).with_topic(topic));
                }
            }
        }
        drop(fetchers);
        self.cluster.close();
        match &self.journal {
            Some(journal) => journal.log().close().await,
            None => lost,
        }
    }
}

impl Drop for WalrusEngine {
    fn drop(&mut self) {
        self.upkeep.abort();
    }
}

impl fmt::Debug for WalrusEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalrusEngine")
            .field("framing", &self.options.framing)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Engine for WalrusEngine {
    fn info(&self) -> EngineInfo {
        EngineInfo::new(NAME, self.capabilities())
    }

    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendAck>> {
        Box::pin(self.append_batch(request))
    }

    fn open(&self, request: ReadRequest) -> BoxFuture<'_, Result<Box<dyn BatchReader>>> {
        Box::pin(self.open_reader(request))
    }

    fn watermarks(&self, of: TopicPartition) -> BoxFuture<'_, Result<Watermarks>> {
        Box::pin(async move { self.journal_of(&of.topic).await?.log().watermarks(of).await })
    }

    fn offset_for_time(&self, of: TopicPartition, timestamp: i64) -> BoxFuture<'_, Result<Option<i64>>> {
        Box::pin(async move { self.journal_of(&of.topic).await?.log().offset_for_time(of, timestamp).await })
    }

    fn commit(&self, group: Arc<str>, positions: Vec<(TopicPartition, i64)>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.offsets()?.commit(group, positions).await })
    }

    fn committed(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<Option<i64>>> {
        Box::pin(async move { self.offsets()?.log().committed(group, at).await })
    }

    fn list_committed(&self, group: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<CommittedOffset>>> {
        Box::pin(async move { self.offsets()?.log().list_committed(group).await })
    }

    fn forget(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.offsets()?.log().forget(group, at).await })
    }

    fn topic(&self, name: Topic) -> BoxFuture<'_, Result<TopicInfo>> {
        Box::pin(self.describe(name))
    }

    fn create_topic(&self, spec: TopicSpec) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.create(spec))
    }

    fn health(&self) -> BoxFuture<'_, Result<Health>> {
        Box::pin(async move {
            self.check_open()?;
            Ok(self.cluster.health().await)
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.shut_down())
    }
}
