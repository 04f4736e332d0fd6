//! Where everything starts: connecting, and handing out producers, consumers and the admin.
//!
//! A call passes through the layers in this order, outermost first:
//!
//! ```text
//! measurement ──► user layers ──► limits ──► retry ──► breaker ──► timeout ──► error context ──► engine
//! ```
//!
//! User layers stand in the order in which they were added. Retry, breaker and timeout are there for engines on the
//! network, and for others where asked for; limits where asked for. What each leaves alone is said in [`crate::layer`].

mod builder;

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

pub use builder::ClientBuilder;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

#[cfg(feature = "fluvio")]
use crate::engine::fluvio::FluvioAdmin;
use crate::{
    Error, ErrorKind, Result,
    admin::Admin,
    config::Settings,
    consumer::{self, ConsumerBuilder, FetchLimit, Message},
    engine::{EngineInfo, SharedEngine},
    health::{ClientHealth, LastSuccess, QueueHealth},
    layer::{Breakers, Context, Layer},
    producer::{Producer, ProducerBuilder, SharedProducers},
    telemetry::{Telemetry, TelemetryOptions},
    topic::{Topic, TopicPartition},
};

/// How long a close waits that is given a time beyond the clock.
const CLOSE_DEADLINE: Duration = Duration::from_secs(30);

/// A connection to wherever topics live. Cheap to clone; all clones share the engine.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> floe::Result<()> {
/// use floe::{Client, TopicSpec};
///
/// let client = Client::connect("memory:").await?;
/// client.admin().create_topic(TopicSpec::new("orders")).await?;
/// let orders = client.producer("orders").start().await?;
/// let placed = orders.send("one coffee").await?;
/// assert_eq!(placed.offset, Some(0));
/// client.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    engine: SharedEngine,
    /// Administration of the Fluvio cluster that the client was connected to.
    #[cfg(feature = "fluvio")]
    fluvio: Option<FluvioAdmin>,
    telemetry: Telemetry,
    breakers: Option<Breakers>,
    last_success: LastSuccess,
    settings: Settings,
    url: String,
    /// Producers and consumers that are still open, to flush and commit on close.
    open: Mutex<Vec<Weak<dyn CloseWithClient>>>,
    shared_producers: SharedProducers,
}

/// Something that must be closed before the engine is.
pub(crate) trait CloseWithClient: Send + Sync {
    /// Flushes or commits, waiting no longer than `deadline`. Closing twice is success.
    fn close_by(&self, deadline: Instant) -> BoxFuture<'_, Result<()>>;

    /// What waits in it, if anything can.
    fn queue(&self) -> Option<QueueHealth> {
        None
    }
}

impl Client {
    /// Connects to the engine that `url` names; see [`crate::url`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for a URL or an option that makes no sense; for `embedded:` also
    /// [`ErrorKind::StoreInUse`] when another process has the store open, [`ErrorKind::StorageError`] when the path
    /// cannot be used, and [`ErrorKind::CorruptData`] when the store is damaged.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::builder(url).connect().await
    }

    /// A client to be configured before it connects.
    pub fn builder(url: &str) -> ClientBuilder {
        ClientBuilder::new(url)
    }

    /// A client over an engine of the caller's own, without limits, retries and breaker; see [`ClientBuilder::over`].
    #[must_use]
    pub fn over(engine: SharedEngine) -> Self {
        Self::over_telling(engine, TelemetryOptions::default())
    }

    /// As [`Client::over`], telling what `options` say.
    pub(crate) fn over_telling(engine: SharedEngine, options: TelemetryOptions) -> Self {
        let url = format!("{}:", engine.info().name);
        let telemetry = Telemetry::new(options, engine.info().name);
        let last_success = LastSuccess::new();
        let engine = telemetry.around(Context(last_success.clone()).layer(engine));
        let (settings, open, shared_producers) =
            (Settings::default(), Mutex::default(), SharedProducers::default());
        Self::new(Shared {
            engine,
            #[cfg(feature = "fluvio")]
            fluvio: None,
            telemetry,
            breakers: None,
            last_success,
            settings,
            url,
            open,
            shared_producers,
        })
    }

    fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// A producer for a topic, to be configured and started.
    pub fn producer(&self, topic: impl Into<Topic>) -> ProducerBuilder {
        ProducerBuilder::new(self.clone(), topic.into())
    }

    /// The producers that this client shares among its users, one for each topic.
    #[must_use]
    pub fn producers(&self) -> &SharedProducers {
        &self.shared.shared_producers
    }

    /// The producer for a topic that all users of this client share; started with default settings when the first one
    /// asks, or when the last one was closed.
    ///
    /// # Errors
    /// As [`ProducerBuilder::start`].
    pub async fn shared_producer(&self, topic: impl Into<Topic>) -> Result<Producer> {
        self.shared.shared_producers.get(self, &topic.into()).await
    }

    /// A consumer of a topic, to be configured and started.
    pub fn consumer(&self, topic: impl Into<Topic>) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone(), topic.into())
    }

    /// Some records of one partition from offset `from` on, without a consumer. Returns fewer than `limit` allows at the
    /// end of the partition, where it does not wait, and before a gap.
    ///
    /// # Errors
    /// [`ErrorKind::OffsetOutOfRange`] for an offset that the partition does not hold and that is not its end;
    /// [`ErrorKind::Gap`] when the record at `from` is missing or damaged: go on at [`Gap::to`](consumer::Gap::to);
    /// [`ErrorKind::Unsupported`] where the engine has no offsets; [`ErrorKind::TopicNotFound`],
    /// [`ErrorKind::PartitionNotFound`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn fetch(&self, at: TopicPartition, from: i64, limit: FetchLimit) -> Result<Vec<Message>> {
        consumer::fetch_range(self.engine(), at, from, limit).await
    }

    /// Topics: create, delete, list, describe, watch.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// What only a Fluvio cluster has: data servers, SmartModules, all settings of topics. Calls are tried again by the
    /// policy of this client, those that change something only if they had no effect.
    ///
    /// ```no_run
    /// # async fn example() -> floe::Result<()> {
    /// use floe::engine::fluvio::objects::SpuSpec;
    ///
    /// let client = floe::Client::connect("fluvio://localhost:9003").await?;
    /// for spu in client.fluvio()?.list::<SpuSpec>(&[]).await? {
    ///     println!("{} {:?}", spu.name, spu.status);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] on other engines, and for a client over an engine of the caller's own, which has its own
    /// [`FluvioEngine::admin`](crate::engine::FluvioEngine::admin).
    #[cfg(feature = "fluvio")]
    pub fn fluvio(&self) -> Result<&FluvioAdmin> {
        let missing = || Error::unsupported("administration of a Fluvio cluster", self.info().name);
        self.shared.fluvio.as_ref().ok_or_else(missing)
    }

    /// Name and abilities of the engine.
    #[must_use]
    pub fn info(&self) -> EngineInfo {
        self.shared.engine.info()
    }

    /// The URL that this client was connected with. It may hold a key; [`url::shown`](crate::url::shown) is for messages.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// How everything is: engine, servers, queues, breakers. Takes at most 5 seconds (the setting `health.timeout`).
    ///
    /// # Errors
    /// Whatever kept the engine from answering; [`ErrorKind::RequestTimeout`] when it took too long.
    pub async fn health(&self) -> Result<ClientHealth> {
        let engine = &self.shared.engine;
        let settings = &self.shared.settings.health;
        let asked = tokio::time::timeout(settings.timeout, engine.health()).await;
        let health = asked.map_err(|_| {
            let message = format!("no answer within {:?}", settings.timeout);
            Error::new(ErrorKind::RequestTimeout, message)
                .with_engine(engine.info().name)
                .with_operation("health")
        })??;
        let open: Vec<_> = self.shared.open.lock().iter().filter_map(Weak::upgrade).collect();
        let queues = open.iter().filter_map(|item| item.queue()).collect();
        let circuits = self.shared.breakers.as_ref().map(Breakers::troubled).unwrap_or_default();
        let assessed =
            ClientHealth::assess(engine.info().name, health, settings.queue_warning, queues, circuits);
        Ok(ClientHealth { last_success: self.shared.last_success.ago(), ..assessed })
    }

    /// Closes: producers flush, consumers commit, the engine releases everything. Waits at most 30 seconds (the setting
    /// `client.close_timeout`) for deliveries. Closing again is success.
    ///
    /// # Errors
    /// The first thing that failed: records that were not delivered, a commit, the engine. Everything is closed all
    /// the same.
    pub async fn close(&self) -> Result<()> {
        self.close_within(self.shared.settings.client.close_timeout).await
    }

    /// As [`Client::close`], waiting at most `limit` for deliveries and commits.
    ///
    /// # Errors
    /// As [`Client::close`].
    pub async fn close_within(&self, limit: Duration) -> Result<()> {
        let now = Instant::now();
        // A limit beyond what the clock can hold is none, and a close has to end.
        let deadline = now.checked_add(limit).unwrap_or(now + CLOSE_DEADLINE);
        let open = std::mem::take(&mut *self.shared.open.lock());
        let mut outcome = Ok(());
        for item in open.iter().filter_map(Weak::upgrade) {
            outcome = outcome.and(item.close_by(deadline).await);
        }
        outcome.and(self.shared.engine.close().await)
    }

    /// The circuit breakers; `None` where there are none.
    #[must_use]
    pub fn breakers(&self) -> Option<&Breakers> {
        self.shared.breakers.as_ref()
    }

    /// What producers and consumers do unless they are told otherwise, and more; see [`crate::config`].
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// What the client measures with.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.shared.telemetry
    }

    /// The engine, layers included, for code that works on engines, such as a server in front of one.
    #[must_use]
    pub fn engine(&self) -> &SharedEngine {
        &self.shared.engine
    }

    /// Has `item` closed when the client is.
    pub(crate) fn register(&self, item: Weak<dyn CloseWithClient>) {
        let mut open = self.shared.open.lock();
        // Producers and consumers come and go; without this the list would grow for the life of the client.
        open.retain(|old| old.strong_count() > 0);
        open.push(item);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &crate::url::shown(&self.shared.url)).finish_non_exhaustive()
    }
}
