//! The JSON form of a record.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Deserialize;

use super::RecordFields;
use crate::{Error, ErrorKind, Record, Result};

/// Writes a record as one JSON object, without a newline.
///
/// # Errors
/// Returns the errors of `out`.
pub fn write_json(out: &mut impl Write, record: &RecordFields<'_>) -> io::Result<()> {
    out.write_all(b"{\"topic\":")?;
    serde_json::to_writer(&mut *out, record.topic)?;
    write!(out, ",\"partition\":{},\"offset\":{},\"timestamp\":", record.partition, record.offset)?;
    match record.timestamp {
        Some(timestamp) => write!(out, "{timestamp}")?,
        None => out.write_all(b"null")?,
    }
    out.write_all(b",\"headers\":")?;
    write_headers(out, record)?;
    out.write_all(b",\"key\":")?;
    match record.key {
        Some(key) => write_bytes(out, key)?,
        None => out.write_all(b"null")?,
    }
    out.write_all(b",\"value\":")?;
    write_bytes(out, record.value)?;
    out.write_all(b"}")
}

/// Writes the headers as a list of objects with name and value: a name may occur twice.
pub(super) fn write_headers(out: &mut impl Write, record: &RecordFields<'_>) -> io::Result<()> {
    out.write_all(b"[")?;
    for (at, (name, value)) in record.headers.iter().enumerate() {
        out.write_all(if at == 0 { b"{\"name\":" } else { b",{\"name\":" })?;
        serde_json::to_writer(&mut *out, name)?;
        out.write_all(b",\"value\":")?;
        write_bytes(out, value)?;
        out.write_all(b"}")?;
    }
    out.write_all(b"]")
}

/// Writes UTF-8 as a JSON string, and other bytes as `{"b64":"…"}`.
///
/// # Errors
/// Returns the errors of `out`.
pub fn write_bytes(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(serde_json::to_writer(out, text)?),
        Err(_) => write_encoded(out, bytes),
    }
}

/// Writes bytes as `{"b64":"…"}`.
pub(super) fn write_encoded(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    write!(out, "{{\"b64\":\"{}\"}}", BASE64_STANDARD.encode(bytes))
}

/// Reads bytes in the form `{"b64":"…"}`.
pub(super) fn read_encoded(text: &[u8]) -> Result<Bytes> {
    let parsed: JsonBytes = serde_json::from_slice(text).map_err(|error| {
        Error::new(ErrorKind::DeserializationError, "not bytes in base64").with_source(error)
    })?;
    parsed.decode("field")
}

/// A record that was read from its JSON form.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ParsedRecord {
    /// The topic that the record was in.
    pub topic: Option<String>,
    /// The partition that the record was in. The record itself has none, so that the producer chooses one.
    pub partition: Option<u32>,
    /// The offset that the record had.
    pub offset: Option<i64>,
    /// Key, value, headers and time.
    pub record: Record,
}

impl From<Record> for ParsedRecord {
    /// Takes a record that was in no topic.
    fn from(record: Record) -> Self {
        Self { topic: None, partition: None, offset: None, record }
    }
}

impl ParsedRecord {
    /// Parses the JSON form of a record. All fields but `value` may be missing, and headers may be an object of names and
    /// values.
    ///
    /// # Errors
    /// [`ErrorKind::DeserializationError`] for other JSON: a field of another name or type, a missing value, base64 that does not
    /// decode.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        let parsed: JsonRecord = serde_json::from_slice(text).map_err(|error| {
            Error::new(ErrorKind::DeserializationError, "not a record in JSON").with_source(error)
        })?;
        let mut record = Record::new(parsed.value.decode("value")?);
        record.key = parsed.key.map(|key| key.decode("key")).transpose()?;
        record.timestamp = parsed.timestamp;
        record.headers = parsed.headers.decode()?;
        Ok(Self { topic: parsed.topic, partition: parsed.partition, offset: parsed.offset, record })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRecord {
    topic: Option<String>,
    partition: Option<u32>,
    offset: Option<i64>,
    timestamp: Option<i64>,
    #[serde(default)]
    headers: JsonHeaders,
    key: Option<JsonBytes>,
    value: JsonBytes,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "headers are a list of objects with name and value, or an object")]
enum JsonHeaders {
    List(Vec<JsonHeader>),
    Object(BTreeMap<String, JsonBytes>),
}

impl JsonHeaders {
    fn decode(self) -> Result<Vec<(String, Bytes)>> {
        let headers: Vec<_> = match self {
            Self::List(list) => list.into_iter().map(|header| (header.name, header.value)).collect(),
            Self::Object(object) => object.into_iter().collect(),
        };
        headers.into_iter().map(|(name, value)| Ok((name, value.decode("header")?))).collect()
    }
}

/// Reads headers in the form of JSON: a list of objects with name and value, or an object.
///
/// # Errors
/// [`ErrorKind::DeserializationError`] for other JSON.
pub fn read_headers(text: &[u8]) -> Result<Vec<(String, Bytes)>> {
    let parsed: JsonHeaders = serde_json::from_slice(text).map_err(|error| {
        Error::new(ErrorKind::DeserializationError, "not headers in JSON").with_source(error)
    })?;
    parsed.decode()
}

impl Default for JsonHeaders {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonHeader {
    name: String,
    value: JsonBytes,
}

/// Bytes in JSON.
#[derive(Deserialize)]
#[serde(untagged, expecting = "bytes are a string, or an object {\"b64\":\"…\"}")]
enum JsonBytes {
    Text(String),
    Encoded(EncodedBytes),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EncodedBytes {
    b64: String,
}

impl JsonBytes {
    fn decode(self, field: &str) -> Result<Bytes> {
        match self {
            Self::Text(text) => Ok(text.into()),
            Self::Encoded(EncodedBytes { b64 }) => {
                BASE64_STANDARD.decode(b64).map(Bytes::from).map_err(|error| {
                    let message = format!("the {field} of a record is not base64");
                    Error::new(ErrorKind::DeserializationError, message).with_source(error)
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use floe_wire::batch::{BatchBuilder, FinishOptions};
    use proptest::prelude::*;

    use super::*;
    use crate::exchange::write_csv;

    /// A record as it lies in a batch, in JSON and as a line of CSV.
    fn forms(record: &Record) -> (Vec<u8>, Vec<u8>) {
        let headers: Vec<_> =
            record.headers.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
        let mut builder = BatchBuilder::new(1024);
        builder.append(1, record.key.as_deref(), &record.value, &headers).unwrap();
        let batch = builder.finish(FinishOptions::default()).unwrap();
        let records = batch.records().unwrap();
        let stored = records.borrowed().next().unwrap().unwrap();
        let fields = RecordFields {
            topic: "orders",
            partition: 3,
            offset: 9,
            timestamp: record.timestamp,
            key: stored.key,
            value: stored.value,
            headers: stored.headers,
        };
        let (mut json, mut csv) = (Vec::new(), Vec::new());
        write_json(&mut json, &fields).unwrap();
        write_csv(&mut csv, &fields).unwrap();
        (json, csv)
    }

    fn record() -> impl Strategy<Value = Record> {
        let bytes = || prop_oneof!["\\PC{0,12}".prop_map(|text| text.into_bytes()), any::<Vec<u8>>()];
        let headers = proptest::collection::vec(("[a-z]{1,4}", bytes()), 0..4);
        (proptest::option::of(bytes()), bytes(), headers, proptest::option::of(any::<i64>())).prop_map(
            |(key, value, headers, timestamp)| {
                let mut record = Record::new(Bytes::from(value));
                record.key = key.map(Bytes::from);
                record.timestamp = timestamp;
                headers.into_iter().fold(record, |record, (name, value)| record.header(name, value))
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(record in record()) {
            let (json, csv) = forms(&record);
            prop_assert!(!json.contains(&b'\n'));
            let parsed = ParsedRecord::from_json(&json).unwrap();
            prop_assert_eq!((parsed.topic.as_deref(), parsed.partition, parsed.offset), (Some("orders"), Some(3), Some(9)));
            prop_assert_eq!(&parsed.record.key, &record.key);
            prop_assert_eq!(&parsed.record.value, &record.value);
            prop_assert_eq!(&parsed.record.headers, &record.headers);
            prop_assert_eq!(parsed.record.timestamp, record.timestamp);
            prop_assert!(csv.ends_with(b"\r\n"));
        }

        #[test]
        fn random_text_is_refused_without_a_panic(text in any::<Vec<u8>>()) {
            let _ = ParsedRecord::from_json(&text);
        }
    }

    #[test]
    fn fields_may_be_missing_and_headers_an_object() {
        let parsed =
            ParsedRecord::from_json(br#"{"value":"x","headers":{"a":"1","b":{"b64":"/w=="}}}"#).unwrap();
        assert_eq!(parsed.record.headers.len(), 2);
        assert_eq!((parsed.record.key, parsed.record.timestamp), (None, None));
    }

    #[test]
    fn other_json_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"value":null}"#,
            r#"{"value":5}"#,
            r#"{"value":{"b64":"?"}}"#,
            r#"{"value":{"b64":"","more":1}}"#,
            r#"{"vale":"x"}"#,
            r#"{"value":"x","header":{}}"#,
            r#"{"value":"x","headers":[{"name":"a"}]}"#,
            r#"{"value":"x","partition":-1}"#,
            r#"{"value":"x","timestamp":1.5}"#,
            r#"{"value":"x"} {"value":"y"}"#,
        ] {
            let error = ParsedRecord::from_json(text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DeserializationError, "{text}");
        }
    }
}
