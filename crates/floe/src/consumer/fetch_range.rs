//! Reads some records from an offset on, without a consumer.

use tokio::time::timeout;

use super::{
    Gap, Message, RecordBatch,
    fetch::{STALL, stalled},
    offset_check::{Found, Holes, OffsetCheck},
    poll::share,
    start_position::out_of_range,
};
use crate::{
    Error, Result,
    engine::{ReadRequest, SharedEngine, Start},
    topic::TopicPartition,
};

/// How much [`Client::fetch`](crate::Client::fetch) returns at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimit {
    /// Records.
    pub records: usize,
    /// Bytes of keys and values. The first record is returned even if it is larger.
    pub bytes: usize,
}

/// 1,000 records and 1 MiB.
impl Default for FetchLimit {
    fn default() -> Self {
        Self { records: 1000, bytes: 1024 * 1024 }
    }
}

pub(crate) async fn fetch_range(
    engine: &SharedEngine,
    at: TopicPartition,
    from: i64,
    limit: FetchLimit,
) -> Result<Vec<Message>> {
    let info = engine.info();
    if !info.capabilities.offsets {
        return Err(Error::unsupported("offsets", info.name).with_topic(&at.topic));
    }
    let bounds = engine.watermarks(at.clone()).await?;
    if from < bounds.start || from > bounds.high {
        return Err(out_of_range(&at, "offset", from, bounds));
    }
    let mut messages = Vec::new();
    let mut bytes = 0;
    if limit.records == 0 || from == bounds.high {
        return Ok(messages);
    }
    let request = ReadRequest::new(at.clone(), Start::Offset(from)).max_bytes(limit.bytes.max(1));
    let mut reader = engine.open(request).await?;
    let mut check = OffsetCheck::new(from, Some(bounds.high), Holes::without_modules(info.capabilities));
    while !check.is_complete() {
        let next = timeout(STALL, reader.next()).await;
        let next = next.unwrap_or_else(|_| Err(stalled(&at, check.expected(), bounds.high)))?;
        let Some(batch) = next else { break };
        for found in check.accept(batch).into_iter().flat_map(Found::settled) {
            let part = match found {
                Found::Records(part) => part,
                // What comes before a gap is returned; the gap is the answer to the next call.
                Found::Gap(..) if !messages.is_empty() => return Ok(messages),
                Found::Gap(from, to, reason) => return Err(Gap { at, from, to, reason }.into_error()),
            };
            let mut batch = RecordBatch::new(at.topic.clone(), at.partition, part);
            while let Some(record) = batch.pop_as(share) {
                let size = record.key.as_ref().map_or(0, bytes::Bytes::len) + record.value.len();
                if !messages.is_empty() && bytes + size > limit.bytes {
                    return Ok(messages);
                }
                bytes += size;
                messages.push(Message::new(at.topic.clone(), at.partition, record, None));
                if messages.len() == limit.records {
                    return Ok(messages);
                }
            }
        }
    }
    Ok(messages)
}
