//! Checks of a batch that another program encoded, before a log stores it.

use super::{encoded::EncodedBatch, records::Records};
use crate::{WireError, compress::Decompressor};

impl EncodedBatch {
    /// Verifies everything that readers of the batch rely on, and returns it marked as verified: the checksum, the codec,
    /// a record section of at most `limit` bytes once it is decompressed, a record for at least one and at most every
    /// offset of the span, and records that decode and whose offsets ascend within the span.
    ///
    /// The base offset is not checked, because the log assigns it. A batch may have fewer records than offsets: the
    /// compaction of another log, or a SmartModule, removes records.
    ///
    /// Memory: the decompressed section, which `decompressor` reuses.
    ///
    /// ```
    /// use floe_wire::{batch::{BatchBuilder, EncodedBatch, FinishOptions}, compress::Decompressor};
    ///
    /// let mut builder = BatchBuilder::new(256);
    /// builder.append(0, None, b"a record", &[])?;
    /// let received = builder.finish(FinishOptions::default())?.to_bytes();
    /// let batch = EncodedBatch::parse(received)?.validated(&mut Decompressor::default(), 1 << 20)?;
    /// assert_eq!(batch.verify_checksum(), Ok(()));
    /// # Ok::<(), floe_wire::WireError>(())
    /// ```
    ///
    /// # Errors
    /// [`WireError::Checksum`]; [`WireError::TooLarge`] for a section beyond the limit; [`WireError::Compression`] or
    /// [`WireError::CodecNotCompiled`] for one that does not decompress; [`WireError::Malformed`] for an unknown codec, and
    /// for records that differ from the header or do not decode.
    pub fn validated(self, decompressor: &mut Decompressor, limit: usize) -> Result<Self, WireError> {
        let batch = self.verified()?;
        let section = batch.len() - super::HEADER_LEN;
        if section > limit {
            return Err(WireError::TooLarge { what: "record section", size: section, limit });
        }
        let span = batch.header().offset_span();
        // Offsets that count from zero cannot overflow, whatever base offset the writer chose.
        let records = batch.clone().with_base_offset(0).records_by(decompressor, limit)?;
        let count = records.record_count();
        if count == 0 || count > span {
            return Err(differs(format!("{count} records in a span of {span} offsets")));
        }
        if count == span && records.is_dense() {
            return Ok(batch.dense());
        }
        check_each(&records, span)?;
        Ok(batch)
    }
}

fn check_each(records: &Records, span: u32) -> Result<(), WireError> {
    let mut next = 0;
    for (index, record) in (0_u32..).zip(records.borrowed()) {
        let offset = record?.offset;
        if offset < next {
            return Err(differs(format!("record {index} does not follow the one before it")));
        }
        if offset >= i64::from(span) {
            return Err(differs(format!(
                "record {index} has the offset delta {offset}, beyond the span of {span}"
            )));
        }
        next = offset + 1;
    }
    Ok(())
}

fn differs(problem: String) -> WireError {
    WireError::malformed("records of a batch", problem)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        batch::{Attributes, BatchBuilder, FinishOptions, HEADER_LEN, LENGTH_END},
        compress::{Codec, compress},
        varint,
    };

    /// Body of a record with this offset delta and value.
    fn body(delta: i64, value: &[u8]) -> Vec<u8> {
        let mut out = vec![0, 0];
        varint::put(&mut out, delta);
        out.push(0);
        varint::put(&mut out, i64::try_from(value.len()).unwrap());
        out.extend_from_slice(value);
        out.push(0);
        out
    }

    /// Batch with a correct checksum, as a writer that does not care for the format may encode it.
    fn forged(attributes: i16, last_offset_delta: i32, count: u32, bodies: &[Vec<u8>]) -> EncodedBatch {
        let mut section = count.to_be_bytes().to_vec();
        for body in bodies {
            varint::put(&mut section, i64::try_from(body.len()).unwrap());
            section.extend_from_slice(body);
        }
        let mut packed = Vec::new();
        let codec = Codec::from_code(attributes & 7).unwrap_or_default();
        compress(codec, None, &section, &mut packed).unwrap();
        let mut builder = BatchBuilder::new(64);
        builder.append(5, None, b"", &[]).unwrap();
        let mut header = *builder.finish(FinishOptions::default()).unwrap().header();
        header.batch_len = i32::try_from(HEADER_LEN - LENGTH_END + packed.len()).unwrap();
        header.attributes = Attributes(attributes);
        header.last_offset_delta = last_offset_delta;
        header.checksum = header.checksum_before(&packed);
        EncodedBatch::parse(Bytes::from([&header.encode()[..], &packed].concat())).unwrap()
    }

    fn check(batch: EncodedBatch) -> Result<EncodedBatch, WireError> {
        batch.validated(&mut Decompressor::default(), 1 << 20)
    }

    #[test]
    fn good_batches_pass_whatever_their_base_offset() {
        for codec in Codec::ALL.into_iter().filter(|codec| codec.is_compiled_in()) {
            let bodies: Vec<_> = (0..3).map(|delta| body(delta, b"value")).collect();
            for base in [0, 2, -1, i64::MIN, i64::MAX] {
                let batch = forged(codec.code(), 2, 3, &bodies).with_base_offset(base);
                let checked = check(batch).unwrap();
                assert_eq!((checked.base_offset(), checked.is_dense()), (base, true), "{codec}");
                assert_eq!(checked.with_base_offset(7).records().unwrap().count(), 3);
            }
        }
    }

    #[test]
    fn missing_records_pass_and_are_no_dense_batch() {
        for deltas in [&[0, 4][..], &[9], &[3, 4, 5]] {
            let bodies: Vec<_> = deltas.iter().map(|delta| body(*delta, b"")).collect();
            let checked = check(forged(0, 9, u32::try_from(deltas.len()).unwrap(), &bodies)).unwrap();
            assert!(!checked.is_dense(), "{deltas:?}");
        }
    }

    #[test]
    fn records_that_differ_from_the_header_are_refused() {
        let all = |deltas: &[i64]| deltas.iter().map(|delta| body(*delta, b"v")).collect::<Vec<_>>();
        let mut key = body(1, b"v");
        key[3] = 9;
        let mut short = body(1, b"v");
        short.truncate(4);
        for (name, last, count, bodies) in [
            ("a delta beyond the span", 0, 1, all(&[1 << 40])),
            ("a delta one beyond the span", 1, 2, all(&[0, 2])),
            ("a negative delta", 0, 1, all(&[-7])),
            ("deltas that go back", 3, 3, all(&[0, 2, 1])),
            ("a delta twice", 3, 3, all(&[0, 1, 1])),
            ("more records than offsets", 0, 4, all(&[0, 1, 2, 3])),
            ("no records", 0, 0, all(&[])),
            ("fewer records than claimed", 4, 5, all(&[0, 1])),
            ("no span", -1, 1, all(&[0])),
            ("an invalid key flag", 1, 2, vec![body(0, b"v"), key]),
            ("a record without a value", 1, 2, vec![body(0, b"v"), short]),
            ("a count that no section can hold", i32::MAX, u32::MAX, all(&[0])),
        ] {
            for codec in
                [Codec::None, Codec::Gzip, Codec::Zstd].into_iter().filter(|codec| codec.is_compiled_in())
            {
                assert!(check(forged(codec.code(), last, count, &bodies)).is_err(), "{name} {codec}");
            }
        }
    }

    #[test]
    fn unknown_codecs_bombs_and_wrong_checksums_are_named() {
        let bodies = [body(0, &vec![0; 100_000])];
        for codec in Codec::ALL.into_iter().filter(|codec| codec.is_compiled_in()) {
            let bomb = forged(codec.code(), 0, 1, &bodies);
            let outcome = bomb.clone().validated(&mut Decompressor::default(), 50_000);
            assert!(matches!(outcome, Err(WireError::TooLarge { .. })), "{codec}: {outcome:?}");
            assert!(bomb.validated(&mut Decompressor::default(), 200_000).is_ok(), "{codec}");
        }
        for code in 5..8 {
            let outcome = check(forged(code, 0, 1, &[body(0, b"v")]));
            assert!(
                matches!(outcome, Err(WireError::Malformed { what: "batch attributes", .. })),
                "{outcome:?}"
            );
        }
        let mut damaged = forged(0, 0, 1, &[body(0, b"v")]).to_bytes().to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        let outcome = check(EncodedBatch::parse(damaged.into()).unwrap());
        assert!(matches!(outcome, Err(WireError::Checksum { .. })));
        // A section that is not what its codec writes.
        if Codec::Lz4.is_compiled_in() {
            let mut other = forged(0, 0, 1, &[body(0, b"v")]);
            let mut header = *other.header();
            header.attributes = Attributes(Codec::Lz4.code());
            header.checksum = header.checksum_before(&other.rest());
            other = other.with_header(header);
            assert!(matches!(check(other), Err(WireError::Compression { .. })));
        }
    }

    proptest! {
        #[test]
        fn a_batch_that_passes_reads_back_whole(
            last in -2_i32..12,
            count in 0_u32..12,
            deltas in proptest::collection::vec(-3_i64..14, 0..12),
            damage in any::<Option<(usize, u8)>>(),
        ) {
            let mut bodies: Vec<_> = deltas.iter().map(|delta| body(*delta, b"value")).collect();
            if let (Some((at, with)), Some(first)) = (damage, bodies.first_mut()) {
                let at = at % first.len();
                first[at] = with;
            }
            if let Ok(checked) = check(forged(0, last, count, &bodies)) {
                let offsets: Vec<_> =
                    checked.with_base_offset(100).records().unwrap().map(|record| record.unwrap().offset).collect();
                prop_assert_eq!(offsets.len(), count as usize);
                prop_assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", offsets);
                prop_assert!(offsets.iter().all(|offset| (100..=100 + i64::from(last)).contains(offset)));
            }
        }
    }
}
