//! Produce, Fetch, FetchOffsets and ApiVersions of the data server, by raw frames.

use bytes::Bytes;
use floe_server::testkit::TestServer;
use floe_wire::{
    compress::Codec,
    fluvio::{
        ApiVersionsRequest, CreateRequest, ErrorCode, FetchPartition, FetchRequest, FetchTopic, ProduceReply,
        RecordSet, TopicCompression, TopicProduceReply, TopicSpec, TopicStorage,
    },
};

use crate::peer::{Peer, batch, compressed, numbered, produce, records, topic};

#[tokio::test]
async fn batches_get_consecutive_offsets_and_come_back() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    let first = peer.produce("t", &[batch(&["a", "b"]), batch(&["c"])]).await;
    assert_eq!((first.error_code, first.base_offset), (ErrorCode::None, 0));
    assert_eq!((first.log_append_time_ms, first.log_start_offset), (0, 0));
    let second = peer.produce("t", &[batch(&["d"])]).await;
    assert_eq!(second.base_offset, 3);
    let offsets = peer.offsets("t", 0).await;
    assert_eq!(
        (offsets.error_code, offsets.start_offset, offsets.last_stable_offset),
        (ErrorCode::None, 0, 4)
    );
    let fetched = fetch(&mut peer, "t", 0, i32::MAX).await;
    assert_eq!(fetched, (ErrorCode::None, 4, numbered(0, &["a", "b", "c", "d"])));
}

async fn fetch(
    peer: &mut Peer,
    topic: &str,
    offset: i64,
    max_bytes: i32,
) -> (ErrorCode, i64, Vec<(i64, String)>) {
    let partition = FetchPartition { fetch_offset: offset, ..FetchPartition::default() };
    let request = FetchRequest {
        max_bytes,
        topics: vec![FetchTopic { name: topic.to_owned(), partitions: vec![partition] }],
        ..FetchRequest::default()
    };
    let reply = peer.call(&request).await.topics.remove(0).partitions.remove(0);
    (reply.error_code, reply.high_watermark, records(&reply.records))
}

#[tokio::test]
async fn one_result_for_each_entry_in_order() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 2).await;
    let mut peer = Peer::data(&server).await;
    let set = |value: &str| RecordSet::from_batches(&[batch(&[value])]);
    let mut request =
        produce("t", &[(0, set("a")), (1, set("b")), (0, set("c")), (7, set("d")), (0, set("e"))]);
    request.topics.push(floe_wire::fluvio::TopicProduceData { name: "t".to_owned(), partitions: vec![] });
    request.topics.extend(produce("missing", &[(0, set("f"))]).topics);
    let reply = peer.call(&request).await;
    let results: Vec<Vec<_>> = reply
        .topics
        .into_iter()
        .map(|topic| {
            topic.partitions.into_iter().map(|p| (p.partition, p.error_code, p.base_offset)).collect()
        })
        .collect();
    let (good, gone) = (ErrorCode::None, ErrorCode::NotLeaderForPartition);
    assert_eq!(
        results,
        [
            vec![
                (0, good.clone(), 0),
                (1, good.clone(), 0),
                (0, good.clone(), 1),
                (7, gone.clone(), 0),
                (0, good, 2)
            ],
            vec![],
            vec![(0, gone, 0)],
        ]
    );
}

#[tokio::test]
async fn empty_requests_write_nothing() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    let reply = peer.produce("t", &[]).await;
    assert_eq!((reply.error_code, reply.base_offset), (ErrorCode::None, 0));
    // Official producers send this when they flush an empty buffer, also for topics they have not written to.
    let reply = peer.call(&produce("missing", &[])).await;
    let topics = vec![TopicProduceReply { name: "missing".to_owned(), partitions: vec![] }];
    assert_eq!(reply, ProduceReply { topics, throttle_ms: 0 });
    // A batch without records between others, after which a real server refuses all writes.
    let empty = empty_batch();
    let mixed = Bytes::from([&batch(&["a"]).to_bytes()[..], &empty, &batch(&["b"]).to_bytes()].concat());
    let reply = peer.call(&produce("t", &[(0, RecordSet::from_bytes(mixed))])).await;
    assert_eq!(reply.topics[0].partitions[0].error_code, ErrorCode::None);
    assert_eq!(fetch(&mut peer, "t", 0, i32::MAX).await.2, numbered(0, &["a", "b"]));
}

/// Returns a batch header without records: last offset delta -1.
fn empty_batch() -> Bytes {
    let mut bytes = batch(&["x"]).to_bytes().to_vec();
    bytes.truncate(61);
    bytes[8..12].copy_from_slice(&49_i32.to_be_bytes());
    bytes[23..27].copy_from_slice(&(-1_i32).to_be_bytes());
    bytes[57..61].copy_from_slice(&0_u32.to_be_bytes());
    bytes.into()
}

#[tokio::test]
async fn one_bad_batch_refuses_its_entry() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    let good = batch(&["good"]).to_bytes();
    let mut flipped = batch(&["flipped"]).to_bytes().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let mut codec = batch(&["codec"]).to_bytes().to_vec();
    codec[22] = 7;
    let mut magic = batch(&["magic"]).to_bytes().to_vec();
    magic[16] = 1;
    let mut huge = batch(&["huge"]).to_bytes().to_vec();
    huge[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    let cut = good.slice(..good.len() - 1).to_vec();
    for (name, bad, code) in [
        ("flipped", flipped, None),
        ("codec", codec, Some(ErrorCode::CompressionError)),
        ("magic", magic, None),
        ("huge", huge, Some(ErrorCode::MessageTooLarge)),
        ("cut", cut, None),
    ] {
        let set = RecordSet::from_bytes(Bytes::from([&good[..], &bad].concat()));
        let reply = peer.call(&produce("t", &[(0, set)])).await;
        let found = &reply.topics[0].partitions[0].error_code;
        match code {
            Some(code) => assert_eq!(*found, code, "{name}"),
            None => assert!(matches!(found, ErrorCode::Other(_)), "{name}: {found:?}"),
        }
        assert_eq!(peer.offsets("t", 0).await.last_stable_offset, 0, "{name}");
    }
    // The partition still takes writes.
    assert_eq!(peer.produce("t", &[batch(&["after"])]).await.error_code, ErrorCode::None);
}

#[tokio::test]
async fn topic_rules_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let spec = TopicSpec {
        compression: TopicCompression::Lz4,
        storage: Some(TopicStorage { segment_size: Some(2048), max_partition_size: None }),
        ..TopicSpec::default()
    };
    for round in 0..2 {
        let server = TestServer::at(folder.path()).await.unwrap();
        if round == 0 {
            let create = CreateRequest {
                name: "ruled".to_owned(),
                dry_run: false,
                timeout_ms: None,
                spec: spec.clone(),
            };
            let status = Peer::controller(&server).await.call(&create).await;
            assert_eq!(status.error_code, ErrorCode::None, "{status:?}");
        }
        let mut peer = Peer::data(&server).await;
        for codec in Codec::ALL {
            let reply = peer.produce("ruled", &[compressed(&["value ".repeat(20).as_str()], codec)]).await;
            let expected = if codec == Codec::Lz4 { ErrorCode::None } else { ErrorCode::CompressionError };
            assert_eq!(reply.error_code, expected, "{codec}");
        }
        let noise: String =
            (0..4000_u32).map(|n| char::from(b'!' + (n.wrapping_mul(n * 7919) % 90) as u8)).collect();
        let reply = peer.produce("ruled", &[compressed(&[&noise], Codec::Lz4)]).await;
        assert_eq!(reply.error_code, ErrorCode::MessageTooLarge, "larger than a segment");
        assert_eq!(peer.offsets("ruled", 0).await.last_stable_offset, round + 1);
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn fetch_returns_whole_batches_without_waiting() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    assert_eq!(fetch(&mut peer, "t", 0, 1000).await, (ErrorCode::None, 0, vec![]), "no waiting at the end");
    for value in ["a", "b", "c"] {
        peer.produce("t", &[batch(&[value, value])]).await;
    }
    let length = i32::try_from(batch(&["a", "a"]).len()).unwrap();
    for (offset, max_bytes, expected) in [
        (0, length * 2 + 1, numbered(0, &["a", "a", "b", "b"])),
        (0, 1, numbered(0, &["a", "a"])),
        (3, length, numbered(2, &["b", "b"])),
        (6, length, vec![]),
    ] {
        let found = fetch(&mut peer, "t", offset, max_bytes).await;
        assert_eq!(found, (ErrorCode::None, 6, expected), "{offset} {max_bytes}");
    }
    let beyond = fetch(&mut peer, "t", 7, 1000).await.0;
    assert_eq!(beyond, ErrorCode::Other("start offset: 7 is greater than leo: 6".to_owned()));
    let evicted = fetch(&mut peer, "t", -1, 1000).await.0;
    assert_eq!(evicted, ErrorCode::OffsetEvicted { offset: -1, next_available: 0 });
    assert_eq!(fetch(&mut peer, "missing", 0, 1000).await.0, ErrorCode::NotLeaderForPartition);
}

#[tokio::test]
async fn unknown_partitions_have_no_offsets() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    for (name, partition) in [("t", 1), ("missing", 0), ("consumer-offset", 1)] {
        let offsets = peer.offsets(name, partition).await;
        assert_eq!(offsets.error_code, ErrorCode::PartitionNotLeader, "{name}");
    }
    assert_eq!(peer.offsets("consumer-offset", 0).await.error_code, ErrorCode::None);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    let mut sent = Vec::new();
    for number in 0..200 {
        let value = number.to_string();
        sent.push(peer.send(&produce("t", &[(0, RecordSet::from_batches(&[batch(&[&value])]))])).await);
    }
    for (offset, id) in (0..).zip(sent) {
        let reply = peer.reply::<floe_wire::fluvio::ProduceRequest>(id).await;
        assert_eq!(reply.topics[0].partitions[0].base_offset, offset);
    }
    let values: Vec<_> = (0..200).map(|number| (number, number.to_string())).collect();
    assert_eq!(fetch(&mut peer, "t", 0, i32::MAX).await.2, values);
}

#[tokio::test]
async fn requests_sent_before_a_half_close_are_answered() {
    use tokio::io::AsyncWriteExt as _;
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    let id = peer.send(&produce("t", &[(0, RecordSet::from_batches(&[batch(&["last words"])]))])).await;
    peer.socket.shutdown().await.unwrap();
    let reply = peer.reply::<floe_wire::fluvio::ProduceRequest>(id).await;
    assert_eq!(reply.topics[0].partitions[0].error_code, ErrorCode::None);
    peer.is_closed().await;
}

#[tokio::test]
async fn versions_are_announced() {
    let server = TestServer::start().await.unwrap();
    let mut peer = Peer::data(&server).await;
    let mut request =
        ApiVersionsRequest { client_version: "0.50.1".to_owned(), ..ApiVersionsRequest::default() };
    let reply = peer.call(&request).await;
    assert_eq!(reply.platform_version, "0.0.0");
    let stream = |reply: &floe_wire::fluvio::ApiVersionsReply| {
        reply.api_keys.iter().find(|range| range.api_key == 1003).unwrap().max_version
    };
    assert_eq!(stream(&reply), 25);
    request.client_version = String::new();
    assert_eq!(stream(&peer.call(&request).await), 15);
}
