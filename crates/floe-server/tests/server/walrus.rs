//! The Walrus front-end, by raw frames.

use floe_server::testkit::TestServer;
use floe_wire::{
    batch::{BatchBuilder, FinishOptions},
    walrus::{MAX_FRAME_LEN, pack_into},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::peer::{Peer, WalrusPeer, batch, numbered, records, topic, within};

#[tokio::test]
async fn the_commands() {
    let server = TestServer::start().await.unwrap();
    let mut peer = WalrusPeer::connect(&server).await;
    for (request, answer) in [
        ("GET t", "ERR unknown topic t"),
        ("PUT t x", "ERR unknown topic t"),
        ("STATE t", "ERR unknown topic t"),
        ("REGISTER t", "OK"),
        ("REGISTER t", "OK"),
        ("GET t", "EMPTY"),
        ("PUT t   two  words \n", "OK"),
        ("PUT t three\nlines\nhere", "OK"),
        ("PUT t", "ERR PUT requires a payload"),
        ("PUT t    ", "ERR PUT requires a payload"),
        ("REGISTER", "ERR REGISTER requires a topic"),
        ("FLY t", "ERR unknown command"),
        ("GET t", "OK   two  words"),
        ("GET t", "OK three\nlines\nhere"),
        ("GET t", "EMPTY"),
    ] {
        assert_eq!(peer.ask(request).await, answer, "{request:?}");
    }
    assert_eq!(peer.ask(b"GET \xff").await, "ERR invalid utf-8");
    assert!(peer.ask("REGISTER Bad_Name").await.starts_with("ERR "));
    assert!(peer.ask("REGISTER consumer-offset").await.starts_with("ERR "));
    let state: serde_json::Value = serde_json::from_str(&peer.ask("STATE t").await).unwrap();
    assert_eq!((&state["leader_node"], &state["current_segment"]), (&1.into(), &1.into()));
    assert!(state["sealed_segments"].is_object() && state["segment_leaders"]["1"] == 1);
    let metrics = peer.ask("METRICS").await;
    assert!(metrics.contains('\n'), "pretty-printed, as on a node");
    let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
    assert_eq!((&metrics["id"], &metrics["current_leader"]), (&1.into(), &1.into()));
    assert_eq!(metrics["state"], "Leader");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = TestServer::start().await.unwrap();
    let mut peer = WalrusPeer::connect(&server).await;
    peer.send("REGISTER t").await;
    for number in 0..100 {
        peer.send(format!("PUT t {number}")).await;
    }
    for _ in 0..101 {
        assert_eq!(peer.answer().await, "OK");
    }
    for number in 0..100 {
        assert_eq!(peer.ask("GET t").await, format!("OK {number}"));
    }
}

#[tokio::test]
async fn all_readers_share_one_cursor_and_it_outlives_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::at(folder.path()).await.unwrap();
    let (mut one, mut two) = (WalrusPeer::connect(&server).await, WalrusPeer::connect(&server).await);
    one.ask("REGISTER t").await;
    for number in 0..6 {
        assert_eq!(one.ask(format!("PUT t {number}")).await, "OK");
    }
    assert_eq!(one.ask("GET t").await, "OK 0");
    assert_eq!(two.ask("GET t").await, "OK 1");
    assert_eq!(one.ask("GET t").await, "OK 2");
    server.stop().await.unwrap();
    let server = TestServer::at(folder.path()).await.unwrap();
    let mut peer = WalrusPeer::connect(&server).await;
    assert_eq!(peer.ask("GET t").await, "OK 3");
    assert_eq!(peer.ask("BATCH_GET t 10 1000").await, "OK 2 1 4 1 5");
    assert_eq!(peer.ask("GET t").await, "EMPTY");
}

#[tokio::test]
async fn recreated_topic_is_read_from_its_beginning() {
    let server = TestServer::start().await.unwrap();
    let mut peer = WalrusPeer::connect(&server).await;
    for round in 0..2 {
        peer.ask("REGISTER t").await;
        peer.ask(format!("PUT t {round}")).await;
        assert_eq!(peer.ask("GET t").await, format!("OK {round}"));
        server.client().admin().delete_topic("t").await.unwrap();
        // The catalog learns of the deletion from the engine's watch, with a delay.
        let gone = async { while peer.ask("STATE t").await != "ERR unknown topic t" {} };
        within(gone).await;
    }
}

#[tokio::test]
async fn batches_of_entries() {
    let server = TestServer::start().await.unwrap();
    let mut peer = WalrusPeer::connect(&server).await;
    peer.ask("REGISTER t").await;
    assert_eq!(
        peer.ask("BATCH_GET").await,
        "ERR BATCH_GET requires a topic",
        "how the extension is found out"
    );
    assert_eq!(peer.ask("BATCH_PUT t 3 1 a 0  3 b c").await, "OK 3");
    assert_eq!(peer.ask("BATCH_GET t 2 1000").await, "OK 2 1 a 0 ");
    assert_eq!(peer.ask("BATCH_GET t 2 1000").await, "OK 1 3 b c");
    assert_eq!(peer.ask("BATCH_GET t 2 1000").await, "EMPTY");
    assert!(peer.ask("BATCH_PUT t 2 1 a").await.starts_with("ERR BATCH_PUT"));
    // `BATCH_PUT` may exceed the limit of other commands, and `BATCH_GET` returns at least one entry, whatever its
    // size.
    let long = "x".repeat(MAX_FRAME_LEN);
    assert_eq!(peer.ask(format!("BATCH_PUT t 2 {0} {long} {0} {long}", long.len())).await, "OK 2");
    assert_eq!(peer.ask("BATCH_GET t 5 100").await, format!("OK 1 {} {long}", long.len()));
    assert_eq!(peer.ask("GET t").await, format!("OK {long}"));
}

#[tokio::test]
async fn oversize_request_is_refused_at_its_length() {
    let server = TestServer::start().await.unwrap();
    for length in [0, u32::MAX, 65_537, 5 << 20] {
        let mut peer = WalrusPeer::connect(&server).await;
        peer.socket.write_all(&length.to_le_bytes()).await.unwrap();
        if length == 65_537 {
            // A length above the limit could still belong to a batch.
            peer.socket.write_all(b"PUT t x").await.unwrap();
        }
        assert_eq!(peer.answer().await, "ERR invalid frame length", "{length}");
        let mut rest = Vec::new();
        assert_eq!(within(peer.socket.read_to_end(&mut rest)).await.unwrap(), 0, "out of step, so closed");
    }
    let mut peer = WalrusPeer::connect(&server).await;
    peer.ask("REGISTER t").await;
    let longest = "x".repeat(MAX_FRAME_LEN - "PUT t ".len());
    assert_eq!(peer.ask(format!("PUT t {longest}")).await, "OK");
    assert_eq!(peer.ask("GET t").await, format!("OK {longest}"));
}

#[tokio::test]
async fn walrus_and_fluvio_share_their_topics() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let (mut walrus, mut fluvio) = (WalrusPeer::connect(&server).await, Peer::data(&server).await);
    assert_eq!(walrus.ask("PUT t from walrus").await, "OK");
    let written = fluvio.produce("t", &[batch(&["from", "fluvio"])]).await;
    assert_eq!(written.base_offset, 1);
    let id = fluvio.open("t", 0, 1_000_000).await;
    let seen = records(&fluvio.pushed(id).await.partition.records);
    assert_eq!(seen, numbered(0, &["from walrus", "from", "fluvio"]));
    for expected in ["OK from walrus", "OK from", "OK fluvio", "EMPTY"] {
        assert_eq!(walrus.ask("GET t").await, expected, "a batch comes record by record");
    }
}

#[tokio::test]
async fn packed_entry_is_records_for_fluvio_and_an_entry_for_walrus() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let mut builder = BatchBuilder::new(256);
    builder.append(1_700_000_000_000, Some(b"key"), b"one", &[("name", b"\xff")]).unwrap();
    builder.append(1_700_000_000_001, None, b"two", &[]).unwrap();
    let packed = builder.finish(FinishOptions::default()).unwrap();
    let mut entry = bytes::BytesMut::from("PUT t ");
    pack_into(&mut entry, &packed);
    let (mut walrus, mut fluvio) = (WalrusPeer::connect(&server).await, Peer::data(&server).await);
    assert_eq!(walrus.ask("PUT t before").await, "OK");
    assert_eq!(walrus.ask(&entry).await, "OK");
    assert_eq!(walrus.ask("PUT t floe1:not a batch").await, "OK", "text like any other");
    let id = fluvio.open("t", 0, 1_000_000).await;
    let seen = records(&fluvio.pushed(id).await.partition.records);
    assert_eq!(seen, numbered(0, &["before", "one", "two", "floe1:not a batch"]));
    assert_eq!(walrus.ask("GET t").await, "OK before");
    assert_eq!(walrus.ask("GET t").await.as_bytes(), [b"OK ", &entry["PUT t ".len()..]].concat());
    assert_eq!(walrus.ask("GET t").await, "OK floe1:not a batch");
    // A packed batch with a wrong checksum is not stored.
    let mut bytes = packed.to_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let damaged = floe_wire::batch::EncodedBatch::parse(bytes.into()).unwrap();
    let mut entry = bytes::BytesMut::from("PUT t ");
    pack_into(&mut entry, &damaged);
    assert!(walrus.ask(&entry).await.starts_with("ERR "));
    assert_eq!(fluvio.offsets("t", 0).await.last_stable_offset, 4);
}

#[tokio::test]
async fn unreadable_records_are_skipped() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let (mut walrus, mut fluvio) = (WalrusPeer::connect(&server).await, Peer::data(&server).await);
    // The checksum is right, but the header counts more records than there are.
    let mut bytes = batch(&["x"]).to_bytes().to_vec();
    bytes[57..61].copy_from_slice(&9_u32.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    let unreadable = floe_wire::batch::EncodedBatch::parse(bytes.into()).unwrap();
    for batch in [batch(&["before"]), unreadable, batch(&["after"])] {
        fluvio.produce("t", &[batch]).await;
    }
    assert_eq!(walrus.ask("GET t").await, "OK before");
    assert_eq!(walrus.ask("GET t").await, "OK after");
    assert_eq!(walrus.ask("GET t").await, "EMPTY");
    assert_eq!(walrus.ask("PUT t later").await, "OK");
    assert_eq!(walrus.ask("BATCH_GET t 9 999").await, "OK 1 5 later");
}

#[tokio::test]
async fn partitions_are_written_and_read_in_turn() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 3).await;
    let mut peer = WalrusPeer::connect(&server).await;
    for number in 0..9 {
        assert_eq!(peer.ask(format!("PUT t {number}")).await, "OK");
    }
    for partition in 0..3 {
        let marks = server.client().engine().watermarks(floe::Topic::from("t").partition(partition)).await;
        assert_eq!(marks.unwrap().high, 3);
    }
    let mut seen = Vec::new();
    for _ in 0..9 {
        seen.push(peer.ask("GET t").await);
    }
    seen.sort();
    assert_eq!(seen, (0..9).map(|number| format!("OK {number}")).collect::<Vec<_>>());
    assert_eq!(peer.ask("GET t").await, "EMPTY");
}

/// Returns how many files below the folder this process holds open although they are deleted.
#[cfg(target_os = "linux")]
fn deleted_open_files(folder: &std::path::Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter(|path| path.starts_with(folder) && path.to_string_lossy().ends_with(" (deleted)")).count()
}

/// A read position kept the files of its topic for as long as the server ran.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_deleted_topic_that_was_read_gives_its_space_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::at(folder.path()).await.unwrap();
    let mut peer = WalrusPeer::connect(&server).await;
    for number in 0..20 {
        assert_eq!(peer.ask(format!("REGISTER t{number}")).await, "OK");
        assert_eq!(peer.ask(format!("PUT t{number} x")).await, "OK");
        assert_eq!(peer.ask(format!("GET t{number}")).await, "OK x");
    }
    for number in 0..20 {
        server.client().admin().delete_topic(format!("t{number}")).await.unwrap();
    }
    // The server learns of the deletions by its watch.
    let root = folder.path().canonicalize().unwrap();
    within(async {
        while deleted_open_files(&root) > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(peer.ask("GET t0").await, "ERR unknown topic t0");
    assert_eq!(peer.ask("REGISTER t0").await, "OK");
    assert_eq!(peer.ask("PUT t0 y").await, "OK");
    assert_eq!(peer.ask("GET t0").await, "OK y", "the topic of the same name is read from its start");
    server.stop().await.unwrap();
}
