//! The plain framing: each entry is the value of one record.

use bytes::{Bytes, BytesMut};
use floe_core::{Error, ErrorKind, Result};
use floe_wire::{
    batch::{BatchBuilder, EncodedBatch, FinishOptions},
    walrus::{Command, EntryContent, MAX_FRAME_LEN, PACKED_PREFIX, PUT_OVERHEAD, check_text},
};

use super::errors;

/// Returns the size in bytes of the largest value that fits an entry of a topic.
pub(super) fn max_value(topic: &str) -> usize {
    MAX_FRAME_LEN.saturating_sub(PUT_OVERHEAD + topic.len())
}

/// Checks that the protocol carries a value unchanged.
///
/// # Errors
/// [`ErrorKind::InvalidCommand`] for a value that is not text, is empty or ends in white space; [`ErrorKind::RecordTooLarge`].
pub(super) fn check_value<'a>(topic: &str, value: &'a [u8]) -> Result<&'a str> {
    let limit = max_value(topic);
    if value.len() > limit {
        let message =
            format!("a value of {} bytes; one entry of this topic carries at most {limit}", value.len());
        return Err(Error::new(ErrorKind::RecordTooLarge, message));
    }
    let text = check_text(value).map_err(errors::request)?;
    let looks_packed = text.starts_with(PACKED_PREFIX)
        && matches!(EntryContent::parse(Bytes::copy_from_slice(value)), EntryContent::Batch(_));
    if looks_packed {
        let message = "the value is itself a packed batch and would be read as its records";
        return Err(Error::new(ErrorKind::InvalidCommand, message));
    }
    Ok(text)
}

/// Returns the values of a batch after checking each.
///
/// # Errors
/// As [`check_value`]; [`ErrorKind::Unsupported`] for keys and headers; [`ErrorKind::CorruptData`].
pub(super) fn values(topic: &str, batch: &EncodedBatch) -> Result<Vec<Bytes>> {
    let mut values = Vec::new();
    for record in batch.records()? {
        let record = record?;
        if record.key.is_some() {
            return Err(Error::unsupported("keys in the plain framing", super::NAME));
        }
        if !record.headers.is_empty() {
            return Err(Error::unsupported("headers in the plain framing", super::NAME));
        }
        check_value(topic, &record.value)?;
        values.push(record.value);
    }
    Ok(values)
}

/// Encodes the `PUT` of a checked value.
pub(super) fn put(topic: &str, value: &[u8]) -> Result<Bytes> {
    let payload = check_text(value).map_err(errors::request)?;
    let mut out = BytesMut::with_capacity(value.len() + topic.len() + 16);
    Command::Put { topic, payload }.encode(&mut out).map_err(errors::request)?;
    Ok(out.freeze())
}

/// Converts text entries to one batch. The records have no key, headers or timestamp.
pub(super) fn batch_of(texts: &[Bytes]) -> Result<EncodedBatch> {
    let size: usize = texts.iter().map(|text| BatchBuilder::record_len(None, text, &[])).sum();
    let mut builder = BatchBuilder::new(size + 64);
    for text in texts {
        builder.append(-1, None, text, &[])?;
    }
    Ok(builder.finish(FinishOptions::default())?)
}

#[cfg(test)]
mod tests {
    use floe_wire::walrus::pack_into;

    use super::*;

    fn one(key: Option<&[u8]>, value: &[u8], headers: &[(&str, &[u8])]) -> EncodedBatch {
        let mut builder = BatchBuilder::new(64);
        builder.append(5, key, value, headers).unwrap();
        builder.finish(FinishOptions::default()).unwrap()
    }

    #[test]
    fn entries_and_records_convert_both_ways() {
        let texts = [Bytes::from("one"), Bytes::from(" two\nlines"), Bytes::from("\u{1f41f}")];
        let batch = batch_of(&texts).unwrap();
        assert_eq!(values("t", &batch).unwrap(), texts);
        let records: Vec<_> = batch.records().unwrap().map(|record| record.unwrap()).collect();
        assert!(records.iter().all(|record| record.timestamp.is_none() && record.key.is_none()));
        assert_eq!(&put("t", &texts[1]).unwrap()[4..], b"PUT t  two\nlines");
    }

    #[test]
    fn values_that_text_cannot_carry_are_refused() {
        let mut packed = BytesMut::new();
        pack_into(&mut packed, &one(None, b"x", &[]));
        let long = vec![b'x'; max_value("t") + 1];
        let table: [(EncodedBatch, ErrorKind, &str); 8] = [
            (one(Some(b"k"), b"x", &[]), ErrorKind::Unsupported, "keys"),
            (one(None, b"x", &[("h", b"v")]), ErrorKind::Unsupported, "headers"),
            (one(None, b"", &[]), ErrorKind::InvalidCommand, "empty"),
            (one(None, b"x \n", &[]), ErrorKind::InvalidCommand, "white space"),
            (one(None, b"\xff\xfe", &[]), ErrorKind::InvalidCommand, "UTF-8"),
            (one(None, &long, &[]), ErrorKind::RecordTooLarge, "at most 65530"),
            (one(None, &packed, &[]), ErrorKind::InvalidCommand, "packed"),
            (one(None, &[b'x'; 70_000], &[]), ErrorKind::RecordTooLarge, "70000 bytes"),
        ];
        for (batch, kind, words) in table {
            let error = values("t", &batch).unwrap_err();
            assert_eq!(error.kind(), kind, "{words}");
            assert!(error.message().contains(words), "{error}");
        }
        assert!(values("t", &one(None, &long[1..], &[])).is_ok());
        assert!(values("t", &one(None, b"floe1:not a batch", &[])).is_ok());
    }
}
