//! Records as text that other programs read and write.
//!
//! `floe consume -o jsonl` writes this form, `floe produce --input jsonl` reads it, and the HTTP API of the console answers in
//! it. One record is one JSON object on one line:
//!
//! ```text
//! {"topic":"orders","partition":1,"offset":7,"timestamp":1700000000500,
//!  "headers":[{"name":"origin","value":"web"}],"key":"ada","value":"one coffee"}
//! ```
//!
//! Keys, values and the values of headers are strings where they are UTF-8, and `{"b64":"…"}` elsewhere, so that no byte is
//! lost. A record without a key has the key `null`; one without a time has the timestamp `null`.
//!
//! ```
//! use floe::exchange::ParsedRecord;
//!
//! let line = br#"{"key":"ada","value":"one coffee","headers":[{"name":"origin","value":"web"}]}"#;
//! let parsed = ParsedRecord::from_json(line)?;
//! assert_eq!(parsed.record.key.as_deref(), Some(&b"ada"[..]));
//! assert_eq!(parsed.partition, None);
//! # Ok::<(), floe::Error>(())
//! ```

mod csv;
mod json;

pub use csv::{CSV_HEADING, read_csv_bytes, write_csv};
pub use json::{ParsedRecord, read_headers, write_bytes, write_json};

use crate::{
    Message,
    consumer::{BorrowedHeaders, BorrowedRecord, RecordBatch},
};

/// Parts of a stored record, borrowed: the common form of messages and of records in batches.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RecordFields<'a> {
    /// The topic of the record.
    pub topic: &'a str,
    /// The partition of the record.
    pub partition: u32,
    /// The offset of the record in its partition.
    pub offset: i64,
    /// Milliseconds since the Unix epoch, if the record has a time.
    pub timestamp: Option<i64>,
    /// The key, if the record has one; may be empty.
    pub key: Option<&'a [u8]>,
    /// The payload.
    pub value: &'a [u8],
    /// Names and values that belong to the record.
    pub headers: BorrowedHeaders<'a>,
}

impl<'a> RecordFields<'a> {
    /// Creates the parts of a record without a time, a key and headers.
    #[must_use]
    pub fn new(topic: &'a str, partition: u32, offset: i64, value: &'a [u8]) -> Self {
        let headers = BorrowedHeaders::default();
        Self { topic, partition, offset, timestamp: None, key: None, value, headers }
    }

    /// Returns the parts of a record of a batch.
    #[must_use]
    pub fn of_batch(batch: &'a RecordBatch, record: &BorrowedRecord<'a>) -> Self {
        Self {
            topic: batch.topic.as_str(),
            partition: batch.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
        }
    }
}

impl<'a> From<&'a Message> for RecordFields<'a> {
    fn from(message: &'a Message) -> Self {
        Self {
            topic: message.topic.as_str(),
            partition: message.partition,
            offset: message.offset,
            timestamp: message.timestamp,
            key: message.key.as_deref(),
            value: &message.value,
            headers: message.headers.borrowed(),
        }
    }
}
