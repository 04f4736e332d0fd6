//! The read journal: entries consumed from the cluster survive a crash of the consumer.

mod walrus;

use std::path::Path;

use floe::{
    Client, ErrorKind,
    consumer::{CommitPolicy, StartAt},
    engine::Engine,
};
use floe_testkit::walrus::Cluster;
use walrus::{numbered, try_client};

async fn journaled(cluster: &Cluster, folder: &Path) -> (Client, std::sync::Arc<floe::engine::WalrusEngine>) {
    try_client(cluster, &format!("journal={}", folder.join("journal").display())).await.unwrap()
}

/// Reads and finishes some records, then drops the client without closing it.
async fn read_and_die(client: Client, count: usize, finish: usize) -> Vec<String> {
    let mut consumer = client
        .consumer("orders")
        .group("billing")
        .from(StartAt::StoredOrBeginning)
        .commit(CommitPolicy::Manual)
        .start()
        .await
        .unwrap();
    let mut values = Vec::new();
    for number in 0..count {
        let message = consumer.try_next().await.unwrap().unwrap();
        values.push(String::from_utf8(message.value.to_vec()).unwrap());
        if number + 1 == finish {
            consumer.commit().await.unwrap();
        }
    }
    values
}

#[tokio::test]
async fn uncommitted_records_are_redelivered_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::with_topic(1, "orders");
    let values = numbered("value", 0..20);
    for value in &values {
        cluster.put("orders", value);
    }
    let (client, engine) = journaled(&cluster, folder.path()).await;
    let read = read_and_die(client, 12, 5).await;
    assert_eq!(read, values[..12]);
    drop(engine);

    // The server no longer has the records read; the journal has.
    assert!(cluster.unread("orders") <= 8);
    let (client, engine) = reopened(&cluster, folder.path()).await;
    let again = read_and_die(client, 15, 10).await;
    assert_eq!(again, values[5..], "everything after the five that were finished");
    drop(engine);
    cluster.put("orders", "news");
    let (client, _engine) = reopened(&cluster, folder.path()).await;
    let rest = read_and_die(client, 6, 0).await;
    assert_eq!(rest, [&values[15..], &["news".to_owned()]].concat());
}

/// Opens the journal again, once the first client has released it.
async fn reopened(cluster: &Cluster, folder: &Path) -> (Client, std::sync::Arc<floe::engine::WalrusEngine>) {
    for _ in 0..6000 {
        match try_client(cluster, &format!("journal={}", folder.join("journal").display())).await {
            Ok(client) => return client,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StoreInUse, "{error}");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
    panic!("the journal stays in use");
}

#[tokio::test]
async fn duplicates_are_dropped_before_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::with_topic(1, "orders");
    let (client, engine) = journaled(&cluster, folder.path()).await;
    let producer = client.producer("orders").start().await.unwrap();
    cluster.faults("PUT", [floe_testkit::walrus::Fault::Pass, floe_testkit::walrus::Fault::LoseReply]);
    for value in ["a", "b", "c"] {
        producer.send(value).await.unwrap();
    }
    assert_eq!(cluster.entries("orders").len(), 4);
    let mut consumer = client.consumer("orders").from(StartAt::Beginning).start().await.unwrap();
    let mut found = Vec::new();
    for _ in 0..3 {
        let message = consumer.try_next().await.unwrap().unwrap();
        found.push((message.offset, String::from_utf8(message.value.to_vec()).unwrap()));
    }
    assert_eq!(found, [(0, "a".to_owned()), (1, "b".to_owned()), (2, "c".to_owned())]);
    assert_eq!(engine.stats().duplicate_batches, 1);
    let marks = client.admin().watermarks(floe::Topic::from("orders").partition(0)).await.unwrap();
    assert_eq!((marks.start, marks.high), (0, 3), "the journal's watermarks");
    client.close().await.unwrap();
}

#[tokio::test]
async fn journal_adds_capabilities() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::with_topic(1, "orders");
    let (client, engine) = journaled(&cluster, folder.path()).await;
    let capabilities = engine.info().capabilities;
    assert!(capabilities.offsets && capabilities.commit_offsets && capabilities.consuming_reads);
    let error = client.consumer("other").from(StartAt::Beginning).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicNotFound);
    let again = try_client(&cluster, &format!("journal={}", folder.path().join("journal").display())).await;
    assert_eq!(again.err().unwrap().kind(), ErrorKind::StoreInUse);
    client.close().await.unwrap();
    reopened(&cluster, folder.path()).await.0.close().await.unwrap();
}
