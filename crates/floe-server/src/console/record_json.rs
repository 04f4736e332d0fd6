//! Records in JSON, with long values cut.

use floe::{
    consumer::BorrowedHeaders,
    exchange::{RecordFields, write_bytes, write_json},
};
use serde_json::{Value, json};

/// Longest key or value, and most bytes of headers, in a list; the request for one record returns all of it.
pub(super) const CUT: usize = 16 * 1024;

/// Returns the JSON form of a record. A key or a value longer than `limit` is cut, headers of more bytes are left out, and the
/// record says so.
pub(super) fn record_json(record: &RecordFields<'_>, limit: usize) -> String {
    let mut short = *record;
    short.value = cut(record.value, limit);
    short.key = record.key.map(|key| cut(key, limit));
    let header_bytes: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if header_bytes > limit {
        short.headers = BorrowedHeaders::default();
    }
    let mut out = Vec::with_capacity(short.value.len() + 256);
    // Writing to a vector cannot fail.
    let _ = write_json(&mut out, &short);
    let key_bytes = record.key.map_or(0, <[u8]>::len);
    if record.value.len() > limit || key_bytes > limit || header_bytes > limit {
        let sizes = json!({
            "value_bytes": record.value.len(), "key_bytes": key_bytes, "header_bytes": header_bytes,
        });
        out.pop();
        out.extend_from_slice(format!(",\"truncated\":{sizes}}}").as_bytes());
    }
    String::from_utf8(out).unwrap_or_default()
}

/// Returns bytes as JSON, cut to `limit`.
pub(super) fn bytes_json(bytes: &[u8], limit: usize) -> Value {
    let mut out = Vec::new();
    let _ = write_bytes(&mut out, cut(bytes, limit));
    serde_json::from_slice(&out).unwrap_or_default()
}

/// Returns the beginning of the bytes; of text, up to the last whole character.
fn cut(bytes: &[u8], limit: usize) -> &[u8] {
    let Some(start) = bytes.get(..limit) else { return bytes };
    if bytes.len() == limit {
        return bytes;
    }
    match std::str::from_utf8(start) {
        // A character that the cut divides.
        Err(error) if error.error_len().is_none() => start.get(..error.valid_up_to()).unwrap_or(start),
        _ => start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_bytes_are_cut_between_characters() {
        assert_eq!(cut("aäb".as_bytes(), 2), b"a");
        assert_eq!(cut("aäb".as_bytes(), 3), "aä".as_bytes());
        assert_eq!(cut(b"abc", 3), b"abc");
        assert_eq!(cut(b"\xff\xff\xff", 2), b"\xff\xff");
        assert_eq!(bytes_json(b"abc", 2), "ab");
        assert_eq!(bytes_json(b"\xff", 2)["b64"], "/w==");
    }
}
