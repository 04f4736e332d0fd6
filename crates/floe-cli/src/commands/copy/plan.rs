//! Settings of the copy of one topic, and the checks before its first record.

use std::{collections::HashMap, time::Duration};

use floe::{
    Client, Codec, Error, ErrorKind,
    consumer::StartAt,
    engine::Capabilities,
    exchange::RecordFields,
    filter::Filter,
    producer::{KeyHash, PartitionChoice, Partitioner as _},
    topic::{Topic, TopicInfo, TopicPartition},
    url::EngineUrl,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    address::engine_of,
    position::LanePosition,
    stamp::CopyIdentity,
    tail::{self, TargetTail},
};
use crate::{
    commands::topic_settings::spec_like,
    exit::{Failure, Outcome},
    output::amount,
};

/// Partitions of the target that are examined at once.
const EXAMINED_AT_ONCE: usize = 16;

/// Records without a key that go to one partition in a row, counted by their offsets.
const KEYLESS_RUN: i64 = 1024;

/// Time without a record after which a source that takes its records from elsewhere has brought in all of them.
const QUIET: Duration = Duration::from_secs(3);

/// Choices of the command line.
#[derive(Debug, Clone)]
pub(super) struct CopyChoices {
    pub(super) filter: Option<Filter>,
    pub(super) keep_partitions: bool,
    pub(super) follow: bool,
    pub(super) append: bool,
    pub(super) codec: Option<Codec>,
}

/// The copy of one topic.
#[derive(Debug)]
pub(super) struct CopyPlan {
    pub(super) from: Client,
    pub(super) to: Client,
    pub(super) source: TopicInfo,
    pub(super) target: Topic,
    /// Number of partitions of the target.
    pub(super) partitions: u32,
    pub(super) identity: CopyIdentity,
    pub(super) choices: CopyChoices,
    pub(super) capabilities: Capabilities,
    /// Whether the target is on the network, where requests of a dead process may still arrive.
    pub(super) is_network: bool,
}

impl CopyPlan {
    /// Returns the topic to read.
    pub(super) async fn source_of(from: &Client, name: &str) -> Outcome<TopicInfo> {
        let info = from.info();
        if info.capabilities.offsets {
            return Ok(from.admin().topic(name).await?);
        }
        let failure =
            Failure::from(Error::unsupported("offsets, by which a copy goes on after a crash", info.name));
        Err(failure.with_hint(
            "on Walrus, journal=PATH in the URL of the source assigns offsets; reading removes entries",
        ))
    }

    /// Checks both ends, and creates the target unless it exists.
    pub(super) async fn prepare(
        (from, to): (&Client, &Client),
        (source, target): (&str, &str),
        choices: CopyChoices,
    ) -> Outcome<Self> {
        let capabilities = to.info().capabilities;
        let source = Self::source_of(from, source).await?;
        require_abilities(from, to)?;
        let target = Topic::from(target);
        let existing = match to.admin().topic(target.clone()).await {
            Ok(info) => Some(info.partitions),
            Err(error) if error.kind() == ErrorKind::TopicNotFound => None,
            Err(error) => return Err(error.into()),
        };
        let offered = existing.unwrap_or(if capabilities.partitions { source.partitions } else { 1 });
        if choices.keep_partitions && offered < source.partitions {
            let message = format!(
                "{target} has {}, and --keep-partitions needs {}",
                amount::count(offered.into(), "partition"),
                source.partitions
            );
            return Err(Failure::usage(message).with_hint(format!(
                "add them with `floe topic add-partitions {target} --to {}`, or leave --keep-partitions out",
                source.partitions
            )));
        }
        if existing.is_none() {
            to.admin().ensure_topic(spec_like(&source, &target, to)).await?;
        }
        let partitions = to.admin().topic(target.clone()).await?.partitions;
        let identity = identity(from, (&source, &target), &choices, partitions)?;
        let (from, to) = (from.clone(), to.clone());
        let is_network = to.url().parse::<EngineUrl>()?.scheme.is_network();
        Ok(Self { from, to, source, target, partitions, identity, choices, capabilities, is_network })
    }

    /// Reads a source whose records come from elsewhere, such as the journal of a Walrus cluster, until none has come for a
    /// while: a reader brings them in, and only what is there can be copied to an end.
    pub(super) async fn bring_in_source(&self) -> floe::Result<()> {
        if self.choices.follow || !self.from.info().capabilities.consuming_reads {
            return Ok(());
        }
        let mut reader = self.from.consumer(self.source.name.clone()).from(StartAt::End).start().await?;
        while let Ok(read) = tokio::time::timeout(QUIET, reader.next_batch()).await {
            read?;
        }
        reader.close().await
    }

    /// Whether the marks of the copy can be read in the target. Where reading removes records, they cannot.
    pub(super) fn reads_target(&self) -> bool {
        self.capabilities.offsets && !self.capabilities.consuming_reads
    }

    /// Returns the partition of the target that gets a record. The same record always goes to the same one: a restart
    /// depends on it.
    pub(super) fn route(&self, record: &RecordFields<'_>) -> u32 {
        if self.choices.keep_partitions {
            return record.partition;
        }
        match KeyHash.partition(record.key, record.value, self.partitions) {
            PartitionChoice::Partition(partition) => partition,
            PartitionChoice::Any => {
                let run = (record.offset / KEYLESS_RUN).unsigned_abs() + u64::from(record.partition);
                u32::try_from(run % u64::from(self.partitions.max(1))).unwrap_or(0)
            }
        }
    }

    /// Returns the partitions of the target that a partition of the source goes to.
    pub(super) fn targets_of(&self, lane: u32) -> Vec<u32> {
        if self.choices.keep_partitions { vec![lane] } else { (0..self.partitions).collect() }
    }

    /// Returns the partition of the target that gets all records of a partition of the source, if there is only one.
    pub(super) fn only_target(&self, lane: u32) -> Option<u32> {
        if self.choices.keep_partitions { Some(lane) } else { (self.partitions == 1).then_some(0) }
    }

    pub(super) fn source_at(&self, partition: u32) -> TopicPartition {
        self.source.name.partition(partition)
    }

    /// Returns the producer ids that a partition of the target may hold.
    pub(super) fn lanes_at(&self, target: u32) -> HashMap<i64, u32> {
        let lanes = 0..self.source.partitions;
        let lanes = lanes.filter(|lane| !self.choices.keep_partitions || *lane == target);
        lanes.map(|lane| (self.identity.lane(lane), lane)).collect()
    }

    /// Reads where the copy stopped, for each partition of the source. Refuses a target with records of others.
    pub(super) async fn positions(&self) -> Outcome<Vec<LanePosition>> {
        if !self.reads_target() {
            let mut positions = Vec::new();
            for lane in 0..self.source.partitions {
                positions.push(self.stored_position(lane).await?);
            }
            return Ok(positions);
        }
        let tails = self.tails(0..self.partitions, None).await?;
        if !self.choices.append {
            for (partition, tail) in (0..).zip(&tails) {
                self.refuse_foreign(partition, tail)?;
            }
        }
        let position = |lane: u32| {
            let next =
                |target: &u32| tails.get(*target as usize).and_then(|tail| tail.next.get(&lane).copied());
            LanePosition::of_stamps(self.targets_of(lane).into_iter().map(|target| (target, next(&target))))
        };
        Ok((0..self.source.partitions).map(position).collect())
    }

    /// As [`CopyPlan::positions`], for one partition of the source, after a failure.
    pub(super) async fn position(&self, lane: u32) -> floe::Result<LanePosition> {
        if !self.reads_target() {
            return self.stored_position(lane).await;
        }
        let targets = self.targets_of(lane);
        let tails = self.tails(targets.iter().copied(), Some(lane)).await?;
        let stamps = targets.into_iter().zip(tails).map(|(at, tail)| (at, tail.next.get(&lane).copied()));
        Ok(LanePosition::of_stamps(stamps))
    }

    async fn stored_position(&self, lane: u32) -> floe::Result<LanePosition> {
        let stored = self.from.engine().committed(self.identity.group().into(), self.source_at(lane)).await?;
        Ok(LanePosition::of_stamps(self.targets_of(lane).into_iter().map(|target| (target, stored))))
    }

    async fn tails(
        &self,
        targets: impl IntoIterator<Item = u32>,
        only: Option<u32>,
    ) -> floe::Result<Vec<TargetTail>> {
        let looks = targets.into_iter().map(|target| {
            let mut lanes = self.lanes_at(target);
            lanes.retain(|_, lane| only.is_none_or(|only| *lane == only));
            async move { tail::examine(self.to.engine(), &self.target.partition(target), &lanes).await }
        });
        stream::iter(looks).buffered(EXAMINED_AT_ONCE).try_collect().await
    }

    fn refuse_foreign(&self, partition: u32, tail: &TargetTail) -> Outcome {
        let (target, end) = (&self.target, tail.offsets.end);
        if end == 0 || tail.ends_with_copy {
            return Ok(());
        }
        let message = if tail.offsets.is_empty() {
            format!(
                "retention has removed the records of {target}/{partition} that show where the copy stopped"
            )
        } else {
            format!("{target}/{partition} has records that this copy did not write: nothing was copied")
        };
        Err(Failure::usage(message).with_hint(
            "a copy is continued by the same FROM, TO, --where and --keep-partitions; --append writes behind the \
             records that are there",
        ))
    }
}

fn require_abilities(from: &Client, to: &Client) -> Outcome {
    let (source, target) = (from.info(), to.info());
    let kept = target.capabilities;
    if !(kept.keys && kept.headers && kept.binary) {
        let failure = Failure::from(Error::unsupported("keys, headers and binary values", target.name));
        return Err(failure.with_hint("leave framing=plain out of the URL of the target"));
    }
    let is_searched = kept.offsets && !kept.consuming_reads;
    if !is_searched && !source.capabilities.commit_offsets {
        let missing = "stored offsets, which hold the progress of a copy to this target";
        return Err(Error::unsupported(missing, source.name).into());
    }
    Ok(())
}

fn identity(
    from: &Client,
    (source, target): (&TopicInfo, &Topic),
    choices: &CopyChoices,
    partitions: u32,
) -> Outcome<CopyIdentity> {
    // A topic of the same name that was created anew is another source; with another number of partitions, keys map to
    // other ones, and marks of the old ones would mislead.
    let created = source.created_at.unwrap_or(0).to_string();
    let mapping = if choices.keep_partitions { "kept".to_owned() } else { partitions.to_string() };
    let filter = choices.filter.as_ref().map_or("", Filter::text);
    let engine = engine_of(from.url())?;
    let parts = ["floe-copy 1", &engine, source.name.as_str(), &created, target.as_str(), &mapping, filter];
    Ok(CopyIdentity::of(&parts))
}
