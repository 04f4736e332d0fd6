//! Encodes records straight into the batch that will be sent.

use bytes::Bytes;

use super::{
    encoded::EncodedBatch,
    header::{
        Attributes, BatchHeader, CHECKSUM_START, HEADER_LEN, LENGTH_END, MAX_BATCH_LEN, ProducerIdentity,
    },
    trailer::{TrailerBuilder, headers_bound, len_of},
};
use crate::{
    WireError,
    compress::{Codec, Compression, compress},
    varint::{self, Scratch},
};

/// Where the records begin: after the header and the count.
const RECORDS_START: usize = HEADER_LEN + 4;

/// Where the checksum is stored.
const CHECKSUM_FIELD: std::ops::Range<usize> = 17..CHECKSUM_START;

/// Most bytes of a record besides its key, value and headers: length, attributes, two deltas, key flag, two lengths,
/// header count.
const RECORD_OVERHEAD: usize = 5 + 1 + 5 + 5 + 1 + 5 + 5 + 1;

/// How a finished batch is compressed and whom it names as its producer. Default: plain, nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct FinishOptions {
    /// Codec, level and threshold.
    pub compression: Compression,
    /// Producer and sequence of the first record.
    pub producer: ProducerIdentity,
}

/// A batch under construction: one growing buffer that records are encoded into as they come.
///
/// Times are milliseconds since the Unix epoch. A batch keeps the time of its first record and 32-bit differences to
/// it: about 24 days each way. If the first time is zero or negative, no record of the batch has a time.
///
/// ```
/// use floe_wire::batch::{BatchBuilder, FinishOptions};
///
/// let mut builder = BatchBuilder::new(16 * 1024);
/// builder.append(1_700_000_000_000, None, b"dog", &[])?;
/// builder.append(1_700_000_000_005, Some(b"k"), b"cat", &[("lang", b"en")])?;
/// let batch = builder.finish(FinishOptions::default())?;
///
/// let records: Vec<_> = batch.records()?.collect::<Result<_, _>>()?;
/// assert_eq!(records[1].value, "cat");
/// assert_eq!(records[1].timestamp, Some(1_700_000_000_005));
/// assert_eq!(records[1].headers.get("lang"), Some(&b"en"[..]));
/// # Ok::<(), floe_wire::WireError>(())
/// ```
#[derive(Debug)]
pub struct BatchBuilder {
    /// Header and count stay zero until the end.
    buffer: Vec<u8>,
    trailer: TrailerBuilder,
    count: u32,
    first_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// An empty batch with room for `capacity` bytes, header included. It grows when needed.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let mut buffer = Vec::with_capacity(capacity.clamp(RECORDS_START, MAX_BATCH_LEN) + Scratch::LEN);
        buffer.resize(RECORDS_START, 0);
        Self { buffer, trailer: TrailerBuilder::default(), count: 0, first_timestamp: -1, max_timestamp: -1 }
    }

    /// Appends a record and returns its index in the batch. On an error nothing was appended.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] when the batch would pass [`MAX_BATCH_LEN`]; [`WireError::OutOfRange`] when `timestamp`
    /// is too far from that of the first record. Either way an empty batch may take the record: see
    /// [`BatchBuilder::record_len`] and [`BatchBuilder::accepts_timestamp`].
    #[inline]
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: &[u8],
        headers: &[(&str, &[u8])],
    ) -> Result<u32, WireError> {
        let index = self.count;
        let delta = self.timestamp_delta(timestamp)?;
        let key_len = match key {
            Some(key) => varint::encoded_len(len_of(key.len())).saturating_add(key.len()),
            None => 0,
        };
        let value_len = varint::encoded_len(len_of(value.len())).saturating_add(value.len());
        // Attributes, key flag and header count take a byte each.
        let body = varint::encoded_len(delta)
            .saturating_add(varint::encoded_len(i64::from(index)) + 3)
            .saturating_add(key_len)
            .saturating_add(value_len);
        let record = varint::encoded_len(len_of(body)).saturating_add(body);
        let in_trailer = if headers.is_empty() { 0 } else { self.trailer.added_len(index, headers) };
        let size = self.len().saturating_add(record).saturating_add(in_trailer);
        if size > MAX_BATCH_LEN {
            return Err(WireError::TooLarge { what: "record batch", size, limit: MAX_BATCH_LEN });
        }

        self.buffer.reserve(record + Scratch::LEN);
        let mut head = Scratch::new();
        head.varint(len_of(body));
        head.byte(0);
        head.varint(delta);
        head.varint(i64::from(index));
        match key {
            None => {
                head.byte(0);
                head.varint(len_of(value.len()));
                head.append_to(&mut self.buffer);
            }
            Some(key) => {
                head.byte(1);
                head.varint(len_of(key.len()));
                head.append_to(&mut self.buffer);
                self.buffer.extend_from_slice(key);
                varint::put(&mut self.buffer, len_of(value.len()));
            }
        }
        self.buffer.extend_from_slice(value);
        // The header count: official readers expect 0 here, headers are in the trailer.
        self.buffer.push(0);
        if !headers.is_empty() {
            self.trailer.add(index, headers);
        }

        if index == 0 {
            self.first_timestamp = timestamp;
            self.max_timestamp = timestamp;
        } else if timestamp > self.max_timestamp {
            self.max_timestamp = timestamp;
        }
        self.count = index + 1;
        Ok(index)
    }

    /// Upper bound of the bytes that a record adds to a batch; cheap.
    #[inline]
    #[must_use]
    pub fn record_len(key: Option<&[u8]>, value: &[u8], headers: &[(&str, &[u8])]) -> usize {
        let payload = key.map_or(0, <[u8]>::len).saturating_add(value.len());
        payload.saturating_add(RECORD_OVERHEAD).saturating_add(headers_bound(headers))
    }

    /// Whether a record of this time can join the batch: the format keeps 32-bit differences to the first record's
    /// time. A record that cannot opens the next batch.
    #[inline]
    #[must_use]
    pub fn accepts_timestamp(&self, timestamp: i64) -> bool {
        self.timestamp_delta(timestamp).is_ok()
    }

    /// Size of the whole batch so far in bytes, uncompressed.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len() + self.trailer.len()
    }

    /// How many records were appended.
    #[inline]
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether no record was appended.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Closes the batch: base offset 0, leader epoch -1. Compresses it if the options ask for it, its records are long
    /// enough, and it becomes smaller.
    ///
    /// # Errors
    /// [`WireError::Malformed`] if the batch is empty; [`WireError::Compression`] if the codec has no such level.
    pub fn finish(self, options: FinishOptions) -> Result<EncodedBatch, WireError> {
        let Self { mut buffer, trailer, count, first_timestamp, max_timestamp } = self;
        let last_offset_delta = i32::try_from(i64::from(count) - 1)
            .ok()
            .filter(|last| *last >= 0)
            .ok_or_else(|| WireError::malformed("record batch", format!("{count} records")))?;
        let mut attributes = 0;
        if trailer.finish(&mut buffer)? {
            attributes |= Attributes::TRAILER;
        }
        put_at(&mut buffer, HEADER_LEN..RECORDS_START, &count.to_be_bytes());
        let Compression { codec, level, threshold } = options.compression;
        let section = buffer.get(HEADER_LEN..).unwrap_or_default();
        if codec != Codec::None && section.len() >= threshold {
            let mut compressed = Vec::with_capacity(HEADER_LEN + section.len());
            compressed.resize(HEADER_LEN, 0);
            compress(codec, level, section, &mut compressed)?;
            if compressed.len() < buffer.len() {
                buffer = compressed;
                attributes |= codec.code();
            }
        }
        let too_large =
            || WireError::TooLarge { what: "record batch", size: buffer.len(), limit: MAX_BATCH_LEN };
        let mut header = BatchHeader {
            base_offset: 0,
            batch_len: i32::try_from(buffer.len() - LENGTH_END).map_err(|_| too_large())?,
            leader_epoch: -1,
            checksum: 0,
            attributes: Attributes(attributes),
            last_offset_delta,
            first_timestamp,
            max_timestamp,
            producer: options.producer,
        };
        put_at(&mut buffer, 0..HEADER_LEN, &header.encode());
        header.checksum = crc32c::crc32c(buffer.get(CHECKSUM_START..).unwrap_or_default());
        put_at(&mut buffer, CHECKSUM_FIELD, &header.checksum.to_be_bytes());
        Ok(EncodedBatch::from_parts(header, Bytes::from(buffer)))
    }

    #[inline]
    fn timestamp_delta(&self, timestamp: i64) -> Result<i64, WireError> {
        if self.count == 0 {
            return Ok(0);
        }
        let delta = timestamp.wrapping_sub(self.first_timestamp);
        // The official decoder misreads deltas of more than 32 bits.
        if i32::try_from(delta).is_ok() && timestamp.checked_sub(self.first_timestamp).is_some() {
            return Ok(delta);
        }
        Err(WireError::OutOfRange {
            what: "record timestamp",
            value: timestamp,
            min: self.first_timestamp.saturating_add(i64::from(i32::MIN)),
            max: self.first_timestamp.saturating_add(i64::from(i32::MAX)),
        })
    }
}

/// Overwrites a part of the header, which every buffer here begins with.
fn put_at(buffer: &mut [u8], range: std::ops::Range<usize>, bytes: &[u8]) {
    if let Some(field) = buffer.get_mut(range) {
        field.copy_from_slice(bytes);
    }
}
