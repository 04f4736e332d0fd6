//! The coordination log of a group: its topic, and records in and out.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use floe_group::{GroupPartition, GroupRecord, GroupState, MemberId, Snapshot};
use floe_wire::batch::{BatchBuilder, FinishOptions};

use super::tail_guard::SeenRecord;
use crate::{
    Error, ErrorKind, Message, Result, TopicSpec,
    client_core::ClientCore,
    consumer::fetch_range::{FetchLimit, fetch_range},
    engine::{Acks, AppendRequest, SharedEngine},
    producer::{KeyHash, PartitionChoice, Partitioner as _},
    topic::{Topic, TopicPartition},
};

/// Partitions of the coordination topic. The number decides where the records of a group are, so it never changes. More
/// partitions of the topic stay unused.
const PARTITIONS: u32 = 8;

/// Age at which records may go. A group that lives writes a snapshot every few minutes.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Most copies of the coordination topic.
const MAX_REPLICATION: usize = 3;

/// Records at the end of the partition in which a newcomer looks for a snapshot first. Each further look takes eight times as
/// many.
const FIRST_LOOK: i64 = 2_000;

/// A record of the group, or bytes that are none.
#[derive(Debug)]
pub(super) struct LogEntry {
    pub(super) offset: i64,
    /// Milliseconds since the Unix epoch, by the clock of the writer.
    time: Option<i64>,
    pub(super) record: Option<GroupRecord>,
}

/// The state at the end of the log, and what the records after the snapshot say about times.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) state: GroupState,
    /// Offset of the next record.
    pub(crate) next: i64,
    /// The last record of the partition, of any group.
    pub(super) last: Option<SeenRecord>,
    /// Time of the last commit of each partition.
    pub(crate) committed_at: BTreeMap<GroupPartition, i64>,
    /// Time of the last record of each member.
    pub(crate) heard_at: BTreeMap<MemberId, i64>,
}

/// The partition of the coordination topic that holds the records of a group.
#[derive(Debug, Clone)]
pub(crate) struct GroupLog {
    client: ClientCore,
    group: Arc<str>,
    at: TopicPartition,
}

impl GroupLog {
    /// Finds the topic. Returns `None` if there is none and `create` is not set.
    pub(crate) async fn open(client: &ClientCore, group: &Arc<str>, create: bool) -> Result<Option<Self>> {
        let topic = Topic::from(client.settings().groups.topic.as_str());
        let info = match client.engine().topic(topic.clone()).await {
            Ok(info) => info,
            Err(error) if error.kind() == ErrorKind::TopicNotFound && create => {
                create_topic(client, &topic).await?;
                client.engine().topic(topic.clone()).await?
            }
            Err(error) if error.kind() == ErrorKind::TopicNotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if info.partitions < PARTITIONS {
            let message = format!(
                "the topic of the groups has {} partitions and needs {PARTITIONS}: add some",
                info.partitions
            );
            return Err(Error::new(ErrorKind::InvalidConfig, message).with_topic(&topic));
        }
        let at = topic.partition(partition_of(group));
        Ok(Some(Self { client: client.clone(), group: Arc::clone(group), at }))
    }

    pub(super) fn engine(&self) -> &SharedEngine {
        self.client.engine()
    }

    pub(super) fn place(&self) -> &TopicPartition {
        &self.at
    }

    /// Appends a record, and returns its offset. An error says nothing about its effect: the caller reads on, and writes the
    /// next record.
    ///
    /// # Cancel safety
    /// A dropped future may still have appended.
    pub(crate) async fn append(&self, record: &GroupRecord) -> Result<Option<i64>> {
        let value = record.encode().map_err(|error| {
            Error::new(ErrorKind::SerializationError, "a record of the group exceeds its limits")
                .with_source(error)
        })?;
        let mut builder = BatchBuilder::new(value.len() + 128);
        let time = self.client.clock().now_millis();
        builder.append(time, Some(self.group.as_bytes()), &value, &[])?;
        let batch = builder.finish(FinishOptions::default())?;
        let request = AppendRequest::new(self.at.clone(), batch, Acks::Committed);
        Ok(self.client.engine().append(request).await?.base_offset)
    }

    /// Reads the state at the end of the log.
    pub(crate) async fn replay(&self) -> Result<Replayed> {
        let mut look = FIRST_LOOK;
        loop {
            let bounds = self.client.engine().watermarks(self.at.clone()).await?;
            let from = bounds.high.saturating_sub(look).max(bounds.start);
            let mut replay = Replay::new(from == bounds.start, from);
            let mut last = None;
            let next = self.scan(from..bounds.high, |message| {
                last = Some(SeenRecord::of(message));
                let record = (message.offset, message.timestamp, message.key.as_deref(), &message.value[..]);
                self.entry(record).into_iter().for_each(|entry| replay.take(entry));
            });
            let next = next.await?;
            match replay.finish(next, last) {
                Some(replayed) => return Ok(replayed),
                None => look = look.saturating_mul(8),
            }
        }
    }

    /// Reads the records of all groups of the partition. Returns the offset after the last one.
    async fn scan(&self, offsets: Range<i64>, mut take: impl FnMut(&Message)) -> Result<i64> {
        let mut next = offsets.start;
        while next < offsets.end {
            let limit = FetchLimit::default();
            let messages = fetch_range(self.client.engine(), self.at.clone(), next, limit).await?;
            let Some(last) = messages.last() else { break };
            next = last.offset + 1;
            messages.iter().for_each(&mut take);
        }
        Ok(next)
    }

    /// Reads a record by its offset, time, key and value; `None` if it is one of another group.
    pub(super) fn entry(
        &self,
        (offset, time, key, value): (i64, Option<i64>, Option<&[u8]>, &[u8]),
    ) -> Option<LogEntry> {
        if key != Some(self.group.as_bytes()) {
            return None;
        }
        Some(LogEntry::decode(&self.group, (offset, time), value))
    }

    /// Reads the states of all groups, ordered by name.
    pub(crate) async fn all(client: &ClientCore) -> Result<BTreeMap<Arc<str>, Replayed>> {
        let any: Arc<str> = Arc::from("");
        let Some(mut log) = Self::open(client, &any, false).await? else { return Ok(BTreeMap::new()) };
        let mut groups = BTreeMap::new();
        for number in 0..PARTITIONS {
            log.at.partition = number;
            let bounds = client.engine().watermarks(log.at.clone()).await?;
            let mut replays: BTreeMap<Arc<str>, Replay> = BTreeMap::new();
            let next = log.scan(bounds.start..bounds.high, |message| {
                let key = message.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
                let Some(name) = key.filter(|name| partition_of(name) == number) else { return };
                let replay =
                    replays.entry(Arc::from(name)).or_insert_with(|| Replay::new(true, bounds.start));
                replay.take(LogEntry::decode(name, (message.offset, message.timestamp), &message.value));
            });
            let next = next.await?;
            groups.extend(
                replays.into_iter().filter_map(|(name, replay)| Some((name, replay.finish(next, None)?))),
            );
        }
        Ok(groups)
    }
}

impl LogEntry {
    /// Decodes a record of a group. Bytes that are none are passed over.
    fn decode(group: &str, (offset, time): (i64, Option<i64>), value: &[u8]) -> Self {
        let record = GroupRecord::decode(value);
        if let Err(error) = &record {
            tracing::debug!(group, offset, %error, "a record is passed over");
        }
        Self { offset, time, record: record.ok() }
    }
}

/// Builds a state from records that begin anywhere in the log.
#[derive(Debug)]
struct Replay {
    state: Option<GroupState>,
    /// Offset of the group's record before.
    before: Option<i64>,
    /// Whether retention may have removed earlier records, so that the first snapshot counts without its predecessor.
    begins_cut: bool,
    from: i64,
    committed_at: BTreeMap<GroupPartition, i64>,
    heard_at: BTreeMap<MemberId, i64>,
}

impl Replay {
    fn new(begins_log: bool, from: i64) -> Self {
        let state = begins_log.then(GroupState::default);
        let (committed_at, heard_at) = (BTreeMap::new(), BTreeMap::new());
        Self { state, before: None, begins_cut: begins_log && from > 0, from, committed_at, heard_at }
    }

    fn take(&mut self, entry: LogEntry) {
        let LogEntry { offset, time, record } = entry;
        if let (Some(record), Some(time)) = (&record, time) {
            self.note(record, time);
        }
        if let Some(GroupRecord::Snapshot(snapshot)) = &record
            && let Some(restored) = self.restored(offset, snapshot)
        {
            self.state = Some(restored);
            self.begins_cut = false;
        } else if let Some(state) = &mut self.state {
            match &record {
                Some(record) => _ = state.apply(offset, record),
                None => state.pass_over(offset),
            }
        }
        self.before = Some(offset);
    }

    fn note(&mut self, record: &GroupRecord, time: i64) {
        let beat = match record {
            GroupRecord::Join(join) => {
                self.heard_at.insert(join.member, time);
                return;
            }
            GroupRecord::Beat(beat) | GroupRecord::Leave(beat) => beat,
            GroupRecord::Release(release) => &release.beat,
            _ => return,
        };
        self.heard_at.insert(beat.member, time);
        for commit in &beat.commits {
            self.committed_at.insert(commit.held.partition.clone(), time);
        }
    }

    /// Returns what was read up to `next`; `None` if the records before the first are needed.
    fn finish(self, next: i64, last: Option<SeenRecord>) -> Option<Replayed> {
        let Self { state, committed_at, heard_at, .. } = self;
        Some(Replayed { state: state?, next, last, committed_at, heard_at })
    }

    /// The state by a snapshot, where the records before it do not give it.
    fn restored(&self, offset: i64, snapshot: &Snapshot) -> Option<GroupState> {
        let needed = self.state.is_none() || self.begins_cut;
        let before =
            self.before.or_else(|| (self.begins_cut && snapshot.upto < self.from).then_some(snapshot.upto));
        if needed { GroupState::restore(offset, snapshot, before?) } else { None }
    }
}

/// Returns as much replication as the cluster has, up to [`MAX_REPLICATION`].
pub(crate) async fn replication_factor(client: &ClientCore) -> u32 {
    let nodes = client.engine().health().await.map_or(1, |health| {
        health
            .nodes
            .iter()
            // The data servers of a cluster lead nothing; its controllers do.
            .filter(|node| node.ready && node.leads == Some(false))
            .count()
            .clamp(1, MAX_REPLICATION)
    });
    u32::try_from(nodes).unwrap_or(1)
}

async fn create_topic(client: &ClientCore, topic: &Topic) -> Result<()> {
    let nodes = replication_factor(client).await;
    let mut spec = TopicSpec::new(topic.clone()).partitions(PARTITIONS).retention_age(RETENTION);
    if nodes > 1 {
        spec = spec.replication_factor(nodes);
    }
    match client.engine().create_topic(spec).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::TopicAlreadyExists => Ok(()),
        Err(error) => {
            let message = format!(
                "shared groups keep their members in the topic {topic}, which cannot be created: run `floe topic create \
                 {topic} --partitions {PARTITIONS} --retention-age 7d` with the right to create topics, and let this \
                 program read and write it"
            );
            Err(Error::new(error.kind(), message).with_topic(topic).with_source(error))
        }
    }
}

/// Returns the partition of the coordination topic that holds a group: that of its name as a key.
fn partition_of(group: &str) -> u32 {
    match KeyHash.partition(Some(group.as_bytes()), &[], PARTITIONS) {
        PartitionChoice::Partition(number) => number,
        PartitionChoice::Any => 0,
    }
}
