//! Reads the records of a batch without copying them.

use std::ops::Range;

use bytes::Bytes;

use super::{
    encoded::EncodedBatch,
    header::{BatchHeader, HEADER_LEN},
    trailer::{self, BorrowedHeaders, Entries, Headers, TrailerState},
};
use crate::{
    WireError,
    compress::{Codec, decompress},
    varint,
};

/// [`EncodedBatch::records`] decompresses at most this many bytes.
pub const MAX_SECTION_LEN: usize = 256 * 1024 * 1024;

/// A schema id, where a batch has one.
const SCHEMA_LEN: usize = 4;

/// Least bytes after a record's length: attributes, two deltas, key flag, value length, header count. What claims less
/// is not a record, and what seems to follow it need not be one either.
const LEAST_BODY_LEN: usize = 6;

impl EncodedBatch {
    /// The records, decompressed if they are compressed (to at most [`MAX_SECTION_LEN`] bytes). The checksum is not
    /// verified: see [`EncodedBatch::verify_checksum`].
    ///
    /// # Errors
    /// As [`EncodedBatch::records_with_limit`].
    pub fn records(&self) -> Result<Records, WireError> {
        self.records_with_limit(MAX_SECTION_LEN)
    }

    /// The records, decompressed if they are compressed, to at most `limit` bytes.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] beyond the limit; [`WireError::Compression`] when the records do not decompress;
    /// [`WireError::Malformed`] for an unknown codec or an impossible count; [`WireError::Truncated`] without a count.
    /// The header, and so the offset of the next batch, stays usable.
    pub fn records_with_limit(&self, limit: usize) -> Result<Records, WireError> {
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
            codec => decompress(codec, self.raw().get(start..).unwrap_or_default(), limit)?,
        };
        Records::new(header, section)
    }
}

/// One record. Key and value are slices of the batch and keep it in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordView {
    /// Offset in the partition, once the batch has its base offset.
    pub offset: i64,
    /// Milliseconds since the Unix epoch, if the batch has times.
    pub timestamp: Option<i64>,
    /// The key, if there is one; may be empty.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Bytes,
    /// The headers.
    pub headers: Headers,
}

/// One record, borrowed: reading it touches no reference count.
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

/// The records of a batch, read as they are asked for.
///
/// A record that does not decode is an error in its place, and reading goes on behind it; where not even its length can
/// be trusted, the error is the last item. Offsets come from the records themselves, so holes are kept.
#[derive(Debug, Clone)]
pub struct Records {
    /// The uncompressed record section: count, records, trailer.
    section: Bytes,
    /// Where the next record begins.
    position: usize,
    /// The entries of the trailer not used yet.
    entries: Range<usize>,
    next_entry_index: u64,
    next_index: u32,
    batch: BatchFacts,
    trailer: TrailerState,
}

/// What records need to know about their batch.
#[derive(Debug, Clone, Copy)]
struct BatchFacts {
    count: u32,
    base_offset: i64,
    first_timestamp: i64,
}

impl Records {
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
                base_offset: header.base_offset,
                first_timestamp: header.first_timestamp,
            },
            trailer,
            section,
        })
    }

    /// How many records the batch says it has. Do not allocate by it: it comes from whoever wrote the batch.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.batch.count
    }

    /// Whether the batch has record headers in a trailer, and whether they could be read. When they could not, the
    /// records come without headers.
    #[must_use]
    pub fn trailer_state(&self) -> TrailerState {
        self.trailer
    }

    /// The uncompressed size of the record section in bytes.
    #[must_use]
    pub fn section_len(&self) -> usize {
        self.section.len()
    }

    /// The records not taken yet, borrowed: the fast way to read them.
    #[must_use]
    pub fn borrowed(&self) -> BorrowedRecords<'_> {
        BorrowedRecords {
            rest: self.section.get(self.position..).unwrap_or_default(),
            entries: Entries {
                rest: self.section.get(self.entries.clone()).unwrap_or_default(),
                next_index: self.next_entry_index,
            },
            next_index: self.next_index,
            batch: self.batch,
        }
    }
}

impl Iterator for Records {
    type Item = Result<RecordView, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut cursor = self.borrowed();
        let record = cursor.next()?;
        let view = record.map(|record| RecordView {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(|key| self.section.slice_ref(key)),
            value: self.section.slice_ref(record.value),
            headers: Headers::slice_of(&self.section, record.headers),
        });
        let position = self.section.len() - cursor.rest.len();
        let entries_start = self.entries.end - cursor.entries.rest.len();
        let (next_index, next_entry_index) = (cursor.next_index, cursor.entries.next_index);
        self.position = position;
        self.entries.start = entries_start;
        self.next_index = next_index;
        self.next_entry_index = next_entry_index;
        Some(view)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.borrowed().size_hint()
    }
}

impl std::iter::FusedIterator for Records {}

/// Iterates over the records of a batch, borrowed; made by [`Records::borrowed`].
#[derive(Debug, Clone)]
pub struct BorrowedRecords<'a> {
    rest: &'a [u8],
    entries: Entries<'a>,
    next_index: u32,
    batch: BatchFacts,
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
        // Every item takes a length and at least this body; a last error may follow.
        let possible = self.rest.len() / (1 + LEAST_BODY_LEN) + 1;
        (0, Some(claimed.min(possible)))
    }
}

impl std::iter::FusedIterator for BorrowedRecords<'_> {}

impl BatchFacts {
    /// Decodes what follows a record's length.
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
            // What the official clients and floe write.
            [0] => BorrowedHeaders::default(),
            // Some clients write headers here; the record's length tells where they end. A count without headers, or
            // bytes that are not headers, are passed over.
            [_, ..] => BorrowedHeaders::parse(rest).unwrap_or_default(),
            [] => return None,
        };
        if offset_delta < 0 {
            return None;
        }
        Some(BorrowedRecord {
            offset: self.base_offset.checked_add(offset_delta)?,
            timestamp: (self.first_timestamp > 0)
                .then(|| self.first_timestamp.saturating_add(timestamp_delta)),
            key,
            value,
            headers,
        })
    }
}

/// Takes a length and as many bytes off the front.
#[inline]
fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = *input;
    let length = usize::try_from(varint::take(&mut rest).ok()?).ok()?;
    let (bytes, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some(bytes)
}

#[cold]
fn undecodable(index: u32) -> WireError {
    WireError::malformed("record", format!("record {index} of the batch does not decode"))
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
