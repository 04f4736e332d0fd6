//! Fetch: returns what is stored, without waiting.

use floe::{
    engine::{self, ReadRequest, Start},
    memory::MemoryReservation,
};
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
    response_writer::{Disconnected, READ_BYTES, ResponseSender, with_buffers},
};

/// Memory of a partition in the reply, besides its records.
const PARTITION_BYTES: usize = 128;

/// Answers Fetch with at most the bytes of records that the client and the server admit, or one batch; and returns the
/// memory of the reply.
///
/// Memory is reserved before the read, so that a client which does not read its answers costs none. A batch that is larger
/// is dropped, and read anew once there is enough.
pub(super) async fn answer(
    node: &Node,
    session: &Session,
    request: FetchRequest,
    responses: &ResponseSender,
) -> Result<(FetchReply, MemoryReservation), Disconnected> {
    let most = usize::try_from(request.max_bytes).unwrap_or(usize::MAX).min(node.limits.response_bytes);
    let partitions: usize = request.topics.iter().map(|topic| topic.partitions.len() + 1).sum();
    let head = partitions.saturating_mul(PARTITION_BYTES);
    let mut room = responses.reserve(with_buffers(most).saturating_add(head)).await?;
    let mut largest = most;
    loop {
        match answer_within(node, session, &request, (most, largest)).await {
            Ok(reply) => return Ok((reply, room)),
            Err(BatchTooLarge(size)) => {
                drop(room);
                room = responses.reserve(with_buffers(size).saturating_add(head)).await?;
                largest = size;
            }
        }
    }
}

/// The first batch of a reply exceeds the memory of the reply; its size.
struct BatchTooLarge(usize);

/// Returns at most `budget` bytes of records, or one batch of at most `largest` bytes.
async fn answer_within(
    node: &Node,
    session: &Session,
    request: &FetchRequest,
    (mut budget, largest): (usize, usize),
) -> Result<FetchReply, BatchTooLarge> {
    // The limits per partition are ignored, as on a real server: all partitions share the limit of the reply.
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut records = 0;
    let mut bytes = 0;
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let read = match session.check(CONSUME, &topic.name) {
                Ok(()) => {
                    let at = (topic.name.as_str(), wanted.partition);
                    // Only the first batch of a reply may be larger than the budget.
                    let first = if bytes == 0 { Some(largest) } else { None };
                    read(node, at, wanted.fetch_offset, (budget, first), request.isolation).await
                }
                Err(denied) => Err(ReadEnd::Refused(errors::of_denied(denied))),
            };
            let (answer, count) = match read {
                Ok(read) => read,
                Err(ReadEnd::TooLarge(size)) => return Err(BatchTooLarge(size)),
                Err(ReadEnd::Refused(error_code)) => {
                    node.metrics.error(Frontend::Data, error_code.name());
                    (PartitionRecords { error_code, ..PartitionRecords::default() }, 0)
                }
            };
            budget = budget.saturating_sub(answer.records.len());
            bytes += answer.records.len();
            records += count;
            partitions.push(PartitionRecords { partition: wanted.partition, ..answer });
            consume_budget().await;
        }
        topics.push(FetchTopicReply { name: topic.name.clone(), partitions });
    }
    node.metrics.sent(records, bytes);
    session.received(bytes);
    Ok(FetchReply { topics, ..FetchReply::default() })
}

/// Why a partition has no records in the reply.
enum ReadEnd {
    Refused(ErrorCode),
    /// The first batch of the reply has this size, more than there is memory for.
    TooLarge(usize),
}

impl From<ErrorCode> for ReadEnd {
    fn from(error_code: ErrorCode) -> Self {
        Self::Refused(error_code)
    }
}

/// Reads at most `max_bytes` of a partition. The first batch of a reply may have as many as `first` says.
async fn read(
    node: &Node,
    (topic, partition): (&str, u32),
    offset: i64,
    (max_bytes, first): (usize, Option<usize>),
    isolation: Isolation,
) -> Result<(PartitionRecords, u64), ReadEnd> {
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
        return Ok((answer, 0));
    }
    let isolation = match isolation {
        Isolation::ReadUncommitted => engine::Isolation::ReadUncommitted,
        Isolation::ReadCommitted => engine::Isolation::ReadCommitted,
    };
    let request = ReadRequest::new(found.at, Start::Offset(offset))
        .max_bytes(max_bytes.min(READ_BYTES))
        .isolation(isolation);
    let mut reader = node.engine.open(request).await.map_err(of_read)?;
    let (mut batches, mut bytes, mut records) = (Vec::new(), 0, 0);
    // The loop stops at the high watermark taken above, so it never waits for new records.
    let mut next = offset;
    while next < marks.high {
        // The size of a batch is unknown before it is read.
        let turn = node.first_reads.acquire().await.ok();
        let batch = reader.next().await.map_err(of_read)?;
        let Some(batch) = batch else { break };
        let fits = bytes + batch.len() <= max_bytes;
        match first.filter(|_| batches.is_empty()) {
            Some(first) if !fits && batch.len() > first => return Err(ReadEnd::TooLarge(batch.len())),
            None if !fits => break,
            _ => {}
        }
        drop(turn);
        next = batch.next_offset();
        bytes += batch.len();
        records += u64::from(batch.header().offset_span());
        batches.push(batch);
    }
    answer.records = RecordSet::from_batches(&batches);
    Ok((answer, records))
}
