//! Encodes records straight into the buffer of the finished batch.

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
    varint::{self, HeadWriter},
};

/// Position of the first record: after the header and the count.
const RECORDS_START: usize = HEADER_LEN + 4;

/// Position of the checksum in the header.
const CHECKSUM_FIELD: std::ops::Range<usize> = 17..CHECKSUM_START;

/// Most bytes of a record besides its key, value and headers: length, attributes, two deltas, key flag, two lengths,
/// header count.
const RECORD_OVERHEAD: usize = 5 + 1 + 5 + 5 + 1 + 5 + 5 + 1;

/// Compression and producer identity of a finished batch. Default: uncompressed, no producer.
#[derive(Debug, Clone, Copy, Default)]
pub struct FinishOptions {
    /// Codec, level and threshold.
    pub compression: Compression,
    /// Producer and sequence of the first record.
    pub producer: ProducerIdentity,
}

/// A batch under construction: one growing buffer that each record is encoded into on arrival.
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
    /// Header and count, zero until [`BatchBuilder::finish`]; then the records.
    buffer: Vec<u8>,
    trailer: TrailerBuilder,
    count: u32,
    first_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// Creates an empty batch with room for `capacity` bytes, header included. It grows when needed.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let mut buffer =
            Vec::with_capacity(capacity.clamp(RECORDS_START, MAX_BATCH_LEN) + HeadWriter::EXCESS);
        buffer.resize(RECORDS_START, 0);
        Self { buffer, trailer: TrailerBuilder::default(), count: 0, first_timestamp: -1, max_timestamp: -1 }
    }

    /// Appends a record and returns its index in the batch. On an error nothing is appended.
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

        self.buffer.reserve(record + HeadWriter::EXCESS);
        let mut head = HeadWriter::new(&mut self.buffer);
        head.varint(len_of(body));
        head.byte(0);
        head.varint(delta);
        head.varint(i64::from(index));
        match key {
            None => {
                head.byte(0);
                head.varint(len_of(value.len()));
                head.finish();
            }
            Some(key) => {
                head.byte(1);
                head.varint(len_of(key.len()));
                head.finish();
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

    /// Returns an upper bound of the bytes that a record adds to a batch, without encoding it.
    #[inline]
    #[must_use]
    pub fn record_len(key: Option<&[u8]>, value: &[u8], headers: &[(&str, &[u8])]) -> usize {
        let payload = key.map_or(0, <[u8]>::len).saturating_add(value.len());
        payload.saturating_add(RECORD_OVERHEAD).saturating_add(headers_bound(headers))
    }

    /// Returns whether a record of this time can join the batch: the format keeps 32-bit differences to the first
    /// record's time. The record opens the next batch otherwise.
    #[inline]
    #[must_use]
    pub fn accepts_timestamp(&self, timestamp: i64) -> bool {
        self.timestamp_delta(timestamp).is_ok()
    }

    /// Returns the uncompressed size of the whole batch so far, in bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len() + self.trailer.len()
    }

    /// Returns the number of records appended so far.
    #[inline]
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns whether no record was appended.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Closes the batch: base offset 0, leader epoch -1. Compresses it if the options ask for it, its records are long
    /// enough, and it becomes smaller.
    ///
    /// # Errors
    /// [`WireError::Malformed`] if the batch is empty; [`WireError::Compression`] if the codec has no such level;
    /// [`WireError::CodecNotCompiled`] if the codec's Cargo feature is off.
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
        let times = (first_timestamp, max_timestamp);
        let header =
            BatchHeader::unsealed(Attributes(attributes), last_offset_delta, times, options.producer);
        Ok(seal(header, buffer, options.compression)?.dense())
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

/// Closes a batch whose record section is in `buffer` behind room for the header: compresses it, if that makes it
/// smaller, and fills in the header. Sets length, checksum and codec of `header`.
pub(super) fn seal(
    mut header: BatchHeader,
    mut buffer: Vec<u8>,
    Compression { codec, level, threshold }: Compression,
) -> Result<EncodedBatch, WireError> {
    let section = buffer.get(HEADER_LEN..).unwrap_or_default();
    if codec != Codec::None && section.len() >= threshold {
        let mut compressed = Vec::with_capacity(HEADER_LEN + section.len());
        compressed.resize(HEADER_LEN, 0);
        compress(codec, level, section, &mut compressed)?;
        if compressed.len() < buffer.len() {
            buffer = compressed;
            header.attributes.0 |= codec.code();
        }
    }
    let too_large = || WireError::TooLarge { what: "record batch", size: buffer.len(), limit: MAX_BATCH_LEN };
    header.batch_len = i32::try_from(buffer.len() - LENGTH_END).map_err(|_| too_large())?;
    put_at(&mut buffer, 0..HEADER_LEN, &header.encode());
    header.checksum = crc32c::crc32c(buffer.get(CHECKSUM_START..).unwrap_or_default());
    put_at(&mut buffer, CHECKSUM_FIELD, &header.checksum.to_be_bytes());
    Ok(EncodedBatch::built(header, Bytes::from(buffer)))
}

/// Overwrites a part of the header at the start of `buffer`.
fn put_at(buffer: &mut [u8], range: std::ops::Range<usize>, bytes: &[u8]) {
    if let Some(field) = buffer.get_mut(range) {
        field.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: i64 = 1_700_000_000_000;

    fn plain(builder: BatchBuilder) -> EncodedBatch {
        builder.finish(FinishOptions::default()).unwrap()
    }

    #[test]
    fn two_records_give_the_documented_bytes() {
        let mut builder = BatchBuilder::new(0);
        assert_eq!(builder.append(T0, None, b"dog", &[]), Ok(0));
        assert_eq!(builder.append(T0 + 5, Some(b"k"), b"cat", &[]), Ok(1));
        assert_eq!(builder.len(), 83);
        let batch = plain(builder);
        let expected = [
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x47, 0xff, 0xff, 0xff, 0xff, 2][..],
            &0x5dbd_772f_u32.to_be_bytes(),
            &[0, 0, 0, 0, 0, 1],
            &[0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00],
            &[0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x05],
            &[0xff; 14],
            &[0, 0, 0, 2],
            &[0x12, 0, 0, 0, 0, 6, b'd', b'o', b'g', 0],
            &[0x16, 0, 0x0a, 2, 1, 2, b'k', 6, b'c', b'a', b't', 0],
        ]
        .concat();
        assert_eq!(batch.to_bytes(), expected);
        let parsed = EncodedBatch::parse(batch.to_bytes());
        assert_eq!(parsed.as_ref().map(EncodedBatch::verify_checksum), Ok(Ok(())));
        assert_eq!(parsed, Ok(batch));
    }

    #[test]
    fn the_header_holds_producer_and_times() {
        let mut builder = BatchBuilder::new(256);
        for timestamp in [T0, T0 + 9, T0 - 3] {
            builder.append(timestamp, None, b"v", &[]).unwrap();
        }
        let producer = ProducerIdentity { id: 77, epoch: 3, first_sequence: 40 };
        let batch = builder.finish(FinishOptions { producer, ..FinishOptions::default() }).unwrap();
        let header = *batch.header();
        assert_eq!((header.first_timestamp, header.max_timestamp), (T0, T0 + 9));
        assert_eq!(header.producer, producer);
        assert_eq!((header.base_offset, header.leader_epoch, header.last_offset_delta), (0, -1, 2));
        let times: Vec<_> = batch.records().unwrap().map(|record| record.unwrap().timestamp).collect();
        assert_eq!(times, [Some(T0), Some(T0 + 9), Some(T0 - 3)]);
    }

    #[test]
    fn an_empty_batch_does_not_finish() {
        let builder = BatchBuilder::new(64);
        assert!(builder.is_empty());
        assert!(matches!(builder.finish(FinishOptions::default()), Err(WireError::Malformed { .. })));
    }

    #[test]
    fn a_record_too_large_for_the_batch_leaves_it_unchanged() {
        let mut builder = BatchBuilder::new(64);
        builder.append(T0, None, b"kept", &[("h", b"1")]).unwrap();
        let len = builder.len();
        let large = vec![0u8; MAX_BATCH_LEN];
        for (key, value, header) in
            [(None, &large[..], &b""[..]), (Some(&large[..]), b"", b""), (None, b"", &large)]
        {
            let outcome = builder.append(T0, key, value, &[("h", header)]);
            assert!(matches!(outcome, Err(WireError::TooLarge { limit: MAX_BATCH_LEN, .. })), "{outcome:?}");
            assert_eq!((builder.len(), builder.count()), (len, 1));
        }
        builder.append(T0, None, b"also kept", &[]).unwrap();
        let values: Vec<_> = plain(builder).records().unwrap().map(|record| record.unwrap().value).collect();
        assert_eq!(values, [&b"kept"[..], b"also kept"]);
    }

    #[test]
    fn the_largest_batch_is_exactly_the_limit() {
        let mut builder = BatchBuilder::new(64);
        // Around the value: length 4, attributes, two deltas, key flag, value length 4, header count.
        let value = vec![7u8; MAX_BATCH_LEN - RECORDS_START - 4 - 1 - 2 - 1 - 4 - 1];
        let mut longer = value.clone();
        longer.push(7);
        assert!(builder.append(T0, None, &longer, &[]).is_err());
        builder.append(T0, None, &value, &[]).unwrap();
        assert_eq!(builder.len(), MAX_BATCH_LEN);
        assert!(builder.append(T0, None, b"", &[]).is_err());
        let batch = plain(builder);
        assert_eq!(batch.len(), MAX_BATCH_LEN);
        assert!(EncodedBatch::parse(batch.to_bytes()).is_ok());
    }

    #[test]
    fn times_beyond_32_bits_from_the_first_are_refused() {
        let mut builder = BatchBuilder::new(64);
        assert!(builder.accepts_timestamp(i64::MIN), "an empty batch takes any time");
        builder.append(T0, None, b"", &[]).unwrap();
        for (delta, accepted) in [
            (i64::from(i32::MAX), true),
            (i64::from(i32::MIN), true),
            (i64::from(i32::MAX) + 1, false),
            (i64::from(i32::MIN) - 1, false),
            (-1 - T0, false),
            (i64::MAX - T0, false),
        ] {
            let timestamp = T0 + delta;
            assert_eq!(builder.accepts_timestamp(timestamp), accepted, "{delta}");
            let (len, outcome) = (builder.len(), builder.append(timestamp, None, b"", &[]));
            assert_eq!(outcome.is_ok(), accepted, "{delta}");
            assert_eq!(builder.len() == len, !accepted);
        }
        let mut extreme = BatchBuilder::new(64);
        extreme.append(i64::MIN, None, b"", &[]).unwrap();
        assert!(!extreme.accepts_timestamp(i64::MAX), "the difference does not wrap");
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn short_and_incompressible_batches_stay_uncompressed() {
        let finish = |value: &[u8], threshold| {
            let mut builder = BatchBuilder::new(64);
            builder.append(T0, None, value, &[("name", b"value")]).unwrap();
            let compression = Compression { codec: Codec::Zstd, level: None, threshold };
            let options = FinishOptions { compression, ..FinishOptions::default() };
            builder.finish(options).unwrap()
        };
        let repeated = [b'a'; 500];
        let section = finish(&repeated, usize::MAX).records().unwrap().section_len();
        let noise: Vec<u8> = (0..500u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        for (value, threshold, codec) in [
            (&repeated[..], section, Codec::Zstd),
            (&repeated, section + 1, Codec::None),
            (&noise, 0, Codec::None),
        ] {
            let batch = finish(value, threshold);
            assert_eq!(batch.header().attributes.codec(), Ok(codec));
            assert!(batch.header().attributes.has_trailer(), "the trailer flag is kept beside the codec");
            let record = batch.records().unwrap().next().unwrap().unwrap();
            assert_eq!(record.value, value);
            assert_eq!(record.headers.get("name"), Some(&b"value"[..]));
        }
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn an_unknown_level_is_refused() {
        let mut builder = BatchBuilder::new(64);
        builder.append(T0, None, &[b'a'; 2_000], &[]).unwrap();
        let compression = Compression { level: Some(99), ..Compression::new(Codec::Zstd) };
        let options = FinishOptions { compression, ..FinishOptions::default() };
        assert!(matches!(builder.finish(options), Err(WireError::Compression { codec: "zstd", .. })));
    }
}
