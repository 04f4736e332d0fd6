//! Generators of batches for the property tests.

use floe_wire::batch::{BatchBuilder, EncodedBatch, FinishOptions, ProducerIdentity};
use floe_wire::compress::Compression;
use proptest::{collection::vec, prelude::*};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GeneratedRecord {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

#[derive(Debug, Clone)]
pub(crate) struct GeneratedBatch {
    pub(crate) records: Vec<GeneratedRecord>,
    pub(crate) producer: ProducerIdentity,
}

impl GeneratedBatch {
    pub(crate) fn first_timestamp(&self) -> i64 {
        self.records[0].timestamp
    }

    pub(crate) fn max_timestamp(&self) -> i64 {
        self.records.iter().map(|record| record.timestamp).max().unwrap()
    }

    pub(crate) fn without_headers(mut self) -> Self {
        for record in &mut self.records {
            record.headers.clear();
        }
        self
    }

    /// Encodes the batch with floe.
    pub(crate) fn encode(&self, compression: Compression) -> EncodedBatch {
        let mut builder = BatchBuilder::new(1024);
        for (index, record) in self.records.iter().enumerate() {
            let headers: Vec<(&str, &[u8])> =
                record.headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            let before = builder.len();
            let bound = BatchBuilder::record_len(record.key.as_deref(), &record.value, &headers);
            let appended =
                builder.append(record.timestamp, record.key.as_deref(), &record.value, &headers).unwrap();
            assert_eq!(usize::try_from(appended).unwrap(), index);
            assert!(builder.len() - before <= bound, "record_len is an upper bound");
        }
        let len = builder.len();
        let batch = builder.finish(FinishOptions { compression, producer: self.producer }).unwrap();
        assert!(batch.len() <= len);
        batch
    }
}

/// Generates empty, short, text, binary and occasionally long values.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => Just(Vec::new()),
        8 => vec(any::<u8>(), 0..200),
        6 => "\\PC{0,40}".prop_map(String::into_bytes),
        // Lengths around the limits of varint sizes.
        3 => prop_oneof![60usize..70, 8_185usize..8_200].prop_map(|length| vec![b'x'; length]),
        1 => (any::<u8>(), 0usize..100_000).prop_map(|(byte, length)| {
            (0..length).map(|at| byte.wrapping_mul(at.to_le_bytes()[0])).collect()
        }),
    ]
}

fn headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    prop_oneof![
        3 => Just(Vec::new()),
        1 => vec(("\\PC{0,12}", vec(any::<u8>(), 0..80)), 1..4),
    ]
}

/// Generates timestamps around the first one: close, equal, earlier, and at the limits of the 32-bit range.
fn offset_from_first() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => 0i64..1_000,
        2 => -5_000i64..0,
        1 => any::<i32>().prop_map(i64::from),
        1 => prop_oneof![Just(i64::from(i32::MIN)), Just(i64::from(i32::MAX))],
    ]
}

fn producer() -> impl Strategy<Value = ProducerIdentity> {
    prop_oneof![
        Just(ProducerIdentity::NONE),
        (0..i64::MAX, 0..i16::MAX, 0..i32::MAX).prop_map(|(id, epoch, first_sequence)| ProducerIdentity {
            id,
            epoch,
            first_sequence
        }),
    ]
}

pub(crate) fn batch() -> impl Strategy<Value = GeneratedBatch> {
    let first = prop_oneof![4 => 1_000_000_000_000i64..2_000_000_000_000, 1 => Just(-1i64), 1 => Just(0)];
    let record = (offset_from_first(), proptest::option::of(payload()), payload(), headers());
    (first, vec(record, 1..60), producer()).prop_map(|(first, records, producer)| {
        let records = records.into_iter().enumerate().map(|(index, (offset, key, value, headers))| {
            let timestamp = if index == 0 { first } else { first + offset };
            GeneratedRecord { timestamp, key, value, headers }
        });
        GeneratedBatch { records: records.collect(), producer }
    })
}
