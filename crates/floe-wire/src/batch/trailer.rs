//! Record headers: the trailer that ends a record section, and the headers of one record.
//!
//! A reader finds the trailer from its end, without walking the records. Keys and values stay readable whatever damage
//! a trailer has. Its bytes are drawn in `docs/formats/batch.md`.
//!
//! ```text
//!  count │ records … │ sections: kind u8 · length u32 · bytes │ length of sections u32 · version u8 · "floe"
//!        │           └─────────────── trailer, flagged by Attributes::TRAILER ───────────────────────────────┘
//! ```

use std::ops::Range;

use bytes::Bytes;

use crate::{WireError, varint};

/// Last bytes of a record section that has a trailer.
const MAGIC: [u8; 4] = *b"floe";

/// The version that floe writes, and the only one that it reads.
const VERSION: u8 = 1;

/// Length of sections (4), version (1), magic (4). The same in every version.
const FOOTER_LEN: usize = 9;

/// Kind and length in front of each section.
const SECTION_HEAD_LEN: usize = 5;

/// Kind of the section that holds the headers of records. Other kinds are skipped.
const RECORD_HEADERS: u8 = 1;

/// Bytes that a trailer adds to the header entries.
pub(super) const OVERHEAD: usize = SECTION_HEAD_LEN + FOOTER_LEN;

/// Presence and condition of a batch's trailer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrailerState {
    /// The batch has no trailer.
    Absent,
    /// The trailer is readable.
    Read,
    /// The trailer has a version unknown to this release of floe: the records are read without headers.
    UnknownVersion(u8),
    /// The trailer breaks the format: the records are read without headers.
    Damaged,
}

/// Collects the headers of a batch under construction.
#[derive(Debug, Default)]
pub(super) struct TrailerBuilder {
    entries: Vec<u8>,
    next_index: u32,
}

impl TrailerBuilder {
    /// Returns the length of the trailer so far in bytes; 0 while no record has headers.
    #[inline]
    pub(super) fn len(&self) -> usize {
        if self.entries.is_empty() { 0 } else { OVERHEAD + self.entries.len() }
    }

    /// Returns the bytes that [`TrailerBuilder::add`] would add to [`TrailerBuilder::len`].
    pub(super) fn added_len(&self, index: u32, headers: &[(&str, &[u8])]) -> usize {
        if headers.is_empty() {
            return 0;
        }
        let block = block_len(headers);
        let entry = varint::encoded_len(self.gap(index)) + varint::encoded_len(len_of(block)) + block;
        entry + if self.entries.is_empty() { OVERHEAD } else { 0 }
    }

    /// Adds the headers of the record at `index`. Indexes ascend.
    pub(super) fn add(&mut self, index: u32, headers: &[(&str, &[u8])]) {
        if headers.is_empty() {
            return;
        }
        let gap = self.gap(index);
        varint::put(&mut self.entries, gap);
        varint::put(&mut self.entries, len_of(block_len(headers)));
        put_block(&mut self.entries, headers);
        self.next_index = index + 1;
    }

    fn gap(&self, index: u32) -> i64 {
        i64::from(index) - i64::from(self.next_index)
    }

    /// Appends the trailer to a record section, unless no record has headers. Returns whether it did.
    pub(super) fn finish(&self, section: &mut Vec<u8>) -> Result<bool, WireError> {
        if self.entries.is_empty() {
            return Ok(false);
        }
        let length = |bytes: usize| {
            u32::try_from(bytes).map_err(|_| WireError::TooLarge {
                what: "record headers",
                size: bytes,
                limit: u32::MAX as usize,
            })
        };
        section.push(RECORD_HEADERS);
        section.extend_from_slice(&length(self.entries.len())?.to_be_bytes());
        section.extend_from_slice(&self.entries);
        section.extend_from_slice(&length(SECTION_HEAD_LEN + self.entries.len())?.to_be_bytes());
        section.push(VERSION);
        section.extend_from_slice(&MAGIC);
        Ok(true)
    }
}

/// Returns an upper bound of the bytes that a record's headers add to a batch.
pub(super) fn headers_bound(headers: &[(&str, &[u8])]) -> usize {
    if headers.is_empty() {
        return 0;
    }
    OVERHEAD + 2 * varint::MAX_LEN + block_len(headers)
}

fn block_len(headers: &[(&str, &[u8])]) -> usize {
    headers.iter().fold(varint::encoded_len(len_of(headers.len())), |sum, (name, value)| {
        let lengths = varint::encoded_len(len_of(name.len())) + varint::encoded_len(len_of(value.len()));
        sum.saturating_add(lengths).saturating_add(name.len()).saturating_add(value.len())
    })
}

/// Converts a length to the number on the wire; lengths in memory never exceed `i64::MAX`.
#[inline]
pub(super) fn len_of(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// Finds the record headers at the end of `section`, an uncompressed record section whose batch is flagged to have a
/// trailer, and returns the range of their entries. Checks all entries, so that readers later see all headers or none.
pub(super) fn locate(section: &[u8]) -> (TrailerState, Range<usize>) {
    match parse(section) {
        Ok(entries) => (TrailerState::Read, entries),
        Err(state) => (state, 0..0),
    }
}

fn parse(section: &[u8]) -> Result<Range<usize>, TrailerState> {
    const DAMAGED: TrailerState = TrailerState::Damaged;
    let (before, footer) = section.split_last_chunk::<FOOTER_LEN>().ok_or(DAMAGED)?;
    let [a, b, c, d, version, magic @ ..] = *footer;
    if magic != MAGIC {
        return Err(DAMAGED);
    }
    if version != VERSION {
        return Err(TrailerState::UnknownVersion(version));
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let start = before.len().checked_sub(length).ok_or(DAMAGED)?;
    let mut sections = before.get(start..).unwrap_or_default();
    let mut entries = 0..0;
    while let Some((kind, rest)) = sections.split_first() {
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(DAMAGED)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (body, rest) = rest.split_at_checked(length).ok_or(DAMAGED)?;
        if *kind == RECORD_HEADERS {
            if !well_formed(body) {
                return Err(DAMAGED);
            }
            let end = before.len() - rest.len();
            entries = end - body.len()..end;
        }
        sections = rest;
    }
    Ok(entries)
}

fn well_formed(entries: &[u8]) -> bool {
    let mut cursor = HeaderEntries { rest: entries, next_index: 0 };
    while !cursor.rest.is_empty() {
        match cursor.peek() {
            Some((_, block, _)) if !BorrowedHeaders::is_well_formed(block) => return false,
            Some((index, _, rest)) => cursor = HeaderEntries { rest, next_index: index + 1 },
            None => return false,
        }
    }
    true
}

/// Cursor over the header entries of a trailer, advanced in step with the records.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeaderEntries<'a> {
    /// The unread entries.
    pub(super) rest: &'a [u8],
    /// Record index that the next entry's gap counts from.
    pub(super) next_index: u64,
}

impl<'a> HeaderEntries<'a> {
    /// Takes the headers of the record at `index`. Indexes must ascend from call to call.
    #[inline]
    pub(super) fn take(&mut self, index: u32) -> Option<BorrowedHeaders<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let (entry_index, block, rest) = self.peek()?;
        if entry_index != u64::from(index) {
            return None;
        }
        *self = Self { rest, next_index: entry_index + 1 };
        Some(BorrowedHeaders { block })
    }

    fn peek(&self) -> Option<(u64, &'a [u8], &'a [u8])> {
        let mut rest = self.rest;
        let gap = u64::try_from(varint::take(&mut rest).ok()?).ok()?;
        let index = self.next_index.checked_add(gap).filter(|index| *index < u64::from(u32::MAX))?;
        let block = take_block(&mut rest)?;
        Some((index, block, rest))
    }
}

/// Writes the headers of one record.
fn put_block(out: &mut Vec<u8>, headers: &[(&str, &[u8])]) {
    varint::put(out, len_of(headers.len()));
    for (name, value) in headers {
        varint::put(out, len_of(name.len()));
        out.extend_from_slice(name.as_bytes());
        varint::put(out, len_of(value.len()));
        out.extend_from_slice(value);
    }
}

/// Takes a length and that many bytes off the front.
fn take_block<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = *input;
    let length = usize::try_from(varint::take(&mut rest).ok()?).ok()?;
    let (block, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some(block)
}

/// Headers of one record, names and bytes, in the order in which they were written. Cloning copies a pointer; the
/// empty set allocates nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// The bytes of [`BorrowedHeaders`]; `None` for no headers, so that creating and dropping them costs nothing.
    block: Option<Bytes>,
}

impl Headers {
    /// Creates an empty set of headers.
    #[must_use]
    pub const fn new() -> Self {
        Self { block: None }
    }

    /// Slices `headers`, which lie inside `whole`, without copying.
    #[inline]
    pub(super) fn slice_of(whole: &Bytes, headers: BorrowedHeaders<'_>) -> Self {
        let found = !headers.block.is_empty();
        Self { block: found.then(|| whole.slice_ref(headers.block)) }
    }

    /// Returns the same headers, borrowed.
    #[must_use]
    pub fn borrowed(&self) -> BorrowedHeaders<'_> {
        BorrowedHeaders { block: self.block.as_deref().unwrap_or_default() }
    }

    /// Returns names and values in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.borrowed().iter()
    }

    /// Returns the value of the header with this name; of several, the last.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.borrowed().get(name)
    }

    /// Returns the number of headers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.borrowed().len()
    }

    /// Returns whether there are no headers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.borrowed().is_empty()
    }
}

impl<'h> FromIterator<(&'h str, &'h [u8])> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'h str, &'h [u8])>>(headers: I) -> Self {
        let headers: Vec<_> = headers.into_iter().collect();
        if headers.is_empty() {
            return Self::new();
        }
        let mut block = Vec::with_capacity(block_len(&headers));
        put_block(&mut block, &headers);
        Self { block: Some(block.into()) }
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.borrowed().fmt(f)
    }
}

/// [`Headers`] borrowed from a batch.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct BorrowedHeaders<'a> {
    /// Count, then per header: name length, name, value length, value. Either empty or well formed.
    block: &'a [u8],
}

impl<'a> BorrowedHeaders<'a> {
    /// Returns names and values in the order in which they were written.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let mut rest = self.block;
        let count = take_count(&mut rest).unwrap_or(0);
        (0..count).map_while(move |_| take_header(&mut rest))
    }

    /// Returns the value of the header with this name; of several, the last.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.iter().filter(|(candidate, _)| *candidate == name).map(|(_, value)| value).last()
    }

    /// Returns the number of headers.
    #[must_use]
    pub fn len(self) -> usize {
        let mut rest = self.block;
        take_count(&mut rest).unwrap_or(0)
    }

    /// Returns whether there are no headers.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Wraps `block` if it is exactly one complete set of headers.
    pub(super) fn parse(block: &'a [u8]) -> Option<Self> {
        Self::is_well_formed(block).then_some(Self { block })
    }

    fn is_well_formed(block: &[u8]) -> bool {
        let mut rest = block;
        let Some(count) = take_count(&mut rest) else { return false };
        // Each header takes at least two bytes, so this loop ends with the block whatever the count claims.
        for _ in 0..count {
            if take_header(&mut rest).is_none() {
                return false;
            }
        }
        rest.is_empty()
    }
}

impl std::fmt::Debug for BorrowedHeaders<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, value.escape_ascii().to_string())))
            .finish()
    }
}

fn take_count(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(varint::take(rest).ok()?).ok()
}

fn take_header<'a>(rest: &mut &'a [u8]) -> Option<(&'a str, &'a [u8])> {
    let name = std::str::from_utf8(take_block(rest)?).ok()?;
    // Some writers mark a header without value by the length -1, as in Kafka.
    let mut after = *rest;
    if varint::take(&mut after) == Ok(-1) {
        *rest = after;
        return Some((name, &[]));
    }
    Some((name, take_block(rest)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Attributes, BatchBuilder, EncodedBatch, FinishOptions, HEADER_LEN, LENGTH_END};

    type Pairs = Vec<(String, Vec<u8>)>;

    /// Builds a batch of three records, the second with headers.
    fn batch() -> EncodedBatch {
        let mut builder = BatchBuilder::new(256);
        builder.append(0, None, b"a", &[]).unwrap();
        builder.append(0, None, b"b", &[("n", b"xy"), ("n", b"z")]).unwrap();
        builder.append(0, None, b"c", &[]).unwrap();
        let len = builder.len();
        let batch = builder.finish(FinishOptions::default()).unwrap();
        assert_eq!(batch.len(), len, "the length includes the trailer in advance");
        batch
    }

    /// Builds the batch with another record section.
    fn with_section(section: &[u8]) -> EncodedBatch {
        let mut bytes = [&batch().raw()[..HEADER_LEN], section].concat();
        let length = (bytes.len() - LENGTH_END) as u32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        EncodedBatch::parse(Bytes::from(bytes)).unwrap()
    }

    fn read(batch: &EncodedBatch) -> (TrailerState, Vec<Bytes>, Vec<Pairs>) {
        let records = batch.records().unwrap();
        let state = records.trailer_state();
        let (values, headers) = records
            .map(Result::unwrap)
            .map(|record| {
                let headers =
                    record.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
                (record.value, headers)
            })
            .unzip();
        (state, values, headers)
    }

    fn second_has_headers() -> Vec<Pairs> {
        vec![vec![], vec![("n".to_owned(), b"xy".to_vec()), ("n".to_owned(), b"z".to_vec())], vec![]]
    }

    /// Checks the table in `docs/formats/batch.md`.
    #[test]
    fn the_trailer_has_the_documented_bytes() {
        let batch = batch();
        assert!(batch.header().attributes.has_trailer());
        let trailer = [
            &[1, 0, 0, 0, 12][..],                          // record headers, 12 bytes
            &[2, 20],                                       // gap 1, 10 bytes of headers
            &[4, 2, b'n', 4, b'x', b'y', 2, b'n', 2, b'z'], // two headers
            &[0, 0, 0, 17, 1, b'f', b'l', b'o', b'e'],      // footer
        ]
        .concat();
        // Count and three records of ten bytes less two: 4 + 3 * 8.
        assert_eq!(batch.raw()[HEADER_LEN + 4 + 24..], trailer);
        assert_eq!(read(&batch).2, second_has_headers());
    }

    #[test]
    fn the_last_header_of_a_name_counts() {
        let record = batch().records().unwrap().nth(1).unwrap().unwrap();
        assert_eq!(record.headers.get("n"), Some(&b"z"[..]));
        assert_eq!(record.headers.get("N"), None);
        assert_eq!((record.headers.len(), record.headers.is_empty()), (2, false));
        assert_eq!(format!("{:?}", record.headers), r#"{"n": "xy", "n": "z"}"#);
        assert_eq!(Headers::new(), Headers::default());
        assert!(Headers::new().is_empty());
    }

    #[test]
    fn headers_in_the_trailer_take_precedence_over_inline_headers() {
        let section = batch().raw()[HEADER_LEN..].to_vec();
        // The second record gets an inline header: length 8 - 1 + 5.
        let own = [24, 0, 0, 2, 0, 2, b'b', 2, 2, b'o', 4, b'i', b'n'];
        let section = [&section[..12], &own, &section[20..]].concat();
        assert_eq!(read(&with_section(&section)).2, second_has_headers());
    }

    #[test]
    fn damage_loses_headers_but_never_records() {
        let section = batch().raw()[HEADER_LEN..].to_vec();
        let values: Vec<_> = ["a", "b", "c"].map(Bytes::from).to_vec();
        let (mut damaged, mut unknown) = (0, 0);
        for at in 28..section.len() {
            for flip in [0x01, 0x04, 0x80] {
                let mut changed = section.clone();
                changed[at] ^= flip;
                let (state, found, headers) = read(&with_section(&changed));
                assert_eq!(found, values, "byte {at}");
                if state == TrailerState::Read {
                    continue; // A changed name, value or gap: only the checksum of the batch detects it.
                }
                assert_eq!(headers, [vec![], vec![], vec![]], "byte {at}: all of the headers or none");
                match state {
                    TrailerState::Damaged => damaged += 1,
                    TrailerState::UnknownVersion(version) => {
                        assert_eq!(version, 1 ^ flip);
                        unknown += 1;
                    }
                    other => panic!("byte {at}: {other:?}"),
                }
            }
            let (state, found, _) = read(&with_section(&section[..at]));
            assert_eq!((state, found), (TrailerState::Damaged, values.clone()), "cut at {at}");
        }
        assert_eq!(unknown, 3);
        assert!(damaged > 20, "{damaged}");
    }

    #[test]
    fn unknown_sections_are_skipped_by_their_length() {
        let section = batch().raw()[HEADER_LEN..].to_vec();
        let (records, trailer) = section.split_at(28);
        let (headers, _) = trailer.split_at(SECTION_HEAD_LEN + 12);
        let other = [9, 0, 0, 0, 3, 1, 2, 3];
        for sections in [[&other[..], headers].concat(), [headers, &other].concat()] {
            let length = sections.len() as u32;
            let footer = [&length.to_be_bytes()[..], &[1], b"floe"].concat();
            let (state, _, found) = read(&with_section(&[records, &sections, &footer].concat()));
            assert_eq!((state, found), (TrailerState::Read, second_has_headers()));
        }
    }

    #[test]
    fn a_trailer_without_its_flag_is_ignored() {
        let mut bytes = batch().raw().to_vec();
        bytes[21] &= !(Attributes::TRAILER >> 8) as u8;
        let (state, values, headers) = read(&EncodedBatch::parse(Bytes::from(bytes)).unwrap());
        assert_eq!((state, values.len()), (TrailerState::Absent, 3));
        assert!(headers.iter().all(Vec::is_empty));
    }

    #[test]
    fn records_without_headers_take_no_room_in_the_trailer() {
        let mut builder = BatchBuilder::new(256);
        builder.append(0, None, b"", &[]).unwrap();
        let per_record = builder.len() - HEADER_LEN - 4;
        builder.append(0, None, b"", &[("k", b"v")]).unwrap();
        let with_trailer = builder.len();
        builder.append(0, None, b"", &[]).unwrap();
        assert_eq!(builder.len() - with_trailer, per_record);
        assert_eq!(with_trailer, HEADER_LEN + 4 + 2 * per_record + OVERHEAD + 7);
    }
}
