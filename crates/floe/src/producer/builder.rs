//! How a producer is configured.

use std::{fmt, sync::Arc, time::Duration};

use floe_wire::{
    batch::{BatchBuilder, EncodedBatch, HEADER_LEN},
    compress::{Codec, Compression},
};
use futures_util::future::BoxFuture;

use super::{
    Producer,
    batch::BatchOutcome,
    partitioner::{KeyHash, Partitioner},
};
use crate::{
    Error, ErrorKind, Result, RetryPolicy, SmartModule, SmartModules,
    client_core::ClientCore,
    engine::{Acks, AppendAck, Capabilities, EngineInfo},
    smartmodule,
    topic::Topic,
    units::{bytes, count},
};

pub use crate::config::{DeliveryMode, WhenFull};

/// Largest record or batch accepted by default, where the engine takes more.
const DEFAULT_MAX_REQUEST: usize = 16 * 1024 * 1024;

/// Under which name a producer writes; by default a new one.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Marks its batches; positive.
    pub(crate) producer_id: i64,
    /// For each partition the number of the next record, and the offset before which nothing of it is without an
    /// answer, if that is known.
    pub(crate) partitions: Vec<(i32, Option<i64>)>,
}

impl Identity {
    /// A name that nobody else has.
    pub(crate) fn new_id() -> i64 {
        i64::try_from(floe_core::random::bits() >> 1).unwrap_or(i64::MAX)
    }
}

pub(super) type Callback = Arc<dyn Fn(&BatchOutcome) + Send + Sync>;

/// Everything that was decided before the start.
pub(super) struct Config {
    pub(super) linger: Duration,
    pub(super) batch_size: usize,
    pub(super) max_request_size: usize,
    pub(super) buffer_memory: usize,
    pub(super) batch_queue: usize,
    pub(super) when_full: WhenFull,
    pub(super) timeout: Duration,
    pub(super) retries: RetryPolicy,
    pub(super) max_in_flight: usize,
    pub(super) partitioner: Arc<dyn Partitioner>,
    pub(super) compression: Compression,
    pub(super) delivery: DeliveryMode,
    pub(super) acks: Acks,
    pub(super) on_delivery: Option<Callback>,
    pub(super) identity: Option<Identity>,
    pub(super) detour: Option<Arc<dyn Detour>>,
    pub(super) smartmodules: Option<SmartModules>,
}

/// Takes the batches of a producer in place of the engine, under the same contract as
/// [`Engine::append`](crate::engine::Engine::append); any number may be in flight.
pub(crate) trait Detour: fmt::Debug + Send + Sync {
    fn append(&self, batch: EncodedBatch) -> BoxFuture<'_, Result<AppendAck>>;
}

impl Config {
    /// Whether nothing may be sent behind a batch that failed for good: whoever names the producer sends the failed records
    /// again, and before those behind them.
    pub(super) fn in_order_only(&self) -> bool {
        self.identity.is_some()
    }

    /// Bytes that a record of this size takes from the memory: a record larger than all of it gets all of it.
    pub(super) fn memory_of(&self, size: usize) -> usize {
        size.min(self.buffer_memory)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("linger", &self.linger)
            .field("batch_size", &self.batch_size)
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}

/// Configures a producer before it starts. The defaults that the setters name are those of a client without
/// [settings](crate::config).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> floe::Result<()> {
/// # let client = floe::Client::connect("memory:").await?;
/// # client.admin().create_topic(floe::TopicSpec::new("orders")).await?;
/// use std::time::Duration;
/// use floe::{Codec, Record};
///
/// let orders = client
///     .producer("orders")
///     .linger(Duration::from_millis(2))
///     .compression(Codec::Lz4)
///     .start()
///     .await?;
/// let delivery = orders.enqueue(Record::keyed("ada", "one coffee")).await?;
/// orders.flush().await?;
/// assert_eq!(delivery.await?.offset, Some(0));
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until start"]
#[derive(Clone)]
pub struct ProducerBuilder {
    client: ClientCore,
    topic: Topic,
    linger: Duration,
    batch_size: Option<usize>,
    max_request_size: Option<usize>,
    buffer_memory: usize,
    batch_queue: usize,
    when_full: WhenFull,
    timeout: Duration,
    retries: RetryPolicy,
    max_in_flight: usize,
    partitioner: Arc<dyn Partitioner>,
    compression: Compression,
    delivery: Option<DeliveryMode>,
    acks: Acks,
    on_delivery: Option<Callback>,
    identity: Option<Identity>,
    detour: Option<Arc<dyn Detour>>,
    smartmodules: Vec<SmartModule>,
}

impl ProducerBuilder {
    pub(crate) fn new(client: ClientCore, topic: Topic) -> Self {
        let settings = client.settings();
        let producer = &settings.producer;
        let compression = &settings.compression;
        let compression = Compression {
            codec: if compression.enabled { compression.codec } else { Codec::None },
            level: compression.level,
            threshold: bytes(compression.threshold),
        };
        Self {
            linger: producer.linger,
            batch_size: producer.batch_size.map(bytes),
            max_request_size: producer.max_request_size.map(bytes),
            buffer_memory: bytes(producer.buffer_memory),
            batch_queue: count(producer.batch_queue),
            when_full: producer.when_full,
            timeout: producer.timeout,
            retries: settings.waits(producer.max_attempts),
            max_in_flight: count(producer.max_in_flight),
            partitioner: Arc::new(KeyHash),
            compression,
            delivery: producer.delivery,
            acks: producer.acks,
            client,
            topic,
            on_delivery: None,
            identity: None,
            detour: None,
            smartmodules: Vec::new(),
        }
    }

    /// Goes on as a producer that wrote to this topic before.
    pub(crate) fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Gives the batches to somebody else than the engine.
    pub(crate) fn detour(mut self, detour: Arc<dyn Detour>) -> Self {
        self.detour = Some(detour);
        self
    }

    pub(crate) fn client(&self) -> &ClientCore {
        &self.client
    }

    pub(crate) fn topic(&self) -> &Topic {
        &self.topic
    }

    pub(crate) fn chosen_batch_size(&self) -> usize {
        self.batch_size.unwrap_or_else(|| self.client.info().capabilities.batch_bytes)
    }

    pub(crate) fn chosen_partitioner(&self) -> Arc<dyn Partitioner> {
        Arc::clone(&self.partitioner)
    }

    /// How long a batch may wait for more records before it is sent. Default: 0, a batch is sent as soon as the
    /// partition has nothing in flight; records gather meanwhile, so that batches grow with the load by themselves.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Size in bytes, before compression, at which a batch is closed. Default: what suits the engine
    /// ([`Capabilities::batch_bytes`](crate::engine::Capabilities::batch_bytes)): 64 KiB, beyond which larger batches
    /// gain little; 256 KiB on Fluvio, whose servers spend most of their time on each batch whatever its size. A record
    /// that is larger goes alone.
    pub fn batch_size(mut self, bytes: usize) -> Self {
        self.batch_size = Some(bytes);
        self
    }

    /// Size in bytes, before compression, of the largest record or batch accepted; more is refused with
    /// [`ErrorKind::RecordTooLarge`] before anything is buffered. Default: what the engine takes, at most 16 MiB.
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.max_request_size = Some(bytes);
        self
    }

    /// Bytes of records that may wait for their acknowledgement, over all partitions. Default: 32 MiB, enough for some
    /// hundred batches in flight.
    pub fn buffer_memory(mut self, bytes: usize) -> Self {
        self.buffer_memory = bytes;
        self
    }

    /// How many closed batches of one partition may wait to be sent. Default: 100, so that one slow partition cannot
    /// take the memory of all the others.
    pub fn batch_queue(mut self, batches: usize) -> Self {
        self.batch_queue = batches;
        self
    }

    /// What happens to a record that finds no room. Default: [`WhenFull::Wait`], which slows the program down to what
    /// the engine takes.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// How long a batch may take from its closing to its acknowledgement, all retries included; then its records fail
    /// with [`ErrorKind::RequestTimeout`]. Default: 30 s, longer than most leader elections. With the default linger
    /// the time counts from the first record of the batch.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often and how soon failed batches are sent again. Default: until the timeout, see [`RetryPolicy`]. A deadline
    /// that is shorter than [`ProducerBuilder::timeout`] takes its place.
    pub fn retries(mut self, policy: RetryPolicy) -> Self {
        self.retries = policy;
        self
    }

    /// How many batches of one partition may be on their way at once. Default: 5, which hides the time of a round trip.
    /// At least once, an engine that keeps the order of fewer gets fewer.
    pub fn max_in_flight(mut self, batches: usize) -> Self {
        self.max_in_flight = batches;
        self
    }

    /// Decides the partition of records that do not name one. Default: [`KeyHash`], which keeps the records of a key
    /// in order and agrees with the official Fluvio client.
    pub fn partitioner(mut self, partitioner: impl Partitioner) -> Self {
        self.partitioner = Arc::new(partitioner);
        self
    }

    /// Compresses batches when they close. Default: [`Codec::None`], since only the program knows whether its records
    /// compress well.
    pub fn compression(mut self, codec: Codec) -> Self {
        self.compression.codec = codec;
        self
    }

    /// Level of the codec: gzip 0 to 9, zstd 1 to 22. Default: the one that the official Fluvio client uses (6 and 1).
    pub fn compression_level(mut self, level: i32) -> Self {
        self.compression.level = Some(level);
        self
    }

    /// Batches of fewer bytes than this stay plain. Default: 1024, below which the codecs gain little.
    pub fn compression_threshold(mut self, bytes: usize) -> Self {
        self.compression.threshold = bytes;
        self
    }

    /// How hard to try. Default: [`DeliveryMode::AtLeastOnce`], so that nothing acknowledged or pending gets lost; with
    /// [`Acks::None`], where nobody can know, [`DeliveryMode::AtMostOnce`].
    pub fn delivery(mut self, mode: DeliveryMode) -> Self {
        self.delivery = Some(mode);
        self
    }

    /// When the engine counts an append as done. Default: [`Acks::Leader`], as the official Fluvio client has it.
    pub fn acks(mut self, acks: Acks) -> Self {
        self.acks = acks;
        self
    }

    /// Calls `callback` once for every batch, acknowledged or failed, before its deliveries are told. It runs on the
    /// task that sends: keep it short. A panic in it is logged and changes nothing. Default: none.
    pub fn on_delivery(mut self, callback: impl Fn(&BatchOutcome) + Send + Sync + 'static) -> Self {
        self.on_delivery = Some(Arc::new(callback));
        self
    }

    /// Has the records go through a SmartModule before they are stored; called again, through one after the other.
    /// Default: none.
    ///
    /// What is stored is the modules' business, which has a price: records have no headers, [`Placed::offset`] is
    /// `None`, and a batch whose answer was lost cannot be looked for. It fails with [`Effect::Unknown`] and is not sent
    /// again, so that nothing is stored twice unnoticed.
    ///
    /// [`Placed::offset`]: super::Placed::offset
    /// [`Effect::Unknown`]: crate::Effect::Unknown
    pub fn smartmodule(mut self, module: SmartModule) -> Self {
        self.smartmodules.push(module);
        self
    }

    /// Asks the engine for the topic, and starts.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] that names the setting and what it accepts; [`ErrorKind::TopicNotFound`];
    /// whatever keeps the engine from answering.
    pub async fn start(self) -> Result<Producer> {
        let engine = Arc::clone(self.client.engine());
        let EngineInfo { name, capabilities, .. } = engine.info();
        smartmodule::check(&self.smartmodules, name, capabilities.smartmodules)
            .map_err(|error| error.with_topic(&self.topic))?;
        let topic = self.topic.clone();
        let client = self.client.clone();
        let config = self.into_config(capabilities)?;
        let info = engine.topic(topic.clone()).await.map_err(|error| error.with_topic(&topic))?;
        if info.partitions == 0 {
            return Err(
                Error::new(ErrorKind::PartitionNotFound, "the topic has no partitions").with_topic(&topic)
            );
        }
        Ok(Producer::start(&client, topic, info.partitions, config))
    }

    fn into_config(self, capabilities: Capabilities) -> Result<Config> {
        let engine_limit = capabilities.max_batch_bytes.min(floe_wire::batch::MAX_BATCH_LEN);
        let batch_size = self.batch_size.unwrap_or(capabilities.batch_bytes);
        let max_request_size = self.max_request_size.unwrap_or(DEFAULT_MAX_REQUEST).min(engine_limit);
        // An empty record must fit.
        let least = HEADER_LEN + 4 + BatchBuilder::record_len(None, &[], &[]);
        let delivery = self.delivery.unwrap_or(match self.acks {
            Acks::None => DeliveryMode::AtMostOnce,
            Acks::Leader | Acks::Committed => DeliveryMode::AtLeastOnce,
        });
        let problem = if max_request_size < least {
            Some(format!("max_request_size is {max_request_size} bytes: the least is {least}"))
        } else if batch_size == 0 {
            Some("batch_size is 0: it must be at least 1 byte".to_owned())
        } else if self.buffer_memory == 0 || self.buffer_memory > u32::MAX as usize {
            Some(format!("buffer_memory is {} bytes: it must be 1 to {}", self.buffer_memory, u32::MAX))
        } else if self.batch_queue == 0 {
            Some("batch_queue is 0: it must be at least 1 batch".to_owned())
        } else if self.max_in_flight == 0 {
            Some("max_in_flight is 0: it must be at least 1 batch".to_owned())
        } else if self.timeout.is_zero() {
            Some("timeout is 0: nothing could ever be acknowledged".to_owned())
        } else if self.acks == Acks::None && delivery == DeliveryMode::AtLeastOnce {
            Some("at least once needs acks: choose Acks::Leader or Acks::Committed".to_owned())
        } else if let Some(problem) = self.retries.problem() {
            Some(format!("retries: {problem}"))
        } else {
            self.compression.validate().err().map(|error| format!("compression_level: {error}"))
        };
        if let Some(problem) = problem {
            return Err(Error::new(ErrorKind::InvalidConfig, problem).with_topic(&self.topic));
        }
        Ok(Config {
            // Beyond some years a deadline could no longer be computed.
            linger: self.linger.min(LONGEST),
            batch_size: batch_size.clamp(least, max_request_size),
            max_request_size,
            buffer_memory: self.buffer_memory,
            batch_queue: self.batch_queue,
            when_full: self.when_full,
            timeout: self.retries.deadline.unwrap_or(LONGEST).min(self.timeout).min(LONGEST),
            retries: self.retries,
            max_in_flight: self.max_in_flight,
            partitioner: self.partitioner,
            compression: self.compression,
            delivery,
            acks: self.acks,
            on_delivery: self.on_delivery,
            identity: self.identity,
            detour: self.detour,
            smartmodules: (!self.smartmodules.is_empty()).then(|| self.smartmodules.into()),
        })
    }
}

/// Longest linger and timeout; longer ones are cut.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl fmt::Debug for ProducerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerBuilder").field("topic", &self.topic).finish_non_exhaustive()
    }
}
