//! StreamFetch: replies, acknowledgements, and the end of streams.

use floe_server::testkit::TestServer;
use floe_wire::fluvio::{ErrorCode, OffsetUpdate, UpdateOffsetsReply, UpdateOffsetsRequest};

use crate::peer::{Peer, batch, numbered, records, topic};

async fn acknowledge(peer: &mut Peer, stream_id: u32, offset: i64) -> i32 {
    peer.send(&UpdateOffsetsRequest { offsets: vec![OffsetUpdate { offset, stream_id }] }).await
}

/// Acknowledges, and takes the reply, which precedes the records that it releases.
async fn acknowledged(peer: &mut Peer, stream_id: u32, offset: i64) {
    let id = acknowledge(peer, stream_id, offset).await;
    accepted(&peer.reply::<UpdateOffsetsRequest>(id).await);
}

fn accepted(reply: &UpdateOffsetsReply) {
    assert!(reply.results.iter().all(|result| result.error_code == ErrorCode::None), "{reply:?}");
}

#[tokio::test]
async fn stream_waits_for_each_acknowledgement() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let (mut writer, mut reader) = (Peer::data(&server).await, Peer::data(&server).await);
    writer.produce("t", &[batch(&["a", "b"])]).await;
    let id = reader.open("t", 0, 1_000_000).await;
    let first = reader.pushed(id).await;
    assert_eq!((first.topic.as_str(), first.stream_id), ("t", 1));
    assert_eq!((first.partition.high_watermark, first.partition.log_start_offset), (2, 0));
    assert_eq!(records(&first.partition.records), numbered(0, &["a", "b"]));
    writer.produce("t", &[batch(&["c"])]).await;
    reader.nothing_was_pushed().await;
    acknowledged(&mut reader, 1, 2).await;
    assert_eq!(records(&reader.pushed(id).await.partition.records), numbered(2, &["c"]));
    // At the end of the partition, the stream sends new records without a request.
    acknowledged(&mut reader, 1, 3).await;
    reader.nothing_was_pushed().await;
    writer.produce("t", &[batch(&["d"])]).await;
    assert_eq!(records(&reader.pushed(id).await.partition.records), numbered(3, &["d"]));
}

#[tokio::test]
async fn stream_starts_with_the_batch_of_its_offset_and_can_be_rewound() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    peer.produce("t", &[batch(&["a", "b", "c"]), batch(&["d"])]).await;
    let length = i32::try_from(batch(&["a", "b", "c"]).len()).unwrap();
    let id = peer.open("t", 1, length).await;
    assert_eq!(records(&peer.pushed(id).await.partition.records), numbered(0, &["a", "b", "c"]));
    acknowledged(&mut peer, 1, 3).await;
    assert_eq!(records(&peer.pushed(id).await.partition.records), numbered(3, &["d"]));
    acknowledged(&mut peer, 1, 0).await;
    assert_eq!(records(&peer.pushed(id).await.partition.records), numbered(0, &["a", "b", "c"]));
    // A stream that waits for records can be rewound, too.
    acknowledged(&mut peer, 1, 4).await;
    peer.nothing_was_pushed().await;
    acknowledged(&mut peer, 1, 3).await;
    assert_eq!(records(&peer.pushed(id).await.partition.records), numbered(3, &["d"]));
}

#[tokio::test]
async fn replies_hold_whole_batches_and_at_least_one() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    for value in ["a", "b", "c", "d"] {
        peer.produce("t", &[batch(&[value])]).await;
    }
    let length = i32::try_from(batch(&["a"]).len()).unwrap();
    for (id, (max_bytes, count)) in
        (1..).zip([(1, 1), (length - 1, 1), (length, 1), (2 * length + 5, 2), (-1, 4), (0, 1)])
    {
        let correlation = peer.open("t", 0, max_bytes).await;
        let reply = peer.pushed(correlation).await;
        assert_eq!(reply.stream_id, id);
        assert_eq!(records(&reply.partition.records).len(), count, "{max_bytes}");
    }
}

#[tokio::test]
async fn replies_respect_the_server_limit() {
    let length = batch(&["a"]).len();
    let mut limits = floe_server::ServeLimits::default();
    limits.response_bytes = 2 * length;
    let server = TestServer::with_limits(limits).await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    for value in ["a", "b", "c", "d"] {
        peer.produce("t", &[batch(&[value])]).await;
    }
    let large = batch(&[&"x".repeat(10 * length)]);
    peer.produce("t", std::slice::from_ref(&large)).await;
    for (offset, expected) in [(0, 2), (2, 2), (3, 1), (4, 1)] {
        let id = peer.open("t", offset, i32::MAX).await;
        let reply = peer.pushed(id).await;
        assert_eq!(records(&reply.partition.records).len(), expected, "from {offset}");
    }
}

#[tokio::test]
async fn streams_of_one_connection_do_not_wait_for_each_other() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "one", 1).await;
    topic(&server, "two", 1).await;
    let (mut writer, mut reader) = (Peer::data(&server).await, Peer::data(&server).await);
    let one = reader.open("one", 0, 1000).await;
    let two = reader.open("two", 0, 1000).await;
    writer.produce("two", &[batch(&["x"])]).await;
    let reply = reader.pushed(two).await;
    assert_eq!((reply.topic.as_str(), reply.stream_id), ("two", 2));
    // An unacknowledged stream does not block others.
    writer.produce("one", &[batch(&["y"])]).await;
    assert_eq!(reader.pushed(one).await.stream_id, 1);
}

#[tokio::test]
async fn invalid_start_offsets() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    peer.produce("t", &[batch(&["a"])]).await;
    for (offset, code) in [
        (2, ErrorCode::Other("start offset: 2 is greater than leo: 1".to_owned())),
        (-1, ErrorCode::OffsetEvicted { offset: -1, next_available: 0 }),
        (-2, ErrorCode::OffsetEvicted { offset: -2, next_available: 0 }),
    ] {
        let id = peer.open("t", offset, 1000).await;
        let reply = peer.pushed(id).await;
        assert_eq!(reply.partition.error_code, code);
        assert!(reply.partition.records.is_empty() && reply.stream_id > 0);
    }
    for name in ["missing", "consumer-offset"] {
        let id = peer.open(name, 0, 1000).await;
        let reply = peer.pushed(id).await;
        assert_eq!((reply.partition.error_code, reply.stream_id), (ErrorCode::NotLeaderForPartition, 0));
    }
    // The connection still works, and refused streams take no id.
    let id = peer.open("t", 0, 1000).await;
    assert_eq!(peer.pushed(id).await.stream_id, 4);
}

#[tokio::test]
async fn ignored_and_invalid_acknowledgements() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    peer.produce("t", &[batch(&["a"])]).await;
    let id = acknowledge(&mut peer, 9, 0).await;
    let reply = peer.reply::<UpdateOffsetsRequest>(id).await;
    assert_eq!(reply.results[0].error_code, ErrorCode::FetchSessionNotFoud);
    let id = peer.open("t", 0, 1000).await;
    peer.pushed(id).await;
    for nothing in [-1, -2] {
        acknowledged(&mut peer, 1, nothing).await;
        peer.nothing_was_pushed().await;
    }
    // A real server would skip records silently.
    acknowledged(&mut peer, 1, 5).await;
    let end = peer.pushed(id).await.partition.error_code;
    assert_eq!(end, ErrorCode::Other("start offset: 5 is greater than leo: 1".to_owned()));
    // The stream has ended; acknowledging it is no error.
    acknowledged(&mut peer, 1, 0).await;
    peer.nothing_was_pushed().await;
}

#[tokio::test]
async fn topic_deletion_ends_its_streams() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 2).await;
    let mut peer = Peer::data(&server).await;
    peer.produce("t", &[batch(&["a"])]).await;
    let waiting_for_acknowledgement = peer.open("t", 0, 1000).await;
    peer.pushed(waiting_for_acknowledgement).await;
    let mut other = Peer::data(&server).await;
    let waiting_for_records = other.open("t", 1, 1000).await;
    other.nothing_was_pushed().await;
    server.client().admin().delete_topic("t").await.unwrap();
    let first = peer.pushed(waiting_for_acknowledgement).await.partition.error_code;
    let second = other.pushed(waiting_for_records).await.partition.error_code;
    assert_eq!((first, second), (ErrorCode::TopicDeleted, ErrorCode::TopicDeleted));
}

#[tokio::test]
async fn streams_per_connection_are_limited() {
    let mut limits = floe_server::ServeLimits::default();
    limits.streams = 2;
    let server = TestServer::with_limits(limits).await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    peer.open("t", 0, 1000).await;
    peer.open("t", 0, 1000).await;
    let third = peer.open("t", 0, 1000).await;
    let reply = peer.pushed(third).await;
    assert!(matches!(reply.partition.error_code, ErrorCode::Other(_)) && reply.stream_id == 0);
}
