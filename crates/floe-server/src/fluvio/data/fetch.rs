//! Fetch: returns what is stored, without waiting.

use floe::engine::{self, ReadRequest, Start};
use floe_wire::fluvio::{
    ErrorCode, FetchReply, FetchRequest, FetchTopicReply, Isolation, PartitionRecords, RecordSet,
};

use tokio::task::coop::consume_budget;

use super::{
    super::errors,
    stream::{check_start, find},
};
use crate::{
    access::{Session, operation::CONSUME},
    metrics::Frontend,
    node::Node,
};

/// Answers Fetch with at most `budget` bytes of records, or one batch.
pub(super) async fn answer(
    node: &Node,
    session: &Session,
    request: FetchRequest,
    mut budget: usize,
) -> FetchReply {
    // The limits per partition are ignored, as on a real server: all partitions share the limit of the reply.
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let isolation = request.isolation;
            let records = match session.check(CONSUME, &topic.name) {
                Ok(()) => {
                    let at = (topic.name.as_str(), wanted.partition);
                    read(node, at, wanted.fetch_offset, budget, isolation).await
                }
                Err(denied) => Err(errors::of_denied(denied)),
            };
            let answer = records.unwrap_or_else(|error_code| {
                node.metrics.error(Frontend::Data, error_code.name());
                PartitionRecords { error_code, ..PartitionRecords::default() }
            });
            budget = budget.saturating_sub(answer.records.len());
            session.received(answer.records.len());
            partitions.push(PartitionRecords { partition: wanted.partition, ..answer });
            consume_budget().await;
        }
        topics.push(FetchTopicReply { name: topic.name, partitions });
    }
    FetchReply { topics, ..FetchReply::default() }
}

async fn read(
    node: &Node,
    (topic, partition): (&str, u32),
    offset: i64,
    max_bytes: usize,
    isolation: Isolation,
) -> Result<PartitionRecords, ErrorCode> {
    let found = find(node, topic, partition).await?;
    let of_read = |error| errors::of_read(&error);
    let marks = node.engine.watermarks(found.at.clone()).await.map_err(of_read)?;
    check_start(offset, marks)?;
    let mut answer = PartitionRecords {
        high_watermark: marks.high,
        log_start_offset: marks.start,
        ..PartitionRecords::default()
    };
    if offset == marks.high || max_bytes == 0 {
        return Ok(answer);
    }
    let isolation = match isolation {
        Isolation::ReadUncommitted => engine::Isolation::ReadUncommitted,
        Isolation::ReadCommitted => engine::Isolation::ReadCommitted,
    };
    let request = ReadRequest::new(found.at, Start::Offset(offset)).max_bytes(max_bytes).isolation(isolation);
    let mut reader = node.engine.open(request).await.map_err(of_read)?;
    let (mut batches, mut bytes, mut records) = (Vec::new(), 0, 0);
    // The loop stops at the high watermark taken above, so it never waits for new records.
    let mut next = offset;
    while next < marks.high {
        let Some(batch) = reader.next().await.map_err(of_read)? else { break };
        if !batches.is_empty() && bytes + batch.len() > max_bytes {
            break;
        }
        next = batch.next_offset();
        bytes += batch.len();
        records += u64::from(batch.header().offset_span());
        batches.push(batch);
    }
    node.metrics.sent(records, bytes);
    answer.records = RecordSet::from_batches(&batches);
    Ok(answer)
}
