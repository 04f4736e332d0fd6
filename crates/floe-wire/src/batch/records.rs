//! Readers of a batch's records, without copying.

use std::ops::Range;

use bytes::Bytes;

use super::{
    encoded::EncodedBatch,
    header::{BatchHeader, HEADER_LEN},
    trailer::{self, BorrowedHeaders, HeaderEntries, Headers, TrailerState},
};
use crate::{
    WireError,
    compress::{Codec, Decompressor},
    varint,
};

/// Most bytes that [`EncodedBatch::records`] decompresses.
pub const MAX_SECTION_LEN: usize = 256 * 1024 * 1024;

/// Length of the schema id, where a batch has one.
const SCHEMA_LEN: usize = 4;

/// Least bytes after a record's length: attributes, two deltas, key flag, value length, header count. A shorter length
/// is damage, after which the position of the next record is unknown.
const LEAST_BODY_LEN: usize = 6;

impl EncodedBatch {
    /// Returns the records, decompressed to at most [`MAX_SECTION_LEN`] bytes if they are compressed. The checksum is
    /// not verified: see [`EncodedBatch::verify_checksum`].
    ///
    /// # Errors
    /// As [`EncodedBatch::records_with_limit`].
    pub fn records(&self) -> Result<Records, WireError> {
        self.records_with_limit(MAX_SECTION_LEN)
    }

    /// Returns the records, decompressed to at most `limit` bytes if they are compressed.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] beyond the limit; [`WireError::Compression`] when the records do not decompress;
    /// [`WireError::CodecNotCompiled`] when the codec's Cargo feature is off; [`WireError::Malformed`] for an unknown
    /// codec or an impossible count; [`WireError::Truncated`] without a count. The header, and so the offset of the
    /// next batch, stays usable.
    pub fn records_with_limit(&self, limit: usize) -> Result<Records, WireError> {
        self.records_by(&mut Decompressor::default(), limit)
    }

    /// Returns the records like [`EncodedBatch::records_with_limit`]. The buffers of `decompressor` are reused from
    /// batch to batch.
    ///
    /// # Errors
    /// As [`EncodedBatch::records_with_limit`].
    pub fn records_by(&self, decompressor: &mut Decompressor, limit: usize) -> Result<Records, WireError> {
        let header = self.header();
        let start = HEADER_LEN + if header.attributes.has_schema() { SCHEMA_LEN } else { 0 };
        if self.raw().len() < start {
            return Err(WireError::Truncated {
                what: "schema id of a record batch",
                needed: start,
                available: self.raw().len(),
            });
        }
        let section = match header.attributes.codec()? {
            Codec::None => self.raw().slice(start..),
            codec => decompressor.decompress(codec, self.raw().get(start..).unwrap_or_default(), limit)?,
        };
        Ok(Records { dense: self.is_dense(), ..Records::new(header, section)? })
    }
}

/// One record. Key and value are slices of the batch and keep it in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordView<V = Bytes> {
    /// Offset in the partition, once the batch has its base offset.
    pub offset: i64,
    /// Milliseconds since the Unix epoch, if the batch has times.
    pub timestamp: Option<i64>,
    /// The key, if there is one; may be empty.
    pub key: Option<Bytes>,
    /// The value, or the result of the closure of [`Records::next_as`].
    pub value: V,
    /// The headers.
    pub headers: Headers,
}

/// One record, borrowed from its batch: reading it changes no reference count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BorrowedRecord<'a> {
    /// Offset in the partition, once the batch has its base offset.
    pub offset: i64,
    /// Milliseconds since the Unix epoch, if the batch has times.
    pub timestamp: Option<i64>,
    /// The key, if there is one; may be empty.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: &'a [u8],
    /// The headers.
    pub headers: BorrowedHeaders<'a>,
}

/// Iterator over the records of a batch, decoded one at a time.
///
/// A record that does not decode yields an error, and iteration continues with the next record. After an invalid
/// length the next record cannot be found, and the error is the last item. Offsets come from the records themselves,
/// so holes are kept.
#[derive(Debug, Clone)]
pub struct Records {
    /// The uncompressed record section: count, records, trailer.
    section: Bytes,
    /// Position of the next record.
    position: usize,
    /// Range of the trailer's unread header entries.
    entries: Range<usize>,
    next_entry_index: u64,
    next_index: u32,
    batch: BatchFacts,
    trailer: TrailerState,
    /// Whether the records are known to be dense: see [`Records::is_dense`].
    dense: bool,
}

/// Header fields needed to decode records.
#[derive(Debug, Clone, Copy)]
struct BatchFacts {
    count: u32,
    /// Difference of the first and the largest time; the format keeps 32 bits of it.
    max_time_delta: i32,
    base_offset: i64,
    first_timestamp: i64,
}

impl Records {
    /// Reads a section that was derived from that of the batch.
    pub(super) fn of_section(header: &BatchHeader, section: Bytes) -> Result<Self, WireError> {
        Self::new(header, section)
    }

    /// Returns the uncompressed section: count, records, trailer.
    pub(super) fn section(&self) -> &Bytes {
        &self.section
    }

    fn new(header: &BatchHeader, section: Bytes) -> Result<Self, WireError> {
        let Some((count, _)) = section.split_first_chunk::<4>() else {
            return Err(WireError::Truncated { what: "record count", needed: 4, available: section.len() });
        };
        let count = u32::from_be_bytes(*count);
        if i32::try_from(count).is_err() {
            return Err(WireError::malformed("record count", format!("{count}, at most {}", i32::MAX)));
        }
        let (trailer, entries) = if header.attributes.has_trailer() {
            trailer::locate(&section)
        } else {
            (TrailerState::Absent, 0..0)
        };
        Ok(Self {
            position: 4,
            entries,
            next_entry_index: 0,
            next_index: 0,
            batch: BatchFacts {
                count,
                max_time_delta: i32::try_from(header.max_timestamp.saturating_sub(header.first_timestamp))
                    .unwrap_or(i32::MAX),
                base_offset: header.base_offset,
                first_timestamp: header.first_timestamp,
            },
            trailer,
            section,
            dense: false,
        })
    }

    /// Returns whether no record was read yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.next_index == 0
    }

    /// Returns the first and the largest time of the batch, from its header.
    pub(super) fn times(&self) -> (i64, i64) {
        let BatchFacts { first_timestamp, max_time_delta, .. } = self.batch;
        (first_timestamp, first_timestamp.saturating_add(i64::from(max_time_delta)))
    }

    /// Returns the offset of the first record of the batch, read or not.
    #[must_use]
    pub fn base_offset(&self) -> i64 {
        self.batch.base_offset
    }

    /// Returns the number of records that the batch claims to have. Do not allocate by it: the writer of the batch is
    /// not trusted.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.batch.count
    }

    /// Returns whether the batch has record headers in a trailer, and whether they are readable. Unreadable ones are
    /// left out of the records.
    #[must_use]
    pub fn trailer_state(&self) -> TrailerState {
        self.trailer
    }

    /// Returns the uncompressed size of the record section in bytes.
    #[must_use]
    pub fn section_len(&self) -> usize {
        self.section.len()
    }

    /// Returns whether every record decodes and the records occupy one offset each, from the base offset on without a
    /// hole. Costs less than reading them, and nothing if this process has encoded them. Meant to be called before the
    /// first record is read.
    #[must_use]
    pub fn is_dense(&self) -> bool {
        let ends = self.batch.base_offset.checked_add(i64::from(self.batch.count)).is_some();
        if self.dense {
            return ends && self.is_untouched();
        }
        let mut rest = self.section.get(self.position..).unwrap_or_default();
        let dense = (0..self.batch.count).all(|index| {
            take_bytes(&mut rest).is_some_and(|body| body.len() >= LEAST_BODY_LEN && is_at(body, index))
        });
        dense && ends
    }

    /// Returns an iterator over the unread records, borrowed: the fast way to read them.
    #[must_use]
    pub fn borrowed(&self) -> BorrowedRecords<'_> {
        BorrowedRecords {
            rest: self.section.get(self.position..).unwrap_or_default(),
            entries: HeaderEntries {
                rest: self.section.get(self.entries.clone()).unwrap_or_default(),
                next_index: self.next_entry_index,
            },
            next_index: self.next_index,
            batch: &self.batch,
        }
    }

    /// Returns the next record with the result of `make` as its value. `make` receives the value's bytes and the
    /// section that they can be sliced from: a value that is decoded at once needs no reference to the batch.
    #[inline]
    pub fn next_as<T>(
        &mut self,
        make: impl FnOnce(&[u8], &Bytes) -> T,
    ) -> Option<Result<RecordView<T>, WireError>> {
        let mut cursor = self.borrowed();
        let record = cursor.next()?;
        let position = self.section.len() - cursor.rest.len();
        let entries_start = self.entries.end - cursor.entries.rest.len();
        let (next_index, next_entry_index) = (cursor.next_index, cursor.entries.next_index);
        let view = record.map(|record| RecordView {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(|key| self.section.slice_ref(key)),
            value: make(record.value, &self.section),
            headers: Headers::slice_of(&self.section, record.headers),
        });
        self.position = position;
        self.entries.start = entries_start;
        self.next_index = next_index;
        self.next_entry_index = next_entry_index;
        Some(view)
    }
}

impl Iterator for Records {
    type Item = Result<RecordView, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.next_as(|value, section| section.slice_ref(value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.borrowed().size_hint()
    }
}

impl std::iter::FusedIterator for Records {}

/// Iterator over the records of a batch, borrowed; created by [`Records::borrowed`].
#[derive(Debug, Clone)]
pub struct BorrowedRecords<'a> {
    rest: &'a [u8],
    entries: HeaderEntries<'a>,
    next_index: u32,
    batch: &'a BatchFacts,
}

impl<'a> Iterator for BorrowedRecords<'a> {
    type Item = Result<BorrowedRecord<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let index = self.next_index;
        if index >= self.batch.count {
            return None;
        }
        let before = self.rest;
        let framed = take_bytes(&mut self.rest).filter(|body| body.len() >= LEAST_BODY_LEN);
        let Some(body) = framed else {
            self.rest = before;
            self.next_index = self.batch.count;
            return Some(Err(lost_framing(index, self.rest)));
        };
        self.next_index = index + 1;
        let in_trailer = self.entries.take(index);
        let Some(mut record) = self.batch.decode(body) else { return Some(Err(undecodable(index))) };
        if let Some(headers) = in_trailer {
            record.headers = headers;
        }
        Some(Ok(record))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let claimed = (self.batch.count - self.next_index) as usize;
        // Every item takes a length and at least the shortest body; a last error may follow.
        let possible = self.rest.len() / (1 + LEAST_BODY_LEN) + 1;
        (0, Some(claimed.min(possible)))
    }
}

impl std::iter::FusedIterator for BorrowedRecords<'_> {}

impl BatchFacts {
    /// Decodes the body of a record, the bytes after its length.
    #[inline]
    fn decode<'a>(&self, body: &'a [u8]) -> Option<BorrowedRecord<'a>> {
        let (_attributes, mut rest) = body.split_first()?;
        let timestamp_delta = varint::take(&mut rest).ok()?;
        let offset_delta = varint::take(&mut rest).ok()?;
        let key = match rest {
            [0, after @ ..] => {
                rest = after;
                None
            }
            [1, after @ ..] => {
                rest = after;
                Some(take_bytes(&mut rest)?)
            }
            _ => return None,
        };
        let value = take_bytes(&mut rest)?;
        let headers = match rest {
            // The official clients and floe write no headers here.
            [0] => BorrowedHeaders::default(),
            // Some clients write headers here; the record's length bounds them. A count without headers, or bytes that
            // are not headers, are skipped.
            [_, ..] => BorrowedHeaders::parse(rest).unwrap_or_default(),
            [] => return None,
        };
        if offset_delta < 0 {
            return None;
        }
        let timestamp = self.first_timestamp.saturating_add(timestamp_delta);
        Some(BorrowedRecord {
            offset: self.base_offset.checked_add(offset_delta)?,
            timestamp: (self.first_timestamp > 0 && timestamp > 0).then_some(timestamp),
            key,
            value,
            headers,
        })
    }
}

/// Returns whether the body of a record decodes and has this offset delta.
#[inline]
fn is_at(body: &[u8], index: u32) -> bool {
    let Some((_attributes, mut rest)) = body.split_first() else { return false };
    varint::take(&mut rest).is_ok()
        && varint::take(&mut rest).is_ok_and(|delta| delta == i64::from(index))
        && contents_decode(rest)
}

/// Returns whether the bytes after the offset delta of a record decode: key, value, headers.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a call for each record costs a fifth of a check of small records")]
pub(super) fn contents_decode(mut rest: &[u8]) -> bool {
    let key = match rest {
        [0, after @ ..] => {
            rest = after;
            true
        }
        [1, after @ ..] => {
            rest = after;
            take_bytes(&mut rest).is_some()
        }
        _ => false,
    };
    key && take_bytes(&mut rest).is_some() && !rest.is_empty()
}

/// Takes a length and that many bytes off the front.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "three calls for each record cost a fifth of decoding small records"
)]
pub(super) fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = *input;
    let length = usize::try_from(varint::take(&mut rest).ok()?).ok()?;
    let (bytes, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some(bytes)
}

#[cold]
fn undecodable(index: u32) -> WireError {
    WireError::malformed("record", format!("record {index} of the batch cannot be decoded"))
}

#[cold]
fn lost_framing(index: u32, rest: &[u8]) -> WireError {
    let mut after = rest;
    match varint::take(&mut after).map(usize::try_from) {
        Ok(Ok(length)) if length < LEAST_BODY_LEN => {
            WireError::malformed("record", format!("record {index} of the batch claims {length} bytes"))
        }
        Ok(Ok(needed)) => WireError::Truncated { what: "record", needed, available: after.len() },
        Ok(Err(_)) => WireError::malformed("record", format!("record {index} has a negative length")),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Attributes, BatchBuilder, FinishOptions, LENGTH_END};

    const T0: i64 = 1_700_000_000_000;

    /// Builds a batch with this record section and these attributes, as another writer may encode it.
    fn foreign(attributes: i16, section: &[u8]) -> EncodedBatch {
        let mut builder = BatchBuilder::new(64);
        builder.append(T0, None, b"", &[]).unwrap();
        let mut header = *builder.finish(FinishOptions::default()).unwrap().header();
        header.batch_len = (HEADER_LEN + section.len() - LENGTH_END) as i32;
        header.attributes.0 = attributes;
        header.last_offset_delta = 9;
        EncodedBatch::parse(Bytes::from([&header.encode()[..], section].concat())).unwrap()
    }

    /// Encodes a record with this body.
    fn record(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        varint::put(&mut out, body.len() as i64);
        out.extend_from_slice(body);
        out
    }

    fn section(count: u32, records: &[Vec<u8>]) -> Vec<u8> {
        [&count.to_be_bytes()[..], &records.concat()].concat()
    }

    fn values(batch: &EncodedBatch) -> Vec<Result<Bytes, ()>> {
        batch.records().unwrap().map(|record| record.map(|record| record.value).map_err(|_| ())).collect()
    }

    #[test]
    fn offsets_and_times_come_from_the_records() {
        // Time delta +3 and offset delta 4; time delta -1 and offset delta 7.
        let records = [record(&[0, 6, 8, 0, 2, b'a', 0]), record(&[0, 1, 14, 1, 0, 2, b'b', 0])];
        let batch = foreign(0, &section(2, &records)).with_base_offset(100);
        let read: Vec<_> = batch.records().unwrap().map(Result::unwrap).collect();
        assert_eq!((read[0].offset, read[0].timestamp), (104, Some(T0 + 3)));
        assert_eq!((read[1].offset, read[1].timestamp), (107, Some(T0 - 1)));
        assert_eq!((read[0].key.as_deref(), read[1].key.as_deref()), (None, Some(&b""[..])));
        assert_eq!(batch.next_offset(), 110, "the header decides where the next batch begins");
    }

    #[test]
    fn records_have_no_time_unless_the_first_time_is_positive() {
        for (first, second, expected) in
            [(0, 4, [None, None]), (-1, -1, [None, None]), (1, 4, [Some(1), Some(4)])]
        {
            let mut builder = BatchBuilder::new(64);
            builder.append(first, None, b"", &[]).unwrap();
            builder.append(second, None, b"", &[]).unwrap();
            let records = builder.finish(FinishOptions::default()).unwrap().records().unwrap();
            let times: Vec<_> = records.map(|record| record.unwrap().timestamp).collect();
            assert_eq!(times, expected);
        }
    }

    #[test]
    fn keys_and_values_are_slices_of_the_batch() {
        let mut builder = BatchBuilder::new(256);
        builder.append(T0, Some(b"key"), b"value", &[("name", b"of header")]).unwrap();
        let batch = builder.finish(FinishOptions::default()).unwrap();
        let within = batch.raw().as_ptr_range();
        let view = batch.records().unwrap().next().unwrap().unwrap();
        let (_, header) = view.headers.iter().next().unwrap();
        for part in [&view.key.as_ref().unwrap()[..], &view.value, header] {
            assert!(within.contains(&part.as_ptr()));
        }
    }

    #[test]
    fn records_after_an_undecodable_one_are_read() {
        let good = record(&[0, 0, 0, 0, 2, b'a', 0]);
        for bad in [
            &[0, 0, 0, 2, 2, b'a', 0][..],                  // a key flag of 2
            &[0, 0, 0, 1, 40, b'a', 0],                     // a key longer than the record
            &[0, 0, 0, 0, 40, b'a', 0],                     // a value longer than the record
            &[0, 0, 0, 0, 1, b'a', 0],                      // a negative value length
            &[0, 0, 1, 0, 2, b'a', 0],                      // a negative offset delta
            &[0, 0, 0, 0, 4, b'a', b'b'],                   // no header count
            &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], // an unterminated time delta
        ] {
            let batch = foreign(0, &section(3, &[good.clone(), record(bad), good.clone()]));
            let a = Bytes::from_static(b"a");
            assert_eq!(values(&batch), [Ok(a.clone()), Err(()), Ok(a)], "{bad:?}");
        }
    }

    #[test]
    fn reading_ends_at_an_invalid_length() {
        let good = record(&[0, 0, 0, 0, 2, b'a', 0]);
        for bad in [&[0x80u8, 0x80][..], &[1], &[0, 0, 0], &[10, 0, 0, 0, 0, 0], &[60, 1, 2, 3]] {
            let batch = foreign(0, &section(5, &[good.clone(), bad.to_vec(), good[..3].to_vec()]));
            assert_eq!(values(&batch), [Ok(Bytes::from_static(b"a")), Err(())], "{bad:?}");
        }
    }

    #[test]
    fn the_count_may_be_smaller_or_larger_than_the_span() {
        let one = record(&[0, 0, 0, 0, 2, b'a', 0]);
        assert_eq!(values(&foreign(0, &section(0, std::slice::from_ref(&one)))), []);
        assert_eq!(values(&foreign(0, &section(1, &[one.clone(), one.clone()]))).len(), 1);
        assert_eq!(values(&foreign(0, &section(20, &vec![one; 20]))).len(), 20);
        assert!(matches!(foreign(0, &[0, 0, 1]).records(), Err(WireError::Truncated { .. })));
    }

    #[test]
    fn a_schema_id_is_skipped() {
        let section = section(1, &[record(&[0, 0, 0, 0, 2, b'a', 0])]);
        let batch = foreign(Attributes::SCHEMA, &[&[0, 0, 0, 42][..], &section].concat());
        assert_eq!(values(&batch), [Ok(Bytes::from_static(b"a"))]);
        assert!(matches!(foreign(Attributes::SCHEMA, &[0]).records(), Err(WireError::Truncated { .. })));
    }

    #[test]
    fn headers_inside_a_record_are_read_within_its_length() {
        let start = [0, 0, 0, 0, 2, b'a'];
        // Two headers: "h" = "xy", and "n" without a value.
        let headers = [4, 2, b'h', 4, b'x', b'y', 2, b'n', 1];
        let with = record(&[&start[..], &headers].concat());
        let skipped = [
            &[4][..],                        // a count alone
            &[4, 2, b'h', 4, b'x', b'y'],    // one header fewer than counted
            &[2, 2, b'h', 4, b'x', b'y', 0], // a byte more
            &[2, 2, 0xff, 4, b'x', b'y'],    // a name that is not text
            &[1, 2, b'h', 4, b'x', b'y'],    // a negative count
        ];
        let mut records = vec![with];
        records.extend(skipped.iter().map(|rest| record(&[&start[..], rest].concat())));
        let batch = foreign(0, &section(records.len() as u32, &records));
        let read: Vec<_> = batch.records().unwrap().map(Result::unwrap).collect();
        assert_eq!(read.len(), 6);
        let expected: [(&str, &[u8]); 2] = [("h", b"xy"), ("n", b"")];
        assert_eq!(read[0].headers.iter().collect::<Vec<_>>(), expected);
        assert!(read.iter().all(|record| record.value == "a"));
        assert!(read[1..].iter().all(|record| record.headers.is_empty()));
    }

    #[cfg(feature = "gzip")]
    #[test]
    fn decompression_of_records_stops_at_the_limit() {
        let mut compressed = Vec::new();
        crate::compress::compress(Codec::Gzip, None, &section(1, &[vec![0; 100_000]]), &mut compressed)
            .unwrap();
        let batch = foreign(Codec::Gzip.code(), &compressed);
        assert!(matches!(batch.records_with_limit(10_000), Err(WireError::TooLarge { limit: 10_000, .. })));
        assert!(batch.records_with_limit(100_004).is_ok());
        assert!(foreign(5, &compressed).records().is_err(), "codec 5 is unassigned");
    }

    #[test]
    fn borrowed_continues_at_the_iterators_position() {
        let mut builder = BatchBuilder::new(256);
        for (index, value) in [b"a", b"b", b"c"].into_iter().enumerate() {
            builder.append(T0, None, value, &[("at", &[index as u8])]).unwrap();
        }
        let mut records = builder.finish(FinishOptions::default()).unwrap().records().unwrap();
        records.next();
        let rest: Vec<_> = records.borrowed().map(Result::unwrap).collect();
        assert_eq!(
            rest.iter().map(|record| (record.offset, record.value)).collect::<Vec<_>>(),
            [(1, &b"b"[..]), (2, b"c")]
        );
        assert_eq!(
            rest.iter().map(|record| record.headers.get("at")).collect::<Vec<_>>(),
            [Some(&[1u8][..]), Some(&[2])]
        );
    }
}
