//! `floe copy` takes stored batches as they are, unless something in them has to change.

use floe::{
    Client, Codec, TopicSpec,
    consumer::{RecordBatch, StartAt},
    engine::{
        Acks, AppendRequest,
        batch::{BatchBuilder, BatchHeader, EncodedBatch, FinishOptions},
    },
    topic::Topic,
};
use proptest::prelude::*;

use crate::support::Dir;

/// Bytes of a batch from the attributes on, which the checksum covers.
const CHECKSUM: std::ops::Range<usize> = 17..21;
const ATTRIBUTES_LOW: usize = 22;

async fn open(dir: &Dir, store: &str, options: &str) -> Client {
    Client::connect(&format!("embedded:{}{options}", dir.path().join(store).display())).await.unwrap()
}

/// Makes a topic `orders` in the store `a` with these batches.
async fn source(dir: &Dir, partitions: u32, batches: Vec<(u32, EncodedBatch)>) {
    let client = open(dir, "a", "").await;
    client.admin().create_topic(TopicSpec::new("orders").partitions(partitions)).await.unwrap();
    for (partition, batch) in batches {
        let at = Topic::from("orders").partition(partition);
        client.engine().append(AppendRequest::new(at, batch, Acks::Leader)).await.unwrap();
    }
    client.close().await.unwrap();
}

/// Reads the batches of a topic, in the order of their offsets in each partition.
async fn batches(dir: &Dir, store: &str) -> Vec<RecordBatch> {
    let client = open(dir, store, "?mode=read").await;
    let consumer = client.consumer("orders").from(StartAt::Beginning).keep_stored().stop_at_end();
    let mut consumer = consumer.start().await.unwrap();
    let mut all = Vec::new();
    while let Some(batch) = consumer.next_batch().await.unwrap() {
        all.push(batch);
    }
    consumer.close().await.unwrap();
    client.close().await.unwrap();
    all.sort_by_key(|batch| (batch.partition, batch.first_offset()));
    all
}

/// The record section of each stored batch, with its codec.
fn sections(batches: &[RecordBatch]) -> Vec<(Codec, Vec<u8>)> {
    let stored = batches.iter().map(|batch| batch.stored().expect("all of the batch is read"));
    stored.map(|stored| (stored.header().attributes.codec().unwrap(), stored.rest().to_vec())).collect()
}

/// A batch of `records` records of 100 bytes, with keys, headers and times.
fn batch(codec: Codec, seed: u64, records: u64) -> EncodedBatch {
    let mut builder = BatchBuilder::new(1024);
    for number in 0..records {
        let key = format!("key-{}", (seed + number) % 7);
        let value =
            format!("{{\"number\":{number},\"seed\":{seed},\"text\":\"{}\"}}", "lorem ipsum ".repeat(6));
        let headers: &[(&str, &[u8])] = if number % 3 == 0 { &[("origin", b"web")] } else { &[] };
        builder
            .append(1_700_000_000_000 + number as i64, Some(key.as_bytes()), value.as_bytes(), headers)
            .unwrap();
    }
    let mut options = FinishOptions::default();
    options.compression.codec = codec;
    builder.finish(options).unwrap()
}

#[tokio::test]
async fn stored_batches_are_copied_byte_for_byte() {
    let dir = Dir::new();
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    let mut all: Vec<_> = codecs.iter().zip(0..).map(|(codec, seed)| (0, batch(*codec, seed, 300))).collect();
    all.push((1, batch(Codec::Zstd, 9, 300)));
    source(&dir, 2, all).await;
    let args = ["copy", "embedded:a#orders", "embedded:b#orders", "--keep-partitions", "--verify"];
    dir.run(&args).ok().mentions("copied 1,800 records");
    let (from, to) = (batches(&dir, "a").await, batches(&dir, "b").await);
    assert_eq!(sections(&from), sections(&to));
    assert_eq!(sections(&to).iter().map(|(codec, _)| *codec).collect::<Vec<_>>()[..5], codecs);
    // The marks differ in every batch, and the copy goes on behind them.
    dir.run(&args).ok().mentions("copied 0 records");

    // A codec that is asked for, and no other reason, changes what is stored.
    let zstd =
        ["copy", "embedded:a#orders", "embedded:c#orders", "--keep-partitions", "--compression", "zstd"];
    dir.run(&zstd).ok();
    let found = sections(&batches(&dir, "c").await);
    assert!(found.iter().all(|(codec, _)| *codec == Codec::Zstd), "{found:?}");
    assert!(found.contains(&sections(&from)[4]), "a batch with this codec is taken as it is");
}

#[tokio::test]
async fn gathered_records_keep_the_codec_of_their_batches() {
    let dir = Dir::new();
    source(&dir, 1, (0..20).map(|seed| (0, batch(Codec::Lz4, seed, 20))).collect()).await;
    dir.run(&["copy", "embedded:a#orders", "embedded:b#orders", "--where", "value", "--verify"]).ok();
    let found = sections(&batches(&dir, "b").await);
    assert!(
        found.len() < 20 && found.iter().all(|(codec, _)| *codec == Codec::Lz4),
        "{} batches",
        found.len()
    );
}

/// Sets an attribute that floe does not know, with a correct checksum.
fn with_unknown_attribute(batch: &EncodedBatch) -> EncodedBatch {
    let mut bytes = batch.to_bytes().to_vec();
    bytes[ATTRIBUTES_LOW] |= 0x20;
    let checksum = crc32c::crc32c(&bytes[CHECKSUM.end..]);
    bytes[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    EncodedBatch::parse(bytes.into()).unwrap()
}

#[tokio::test]
async fn batches_with_unknown_attributes_are_encoded_anew() {
    let dir = Dir::new();
    let strange = with_unknown_attribute(&batch(Codec::None, 1, 300));
    source(&dir, 1, vec![(0, batch(Codec::None, 0, 300)), (0, strange)]).await;
    dir.run(&["copy", "embedded:a#orders", "embedded:b#orders", "--verify"]).ok();
    let (from, to) = (batches(&dir, "a").await, batches(&dir, "b").await);
    let attributes = |batches: &[RecordBatch]| {
        let headers = batches.iter().map(|batch| batch.stored().unwrap().header());
        headers.map(|BatchHeader { attributes, .. }| attributes.0 & 0x20).collect::<Vec<_>>()
    };
    assert_eq!((attributes(&from), attributes(&to)), (vec![0, 0x20], vec![0, 0]));
    assert_eq!(contents(&from), contents(&to));
}

/// Partition, time, key, value and headers of all records.
fn contents(batches: &[RecordBatch]) -> Vec<String> {
    let records = batches.iter().flat_map(|batch| batch.records().map(|record| (batch.partition, record)));
    let headers =
        |record: &floe::engine::batch::RecordView| format!("{:?}", record.headers.iter().collect::<Vec<_>>());
    let shown = records.map(|(partition, record)| {
        format!("{partition} {:?} {:?} {:?} {}", record.timestamp, record.key, record.value, headers(&record))
    });
    shown.collect()
}

/// A batch that may be small or large, compressed or not, with or without times, keys and headers.
fn any_batch() -> impl Strategy<Value = EncodedBatch> {
    let codec = prop::sample::select(vec![Codec::None, Codec::Snappy, Codec::Lz4, Codec::Zstd]);
    let key = prop::option::of(prop::sample::select(vec!["ada", "bob", "eve", ""]));
    let record = (key, prop::collection::vec(any::<u8>(), 0..400), any::<bool>());
    let records = prop::collection::vec(record, 1..150);
    (codec, records, prop::option::of(1_i64..1 << 41)).prop_map(|(codec, records, time)| {
        let mut builder = BatchBuilder::new(1024);
        for (number, (key, value, has_header)) in records.iter().enumerate() {
            let headers: &[(&str, &[u8])] = if *has_header { &[("h", b"1"), ("h", b"\xff")] } else { &[] };
            let time = time.map_or(-1, |time| time + number as i64);
            builder.append(time, key.map(str::as_bytes), value, headers).unwrap();
        }
        let mut options = FinishOptions::default();
        options.compression.codec = codec;
        builder.finish(options).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// What is read from the copy is what is read from the source, in another number of partitions as well.
    #[test]
    fn copies_are_read_as_their_sources(
        all in prop::collection::vec((0_u32..2, any_batch()), 1..12),
        targets in 1_u32..4,
        keeps in any::<bool>(),
        codec in prop::option::of(prop::sample::select(vec!["none", "zstd"])),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = Dir::new();
        let targets = if keeps { targets.max(2) } else { targets };
        runtime.block_on(source(&dir, 2, all));
        dir.run(&["topic", "create", "orders", "--url", "embedded:b", "--partitions", &targets.to_string()]).ok();
        let mut args = vec!["copy", "embedded:a#orders", "embedded:b#orders", "--verify"];
        args.extend(keeps.then_some("--keep-partitions"));
        args.extend(codec.map(|codec| ["--compression", codec]).into_iter().flatten());
        dir.run(&args).ok();
        let read = |store| contents(&runtime.block_on(batches(&dir, store)));
        let (mut from, mut to) = (read("a"), read("b"));
        if !keeps {
            // The partition is the first character.
            for shown in [&mut from, &mut to] {
                shown.iter_mut().for_each(|record| record.replace_range(..1, ""));
                shown.sort();
            }
        }
        prop_assert!(from == to, "{} and {} records", from.len(), to.len());
        dir.run(&args).ok().mentions("copied 0 records");
    }
}
