//! Encoding and decoding a batch of 100-byte records: floe beside the official `fluvio-protocol` crate, in one run.
//!
//! `cargo bench -p floe-oracle --bench batch`; compare the `floe` and `official` lines of each group.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use floe_wire::{
    batch::{BatchBuilder, EncodedBatch, FinishOptions},
    compress::{Codec, Compression},
};
use fluvio_protocol::{
    Decoder, Encoder,
    record::{Batch, MemoryRecords, RawRecords, Record, RecordData},
};

const RECORDS: usize = 1_000;
const RECORD_BYTES: usize = 100;
const FIRST_TIMESTAMP: i64 = 1_700_000_000_000;

/// Generates half random, half repeated letters, which compress about as well as log lines.
fn payloads() -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..RECORDS)
        .map(|_| {
            (0..RECORD_BYTES)
                .map(|position| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    if position < RECORD_BYTES / 2 { b'a' + (state % 26).to_le_bytes()[0] } else { b' ' }
                })
                .collect()
        })
        .collect()
}

fn time_of(index: usize) -> i64 {
    FIRST_TIMESTAMP + i64::try_from(index / 10).unwrap_or(0)
}

fn encode_floe(payloads: &[Vec<u8>], codec: Codec) -> EncodedBatch {
    let mut builder = BatchBuilder::new(RECORDS * (RECORD_BYTES + 16));
    for (index, payload) in payloads.iter().enumerate() {
        builder.append(time_of(index), None, payload, &[]).expect("the records fit one batch");
    }
    let options = FinishOptions { compression: Compression::new(codec), ..FinishOptions::default() };
    builder.finish(options).expect("the batch has records")
}

/// Encodes like the official producer: records into a `Vec<Record>`, then the batch into a buffer. The payloads are
/// reference-counted bytes, so their copy is not measured.
fn encode_official(payloads: &[RecordData], codec: Codec) -> Vec<u8> {
    let mut batch = Batch::<MemoryRecords>::default();
    for (index, payload) in payloads.iter().enumerate() {
        let mut record = Record { value: payload.clone(), ..Record::default() };
        record.preamble.set_timestamp_delta(time_of(index) - FIRST_TIMESTAMP);
        batch.mut_records().push(record);
    }
    batch.update_offset_deltas();
    let header = batch.get_mut_header();
    header.first_timestamp = FIRST_TIMESTAMP;
    header.max_time_stamp = time_of(payloads.len() - 1);
    header.attributes = codec.code();
    let mut out = Vec::with_capacity(RECORDS * (RECORD_BYTES + 16));
    if codec == Codec::None {
        batch.encode(&mut out, 0).expect("encoding into memory");
    } else {
        let raw = Batch::<RawRecords>::try_from(batch).expect("compressing");
        raw.encode(&mut out, 0).expect("encoding into memory");
    }
    out
}

fn decode_official(bytes: &Bytes) -> usize {
    let raw = Batch::<RawRecords>::decode_from(&mut bytes.clone(), 0).expect("a valid batch");
    let batch = Batch::<MemoryRecords>::try_from(raw).expect("valid records");
    batch.records().iter().map(|record| record.value().len()).sum()
}

fn decode_floe_borrowed(bytes: &Bytes) -> usize {
    let batch = EncodedBatch::parse(bytes.clone()).expect("a valid batch");
    let records = batch.records().expect("valid records");
    records.borrowed().map(|record| record.expect("a valid record").value.len()).sum()
}

fn decode_floe_views(bytes: &Bytes) -> usize {
    let batch = EncodedBatch::parse(bytes.clone()).expect("a valid batch");
    let records = batch.records().expect("valid records");
    records.map(|record| record.expect("a valid record").value.len()).sum()
}

fn batches(criterion: &mut Criterion) {
    let payloads = payloads();
    let owned: Vec<RecordData> = payloads.iter().map(|payload| RecordData::from(payload.clone())).collect();
    for codec in Codec::ALL {
        let mut group = criterion.benchmark_group(format!("encode/{codec}"));
        group.throughput(Throughput::Elements(RECORDS as u64));
        group.bench_function("floe", |bench| bench.iter(|| encode_floe(black_box(&payloads), codec)));
        group.bench_function("official", |bench| bench.iter(|| encode_official(black_box(&owned), codec)));
        group.finish();

        let bytes = encode_floe(&payloads, codec).to_bytes();
        assert_eq!(decode_official(&bytes), RECORDS * RECORD_BYTES);
        assert_eq!(decode_floe_borrowed(&bytes), RECORDS * RECORD_BYTES);
        let mut group = criterion.benchmark_group(format!("decode/{codec}"));
        group.throughput(Throughput::Elements(RECORDS as u64));
        group.bench_function("floe", |bench| bench.iter(|| decode_floe_borrowed(black_box(&bytes))));
        group.bench_function("floe views", |bench| bench.iter(|| decode_floe_views(black_box(&bytes))));
        group.bench_function("floe with checksum", |bench| {
            bench.iter(|| {
                let batch = EncodedBatch::parse(black_box(&bytes).clone()).expect("a valid batch");
                batch.verify_checksum().expect("an intact batch");
                decode_floe_borrowed(&bytes)
            });
        });
        group.bench_function("official", |bench| bench.iter(|| decode_official(black_box(&bytes))));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = batches
}
criterion_main!(benches);
