//! Configuration of an outbox.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    Outbox, admission,
    settings::{Connect, OutboxSettings, OwnClient, SpoolOptions, WhenOutboxFull},
    shared::OutboxShared,
    spool::Spool,
};
use crate::{
    Client, Durability, Error, ErrorKind, Result, RetryPolicy,
    client_core::ClientCore,
    payload::{PayloadCodec, Untyped, formats},
    producer::{DEFAULT_MAX_REQUEST, KeyHash, Partitioner, ProducerBuilder},
    topic::Topic,
    url::Scheme,
};

/// Largest record accepted by default, where the limit of the engine is not known or larger.
const MAX_RECORD: usize = DEFAULT_MAX_REQUEST;

/// Bytes of a batch of the spool, where the batch size of the producer that delivers is not known.
const BATCH_SIZE: usize = 64 * 1024;

/// Upper bound of the bytes of a batch of the spool, so that the spool can be freed in small steps.
const MAX_BATCH_SIZE: usize = 1 << 20;

/// Lower bound of [`OutboxBuilder::max_bytes`]: eight segments of 8 KiB.
const MIN_BYTES: u64 = 64 * 1024;

/// Configures an outbox; from [`ProducerBuilder::outbox`] or [`OutboxBuilder::to`].
#[must_use = "a builder does nothing until start"]
pub struct OutboxBuilder<C = Untyped> {
    topic: Topic,
    path: PathBuf,
    codec: C,
    connect: Connect,
    /// Client of the producer builder, which closes the outbox with itself.
    client: Option<ClientCore>,
    /// URL of a client of its own.
    url: Option<String>,
    own_client: OwnClient,
    partitioner: Arc<dyn Partitioner>,
    max_bytes: u64,
    max_record: usize,
    batch_size: usize,
    when_full: WhenOutboxFull,
    durability: Durability,
    #[cfg(all(any(test, feature = "simulation"), feature = "embedded"))]
    store: Option<floe_log::StoreConfig>,
}

impl<C> ProducerBuilder<C> {
    /// Puts a spool at `path` before the producer, so that records survive a crash and an unreachable cluster; see
    /// [`crate::outbox`]. The deliveries use the settings made so far, except timeout, retries and delivery mode: accepted
    /// records are retried until they are delivered.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("outbox");
    /// use floe::{Client, Record, TopicSpec};
    ///
    /// let client = Client::connect("memory:").await?;
    /// client.admin().create_topic(TopicSpec::new("orders")).await?;
    ///
    /// let outbox = client.producer("orders").json::<Vec<u32>>().outbox(&path).start().await?;
    /// outbox.send(Record::keyed("ada", vec![1, 2])).await?; // in the spool
    /// outbox.drained().await?; // in the topic
    /// outbox.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn outbox(self, path: impl AsRef<Path>) -> OutboxBuilder<C> {
        let (builder, codec) = self.into_untyped();
        let (topic, client) = (builder.topic().clone(), builder.client().clone());
        let max_record = client.info().capabilities.max_batch_bytes.min(MAX_RECORD);
        let (partitioner, batch_size) =
            (builder.chosen_partitioner(), builder.chosen_batch_size().min(MAX_BATCH_SIZE));
        let connect: Connect = Arc::new(move || Box::pin(std::future::ready(Ok(builder.clone()))));
        let outbox = OutboxBuilder {
            client: Some(client),
            partitioner,
            max_record,
            batch_size,
            ..OutboxBuilder::new(topic, path.as_ref(), connect, OwnClient::default())
        };
        outbox.with_codec(codec)
    }
}

impl OutboxBuilder {
    /// Configures an outbox for a topic of the engine at `url`, which need not be reachable yet: the outbox connects in
    /// the background, and retries.
    pub fn to(url: &str, topic: impl Into<Topic>, path: impl AsRef<Path>) -> Self {
        Self::configured(url, topic, path, |builder| builder)
    }

    /// As [`OutboxBuilder::to`], with settings for the producer that delivers.
    pub fn configured(
        url: &str,
        topic: impl Into<Topic>,
        path: impl AsRef<Path>,
        configure: impl Fn(ProducerBuilder) -> ProducerBuilder + Send + Sync + 'static,
    ) -> Self {
        let own_client = OwnClient::default();
        let checked = url.to_owned();
        let (url, topic, configure) = (url.to_owned(), topic.into(), Arc::new(configure));
        let (slot, name) = (Arc::clone(&own_client), topic.clone());
        let connect: Connect = Arc::new(move || {
            let (url, topic) = (url.clone(), name.clone());
            let (slot, configure) = (Arc::clone(&slot), Arc::clone(&configure));
            Box::pin(async move {
                let mut slot = slot.lock().await;
                let client = match &*slot {
                    Some(client) => client.clone(),
                    None => slot.insert(Client::connect(&url).await?).clone(),
                };
                Ok(configure(client.producer(topic)))
            })
        });
        Self { url: Some(checked), ..Self::new(topic, path.as_ref(), connect, own_client) }
    }

    formats!(OutboxBuilder);

    /// Sends values of one type, encoded by `codec`.
    pub fn payload<C: PayloadCodec>(self, codec: C) -> OutboxBuilder<C> {
        self.with_codec(codec)
    }

    fn new(topic: Topic, path: &Path, connect: Connect, own_client: OwnClient) -> Self {
        Self {
            topic,
            path: path.to_owned(),
            codec: Untyped,
            connect,
            client: None,
            url: None,
            own_client,
            partitioner: Arc::new(KeyHash),
            max_bytes: 1 << 30,
            max_record: MAX_RECORD,
            batch_size: BATCH_SIZE,
            when_full: WhenOutboxFull::default(),
            durability: Durability::Os,
            #[cfg(all(any(test, feature = "simulation"), feature = "embedded"))]
            store: None,
        }
    }
}

impl<C> OutboxBuilder<C> {
    fn with_codec<D>(self, codec: D) -> OutboxBuilder<D> {
        OutboxBuilder {
            codec,
            topic: self.topic,
            path: self.path,
            connect: self.connect,
            client: self.client,
            url: self.url,
            own_client: self.own_client,
            partitioner: self.partitioner,
            max_bytes: self.max_bytes,
            max_record: self.max_record,
            batch_size: self.batch_size,
            when_full: self.when_full,
            durability: self.durability,
            #[cfg(all(any(test, feature = "simulation"), feature = "embedded"))]
            store: self.store,
        }
    }

    /// Sets the bound of the spool in bytes, at least 64 KiB. Default: 1 GiB. The spool is freed in eighths.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets the bytes of the largest record accepted. Default: the limit of the engine as far as it is known, at most
    /// 16 MiB for the value and 64 KiB for the rest.
    pub fn max_record_bytes(mut self, bytes: usize) -> Self {
        self.max_record = bytes;
        self
    }

    /// Sets the policy for records that find no room, because of [`OutboxBuilder::max_bytes`] or because the disk is full.
    /// Default: [`WhenOutboxFull::Wait`], because an outbox exists to lose nothing.
    pub fn when_full(mut self, when_full: WhenOutboxFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Sets when a record in the spool counts as accepted. Default: [`Durability::Os`], after which it survives the death
    /// of the process, not a loss of power.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets the partitioner of records that do not name a partition. Its choice must depend on its arguments alone.
    /// Default: the partitioner of the producer.
    pub fn partitioner(mut self, partitioner: impl Partitioner) -> Self {
        self.partitioner = Arc::new(partitioner);
        self
    }

    /// Keeps the spool in a store that the caller configures in place of the path: on another disk than the file system, or
    /// without threads. Calls that wait for the disk then run on the thread of the caller.
    #[cfg(all(any(test, feature = "simulation"), feature = "embedded"))]
    #[doc(hidden)]
    pub fn store(mut self, store: floe_log::StoreConfig) -> Self {
        self.store = Some(store);
        self
    }

    /// Opens the spool, and begins to deliver the records that an earlier process has left in it.
    ///
    /// # Errors
    /// [`ErrorKind::StoreInUse`] when another process has the path open; [`ErrorKind::InvalidConfig`] for settings out of
    /// range, and for a path that holds the outbox of another topic; [`ErrorKind::StorageError`];
    /// [`ErrorKind::CorruptData`]; [`ErrorKind::Unsupported`] in a build without the feature `embedded`. An unreachable
    /// engine is no error.
    pub async fn start(self) -> Result<Outbox<C>> {
        if let Some(url) = &self.url {
            check_url(url).map_err(|error| error.with_topic(&self.topic))?;
        }
        if self.max_bytes < MIN_BYTES {
            let message = format!("max_bytes is {}: it must be at least {MIN_BYTES}", self.max_bytes);
            return Err(Error::new(ErrorKind::InvalidConfig, message).with_topic(&self.topic));
        }
        let disk_full = Arc::new(Notify::new());
        let options = SpoolOptions {
            path: self.path,
            #[cfg(all(any(test, feature = "simulation"), feature = "embedded"))]
            store: self.store,
            durability: self.durability,
            segment_bytes: (self.max_bytes / 8).min(64 << 20),
            max_record: self.max_record,
            batch_size: self.batch_size,
            retries: write_retries(self.when_full, &disk_full),
        };
        let spool = Spool::open(options).await?;
        let settings = OutboxSettings {
            topic: self.topic,
            when_full: self.when_full,
            max_bytes: self.max_bytes,
            partitioner: self.partitioner,
            connect: self.connect,
            own_client: self.own_client,
        };
        let shared = OutboxShared::start(settings, spool, disk_full).await?;
        if let Some(client) = &self.client {
            let weak = Arc::downgrade(&shared);
            client.register(weak);
        }
        Ok(Outbox::new(shared, self.codec))
    }
}

/// Refuses a URL over which nothing can ever be delivered.
fn check_url(url: &str) -> Result<()> {
    if Client::builder(url).check()?.scheme == Scheme::Memory {
        let message =
            "an outbox cannot deliver to memory:, which begins without topics; use the outbox of a producer";
        return Err(Error::new(ErrorKind::InvalidConfig, message));
    }
    Ok(())
}

/// Returns the retry policy of writes to the spool. With [`WhenOutboxFull::DropOldest`] a full disk is signalled.
fn write_retries(when_full: WhenOutboxFull, disk_full: &Arc<Notify>) -> RetryPolicy {
    let policy = RetryPolicy::default().max_delay(Duration::from_secs(1));
    match when_full {
        // The application waits for room, however long the disk stays full.
        WhenOutboxFull::Wait => policy.when(|error| error.is_retriable() || admission::is_disk_full(error)),
        WhenOutboxFull::Fail => RetryPolicy::never(),
        WhenOutboxFull::DropOldest => {
            let disk_full = Arc::clone(disk_full);
            policy.when(move |error| {
                if admission::is_disk_full(error) {
                    disk_full.notify_one();
                }
                error.is_retriable() || admission::is_disk_full(error)
            })
        }
    }
}

impl<C> fmt::Debug for OutboxBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxBuilder")
            .field("topic", &self.topic)
            .field("path", &self.path)
            .field("max_bytes", &self.max_bytes)
            .field("when_full", &self.when_full)
            .finish_non_exhaustive()
    }
}
