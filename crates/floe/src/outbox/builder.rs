//! How an outbox is configured.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use floe_log::StoreConfig;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::{
    Outbox,
    drain::{Settings, Shared},
    local::{self, Local, Options},
};
use crate::{
    Client, Durability, Error, ErrorKind, Result, RetryPolicy,
    client_core::ClientCore,
    producer::{Partitioner, ProducerBuilder},
    topic::Topic,
};

/// Largest record accepted by default.
const MAX_RECORD: usize = 16 * 1024 * 1024;

/// Bytes of a batch of the local log, where those of the producer behind it are not known.
const BATCH_SIZE: usize = 64 * 1024;

/// Most bytes of a batch of the local log, so that the log can be freed in small steps.
const MAX_BATCH_SIZE: usize = 1 << 20;

/// What happens to a record that finds no room in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenOutboxFull {
    /// It waits until something was delivered, however long that takes.
    #[default]
    Wait,
    /// It is refused with [`ErrorKind::BufferFull`].
    Fail,
    /// The oldest records are given up to make room; [`OutboxStats::dropped`](super::OutboxStats::dropped) counts them.
    DropOldest,
}

/// Which records go through the local log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutboxMode {
    /// All of them: a record is accepted when it is in the log, whatever the cluster does.
    #[default]
    Always,
    /// Those that the cluster does not take. While it answers, records go straight to it, and are accepted when it has
    /// them. What it has not acknowledged within this time goes into the log, and so does everything after it until all
    /// in the log is delivered. Order and numbers stay the same whichever way a record goes. On an engine whose records have
    /// no offsets (Walrus) what was on its way when that time ended may come twice.
    ///
    /// Until the cluster was reached for the first time, records go through the log. A record that was on its way straight
    /// when the process was killed is in no log: as with a producer, whoever sent it was not told that it was accepted,
    /// and it may have arrived or not.
    WhenUnreachable(Duration),
}

/// How the builder of the producer behind an outbox is made, each time it connects.
pub(super) type Connect = Arc<dyn Fn() -> BoxFuture<'static, Result<ProducerBuilder>> + Send + Sync>;

/// Closes the client that an outbox has connected itself.
pub(super) type OwnClient = Arc<tokio::sync::Mutex<Option<Client>>>;

/// Configures an outbox; from [`ProducerBuilder::outbox`] or [`OutboxBuilder::to`].
#[must_use = "a builder does nothing until start"]
pub struct OutboxBuilder {
    topic: Topic,
    path: PathBuf,
    connect: Connect,
    /// The client that it is from, which closes it.
    client: Option<ClientCore>,
    own_client: OwnClient,
    partitioner: Arc<dyn Partitioner>,
    max_bytes: u64,
    max_record: usize,
    batch_size: usize,
    when_full: WhenOutboxFull,
    mode: OutboxMode,
    durability: Durability,
    store: StoreConfig,
}

impl ProducerBuilder {
    /// Accepts records into a log at `path`, which survives a crash, and delivers them from there with the settings made
    /// so far; see [`crate::outbox`]. Timeout, retries and delivery mode have no effect: what was accepted is tried for
    /// as long as it takes.
    pub fn outbox(self, path: impl AsRef<Path>) -> OutboxBuilder {
        let (topic, client) = (self.topic().clone(), self.client().clone());
        let max_record = client.info().capabilities.max_batch_bytes.min(MAX_RECORD);
        let (partitioner, batch_size) =
            (self.chosen_partitioner(), self.chosen_batch_size().min(MAX_BATCH_SIZE));
        let connect: Connect = Arc::new(move || {
            let builder = self.clone();
            Box::pin(async move { Ok(builder) })
        });
        OutboxBuilder {
            client: Some(client),
            partitioner,
            max_record,
            batch_size,
            ..OutboxBuilder::new(topic, path.as_ref(), connect, OwnClient::default())
        }
    }
}

impl OutboxBuilder {
    /// An outbox for a topic of the engine at `url`, which need not be reachable yet: it connects in the background, and
    /// tries again until it can.
    pub fn to(url: &str, topic: impl Into<Topic>, path: impl AsRef<Path>) -> Self {
        Self::configured(url, topic, path, |builder| builder)
    }

    /// As [`OutboxBuilder::to`], with settings for the producer behind it.
    pub fn configured(
        url: &str,
        topic: impl Into<Topic>,
        path: impl AsRef<Path>,
        configure: impl Fn(ProducerBuilder) -> ProducerBuilder + Send + Sync + 'static,
    ) -> Self {
        let own_client = OwnClient::default();
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
        Self::new(topic, path.as_ref(), connect, own_client)
    }

    fn new(topic: Topic, path: &Path, connect: Connect, own_client: OwnClient) -> Self {
        Self {
            topic,
            path: path.to_owned(),
            connect,
            client: None,
            own_client,
            partitioner: Arc::new(crate::producer::KeyHash),
            max_bytes: 1 << 30,
            max_record: MAX_RECORD,
            batch_size: BATCH_SIZE,
            when_full: WhenOutboxFull::default(),
            mode: OutboxMode::default(),
            durability: Durability::Os,
            store: StoreConfig::at(path),
        }
    }

    /// Bytes that the local log may take. Default: 1 GiB. It is freed in eighths.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Bytes of the largest record accepted. Default: what the engine takes, as far as that is known, at most 16 MiB.
    pub fn max_record_bytes(mut self, bytes: usize) -> Self {
        self.max_record = bytes;
        self
    }

    /// What happens to a record that finds no room, be it for [`OutboxBuilder::max_bytes`] or because the disk is full.
    /// Default: [`WhenOutboxFull::Wait`], because an outbox is there to lose nothing.
    pub fn when_full(mut self, when_full: WhenOutboxFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Which records go through the local log. Default: [`OutboxMode::Always`], because then sending takes as long as the
    /// disk takes, and a crash loses nothing that was sent.
    pub fn mode(mut self, mode: OutboxMode) -> Self {
        self.mode = mode;
        self
    }

    /// When a record in the local log counts as accepted. Default: [`Durability::Os`], after which it survives the death of the process,
    /// not a loss of power.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Decides the partition of records that do not name one; must decide the same each time. Default: the producer's.
    pub fn partitioner(mut self, partitioner: impl Partitioner) -> Self {
        self.partitioner = Arc::new(partitioner);
        self
    }

    /// Keeps the log somewhere else than in files.
    #[cfg(test)]
    pub(crate) fn store(mut self, store: StoreConfig) -> Self {
        self.store = store;
        self
    }

    /// Opens the local log, and begins to deliver what an earlier process has left in it.
    ///
    /// # Errors
    /// [`ErrorKind::StoreInUse`] when another process has the path open; [`ErrorKind::InvalidConfig`] for settings that
    /// make no sense, and for the outbox of another topic; [`ErrorKind::StorageError`], [`ErrorKind::CorruptData`]. An
    /// engine that cannot be reached is no error.
    pub async fn start(self) -> Result<Outbox> {
        if self.max_bytes < LEAST_BYTES {
            let problem = format!("max_bytes is {}: the least is {LEAST_BYTES}", self.max_bytes);
            return Err(Error::new(ErrorKind::InvalidConfig, problem).with_topic(&self.topic));
        }
        let disk_full = Arc::new(Notify::new());
        let options = Options {
            path: self.path,
            store: self.store,
            durability: self.durability,
            segment_bytes: (self.max_bytes / 8).min(64 << 20),
            max_record: self.max_record,
            batch_size: self.batch_size,
            retries: retries(self.when_full, &disk_full),
            patience: match self.mode {
                OutboxMode::Always => None,
                OutboxMode::WhenUnreachable(patience) => Some(patience),
            },
        };
        let local = Local::open(options).await?;
        let settings = Settings {
            topic: self.topic,
            when_full: self.when_full,
            max_bytes: self.max_bytes,
            partitioner: self.partitioner,
            connect: self.connect,
            own_client: self.own_client,
        };
        let shared = Shared::start(settings, local, disk_full).await?;
        if let Some(client) = &self.client {
            let weak = Arc::downgrade(&shared);
            client.register(weak);
        }
        Ok(Outbox::new(shared))
    }
}

/// Eight segments of 8 KiB.
const LEAST_BYTES: u64 = 64 * 1024;

/// How writes to the local log are tried again when the disk is full.
fn retries(when_full: WhenOutboxFull, disk_full: &Arc<Notify>) -> RetryPolicy {
    let policy = RetryPolicy::default().max_delay(Duration::from_secs(1));
    match when_full {
        WhenOutboxFull::Wait => policy,
        WhenOutboxFull::Fail => RetryPolicy::never(),
        WhenOutboxFull::DropOldest => {
            let disk_full = Arc::clone(disk_full);
            policy.when(move |error| {
                if local::is_disk_full(error) {
                    disk_full.notify_one();
                }
                error.is_retriable()
            })
        }
    }
}

impl fmt::Debug for OutboxBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxBuilder")
            .field("topic", &self.topic)
            .field("path", &self.path)
            .field("max_bytes", &self.max_bytes)
            .field("when_full", &self.when_full)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
