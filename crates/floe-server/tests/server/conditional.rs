//! Conditional appends and fenced producers, by raw frames.

use bytes::Bytes;
use floe_server::testkit::TestServer;
use floe_wire::{
    batch::{BatchBuilder, EncodedBatch, FinishOptions, ProducerIdentity, producer_id},
    fluvio::{
        ApiVersionsRequest, ConditionalAppendReply, ConditionalAppendRequest, ErrorCode, Isolation,
        RecordSet, Request as _,
    },
};

use crate::{
    access::{anonymous, with_rules},
    peer::{Peer, batch, topic},
};

fn at_end(topic: &str, expected_end: i64, batches: &[EncodedBatch]) -> ConditionalAppendRequest {
    let records = RecordSet::from_batches(batches);
    ConditionalAppendRequest { topic: topic.to_owned(), expected_end, records, ..Default::default() }
}

fn stored(base_offset: i64) -> ConditionalAppendReply {
    ConditionalAppendReply { error_code: ErrorCode::None, base_offset, actual_end: -1 }
}

/// Builds a batch of one record of a producer.
fn of_producer(id: i64, epoch: i16, first_sequence: i32) -> EncodedBatch {
    let mut builder = BatchBuilder::new(64);
    builder.append(1, None, b"x", &[]).unwrap();
    let producer = ProducerIdentity { id, epoch, first_sequence };
    builder.finish(FinishOptions { producer, ..FinishOptions::default() }).unwrap()
}

#[tokio::test]
async fn batch_is_stored_at_the_expected_end_only() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    let first = at_end("t", 0, &[of_producer(7, 0, 0)]);
    assert_eq!(peer.call(&first).await, stored(0));
    assert_eq!(peer.call(&first).await, stored(0), "a retry");
    let committed = ConditionalAppendRequest {
        isolation: Isolation::ReadCommitted,
        timeout_ms: 5_000,
        ..at_end("t", 1, &[batch(&["b", "c"])])
    };
    assert_eq!(peer.call(&committed).await, stored(1));
    for wrong in [-1, 0, 2, 4, i64::MAX] {
        let refused = ConditionalAppendReply { actual_end: 3, ..stored(-1) };
        assert_eq!(peer.call(&at_end("t", wrong, &[batch(&["d"])])).await, refused, "{wrong}");
    }
    assert_eq!(peer.offsets("t", 0).await.last_stable_offset, 3);
}

#[tokio::test]
async fn batch_passes_the_checks_of_a_produce_request() {
    let rules = anonymous("\"open\"", "\"read\", \"write\"") + &anonymous("\"shut\"", "\"read\"");
    let server = with_rules(&rules).await;
    for name in ["open", "shut"] {
        topic(&server, name, 1).await;
    }
    let mut peer = Peer::data(&server).await;
    let good = || [batch(&["a"])];
    let mut damaged = batch(&["a"]).to_bytes().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let damaged = RecordSet::from_bytes(Bytes::from(damaged));
    for (name, request, expected) in [
        ("no right", at_end("shut", 0, &good()), Some(ErrorCode::PermissionDenied)),
        ("no topic", at_end("missing", 0, &good()), Some(ErrorCode::PermissionDenied)),
        (
            "no partition",
            ConditionalAppendRequest { partition: 1, ..at_end("open", 0, &good()) },
            Some(ErrorCode::NotLeaderForPartition),
        ),
        ("damaged", ConditionalAppendRequest { records: damaged, ..at_end("open", 0, &[]) }, None),
        ("no batch", at_end("open", 0, &[]), None),
        ("two batches", at_end("open", 0, &[batch(&["a"]), batch(&["b"])]), None),
    ] {
        let reply = peer.call(&request).await;
        assert_eq!((reply.base_offset, reply.actual_end), (-1, -1), "{name}");
        match expected {
            Some(code) => assert_eq!(reply.error_code, code, "{name}"),
            None => assert!(matches!(reply.error_code, ErrorCode::Other(_)), "{name}: {reply:?}"),
        }
    }
    assert_eq!(peer.offsets("open", 0).await.last_stable_offset, 0);
    assert_eq!(peer.call(&at_end("open", 0, &good())).await, stored(0));
}

#[tokio::test]
async fn produce_request_of_an_older_epoch_is_fenced() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    let task = producer_id::task_id("processor", "input", 0, 0);
    assert_eq!(peer.produce("t", &[of_producer(task, 5, 0)]).await.base_offset, 0);
    let refused = peer.produce("t", &[of_producer(task, 4, 1)]).await.error_code;
    assert!(matches!(&refused, ErrorCode::Other(text) if text.ends_with("(fenced)")), "{refused:?}");
    let repeated = peer.produce("t", &[of_producer(task, 6, 0)]).await;
    assert_eq!((repeated.error_code, repeated.base_offset), (ErrorCode::None, 0));
    assert_eq!(peer.offsets("t", 0).await.last_stable_offset, 1);
}

#[tokio::test]
async fn both_servers_announce_what_the_engine_can() {
    let server = TestServer::start().await.unwrap();
    let request = ApiVersionsRequest { client_version: "0.50.1".to_owned(), ..ApiVersionsRequest::default() };
    for mut peer in [Peer::controller(&server).await, Peer::data(&server).await] {
        let reply = peer.call(&request).await;
        let announced = |key: u16| reply.api_keys.iter().any(|range| range.api_key == key.cast_signed());
        assert!(announced(ConditionalAppendRequest::KEY));
    }
}
