//! Offset lookup by time. The protocol has no such request, so this bisects over the headers of batches.

use std::sync::Arc;

use floe_core::{Error, ErrorKind, Result, engine::Watermarks, topic::TopicPartition};
use floe_wire::{
    batch::{BatchHeader, EncodedBatch, MAX_BATCH_LEN, Tail},
    fluvio::{
        FetchPartition, FetchReply, FetchRequest, FetchTopic, Isolation as WireIsolation, PartitionRecords,
    },
};

use super::{errors, router::Router};

/// Bytes to fetch for the header of a batch.
const HEADER_BYTES: usize = 64;

/// Finds the offset of the first record in `marks` whose time is at or after `timestamp`.
///
/// The bisection reads one header at each offset. It finds the right batch as long as the times of batches do not decrease,
/// and skips batches without times.
pub(super) async fn find(
    router: &Arc<Router>,
    at: &TopicPartition,
    marks: Watermarks,
    timestamp: i64,
) -> Result<Option<i64>> {
    // All batches before `low` are older; the batch at `high`, if any, is not.
    let (mut low, mut high) = (marks.start, marks.high);
    while low < high {
        let middle = low + (high - low) / 2;
        match next_timed(router, at, middle, high).await? {
            Some(header) if header.max_timestamp < timestamp => low = header.next_offset().max(middle + 1),
            // The batch is this one or an earlier one.
            Some(header) if header.base_offset <= middle => high = header.base_offset.max(low).min(middle),
            // Batches from here up to a later one have no times.
            Some(_) | None => high = middle,
        }
        if high <= low {
            break;
        }
    }
    // `low` is the start of the wanted batch, or of untimed batches before it.
    let Some(header) = next_timed(router, at, low, marks.high).await? else { return Ok(None) };
    if header.max_timestamp < timestamp {
        return Ok(None);
    }
    let batch = fetch_whole(router, at, header.base_offset.max(low)).await?;
    for record in batch.records()? {
        let record = record?;
        if record.offset >= marks.start && record.timestamp.is_some_and(|time| time >= timestamp) {
            return Ok((record.offset < marks.high).then_some(record.offset));
        }
    }
    Ok(Some(header.next_offset()).filter(|next| *next < marks.high))
}

/// Reads the header of the first batch with times that holds `offset` or comes after it, before `end`.
async fn next_timed(
    router: &Arc<Router>,
    at: &TopicPartition,
    mut offset: i64,
    end: i64,
) -> Result<Option<BatchHeader>> {
    while offset < end {
        let slice = fetch(router, at, offset, HEADER_BYTES).await?.records.to_bytes();
        if slice.is_empty() {
            return Ok(None);
        }
        let header = BatchHeader::decode(&slice)?;
        if header.max_timestamp > 0 {
            return Ok(Some(header));
        }
        offset = header.next_offset().max(offset + 1);
    }
    Ok(None)
}

/// Fetches the whole batch that holds `offset`.
async fn fetch_whole(router: &Arc<Router>, at: &TopicPartition, offset: i64) -> Result<EncodedBatch> {
    let mut max_bytes = 64 * 1024;
    loop {
        let slice = fetch(router, at, offset, max_bytes).await?.records;
        let mut split = slice.split();
        if let Some(batch) = split.next() {
            return Ok(batch?);
        }
        match split.tail() {
            Tail::Incomplete { needed, .. } if max_bytes < MAX_BATCH_LEN => {
                max_bytes = needed.unwrap_or(0).max(max_bytes * 2).min(MAX_BATCH_LEN);
            }
            Tail::Empty | Tail::Incomplete { .. } => {
                let message = format!("there is no whole batch at offset {offset}");
                return Err(Error::new(ErrorKind::CorruptData, message));
            }
        }
    }
}

/// Fetches one slice from the batch that holds `offset` on, up to the end of the leader's log. Empty at the end.
pub(super) async fn fetch(
    router: &Arc<Router>,
    at: &TopicPartition,
    offset: i64,
    max_bytes: usize,
) -> Result<PartitionRecords> {
    let max_bytes = i32::try_from(max_bytes).unwrap_or(i32::MAX);
    let partition = FetchPartition {
        partition: at.partition,
        fetch_offset: offset,
        max_bytes,
        ..FetchPartition::default()
    };
    let request = FetchRequest {
        max_bytes,
        isolation: WireIsolation::ReadUncommitted,
        topics: vec![FetchTopic { name: at.topic.to_string(), partitions: vec![partition] }],
        ..FetchRequest::default()
    };
    let reply: FetchReply = router.call(at, &request).await?;
    errors::check(reply.error_code)?;
    let found = reply.topics.into_iter().flat_map(|topic| topic.partitions).next();
    let found = found.ok_or_else(|| {
        Error::new(ErrorKind::ProtocolError, "the reply to a fetch lacks the requested partition")
    })?;
    router.learn(at, errors::check(found.error_code.clone()))?;
    Ok(found)
}
