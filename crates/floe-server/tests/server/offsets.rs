//! Stored consumer offsets, by raw frames.

use floe_server::testkit::TestServer;
use floe_wire::fluvio::{
    ConsumerOffset, ConsumerOffsetFilter, DeleteConsumerOffsetRequest, ErrorCode,
    FetchConsumerOffsetsRequest, ReplicaKey, UpdateConsumerOffsetReply, UpdateConsumerOffsetRequest,
};

use crate::peer::{Peer, WalrusPeer, batch, stream, topic};

async fn open(peer: &mut Peer, topic: &str, consumer_id: Option<&str>) {
    let request = floe_wire::fluvio::StreamFetchRequest {
        consumer_id: consumer_id.map(str::to_owned),
        ..stream(topic, 0, 1000)
    };
    let id = peer.send(&request).await;
    peer.pushed(id).await;
}

async fn store(peer: &mut Peer, stream_id: u32, offset: i64) -> UpdateConsumerOffsetReply {
    peer.call(&UpdateConsumerOffsetRequest { offset, stream_id }).await
}

async fn list(peer: &mut Peer, filter: Option<ConsumerOffsetFilter>) -> Vec<(String, String, i64)> {
    let reply = peer.call(&FetchConsumerOffsetsRequest { filter }).await;
    assert_eq!(reply.error_code, ErrorCode::None);
    let row = |row: ConsumerOffset| {
        assert!(row.modified_time > 1_600_000_000 && row.modified_time < 100_000_000_000, "seconds");
        (row.consumer_id, row.replica.topic, row.offset)
    };
    reply.consumers.into_iter().map(row).collect()
}

fn row(consumer: &str, topic: &str, offset: i64) -> (String, String, i64) {
    (consumer.to_owned(), topic.to_owned(), offset)
}

#[tokio::test]
async fn offsets_are_stored_through_the_stream_of_their_consumer() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "a", 1).await;
    topic(&server, "b", 1).await;
    let mut peer = Peer::data(&server).await;
    for name in ["a", "b"] {
        peer.produce(name, &[batch(&["1", "2", "3"])]).await;
    }
    open(&mut peer, "a", Some("x")).await;
    open(&mut peer, "b", Some("x")).await;
    open(&mut peer, "b", Some("y")).await;
    open(&mut peer, "a", None).await;
    for (stream_id, offset) in [(1, 2), (2, 0), (3, 1), (1, 1)] {
        let reply = store(&mut peer, stream_id, offset).await;
        assert_eq!(reply, UpdateConsumerOffsetReply { offset, error_code: ErrorCode::None });
    }
    assert!(matches!(store(&mut peer, 4, 0).await.error_code, ErrorCode::Other(_)), "no consumer id");
    assert_eq!(store(&mut peer, 5, 0).await.error_code, ErrorCode::FetchSessionNotFoud);
    let mut other = Peer::data(&server).await;
    assert_eq!(
        store(&mut other, 1, 0).await.error_code,
        ErrorCode::FetchSessionNotFoud,
        "not this connection's"
    );

    let all = [row("x", "a", 1), row("x", "b", 0), row("y", "b", 1)];
    assert_eq!(list(&mut other, None).await, all);
    let replica = ReplicaKey { topic: "b".to_owned(), partition: 0 };
    let of_b = ConsumerOffsetFilter { replica: Some(replica.clone()), consumer_id: None };
    assert_eq!(list(&mut other, Some(of_b)).await, all[1..]);
    let of_x = ConsumerOffsetFilter { replica: None, consumer_id: Some("x".to_owned()) };
    assert_eq!(list(&mut other, Some(of_x)).await, all[..2]);

    for _ in 0..2 {
        let delete = DeleteConsumerOffsetRequest { replica: replica.clone(), consumer_id: "x".to_owned() };
        assert_eq!(other.call(&delete).await.error_code, ErrorCode::None);
    }
    assert_eq!(list(&mut other, None).await, [row("x", "a", 1), row("y", "b", 1)]);
    server.client().admin().delete_topic("a").await.unwrap();
    assert_eq!(list(&mut other, None).await, [row("y", "b", 1)], "rows go with their topic");
}

#[tokio::test]
async fn walrus_cursor_is_not_accessible() {
    let server = TestServer::start().await.unwrap();
    let mut walrus = WalrusPeer::connect(&server).await;
    assert_eq!(walrus.ask("REGISTER t").await, "OK");
    assert_eq!(walrus.ask("PUT t x").await, "OK");
    assert_eq!(walrus.ask("GET t").await, "OK x");
    let mut peer = Peer::data(&server).await;
    assert!(list(&mut peer, None).await.is_empty());
    let group = server.client().engine().list_committed(None).await.unwrap().remove(0).group.to_string();
    open(&mut peer, "t", Some(&group)).await;
    assert_eq!(store(&mut peer, 1, 0).await.error_code, ErrorCode::PermissionDenied);
    let replica = ReplicaKey { topic: "t".to_owned(), partition: 0 };
    let delete = DeleteConsumerOffsetRequest { replica, consumer_id: group };
    assert_eq!(peer.call(&delete).await.error_code, ErrorCode::PermissionDenied);
}
