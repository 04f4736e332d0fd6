//! Configures and starts a consumer.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream};

use super::{
    Consumer, ConsumerShared, Partition, StartAt,
    ack_tracker::AckTracker,
    chunk::Chunk,
    commit::OffsetCommitter,
    fetch::{AbortOnDrop, Fetch, FetchSettings, Outlet},
    partition_discovery::PartitionOpener,
    prefetch_queue::PrefetchQueue,
    rate_limit::RateLimit,
    start_position::{StartPosition, resolve},
};
use crate::{
    Error, ErrorKind, Result, RetryPolicy, SmartModule,
    client_core::ClientCore,
    engine::{Capabilities, EngineInfo, Isolation},
    smartmodule,
    telemetry::{ConsumerTelemetry, Lag, Queue},
    topic::{Topic, TopicInfo},
    units::{bytes, count},
};

pub use crate::config::{AckMode, CommitPolicy, GapPolicy};

/// Partitions whose start is looked up at the same time.
const LOOKUPS: usize = 64;

/// What a consumer was configured to do.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) commit: CommitPolicy,
    pub(super) ack_mode: AckMode,
    pub(super) gaps: GapPolicy,
    pub(super) fetch: FetchSettings,
}

/// Configures a consumer before it starts; from [`Client::consumer`](crate::Client::consumer).
#[derive(Debug)]
#[must_use = "a builder does nothing until start"]
pub struct ConsumerBuilder {
    client: ClientCore,
    topic: Topic,
    from: Option<StartAt>,
    partitions: Option<Vec<u32>>,
    mirror: Option<Arc<str>>,
    group: Option<Arc<str>>,
    prefetch_bytes: usize,
    prefetch_records: usize,
    stop_at_end: bool,
    rate_limit: Option<NonZeroU32>,
    smartmodules: Vec<SmartModule>,
    settings: Settings,
}

impl ConsumerBuilder {
    pub(crate) fn new(client: ClientCore, topic: Topic) -> Self {
        let telemetry = client.telemetry().clone();
        let all = client.settings();
        let settings = &all.consumer;
        Self {
            from: None,
            partitions: None,
            mirror: None,
            group: None,
            prefetch_bytes: bytes(settings.prefetch_bytes),
            prefetch_records: settings.prefetch_records.map_or(usize::MAX, count),
            stop_at_end: false,
            rate_limit: None,
            smartmodules: Vec::new(),
            settings: Settings {
                commit: settings.commit,
                ack_mode: settings.ack_mode,
                gaps: settings.on_gap,
                fetch: FetchSettings {
                    fetch_bytes: bytes(settings.fetch_bytes),
                    isolation: settings.isolation,
                    reconnect: all.waits(settings.max_attempts),
                    smartmodules: None,
                    telemetry,
                },
            },
            client,
            topic,
        }
    }

    /// The client that it is from.
    pub(crate) fn client(&self) -> &ClientCore {
        &self.client
    }

    /// Where to begin in every partition. Default: [`StartAt::StoredOrBeginning`] with a group, because a group is
    /// there to miss nothing; [`StartAt::End`] without.
    pub fn from(mut self, start: StartAt) -> Self {
        self.from = Some(start);
        self
    }

    /// Reads one partition. Default: all.
    pub fn partition(self, partition: u32) -> Self {
        self.partitions([partition])
    }

    /// Reads these partitions. Default: all that the topic has when the consumer starts.
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = u32>) -> Self {
        let mut partitions: Vec<_> = partitions.into_iter().collect();
        partitions.sort_unstable();
        partitions.dedup();
        self.partitions = Some(partitions);
        self
    }

    /// Reads only the partitions that are mirrored with this cluster, of a topic that is mirrored between clusters.
    /// Default: all.
    pub fn mirror(mut self, cluster: impl Into<Arc<str>>) -> Self {
        self.mirror = Some(cluster.into());
        self
    }

    /// Stores offsets under this name, so that a later consumer of the group goes on where this one ended. Default:
    /// no group.
    ///
    /// Partitions are not shared out: two consumers of one group that read the same partitions both get every record,
    /// and the later commit wins.
    pub fn group(mut self, group: impl Into<Arc<str>>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// When offsets are stored. Without a group it has no effect. Default: every 5 seconds, so that at most so much is
    /// read again after a crash.
    pub fn commit(mut self, policy: CommitPolicy) -> Self {
        self.settings.commit = policy;
        self
    }

    /// When a record counts as finished. Default: [`AckMode::Auto`].
    pub fn ack_mode(mut self, mode: AckMode) -> Self {
        self.settings.ack_mode = mode;
        self
    }

    /// Reads ahead until so many bytes (uncompressed) wait for the application, all partitions together. Every
    /// partition may hold one batch beyond that. The batch being handed out does not count. Default 8 MiB: enough to
    /// keep a fast application busy, little enough for thousands of partitions.
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.prefetch_bytes = bytes;
        self
    }

    /// As [`ConsumerBuilder::prefetch_bytes`] in records; whichever is reached first counts. Default: no bound.
    pub fn prefetch_records(mut self, records: usize) -> Self {
        self.prefetch_records = records;
        self
    }

    /// About how many bytes to fetch from the engine at once. A larger batch comes whole all the same. Default 1 MiB.
    pub fn fetch_bytes(mut self, bytes: usize) -> Self {
        self.settings.fetch.fetch_bytes = bytes;
        self
    }

    /// What to see of records that are not on all replicas yet. Default: [`Isolation::ReadUncommitted`].
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.settings.fetch.isolation = isolation;
        self
    }

    /// Ends when everything that was there at the start has been handed out. Records appended later are not. Default:
    /// waits for more.
    pub fn stop_at_end(mut self) -> Self {
        self.stop_at_end = true;
        self
    }

    /// Hands out at most so many records a second, evenly; after a pause up to a tenth of a second's worth at once. A
    /// whole batch goes out at once, and the next one waits for as long as it counts. Default: no limit.
    pub fn rate_limit(mut self, records_per_second: NonZeroU32) -> Self {
        self.rate_limit = Some(records_per_second);
        self
    }

    /// What to do when records are missing. Default: [`GapPolicy::Fail`], because a loss should be noticed.
    pub fn on_gap(mut self, policy: GapPolicy) -> Self {
        self.settings.gaps = policy;
        self
    }

    /// How readers that break are opened again, at the next offset, so that nothing is lost or repeated. Default: for
    /// ever, with growing waits of at most 5 seconds, because a consumer that outlives an outage is what nearly everyone
    /// wants. The failure of the open reader counts as the first attempt: [`RetryPolicy::never`] hands it to the
    /// application. A reader that gave a batch, or stayed open longer than the longest delay, starts the count anew.
    pub fn reconnect(mut self, policy: RetryPolicy) -> Self {
        self.settings.fetch.reconnect = policy;
        self
    }

    /// Has the records go through a SmartModule before they come here; called again, through one after the other. Default:
    /// none.
    ///
    /// What comes out is the modules' business: records have no headers and no times, and offsets are exact only in part
    /// (see `docs/fluvio.md`). Offsets are stored for what modules made of whole batches, so that a record may come again
    /// after a crash, and none is left out.
    pub fn smartmodule(mut self, module: SmartModule) -> Self {
        self.smartmodules.push(module);
        self
    }

    /// Finds the partitions and their starts, and begins to read ahead.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for settings that make no sense; [`ErrorKind::Unsupported`] where the engine lacks
    /// what they need; [`ErrorKind::TopicNotFound`], [`ErrorKind::PartitionNotFound`];
    /// [`ErrorKind::OffsetOutOfRange`] when the start, or the stored offset, lies outside of what a partition holds.
    pub async fn start(mut self) -> Result<Consumer> {
        let EngineInfo { name, capabilities, .. } = self.client.info();
        let start = self.check(name, capabilities)?;
        self.settings.fetch.smartmodules =
            (!self.smartmodules.is_empty()).then(|| std::mem::take(&mut self.smartmodules).into());
        let partitions = self.find_partitions().await?;
        if capabilities.offsets {
            let places = self.start_positions(&partitions, start).await?;
            self.start_numbered(&partitions, places, capabilities)
        } else {
            self.start_unnumbered(&partitions, start, name).await
        }
    }

    /// Checks the settings without any IO.
    fn check(&self, engine: &'static str, capabilities: Capabilities) -> Result<StartAt> {
        let invalid = |problem: &'static str| Err(Error::new(ErrorKind::InvalidConfig, problem));
        let default = if self.group.is_some() { StartAt::StoredOrBeginning } else { StartAt::End };
        let start = self.from.unwrap_or(default);
        if self.group.as_deref() == Some("") {
            return invalid("the name of the group is empty");
        }
        if self.partitions.as_deref() == Some(&[]) {
            return invalid("no partition is named; leave `partitions` out to read all");
        }
        if self.mirror.is_some() && self.partitions.is_some() {
            return invalid("partitions are named, and a mirror that chooses them: leave one out");
        }
        if self.settings.commit == CommitPolicy::Interval(Duration::ZERO) {
            return invalid(
                "the commit interval is zero; CommitPolicy::PerRecord commits after every record",
            );
        }
        if start.needs_group() && self.group.is_none() {
            return invalid("a start at the stored offset needs a group");
        }
        if self.group.is_some() && !capabilities.commit_offsets {
            return Err(Error::unsupported("stored consumer offsets", engine).with_topic(&self.topic));
        }
        smartmodule::check(&self.smartmodules, engine, capabilities.smartmodules)
            .map_err(|error| error.with_topic(&self.topic))?;
        if !capabilities.offsets {
            start.without_offsets(engine).map_err(|error| error.with_topic(&self.topic))?;
            if self.stop_at_end {
                return Err(Error::unsupported("offsets, so no known end", engine).with_topic(&self.topic));
            }
        }
        Ok(start)
    }

    async fn find_partitions(&self) -> Result<Vec<u32>> {
        let TopicInfo { partitions: count, mirrors, .. } =
            self.client.engine().topic(self.topic.clone()).await?;
        if let Some(cluster) = &self.mirror {
            let mirrored = (0..).zip(&mirrors).filter(|(_, with)| *with == cluster).map(|(number, _)| number);
            let mirrored: Vec<u32> = mirrored.collect();
            if mirrored.is_empty() {
                let message = format!("no partition of the topic is mirrored with {cluster:?}");
                return Err(Error::new(ErrorKind::PartitionNotFound, message).with_topic(&self.topic));
            }
            return Ok(mirrored);
        }
        let Some(partitions) = self.partitions.clone() else { return Ok((0..count).collect()) };
        match partitions.iter().find(|partition| **partition >= count) {
            None => Ok(partitions),
            Some(&partition) => Err(Error::new(
                ErrorKind::PartitionNotFound,
                format!("the topic has no partition {partition}: it has {count}, numbered from 0"),
            )
            .with_topic(&self.topic)
            .with_partition(partition)),
        }
    }

    async fn start_positions(&self, partitions: &[u32], start: StartAt) -> Result<Vec<StartPosition>> {
        // Boxed: a stream over closures that borrow is not known to be `Send`, and `start` would not be either.
        let lookup = |partition: &u32| -> BoxFuture<'_, Result<StartPosition>> {
            let at = self.topic.partition(*partition);
            Box::pin(async move { resolve(self.client.engine(), &at, start, self.group.as_ref()).await })
        };
        let lookups: Vec<_> = partitions.iter().map(lookup).collect();
        stream::iter(lookups).buffered(LOOKUPS).try_collect().await
    }

    fn start_numbered(
        self,
        numbers: &[u32],
        places: Vec<StartPosition>,
        capabilities: Capabilities,
    ) -> Result<Consumer> {
        let opener = PartitionOpener {
            engine: Arc::clone(self.client.engine()),
            queue: PrefetchQueue::new(numbers.len(), self.prefetch_bytes, self.prefetch_records),
            topic: self.topic.clone(),
            fetch: self.settings.fetch.clone(),
            ack_mode: self.settings.ack_mode,
        };
        let mut partitions = Vec::with_capacity(numbers.len());
        let mut stored = Vec::with_capacity(numbers.len());
        for (index, (&number, place)) in numbers.iter().zip(places).enumerate() {
            stored.push(place.stored);
            if let Some(gap) = opener.gap_before(number, &place) {
                opener.queue.push(index, 0, gap);
            }
            let end = self.stop_at_end.then_some(place.bounds.high);
            partitions.push(opener.open(index, number, place.next, end));
        }
        let queue = Arc::clone(&opener.queue);
        let reads_all = self.partitions.is_none() && self.mirror.is_none() && !self.stop_at_end;
        let follower = (reads_all && capabilities.partitions).then(|| {
            let known = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            AbortOnDrop::spawn(opener.follow(known, self.group.clone()))
        });
        Ok(self.assemble(queue, partitions, stored, follower))
    }

    async fn start_unnumbered(self, numbers: &[u32], start: StartAt, name: &'static str) -> Result<Consumer> {
        let engine = self.client.engine();
        let start = start.without_offsets(name)?;
        let queue = PrefetchQueue::new(numbers.len(), self.prefetch_bytes, self.prefetch_records);
        let mut partitions = Vec::with_capacity(numbers.len());
        for (index, &number) in numbers.iter().enumerate() {
            let at = self.topic.partition(number);
            let settings = self.settings.fetch.clone();
            let fetch = Fetch::open_unnumbered(Arc::clone(engine), at.clone(), settings, start).await?;
            let outlet = Outlet { queue: Arc::clone(&queue), index, generation: 0 };
            let acks = Arc::new(AckTracker::new(self.settings.ack_mode, 0));
            let task = AbortOnDrop::spawn(fetch.run(outlet));
            partitions.push(Partition { at, position: 0, end: None, acks, task });
        }
        Ok(self.assemble(queue, partitions, Vec::new(), None))
    }

    fn assemble(
        self,
        queue: Arc<PrefetchQueue>,
        partitions: Vec<Partition>,
        stored: Vec<Option<i64>>,
        follower: Option<AbortOnDrop>,
    ) -> Consumer {
        let engine = Arc::clone(self.client.engine());
        let commits = self.group.as_ref().map(|group| {
            let acks = partitions.iter().map(|p| (p.at.clone(), Arc::clone(&p.acks))).collect();
            Arc::new(OffsetCommitter::new(Arc::clone(&engine), Arc::clone(group), acks, stored))
        });
        let committer = match (&commits, self.settings.commit) {
            (Some(commits), CommitPolicy::Interval(period)) => {
                Some(AbortOnDrop::spawn(Arc::clone(commits).run_every(period)))
            }
            _ => None,
        };
        let by_policy = self.settings.commit != CommitPolicy::Manual;
        let shared = Arc::new(ConsumerShared { engine, queue, commits, by_policy });
        let weak = Arc::downgrade(&shared);
        self.client.register(weak);
        let places = partitions.iter().map(|partition| (partition.at.clone(), partition.position));
        let lag = Lag::new(&shared.engine, self.group.clone(), places);
        let lag_task = AbortOnDrop::spawn(Arc::clone(&lag).run());
        let telemetry = &self.settings.fetch.telemetry;
        let queue: Weak<dyn Queue> = Arc::downgrade(&shared) as _;
        telemetry.watch_queue("consumer", &self.topic, queue);
        let telemetry = ConsumerTelemetry::new(telemetry, self.topic.clone(), self.group.clone(), lag);
        let indexes: HashMap<_, _> =
            partitions.iter().enumerate().map(|(index, partition)| (partition.at.partition, index)).collect();
        Consumer {
            shared,
            group: self.group,
            settings: self.settings,
            partitions,
            indexes,
            current: None,
            handed_out: None,
            chunk: Chunk::default(),
            pace: RateLimit::new(self.rate_limit),
            commit_due: false,
            committing: None,
            gaps: VecDeque::new(),
            ended: false,
            deleted: false,
            telemetry,
            _committer: committer,
            _follower: follower,
            _lag: lag_task,
        }
    }
}
