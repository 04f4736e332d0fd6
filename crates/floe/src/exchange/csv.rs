//! Records as lines of comma-separated values (RFC 4180).

use std::io::{self, Write};

use bytes::Bytes;

use super::{RecordFields, json};
use crate::Result;

/// First line of a file of records: the names of the columns.
pub const CSV_HEADING: &str = "topic,partition,offset,timestamp,headers,key,value\r\n";

/// Beginning of encoded bytes.
const ENCODED: &[u8] = b"{\"b64\":";

/// Reads a field of [`write_csv`].
///
/// # Errors
/// [`ErrorKind::DeserializationError`](crate::ErrorKind::DeserializationError) for base64 that does not decode.
pub fn read_csv_bytes(field: &[u8]) -> Result<Bytes> {
    if field.starts_with(ENCODED) { json::read_encoded(field) } else { Ok(Bytes::copy_from_slice(field)) }
}

/// Writes a record as one line. Headers have the JSON form. A missing key or time is an empty field, and so is an empty key.
/// Bytes that are not UTF-8, and text that looks like it, are written as `{"b64":"…"}`.
///
/// # Errors
/// Returns the errors of `out`.
pub fn write_csv(out: &mut impl Write, record: &RecordFields<'_>) -> io::Result<()> {
    write_field(out, record.topic.as_bytes())?;
    write!(out, ",{},{},", record.partition, record.offset)?;
    if let Some(timestamp) = record.timestamp {
        write!(out, "{timestamp}")?;
    }
    out.write_all(b",")?;
    let mut text = Vec::new();
    json::write_headers(&mut text, record)?;
    write_field(out, &text)?;
    for bytes in [record.key.unwrap_or_default(), record.value] {
        out.write_all(b",")?;
        if std::str::from_utf8(bytes).is_ok() && !bytes.starts_with(ENCODED) {
            write_field(out, bytes)?;
        } else {
            text.clear();
            json::write_encoded(&mut text, bytes)?;
            write_field(out, &text)?;
        }
    }
    out.write_all(b"\r\n")
}

/// Writes a field, in quotes where it needs them.
fn write_field(out: &mut impl Write, field: &[u8]) -> io::Result<()> {
    let needs_quotes = field.iter().any(|byte| matches!(byte, b'"' | b',' | b'\r' | b'\n'));
    if !needs_quotes {
        return out.write_all(field);
    }
    out.write_all(b"\"")?;
    for (at, part) in field.split(|byte| *byte == b'"').enumerate() {
        if at > 0 {
            out.write_all(b"\"\"")?;
        }
        out.write_all(part)?;
    }
    out.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::BorrowedHeaders;

    #[test]
    fn fields_are_quoted_where_they_need_it() {
        let mut out = Vec::new();
        let record = RecordFields {
            topic: "orders",
            partition: 0,
            offset: 1,
            timestamp: None,
            key: Some(b"\xff"),
            value: b"one \"coffee\",\nplease",
            headers: BorrowedHeaders::default(),
        };
        write_csv(&mut out, &record).unwrap();
        let expected = "orders,0,1,,[],\"{\"\"b64\"\":\"\"/w==\"\"}\",\"one \"\"coffee\"\",\nplease\"\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(CSV_HEADING.matches(',').count(), 6);
    }
}
