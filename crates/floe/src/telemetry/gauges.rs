//! Gauges that are computed on collection: the use of queues, and the lag of consumers.
//!
//! Without collections the gauges cost nothing. The lag needs the end of each partition, which only the engine knows and
//! which a callback cannot await. A collection therefore wakes a task that polls the engine every few seconds and sleeps
//! again when no more collections come.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt as _, stream};
use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Meter},
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::{
    instruments::{destination, partition_id},
    names::{self, Metric, attribute},
};
use crate::{Topic, engine::SharedEngine, topic::TopicPartition};

/// Time between two polls of the ends of partitions.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Polls after the last collection.
const POLLS_AFTER_COLLECTION: u32 = 24;

/// Partitions whose ends are requested concurrently.
const CONCURRENT_LOOKUPS: usize = 16;

/// An unknown offset or time.
const UNKNOWN: i64 = i64::MIN;

/// A buffer of a producer or consumer.
pub(crate) trait Queue: Send + Sync {
    /// Bytes in use.
    fn used(&self) -> u64;
    /// Largest number of bytes in use.
    fn limit(&self) -> u64;
}

/// A queue with the attributes of its gauges.
struct WatchedQueue {
    owner: &'static str,
    topic: Topic,
    queue: Weak<dyn Queue>,
}

/// The gauges of one client.
pub(super) struct Gauges {
    system: &'static str,
    client_id: Arc<str>,
    queues: Mutex<Vec<WatchedQueue>>,
    lags: Mutex<Vec<Weak<Lag>>>,
}

impl Gauges {
    pub(super) fn new(system: &'static str, client_id: Arc<str>) -> Self {
        Self { system, client_id, queues: Mutex::default(), lags: Mutex::default() }
    }

    pub(super) fn watch_queue(&self, owner: &'static str, topic: &Topic, queue: Weak<dyn Queue>) {
        let mut queues = self.queues.lock();
        queues.retain(|watched| watched.queue.strong_count() > 0);
        queues.push(WatchedQueue { owner, topic: topic.clone(), queue });
    }

    pub(super) fn watch_lag(&self, lag: &Arc<Lag>) {
        let mut lags = self.lags.lock();
        lags.retain(|lag| lag.strong_count() > 0);
        lags.push(Arc::downgrade(lag));
    }

    /// Returns sums over the queues of one owner and topic, with their attributes.
    fn queues(&self, of: impl Fn(&dyn Queue) -> u64) -> Vec<(i64, Vec<KeyValue>)> {
        let queues = self.queues.lock();
        let open = queues.iter().filter_map(|watched| Some((watched, watched.queue.upgrade()?)));
        let open: Vec<_> =
            open.map(|(watched, queue)| ((watched.owner, watched.topic.clone()), queue)).collect();
        drop(queues);
        let mut sums: HashMap<(&'static str, Topic), u64> = HashMap::new();
        for (key, queue) in open {
            *sums.entry(key).or_default() += of(&*queue);
        }
        let sums = sums.into_iter().map(|((name, topic), sum)| {
            let attributes = vec![
                KeyValue::new(attribute::SYSTEM, self.system),
                KeyValue::new(attribute::CLIENT_ID, Arc::clone(&self.client_id)),
                destination(&topic),
                KeyValue::new(attribute::QUEUE, name),
            ];
            (i64::try_from(sum).unwrap_or(i64::MAX), attributes)
        });
        sums.collect()
    }

    /// Calls `each` for every partition whose lag is known.
    fn lags(&self, mut each: impl FnMut(&PartitionLag, u64, &[KeyValue])) {
        let lags: Vec<_> = self.lags.lock().iter().filter_map(Weak::upgrade).collect();
        for lag in lags {
            lag.collected();
            for partition in &lag.partitions() {
                let Some(records) = partition.lag() else { continue };
                let mut attributes = vec![
                    KeyValue::new(attribute::SYSTEM, self.system),
                    KeyValue::new(attribute::CLIENT_ID, Arc::clone(&self.client_id)),
                    destination(&partition.at.topic),
                    partition_id(partition.at.partition),
                ];
                attributes.extend(lag.group.clone().map(|group| KeyValue::new(attribute::GROUP, group)));
                each(partition, records, &attributes);
            }
        }
    }
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauges").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// Registers callbacks that observe the gauges on each collection. The callbacks do not keep the gauges alive.
pub(super) fn register(gauges: &Arc<Gauges>, meter: &Meter, prefix: &str) {
    let sums = |metric: Metric, of: fn(&dyn Queue) -> u64| {
        let gauges = Arc::downgrade(gauges);
        meter
            .i64_observable_up_down_counter(metric.name_under(prefix))
            .with_unit(metric.unit)
            .with_description(metric.description)
            .with_callback(move |observer: &dyn AsyncInstrument<i64>| {
                for (sum, attributes) in gauges.upgrade().iter().flat_map(|gauges| gauges.queues(of)) {
                    observer.observe(sum, &attributes);
                }
            })
            .build();
    };
    sums(names::QUEUE_USAGE, |queue| queue.used());
    sums(names::QUEUE_LIMIT, |queue| queue.limit());

    let of = Arc::downgrade(gauges);
    meter
        .u64_observable_gauge(names::CONSUMER_LAG.name_under(prefix))
        .with_unit(names::CONSUMER_LAG.unit)
        .with_description(names::CONSUMER_LAG.description)
        .with_callback(move |observer| {
            if let Some(gauges) = of.upgrade() {
                gauges.lags(|_, records, attributes| observer.observe(records, attributes));
            }
        })
        .build();
    let of = Arc::downgrade(gauges);
    meter
        .f64_observable_gauge(names::CONSUMER_LAG_TIME.name_under(prefix))
        .with_unit(names::CONSUMER_LAG_TIME.unit)
        .with_description(names::CONSUMER_LAG_TIME.description)
        .with_callback(move |observer| {
            if let Some(gauges) = of.upgrade() {
                gauges.lags(|partition, records, attributes| {
                    if let Some(age) = partition.age(records) {
                        observer.observe(age, attributes);
                    }
                });
            }
        })
        .build();
}

/// The lag of one consumer.
#[derive(Debug)]
pub(crate) struct Lag {
    engine: SharedEngine,
    group: Option<Arc<str>>,
    /// One for each partition of the consumer; a topic may get more of them.
    partitions: RwLock<Vec<Arc<PartitionLag>>>,
    /// Polls that remain unless a collection comes.
    polls_left: AtomicU32,
    collection: Notify,
}

/// Position of a consumer in one partition, and the end of the partition.
#[derive(Debug)]
struct PartitionLag {
    at: TopicPartition,
    position: AtomicI64,
    /// End of the partition at the last poll.
    end: AtomicI64,
    /// Time of the first record of the batch handed out last.
    time: AtomicI64,
    /// Whether the consumer does not read the partition any more.
    left: AtomicBool,
}

impl PartitionLag {
    fn new(at: TopicPartition, position: i64) -> Self {
        let (end, time) = (AtomicI64::new(UNKNOWN), AtomicI64::new(UNKNOWN));
        Self { at, position: AtomicI64::new(position), end, time, left: AtomicBool::new(false) }
    }

    fn lag(&self) -> Option<u64> {
        let end = self.end.load(Ordering::Relaxed);
        let behind = end.saturating_sub(self.position.load(Ordering::Relaxed));
        let is_known = end != UNKNOWN && !self.left.load(Ordering::Relaxed);
        is_known.then(|| u64::try_from(behind).unwrap_or(0))
    }

    fn age(&self, lag: u64) -> Option<f64> {
        if lag == 0 {
            return Some(0.0);
        }
        let time = u64::try_from(self.time.load(Ordering::Relaxed)).ok()?;
        let written = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(time))?;
        // A clock that runs ahead makes no record younger than now.
        Some(SystemTime::now().duration_since(written).unwrap_or_default().as_secs_f64())
    }
}

impl Lag {
    /// Creates the lag of a consumer that begins at these positions.
    pub(crate) fn new(
        engine: &SharedEngine,
        group: Option<Arc<str>>,
        partitions: impl Iterator<Item = (TopicPartition, i64)>,
    ) -> Arc<Self> {
        let partitions = partitions.map(|(at, position)| Arc::new(PartitionLag::new(at, position)));
        Arc::new(Self {
            engine: Arc::clone(engine),
            group,
            partitions: RwLock::new(partitions.collect()),
            polls_left: AtomicU32::new(0),
            collection: Notify::new(),
        })
    }

    /// Returns the number of the partition with this index.
    pub(super) fn partition(&self, index: usize) -> u32 {
        self.partitions.read().get(index).map_or(0, |partition| partition.at.partition)
    }

    /// Returns the number of partitions.
    pub(super) fn len(&self) -> usize {
        self.partitions.read().len()
    }

    /// Adds a partition that the consumer reads from now on, under an index that is new or was left.
    pub(super) fn joins(&self, index: usize, at: TopicPartition, position: i64) {
        let joined = Arc::new(PartitionLag::new(at, position));
        let mut partitions = self.partitions.write();
        match partitions.get_mut(index) {
            Some(left) => *left = joined,
            None => partitions.push(joined),
        }
    }

    /// Forgets the end of a partition that the consumer does not read any more.
    pub(super) fn leaves(&self, index: usize) {
        if let Some(partition) = self.partitions.read().get(index) {
            partition.left.store(true, Ordering::Relaxed);
        }
    }

    fn partitions(&self) -> Vec<Arc<PartitionLag>> {
        self.partitions.read().clone()
    }

    /// Sets the position in the partition with this index.
    pub(super) fn stands_at(&self, index: usize, position: i64) {
        if let Some(partition) = self.partitions.read().get(index) {
            partition.position.store(position, Ordering::Relaxed);
        }
    }

    /// Sets the position and the time to those of the first record of a batch.
    pub(super) fn receives(&self, index: usize, first_offset: i64, time: Option<i64>) {
        if let Some(partition) = self.partitions.read().get(index) {
            partition.position.store(first_offset, Ordering::Relaxed);
            partition.time.store(time.unwrap_or(UNKNOWN), Ordering::Relaxed);
        }
    }

    fn collected(&self) {
        self.polls_left.store(POLLS_AFTER_COLLECTION, Ordering::Relaxed);
        self.collection.notify_one();
    }

    /// Polls the ends of the partitions as long as collections come. The consumer runs it as a task.
    pub(crate) async fn run(self: Arc<Self>) {
        if !self.engine.info().capabilities.offsets {
            return;
        }
        loop {
            self.collection.notified().await;
            while self.polls_left.load(Ordering::Relaxed) > 0 {
                self.polls_left.fetch_sub(1, Ordering::Relaxed);
                self.poll_ends().await;
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            for partition in &self.partitions() {
                partition.end.store(UNKNOWN, Ordering::Relaxed);
            }
        }
    }

    async fn poll_ends(&self) {
        stream::iter(self.partitions())
            .for_each_concurrent(CONCURRENT_LOOKUPS, |partition| async move {
                let end = match self.engine.watermarks(partition.at.clone()).await {
                    Ok(marks) => marks.high,
                    // The consumer reports the error when it reads.
                    Err(_) => UNKNOWN,
                };
                partition.end.store(end, Ordering::Relaxed);
            })
            .await;
    }
}
