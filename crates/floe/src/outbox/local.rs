//! The log on this machine that holds what was accepted.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use floe_embedded::log_error;
use floe_log::{Partition, Store, StoreConfig, TopicConfig};
use floe_wire::batch::BorrowedHeaders;

use super::{state::State, ways::Ways};
use crate::{
    Client, Durability, Error, ErrorKind, Message, Producer, Record, Result, RetryPolicy, Topic,
    TopicPartition,
    consumer::{Consumer, GapPolicy, RawBatchReader, StartAt},
    engine::EmbeddedEngine,
    producer::Delivery,
};

/// What was accepted.
const RECORDS: &str = "records";
/// What the cluster can never take.
const REJECTED: &str = "rejected";
/// Under which the state is stored.
const GROUP: &str = "outbox";
/// Why a record was rejected.
const ERROR: &str = "floe-outbox-error";
/// The partition that the program asked for.
const PARTITION: &str = "floe-outbox-partition";

/// As good as for ever: what was accepted must not fail because the disk was full for long.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Bytes of the log that are kept in memory while they are delivered: what is delivered soon is never read from disk.
const TAIL_BYTES: usize = 16 << 20;

/// Batches that wait for the cluster at once while they go straight: several times as many as it is sent at once.
const WINDOW: usize = 16;

/// How the local log is opened.
pub(super) struct Options {
    pub(super) path: PathBuf,
    pub(super) store: StoreConfig,
    pub(super) durability: Durability,
    pub(super) segment_bytes: u64,
    pub(super) max_record: usize,
    /// Of the batches of the producer behind it, so that they can be sent on as they are.
    pub(super) batch_size: usize,
    pub(super) retries: RetryPolicy,
    /// Set where records go into the log only when the cluster takes longer than this.
    pub(super) patience: Option<Duration>,
}

pub(super) struct Local {
    client: Client,
    store: Arc<Store>,
    partition: Arc<Partition>,
    producer: Producer,
    ways: Option<Arc<Ways>>,
}

impl Local {
    pub(super) async fn open(options: Options) -> Result<Self> {
        let location = options.path.display().to_string();
        let config = options.store.segment_bytes(options.segment_bytes).tail_bytes(TAIL_BYTES);
        let topic = TopicConfig::new().durability(floe_embedded::durability_to_log(options.durability));
        let opened = blocking(move || {
            let store = Store::open(config)?;
            for name in [RECORDS, REJECTED] {
                if store.topic(name).is_none() {
                    store.create_topic(name, topic.clone())?;
                }
            }
            let partition = store.partition(RECORDS, 0)?;
            Ok((store, partition))
        });
        let (store, partition) = opened.await?;
        let client = Client::from_engine(Arc::new(EmbeddedEngine::over(Arc::clone(&store), location)));
        let ways = options.patience.map(|patience| Arc::new(Ways::new(Arc::clone(&partition), patience)));
        let mut producer = client.producer(RECORDS);
        if let Some(ways) = &ways {
            producer = producer.detour(Arc::clone(ways) as _).max_in_flight(WINDOW);
        }
        let producer = producer
            .batch_size(options.batch_size)
            .max_request_size(options.max_record)
            .timeout(FOREVER)
            .retries(options.retries)
            .start()
            .await?;
        Ok(Self { client, store, partition, producer, ways })
    }

    /// Present where records may go straight.
    pub(super) fn ways(&self) -> Option<&Ways> {
        self.ways.as_deref()
    }

    /// What an earlier process, or this one, stored last.
    pub(super) fn stored(&self) -> Result<Option<State>> {
        let Some(row) = self.store.committed(GROUP, RECORDS, 0) else { return Ok(None) };
        serde_json::from_str(&row.metadata).map(Some).map_err(|error| {
            Error::new(ErrorKind::CorruptData, "the state of the outbox cannot be read").with_source(error)
        })
    }

    pub(super) async fn store(&self, state: &State) -> Result<()> {
        let text = serde_json::to_string(state).map_err(|error| {
            Error::new(ErrorKind::SerializationError, "the state of the outbox cannot be written")
                .with_source(error)
        })?;
        let (store, position) = (Arc::clone(&self.store), state.position);
        blocking(move || store.commit_offset(GROUP, RECORDS, 0, position, Some(&text))).await
    }

    /// Puts a record that was [addressed](address) into the log.
    pub(super) fn append<V: AsRef<[u8]>>(
        &self,
        record: &Record<V>,
    ) -> impl Future<Output = Result<Delivery>> {
        self.producer.offer(record)
    }

    /// Waits until everything appended before is in the log.
    pub(super) async fn flush(&self) -> Result<()> {
        self.producer.flush().await
    }

    /// Bytes in the log and on their way into it.
    pub(super) fn used(&self) -> u64 {
        self.partition.size_bytes().saturating_add(self.producer.stats().buffered_bytes)
    }

    /// Whether more was appended behind this record than half of what is kept in memory.
    pub(super) fn is_ahead(&self, position: i64) -> bool {
        let (start, end) = (self.start(), self.end());
        let (behind, all) = ((end - position).max(0) as u64, (end - start).max(1) as u64);
        // About as many bytes as their part of the records; exact counts would cost more than they are worth.
        self.partition.size_bytes() / all * behind > TAIL_BYTES as u64 / 2
    }

    /// Records written by this process.
    pub(super) fn appended(&self) -> u64 {
        self.producer.stats().records
    }

    pub(super) fn start(&self) -> i64 {
        self.partition.bounds().start
    }

    pub(super) fn end(&self) -> i64 {
        self.partition.readable_end()
    }

    /// Reads from a record on, up to the present end.
    pub(super) async fn read(&self, from: i64) -> Result<Consumer> {
        let from = StartAt::Offset(from.max(self.start()));
        self.client.consumer(RECORDS).from(from).on_gap(GapPolicy::Fail).stop_at_end().start().await
    }

    /// Reads from a record on, and goes on with what is appended.
    pub(super) async fn follow(&self, from: i64) -> Result<RawBatchReader> {
        RawBatchReader::open(self.client.engine(), self.place(), from.max(self.start())).await
    }

    /// Gives up everything before a record.
    pub(super) async fn trim(&self, to: i64) -> Result<()> {
        let partition = Arc::clone(&self.partition);
        blocking(move || {
            let bounds = partition.bounds();
            if to <= bounds.start { Ok(()) } else { partition.delete_before(to.min(bounds.end)) }
        })
        .await
    }

    /// Puts a record aside for good.
    pub(super) async fn reject(&self, message: &Message, error: &Error) -> Result<()> {
        let mut record = restore(message);
        record.headers.push((ERROR.to_owned(), Bytes::from(error.to_string())));
        let producer = self.client.shared_producer(REJECTED).await?;
        producer.send(record).await.map(drop)
    }

    pub(super) async fn close(&self) -> Result<()> {
        self.client.close().await
    }

    /// What errors of the local log are about.
    pub(super) fn place(&self) -> TopicPartition {
        Topic::from(RECORDS).partition(0)
    }
}

/// Notes the partition that the program asked for: the log has only one.
pub(super) fn address<V>(record: &mut Record<V>) {
    if let Some(partition) = record.partition.take() {
        record.headers.push((PARTITION.to_owned(), Bytes::from(partition.to_string())));
    }
}

/// The partition that the program asked for.
pub(super) fn fixed_partition(headers: BorrowedHeaders<'_>) -> Option<u32> {
    str::from_utf8(headers.get(PARTITION)?).ok()?.parse().ok()
}

/// The record as it was accepted, without a partition.
pub(super) fn restore(message: &Message) -> Record {
    let headers = message.headers.iter().filter(|(name, _)| *name != PARTITION);
    Record {
        key: message.key.clone(),
        value: message.value.clone(),
        headers: headers.map(|(name, value)| (name.to_owned(), Bytes::copy_from_slice(value))).collect(),
        timestamp: message.timestamp,
        partition: None,
    }
}

/// Whether the disk had no room.
pub(super) fn is_disk_full(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::StorageFull;
        }
        cause = error.source();
    }
    false
}

/// Runs what waits for the disk where that harms nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, floe_log::LogError> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(log_error),
        Err(stopped) => {
            Err(Error::new(ErrorKind::Closed, "the runtime stopped before the local log answered")
                .with_source(stopped))
        }
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("bytes", &self.used()).finish_non_exhaustive()
    }
}
