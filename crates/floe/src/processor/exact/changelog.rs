//! The changelog of a processor: what its handler made of each input record, before it is sent.
//!
//! A task writes to the partition of the changelog that has the number of its input partition, under its own producer id, so
//! that the numbering, the take-over and the fences are those of its outputs.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use floe_core::producer_id::is_older;
use floe_wire::batch::{BatchBuilder, EncodedBatch, FinishOptions, MAX_BATCH_LEN, ProducerIdentity};

use super::{
    changelog_record::{ChangelogEntry, ChangelogRecord, fence},
    context::{OutputSettings, TaskContext},
    numbering::{MODULUS, PartitionNumbers},
    patience::patiently,
    written_tail::{WrittenRecord, read_written},
};
use crate::{
    Error, ErrorKind, Result,
    admin::Admin,
    client_core::ClientCore,
    consumer::group::replication_factor,
    engine::{Acks, AppendRequest, SharedEngine},
    producer::ProducerBuilder,
    topic::{Topic, TopicPartition, TopicSpec},
};

/// Age at which retention removes records of a changelog that the processor creates. Only those behind the last commit are
/// needed, and a processor that stands still for longer than this has lost the commit as well: the coordination topic has the
/// same retention.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Most bytes of an entry in one record; a larger one is split.
const PART_LEN: usize = 256 * 1024;

/// What a task found in its changelog beyond its last commit.
#[derive(Debug, Default)]
pub(super) struct ChangelogTail {
    /// In the order of the input.
    pub(super) entries: VecDeque<RecordedEntry>,
    /// Numbers of the records that were found: those of the entries, if there are some.
    pub(super) records: u32,
    /// Offset after the last record.
    pub(super) end: Option<i64>,
}

/// An entry of the changelog.
#[derive(Debug)]
pub(super) struct RecordedEntry {
    /// Offset of the input record.
    pub(super) offset: i64,
    pub(super) entry: ChangelogEntry,
    /// Numbers that it took, with those of fences and of parts without a last one before it, and behind the last entry.
    pub(super) numbers: u32,
    /// Offset in the changelog after them.
    pub(super) end: i64,
}

/// Most bytes of an entry in one record on this engine.
pub(super) fn part_len(client: &ClientCore) -> usize {
    // An entry and the framing of its batch have room beside.
    (client.info().capabilities.max_batch_bytes / 2).min(PART_LEN)
}

/// Creates the changelog with as many partitions as the input, unless it exists.
///
/// # Errors
/// Errors of the engine, with the command that creates it.
pub(super) async fn create(client: &ClientCore, (from, changelog): (&Topic, &Topic)) -> Result<()> {
    let partitions = client.engine().topic(from.clone()).await?.partitions;
    let mut spec = TopicSpec::new(changelog).partitions(partitions).retention_age(RETENTION);
    let servers = replication_factor(client).await;
    if servers > 1 {
        spec = spec.replication_factor(servers);
    }
    Admin::new(client.clone()).ensure_topic(spec).await.map(drop).map_err(|error| {
        let message = format!(
            "recorded outputs go to the topic {changelog} first, which cannot be created: run `floe topic create {changelog} \
             --partitions {partitions} --retention-age 7d`, or choose another one with recorded_in"
        );
        Error::new(error.kind(), message).with_topic(changelog).with_source(error)
    })
}

/// Adds the partition of a task to the changelog, whose input may have grown.
///
/// # Errors
/// Errors of the engine, with the command that adds it.
pub(super) async fn ensure_partition(context: &TaskContext, partition: u32) -> Result<()> {
    let Some(changelog) = context.changelog() else { return Ok(()) };
    let (engine, topic) = (context.client.engine(), &changelog.topic);
    if engine.topic(topic.clone()).await?.partitions > partition {
        return Ok(());
    }
    let total = engine.topic(context.topics.from.clone()).await?.partitions.max(partition + 1);
    let Err(error) = engine.add_partitions(topic.clone(), total).await else { return Ok(()) };
    if error.is_retriable() {
        return Err(error);
    }
    // Another task may have added more meanwhile.
    if engine.topic(topic.clone()).await?.partitions > partition {
        return Ok(());
    }
    let message = format!(
        "the changelog has no partition {partition}, and it cannot be added: a changelog needs as many partitions as the input"
    );
    Err(Error::new(error.kind(), message).with_topic(topic).with_source(error))
}

/// Reads what earlier owners have recorded since the last commit. Where logs fence, their appends are refused from then on, so
/// that nothing comes behind what is returned; elsewhere the caller has waited for them.
///
/// # Errors
/// As [`read_written`]; [`ErrorKind::CorruptData`] for records that are no changelog of this processor.
pub(super) async fn read(
    context: &TaskContext,
    engine: &SharedEngine,
    at: &TopicPartition,
    (identity, numbers): (ProducerIdentity, PartitionNumbers),
) -> Result<ChangelogTail> {
    let fences = engine.info().capabilities.conditional_appends;
    loop {
        let read = || read_own(engine, at, (identity.id, numbers));
        let found = patiently(|| Box::pin(read())).await?;
        let is_fenced = found.back().is_some_and(|last| last.contents.0 == identity.epoch);
        if !fences || is_fenced {
            return assemble(context, found)
                .map_err(|error| error.with_topic(&at.topic).with_partition(at.partition));
        }
        let next = (numbers.next + u32::try_from(found.len()).unwrap_or(0)) % MODULUS;
        let first_sequence = i32::try_from(next).unwrap_or(0);
        let batch = fence_batch(context, ProducerIdentity { first_sequence, ..identity })?;
        let append = || engine.append(AppendRequest::new(at.clone(), batch.clone(), Acks::Committed));
        match patiently(append).await {
            // It may be acknowledged as the record of an earlier owner that has got in under its number: the next look tells.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConditionFailed => {}
            Err(error) => return Err(error.with_topic(&at.topic).with_partition(at.partition)),
        }
    }
}

async fn read_own(
    engine: &SharedEngine,
    at: &TopicPartition,
    own: (i64, PartitionNumbers),
) -> Result<VecDeque<WrittenRecord<(i16, Bytes)>>> {
    // Of two records of one number that of the later owner counts: it has sent what it recorded there.
    read_written(&**engine, at, own, |known: Option<&(i16, Bytes)>, epoch, record| {
        let counts = known.is_none_or(|(before, _)| is_older(*before, epoch));
        counts.then(|| (epoch, record.value.clone()))
    })
    .await
}

fn fence_batch(context: &TaskContext, producer: ProducerIdentity) -> Result<EncodedBatch> {
    let mut builder = BatchBuilder::new(64);
    builder.append(context.client.clock().now_millis(), None, &fence(), &[])?;
    Ok(builder.finish(FinishOptions { producer, ..FinishOptions::default() })?)
}

/// Puts entries together.
fn assemble(context: &TaskContext, found: VecDeque<WrittenRecord<(i16, Bytes)>>) -> Result<ChangelogTail> {
    let mut tail =
        ChangelogTail { end: found.back().map(|last| last.offset + 1), ..ChangelogTail::default() };
    let mut unfinished: Option<(i64, i64, Vec<Bytes>)> = None;
    let mut numbers = 0;
    for WrittenRecord { offset: place, contents: (_, value) } in found {
        tail.records += 1;
        numbers += 1;
        let record = ChangelogRecord::decode(value).map_err(|error| at_place(place, &error))?;
        let ChangelogRecord::Part { offset, index, is_last, bytes } = record else {
            // Its owner died before the last part.
            unfinished = None;
            continue;
        };
        let mut parts = match unfinished.take() {
            // An owner begins anew what the one before has not finished.
            _ if index == 0 => Vec::new(),
            Some((of, next, parts)) if (of, next) == (offset, index) => parts,
            _ => return Err(at_place(place, &"the parts before it are missing")),
        };
        if !is_last {
            parts.push(bytes);
            unfinished = Some((offset, index.saturating_add(1), parts));
            continue;
        }
        let whole = if parts.is_empty() {
            bytes
        } else {
            parts.push(bytes);
            parts.concat().into()
        };
        let entry = ChangelogEntry::decode(whole).map_err(|error| at_place(place, &error))?;
        if let Some(problem) = problem(context, &tail, offset, &entry) {
            return Err(at_place(place, &problem));
        }
        let numbers = std::mem::take(&mut numbers);
        tail.entries.push_back(RecordedEntry { offset, entry, numbers, end: place + 1 });
    }
    if let (Some(last), Some(end)) = (tail.entries.back_mut(), tail.end) {
        last.numbers += numbers;
        last.end = end;
    }
    Ok(tail)
}

/// Says why an entry cannot be one of this processor.
fn problem(
    context: &TaskContext,
    tail: &ChangelogTail,
    offset: i64,
    entry: &ChangelogEntry,
) -> Option<&'static str> {
    let Some(output) = context.outputs.get(entry.output).filter(|output| !output.per_task) else {
        return Some("it names an output that the processor does not have");
    };
    let mut partitions = entry.records.iter().filter_map(|record| record.partition);
    if partitions.any(|partition| partition >= output.partitions) {
        return Some("it names a partition that the output does not have");
    }
    if tail.entries.back().is_some_and(|before| before.offset >= offset) {
        return Some("the input records are not in order");
    }
    None
}

fn at_place(offset: i64, problem: &dyn std::fmt::Display) -> Error {
    let message = format!("the changelog cannot be replayed at its offset {offset}: {problem}");
    Error::new(ErrorKind::CorruptData, message)
}

/// Removes the records before a commit, where the engine can. Retention removes them elsewhere.
pub(super) async fn trim(engine: &SharedEngine, at: TopicPartition, before: i64) {
    if let Err(error) = engine.trim(at.clone(), before).await
        && error.kind() != ErrorKind::Unsupported
    {
        tracing::debug!(target = %at, %error, "the changelog is not trimmed");
    }
}

/// Makes a changelog one of the outputs.
pub(super) fn as_output(builder: ProducerBuilder) -> OutputSettings {
    let limit = builder.client().info().capabilities.max_batch_bytes.min(MAX_BATCH_LEN);
    OutputSettings {
        topic: builder.topic().clone(),
        partitions: 1,
        per_task: true,
        partitioner: builder.chosen_partitioner(),
        // Its records are those of the processor, whatever the settings say about those of the program.
        builder: builder.max_request_size(limit),
    }
}
