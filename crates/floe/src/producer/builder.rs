//! Configures a producer.

use std::{fmt, sync::Arc, time::Duration};

use floe_wire::compress::{Codec, Compression};

use super::{
    Producer,
    config::{Config, DEFAULT_MAX_REQUEST, DeliveryMode, Identity, WhenFull},
    delivery::BatchOutcome,
    partitioner::{KeyHash, PartitionChoice, Partitioner},
};
use crate::{
    Error, ErrorKind, Result, RetryPolicy, SmartModule,
    client_core::ClientCore,
    engine::{Acks, EngineInfo, SharedEngine},
    payload::{PayloadCodec, Untyped, formats},
    smartmodule,
    topic::Topic,
    units::{bytes, count},
};

/// Configures a producer before it starts. The defaults that the setters name are those of a client without
/// [settings](crate::config).
///
/// A builder makes producers of bytes until [`json`](Self::json), [`text`](Self::text) or [`payload`](Self::payload)
/// chooses a codec.
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
pub struct ProducerBuilder<C = Untyped> {
    client: ClientCore,
    topic: Topic,
    codec: C,
    config: Config,
    smartmodules: Vec<SmartModule>,
}

impl ProducerBuilder {
    pub(crate) fn new(client: ClientCore, topic: Topic) -> Self {
        let settings = client.settings();
        let producer = &settings.producer;
        let compression = &settings.compression;
        let config = Config {
            linger: producer.linger,
            batch_size: producer.batch_size.map_or(client.info().capabilities.batch_bytes, bytes),
            max_request_size: producer.max_request_size.map_or(DEFAULT_MAX_REQUEST, bytes),
            buffer_memory: bytes(producer.buffer_memory),
            batch_queue: count(producer.batch_queue),
            when_full: producer.when_full,
            timeout: producer.timeout,
            retries: settings.waits(producer.max_attempts),
            max_in_flight: count(producer.max_in_flight),
            partitioner: Arc::new(KeyHash),
            compression: Compression {
                codec: if compression.enabled { compression.codec } else { Codec::None },
                level: compression.level,
                threshold: bytes(compression.threshold),
            },
            delivery: producer.delivery,
            acks: producer.acks,
            on_delivery: None,
            identity: None,
            smartmodules: None,
            clock: client.clock().clone(),
        };
        Self { client, topic, codec: Untyped, config, smartmodules: Vec::new() }
    }

    formats!(ProducerBuilder);

    /// Sends values of one type, encoded by `codec`.
    pub fn payload<C: PayloadCodec>(self, codec: C) -> ProducerBuilder<C> {
        let Self { client, topic, codec: Untyped, config, smartmodules } = self;
        ProducerBuilder { client, topic, codec, config, smartmodules }
    }
}

impl<C> ProducerBuilder<C> {
    /// Continues as a producer that wrote to this topic before.
    pub(crate) fn identity(mut self, identity: Identity) -> Self {
        self.config.identity = Some(identity);
        self
    }

    /// Sends through another engine than that of the client, such as that with one more layer.
    pub(crate) fn through(mut self, engine: SharedEngine) -> Self {
        self.client = self.client.over(engine);
        self
    }

    pub(crate) fn has_smartmodules(&self) -> bool {
        !self.smartmodules.is_empty()
    }

    pub(crate) fn client(&self) -> &ClientCore {
        &self.client
    }

    pub(crate) fn topic(&self) -> &Topic {
        &self.topic
    }

    pub(crate) fn chosen_batch_size(&self) -> usize {
        self.config.batch_size
    }

    pub(crate) fn chosen_partitioner(&self) -> Arc<dyn Partitioner> {
        Arc::clone(&self.config.partitioner)
    }

    /// Splits the builder from its codec.
    pub(crate) fn into_untyped(self) -> (ProducerBuilder, C) {
        let Self { client, topic, codec, config, smartmodules } = self;
        (ProducerBuilder { client, topic, codec: Untyped, config, smartmodules }, codec)
    }

    /// Sets how long a batch may wait for more records before it is sent. Default: 0, a batch is sent as soon as the
    /// partition has nothing in flight; records gather meanwhile, so that batches grow with the load.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.config.linger = linger;
        self
    }

    /// Sets the size in bytes, before compression, at which a batch is closed. Default: a size that suits the engine
    /// ([`Capabilities::batch_bytes`](crate::engine::Capabilities::batch_bytes)): 64 KiB, beyond which larger batches
    /// gain little; 256 KiB on Fluvio, whose servers spend most of their time on each batch whatever its size. A larger
    /// record is sent in a batch of its own.
    pub fn batch_size(mut self, bytes: usize) -> Self {
        self.config.batch_size = bytes;
        self
    }

    /// Sets the size in bytes, before compression, of the largest record or batch accepted; larger records are refused with
    /// [`ErrorKind::RecordTooLarge`] before anything is buffered. Default: the limit of the engine, at most 16 MiB for the
    /// value and 64 KiB for the rest.
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.config.max_request_size = bytes;
        self
    }

    /// Limits the bytes of records that wait for their acknowledgement, over all partitions. Default: 32 MiB, enough for some
    /// hundred batches in flight.
    pub fn buffer_memory(mut self, bytes: usize) -> Self {
        self.config.buffer_memory = bytes;
        self
    }

    /// Limits the closed batches of one partition that wait to be sent. Default: 100, so that one slow partition cannot
    /// take the memory of all the others.
    pub fn batch_queue(mut self, batches: usize) -> Self {
        self.config.batch_queue = batches;
        self
    }

    /// Sets the policy for records that find no room. Default: [`WhenFull::Wait`], backpressure on the program.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.config.when_full = when_full;
        self
    }

    /// Sets how long a batch may take from its closing to its acknowledgement, all retries included; then its records fail
    /// with [`ErrorKind::RequestTimeout`]. Default: 30 s, longer than most leader elections. With the default linger
    /// the time counts from the first record of the batch.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// Sets how often and how soon failed batches are retried. Default: until the timeout, see [`RetryPolicy`]. A deadline
    /// of the policy that is shorter than [`ProducerBuilder::timeout`] replaces the timeout.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.config.retries = policy;
        self
    }

    /// Limits the batches of one partition in flight. Default: 5, which hides the round trip. With
    /// [`DeliveryMode::AtLeastOnce`] an engine that keeps the order of fewer gets fewer.
    pub fn max_in_flight(mut self, batches: usize) -> Self {
        self.config.max_in_flight = batches;
        self
    }

    /// Sets the partitioner of records that do not name a partition. Default: [`KeyHash`], which keeps the records of a key
    /// in order and agrees with the official Fluvio client.
    pub fn partitioner(mut self, partitioner: impl Partitioner) -> Self {
        self.config.partitioner = Arc::new(partitioner);
        self
    }

    /// Compresses batches when they close. Default: [`Codec::None`], since only the program knows whether its records
    /// compress well.
    pub fn compression(mut self, codec: Codec) -> Self {
        self.config.compression.codec = codec;
        self
    }

    /// Sets the level of the codec: gzip 0 to 9, zstd 1 to 22. Default: the one that the official Fluvio client uses (6 and 1).
    pub fn compression_level(mut self, level: i32) -> Self {
        self.config.compression.level = Some(level);
        self
    }

    /// Sets the size in bytes below which batches stay uncompressed. Default: 1024, below which the codecs gain little.
    pub fn compression_threshold(mut self, bytes: usize) -> Self {
        self.config.compression.threshold = bytes;
        self
    }

    /// Sets the delivery guarantee. Default: [`DeliveryMode::AtLeastOnce`], which loses no acknowledged or pending record; with
    /// [`Acks::None`], where failures stay unknown, [`DeliveryMode::AtMostOnce`].
    pub fn delivery(mut self, mode: DeliveryMode) -> Self {
        self.config.delivery = Some(mode);
        self
    }

    /// Sets when the engine acknowledges an append. Default: [`Acks::Leader`], as in the official Fluvio client.
    pub fn acks(mut self, acks: Acks) -> Self {
        self.config.acks = acks;
        self
    }

    /// Calls `callback` once for every batch, acknowledged or failed, before its deliveries complete. It runs on the
    /// sending task: keep it short. A panic in it is logged and has no other effect. Default: none.
    pub fn on_delivery(mut self, callback: impl Fn(&BatchOutcome) + Send + Sync + 'static) -> Self {
        self.config.on_delivery = Some(Arc::new(callback));
        self
    }

    /// Passes the records through a SmartModule before they are stored; several calls chain several modules in order.
    /// Default: none.
    ///
    /// The modules decide what is stored, which has a price: records have no headers, [`RecordMetadata::offset`] is
    /// `None`, and a batch whose acknowledgement was lost cannot be looked up. It fails with [`Effect::Unknown`] and is
    /// not retried, so that no duplicate is stored unnoticed.
    ///
    /// [`RecordMetadata::offset`]: super::RecordMetadata::offset
    /// [`Effect::Unknown`]: crate::Effect::Unknown
    pub fn smartmodule(mut self, module: SmartModule) -> Self {
        self.smartmodules.push(module);
        self
    }

    /// Requests the topic from the engine, and starts the producer.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] that names the setting and the values it accepts; [`ErrorKind::TopicNotFound`];
    /// [`ErrorKind::PartitionNotFound`] for a partitioner that always chooses one that does not exist;
    /// [`ErrorKind::Unsupported`] for SmartModules on an engine without them; errors of the engine.
    ///
    /// # Cancel safety
    /// If the future is dropped, no producer is started.
    pub async fn start(self) -> Result<Producer<C>> {
        let Self { client, topic, codec, mut config, smartmodules } = self;
        let engine = client.engine();
        let EngineInfo { name, capabilities, .. } = engine.info();
        smartmodule::check(&smartmodules, name, capabilities.smartmodules)
            .map_err(|error| error.with_topic(&topic))?;
        config.smartmodules = (!smartmodules.is_empty()).then(|| smartmodules.into());
        let config = config
            .checked(capabilities)
            .map_err(|problem| Error::new(ErrorKind::InvalidConfig, problem).with_topic(&topic))?;
        let info = engine.topic(topic.clone()).await.map_err(|error| error.with_topic(&topic))?;
        if info.partitions == 0 {
            return Err(
                Error::new(ErrorKind::PartitionNotFound, "the topic has no partitions").with_topic(&topic)
            );
        }
        if let Some(PartitionChoice::Partition(chosen)) = config.partitioner.choice_for_all(info.partitions)
            && chosen >= info.partitions
        {
            let message = format!(
                "the partitioner sends all records to partition {chosen} of a topic with {}, numbered from 0",
                info.partitions
            );
            return Err(Error::new(ErrorKind::PartitionNotFound, message).with_topic(&topic));
        }
        Ok(Producer::start(&client, topic, info.partitions, config, codec))
    }
}

impl<C> fmt::Debug for ProducerBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerBuilder").field("topic", &self.topic).finish_non_exhaustive()
    }
}
