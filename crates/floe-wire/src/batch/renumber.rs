//! Renumbers records with wrong offsets.
//!
//! A Fluvio server that runs SmartModules merges several batches into one and numbers its records wrongly: records
//! from any but the first batch have offsets that are too small, even negative, and several records made from one
//! share an offset.

use bytes::{Bytes, BytesMut};

use super::{
    encoded::EncodedBatch,
    records::{Records, contents_decode, take_bytes},
};
use crate::{WireError, varint};

/// Records of a batch with offsets that ascend within its span.
#[derive(Debug, Clone)]
pub struct Renumbered {
    /// All readable records.
    pub records: Records,
    /// Number of records.
    pub count: usize,
    /// Number of records at the start that keep the offsets of the batch. The following records have consecutive
    /// offsets, which equal their true offsets or are smaller if the module only dropped or changed records. Records
    /// without an offset of their own in the span of the batch have its last one.
    pub exact: usize,
}

impl EncodedBatch {
    /// Returns the decompressed records with ascending offsets in place of the offsets that do not ascend or lie beyond
    /// the span of the batch. Records that do not decode are left out; an invalid length ends the records.
    ///
    /// # Errors
    /// The errors of [`EncodedBatch::records`].
    pub fn renumbered(&self) -> Result<Renumbered, WireError> {
        let (section, claimed) = {
            let records = self.records()?;
            (records.section().clone(), records.record_count())
        };
        let mut rest = section.get(4..).unwrap_or_default();
        let mut out = BytesMut::with_capacity(section.len() + 16);
        out.extend_from_slice(&[0; 4]);
        let (mut body, mut is_complete) = (Vec::new(), true);
        let (mut count, mut exact, mut next) = (0_u32, 0, 0_i64);
        let last = i64::from(self.header().last_offset_delta.max(0));
        for _ in 0..claimed {
            let Some(framed) = take_bytes(&mut rest) else { break };
            let Some(record) = NumberedRecord::decode(framed) else {
                is_complete = false;
                continue;
            };
            let in_order = exact == count && (next..=last).contains(&record.delta);
            let delta = if in_order { record.delta } else { next.min(last) };
            exact += u32::from(in_order);
            next = delta.saturating_add(1);
            body.clear();
            body.push(record.attributes);
            varint::put(&mut body, record.time);
            varint::put(&mut body, delta);
            body.extend_from_slice(record.contents);
            let mut length = Vec::with_capacity(varint::MAX_LEN);
            varint::put(&mut length, i64::try_from(body.len()).unwrap_or(i64::MAX));
            out.extend_from_slice(&length);
            out.extend_from_slice(&body);
            count += 1;
        }
        // The trailer stays at the end. It numbers the records that it holds headers of, so it goes if one was left out.
        if is_complete {
            out.extend_from_slice(rest);
        }
        if let Some(field) = out.get_mut(..4) {
            field.copy_from_slice(&count.to_be_bytes());
        }
        let records = Records::of_section(self.header(), Bytes::from(out))?;
        Ok(Renumbered { records, count: count as usize, exact: exact as usize })
    }
}

/// A record with its numbers decoded.
struct NumberedRecord<'a> {
    attributes: u8,
    time: i64,
    delta: i64,
    /// Key, value, headers.
    contents: &'a [u8],
}

impl<'a> NumberedRecord<'a> {
    fn decode(framed: &'a [u8]) -> Option<Self> {
        let (attributes, mut body) = framed.split_first()?;
        let time = varint::take(&mut body).ok()?;
        let delta = varint::take(&mut body).ok()?;
        contents_decode(body).then_some(Self { attributes: *attributes, time, delta, contents: body })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::{BatchBuilder, FinishOptions};

    /// Builds a batch like a server that runs SmartModules.
    fn merged(deltas: &[i64], span: i32) -> EncodedBatch {
        let mut section = u32::try_from(deltas.len()).unwrap().to_be_bytes().to_vec();
        for (index, delta) in deltas.iter().enumerate() {
            let value = index.to_string();
            let mut body = vec![0, 0];
            varint::put(&mut body, *delta);
            body.push(0);
            varint::put(&mut body, i64::try_from(value.len()).unwrap());
            body.extend_from_slice(value.as_bytes());
            body.push(0);
            varint::put(&mut section, i64::try_from(body.len()).unwrap());
            section.extend_from_slice(&body);
        }
        let mut builder = BatchBuilder::new(64);
        builder.append(-1, None, b"", &[]).unwrap();
        let mut bytes = builder.finish(FinishOptions::default()).unwrap().to_bytes()[..57].to_vec();
        let length = i32::try_from(45 + section.len()).unwrap();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[23..27].copy_from_slice(&(span - 1).to_be_bytes());
        bytes.extend_from_slice(&section);
        EncodedBatch::parse(bytes.into()).unwrap().with_base_offset(100)
    }

    fn renumbered(deltas: &[i64]) -> (Vec<i64>, usize) {
        let found = merged(deltas, 20).renumbered().unwrap();
        assert_eq!(found.count, deltas.len());
        let records: Vec<_> = found.records.map(Result::unwrap).collect();
        for (index, record) in records.iter().enumerate() {
            assert_eq!(record.value, index.to_string());
        }
        (records.iter().map(|record| record.offset - 100).collect(), found.exact)
    }

    #[test]
    fn offsets_ascend_and_the_first_ones_are_kept() {
        for (deltas, expected, exact) in [
            (&[0, 1, 2][..], &[0, 1, 2][..], 3),
            // A filter that drops the first record of each batch of ten.
            (&[1, 2, 5, -9, -8], &[1, 2, 5, 6, 7], 3),
            // An array map that makes three records of one.
            (&[0, 0, 0], &[0, 1, 2], 1),
            // The second batch is longer than the first one: its last record looks right and is not.
            (&[4, -3, 7], &[4, 5, 6], 1),
            (&[-2, 3], &[0, 1], 0),
            // Offsets beyond the span of twenty.
            (&[0, 1 << 40, 7], &[0, 1, 2], 1),
            (&[18, 19, 20, 21], &[18, 19, 19, 19], 2),
            (&[], &[], 0),
        ] {
            assert_eq!(renumbered(deltas), (expected.to_vec(), exact), "{deltas:?}");
        }
    }

    #[test]
    fn headers_are_kept() {
        let mut builder = BatchBuilder::new(64);
        builder.append(5, None, b"a", &[("h", b"1")]).unwrap();
        builder.append(5, Some(b"k"), b"b", &[("h", b"2")]).unwrap();
        let batch = builder.finish(FinishOptions::default()).unwrap();
        let plain: Vec<_> = batch.records().unwrap().map(Result::unwrap).collect();
        let found = batch.renumbered().unwrap();
        assert_eq!(found.records.map(Result::unwrap).collect::<Vec<_>>(), plain);
    }

    #[test]
    fn a_record_that_does_not_decode_is_left_out() {
        let mut bytes = merged(&[0, 1, 2], 3).to_bytes().to_vec();
        // The key flag of the second record.
        bytes[57 + 4 + 8 + 4] = 9;
        let found = EncodedBatch::parse(bytes.into()).unwrap().renumbered().unwrap();
        assert_eq!((found.count, found.exact), (2, 2));
        let values = found.records.map(|record| record.unwrap()).map(|record| (record.offset, record.value));
        assert_eq!(values.collect::<Vec<_>>(), [(100, "0".into()), (102, "2".into())]);
    }

    #[test]
    fn an_invalid_length_ends_the_records() {
        let whole = merged(&[3, 1, 2], 10);
        let mut bytes = whole.to_bytes().to_vec();
        let length = i32::try_from(bytes.len() - 12 - 3).unwrap();
        bytes.truncate(bytes.len() - 3);
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let found = EncodedBatch::parse(bytes.into()).unwrap().renumbered().unwrap();
        assert_eq!((found.count, found.exact), (2, 1));
        assert_eq!(found.records.map(|record| record.unwrap().offset).collect::<Vec<_>>(), [103, 104]);
    }

    proptest! {
        #[test]
        fn any_deltas_give_ascending_offsets(deltas in proptest::collection::vec(-20_i64..40, 0..30)) {
            let (offsets, exact) = renumbered(&deltas);
            prop_assert!(offsets.windows(2).all(|pair| pair[0] < pair[1] || pair == [19, 19]), "{offsets:?}");
            prop_assert!(offsets.iter().all(|offset| (0..20).contains(offset)), "{offsets:?}");
            prop_assert_eq!(&offsets[..exact], &deltas[..exact]);
        }

        #[test]
        fn any_bytes_are_accepted_or_refused(section in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = merged(&[], 1).to_bytes()[..57].to_vec();
            let length = i32::try_from(45 + section.len()).unwrap();
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&section);
            if let Ok(found) = EncodedBatch::parse(bytes.into()).unwrap().renumbered() {
                prop_assert!(found.records.count() <= found.count);
            }
        }
    }
}
