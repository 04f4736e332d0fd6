//! A full disk as clients see it: a clear error for the append that does not fit, no acknowledged record lost, and
//! normal operation once there is space.

use std::{io, sync::Arc, time::Duration};

use floe::{
    Client, Effect, Error, ErrorKind, RetryPolicy, TopicSpec,
    consumer::{Consumer, StartAt},
    engine::EmbeddedEngine,
    producer::Producer,
};
use floe_log::{
    Store, StoreConfig,
    disk::{Fault, FaultyDisk, MemoryDisk},
};
use floe_server::{ServeOptions, testkit::TestServer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Guards against a hanging test.
const LIMIT: Duration = Duration::from_secs(120);

/// Starts a server with topics on this disk.
async fn serve(disk: FaultyDisk) -> TestServer {
    let store = Store::open(StoreConfig::at("/").disk(Arc::new(disk))).unwrap();
    let engine = EmbeddedEngine::over(store, "test".to_owned());
    TestServer::over(Client::from_engine(Arc::new(engine)), ServeOptions::default()).await.unwrap()
}

/// Connects floe's own client to the server.
async fn client(server: &TestServer) -> Client {
    Client::connect(&format!("fluvio://{}", server.fluvio_address())).await.unwrap()
}

/// Starts a producer that reports every failure without a retry.
async fn impatient(client: &Client, topic: &str) -> Producer {
    let once = RetryPolicy::default().max_attempts(1);
    client.producer(topic).retry(once).start().await.unwrap()
}

/// Returns the values of a topic, with their offsets.
async fn all(client: &Client, topic: &str) -> Vec<(i64, String)> {
    let mut consumer = client.consumer(topic).from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    let mut found = Vec::new();
    while let Some(message) = within(consumer.try_next()).await.unwrap() {
        found.push((message.offset, text(&message.value)));
    }
    found
}

async fn next(consumer: &mut Consumer) -> String {
    text(&within(consumer.try_next()).await.unwrap().unwrap().value)
}

fn text(value: &[u8]) -> String {
    String::from_utf8(value.to_vec()).unwrap()
}

fn numbered(values: &[&str]) -> Vec<(i64, String)> {
    (0..).zip(values.iter().map(|value| (*value).to_owned())).collect()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("no answer in time")
}

/// Checks for Fluvio's "partition full": nothing was stored, and a retry may succeed.
fn is_full(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::StorageError, "{error}");
    assert!(error.to_string().contains("code 72"), "{error}");
    assert_eq!(error.effect(), Effect::None, "{error}");
    assert!(error.is_retriable(), "{error}");
}

#[tokio::test]
async fn full_disk_refuses_only_appends_that_do_not_fit() {
    let memory = MemoryDisk::new();
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    let server = serve(disk.clone()).await;
    let client = client(&server).await;
    for topic in ["full", "other"] {
        client.admin().create_topic(TopicSpec::new(topic)).await.unwrap();
    }
    let (full, other) = (impatient(&client, "full").await, impatient(&client, "other").await);
    full.send_all(["one", "two"]).await.unwrap();
    other.send("early").await.unwrap();
    let mut tail = client.consumer("full").from(StartAt::Beginning).start().await.unwrap();
    assert_eq!(next(&mut tail).await, "one");

    // The log's files are full, whether a write stores nothing or a part.
    for room in [0, 50] {
        disk.plan(Fault::Full(room), ".seg", 0, u64::MAX);
        for producer in [&full, &other] {
            is_full(&within(producer.send("does not fit")).await.unwrap_err());
        }
        // A waiting reader, new readers and metadata still work.
        if room == 0 {
            assert_eq!(next(&mut tail).await, "two");
        }
        assert_eq!(all(&client, "full").await, numbered(&["one", "two"]));
        assert_eq!(all(&client, "other").await, numbered(&["early"]));
        assert_eq!(client.admin().topics().await.unwrap().len(), 2);
        assert!(client.health().await.unwrap().ready);
        disk.heal();
    }

    // The same producers, reader and connections recover.
    assert_eq!(full.send("three").await.unwrap().offset, Some(2), "offsets have no hole");
    assert_eq!(other.send("late").await.unwrap().offset, Some(1));
    assert_eq!(next(&mut tail).await, "three");
    assert_eq!(all(&client, "full").await, numbered(&["one", "two", "three"]));
    server.stop().await.unwrap();

    // No partial write appears after a restart.
    let again = serve(FaultyDisk::new(Arc::new(memory))).await;
    let client = self::client(&again).await;
    assert_eq!(all(&client, "full").await, numbered(&["one", "two", "three"]));
    assert_eq!(all(&client, "other").await, numbered(&["early", "late"]));
    again.stop().await.unwrap();
}

#[tokio::test]
async fn retrying_producer_waits_for_space() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let server = serve(disk.clone()).await;
    let client = client(&server).await;
    client.admin().create_topic(TopicSpec::new("t")).await.unwrap();
    let policy = RetryPolicy::default().first_delay(Duration::from_millis(1));
    let producer = client.producer("t").retry(policy).timeout(LIMIT).start().await.unwrap();
    producer.send("first").await.unwrap();
    // The disk has space again after the third attempt.
    disk.plan(Fault::Full(20), ".seg", 0, 3);
    assert_eq!(within(producer.send("second")).await.unwrap().offset, Some(1));
    assert_eq!(producer.stats().retries, 3);
    assert_eq!(all(&client, "t").await, numbered(&["first", "second"]), "stored once");
    server.stop().await.unwrap();
}

/// A partial write that could not be undone makes the partition read-only until a restart.
#[tokio::test]
async fn failed_partition_is_readable_and_repaired_by_a_restart() {
    let memory = MemoryDisk::new();
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    let server = serve(disk.clone()).await;
    let client = client(&server).await;
    for topic in ["stopped", "other"] {
        client.admin().create_topic(TopicSpec::new(topic)).await.unwrap();
    }
    let (stopped, other) = (impatient(&client, "stopped").await, impatient(&client, "other").await);
    stopped.send("kept").await.unwrap();
    disk.plan(Fault::Full(70), ".seg", 0, 1);
    disk.plan(Fault::SetLen, ".seg", 0, 1);
    is_full(&stopped.send("does not fit").await.unwrap_err());
    let error = stopped.send("refused").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageError, "{error}");
    assert!(!error.is_retriable(), "{error}");
    assert_eq!(other.send("goes on").await.unwrap().offset, Some(0));
    assert_eq!(all(&client, "stopped").await, numbered(&["kept"]));
    server.stop().await.unwrap();

    let again = serve(FaultyDisk::new(Arc::new(memory))).await;
    let client = self::client(&again).await;
    let stopped = impatient(&client, "stopped").await;
    assert_eq!(stopped.send("after").await.unwrap().offset, Some(1));
    assert_eq!(all(&client, "stopped").await, numbered(&["kept", "after"]));
    assert_eq!(all(&client, "other").await, numbered(&["goes on"]));
    again.stop().await.unwrap();
}

/// No file can grow, the catalog included.
#[tokio::test]
async fn topics_and_offsets_on_a_full_disk_recover_once_there_is_space() {
    let memory = MemoryDisk::new();
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    let server = serve(disk.clone()).await;
    let client = client(&server).await;
    client.admin().create_topic(TopicSpec::new("t")).await.unwrap();
    let producer = impatient(&client, "t").await;
    producer.send("one").await.unwrap();

    for _ in 0..2 {
        disk.plan(Fault::Write(io::ErrorKind::StorageFull), "", 0, u64::MAX);
        disk.plan(Fault::Create(io::ErrorKind::StorageFull), "", 0, u64::MAX);
        let refusals = [
            within(client.admin().create_topic(TopicSpec::new("new"))).await.unwrap_err(),
            within(client.admin().add_partitions("t", 2)).await.unwrap_err(),
            within(client.admin().delete_topic("t")).await.unwrap_err(),
        ];
        for error in refusals {
            assert_eq!(error.kind(), ErrorKind::StorageError, "{error}");
            assert!(error.to_string().contains("no space left"), "{error}");
        }
        let put = walrus(&server, "REGISTER new").await;
        assert!(put.starts_with("ERR") && put.contains("no space left"), "{put}");
        is_full(&producer.send("does not fit").await.unwrap_err());
        assert_eq!(all(&client, "t").await, numbered(&["one"]));
        disk.heal();
    }

    client.admin().create_topic(TopicSpec::new("new")).await.unwrap();
    client.admin().add_partitions("t", 2).await.unwrap();
    assert_eq!(walrus(&server, "REGISTER walrus").await, "OK");
    assert_eq!(impatient(&client, "new").await.send("x").await.unwrap().offset, Some(0));
    assert_eq!(producer.send("two").await.unwrap().offset, Some(1));
    server.stop().await.unwrap();

    let again = serve(FaultyDisk::new(Arc::new(memory))).await;
    let client = self::client(&again).await;
    let topics = client.admin().topics().await.unwrap();
    let topics: Vec<_> = topics.iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect();
    assert_eq!(topics, [("new", 1), ("t", 2), ("walrus", 1)]);
    assert_eq!(all(&client, "new").await, numbered(&["x"]));
    again.stop().await.unwrap();
}

/// Returns the answer of the Walrus front-end.
async fn walrus(server: &TestServer, command: &str) -> String {
    let mut peer = TcpStream::connect(server.addresses().walrus.unwrap()).await.unwrap();
    let length = u32::try_from(command.len()).unwrap();
    peer.write_u32_le(length).await.unwrap();
    peer.write_all(command.as_bytes()).await.unwrap();
    let length = within(peer.read_u32_le()).await.unwrap();
    let mut answer = vec![0; usize::try_from(length).unwrap()];
    within(peer.read_exact(&mut answer)).await.unwrap();
    text(&answer)
}
