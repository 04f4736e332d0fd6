//! The Walrus engine on a cluster with faults.

mod walrus;

use std::{collections::BTreeSet, time::Duration};

use floe::{
    Client, Effect, ErrorKind, RetryPolicy,
    engine::{Acks, AppendEpoch, AppendRequest, Engine, ReadRequest, Start},
};
use floe_testkit::walrus::{Cluster, Fault, Mode};
use floe_wire::{
    batch::{BatchBuilder, FinishOptions},
    walrus::EntryContent,
};
use tokio::time::Instant;
use walrus::{client, consumer, numbered, read, try_client};

/// Returns the values of all appended entries, duplicates included.
fn stored(cluster: &Cluster, topic: &str) -> Vec<String> {
    let mut values = Vec::new();
    for entry in cluster.entries(topic) {
        match EntryContent::parse(entry.into()) {
            EntryContent::Text(text) => values.push(String::from_utf8(text.to_vec()).unwrap()),
            EntryContent::Batch(batch) => values.extend(
                batch.records().unwrap().map(|one| String::from_utf8(one.unwrap().value.to_vec()).unwrap()),
            ),
        }
    }
    values
}

/// Reads through a consumer, which drops duplicates.
async fn read_all(client: &Client, topic: &str, count: usize) -> Vec<String> {
    let mut consumer = consumer(client, topic).await;
    let values = read(&mut consumer, count).await;
    let more = tokio::time::timeout(Duration::from_secs(5), consumer.try_next()).await;
    assert!(more.is_err(), "more records than were written: {more:?}");
    values
}

#[tokio::test(start_paused = true)]
async fn lost_reply_loses_nothing_and_readers_drop_the_duplicate() {
    let cluster = Cluster::with_topic(3, "orders");
    let (client, engine) = try_client(&cluster, "").await.unwrap();
    let producer = client.producer("orders").start().await.unwrap();
    cluster.faults("PUT", [Fault::Pass, Fault::LoseReply, Fault::Pass, Fault::LoseReply, Fault::Break]);
    let values = numbered("value", 0..6);
    for value in &values {
        producer.send(value.clone()).await.unwrap();
    }
    assert_eq!(cluster.entries("orders").len(), 8, "two were appended twice");
    assert_eq!(read_all(&client, "orders", 6).await, values);
    assert_eq!(engine.stats().duplicate_batches, 2);
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nodes_killed_and_restarted_under_load_lose_no_write() {
    let cluster = Cluster::with_topic(3, "orders");
    let client = client(&cluster, "").await;
    let producer = client.producer("orders").linger(Duration::from_millis(1)).start().await.unwrap();
    let values = numbered("value", 0..4000);
    let writer = {
        let (producer, values) = (producer.clone(), values.clone());
        tokio::spawn(async move {
            // Each send lingers for a millisecond, so that faults hit writes.
            for chunk in values.chunks(5) {
                producer.send_all(chunk.to_vec()).await.unwrap();
            }
        })
    };
    let mut rounds = 0;
    // The test takes a few seconds, and the producer retries for thirty: its backoff is random, and the cluster is down
    // for most of the time.
    for round in 1..=60 {
        if writer.is_finished() {
            break;
        }
        rounds = round;
        cluster.faults("PUT", [Fault::Pass, Fault::LoseReply]);
        cluster.restart(1 + round % 3);
        if round % 5 == 0 {
            // All nodes at once.
            for node in 1..=3 {
                cluster.set(node, Mode::Down);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            for node in 1..=3 {
                cluster.set(node, Mode::Up);
            }
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    writer.await.unwrap();
    assert!(rounds > 5, "the cluster was disturbed only {rounds} times");
    assert!(stored(&cluster, "orders").len() > values.len(), "some were appended twice");
    assert_eq!(read_all(&client, "orders", values.len()).await, values);
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reading_goes_on_after_restarts_and_says_what_went_missing() {
    let cluster = Cluster::with_topic(3, "orders");
    let (client, engine) = try_client(&cluster, "prefetch=1").await.unwrap();
    let producer = client.producer("orders").start().await.unwrap();
    let values = numbered("value", 0..30);
    for value in &values {
        producer.send(value.clone()).await.unwrap();
    }
    // The replies to the fourth and the ninth read are lost, and with them two entries.
    let faults = (0..9).map(|read| if read == 3 || read == 8 { Fault::LoseReply } else { Fault::Pass });
    cluster.faults("GET", faults);
    let mut consumer = consumer(&client, "orders").await;
    let found = read(&mut consumer, 28).await;
    let missing: Vec<_> = values.iter().filter(|value| !found.contains(value)).collect();
    assert_eq!(missing, ["value-3", "value-8"]);
    let stats = engine.stats();
    assert_eq!((stats.unanswered_reads, stats.missing_records), (2, 2));
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_the_server_passes_over_is_counted() {
    let cluster = Cluster::with_topic(1, "orders");
    let (client, engine) = try_client(&cluster, "prefetch=1").await.unwrap();
    let producer = client.producer("orders").start().await.unwrap();
    for value in numbered("value", 0..10) {
        producer.send(value).await.unwrap();
    }
    let request = ReadRequest::new(floe::Topic::from("orders").partition(0), Start::Earliest).max_bytes(1);
    let mut reader = engine.open(request).await.unwrap();
    let mut found = Vec::new();
    for round in 0..8 {
        if round == 3 {
            cluster.skip("orders", 2);
        }
        let batch = reader.next().await.unwrap().unwrap();
        let record = batch.records().unwrap().next().unwrap().unwrap();
        found.push(String::from_utf8(record.value.to_vec()).unwrap());
    }
    assert_eq!(found, [numbered("value", 0..3), numbered("value", 5..10)].concat());
    assert_eq!(engine.stats().missing_records, 2);
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_read_before_there_is_a_leader() {
    let cluster = Cluster::with_topic(1, "orders");
    cluster.put("orders", "kept");
    cluster.set_leader(None);
    let client = client(&cluster, "").await;
    let mut consumer = consumer(&client, "orders").await;
    let early = tokio::time::timeout(Duration::from_secs(20), consumer.try_next()).await;
    assert!(early.is_err());
    assert_eq!((cluster.received(1, "GET"), cluster.unread("orders")), (0, 1), "no read was sent");
    cluster.set_leader(Some(1));
    let found = tokio::time::timeout(Duration::from_secs(20), consumer.try_next()).await.unwrap();
    assert_eq!(found.unwrap().unwrap().value, "kept");
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn node_without_a_leader_is_replaced_by_another() {
    let cluster = Cluster::with_topic(2, "orders");
    let client = client(&cluster, "leader-wait=2s").await;
    client.health().await.unwrap();
    // The leader of the topic, which readers prefer.
    cluster.hide_leader_from(1);
    client.health().await.unwrap();
    cluster.put("orders", "kept");
    let mut consumer = consumer(&client, "orders").await;
    let found = tokio::time::timeout(Duration::from_secs(10), consumer.try_next()).await.unwrap();
    assert_eq!(found.unwrap().unwrap().value, "kept");
    assert_eq!((cluster.received(1, "GET"), cluster.received(2, "GET") > 0), (0, true));
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unresponsive_node_is_replaced_by_another() {
    let cluster = Cluster::with_topic(3, "orders");
    let started = Instant::now();
    cluster.set(1, Mode::Silent);
    let client = client(&cluster, "connect-timeout=2s&request-timeout=4s").await;
    assert_eq!(started.elapsed(), Duration::from_secs(2), "one handshake timed out");
    let producer = client.producer("orders").start().await.unwrap();
    for value in numbered("value", 0..5) {
        producer.send(value).await.unwrap();
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    // A node that stops replying on open connections.
    cluster.faults("PUT", [Fault::Stall]);
    producer.send("value-5").await.unwrap();
    assert_eq!(read_all(&client, "orders", 6).await, numbered("value", 0..6));
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unresponsive_cluster_times_out() {
    let cluster = Cluster::new(2);
    cluster.set(1, Mode::Silent);
    cluster.set(2, Mode::Silent);
    let started = Instant::now();
    let error = try_client(&cluster, "connect-timeout=1s").await.err().unwrap();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::ConnectionTimeout, Effect::None));
    assert!(error.to_string().contains("no reply within 1s"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(3));
    cluster.set(1, Mode::Down);
    cluster.set(2, Mode::Down);
    let error = try_client(&cluster, "").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let named = |node: &str| error.message().contains(&format!("{node}:9091: "));
    assert!(named("n1") && named("n2"), "every address that was tried: {error}");
    assert_eq!((error.engine(), error.operation()), (Some("walrus"), Some("connect")));
}

#[tokio::test(start_paused = true)]
async fn replies_in_single_bytes_are_reassembled() {
    let cluster = Cluster::with_topic(2, "orders");
    for chunk in [1, 2, 3, 5] {
        cluster.set_chunk(chunk);
        let client = client(&cluster, "").await;
        let producer = client.producer("orders").start().await.unwrap();
        let values = numbered("value", 0..20);
        producer.send_all(values.clone()).await.unwrap();
        let mut consumer = consumer(&client, "orders").await;
        assert_eq!(read(&mut consumer, 20).await, values, "pieces of {chunk} bytes");
        client.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_in_the_middle_of_a_pipeline_keep_every_record() {
    let cluster = Cluster::with_topic(3, "logs");
    let client = client(&cluster, "framing=plain&window=16").await;
    let producer = client.producer("logs").linger(Duration::from_millis(5)).start().await.unwrap();
    let refusal = Fault::Refuse("NotLeaderForPartition: t_logs_s_1");
    let mut faults = vec![Fault::Pass; 7];
    faults.push(refusal.clone());
    faults.extend(vec![Fault::Pass; 20]);
    faults.extend([refusal.clone(), refusal]);
    cluster.faults("PUT", faults);
    let values = numbered("value", 0..100);
    producer.send_all(values.clone()).await.unwrap();
    let stored = stored(&cluster, "logs");
    assert_eq!(stored.len(), 100, "no duplicates");
    assert_eq!(stored.iter().collect::<BTreeSet<_>>(), values.iter().collect());
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn packed_batches_keep_their_order_through_refusals() {
    let cluster = Cluster::with_topic(3, "orders");
    let client = client(&cluster, "").await;
    let producer = client.producer("orders").batch_size(200).start().await.unwrap();
    let faults = (0..40).map(|put| match put % 4 {
        1 => Fault::Refuse("NotLeaderForPartition: t_orders_s_1"),
        3 => Fault::Refuse("forward append failed: connection reset"),
        _ => Fault::Pass,
    });
    cluster.faults("PUT", faults);
    let values = numbered("value", 0..200);
    producer.send_all(values.clone()).await.unwrap();
    assert_eq!(stored(&cluster, "orders"), values, "as the server has it");
    client.close().await.unwrap();
}

fn batch(value: &str) -> AppendRequest {
    let mut builder = BatchBuilder::new(64);
    builder.append(1, None, value.as_bytes(), &[]).unwrap();
    let target = floe::Topic::from("orders").partition(0);
    AppendRequest::new(target, builder.finish(FinishOptions::default()).unwrap(), Acks::Leader)
}

#[tokio::test(start_paused = true)]
async fn failure_ends_the_epoch_of_its_sender_and_no_other() {
    for options in ["", "window=8"] {
        let cluster = Cluster::with_topic(1, "orders");
        let (client, engine) = try_client(&cluster, options).await.unwrap();
        cluster.faults("PUT", [Fault::Pass, Fault::Refuse("NotLeaderForPartition: x")]);
        let (epoch, other) = (AppendEpoch::begin(), AppendEpoch::begin());
        let appends = ["a", "b", "c", "d", "e"].map(|value| engine.append(batch(value).epoch(&epoch)));
        let results = futures_util::future::join_all(appends).await;
        assert!(results[0].is_ok());
        let refused = results[1].as_ref().unwrap_err();
        assert_eq!((refused.kind(), refused.effect()), (ErrorKind::NotLeader, Effect::None));
        for result in &results[2..] {
            let error = result.as_ref().unwrap_err();
            assert!(
                error.is_retriable() && error.message().contains("an earlier append of this epoch failed"),
                "{error}"
            );
        }
        engine.append(batch("of another sender").epoch(&other)).await.unwrap();
        // Retries succeed.
        let epoch = AppendEpoch::begin();
        for value in ["b", "c", "d", "e"] {
            engine.append(batch(value).epoch(&epoch)).await.unwrap();
        }
        let stored = stored(&cluster, "orders");
        assert_eq!(stored[stored.len() - 5..], ["of another sender", "b", "c", "d", "e"]);
        client.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn restarted_node_with_stale_metadata_is_not_trusted() {
    let cluster = Cluster::with_topic(2, "orders");
    let client = client(&cluster, "").await;
    let producer = client.producer("orders").timeout(Duration::from_secs(3)).start().await.unwrap();
    let unknown = Fault::Refuse("unknown topic orders");
    cluster.faults("PUT", [unknown.clone(), unknown.clone()]);
    producer.send("a").await.unwrap();
    cluster.faults("GET", [unknown.clone()]);
    cluster.faults("STATE", [unknown.clone()]);
    assert_eq!(read_all(&client, "orders", 1).await, ["a"]);
    // If the error persists, the send fails at its deadline with the server's message.
    cluster.faults("PUT", std::iter::repeat_n(unknown.clone(), 1000));
    let error = producer.send("b").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestTimeout);
    assert!(
        format!("{error:?}").contains("not caught up with its cluster: unknown topic orders"),
        "{error:?}"
    );
    // A topic exists if one of two nodes knows it.
    let other = walrus::client(&cluster, "").await;
    cluster.faults("STATE", [unknown]);
    assert_eq!(other.admin().topic("orders").await.unwrap().partitions, 1);
    assert_eq!(other.admin().topic("unheard").await.unwrap_err().kind(), ErrorKind::TopicNotFound);
    client.close().await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn malformed_reply_closes_the_connection() {
    let cluster = Cluster::with_topic(1, "orders");
    let client = client(&cluster, "pool-min=0").await;
    let producer = client.producer("orders").retry(RetryPolicy::never()).start().await.unwrap();
    producer.send("a").await.unwrap();
    let before = cluster.accepted(1);
    cluster.faults("PUT", [Fault::Garbage]);
    let error = producer.send("b").await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::ProtocolError, Effect::Unknown));
    producer.send("c").await.unwrap();
    assert_eq!(cluster.accepted(1), before + 1, "a new connection");
    assert_eq!(stored(&cluster, "orders"), ["a", "c"]);
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn partly_stored_plain_batch_is_never_duplicated() {
    let cluster = Cluster::with_topic(1, "logs");
    let client = client(&cluster, "framing=plain&window=1").await;
    let producer = client.producer("logs").linger(Duration::from_millis(5)).start().await.unwrap();
    let refusal = Fault::Refuse("PUT requires a payload");
    cluster.faults("PUT", [Fault::Pass, Fault::Pass, refusal]);
    let error = producer.send_all(numbered("value", 0..5)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.effect(), error.is_retriable()),
        (ErrorKind::InvalidCommand, Effect::Unknown, false)
    );
    assert!(error.to_string().contains("2 of 5 records are stored"), "{error}");
    assert_eq!(stored(&cluster, "logs"), ["value-0", "value-1"]);
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn rollovers_under_load_lose_nothing() {
    let cluster = Cluster::with_topic(3, "orders");
    let client = client(&cluster, "").await;
    let producer = client.producer("orders").batch_size(500).start().await.unwrap();
    // The lease, and with it the leader, changes every few entries.
    let faults = (0..300).map(|put| match put % 9 {
        7 => Fault::Refuse("forward append failed: NotLeaderForPartition: t_orders_s_2"),
        8 => Fault::Refuse("raft propose timed out"),
        _ => Fault::Pass,
    });
    cluster.faults("PUT", faults);
    let values = numbered("value", 0..2000);
    for (round, chunk) in values.chunks(100).enumerate() {
        cluster.set_leader(Some(1 + round % 3));
        producer.send_all(chunk.to_vec()).await.unwrap();
    }
    assert_eq!(read_all(&client, "orders", 2000).await, values);
    client.close().await.unwrap();
}
