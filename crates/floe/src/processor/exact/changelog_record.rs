//! Records of a changelog: the outputs of one input record, whole or in parts, and fences.
//!
//! The format is documented in `docs/formats/changelog.md`.

use bytes::{Buf, Bytes};
use floe_wire::varint;

use crate::{Error, ErrorKind, Record, Result};

/// Version of the format: the first byte of each record.
const VERSION: u8 = 1;

const FENCE: u8 = 0;
const PART: u8 = 1;
const LAST_PART: u8 = 2;

/// Flag of an entry: its record is the dead letter of the input record.
const DEAD: u8 = 1;

/// The records made from one input record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChangelogEntry {
    /// Output that the records go to.
    pub(super) output: usize,
    /// Whether they are the dead letter of the input record.
    pub(super) dead: bool,
    /// Each names its partition.
    pub(super) records: Vec<Record>,
}

/// One record of a changelog.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChangelogRecord {
    /// Makes logs refuse the owners before.
    Fence,
    /// A piece of the bytes of an entry.
    Part {
        /// Offset of the input record.
        offset: i64,
        /// Number of the part, from 0.
        index: i64,
        is_last: bool,
        bytes: Bytes,
    },
}

/// Returns the value of a fence.
pub(super) fn fence() -> Vec<u8> {
    vec![VERSION, FENCE]
}

/// Returns the values of the records for an entry of an input record: parts of at most this size.
pub(super) fn encode_parts(offset: i64, entry: &[u8], part_len: usize) -> Vec<Bytes> {
    let parts = entry.chunks(part_len.max(1));
    let count = parts.len();
    let encode = |(index, bytes): (usize, &[u8])| {
        let kind = if index + 1 == count { LAST_PART } else { PART };
        let mut value = Vec::with_capacity(2 + 2 * varint::MAX_LEN + bytes.len());
        value.extend([VERSION, kind]);
        varint::put(&mut value, offset);
        varint::put(&mut value, index as i64);
        value.extend_from_slice(bytes);
        Bytes::from(value)
    };
    parts.enumerate().map(encode).collect()
}

impl ChangelogRecord {
    /// # Errors
    /// [`ErrorKind::CorruptData`] that says why.
    pub(super) fn decode(value: Bytes) -> Result<Self> {
        let mut input = value;
        match take_byte(&mut input)? {
            VERSION => {}
            other => {
                return corrupt(format!("it has version {other}, and this version of floe reads {VERSION}"));
            }
        }
        let is_last = match take_byte(&mut input)? {
            FENCE => return Ok(Self::Fence),
            PART => false,
            LAST_PART => true,
            other => return corrupt(format!("it is of kind {other}, which does not exist")),
        };
        let (offset, index) = (take_int(&mut input)?, take_int(&mut input)?);
        Ok(Self::Part { offset, index, is_last, bytes: input })
    }
}

impl ChangelogEntry {
    /// Returns the bytes of an entry. Never empty.
    pub(super) fn encode(output: usize, dead: bool, records: &[Record]) -> Vec<u8> {
        let size = |record: &Record| record.value.len() + record.key.as_ref().map_or(0, Bytes::len) + 64;
        let mut out = Vec::with_capacity(16 + records.iter().map(size).sum::<usize>());
        varint::put(&mut out, output as i64);
        out.push(if dead { DEAD } else { 0 });
        varint::put(&mut out, records.len() as i64);
        for record in records {
            varint::put(&mut out, i64::from(record.partition.unwrap_or(0)));
            varint::put(&mut out, record.timestamp.unwrap_or(0));
            match &record.key {
                Some(key) => put_bytes(&mut out, key),
                None => varint::put(&mut out, -1),
            }
            put_bytes(&mut out, &record.value);
            varint::put(&mut out, record.headers.len() as i64);
            for (name, value) in &record.headers {
                put_bytes(&mut out, name.as_bytes());
                put_bytes(&mut out, value);
            }
        }
        out
    }

    /// # Errors
    /// [`ErrorKind::CorruptData`] that says why.
    pub(super) fn decode(bytes: Bytes) -> Result<Self> {
        let mut input = bytes;
        let output = take_count(&mut input)?;
        let dead = match take_byte(&mut input)? {
            0 => false,
            DEAD => true,
            other => return corrupt(format!("the flags are {other}")),
        };
        let count = take_count(&mut input)?;
        // A record has more than one byte: the loop ends before the number could do harm.
        let mut records = Vec::new();
        for _ in 0..count {
            records.push(take_record(&mut input)?);
        }
        if !input.is_empty() {
            return corrupt(format!("{} bytes follow the last record", input.len()));
        }
        Ok(Self { output, dead, records })
    }
}

fn take_record(input: &mut Bytes) -> Result<Record> {
    let Ok(partition) = u32::try_from(take_int(input)?) else {
        return corrupt("a partition is out of range");
    };
    let timestamp = match take_int(input)? {
        0 => None,
        time if time > 0 => Some(time),
        _ => return corrupt("a time is negative"),
    };
    let key = match take_int(input)? {
        -1 => None,
        len => Some(take_bytes(input, len)?),
    };
    let len = take_int(input)?;
    let value = take_bytes(input, len)?;
    let mut headers = Vec::new();
    for _ in 0..take_count(input)? {
        let len = take_int(input)?;
        let Ok(name) = String::from_utf8(take_bytes(input, len)?.into()) else {
            return corrupt("the name of a header is not UTF-8");
        };
        let len = take_int(input)?;
        headers.push((name, take_bytes(input, len)?));
    }
    Ok(Record { key, value, headers, timestamp, partition: Some(partition) })
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::put(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

fn take_byte(input: &mut Bytes) -> Result<u8> {
    input.try_get_u8().or_else(|_| corrupt("it ends too early"))
}

fn take_int(input: &mut Bytes) -> Result<i64> {
    let mut rest = &input[..];
    match varint::take(&mut rest) {
        Ok(value) => {
            let taken = input.len() - rest.len();
            input.advance(taken);
            Ok(value)
        }
        Err(problem) => corrupt(problem),
    }
}

fn take_count(input: &mut Bytes) -> Result<usize> {
    usize::try_from(take_int(input)?).or_else(|_| corrupt("a number is negative"))
}

fn take_bytes(input: &mut Bytes, len: i64) -> Result<Bytes> {
    match usize::try_from(len) {
        Ok(len) if len <= input.len() => Ok(input.split_to(len)),
        _ => corrupt(format!("a length is {len}, and {} bytes are left", input.len())),
    }
}

fn corrupt<T>(problem: impl std::fmt::Display) -> Result<T> {
    Err(Error::new(ErrorKind::CorruptData, format!("the record cannot be read: {problem}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records() -> Vec<Record> {
        vec![
            Record::new(Bytes::from_static(b"value")).partition(0),
            Record::keyed("", Bytes::new()).header("name", "x").header("", "").timestamp(7).partition(119),
        ]
    }

    fn part(value: Bytes) -> (i64, i64, bool, Bytes) {
        match ChangelogRecord::decode(value).unwrap() {
            ChangelogRecord::Part { offset, index, is_last, bytes } => (offset, index, is_last, bytes),
            ChangelogRecord::Fence => panic!("a fence"),
        }
    }

    #[test]
    fn the_bytes_never_change() {
        let entry = ChangelogEntry::encode(1, true, &records()[..1]);
        assert_eq!(entry, b"\x02\x01\x02\x00\x00\x01\x0avalue\x00");
        assert_eq!(encode_parts(300, &entry, 100), [[b"\x01\x02\xd8\x04\x00", &entry[..]].concat()]);
        assert_eq!(fence(), [1, 0]);
    }

    #[test]
    fn entries_come_back() {
        for (output, dead, records) in [(0, false, records()), (1, true, records()), (0, false, Vec::new())] {
            let encoded = ChangelogEntry::encode(output, dead, &records);
            assert!(!encoded.is_empty());
            let entry = ChangelogEntry::decode(encoded.into()).unwrap();
            assert_eq!(entry, ChangelogEntry { output, dead, records });
        }
        assert_eq!(ChangelogRecord::decode(fence().into()).unwrap(), ChangelogRecord::Fence);
    }

    #[test]
    fn parts_add_up() {
        let entry = ChangelogEntry::encode(0, false, &records());
        for len in 1..=entry.len() + 1 {
            let parts: Vec<_> = encode_parts(9, &entry, len).into_iter().map(part).collect();
            assert_eq!(parts.len(), entry.len().div_ceil(len));
            for (number, (offset, index, is_last, _)) in (0..).zip(&parts) {
                assert_eq!((*offset, *index, *is_last), (9, number, number + 1 == parts.len() as i64));
            }
            let whole: Vec<u8> = parts.into_iter().flat_map(|(.., bytes)| bytes).collect();
            assert_eq!(whole, entry);
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        let entry = ChangelogEntry::encode(1, false, &records());
        for len in 0..entry.len() {
            let cut = ChangelogEntry::decode(Bytes::copy_from_slice(&entry[..len]));
            assert_eq!(cut.unwrap_err().kind(), ErrorKind::CorruptData, "{len}");
        }
        let mut long = entry.clone();
        long.push(0);
        assert!(ChangelogEntry::decode(long.into()).unwrap_err().to_string().contains("1 bytes follow"));
        // Numbers that would take all memory if they were believed.
        let huge = [&[0, 0][..], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]].concat();
        assert!(ChangelogEntry::decode(huge.into()).is_err());
        for (bytes, says) in
            [(&b"\x02\x00"[..], "version 2"), (b"\x01\x09", "kind 9"), (b"\x01", "too early")]
        {
            let error = ChangelogRecord::decode(Bytes::from_static(bytes)).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    /// Checks that bytes are refused as corrupt, or are an entry that comes back.
    fn check(bytes: Vec<u8>) -> std::result::Result<(), TestCaseError> {
        let bytes = Bytes::from(bytes);
        match ChangelogEntry::decode(bytes.clone()) {
            Ok(entry) => {
                let again = ChangelogEntry::encode(entry.output, entry.dead, &entry.records);
                prop_assert_eq!(ChangelogEntry::decode(again.into()).unwrap(), entry);
            }
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::CorruptData),
        }
        if let Err(error) = ChangelogRecord::decode(bytes) {
            prop_assert_eq!(error.kind(), ErrorKind::CorruptData);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            check(bytes)?;
        }

        #[test]
        fn an_entry_with_a_wrong_byte_does_no_harm(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = ChangelogEntry::encode(1, false, &records());
            let at = at.index(bytes.len());
            bytes[at] = byte;
            check(bytes)?;
        }
    }
}
