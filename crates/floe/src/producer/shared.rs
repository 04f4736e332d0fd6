//! State shared by the handles and the senders of one producer.

use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::Semaphore, task::JoinHandle, time::Instant};

use super::{
    conditional_batches::ConditionalBatches,
    config::{Config, Identity},
    partitions::Partitions,
    unreported_failures::{Undelivered, UnreportedFailures},
};
use crate::{
    Error, ErrorKind,
    client_core::ClientCore,
    engine::{Capabilities, SharedEngine},
    history::ProducerHistory,
    telemetry::{Queue, Telemetry},
    topic::{MAX_PARTITIONS, Topic},
};

/// Interval at which a producer refreshes the number of partitions.
const REFRESH: Duration = Duration::from_secs(300);

/// The state that the handles and senders of a producer share.
#[derive(Debug)]
pub(super) struct ProducerShared {
    pub(super) engine: SharedEngine,
    pub(super) telemetry: Telemetry,
    pub(super) history: ProducerHistory,
    pub(super) engine_name: &'static str,
    pub(super) capabilities: Capabilities,
    pub(super) topic: Topic,
    pub(super) config: Config,
    /// Marks the batches of this producer; positive and random.
    pub(super) producer_id: i64,
    /// Names the batches of conditional appends, from the first one on.
    pub(super) conditional: OnceLock<ConditionalBatches>,
    pub(super) partitions: Partitions,
    /// Time of the last refresh of the number of partitions. Locked while partitions are added, and by a close.
    growth: Mutex<Option<Instant>>,
    /// The partition that takes records without a fixed partition.
    pub(super) current: AtomicU32,
    /// Free bytes of the buffer memory; closed with the producer.
    pub(super) budget: Semaphore,
    pub(super) unreported: Arc<UnreportedFailures>,
    pub(super) counters: Counters,
    pub(super) runtime: Handle,
    /// The senders that were started.
    pub(super) senders: Mutex<Vec<JoinHandle<()>>>,
    /// The report of the first close; later ones return the same.
    pub(super) report: tokio::sync::Mutex<Option<CloseReport>>,
}

/// The final report of a producer.
#[derive(Debug, Clone)]
#[must_use = "it lists records that were not delivered"]
#[non_exhaustive]
pub struct CloseReport {
    /// Records acknowledged over the whole life of the producer.
    pub delivered: u64,
    /// Records that were not, by partition: those abandoned by the close, and earlier failures that were not observed.
    pub undelivered: Vec<Undelivered>,
}

/// Counters of a producer since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProducerStats {
    /// Records acknowledged.
    pub records: u64,
    /// Batches acknowledged.
    pub batches: u64,
    /// Bytes of the acknowledged batches, as sent.
    pub bytes: u64,
    /// Number of retried sends of batches.
    pub retries: u64,
    /// Bytes of records that wait for their acknowledgement.
    pub buffered_bytes: u64,
    /// Records that failed.
    pub failed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) records: AtomicU64,
    batches: AtomicU64,
    bytes: AtomicU64,
    pub(super) retries: AtomicU64,
    failed: AtomicU64,
}

impl Counters {
    pub(super) fn count(&self, records: u32, bytes: usize, acknowledged: bool) {
        if acknowledged {
            self.records.fetch_add(u64::from(records), Ordering::Relaxed);
            self.batches.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        } else {
            self.failed.fetch_add(u64::from(records), Ordering::Relaxed);
        }
    }
}

impl ProducerShared {
    pub(super) fn new(client: &ClientCore, topic: Topic, partitions: u32, config: Config) -> Arc<Self> {
        let engine = client.engine();
        let info = engine.info();
        let mut capabilities = info.capabilities;
        // Servers drop the headers of records that pass through modules.
        capabilities.headers &= config.smartmodules.is_none();
        let unreported = Arc::default();
        let history = match config.smartmodules {
            None => client.history().producer(&topic, capabilities.offsets),
            // The server stores other records.
            Some(_) => ProducerHistory::default(),
        };
        Arc::new(Self {
            engine: Arc::clone(engine),
            telemetry: client.telemetry().clone(),
            history,
            engine_name: info.name,
            capabilities,
            topic,
            budget: Semaphore::new(config.buffer_memory),
            producer_id: config.identity.as_ref().map_or_else(Identity::new_id, |known| known.producer_id),
            config,
            conditional: OnceLock::new(),
            partitions: Partitions::new(partitions, &unreported),
            growth: Mutex::default(),
            // A random start: many short-lived producers must not all write to the first partition.
            current: AtomicU32::new((floe_core::random::bits() % u64::from(partitions)) as u32),
            unreported,
            counters: Counters::default(),
            runtime: Handle::current(),
            senders: Mutex::default(),
            report: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn stats(&self) -> ProducerStats {
        let counters = &self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let free = self.budget.available_permits();
        ProducerStats {
            records: read(&counters.records),
            batches: read(&counters.batches),
            bytes: read(&counters.bytes),
            retries: read(&counters.retries),
            buffered_bytes: self.config.buffer_memory.saturating_sub(free) as u64,
            failed: read(&counters.failed),
        }
    }

    /// Releases memory of records that have an outcome.
    pub(super) fn release(&self, memory: usize) {
        self.budget.add_permits(memory);
    }

    /// Moves records without a fixed partition on to the next partition, if they go to this one now.
    pub(super) fn rotate_from(&self, partition: u32) {
        let next = (partition + 1) % self.partitions.count().max(1);
        // A failed exchange means that a concurrent call moved on already.
        let _ = self.current.compare_exchange(partition, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    #[cold]
    pub(super) fn partition_not_found(&self, partition: u32) -> Error {
        let message = format!("partition {partition} of a topic with {}", self.partitions.count());
        self.produce_error(ErrorKind::PartitionNotFound, message).with_partition(partition)
    }

    pub(super) fn produce_error(&self, kind: ErrorKind, message: String) -> Error {
        Error::new(kind, message)
            .with_engine(self.engine_name)
            .with_operation("produce")
            .with_topic(&self.topic)
    }

    #[cold]
    pub(super) fn closed(&self) -> Error {
        Error::closed("producer").with_topic(&self.topic)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.budget.is_closed()
    }

    /// Accepts no more records. The senders send the buffered ones, and end.
    pub(super) fn begin_close(&self) {
        // No partition may be added between the two steps.
        let _growth = self.growth.lock();
        self.budget.close();
        for partition in self.partitions.iter() {
            partition.close(&self.config);
        }
    }

    /// Requests the number of partitions of the topic, unless that was done within `pause`, and adds new ones.
    #[cold]
    pub(super) async fn refresh_partitions(&self, pause: Duration) {
        {
            let mut refreshed = self.growth.lock();
            if refreshed.is_some_and(|at| at.elapsed() < pause) {
                return;
            }
            *refreshed = Some(Instant::now());
        }
        match self.engine.topic(self.topic.clone()).await {
            Ok(info) => {
                let growth = self.growth.lock();
                let count = info.partitions.min(MAX_PARTITIONS);
                if !self.is_closed() && self.partitions.grow_to(count, &self.unreported) {
                    drop(growth);
                    tracing::info!(topic = %self.topic, partitions = info.partitions, "the topic has new partitions");
                }
            }
            // Sending reports a deleted topic.
            Err(error) => tracing::debug!(topic = %self.topic, %error, "the partitions cannot be refreshed"),
        }
    }
}

/// Refreshes the number of partitions until the producer is dropped or closed.
pub(super) async fn keep_partitions_fresh(shared: Weak<ProducerShared>) {
    loop {
        tokio::time::sleep(REFRESH).await;
        let Some(shared) = shared.upgrade().filter(|shared| !shared.is_closed()) else { return };
        shared.refresh_partitions(Duration::ZERO).await;
    }
}

impl Queue for ProducerShared {
    fn used(&self) -> u64 {
        self.stats().buffered_bytes
    }

    fn limit(&self) -> u64 {
        self.config.buffer_memory as u64
    }
}
