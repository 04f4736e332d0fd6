//! The journal of reads: what was taken from the cluster is not lost with the program that took it.

mod walrus;

use std::path::Path;

use floe::{
    Client, ErrorKind,
    consumer::{CommitPolicy, StartAt},
    engine::Engine,
};
use walrus::{numbered, server::Cluster, try_client};

async fn journaled(cluster: &Cluster, folder: &Path) -> (Client, std::sync::Arc<floe::engine::WalrusEngine>) {
    try_client(cluster, &format!("journal={}", folder.join("journal").display())).await.unwrap()
}

/// Reads and finishes some records, then dies without closing anything.
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
async fn what_was_not_finished_comes_again_after_a_crash() {
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

    // The server has forgotten at least what was read; the journal has not.
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

/// The first client may still be on its way out.
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
async fn repeats_are_dropped_before_the_journal_and_offsets_are_dense() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::with_topic(1, "orders");
    let (client, engine) = journaled(&cluster, folder.path()).await;
    let producer = client.producer("orders").start().await.unwrap();
    cluster.faults("PUT", [walrus::server::Fault::Pass, walrus::server::Fault::LoseAnswer]);
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
    assert_eq!(engine.stats().repeated_batches, 1);
    let marks = client.admin().watermarks(floe::Topic::from("orders").partition(0)).await.unwrap();
    assert_eq!((marks.start, marks.high), (0, 3), "what was taken");
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_journal_says_what_it_adds() {
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
