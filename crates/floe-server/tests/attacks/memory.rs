//! Requests that stall, requests of many elements, responses and streams that are not read.

use floe_wire::fluvio::{
    ErrorCode, FetchOffsetsRequest, FetchOffsetsTopic, ListRequest, ProduceRequest, RecordSet,
    StreamFetchRequest, TopicSpec,
};
use tokio::io::AsyncWriteExt as _;

use crate::{
    peer::{Peer, WalrusPeer, batch, produce, topic},
    server::{Attacked, MEMORY},
};

#[tokio::test]
async fn stalled_requests_hold_no_more_than_their_part() {
    let attacked = Attacked::start(|_| {}).await;
    let mut stalled = Vec::new();
    for _ in 0..60 {
        let mut peer = Peer::data(&attacked.server).await;
        // A request of one MiB, of which the last byte never comes.
        let mut request = vec![0; 1 << 20];
        request[..4].copy_from_slice(&(1_i32 << 20).to_be_bytes());
        // The server may stop reading, or cut the client off: neither is an error of the test.
        let sending = peer.socket.write_all(&request);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(20), sending).await;
        stalled.push(peer);
        assert!(attacked.metric("floe_server_memory_bytes", &[("class", "requests")]) <= MEMORY as u64 / 4);
    }
    attacked.is_well().await;
    drop(stalled);
    attacked.is_empty().await;
}

#[tokio::test]
async fn requests_of_too_many_elements_end_their_connection() {
    let attacked = Attacked::start(|limits| limits.request_elements = 1000).await;
    let entries = |count: usize| vec![(0, RecordSet::default()); count];
    let names = |count: usize| ListRequest::<TopicSpec>::new(vec![String::new(); count]);
    let offsets = |count: usize| FetchOffsetsRequest {
        topics: vec![FetchOffsetsTopic { name: "well".to_owned(), partitions: vec![0; count] }],
        consumer_id: None,
    };
    let mut peer = Peer::data(&attacked.server).await;
    peer.send(&produce("nope", &entries(2000))).await;
    peer.is_closed().await;
    let mut peer = Peer::data(&attacked.server).await;
    peer.send(&offsets(2000)).await;
    peer.is_closed().await;
    let mut peer = Peer::controller(&attacked.server).await;
    peer.send(&names(2000)).await;
    peer.is_closed().await;
    // As many as the limit admits are answered.
    let mut peer = Peer::data(&attacked.server).await;
    let reply = peer.call(&produce("nope", &entries(900))).await;
    assert_eq!(reply.topics[0].partitions.len(), 900);
    assert_eq!(peer.call(&offsets(900)).await.topics[0].partitions.len(), 900);
    Peer::controller(&attacked.server).await.call(&names(900)).await;
    attacked.is_well().await;
    drop(peer);
    attacked.is_empty().await;
}

#[tokio::test]
async fn many_small_batches_are_stored_in_order() {
    let attacked = Attacked::start(|_| {}).await;
    let mut peer = Peer::data(&attacked.server).await;
    let small = batch(&[""]).to_bytes();
    let many = RecordSet::from_bytes(small.repeat(5000).into());
    let reply = peer.call(&produce("well", &[(0, many.clone()), (0, many)])).await;
    let results: Vec<_> = reply.topics[0]
        .partitions
        .iter()
        .map(|partition| (&partition.error_code, partition.base_offset))
        .collect();
    assert_eq!(results, [(&ErrorCode::None, 0), (&ErrorCode::None, 5000)]);
    assert_eq!(peer.offsets("well", 0).await.last_stable_offset, 10_000);
    attacked.is_well().await;
}

#[tokio::test]
async fn streams_that_are_not_read_cost_no_more_than_their_connection_may_hold() {
    let attacked = Attacked::start(|_| {}).await;
    topic(&attacked.server, "big", 1).await;
    let mut peer = Peer::data(&attacked.server).await;
    let value = "x".repeat(50_000);
    for _ in 0..64 {
        peer.produce("big", &[batch(&[&value])]).await;
    }
    let mut deaf = Vec::new();
    for _ in 0..10 {
        let mut peer = Peer::data(&attacked.server).await;
        for _ in 0..50 {
            peer.open("big", 0, i32::MAX).await;
        }
        deaf.push(peer);
    }
    attacked.is_well().await;
    let unread = attacked.metric("floe_server_memory_bytes", &[("class", "responses")]);
    assert!(unread <= MEMORY as u64 / 4, "{unread}");
    // A client that begins to read gets everything.
    let mut late = deaf.pop().unwrap();
    assert!(late.frame().await.is_some());
    drop((deaf, late));
    attacked.is_empty().await;
}

#[tokio::test]
async fn a_batch_above_the_usual_response_is_sent_alone() {
    let attacked = Attacked::start(|_| {}).await;
    let large = "x".repeat(600_000);
    let mut peer = Peer::data(&attacked.server).await;
    assert_eq!(peer.produce("well", &[batch(&[&large])]).await.error_code, ErrorCode::None);
    peer.produce("well", &[batch(&["small"])]).await;
    let id = peer.open("well", 0, 1000).await;
    let records = crate::peer::records(&peer.pushed(id).await.partition.records);
    assert_eq!((records.len(), records[0].1.len()), (1, 600_000));
}

#[tokio::test]
async fn requests_whose_answers_are_not_read_stop_being_read() {
    let attacked = Attacked::start(|limits| limits.in_flight_bytes = 64 << 10).await;
    let mut stuffed = Peer::data(&attacked.server).await;
    let request = produce("nope", &vec![(0, RecordSet::default()); 1000]);
    let mut sent = 0;
    while sent < 64 << 20 {
        let sending = stuffed.send::<ProduceRequest>(&request);
        if tokio::time::timeout(std::time::Duration::from_millis(500), sending).await.is_err() {
            break;
        }
        sent += 8000;
    }
    assert!(sent < 64 << 20, "the server takes requests without end");
    attacked.is_well().await;
}

#[tokio::test]
async fn half_read_batches_of_walrus_readers_give_way() {
    let attacked = Attacked::start(|_| {}).await;
    let mut walrus = WalrusPeer::connect(&attacked.server).await;
    // Together twice what the readers may hold.
    let names: Vec<_> = (0..30).map(|number| format!("w{number}")).collect();
    let entry = "e".repeat(60_000);
    for name in &names {
        assert_eq!(walrus.ask(&format!("REGISTER {name}")).await, "OK");
        let entries: String = (0..4).map(|number| format!(" 60001 {number}{entry}")).collect();
        assert_eq!(walrus.ask(&format!("BATCH_PUT {name} 4{entries}")).await, "OK 4");
    }
    for number in 0..4 {
        for name in &names {
            assert_eq!(walrus.ask(&format!("GET {name}")).await, format!("OK {number}{entry}"), "{name}");
            assert!(attacked.held() <= MEMORY as u64);
        }
    }
    attacked.is_well().await;
}

#[tokio::test]
async fn a_request_of_many_elements_is_answered() {
    let attacked = Attacked::start(|_| {}).await;
    let mut peer = Peer::data(&attacked.server).await;
    let entries = vec![(0, RecordSet::default()); 3000];
    let reply = peer.call(&produce("nope", &entries)).await;
    assert_eq!(reply.topics[0].partitions.len(), 3000);
    drop(peer);
    attacked.is_empty().await;
}

#[tokio::test]
async fn streams_of_one_byte_hold_what_they_send() {
    let attacked = Attacked::start(|_| {}).await;
    let mut peer = Peer::data(&attacked.server).await;
    let small: Vec<_> = (0..100).map(|_| batch(&["small"])).collect();
    peer.produce("well", &small).await;
    let mut deaf = Peer::data(&attacked.server).await;
    for _ in 0..200 {
        deaf.open("well", 0, 1).await;
    }
    attacked.is_well().await;
    for _ in 0..200 {
        let (_, body) = deaf.frame().await.expect("every stream is answered");
        let reply = floe_wire::fluvio::frame::decode_reply::<StreamFetchRequest>(body, 25).unwrap();
        assert_eq!(crate::peer::records(&reply.partition.records).len(), 1);
    }
}
