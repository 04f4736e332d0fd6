//! The client: connects, hands out producers, consumers and the admin, and closes them.
//!
//! A call passes through the layers in this order, outermost first:
//!
//! ```text
//! measurement ──► user layers ──► limits ──► retry ──► breaker ──► timeout ──► error context ──► engine
//! ```
//!
//! User layers keep the order in which they were added. Engines on the network get retry, breaker and timeout by
//! default; engines inside the process get them on request, as every engine does limits. The rustdoc of each layer in
//! [`crate::layer`] names the calls that the layer passes on untouched.

mod builder;
mod opening;

use std::{fmt, sync::Arc, time::Duration};

pub use builder::ClientBuilder;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

#[cfg(feature = "fluvio")]
use crate::engine::fluvio::FluvioAdmin;
use crate::{
    Error, ErrorKind, Result,
    admin::Admin,
    client_core::ClientCore,
    config::Settings,
    consumer::{self, ConsumerBuilder, FetchLimit, Message, StartAt, resolve_offset},
    engine::{EngineInfo, SharedEngine},
    groups::Groups,
    health::ClientHealth,
    layer::Breakers,
    producer::{Producer, ProducerBuilder, SharedProducers},
    telemetry::Telemetry,
    topic::{Topic, TopicPartition},
};

/// Partitions whose offsets are looked up at once.
const LOOKUPS_AT_ONCE: usize = 32;

/// Time that a close gets when its limit is beyond the clock.
const CLOSE_DEADLINE: Duration = Duration::from_secs(30);

/// A connection to the engine that a URL names. Cheap to clone; all clones share the engine.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> floe::Result<()> {
/// use floe::{Client, TopicSpec};
///
/// let client = Client::connect("memory:").await?;
/// client.admin().ensure_topic(TopicSpec::new("orders")).await?;
/// let orders = client.producer("orders").start().await?;
/// let sent = orders.send("one coffee").await?;
/// assert_eq!(sent.offset, Some(0));
/// client.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    core: ClientCore,
    shared_producers: Arc<SharedProducers>,
    /// Administration of the Fluvio cluster that the client was connected to.
    #[cfg(feature = "fluvio")]
    fluvio: Option<Arc<FluvioAdmin>>,
}

impl Client {
    /// Connects to the engine that `url` names; see [`crate::url`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for an invalid URL, option or setting; [`ErrorKind::Unsupported`] for an engine
    /// whose feature is not compiled in; for `embedded:` also [`ErrorKind::StoreInUse`] when another process has the
    /// store open, [`ErrorKind::StorageError`] when the path cannot be used, and [`ErrorKind::CorruptData`] when the
    /// store is damaged.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::builder(url).connect().await
    }

    /// Returns a builder that configures a client before it connects.
    pub fn builder(url: &str) -> ClientBuilder {
        ClientBuilder::new(url)
    }

    /// Returns a client over an engine of the caller's own, without limits, retries, breaker and timeout; see
    /// [`ClientBuilder::from_engine`] for a client with them.
    #[must_use]
    pub fn from_engine(engine: SharedEngine) -> Self {
        ClientBuilder::over_defaults(engine)
    }

    /// Returns a builder of a producer for a topic.
    pub fn producer(&self, topic: impl Into<Topic>) -> ProducerBuilder {
        ProducerBuilder::new(self.core.clone(), topic.into())
    }

    /// Returns the producers that the users of this client share, one for each topic.
    #[must_use]
    pub fn producers(&self) -> &SharedProducers {
        &self.shared_producers
    }

    /// Returns the producer for a topic that all users of this client share. The first call starts it with default
    /// settings, as does the first call after it was closed.
    ///
    /// # Errors
    /// As [`ProducerBuilder::start`].
    pub async fn shared_producer(&self, topic: impl Into<Topic>) -> Result<Producer> {
        self.shared_producers.get(&self.core, &topic.into()).await
    }

    /// Returns a builder of a consumer of a topic.
    pub fn consumer(&self, topic: impl Into<Topic>) -> ConsumerBuilder {
        ConsumerBuilder::new(self.core.clone(), topic.into())
    }

    /// Fetches records of one partition from offset `from` on, without a consumer. Returns fewer than `limit` allows at
    /// the end of the partition, where it does not wait, and before a gap.
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

    /// Resolves a position to an offset in each partition of a topic, or in one of them. A stored position stands for the
    /// beginning or the end.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> floe::Result<()> {
    /// use floe::{Client, TopicSpec, consumer::StartAt};
    ///
    /// let client = Client::connect("memory:").await?;
    /// client.admin().create_topic(TopicSpec::new("orders").partitions(2)).await?;
    /// client.producer("orders").start().await?.send_all(["one", "two", "three"]).await?;
    /// let ends = client.offsets_at("orders", None, StartAt::End).await?;
    /// assert_eq!(ends.iter().map(|(_, offset)| offset).sum::<i64>(), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::TopicNotFound`], [`ErrorKind::PartitionNotFound`]; [`ErrorKind::OffsetOutOfRange`] for an offset that
    /// one of the partitions does not have; [`ErrorKind::Unsupported`] where the engine has no offsets.
    pub async fn offsets_at(
        &self,
        name: impl Into<Topic>,
        partition: Option<u32>,
        position: StartAt,
    ) -> Result<Vec<(TopicPartition, i64)>> {
        let (info, engine) = (self.admin().topic(name).await?, self.info());
        if !engine.capabilities.offsets {
            return Err(Error::unsupported("offsets", engine.name));
        }
        if let Some(partition) = partition.filter(|partition| *partition >= info.partitions) {
            return Err(Error::new(ErrorKind::PartitionNotFound, "the topic has no such partition")
                .with_topic(&info.name)
                .with_partition(partition));
        }
        let wanted = partition.map_or(0..info.partitions, |partition| partition..partition + 1);
        stream::iter(wanted)
            .map(|number| {
                let at = info.name.partition(number);
                async move {
                    let offset = resolve_offset(self.engine(), &at, position).await?;
                    Ok((at, offset))
                }
            })
            .buffered(LOOKUPS_AT_ONCE)
            .try_collect()
            .await
    }

    /// Returns the admin, which creates, deletes, lists, describes and watches topics.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.core.clone())
    }

    /// Returns the shared groups: who reads which partition, how far, and what an administrator may change.
    #[must_use]
    pub fn groups(&self) -> Groups {
        Groups::new(self.core.clone())
    }

    /// Returns the administration of a Fluvio cluster: data servers, SmartModules, all settings of topics. Calls are
    /// retried by the policy of this client; a call that is not idempotent only after an error without effect.
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
        self.fluvio.as_deref().ok_or_else(missing)
    }

    /// Returns name and capabilities of the engine.
    #[must_use]
    pub fn info(&self) -> EngineInfo {
        self.core.info()
    }

    /// Returns the URL that this client was connected with. It may hold a key; [`url::shown`](crate::url::shown) masks
    /// keys for messages.
    #[must_use]
    pub fn url(&self) -> &str {
        self.core.url()
    }

    /// Reports the health of the engine, its servers, the producers' queues and the breakers. Takes at most the setting
    /// `health.timeout`, by default 5 seconds.
    ///
    /// # Errors
    /// The error of the engine's check; [`ErrorKind::RequestTimeout`] when the check took too long.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn health(&self) -> Result<ClientHealth> {
        let (engine, settings) = (self.core.engine(), &self.settings().health);
        let name = engine.info().name;
        let asked = tokio::time::timeout(settings.timeout, engine.health()).await;
        let health = asked.map_err(|_| {
            let message = format!("no answer within {:?}", settings.timeout);
            Error::new(ErrorKind::RequestTimeout, message).with_engine(name).with_operation("health")
        })??;
        let circuits = self.breakers().map(Breakers::troubled).unwrap_or_default();
        let components = self.core.components();
        let assessed = ClientHealth::assess(name, health, settings.queue_warning, components, circuits);
        Ok(ClientHealth { last_success: self.core.last_success().ago(), ..assessed })
    }

    /// Closes the client: producers flush, consumers commit, the engine releases its resources. Waits at most the
    /// setting `client.close_timeout`, by default 30 seconds, for deliveries. Closing again is success.
    ///
    /// # Errors
    /// The first failure: records that were not delivered, a commit, the engine. Everything is closed all the same.
    ///
    /// # Cancel safety
    /// A dropped future leaves components open; their own `close`, or dropping them, closes them.
    pub async fn close(&self) -> Result<()> {
        self.close_within(self.settings().client.close_timeout).await
    }

    /// As [`Client::close`], waiting at most `limit` for deliveries and commits.
    ///
    /// # Errors
    /// As [`Client::close`].
    pub async fn close_within(&self, limit: Duration) -> Result<()> {
        let now = Instant::now();
        // A limit beyond what the clock can hold is none, and a close has to end.
        self.core.close_by(now.checked_add(limit).unwrap_or(now + CLOSE_DEADLINE)).await
    }

    /// Returns the circuit breakers; `None` where the client has none.
    #[must_use]
    pub fn breakers(&self) -> Option<&Breakers> {
        self.core.breakers()
    }

    /// Returns the settings that producers and consumers start from; see [`crate::config`].
    #[must_use]
    pub fn settings(&self) -> &Settings {
        self.core.settings()
    }

    /// Returns the telemetry of this client, for spans of the application's own processing.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        self.core.telemetry()
    }

    /// Returns the engine, layers included, for code that works on engines, such as a server in front of one.
    #[must_use]
    pub fn engine(&self) -> &SharedEngine {
        self.core.engine()
    }

    /// The core, for components above the client that build components below it.
    pub(crate) fn core(&self) -> &ClientCore {
        &self.core
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &crate::url::shown(self.url())).finish_non_exhaustive()
    }
}
