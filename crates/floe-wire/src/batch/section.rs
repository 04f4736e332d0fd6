//! Record sections outside a batch: the input and output of a SmartModule.

use bytes::Bytes;

use super::{
    builder::seal,
    encoded::EncodedBatch,
    header::{Attributes, BatchHeader, HEADER_LEN, MAX_BATCH_LEN, ProducerIdentity},
    records::{BorrowedRecord, Records},
};
use crate::{WireError, compress::Compression, varint};

/// Length of the record count at the start of a section.
const COUNT_LEN: usize = 4;

/// Offsets and times of a record section, which a batch keeps in its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionPlace {
    /// Offset that the offset deltas of the records count from.
    pub base_offset: i64,
    /// Offsets that the batch occupies, less one; the number of records may differ.
    pub last_offset_delta: i32,
    /// Time that the time deltas of the records count from, milliseconds since the Unix epoch; zero or less means that
    /// the records have no time.
    pub first_timestamp: i64,
    /// Largest time of the batch, milliseconds since the Unix epoch.
    pub max_timestamp: i64,
}

impl SectionPlace {
    /// Returns the place of a batch's records.
    #[must_use]
    pub fn of(header: &BatchHeader) -> Self {
        Self {
            base_offset: header.base_offset,
            last_offset_delta: header.last_offset_delta,
            first_timestamp: header.first_timestamp,
            max_timestamp: header.max_timestamp,
        }
    }
}

impl EncodedBatch {
    /// Returns the record section, decompressed to at most `limit` bytes: the count and the unchanged records, without
    /// the trailer that holds record headers.
    ///
    /// # Errors
    /// The errors of [`EncodedBatch::records_with_limit`]; [`WireError::Malformed`] for records with invalid lengths.
    pub fn record_section(&self, limit: usize) -> Result<Bytes, WireError> {
        let section = self.records_with_limit(limit)?.section().clone();
        if !self.header().attributes.has_trailer() {
            return Ok(section);
        }
        let end = section_len(&section)?;
        Ok(section.slice(..end))
    }

    /// Returns a record section of the records that `keep` accepts, with offsets that count from `base_offset`. Records
    /// that do not decode are left out.
    ///
    /// # Errors
    /// The errors of [`EncodedBatch::records_with_limit`]; [`WireError::TooLarge`] beyond the limit.
    pub fn record_section_of(
        &self,
        limit: usize,
        base_offset: i64,
        mut keep: impl FnMut(&BorrowedRecord<'_>) -> bool,
    ) -> Result<Bytes, WireError> {
        let records = self.records_with_limit(limit)?;
        let first_timestamp = self.header().first_timestamp;
        let mut section = vec![0; COUNT_LEN];
        let mut count = 0_u32;
        for record in records.borrowed().filter_map(Result::ok).filter(|record| keep(record)) {
            let time_delta = record.timestamp.map_or(0, |time| time.wrapping_sub(first_timestamp));
            put_record(&mut section, &record, time_delta, record.offset.wrapping_sub(base_offset));
            count = count.saturating_add(1);
            if section.len() > limit {
                return Err(WireError::TooLarge { what: "record section", size: section.len(), limit });
            }
        }
        if let Some(field) = section.first_chunk_mut::<COUNT_LEN>() {
            *field = count.to_be_bytes();
        }
        Ok(Bytes::from(section))
    }

    /// Builds a batch from a record section that another program has encoded. Names no producer.
    ///
    /// # Errors
    /// [`WireError::Malformed`] if a record does not decode or bytes follow the last one; [`WireError::TooLarge`]
    /// above [`MAX_BATCH_LEN`]; [`WireError::Compression`] if the codec has no such level.
    pub fn from_record_section(
        place: SectionPlace,
        section: &[u8],
        compression: Compression,
    ) -> Result<Self, WireError> {
        let size = HEADER_LEN.saturating_add(section.len());
        let too_large = WireError::TooLarge { what: "record batch", size, limit: MAX_BATCH_LEN };
        // Compressed it may fit, but readers would have to decompress more than the largest batch.
        if size > MAX_BATCH_LEN {
            return Err(too_large);
        }
        if section_len(section)? != section.len() {
            return Err(WireError::malformed("record section", "bytes follow the last record"));
        }
        let mut buffer = vec![0; HEADER_LEN];
        buffer.extend_from_slice(section);
        let header = BatchHeader {
            base_offset: place.base_offset,
            batch_len: 0,
            leader_epoch: -1,
            checksum: 0,
            attributes: Attributes(0),
            last_offset_delta: place.last_offset_delta,
            first_timestamp: place.first_timestamp,
            max_timestamp: place.max_timestamp,
            producer: ProducerIdentity::NONE,
        };
        let mut records = Records::of_section(&header, Bytes::copy_from_slice(section))?;
        if let Some(error) = records.find_map(Result::err) {
            return Err(error);
        }
        seal(header, buffer, compression)
    }
}

/// Returns the length of the section at the start of `bytes`, by its count and the lengths of its records. Ignores the
/// bytes after it.
///
/// # Errors
/// [`WireError::Truncated`] or [`WireError::Malformed`] if there are fewer records than the count says.
pub fn section_len(bytes: &[u8]) -> Result<usize, WireError> {
    let Some((count, mut rest)) = bytes.split_first_chunk::<COUNT_LEN>() else {
        return Err(WireError::Truncated { what: "record count", needed: COUNT_LEN, available: bytes.len() });
    };
    for index in 0..u32::from_be_bytes(*count) {
        let length = varint::take(&mut rest)?;
        let body = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
        let Some((_, after)) = body else {
            return Err(WireError::malformed(
                "record section",
                format!("record {index} claims {length} bytes, {} are there", rest.len()),
            ));
        };
        rest = after;
    }
    Ok(bytes.len() - rest.len())
}

fn put_record(out: &mut Vec<u8>, record: &BorrowedRecord<'_>, time_delta: i64, offset_delta: i64) {
    let blob_len = |blob: &[u8]| varint::encoded_len(length(blob)).saturating_add(blob.len());
    // Attributes, key flag and header count take a byte each.
    let body = 3_usize
        .saturating_add(varint::encoded_len(time_delta))
        .saturating_add(varint::encoded_len(offset_delta))
        .saturating_add(record.key.map_or(0, blob_len))
        .saturating_add(blob_len(record.value));
    varint::put(out, i64::try_from(body).unwrap_or(i64::MAX));
    out.push(0);
    varint::put(out, time_delta);
    varint::put(out, offset_delta);
    out.push(u8::from(record.key.is_some()));
    if let Some(key) = record.key {
        varint::put(out, length(key));
        out.extend_from_slice(key);
    }
    varint::put(out, length(record.value));
    out.extend_from_slice(record.value);
    out.push(0);
}

fn length(blob: &[u8]) -> i64 {
    i64::try_from(blob.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::{BatchBuilder, FinishOptions, MAX_SECTION_LEN},
        compress::Codec,
    };

    const T0: i64 = 1_700_000_000_000;

    fn batch(codec: Codec) -> EncodedBatch {
        let mut builder = BatchBuilder::new(256);
        builder.append(T0, None, b"zero", &[("name", b"in the trailer")]).unwrap();
        builder.append(T0 + 5, Some(b"k"), b"one", &[]).unwrap();
        builder.append(T0 + 9, Some(b""), b"two", &[]).unwrap();
        let compression = Compression { codec, threshold: 0, ..Compression::default() };
        let options = FinishOptions { compression, ..FinishOptions::default() };
        builder.finish(options).unwrap().with_base_offset(40)
    }

    fn read(batch: &EncodedBatch) -> Vec<(i64, Option<i64>, Option<Bytes>, Bytes)> {
        let records = batch.records().unwrap().map(Result::unwrap);
        records.map(|record| (record.offset, record.timestamp, record.key, record.value)).collect()
    }

    #[test]
    fn a_section_round_trips_through_a_batch() {
        for codec in Codec::ALL.into_iter().filter(|codec| codec.is_compiled_in()) {
            let batch = batch(codec);
            let section = batch.record_section(MAX_SECTION_LEN).unwrap();
            assert_eq!(section_len(&section), Ok(section.len()));
            let place = SectionPlace::of(batch.header());
            let compression = Compression { codec, threshold: 0, ..Compression::default() };
            let again = EncodedBatch::from_record_section(place, &section, compression).unwrap();
            assert_eq!(read(&again), read(&batch), "{codec}");
            assert_eq!((again.base_offset(), again.next_offset()), (40, 43));
            let parsed = EncodedBatch::parse(again.to_bytes()).unwrap();
            assert_eq!(parsed.verify_checksum(), Ok(()));
            assert_eq!(read(&parsed), read(&batch));
        }
    }

    #[test]
    fn selected_records_count_from_another_offset() {
        let codec = if Codec::Lz4.is_compiled_in() { Codec::Lz4 } else { Codec::None };
        let batch = batch(codec);
        let section = batch.record_section_of(1024, 41, |record| record.offset >= 41).unwrap();
        let place =
            SectionPlace { base_offset: 41, last_offset_delta: 1, ..SectionPlace::of(batch.header()) };
        let later = EncodedBatch::from_record_section(place, &section, Compression::default()).unwrap();
        assert_eq!(read(&later), read(&batch)[1..]);
        let none = batch.record_section_of(1024, 41, |_| false).unwrap();
        assert_eq!(none, [0; 4][..]);
        assert!(matches!(batch.record_section_of(8, 40, |_| true), Err(WireError::TooLarge { .. })));
    }

    #[test]
    fn malformed_sections_are_refused() {
        let good = batch(Codec::None).record_section(MAX_SECTION_LEN).unwrap();
        let place =
            SectionPlace { base_offset: 0, last_offset_delta: 2, first_timestamp: T0, max_timestamp: T0 };
        let made = |bytes: &[u8]| EncodedBatch::from_record_section(place, bytes, Compression::default());
        for cut in 0..good.len() {
            assert!(made(&good[..cut]).is_err(), "cut at {cut}");
        }
        assert!(made(&[&good[..], &[0]].concat()).is_err(), "a byte too many");
        // The second record claims a key that is not there.
        let mut bad = good.to_vec();
        let at = bad.windows(4).position(|window| window == b"zero").unwrap() + 5;
        bad[at + 4] = 9;
        assert!(made(&bad).is_err());
        assert!(made(&u32::MAX.to_be_bytes()).is_err());
    }
}
