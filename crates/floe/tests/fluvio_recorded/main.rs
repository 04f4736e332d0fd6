//! The Fluvio engine against recorded frames between a real cluster and official clients.
//!
//! The peer replies only to requests that match the recorded ones byte for byte after their header. It notes all other
//! requests and does not reply.

mod peer;

use std::time::Duration;

use floe::{
    ErrorKind, Topic, TopicPartition,
    consumer::StartAt,
    engine::{Acks, AppendRequest, Engine, FluvioEngine, ReadRequest, Start},
    topic::TopicEvent,
};
use floe_wire::{batch::EncodedBatch, fluvio::SpuRequest};
use futures_util::StreamExt;
use peer::Recording;

const PRODUCE: u16 = 0;
const UPDATE_OFFSETS: u16 = 1005;

/// Fetch size of the official clients.
const OFFICIAL_MAX_BYTES: usize = 1_048_890;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

async fn connect(recording: &Recording) -> FluvioEngine {
    // The commit timeout of the official producers.
    let url = "fluvio://sc:9003?commit-timeout=1500ms";
    FluvioEngine::connect_over(url, std::sync::Arc::new(recording.clone())).await.unwrap()
}

/// Connects, and waits until all recorded watch updates have arrived.
async fn connect_and_wait(recording: &Recording) -> FluvioEngine {
    let engine = connect(recording).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    engine
}

fn partition(topic: &str) -> TopicPartition {
    Topic::from(topic).partition(0)
}

fn read(topic: &str, max_bytes: usize) -> ReadRequest {
    ReadRequest::new(partition(topic), Start::Offset(0)).max_bytes(max_bytes)
}

fn check_three_records(batch: &EncodedBatch, topic: &str) {
    batch.verify_checksum().unwrap();
    let records: Vec<_> = batch.records().unwrap().map(Result::unwrap).collect();
    let values: Vec<_> = records.iter().map(|record| &record.value[..]).collect();
    assert_eq!(values, [&b"first"[..], "second \u{2603}".as_bytes(), &[0; 40]], "{topic}");
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn reads_match_the_requests_of_official_clients() {
    let recording = Recording::open("fluvio-consume");
    let engine = connect_and_wait(&recording).await;
    for codec in CODECS {
        let topic = format!("fx-{codec}");
        let mut reader = engine.open(read(&topic, OFFICIAL_MAX_BYTES)).await.unwrap();
        check_three_records(&reader.next().await.unwrap().unwrap(), &topic);
        let more = tokio::time::timeout(Duration::from_millis(100), reader.next()).await;
        assert!(more.is_err(), "the recording has ended: {more:?}");
    }
    recording.check_unknown(&[]);
    assert_eq!(recording.answered(UPDATE_OFFSETS), CODECS.len(), "every reader acknowledged");
}

#[tokio::test(start_paused = true)]
async fn writes_match_the_requests_of_official_clients() {
    let recording = Recording::open("fluvio-produce");
    let engine = connect_and_wait(&recording).await;
    for codec in CODECS {
        let topic = format!("fx-{codec}");
        let sent = recording.data_requests(PRODUCE).into_iter().find_map(|request| match request {
            SpuRequest::Produce(request) if request.topics[0].name == topic => Some(request),
            _ => None,
        });
        let records = &sent.unwrap().topics[0].partitions[0].records;
        let batch = records.split().next().unwrap().unwrap();
        check_three_records(&batch.clone().with_base_offset(0), &topic);
        let ack = engine.append(AppendRequest::new(partition(&topic), batch, Acks::Leader)).await.unwrap();
        assert_eq!(ack.base_offset, Some(0), "{topic}");
    }
    recording.check_unknown(&[]);
}

/// The recorded client skips a batch that a slice cuts; floe fetches that batch again.
#[tokio::test(start_paused = true)]
async fn a_cut_batch_is_asked_for_again() {
    let recording = Recording::open("fluvio-truncated");
    let engine = connect_and_wait(&recording).await;
    let mut reader = engine.open(read("fx-trunc", 1500)).await.unwrap();
    let batch = reader.next().await.unwrap().unwrap();
    assert_eq!((batch.base_offset(), batch.next_offset()), (0, 15));
    let more = tokio::time::timeout(Duration::from_millis(100), reader.next()).await;
    assert!(more.is_err(), "{more:?}");
    let SpuRequest::UpdateOffsets(asked) = recording.unknown_data_request() else {
        panic!("another request")
    };
    assert_eq!((asked.offsets[0].offset, asked.offsets[0].stream_id), (15, 1));
    let recorded = recording.data_requests(UPDATE_OFFSETS).into_iter().map(|request| match request {
        SpuRequest::UpdateOffsets(update) => update.offsets[0].offset,
        other => panic!("{other:?}"),
    });
    assert_eq!(recorded.collect::<Vec<_>>(), [30, 60]);
}

#[tokio::test(start_paused = true)]
async fn stored_offsets_are_listed_and_deleted_with_the_same_requests() {
    let recording = Recording::open("fluvio-offsets");
    let engine = connect(&recording).await;
    let group = || std::sync::Arc::from("fx-group");
    assert_eq!(engine.committed(group(), partition("fx-none")).await.unwrap(), None);
    let listed = engine.list_committed(None).await.unwrap();
    assert_eq!(listed.len(), 1);
    // The official client commits the offset of the last finished record.
    assert_eq!(
        (&*listed[0].group, listed[0].at.clone(), listed[0].next),
        ("fx-group", partition("fx-none"), 2)
    );
    engine.forget(group(), partition("fx-none")).await.unwrap();
    assert!(engine.list_committed(None).await.unwrap().is_empty());
    recording.check_unknown(&[]);
}

#[tokio::test(start_paused = true)]
async fn topics_are_listed_and_refusals_understood() {
    let recording = Recording::open("fluvio-admin");
    let engine = connect(&recording).await;
    let topics: Vec<_> = engine.topics().await.unwrap().into_iter().map(|topic| topic.name).collect();
    assert!(
        topics.contains(&Topic::from("fx-admin")) && topics.contains(&Topic::from("fx-zstd")),
        "{topics:?}"
    );
    let error = engine.create_topic(floe::TopicSpec::new("fx-admin").partitions(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicAlreadyExists);
    let error = engine.delete_topic(Topic::from("fx-nope")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicNotFound, "{error}");
    recording.check_unknown(&[]);
}

#[tokio::test(start_paused = true)]
async fn topics_come_and_go_as_the_watch_tells() {
    let recording = Recording::open("fluvio-watch");
    let engine = connect(&recording).await;
    let mut events = engine.watch().await.unwrap();
    let (mut came, mut went) = (false, false);
    let mut seen = 0;
    while !went {
        seen += 1;
        assert!(seen < 100, "too many batches");
        match events.next().await.unwrap().unwrap() {
            TopicEvent::Updated(info) if info.name.as_str() == "fx-watch" => came = true,
            TopicEvent::Deleted(name) if name.as_str() == "fx-watch" => went = true,
            other => assert!(!came, "{other:?}"),
        }
    }
    assert!(came, "the creation was reported before the deletion");
    recording.check_unknown(&[]);
}

#[tokio::test(start_paused = true)]
async fn offset_beyond_the_end_is_refused() {
    let recording = Recording::open("fluvio-errors");
    let engine = connect(&recording).await;
    let request = ReadRequest::new(partition("fx-none"), Start::Offset(999));
    let error = engine.open(request).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
    let client = floe::Client::from_engine(std::sync::Arc::new(engine));
    let consumer = client.consumer("fx-none").partition(0).from(StartAt::Offset(999)).start().await;
    // This recording does not include the topic.
    assert!(consumer.is_err());
}
