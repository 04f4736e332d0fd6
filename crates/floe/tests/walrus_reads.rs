//! Reading from a Walrus cluster with faults: surviving entries arrive, lost ones are counted.

mod walrus;

use std::time::Duration;

use floe::{ErrorKind, consumer::StartAt};
use floe_testkit::walrus::{Cluster, Fault, Mode};
use walrus::{client, consumer, numbered, read, try_client};

/// Returns the numbers of the values `value-N`.
fn numbers(values: &[String]) -> Vec<usize> {
    values.iter().map(|value| value.strip_prefix("value-").unwrap().parse().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn node_restarts_lose_only_reads_in_flight() {
    let cluster = Cluster::with_topic(3, "orders");
    let (client, engine) = try_client(&cluster, "prefetch=4").await.unwrap();
    let producer = client.producer("orders").start().await.unwrap();
    let values = numbered("value", 0..400);
    for value in &values {
        producer.send(value.clone()).await.unwrap();
    }
    // Little prefetch, so that faults hit reads.
    let mut consumer =
        client.consumer("orders").from(StartAt::Beginning).prefetch_records(5).start().await.unwrap();
    let mut found = Vec::new();
    for round in 0..1000 {
        // No record within a minute: the rest was lost.
        let Ok(next) = tokio::time::timeout(Duration::from_secs(60), consumer.try_next()).await else {
            break;
        };
        found.push(String::from_utf8(next.unwrap().unwrap().value.to_vec()).unwrap());
        if round % 20 == 7 {
            cluster.faults("GET", [Fault::Pass, Fault::LoseReply]);
            cluster.restart(1 + round / 20 % 3);
        }
        if round % 100 == 50 {
            for node in 1..=3 {
                cluster.set(node, Mode::Down);
            }
            let up = cluster.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(700)).await;
                for node in 1..=3 {
                    up.set(node, Mode::Up);
                }
            });
        }
    }
    let found = numbers(&found);
    assert!(found.is_sorted_by(|a, b| a < b), "in order, each once");
    assert_eq!(cluster.unread("orders"), 0, "all entries were consumed");
    let stats = engine.stats();
    let lost = values.len() - found.len();
    assert!(lost > 0, "the faults lost no entry");
    assert!(stats.unanswered_reads >= lost as u64, "{lost} lost, {stats:?}");
    // Sequence numbers reveal every gap before the last record.
    let inner = found.last().unwrap() + 1 - found.len();
    assert_eq!(stats.missing_records, inner as u64, "{stats:?}");
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn refusals_among_pipelined_reads_lose_nothing() {
    for options in ["framing=packed", "framing=plain"] {
        let cluster = Cluster::with_topic(2, "orders");
        let client = client(&cluster, options).await;
        let values = numbered("value", 0..200);
        for value in &values {
            cluster.put("orders", value);
        }
        let faults = (0..120).map(|get| match get % 10 {
            3 => Fault::Refuse("NotLeaderForPartition: t_orders_s_1"),
            6 | 7 => Fault::Refuse("forward read failed: timed out"),
            _ => Fault::Pass,
        });
        cluster.faults("GET", faults);
        let mut consumer = consumer(&client, "orders").await;
        assert_eq!(read(&mut consumer, values.len()).await, values, "{options}");
        client.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn node_that_stops_answering_reads_is_replaced() {
    let cluster = Cluster::with_topic(2, "orders");
    let (client, engine) = try_client(&cluster, "request-timeout=2s&prefetch=1").await.unwrap();
    for value in numbered("value", 0..3) {
        cluster.put("orders", &value);
    }
    let mut consumer = consumer(&client, "orders").await;
    assert_eq!(read(&mut consumer, 3).await, numbered("value", 0..3));
    // The read that consumes the next entry gets no reply.
    cluster.faults("GET", [Fault::Stall]);
    for value in numbered("value", 3..10) {
        cluster.put("orders", &value);
    }
    let rest = tokio::time::timeout(Duration::from_secs(10), read(&mut consumer, 6)).await.unwrap();
    assert_eq!(rest, numbered("value", 4..10));
    assert_eq!(engine.stats().unanswered_reads, 1);
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn entries_larger_than_a_request_are_read() {
    let cluster = Cluster::with_topic(1, "orders");
    let client = client(&cluster, "").await;
    // Replies may exceed the size limit of requests.
    cluster.put("orders", &"x".repeat(70_000));
    cluster.put("orders", "after");
    let mut consumer = consumer(&client, "orders").await;
    assert_eq!(read(&mut consumer, 2).await, ["x".repeat(70_000), "after".to_owned()]);
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unknown_topic_fails_at_once() {
    let cluster = Cluster::with_topic(3, "orders");
    let client = client(&cluster, "").await;
    let error = client.consumer("unheard").from(StartAt::Beginning).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicNotFound);
    client.close().await.unwrap();
}
