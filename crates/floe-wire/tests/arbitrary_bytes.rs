//! Decoding of arbitrary bytes ends without a panic and within bounds.

use bytes::Bytes;
use floe_wire::{
    WireError,
    batch::{BatchBuilder, EncodedBatch, FinishOptions, HEADER_LEN, Split, Tail},
    compress::{Codec, Compression, compress, decompress},
};
use proptest::{collection::vec, prelude::*};

const LIMIT: usize = 64 * 1024;

/// Reads all records of a batch, and checks invariants that hold for any bytes.
fn read_all(batch: &EncodedBatch) {
    let _ = batch.verify_checksum();
    let _ = batch.next_offset();
    let Ok(records) = batch.records_with_limit(LIMIT) else { return };
    let bytes = records.section_len();
    let (lower, upper) = records.size_hint();
    assert_eq!(lower, 0, "nothing is reserved for records that a batch only claims");
    assert!(upper.unwrap() <= bytes / 7 + 1);
    let borrowed: Vec<_> = records.borrowed().collect();
    assert!(borrowed.len() <= upper.unwrap(), "every record takes at least seven bytes");
    let base = batch.base_offset();
    let dense = borrowed.len() == records.record_count() as usize
        && (0..).zip(&borrowed).all(|(index, one)| one.as_ref().is_ok_and(|one| one.offset - base == index))
        && base.checked_add(i64::from(records.record_count())).is_some();
    assert_eq!(records.is_dense(), dense, "is_dense agrees with reading");
    let mut payload = 0;
    for (view, borrowed) in records.clone().zip(&borrowed) {
        match (view, borrowed) {
            (Ok(view), Ok(borrowed)) => {
                payload += borrowed.key.map_or(0, <[u8]>::len) + borrowed.value.len();
                assert_eq!(view.value, borrowed.value);
                assert_eq!(view.key.as_deref(), borrowed.key);
                assert_eq!(view.headers.iter().count(), view.headers.len());
                assert!(view.headers.iter().all(|(name, _)| view.headers.get(name).is_some()));
            }
            (Err(view), Err(borrowed)) => assert_eq!(&view, borrowed),
            (view, borrowed) => panic!("{view:?} and {borrowed:?}"),
        }
    }
    assert_eq!(records.clone().count(), borrowed.len());
    assert!(payload <= bytes, "records do not overlap");
}

fn split_all(bytes: Bytes) {
    let length = bytes.len();
    let mut split = Split::new(bytes);
    let mut taken = 0;
    let mut failed = false;
    for batch in split.by_ref() {
        match batch {
            Ok(batch) => {
                taken += batch.len();
                read_all(&batch);
            }
            Err(_) => failed = true,
        }
    }
    assert_eq!(taken + split.remaining().len(), length);
    match split.tail() {
        Tail::Empty => assert_eq!(taken, length),
        Tail::Incomplete { available, needed } => {
            assert_eq!(available, length - taken);
            assert!(failed || needed.is_none_or(|needed| needed > available));
        }
    }
}

fn sample(codec: Codec, with_headers: bool) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1024);
    for index in 0..12i64 {
        let headers: &[(&str, &[u8])] =
            if with_headers && index % 3 == 1 { &[("trace", b"abc"), ("n", b"")] } else { &[] };
        let value = format!("value {index} {}", "x".repeat(40));
        builder.append(1_700_000_000_000 + index, Some(b"key"), value.as_bytes(), headers).unwrap();
    }
    let compression = Compression { codec, level: None, threshold: 0 };
    let options = FinishOptions { compression, ..FinishOptions::default() };
    builder.finish(options).unwrap().to_bytes().to_vec()
}

fn any_codec() -> impl Strategy<Value = Codec> {
    let compiled: Vec<_> = Codec::ALL.into_iter().filter(|codec| codec.is_compiled_in()).collect();
    proptest::sample::select(compiled)
}

/// Builds a batch of a valid header and an arbitrary section.
fn headed(attributes: i16, section: &[u8]) -> Bytes {
    let mut bytes = sample(Codec::None, false)[..HEADER_LEN].to_vec();
    bytes.extend_from_slice(section);
    let length = i32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
    Bytes::from(bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        if let Ok(batch) = EncodedBatch::parse(bytes.clone()) {
            read_all(&batch);
        }
        split_all(bytes);
    }

    #[test]
    fn any_record_section(attributes in any::<i16>(), count in 0u32..40, section in vec(0u8..40, 0..300)) {
        let section = [&count.to_be_bytes()[..], &section].concat();
        read_all(&EncodedBatch::parse(headed(attributes & 0x0110, &section)).unwrap());
        read_all(&EncodedBatch::parse(headed(attributes, &section)).unwrap());
    }

    #[test]
    fn any_trailer(entries in vec(0u8..12, 0..60), length in 0u32..80) {
        let mut section = sample(Codec::None, false)[HEADER_LEN..].to_vec();
        section.push(1);
        section.extend_from_slice(&u32::try_from(entries.len()).unwrap().to_be_bytes());
        section.extend_from_slice(&entries);
        for length in [length, u32::try_from(entries.len()).unwrap() + 5] {
            let footer = [&length.to_be_bytes()[..], &[1], b"floe"].concat();
            let batch = EncodedBatch::parse(headed(0x0100, &[&section[..], &footer].concat())).unwrap();
            read_all(&batch);
            prop_assert_eq!(batch.records().unwrap().filter(Result::is_ok).count(), 12);
        }
    }

    #[test]
    fn mutated_batches(
        codec in any_codec(),
        with_headers in any::<bool>(),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = sample(codec, with_headers);
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        if let Ok(batch) = EncodedBatch::parse(Bytes::from(bytes.clone())) {
            read_all(&batch);
        }
        let run = [&sample(codec, with_headers)[..], &bytes, &bytes[..cut.index(bytes.len())]].concat();
        split_all(Bytes::from(run));
    }

    #[test]
    fn any_compressed_bytes(codec in any_codec(), bytes in vec(any::<u8>(), 0..300)) {
        if let Ok(out) = decompress(codec, &bytes, LIMIT) {
            prop_assert!(out.len() <= LIMIT);
        }
    }

    #[test]
    fn mutated_compressed_bytes(
        codec in any_codec(),
        content in vec(0u8..4, 0..2_000),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut compressed = Vec::new();
        compress(codec, None, &content, &mut compressed).unwrap();
        prop_assert_eq!(&decompress(codec, &compressed, content.len()).unwrap()[..], &content[..]);
        if !compressed.is_empty() {
            let at = at.index(compressed.len());
            compressed[at] = byte;
        }
        if let Ok(out) = decompress(codec, &compressed, LIMIT) {
            prop_assert!(out.len() <= LIMIT);
        }
    }
}

#[test]
fn a_flipped_bit_under_the_checksum_is_detected() {
    let bytes = sample(Codec::None, true);
    for at in 17..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let batch = EncodedBatch::parse(Bytes::from(changed)).unwrap();
        assert!(matches!(batch.verify_checksum(), Err(WireError::Checksum { .. })), "byte {at}");
    }
}

#[test]
fn a_batch_that_claims_two_billion_records_yields_its_records_and_an_error() {
    let mut bytes = sample(Codec::None, false);
    bytes[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&i32::MAX.to_be_bytes());
    let records = EncodedBatch::parse(Bytes::from(bytes.clone())).unwrap().records().unwrap();
    assert_eq!(records.record_count(), i32::MAX.cast_unsigned());
    assert!(records.size_hint().1.unwrap() <= bytes.len());
    let outcomes: Vec<_> = records.collect();
    assert_eq!(outcomes.len(), 13, "twelve records, one error");
    assert!(outcomes[..12].iter().all(Result::is_ok));
    assert!(matches!(outcomes[12], Err(WireError::Truncated { .. })));

    bytes[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&(1u32 << 31).to_be_bytes());
    let batch = EncodedBatch::parse(Bytes::from(bytes)).unwrap();
    assert!(matches!(batch.records(), Err(WireError::Malformed { .. })));
    assert_eq!(batch.next_offset(), 12, "the header stays usable");
}
