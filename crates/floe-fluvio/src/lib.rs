//! The engine of `fluvio://`: a client of Fluvio clusters over their own protocol.
//!
//! | file | holds |
//! | --- | --- |
//! | `options`, `pem`, `profile` | the options; certificates and keys; Fluvio's own profile file |
//! | `server`, `mux`, `recv_buffers`, `tls` | one server: handshake, multiplexed connections, receive buffers, TLS |
//! | `cluster`, `metadata` | topics, partitions and data servers as reported by the controller, kept current |
//! | `router` | the data server that leads a partition, and the connections to it |
//! | `append` | appends: the order of a partition, requests shared by many partitions |
//! | `conditional_append` | appends to a partition that ends at an offset, which `floe serve` offers |
//! | `reader`, `stream_pool` | reads of one partition; the connections that readers share |
//! | `log_end` | the end of the leader's log, above the high watermark |
//! | `offset_for_time` | lookup of the first record since a time |
//! | `offsets` | stored consumer offsets |
//! | `topics`, `topic_watch` | topics, and changes to them |
//! | `smartmodules` | SmartModules as requests carry them |
//! | `admin`, `object_watch` | Fluvio's own administration: data servers, SmartModules, all settings of topics |
//! | `errors` | the table of error codes |
//!
//! Data servers do not need the controller: while it is unreachable, reads and appends go on with the known metadata.

mod admin;
mod append;
mod cluster;
mod conditional_append;
mod errors;
mod log_end;
mod metadata;
mod mux;
mod object_watch;
mod offset_for_time;
mod offsets;
mod options;
mod pem;
pub mod profile;
mod reader;
mod recv_buffers;
mod router;
mod server;
mod smartmodules;
mod stream_pool;
mod tls;
mod topic_watch;
mod topics;

use std::{fmt, sync::Arc};

pub use admin::FluvioAdmin;
use append::AppendsByPartition;
use floe_core::{
    Error, ErrorKind, Result,
    dial::{Dial, TcpDial},
    engine::{
        AppendAck, AppendRequest, BatchReader, Capabilities, CommittedOffset, Engine, EngineInfo, Health,
        Isolation, NodeHealth, Placement, ReadRequest, Start, Watermarks,
    },
    process,
    setting::Section,
    topic::{Topic, TopicEvent, TopicInfo, TopicPartition, TopicSpec},
    units::count,
    url::{EngineUrl, Scheme},
};
/// The objects of a Fluvio controller, for [`FluvioAdmin`].
pub use floe_wire::fluvio as objects;
use floe_wire::fluvio::{ConditionalAppendRequest, FetchOffsetsRequest, Request as _, SpuStatus};
use futures_util::{
    future::{BoxFuture, try_join_all},
    stream::BoxStream,
};
use metadata::Metadata;
pub use object_watch::ObjectEvent;
use offsets::CommitSessions;
pub use options::FluvioOptions;
use reader::{ReadPosition, StreamReader};
use router::{AppendRoutes, Router};
use server::{Address, Connector, Server};
pub use server::{ConnectionState, ServerConnection};
use tokio::sync::watch as channel;

pub use crate::pem::Pem;
use crate::tls::Tls;

/// Topics in a Fluvio cluster. Cheap to clone; all clones share their connections.
///
/// Applications reach it through `floe::Client`. Opened directly, it gives access to the [administration](FluvioAdmin) of
/// Fluvio clusters; `floe::Client::from_engine` wraps it in a client.
#[derive(Clone)]
pub struct FluvioEngine {
    inner: Arc<EngineShared>,
}

struct EngineShared {
    name: String,
    window: usize,
    /// Whether the cluster announces conditional appends: `floe serve` does.
    conditional_appends: bool,
    router: Arc<Router>,
    routes: Arc<AppendRoutes>,
    appends: AppendsByPartition,
    sessions: CommitSessions,
    /// True once the engine was closed. A dropped sender counts as closed.
    closed: channel::Sender<bool>,
}

impl FluvioEngine {
    /// Connects to the controller that a `fluvio:` URL names.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for an invalid option; [`ErrorKind::ConnectionRefused`],
    /// [`ErrorKind::ConnectionTimeout`] or [`ErrorKind::NetworkError`] if no controller answers;
    /// [`ErrorKind::Unsupported`] if the cluster is too old or too new.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::open(&url.parse()?, Arc::new(Self::tcp())).await
    }

    /// Returns the TCP dialler for Fluvio servers, with quick acknowledgements. Data servers write a slice of the log in many
    /// segments with Nagle's algorithm on: a delayed acknowledgement would hold up the last segment of every other slice by
    /// 40 ms.
    #[must_use]
    pub fn tcp() -> TcpDial {
        TcpDial::default().quick_ack(true)
    }

    /// Connects as [`FluvioEngine::connect`], over connections that `dial` opens.
    ///
    /// # Errors
    /// As [`FluvioEngine::connect`].
    pub async fn connect_over(url: &str, dial: Arc<dyn Dial>) -> Result<Self> {
        Self::open(&url.parse()?, dial).await
    }

    /// Connects as [`FluvioEngine::connect_over`], with a parsed URL.
    ///
    /// # Errors
    /// As [`FluvioEngine::connect`].
    pub async fn open(url: &EngineUrl, dial: Arc<dyn Dial>) -> Result<Self> {
        let options = FluvioOptions::from_url(url)?;
        Self::open_with(url, options, dial).await
    }

    /// Connects as [`FluvioEngine::open`], with options in place of those of the URL.
    ///
    /// # Errors
    /// As [`FluvioEngine::connect`].
    pub async fn open_with(url: &EngineUrl, options: FluvioOptions, dial: Arc<dyn Dial>) -> Result<Self> {
        let (url, options) = profile::resolve(url, options)?;
        let url = &*url;
        options.check()?;
        if url.hosts.is_empty() || url.topic.is_some() {
            let message = format!("{url}: write fluvio://HOST:PORT of the controller, without a topic");
            return Err(Error::new(ErrorKind::InvalidConfig, message));
        }
        let tls = match url.scheme {
            Scheme::FluvioTls => Some(Tls::new(&options)?),
            _ => options.check_plain().map(|()| None)?,
        };
        let window = count(options.window);
        let connector = Arc::new(Connector { dial, tls, settings: options });
        let controllers = url
            .hosts
            .iter()
            .map(|endpoint| {
                let address = Address { endpoint: endpoint.clone(), name: None };
                Server::new(address, Arc::clone(&connector))
            })
            .collect();
        let metadata = Arc::new(Metadata::new(controllers));
        let link = metadata.new_controller_link().await;
        let link = link.map_err(|error| error.with_engine("fluvio").with_operation("connect"))?;
        let conditional_appends = link.versions.range(ConditionalAppendRequest::KEY).is_some();
        tracing::debug!(endpoint = %link.endpoint, platform = link.versions.platform(), "connected to a cluster");
        let (closed, was_closed) = channel::channel(false);
        let mut ended = was_closed.clone();
        let following = Arc::clone(&metadata).follow(Some(link));
        tokio::spawn(process::inherit(async move {
            tokio::select! {
                biased;
                // A dropped engine counts as closed.
                _ = ended.wait_for(|closed| *closed) => {}
                () = following => {}
            }
        }));
        if !metadata.wait_for(cluster::Cluster::is_complete).await {
            // Lookups ask for topics by name then.
            tracing::warn!("the controller has not sent the metadata of the cluster yet");
        }
        let router = Router::new(metadata, connector, was_closed);
        let inner = EngineShared {
            name: url.to_string(),
            window,
            conditional_appends,
            routes: Arc::new(AppendRoutes(Arc::clone(&router))),
            router,
            appends: AppendsByPartition::default(),
            sessions: CommitSessions::default(),
            closed,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn check_open(&self) -> Result<()> {
        if *self.inner.closed.borrow() { Err(Error::closed("engine")) } else { Ok(()) }
    }

    fn metadata(&self) -> &Arc<Metadata> {
        &self.inner.router.metadata
    }

    async fn append_batch(&self, request: AppendRequest) -> Result<AppendAck> {
        self.check_open()?;
        check(&request.batch)?;
        let partition = self.inner.appends.get(&request.target);
        // Nothing is awaited before this, because the order is that of the first polls.
        let modules = request.smartmodules.clone();
        let outcome = match partition.append(request, &self.inner.routes).await {
            Err(error) if error.kind() == ErrorKind::ModuleNotFound => {
                Err(self.metadata().judge_missing_module(error, modules.as_deref().unwrap_or_default()).await)
            }
            outcome => outcome,
        };
        if let Err(error) = &outcome
            && matches!(error.kind(), ErrorKind::TopicNotFound | ErrorKind::PartitionNotFound)
        {
            self.inner.appends.forget(&partition);
        }
        outcome
    }

    async fn open_reader(&self, request: ReadRequest) -> Result<Box<dyn BatchReader>> {
        self.check_open()?;
        let ReadRequest { source, from, max_bytes, isolation, smartmodules, until, .. } = request;
        let smartmodules = smartmodules::invocations(smartmodules.as_deref().unwrap_or_default())?;
        let router = &self.inner.router;
        let spu = router.leader(&source).await?;
        let marks = watermarks(router, &source).await?;
        let next = match from {
            Start::Earliest => marks.start,
            Start::Latest => marks.high,
            Start::Offset(offset) if offset < marks.start => return Err(out_of_range(offset, marks)),
            Start::Offset(offset) if offset > marks.high => {
                // The log of a replicated leader may reach beyond its high watermark.
                let replicated = self.metadata().cluster().replicas(&source) > 1;
                match isolation {
                    Isolation::ReadUncommitted if replicated => offset,
                    Isolation::ReadUncommitted | Isolation::ReadCommitted => {
                        return Err(out_of_range(offset, marks));
                    }
                }
            }
            Start::Offset(offset) => offset,
        };
        // The server cannot report that the reader has reached an end beyond its log.
        let until = until.filter(|until| *until <= marks.high && !smartmodules.is_empty());
        let at = ReadPosition { source, next, max_bytes, isolation, smartmodules, until };
        let reader = StreamReader::open(Arc::clone(router), spu, at, self.inner.closed.subscribe()).await?;
        Ok(Box::new(reader))
    }

    async fn check_health(&self) -> Result<Health> {
        self.check_open()?;
        let mut nodes = Vec::new();
        for slot in &self.metadata().controllers {
            let asked = match slot.link().await {
                Ok(link) => {
                    let state = format!("controller, platform {}", link.versions.platform());
                    let request = crate::mux::handshake_request();
                    link.call(&request, slot.server.settings().connect_timeout).await.map(|_| state)
                }
                Err(error) => Err(error),
            };
            let name = slot.server.address.endpoint.to_string();
            let (ready, state) = match asked {
                Ok(state) => (true, state),
                Err(error) => (false, format!("controller: {}", error.message())),
            };
            nodes.push(NodeHealth::new(name, ready, state).leads(ready.then_some(true)));
        }
        // One controller is enough: a cluster has one at a time. Without any, data may flow all the same.
        let controlled = nodes.iter().any(|node| node.ready);
        let settings = &self.inner.router.connector.settings;
        let servers: Vec<_> = {
            let cluster = self.metadata().cluster();
            let servers = cluster.servers(settings.spu_local).into_iter();
            servers.map(|(id, address, status)| (id, address, status, cluster.led_by(id))).collect()
        };
        let mut serving = false;
        for (id, address, status, led) in servers {
            // A status that an unreachable controller reported last proves nothing.
            let answer = match &address {
                Some(address) if !controlled => Some(self.inner.router.ask(id, address.clone()).await),
                _ => None,
            };
            let ready = answer.as_ref().map_or(status == SpuStatus::Online, Result::is_ok);
            serving |= ready;
            let name =
                address.map_or_else(|| format!("data server {id}"), |found| found.endpoint.to_string());
            let partitions = if led == 1 { "partition" } else { "partitions" };
            let condition = match &answer {
                None => format!("{status:?}"),
                Some(Ok(())) => "answers".to_owned(),
                Some(Err(error)) => error.message().to_owned(),
            };
            let state = format!("data server {id}: {condition}, leads {led} {partitions}");
            nodes.push(NodeHealth::new(name, ready, state).leads(Some(false)));
        }
        Ok(Health::new(serving, nodes))
    }
}

/// Asks the leader of a partition for its first and next offset.
async fn watermarks(router: &Arc<Router>, of: &TopicPartition) -> Result<Watermarks> {
    let request = FetchOffsetsRequest::of_partition(of.topic.as_str(), of.partition);
    let reply = router.call(of, &request).await?;
    let found = reply.topics.into_iter().flat_map(|topic| topic.partitions).next();
    let found = found
        .filter(|offsets| offsets.partition == of.partition)
        .ok_or_else(|| Error::new(ErrorKind::ProtocolError, "the reply lacks the requested partition"))?;
    router.learn(of, errors::check(found.error_code))?;
    let size_bytes = router.metadata.cluster().size_bytes(of);
    Ok(Watermarks::new(found.start_offset, found.last_stable_offset, size_bytes))
}

fn out_of_range(offset: i64, marks: Watermarks) -> Error {
    let message = format!("offset {offset}: the partition holds {} up to {}", marks.start, marks.high);
    Error::new(ErrorKind::OffsetOutOfRange, message)
}

/// Refuses batches that would harm the server: it stops writing to a partition after an empty batch, and crashes on a
/// schema id.
fn check(batch: &floe_wire::batch::EncodedBatch) -> Result<()> {
    let header = batch.header();
    let problem = if header.last_offset_delta < 0 {
        "a batch without records"
    } else if header.attributes.has_schema() {
        "a batch with a schema id"
    } else if batch.len() > floe_wire::batch::MAX_BATCH_LEN {
        let message =
            format!("{} bytes in a batch: at most {}", batch.len(), floe_wire::batch::MAX_BATCH_LEN);
        return Err(Error::new(ErrorKind::RecordTooLarge, message));
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidCommand, format!("{problem} cannot be appended")))
}

impl fmt::Debug for FluvioEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FluvioEngine").field("cluster", &self.inner.name).finish_non_exhaustive()
    }
}

impl Engine for FluvioEngine {
    fn info(&self) -> EngineInfo {
        let mut capabilities = Capabilities::FULL;
        capabilities.append_window = self.inner.window;
        capabilities.conditional_appends = self.inner.conditional_appends;
        capabilities.sparse_batches = true;
        // A data server spends more on each batch than on the bytes in it.
        capabilities.batch_bytes = 256 * 1024;
        EngineInfo::new("fluvio", capabilities)
    }

    fn endpoint(&self, at: Option<&TopicPartition>) -> Option<Arc<str>> {
        self.inner.router.endpoint(at)
    }

    fn placement(&self, of: &TopicPartition) -> Option<Placement> {
        self.metadata().cluster().placement(of)
    }

    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendAck>> {
        Box::pin(self.append_batch(request))
    }

    fn append_at(&self, request: AppendRequest, end: i64) -> BoxFuture<'_, Result<AppendAck>> {
        Box::pin(async move {
            self.check_open()?;
            if !self.inner.conditional_appends {
                return Err(Error::unsupported("conditional appends", "fluvio"));
            }
            check(&request.batch)?;
            conditional_append::append_at(&self.inner.router, request, end).await
        })
    }

    fn open(&self, request: ReadRequest) -> BoxFuture<'_, Result<Box<dyn BatchReader>>> {
        Box::pin(self.open_reader(request))
    }

    fn watermarks(&self, of: TopicPartition) -> BoxFuture<'_, Result<Watermarks>> {
        Box::pin(async move {
            self.check_open()?;
            watermarks(&self.inner.router, &of).await
        })
    }

    fn log_end(&self, of: TopicPartition) -> BoxFuture<'_, Result<i64>> {
        Box::pin(async move {
            self.check_open()?;
            let router = &self.inner.router;
            let high = watermarks(router, &of).await?.high;
            // A partition without replicas commits at once.
            if self.metadata().cluster().replicas(&of) <= 1 {
                return Ok(high);
            }
            log_end::find(router, &of, high).await
        })
    }

    fn offset_for_time(&self, of: TopicPartition, timestamp: i64) -> BoxFuture<'_, Result<Option<i64>>> {
        Box::pin(async move {
            self.check_open()?;
            let marks = watermarks(&self.inner.router, &of).await?;
            offset_for_time::find(&self.inner.router, &of, marks, timestamp).await
        })
    }

    fn commit(&self, group: Arc<str>, positions: Vec<(TopicPartition, i64)>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.check_open()?;
            let EngineShared { sessions, router, .. } = &*self.inner;
            let commits = positions.iter().map(|(at, next)| sessions.commit(router, &group, at, *next));
            try_join_all(commits).await.map(drop)
        })
    }

    fn committed(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<Option<i64>>> {
        Box::pin(async move {
            self.check_open()?;
            let found = offsets::list(&self.inner.router, Some(&group), Some(&at)).await?;
            Ok(found.first().map(|row| row.next))
        })
    }

    fn list_committed(&self, group: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<CommittedOffset>>> {
        Box::pin(async move {
            self.check_open()?;
            offsets::list(&self.inner.router, group.as_deref(), None).await
        })
    }

    fn forget(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.check_open()?;
            offsets::forget(&self.inner.router, &group, &at).await
        })
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        Box::pin(async move {
            self.check_open()?;
            topics::list(self.metadata()).await
        })
    }

    fn topic(&self, name: Topic) -> BoxFuture<'_, Result<TopicInfo>> {
        Box::pin(async move {
            self.check_open()?;
            topics::describe(self.metadata(), &name).await
        })
    }

    fn create_topic(&self, spec: TopicSpec) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.check_open()?;
            topics::create(&self.inner.router, spec).await
        })
    }

    fn add_partitions(&self, name: Topic, total: u32) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.check_open()?;
            topics::add_partitions(&self.inner.router, &name, total).await
        })
    }

    fn delete_topic(&self, name: Topic) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.check_open()?;
            topics::delete(self.metadata(), &name).await
        })
    }

    fn watch(&self) -> BoxFuture<'_, Result<BoxStream<'static, Result<TopicEvent>>>> {
        Box::pin(async move {
            self.check_open()?;
            Ok(topic_watch::watch(Arc::clone(self.metadata()), self.inner.closed.subscribe()))
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health>> {
        Box::pin(self.check_health())
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.inner.closed.send_replace(true);
            self.inner.sessions.close();
            self.inner.router.close().await;
            for slot in &self.metadata().controllers {
                slot.close().await;
            }
            Ok(())
        })
    }
}
