//! Produce: passes batches from the socket to the engine without a copy.

use std::{mem, sync::Arc, time::Duration};

use floe::{Topic, TopicPartition, engine::Acks};
use floe_wire::{
    WireError,
    batch::{BatchBuilder, EncodedBatch, FinishOptions},
    compress::{Codec, Compression},
    fluvio::{
        ErrorCode, Isolation, PartitionProduceData, PartitionProduceReply, ProduceReply, ProduceRequest,
        SmartModuleInvocation, TopicCompression, TopicProduceReply, TopicStorage,
        names::CONSUMER_OFFSET_TOPIC,
    },
};
use futures_util::future::join_all;
use tokio::task::coop::consume_budget;

use super::super::errors;
use crate::{
    access::{Session, operation::PRODUCE},
    catalog::TopicEntry,
    memory::Tenant,
    metrics::Frontend,
    node::{APPENDS_AT_ONCE, Node, append_in_order},
};

/// A produce request whose entries are each ready to be appended or refused.
pub(super) struct PreparedProduce {
    topics: Vec<(String, Vec<PartitionAppend>)>,
    acks: Acks,
    timeout_ms: i32,
}

struct PartitionAppend {
    at: TopicPartition,
    batches: Result<Vec<EncodedBatch>, ErrorCode>,
}

/// Resolves the topics and checks the batches. Writes nothing. `received` is the memory that the request holds.
pub(super) async fn prepare(
    (node, session, tenant): (&Node, &Session, &Tenant),
    (request, received): (ProduceRequest, usize),
    version: i16,
) -> PreparedProduce {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let name = Topic::from(topic.name.as_str());
        // Official producers send topics without partitions when they flush an empty buffer.
        let rules = if topic.partitions.is_empty() {
            Err(ErrorCode::None)
        } else {
            rules(node, session, &topic.name).await
        };
        let mut entries = Vec::with_capacity(topic.partitions.len());
        for data in topic.partitions {
            let at = name.partition(data.partition);
            let mut batches = match &rules {
                Ok(rules) => check((node, tenant), rules, (&data, received)).await,
                Err(error_code) => Err(error_code.clone()),
            };
            if let (Ok(rules), Ok(whole)) = (&rules, &mut batches)
                && !request.smartmodules.is_empty()
            {
                let whole = mem::take(whole);
                batches =
                    through_modules((node, tenant), (&request.smartmodules, version), &at, rules, whole)
                        .await;
            }
            entries.push(PartitionAppend { at, batches });
            consume_budget().await;
        }
        topics.push((topic.name, entries));
    }
    let acks = match request.isolation {
        Isolation::ReadUncommitted => Acks::Leader,
        Isolation::ReadCommitted => Acks::Committed,
    };
    PreparedProduce { topics, acks, timeout_ms: request.timeout_ms }
}

/// Entries that are appended concurrently.
const ENTRIES_AT_ONCE: usize = 64;

/// Appends all entries; they start in order, and run concurrently where they are short.
pub(super) async fn append(node: &Node, prepared: PreparedProduce) -> ProduceReply {
    let PreparedProduce { topics, acks, timeout_ms } = prepared;
    let mut replies: Vec<_> = topics
        .iter()
        .map(|(name, entries)| TopicProduceReply {
            name: name.clone(),
            partitions: Vec::with_capacity(entries.len()),
        })
        .collect();
    let entries = topics
        .into_iter()
        .enumerate()
        .flat_map(|(topic, (_, entries))| entries.into_iter().map(move |entry| (topic, entry)));
    let mut entries = entries.peekable();
    while entries.peek().is_some() {
        // The batches of an entry are consecutive: the next one starts once all of them have.
        let mut room = APPENDS_AT_ONCE;
        let mut started = Vec::new();
        while let Some((topic, entry)) =
            entries.next_if(|(_, entry)| started.is_empty() || entry.len() <= room)
        {
            room = room.saturating_sub(entry.len());
            started.push(async move { (topic, append_entry(node, entry, acks, timeout_ms).await) });
            if started.len() == ENTRIES_AT_ONCE {
                break;
            }
        }
        for (topic, reply) in join_all(started).await {
            if let Some(replies) = replies.get_mut(topic) {
                replies.partitions.push(reply);
            }
        }
    }
    ProduceReply { topics: replies, throttle_ms: 0 }
}

impl PreparedProduce {
    /// Returns the only batch of a request for one partition.
    pub(super) fn into_batch(self) -> Result<(TopicPartition, EncodedBatch), ErrorCode> {
        let only = self.topics.into_iter().flat_map(|(_, entries)| entries).next();
        let Some(PartitionAppend { at, batches }) = only else {
            return Err(ErrorCode::Other("a request for no partition".to_owned()));
        };
        match <[EncodedBatch; 1]>::try_from(batches?) {
            Ok([batch]) => Ok((at, batch)),
            Err(batches) => Err(ErrorCode::Other(format!("{} batches where one is expected", batches.len()))),
        }
    }
}

impl PartitionAppend {
    /// Number of its batches.
    fn len(&self) -> usize {
        self.batches.as_ref().map_or(0, Vec::len)
    }
}

/// Constraints that a topic puts on its batches.
struct TopicRules {
    entry: Arc<TopicEntry>,
    compression: TopicCompression,
    storage: Option<TopicStorage>,
}

async fn rules(node: &Node, session: &Session, topic: &str) -> Result<TopicRules, ErrorCode> {
    session.check(PRODUCE, topic).map_err(errors::of_denied)?;
    if topic == CONSUMER_OFFSET_TOPIC {
        return Err(ErrorCode::PermissionDenied);
    }
    let Some(entry) = node.catalog.find(topic).await.map_err(|error| errors::of_read(&error))? else {
        return Err(ErrorCode::NotLeaderForPartition);
    };
    let (compression, storage) = node.registry.read(|objects| {
        objects.topics.get(topic).map(|spec| (spec.compression, spec.storage)).unwrap_or_default()
    });
    Ok(TopicRules { entry, compression, storage })
}

/// Returns the batches of an entry. One bad batch refuses the whole entry.
async fn check(
    (node, tenant): (&Node, &Tenant),
    rules: &TopicRules,
    (data, received): (&PartitionProduceData, usize),
) -> Result<Vec<EncodedBatch>, ErrorCode> {
    if data.partition >= rules.entry.info.partitions {
        return Err(ErrorCode::NotLeaderForPartition);
    }
    let mut split = data.records.split();
    let mut batches = Vec::new();
    for batch in split.by_ref() {
        let batch = batch.map_err(|error| match error {
            WireError::TooLarge { .. } => ErrorCode::MessageTooLarge,
            error => ErrorCode::Other(format!("malformed record set: {error}")),
        })?;
        // A batch without records has nothing to write.
        if batch.header().last_offset_delta < 0 {
            continue;
        }
        check_size(rules, &batch)?;
        let codec = batch.header().attributes.codec().map_err(|_| ErrorCode::CompressionError)?;
        if !allows(rules.compression, codec) {
            return Err(ErrorCode::CompressionError);
        }
        // The check records the checksum in the batch, so the log does not compute it again.
        let admitted = node.door.admit(tenant, batch, received).await;
        batches.push(admitted.map_err(|error| refused(node, &error))?);
        consume_budget().await;
    }
    if split.remaining().is_empty() {
        Ok(batches)
    } else {
        Err(ErrorCode::Other("the record set ends inside a batch".to_owned()))
    }
}

/// Returns the code for a batch that is not stored, and counts it by what is wrong with it.
fn refused(node: &Node, error: &WireError) -> ErrorCode {
    let (rule, code) = match error {
        WireError::TooLarge { .. } => ("batch_too_large", ErrorCode::MessageTooLarge),
        WireError::Compression { .. } | WireError::CodecNotCompiled { .. } => {
            ("batch_does_not_decompress", ErrorCode::CompressionError)
        }
        WireError::Checksum { .. } => ("batch_checksum", ErrorCode::Other(error.to_string())),
        _ => ("batch_malformed", ErrorCode::Other(error.to_string())),
    };
    tracing::debug!(%error, rule, "refused a batch");
    node.metrics.refused(Frontend::Data, rule);
    code
}

fn check_size(rules: &TopicRules, batch: &EncodedBatch) -> Result<(), ErrorCode> {
    let segment = rules.storage.and_then(|storage| storage.segment_size);
    if segment.is_some_and(|segment| batch.len() > segment as usize) {
        return Err(ErrorCode::MessageTooLarge);
    }
    Ok(())
}

/// Sends the batches of an entry through modules. A record that a module fails on refuses the whole entry.
async fn through_modules(
    (node, tenant): (&Node, &Tenant),
    (modules, version): (&[SmartModuleInvocation], i16),
    at: &TopicPartition,
    rules: &TopicRules,
    batches: Vec<EncodedBatch>,
) -> Result<Vec<EncodedBatch>, ErrorCode> {
    let failed = |problem: String| ErrorCode::Other(format!("smartmodule chain failed: {problem}"));
    let mut chain = node.smartmodules.open(tenant, modules, at, version).await?;
    let mut outputs = Vec::with_capacity(batches.len());
    for batch in batches {
        let transformed = chain.transform(&batch, batch.base_offset()).await.map_err(failed)?;
        if let Some(failure) = transformed.failure {
            return Err(ErrorCode::SmartModuleRuntimeError(failure));
        }
        if let Some(output) = transformed.batch {
            let output = renumbered(output).map_err(|error| failed(error.to_string()))?;
            check_size(rules, &output)?;
            outputs.push(output);
        }
    }
    Ok(outputs)
}

/// Renumbers the records of a batch without gaps. Records that a module dropped take no offsets; records that it
/// added take one each.
fn renumbered(batch: EncodedBatch) -> Result<EncodedBatch, WireError> {
    let records = batch.records()?;
    let count = records.record_count();
    if batch.header().offset_span() == count && records.is_dense() {
        return Ok(batch);
    }
    let mut builder = BatchBuilder::new(batch.len());
    for record in records.borrowed() {
        let record = record?;
        builder.append(record.timestamp.unwrap_or(-1), record.key, record.value, &[])?;
    }
    let compression = Compression { threshold: 0, ..Compression::new(batch.header().attributes.codec()?) };
    builder.finish(FinishOptions { compression, ..FinishOptions::default() })
}

fn allows(rule: TopicCompression, codec: Codec) -> bool {
    match rule {
        TopicCompression::Any => true,
        TopicCompression::None => codec == Codec::None,
        TopicCompression::Gzip => codec == Codec::Gzip,
        TopicCompression::Snappy => codec == Codec::Snappy,
        TopicCompression::Lz4 => codec == Codec::Lz4,
        TopicCompression::Zstd => codec == Codec::Zstd,
        // Topic creation refuses unknown codecs.
        TopicCompression::Unknown(_) => false,
    }
}

async fn append_entry(
    node: &Node,
    entry: PartitionAppend,
    acks: Acks,
    timeout_ms: i32,
) -> PartitionProduceReply {
    let partition = entry.at.partition;
    let outcome = match entry.batches {
        Ok(batches) => append_batches(node, &entry.at, batches, acks, timeout_ms).await,
        Err(ErrorCode::None) => Ok(0),
        Err(error_code) => Err(error_code),
    };
    let (error_code, base_offset) = match outcome {
        Ok(base_offset) => (ErrorCode::None, base_offset),
        Err(error_code) => {
            node.metrics.error(Frontend::Data, error_code.name());
            (error_code, 0)
        }
    };
    PartitionProduceReply { partition, error_code, base_offset, ..PartitionProduceReply::default() }
}

/// Appends the batches of one entry in their order and returns the offset of the first record; 0 if there is none.
async fn append_batches(
    node: &Node,
    at: &TopicPartition,
    batches: Vec<EncodedBatch>,
    acks: Acks,
    timeout_ms: i32,
) -> Result<i64, ErrorCode> {
    let (mut first, mut records, mut bytes) = (None, 0, 0);
    for batch in &batches {
        records += u64::from(batch.header().offset_span());
        bytes += batch.len();
    }
    let stored = append_in_order(node, at, batches, acks, |outcome| {
        let ack = outcome.map_err(|error| errors::of_append(&error, at, timeout_ms))?;
        first.get_or_insert(ack.base_offset.unwrap_or(0));
        Ok(())
    });
    match acks {
        Acks::Committed => {
            let limit = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
            tokio::time::timeout(limit, stored).await.map_err(|_| errors::timed_out(timeout_ms))??;
        }
        Acks::None | Acks::Leader => stored.await?,
    }
    node.metrics.received(records, bytes);
    Ok(first.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codec_rule_admits_only_its_codec() {
        for codec in Codec::ALL {
            assert!(allows(TopicCompression::Any, codec));
            let table = [
                (TopicCompression::None, Codec::None),
                (TopicCompression::Gzip, Codec::Gzip),
                (TopicCompression::Snappy, Codec::Snappy),
                (TopicCompression::Lz4, Codec::Lz4),
                (TopicCompression::Zstd, Codec::Zstd),
            ];
            for (rule, only) in table {
                assert_eq!(allows(rule, codec), codec == only, "{rule:?} {codec}");
            }
        }
    }
}
