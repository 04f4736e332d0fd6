//! Reads some records from an offset on, without a consumer.

use bytes::Bytes;
use tokio::time::timeout;

use super::{
    checked_batch::{CheckedBatch, Found},
    fetch::{STALL, stalled},
    gap::Gap,
    message::Message,
    offset_check::{Holes, OffsetCheck},
    start_position::out_of_range,
};
use crate::{
    Error, Result,
    engine::{ReadRequest, SharedEngine, Start},
    topic::TopicPartition,
};

/// Maximum that [`Client::fetch`](crate::Client::fetch) returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchLimit {
    /// Number of records.
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

impl FetchLimit {
    /// Sets the number of records.
    #[must_use]
    pub fn records(mut self, records: usize) -> Self {
        self.records = records;
        self
    }

    /// Sets the bytes of keys and values. The first record is returned even if it is larger.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
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
    let mut taken = Taken { messages: Vec::new(), bytes: 0, limit };
    if limit.records == 0 || from == bounds.high {
        return Ok(taken.messages);
    }
    let request = ReadRequest::new(at.clone(), Start::Offset(from)).max_bytes(limit.bytes.max(1));
    let mut reader = engine.open(request).await?;
    let mut check = OffsetCheck::new(from, Some(bounds.high), Holes::without_modules(info.capabilities));
    while !check.is_complete() {
        let next = timeout(STALL, reader.next()).await;
        let found = match next.unwrap_or_else(|_| Err(stalled(&at, check.expected(), bounds.high))) {
            Ok(Some(batch)) => check.accept(batch),
            Ok(None) => break,
            Err(error) => check.accept_gap(&error).ok_or(error)?,
        };
        for found in found.into_iter().flat_map(Found::check) {
            match found {
                Found::Records(checked) => {
                    if !taken.add(&at, checked) {
                        return Ok(taken.messages);
                    }
                }
                // Records before a gap are returned; the gap is the result of the next call.
                Found::Gap(..) if !taken.messages.is_empty() => return Ok(taken.messages),
                Found::Gap(from, to, reason) => return Err(Gap::new(at, from..to, reason).into_error()),
            }
        }
    }
    Ok(taken.messages)
}

/// Records taken so far.
struct Taken {
    messages: Vec<Message>,
    bytes: usize,
    limit: FetchLimit,
}

impl Taken {
    /// Takes the records of a batch. Returns whether the limit allows more.
    fn add(&mut self, at: &TopicPartition, mut batch: CheckedBatch) -> bool {
        while let Some(record) = batch.pop_as(|value, section| section.slice_ref(value)) {
            let size = record.key.as_ref().map_or(0, Bytes::len) + record.value.len();
            if !self.messages.is_empty() && self.bytes + size > self.limit.bytes {
                return false;
            }
            self.bytes += size;
            self.messages.push(Message::new(at.topic.clone(), at.partition, record, None));
            if self.messages.len() == self.limit.records {
                return false;
            }
        }
        true
    }
}
