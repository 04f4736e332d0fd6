//! Each implementation reads the batches of the other, with every codec.

use bytes::Bytes;
use floe_wire::{
    batch::{EncodedBatch, TrailerState},
    compress::{Codec, Compression},
};
use proptest::prelude::*;

use crate::{
    generate::{GeneratedBatch, GeneratedRecord, batch},
    official,
};

/// Returns the timestamps that readers see: none if the first one is not positive.
fn as_read(generated: &GeneratedBatch, none: i64) -> Vec<GeneratedRecord> {
    let mut records = generated.records.clone();
    if generated.first_timestamp() <= 0 {
        for record in &mut records {
            record.timestamp = none;
        }
    }
    records
}

fn read(batch: &EncodedBatch) -> Vec<GeneratedRecord> {
    let records = batch.records().unwrap();
    let views: Vec<_> = records.clone().map(Result::unwrap).collect();
    let borrowed: Vec<_> = records.borrowed().map(Result::unwrap).collect();
    assert_eq!(views.len(), borrowed.len());
    for (index, (view, borrowed)) in views.iter().zip(&borrowed).enumerate() {
        assert_eq!(view.offset, batch.base_offset() + i64::try_from(index).unwrap());
        assert_eq!(
            (borrowed.offset, borrowed.timestamp, borrowed.key, borrowed.value),
            (view.offset, view.timestamp, view.key.as_deref(), &view.value[..])
        );
        assert_eq!(borrowed.headers, view.headers.borrowed());
    }
    views
        .into_iter()
        .map(|view| GeneratedRecord {
            timestamp: view.timestamp.unwrap_or(-1),
            key: view.key.map(|key| key.to_vec()),
            value: view.value.to_vec(),
            headers: view.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
        })
        .collect()
}

fn always(codec: Codec) -> Compression {
    Compression { codec, level: None, threshold: 0 }
}

fn any_codec() -> impl Strategy<Value = Codec> {
    proptest::sample::select(&Codec::ALL[..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_official_reader_reads_ours_with_and_without_trailer(generated in batch(), codec in any_codec()) {
        let batch = generated.encode(always(codec));
        let has_headers = generated.records.iter().any(|record| !record.headers.is_empty());
        prop_assert_eq!(batch.header().attributes.has_trailer(), has_headers);
        let expected = as_read(&generated.clone().without_headers(), -1);
        prop_assert!(official::decode(&batch.to_bytes()) == expected, "{} records", expected.len());
    }

    #[test]
    fn we_read_the_official_batches(generated in batch(), codec in any_codec(), base in 0i64..1 << 40) {
        let generated = generated.without_headers();
        let bytes = Bytes::from(official::encode(&generated, codec.code()));
        let batch = EncodedBatch::parse(bytes).unwrap();
        prop_assert_eq!(batch.verify_checksum(), Ok(()));
        prop_assert_eq!(batch.header().attributes.codec(), Ok(codec));
        prop_assert_eq!(batch.header().producer, generated.producer);
        let batch = batch.with_base_offset(base);
        prop_assert_eq!(batch.next_offset(), base + i64::try_from(generated.records.len()).unwrap());
        prop_assert!(read(&batch) == as_read(&generated, -1));
    }

    #[test]
    fn we_read_our_own_with_headers(generated in batch(), codec in any_codec()) {
        let batch = EncodedBatch::parse(generated.encode(always(codec)).to_bytes()).unwrap();
        prop_assert_eq!(batch.verify_checksum(), Ok(()));
        let state = batch.records().unwrap().trailer_state();
        let has_headers = generated.records.iter().any(|record| !record.headers.is_empty());
        prop_assert_eq!(state, if has_headers { TrailerState::Read } else { TrailerState::Absent });
        prop_assert!(read(&batch) == as_read(&generated, -1));
    }
}

/// Guards the properties above against batches that all stay uncompressed.
#[test]
fn every_codec_is_really_used() {
    let record = GeneratedRecord {
        timestamp: 1_700_000_000_000,
        key: None,
        value: vec![b'a'; 5_000],
        headers: vec![("trace".to_owned(), b"1".to_vec())],
    };
    let generated = GeneratedBatch {
        records: vec![record; 20],
        producer: floe_wire::batch::ProducerIdentity { id: 7, epoch: 1, first_sequence: 40 },
    };
    for codec in Codec::ALL {
        let batch = generated.encode(always(codec));
        assert_eq!(batch.header().attributes.codec(), Ok(codec));
        assert_eq!(read(&batch), generated.records);
        let seen = official::decode(&batch.to_bytes());
        assert_eq!(seen, generated.clone().without_headers().records, "{codec}");
    }
}
