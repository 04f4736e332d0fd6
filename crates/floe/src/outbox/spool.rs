//! The log on this machine that holds accepted records until they are delivered.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use floe_embedded::log_error;
use floe_log::{Partition, Store, StoreConfig, TopicConfig};

use super::{checkpoint::Checkpoint, routing, settings::SpoolOptions};
use crate::{
    Client, Error, ErrorKind, Message, Producer, Record, Result, Topic, TopicPartition,
    consumer::{Consumer, GapPolicy, RawBatchReader, StartAt},
    engine::EmbeddedEngine,
    producer::Delivery,
};

/// Topic of the accepted records.
const RECORDS: &str = "records";
/// Topic of the records that the cluster can never accept.
const REJECTED: &str = "rejected";
/// Consumer group under which the checkpoint is stored.
const GROUP: &str = "outbox";
/// Header that says why a record was rejected.
const ERROR: &str = "floe-outbox-error";

/// Timeout of writes to the spool. An accepted record must not fail because the disk was full for long.
const WRITE_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Bytes at the end of the spool that are kept in memory: a record that is delivered soon is never read from disk.
const TAIL_BYTES: usize = 16 << 20;

pub(super) struct Spool {
    client: Client,
    store: Arc<Store>,
    partition: Arc<Partition>,
    producer: Producer,
}

impl Spool {
    pub(super) async fn open(options: SpoolOptions) -> Result<Self> {
        let location = options.path.display().to_string();
        let config = StoreConfig::at(&options.path);
        #[cfg(any(test, feature = "simulation"))]
        let config = options.store.unwrap_or(config);
        let config = config.segment_bytes(options.segment_bytes).tail_bytes(TAIL_BYTES);
        let topic = TopicConfig::new().durability(floe_embedded::durability_to_log(options.durability));
        let has_executor = config.has_executor();
        let opened = blocking(has_executor, move || {
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
        let producer = client
            .producer(RECORDS)
            .batch_size(options.batch_size)
            .max_request_size(options.max_record)
            .timeout(WRITE_TIMEOUT)
            .retry(options.retries)
            .start()
            .await?;
        Ok(Self { client, store, partition, producer })
    }

    /// Returns the checkpoint that this process or an earlier one stored last.
    pub(super) fn stored_checkpoint(&self) -> Result<Option<Checkpoint>> {
        let Some(row) = self.store.committed(GROUP, RECORDS, 0) else { return Ok(None) };
        serde_json::from_str(&row.metadata).map(Some).map_err(|error| {
            Error::new(ErrorKind::CorruptData, "the checkpoint of the outbox cannot be decoded")
                .with_source(error)
        })
    }

    pub(super) async fn store_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        let text = serde_json::to_string(checkpoint).map_err(|error| {
            Error::new(ErrorKind::SerializationError, "the checkpoint of the outbox cannot be encoded")
                .with_source(error)
        })?;
        let (store, position) = (Arc::clone(&self.store), checkpoint.position);
        blocking(self.store.has_executor(), move || {
            store.commit_offset(GROUP, RECORDS, 0, position, Some(&text))
        })
        .await
    }

    /// Appends a record whose partition was [moved into a header](routing::store_fixed_partition).
    pub(super) fn append<V: AsRef<[u8]>>(
        &self,
        record: &Record<V>,
    ) -> impl Future<Output = Result<Delivery>> {
        self.producer.offer(record)
    }

    /// Waits until all records appended before are in the log.
    pub(super) async fn flush(&self) -> Result<()> {
        self.producer.flush().await
    }

    /// Returns the bytes in the log and in flight to it.
    pub(super) fn used_bytes(&self) -> u64 {
        self.partition.size_bytes().saturating_add(self.producer.stats().buffered_bytes)
    }

    /// Returns whether more bytes follow this record than half of the tail in memory.
    pub(super) fn outruns_tail(&self, position: i64) -> bool {
        let (start, end) = (self.start(), self.end());
        let (behind, all) = ((end - position).max(0) as u64, (end - start).max(1) as u64);
        // An estimate by the share of records is enough, and exact byte counts would be expensive.
        self.partition.size_bytes() / all * behind > TAIL_BYTES as u64 / 2
    }

    /// Returns the number of records appended by this process.
    pub(super) fn appended(&self) -> u64 {
        self.producer.stats().records
    }

    pub(super) fn start(&self) -> i64 {
        self.partition.bounds().start
    }

    pub(super) fn end(&self) -> i64 {
        self.partition.readable_end()
    }

    /// Reads from an offset up to the present end.
    pub(super) async fn read(&self, from: i64) -> Result<Consumer> {
        let from = StartAt::Offset(from.max(self.start()));
        self.client.consumer(RECORDS).from(from).on_gap(GapPolicy::Fail).stop_at_end().start().await
    }

    /// Reads from an offset on, and waits for records at the end.
    pub(super) async fn follow(&self, from: i64) -> Result<RawBatchReader> {
        RawBatchReader::open(self.client.engine(), self.location(), from.max(self.start())).await
    }

    /// Deletes all records before an offset, in whole segments.
    pub(super) async fn trim(&self, to: i64) -> Result<()> {
        let partition = Arc::clone(&self.partition);
        blocking(self.store.has_executor(), move || {
            let bounds = partition.bounds();
            if to <= bounds.start { Ok(()) } else { partition.delete_before(to.min(bounds.end)) }
        })
        .await
    }

    /// Copies a record to the topic of rejected records.
    pub(super) async fn reject(&self, message: &Message, error: &Error) -> Result<()> {
        let mut record = routing::restore(message);
        record.headers.push((ERROR.to_owned(), Bytes::from(error.to_string())));
        let producer = self.client.shared_producer(REJECTED).await?;
        producer.send(record).await.map(drop)
    }

    pub(super) async fn close(&self) -> Result<()> {
        self.client.close().await
    }

    /// Returns the partition that errors of the spool name.
    pub(super) fn location(&self) -> TopicPartition {
        Topic::from(RECORDS).partition(0)
    }
}

/// Runs disk work on the threads for blocking calls, or on this one over a store with an executor.
async fn blocking<T: Send + 'static>(
    here: bool,
    work: impl FnOnce() -> Result<T, floe_log::LogError> + Send + 'static,
) -> Result<T> {
    if here {
        return work().map_err(log_error);
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(log_error),
        Err(stopped) => Err(Error::new(ErrorKind::Closed, "the runtime stopped during a call to the spool")
            .with_source(stopped)),
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("bytes", &self.used_bytes()).finish_non_exhaustive()
    }
}
