//! Malformed bytes and misbehaving clients: their connection ends, others go on.

use std::time::Duration;

use floe_server::{ServeLimits, testkit::TestServer};
use floe_wire::fluvio::{
    ErrorCode, FetchOffsetsRequest, OffsetUpdate, ProduceRequest, RecordSet, TopicSpec, UpdateOffsetsRequest,
    WatchRequest,
};
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::peer::{Peer, WalrusPeer, batch, produce, topic, within};

/// Checks that the server answers a new client.
async fn is_well(server: &TestServer) {
    let mut peer = Peer::data(server).await;
    assert_eq!(peer.offsets("well", 0).await.error_code, ErrorCode::None);
    assert!(WalrusPeer::connect(server).await.ask("METRICS").await.contains("Leader"));
}

async fn server(limits: ServeLimits) -> TestServer {
    let server = TestServer::with_limits(limits).await.unwrap();
    topic(&server, "well", 1).await;
    server
}

#[tokio::test]
async fn invalid_lengths_close_the_connection() {
    let server = server(ServeLimits::default()).await;
    for length in [i32::MAX, i32::MIN, -1, 0, 3, 65 << 20] {
        for mut peer in [Peer::data(&server).await, Peer::controller(&server).await] {
            peer.send_bytes(&length.to_be_bytes()).await;
            peer.is_closed().await;
        }
    }
    is_well(&server).await;
}

#[tokio::test]
async fn incomplete_request_times_out() {
    let mut limits = ServeLimits::default();
    limits.frame_timeout = Duration::from_millis(50);
    let server = server(limits).await;
    let mut slow = Peer::data(&server).await;
    slow.send_bytes(&[0, 0, 0, 100, 0, 0]).await;
    slow.is_closed().await;
    // Single bytes do not extend the deadline.
    let mut dripping = Peer::data(&server).await;
    dripping.send_bytes(&1000_i32.to_be_bytes()).await;
    let dripped = async {
        while dripping.socket.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(dripped).await;
    let mut walrus = WalrusPeer::connect(&server).await;
    walrus.socket.write_all(&[9, 0]).await.unwrap();
    assert_eq!(within(walrus.socket.read_to_end(&mut Vec::new())).await.unwrap(), 0);
    // A connection without a request has no deadline.
    let mut idle = Peer::data(&server).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(idle.offsets("well", 0).await.error_code, ErrorCode::None);
}

#[tokio::test]
async fn idle_connection_is_closed_after_its_timeout() {
    let mut limits = ServeLimits::default();
    limits.idle_timeout = Some(Duration::from_millis(200));
    let server = server(limits).await;
    let client = server.client();
    client.producer("well").start().await.unwrap().send("first").await.unwrap();
    // On a busy machine, the connection may time out before its first request; then the test retries.
    let (mut tailing, stream) = loop {
        let mut peer = Peer::data(&server).await;
        let id = peer.open("well", 0, 1000).await;
        if peer.frame().await.is_some() {
            break (peer, id);
        }
    };
    let mut watching = loop {
        let mut peer = Peer::controller(&server).await;
        peer.send(&WatchRequest::<TopicSpec>::default()).await;
        if peer.frame().await.is_some() {
            break peer;
        }
    };
    for mut idle in [Peer::data(&server).await, Peer::controller(&server).await] {
        idle.is_closed().await;
    }
    let mut walrus = WalrusPeer::connect(&server).await;
    assert_eq!(within(walrus.socket.read_to_end(&mut Vec::new())).await.unwrap(), 0);
    // These were idle for longer by now, but have a stream or a watch.
    let done = OffsetUpdate { offset: 1, stream_id: 1 };
    tailing.send(&UpdateOffsetsRequest { offsets: vec![done] }).await;
    client.producer("well").start().await.unwrap().send("second").await.unwrap();
    while tailing.frame().await.expect("the stream goes on").0 != stream {}
    topic(&server, "new", 1).await;
    assert!(watching.frame().await.is_some(), "the watch goes on");
}

#[tokio::test]
async fn client_that_never_reads_blocks_only_itself() {
    let mut limits = ServeLimits::default();
    limits.unread_bytes = 64 << 10;
    limits.in_flight_bytes = 64 << 10;
    let server = server(limits).await;
    let mut peer = Peer::data(&server).await;
    let value = "x".repeat(100_000);
    for _ in 0..20 {
        peer.produce("well", &[batch(&[&value])]).await;
    }
    // Each of a hundred streams has 2 MB to send, and the client does not read.
    let mut deaf = Peer::data(&server).await;
    for _ in 0..100 {
        deaf.open("well", 0, i32::MAX).await;
    }
    // The client pipelines requests and reads no response, until the server stops reading.
    let mut stuffed = Peer::data(&server).await;
    let request = FetchOffsetsRequest {
        topics: vec![floe_wire::fluvio::FetchOffsetsTopic {
            name: "well".to_owned(),
            partitions: vec![0; 2000],
        }],
        consumer_id: None,
    };
    let mut taken = 0;
    while taken < 128 << 20 {
        // A server without backpressure never stalls, so the timeout only ends the loop.
        let sending = stuffed.send(&request);
        if tokio::time::timeout(Duration::from_secs(2), sending).await.is_err() {
            break;
        }
        taken += 8000;
    }
    assert!(taken < 128 << 20, "the server takes requests without end");
    is_well(&server).await;
    let reply = peer.produce("well", &[batch(&["after"])]).await;
    assert_eq!(reply.base_offset, 20);
}

#[tokio::test]
async fn request_above_the_in_flight_limit_is_served_alone() {
    let mut limits = ServeLimits::default();
    limits.in_flight_bytes = 1000;
    let server = server(limits).await;
    let mut peer = Peer::data(&server).await;
    let large = batch(&[&"x".repeat(50_000)]);
    let mut sent = Vec::new();
    for _ in 0..10 {
        let request = produce("well", &[(0, RecordSet::from_batches(std::slice::from_ref(&large)))]);
        sent.push(peer.send(&request).await);
    }
    for (offset, id) in (0..).zip(sent) {
        let reply = peer.reply::<ProduceRequest>(id).await;
        assert_eq!(reply.topics[0].partitions[0].base_offset, offset);
    }
}

#[tokio::test]
async fn truncated_frame_ends_the_connection() {
    let server = server(ServeLimits::default()).await;
    for half in [&[0][..], &[0, 0, 0, 100], &[0, 0, 0, 100, 0, 3, 0]] {
        for mut peer in [Peer::data(&server).await, Peer::controller(&server).await] {
            peer.send_bytes(half).await;
            peer.socket.shutdown().await.unwrap();
            peer.is_closed().await;
        }
        let mut walrus = WalrusPeer::connect(&server).await;
        walrus.socket.write_all(half).await.unwrap();
        walrus.socket.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // A length that is too large is reported before the end.
        let _ = within(walrus.socket.read_to_end(&mut answer)).await;
    }
    is_well(&server).await;
}

#[tokio::test]
async fn connections_above_the_limit_are_closed() {
    let mut limits = ServeLimits::default();
    limits.connections = 2;
    let server = server(limits).await;
    let mut first = Peer::data(&server).await;
    assert_eq!(first.offsets("well", 0).await.error_code, ErrorCode::None);
    let mut second = Peer::controller(&server).await;
    let mut third = Peer::data(&server).await;
    third.is_closed().await;
    second.send_bytes(&[0xff; 8]).await;
    second.is_closed().await;
    // The second connection's slot is free once its task has ended.
    let taken = async {
        loop {
            let mut peer = Peer::data(&server).await;
            peer.send(&FetchOffsetsRequest::of_partition("well", 0)).await;
            if peer.frame().await.is_some() {
                return;
            }
        }
    };
    within(taken).await;
}

/// Sends bytes, closes the sending half, and reads until the server closes the connection.
async fn throw(address: std::net::SocketAddr, bytes: &[u8]) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // The server may close the connection before it has read all bytes.
    let _ = socket.write_all(bytes).await;
    let _ = socket.shutdown().await;
    let mut sink = vec![0; 4096];
    let reading = async { while socket.read_exact(&mut sink).await.is_ok() {} };
    within(reading).await;
}

/// Generates bytes that pass the first checks: whole frames with plausible headers.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let keys = prop::sample::select(vec![0_u16, 1, 18, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 2000]);
    let labels =
        prop::sample::select(vec!["Topic", "Partition", "SPU", "CustomSpu", "SmartModule", "Mirror"]);
    let frame = (keys, -2_i16..30, labels, any::<bool>(), prop::collection::vec(any::<u8>(), 0..60))
        .prop_map(|(key, version, label, labelled, rest)| {
            let mut body =
                [&key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 1, 0, 1, b'x']].concat();
            if labelled {
                body.extend((label.len() as u16).to_be_bytes());
                body.extend(label.as_bytes());
                body.extend((rest.len() as u32).to_be_bytes());
            }
            body.extend(rest);
            [&(body.len() as u32).to_be_bytes()[..], &body].concat()
        });
    prop::collection::vec(frame, 1..4).prop_map(|frames| frames.concat())
}

fn walrus_like() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "REGISTER ",
        "PUT well ",
        "GET well",
        "STATE well",
        "METRICS",
        "BATCH_PUT well 2 ",
        "BATCH_GET well ",
        "",
    ]);
    let frame = (words, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(word, rest)| {
        let body = [word.as_bytes(), &rest].concat();
        [&(body.len() as u32).to_le_bytes()[..], &body].concat()
    });
    prop::collection::vec(frame, 1..6).prop_map(|frames| frames.concat())
}

#[test]
fn arbitrary_bytes_do_no_harm() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(server(ServeLimits::default()));
    let addresses = server.addresses();
    let fluvio = prop_oneof![prop::collection::vec(any::<u8>(), 0..200), plausible()];
    let walrus = prop_oneof![prop::collection::vec(any::<u8>(), 0..200), walrus_like()];
    let config = ProptestConfig { failure_persistence: None, cases: 100, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&(fluvio, walrus), |(fluvio, walrus)| {
            runtime.block_on(async {
                throw(addresses.fluvio_spu.unwrap(), &fluvio).await;
                throw(addresses.fluvio_sc.unwrap(), &fluvio).await;
                throw(addresses.walrus.unwrap(), &walrus).await;
                is_well(&server).await;
            });
            Ok(())
        })
        .unwrap();
}
