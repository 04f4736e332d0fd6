//! Configures and starts a consumer.

mod sharing;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    num::NonZeroU32,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream};

use super::{
    Consumer, ConsumerCore, ConsumerShared,
    ack_tracker::AckTracker,
    chunk::Chunk,
    commit::OffsetCommitter,
    fetch::{Fetch, FetchSettings, Outlet},
    group::{MemberHandle, Membership, Sharing},
    partition::{AbortOnDrop, Partition},
    partition_discovery::PartitionOpener,
    prefetch_queue::PrefetchQueue,
    rate_limit::RateLimit,
    settings::{AckMode, CommitPolicy, GapPolicy, Settings},
    start_position::{StartAt, StartPosition, resolve},
    task_lease::TaskKeeper,
    undecodable::{OnUndecodable, UndecodableHandler},
};
use crate::{
    Error, ErrorKind, Result, RetryPolicy, SmartModule,
    client_core::ClientCore,
    engine::{Capabilities, EngineInfo, Isolation},
    history::ReaderHistory,
    payload::{PayloadCodec, RecordDecoder, Untyped, formats},
    smartmodule,
    telemetry::{ConsumerTelemetry, Lag, Queue},
    topic::{Topic, TopicInfo},
    units::{bytes, count},
};

/// Partitions whose start position is looked up concurrently.
const LOOKUPS: usize = 64;

/// Place where the offsets of a consumer go, if it has a group.
enum Commits {
    /// The engine, which has stored these offsets of the partitions.
    Engine(Vec<Option<i64>>),
    /// A shared group.
    Member(MemberHandle),
}

/// Configures a consumer before it starts; from [`Client::consumer`](crate::Client::consumer).
#[must_use = "a builder does nothing until start"]
pub struct ConsumerBuilder<C = Untyped> {
    spec: ConsumerSpec,
    codec: C,
    on_undecodable: OnUndecodable,
}

/// The settings that do not depend on the codec.
#[derive(Debug)]
struct ConsumerSpec {
    client: ClientCore,
    topic: Topic,
    from: Option<StartAt>,
    partitions: Option<Vec<u32>>,
    mirror: Option<Arc<str>>,
    group: Option<Arc<str>>,
    shared: Option<Sharing>,
    /// Set by a processor that handles its records exactly once.
    tasks: Option<Box<TaskKeeper>>,
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
        let spec = ConsumerSpec {
            from: None,
            partitions: None,
            mirror: None,
            group: None,
            shared: None,
            tasks: None,
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
                    keeps_stored: false,
                    telemetry,
                },
            },
            client,
            topic,
        };
        Self { spec, codec: Untyped, on_undecodable: OnUndecodable::default() }
    }

    formats!(ConsumerBuilder);

    /// Decodes the values with a codec.
    pub fn payload<C: PayloadCodec>(self, codec: C) -> ConsumerBuilder<C> {
        ConsumerBuilder { spec: self.spec, codec, on_undecodable: self.on_undecodable }
    }
}

impl<C> ConsumerBuilder<C> {
    /// Sets where reading begins in every partition. Default: [`StartAt::StoredOrBeginning`] with a group, which then misses
    /// no record; [`StartAt::End`] without a group.
    pub fn from(mut self, start: StartAt) -> Self {
        self.spec.from = Some(start);
        self
    }

    /// Reads for the tasks of a processor.
    pub(crate) fn tasks(mut self, keeper: TaskKeeper) -> Self {
        self.spec.tasks = Some(Box::new(keeper));
        self
    }

    /// Reads one partition. Default: all.
    pub fn partition(self, partition: u32) -> Self {
        self.partitions([partition])
    }

    /// Reads these partitions. Default: all partitions of the topic.
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = u32>) -> Self {
        let mut partitions: Vec<_> = partitions.into_iter().collect();
        partitions.sort_unstable();
        partitions.dedup();
        self.spec.partitions = Some(partitions);
        self
    }

    /// Reads only the partitions that are mirrored with this cluster, of a topic that is mirrored between clusters.
    /// Default: all.
    pub fn mirror(mut self, cluster: impl Into<Arc<str>>) -> Self {
        self.spec.mirror = Some(cluster.into());
        self
    }

    /// Stores offsets under this name, so that a later consumer of the group continues where this one ended. Default: no group.
    ///
    /// By itself a group shares nothing: two consumers that read the same partitions both return every record, and the later
    /// commit wins. With [`ConsumerBuilder::shared`] the consumers of a group divide the partitions.
    pub fn group(mut self, group: impl Into<Arc<str>>) -> Self {
        self.spec.group = Some(group.into());
        self
    }

    /// Divides the partitions of the topic among all consumers of the group that do the same: each partition has one reader at
    /// a time. When one crashes, the others take over after its session; when one joins or leaves, partitions move after
    /// the records in hand are finished. Every record is handled at least once. [The page on
    /// groups](https://github.com/floe-rs/floe/blob/main/docs/groups.md) has the promises and the costs.
    ///
    /// The members find each other through the topic `floe-groups` (setting `groups.topic`), which the first of them creates.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> floe::Result<()> {
    /// use floe::{Client, TopicSpec};
    ///
    /// let client = Client::connect("memory:").await?;
    /// client.admin().create_topic(TopicSpec::new("orders").partitions(4)).await?;
    /// client.producer("orders").start().await?.send("one coffee").await?;
    ///
    /// let mut worker = client.consumer("orders").group("billing").shared().start().await?;
    /// assert!(worker.try_next().await?.is_some());
    /// worker.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn shared(self) -> Self {
        self.shared_as(Membership::default())
    }

    /// As [`ConsumerBuilder::shared`], with settings of this member.
    pub fn shared_as(mut self, membership: Membership) -> Self {
        self.spec.shared = Some(Sharing::Alone(membership));
        self
    }

    /// Reads the topic as the same member of the shared group as another consumer, so that the partitions of one number of both
    /// topics come to this process together, as far as both have them. The group and its settings are those of the other consumer,
    /// which is started before with the same client; commit policy, start and all else are each consumer's own.
    ///
    /// Each of the consumers handles its own topic: it commits for that alone, a close gives up that topic only, and the last close
    /// leaves the group. A failure of the member, such as [`ErrorKind::Fenced`], ends all of them; the deletion of a topic ends
    /// its consumer.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> floe::Result<()> {
    /// # use floe::{Client, TopicSpec};
    /// # let client = Client::connect("memory:").await?;
    /// # client.admin().create_topic(TopicSpec::new("orders").partitions(4)).await?;
    /// # client.admin().create_topic(TopicSpec::new("returns").partitions(4)).await?;
    /// let orders = client.consumer("orders").group("billing").shared().start().await?;
    /// let returns = client.consumer("returns").shared_with(&orders).start().await?;
    /// assert_eq!(client.groups().describe("billing").await?.members.len(), 1);
    /// # returns.close().await?;
    /// # orders.close().await
    /// # }
    /// ```
    pub fn shared_with(mut self, consumer: &Consumer<impl Sized>) -> Self {
        self.share(Sharing::of(consumer));
        self
    }

    /// Sets the way to share, with the group of another member unless the application has chosen one.
    pub(crate) fn share(&mut self, sharing: Sharing) {
        if self.spec.group.is_none() {
            self.spec.group = sharing.group();
        }
        self.spec.shared = Some(sharing);
    }

    /// Sets when offsets are stored. Has no effect without a group. Default: every 5 seconds, which bounds the records that
    /// are read again after a crash.
    pub fn commit(mut self, policy: CommitPolicy) -> Self {
        self.spec.settings.commit = policy;
        self
    }

    /// Sets when a record counts as finished. Default: [`AckMode::Auto`].
    pub fn ack_mode(mut self, mode: AckMode) -> Self {
        self.spec.settings.ack_mode = mode;
        self
    }

    /// Bounds the prefetched bytes (uncompressed) of all partitions together. Every partition may hold one batch beyond that,
    /// and the batch being handed out does not count. Default 8 MiB: enough to keep a fast application busy, little enough for
    /// thousands of partitions.
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.spec.prefetch_bytes = bytes;
        self
    }

    /// Bounds the prefetched records, in addition to [`ConsumerBuilder::prefetch_bytes`]. Default: no bound.
    pub fn prefetch_records(mut self, records: usize) -> Self {
        self.spec.prefetch_records = records;
        self
    }

    /// Sets the approximate bytes of one fetch from the engine. A larger batch is fetched whole. Default 1 MiB.
    pub fn fetch_bytes(mut self, bytes: usize) -> Self {
        self.spec.settings.fetch.fetch_bytes = bytes;
        self
    }

    /// Keeps the bytes of stored batches, for [`RecordBatch::stored`](super::RecordBatch::stored). Compressed batches then take
    /// memory in both forms. Default: not kept.
    pub fn keep_stored(mut self) -> Self {
        self.spec.settings.fetch.keeps_stored = true;
        self
    }

    /// Sets whether records that are not on all replicas yet are read. Default: [`Isolation::ReadUncommitted`].
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.spec.settings.fetch.isolation = isolation;
        self
    }

    /// Ends the consumer after the records that existed at its start; where reading removes records, as on Walrus, when none
    /// is left. Default: waits for further records.
    pub fn stop_at_end(mut self) -> Self {
        self.spec.stop_at_end = true;
        self
    }

    /// Throttles the consumer to this rate, evenly spaced; after an idle time a burst of up to a tenth of a second is allowed.
    /// A batch is handed out whole, and delays the next one by its number of records. Default: no limit.
    pub fn rate_limit(mut self, records_per_second: NonZeroU32) -> Self {
        self.spec.rate_limit = Some(records_per_second);
        self
    }

    /// Sets the reaction to missing records. Default: [`GapPolicy::Fail`], because a loss should be noticed.
    pub fn on_gap(mut self, policy: GapPolicy) -> Self {
        self.spec.settings.gaps = policy;
        self
    }

    /// Sets how failed readers are reopened, at the next offset, so that no record is lost or duplicated. Default: without
    /// end, with exponential backoff of at most 5 seconds, so that a consumer outlives an outage. The failure of the open
    /// reader counts as the first attempt: [`RetryPolicy::never`] returns it to the application. A reader that returned a
    /// batch, or stayed open longer than the longest delay, resets the count.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.spec.settings.fetch.reconnect = policy;
        self
    }

    /// Adds a SmartModule, which processes the records on the server; further modules process the output of the previous ones.
    /// Default: none.
    ///
    /// The modules decide about the records: these have no headers and no times, and their offsets are exact only in part (see
    /// [the page on Fluvio](https://github.com/floe-rs/floe/blob/main/docs/fluvio.md)). Offsets are stored for the output of whole batches, so that after a crash a record may be read again,
    /// and none is skipped.
    pub fn smartmodule(mut self, module: SmartModule) -> Self {
        self.spec.smartmodules.push(module);
        self
    }

    /// Sets the reaction to a record that does not decode. Default: [`OnUndecodable::Fail`], because only the program knows
    /// whether it can do without the record.
    pub fn on_undecodable(mut self, policy: OnUndecodable) -> Self
    where
        C: PayloadCodec,
    {
        self.on_undecodable = policy;
        self
    }

    /// Finds the partitions and their start positions, and begins to read ahead.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for invalid settings; [`ErrorKind::Unsupported`] where the engine lacks a feature that
    /// they need; [`ErrorKind::TopicNotFound`], [`ErrorKind::PartitionNotFound`]; [`ErrorKind::OffsetOutOfRange`] when the
    /// start, or the stored offset, lies outside of the partition. With a dead-letter topic also the errors of its creation.
    pub async fn start(self) -> Result<Consumer<C>>
    where
        C: RecordDecoder,
    {
        let undecodable = UndecodableHandler::open(&self.on_undecodable, &self.spec.client).await?;
        Ok(Consumer { core: self.spec.start().await?, codec: self.codec, undecodable })
    }
}

impl<C> fmt::Debug for ConsumerBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("spec", &self.spec)
            .field("on_undecodable", &self.on_undecodable)
            .finish_non_exhaustive()
    }
}

impl ConsumerSpec {
    async fn start(mut self) -> Result<ConsumerCore> {
        let EngineInfo { name, capabilities, .. } = self.client.info();
        let start = self.check(name, capabilities)?;
        self.settings.fetch.smartmodules =
            (!self.smartmodules.is_empty()).then(|| std::mem::take(&mut self.smartmodules).into());
        let partitions = self.find_partitions().await?;
        if let Some(sharing) = self.shared.take() {
            self.start_shared(sharing, partitions.len(), start).await
        } else if capabilities.offsets {
            let positions = self.start_positions(&partitions, start).await?;
            self.start_numbered(&partitions, positions, capabilities)
        } else {
            self.start_unnumbered(&partitions, start, name).await
        }
    }

    /// Checks the settings without IO.
    fn check(&self, engine: &'static str, capabilities: Capabilities) -> Result<StartAt> {
        let invalid = |problem: &'static str| Err(Error::new(ErrorKind::InvalidConfig, problem));
        let default = if self.group.is_some() { StartAt::StoredOrBeginning } else { StartAt::End };
        let start = self.from.unwrap_or(default);
        if self.group.as_deref() == Some("") {
            return invalid("the group name is empty");
        }
        if self.prefetch_bytes == 0 || self.prefetch_records == 0 {
            return invalid("prefetch_bytes and prefetch_records must be at least 1");
        }
        if self.settings.fetch.fetch_bytes == 0 {
            return invalid("fetch_bytes must be at least 1");
        }
        if self.partitions.as_deref() == Some(&[]) {
            return invalid("the list of partitions is empty; omit `partitions` to read all");
        }
        if self.mirror.is_some() && self.partitions.is_some() {
            return invalid("`partitions` and `mirror` exclude each other");
        }
        if self.mirror.is_some() && !capabilities.mirrors {
            return Err(Error::unsupported("mirrored topics", engine).with_topic(&self.topic));
        }
        if self.settings.commit == CommitPolicy::Interval(Duration::ZERO) {
            return invalid(
                "the commit interval is zero; CommitPolicy::PerRecord commits after every record",
            );
        }
        if start.needs_group() && self.group.is_none() {
            return invalid("a start at the stored offset needs a group");
        }
        if let Some(sharing) = &self.shared {
            self.check_shared(sharing, engine, capabilities)?;
        }
        if self.group.is_some() && !capabilities.commit_offsets {
            return Err(Error::unsupported("stored consumer offsets", engine).with_topic(&self.topic));
        }
        smartmodule::check(&self.smartmodules, engine, capabilities.smartmodules)
            .map_err(|error| error.with_topic(&self.topic))?;
        if !capabilities.offsets {
            start.without_offsets(engine).map_err(|error| error.with_topic(&self.topic))?;
            // Where reading removes records, the end is where none is left.
            if self.stop_at_end && !capabilities.consuming_reads {
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
        // Boxed, because the compiler cannot prove that a stream over borrowing closures is `Send`.
        let lookup = |partition: &u32| -> BoxFuture<'_, Result<StartPosition>> {
            let at = self.topic.partition(*partition);
            Box::pin(async move { resolve(self.client.engine(), &at, start, self.group.as_ref()).await })
        };
        let lookups: Vec<_> = partitions.iter().map(lookup).collect();
        stream::iter(lookups).buffered(LOOKUPS).try_collect().await
    }

    /// The history of the consumer. Modules make other records than those that were sent.
    fn history(&self) -> ReaderHistory {
        if self.settings.fetch.smartmodules.is_some() {
            return ReaderHistory::default();
        }
        let offsets = self.client.info().capabilities.offsets;
        self.client.history().reader(self.group.as_ref(), offsets)
    }

    fn start_numbered(
        self,
        numbers: &[u32],
        positions: Vec<StartPosition>,
        capabilities: Capabilities,
    ) -> Result<ConsumerCore> {
        let opener = PartitionOpener {
            engine: Arc::clone(self.client.engine()),
            queue: PrefetchQueue::new(numbers.len(), self.prefetch_bytes, self.prefetch_records),
            topic: self.topic.clone(),
            fetch: self.settings.fetch.clone(),
            ack_mode: self.settings.ack_mode,
            history: self.history(),
        };
        let mut partitions = Vec::with_capacity(numbers.len());
        let mut stored = Vec::with_capacity(numbers.len());
        for (index, (&number, position)) in numbers.iter().zip(positions).enumerate() {
            stored.push(position.stored);
            if let Some(gap) = opener.gap_before(number, &position) {
                opener.queue.push(index, 0, gap);
            }
            let end = self.stop_at_end.then_some(position.bounds.high);
            partitions.push(opener.open((index, 0), number, position.next, end));
        }
        let queue = Arc::clone(&opener.queue);
        let reads_all = self.partitions.is_none() && self.mirror.is_none() && !self.stop_at_end;
        let discovery = (reads_all && capabilities.partitions).then(|| {
            let known = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            AbortOnDrop::spawn(opener.discover(known, self.group.clone()))
        });
        Ok(self.assemble(queue, partitions, Commits::Engine(stored), discovery))
    }

    async fn start_unnumbered(
        self,
        numbers: &[u32],
        start: StartAt,
        name: &'static str,
    ) -> Result<ConsumerCore> {
        let engine = self.client.engine();
        let start = start.without_offsets(name)?;
        let queue = if engine.info().capabilities.consuming_reads {
            PrefetchQueue::on_demand(numbers.len())
        } else {
            PrefetchQueue::new(numbers.len(), self.prefetch_bytes, self.prefetch_records)
        };
        let history = self.history();
        let mut partitions = Vec::with_capacity(numbers.len());
        for (index, &number) in numbers.iter().enumerate() {
            let at = self.topic.partition(number);
            let settings = self.settings.fetch.clone();
            let fetch =
                Fetch::open_unnumbered(Arc::clone(engine), at.clone(), settings, (start, self.stop_at_end))
                    .await?;
            let outlet = Outlet { queue: Arc::clone(&queue), index, generation: 0 };
            let acks = AckTracker::new(self.settings.ack_mode, 0);
            let acks = Arc::new(acks.with_history(history.partition(&at)));
            let task = Some(AbortOnDrop::spawn(fetch.run(outlet)));
            partitions.push(Partition { at, position: 0, end: None, acks, task });
        }
        Ok(self.assemble(queue, partitions, Commits::Engine(Vec::new()), None))
    }

    fn assemble(
        self,
        queue: Arc<PrefetchQueue>,
        partitions: Vec<Partition>,
        commits: Commits,
        discovery: Option<AbortOnDrop>,
    ) -> ConsumerCore {
        let engine = Arc::clone(self.client.engine());
        let (commits, member) = match (commits, &self.group) {
            (Commits::Member(member), _) => (None, Some(member)),
            (Commits::Engine(stored), Some(group)) => {
                let acks = partitions.iter().map(|p| (p.at.clone(), Arc::clone(&p.acks))).collect();
                let committer = OffsetCommitter::new(Arc::clone(&engine), Arc::clone(group), acks, stored);
                (Some(Arc::new(committer)), None)
            }
            (Commits::Engine(_), None) => (None, None),
        };
        let committer = match (&commits, self.settings.commit) {
            (Some(commits), CommitPolicy::Interval(period)) => {
                Some(AbortOnDrop::spawn(Arc::clone(commits).run_every(period)))
            }
            _ => None,
        };
        let chosen = self.from.is_some_and(|start| !start.needs_group());
        for partition in &partitions {
            partition.acks.history().begins(partition.position, chosen);
        }
        let by_policy = self.settings.commit != CommitPolicy::Manual;
        let (topic, group) = (self.topic.clone(), self.group.clone());
        let shared = Arc::new(ConsumerShared { engine, topic, group, queue, commits, member, by_policy });
        self.client.register(Arc::downgrade(&shared) as _);
        let positions = partitions.iter().map(|partition| (partition.at.clone(), partition.position));
        let lag = Lag::new(&shared.engine, self.group.clone(), positions);
        let lag_task = AbortOnDrop::spawn(Arc::clone(&lag).run());
        let telemetry = &self.settings.fetch.telemetry;
        let queue: Weak<dyn Queue> = Arc::downgrade(&shared) as _;
        telemetry.watch_queue("consumer", &self.topic, queue);
        let telemetry = ConsumerTelemetry::new(telemetry, self.topic.clone(), self.group.clone(), lag);
        let indexes: HashMap<_, _> =
            partitions.iter().enumerate().map(|(index, partition)| (partition.at.partition, index)).collect();
        ConsumerCore {
            shared,
            group: self.group,
            settings: self.settings,
            partitions,
            indexes,
            current: None,
            handed_out: None,
            chunk: Chunk::default(),
            rate_limit: RateLimit::new(self.rate_limit),
            commit_due: false,
            committing: None,
            gaps: VecDeque::new(),
            ended: false,
            deleted: false,
            telemetry,
            _committer: committer,
            _discovery: discovery,
            _lag: lag_task,
        }
    }
}
