//! Replication: a lagging high watermark, a truncated log, requests that are applied late.

use std::time::Duration;

use floe::{Effect, ErrorKind, engine::Engine};
use floe_testkit::fluvio::{Cluster, Fault, TOPIC};

use super::{at, batch, client, connect, connect_with, request, stored};

const PRODUCE: u16 = 0;

fn replicated() -> Cluster {
    let cluster = Cluster::new(1);
    cluster.change(|state| state.followers = vec![2]);
    cluster
}

#[tokio::test(start_paused = true)]
async fn the_log_ends_above_the_high_watermark() {
    let cluster = replicated();
    let large = "x".repeat(300_000);
    for value in ["a", "b", &large, "c"] {
        cluster.append(0, batch(&[value, value]));
    }
    let engine = connect(&cluster).await;
    for high in [0, 2, 4, 8] {
        cluster.change(|state| state.high_watermark = Some(high));
        assert_eq!(engine.watermarks(at(0)).await.unwrap().high, high);
        assert_eq!(engine.log_end(at(0)).await.unwrap(), 8, "from {high}");
    }
    let alone = Cluster::new(1);
    let engine = connect(&alone).await;
    assert_eq!(engine.log_end(at(0)).await.unwrap(), 0);
    assert_eq!(engine.log_end(at(1)).await.unwrap_err().kind(), ErrorKind::PartitionNotFound);
}

/// A new leader has the batch, and its high watermark does not cover it yet.
#[tokio::test(start_paused = true)]
async fn batch_above_the_high_watermark_is_not_resent() {
    for cut in [0, 4, 20] {
        let cluster = replicated();
        cluster.append(0, batch(&["before"]));
        cluster.change(|state| {
            state.high_watermark = Some(1);
            state.faults.push_back((PRODUCE, Fault::CutAfter(cut)));
        });
        let engine = connect(&cluster).await;
        let producer = client(&engine).producer(TOPIC).start().await.unwrap();
        assert_eq!(producer.send("once").await.unwrap().offset, Some(1));
        assert_eq!(stored(&cluster, 0), ["before", "once"]);
    }
}

/// The log of a new leader ends before the acknowledged records of the old one.
#[tokio::test(start_paused = true)]
async fn batch_is_found_in_a_truncated_log() {
    let cluster = replicated();
    let engine = connect(&cluster).await;
    let producer = client(&engine).producer(TOPIC).start().await.unwrap();
    for value in ["a", "b", "c", "d"] {
        producer.send(value).await.unwrap();
    }
    cluster.change(|state| {
        state.partitions.get_mut(&0).unwrap().truncate(1);
        state.faults.push_back((PRODUCE, Fault::CutAfter(0)));
    });
    assert_eq!(producer.send("e").await.unwrap().offset, Some(1));
    assert_eq!(stored(&cluster, 0), ["a", "e"]);
}

/// The server applies the request after the client timed out and searched the log for it.
#[tokio::test(start_paused = true)]
async fn request_applied_after_the_tail_lookup_is_not_resent() {
    let cluster = Cluster::new(1);
    let engine = connect_with(&cluster, "?request-timeout=2s").await.unwrap();
    let producer = client(&engine).producer(TOPIC).start().await.unwrap();
    producer.send("before").await.unwrap();
    cluster.change(|state| state.delayed_produce = Some((1, None)));
    assert_eq!(producer.send("late").await.unwrap().offset, Some(1));
    assert!(cluster.state.lock().delayed_produce.is_none(), "the request was applied");
    assert_eq!(stored(&cluster, 0), ["before", "late"]);
    // A request that is never applied is retried after the second search.
    cluster.change(|state| state.delayed_produce = Some((usize::MAX, None)));
    let (placed, ()) = tokio::join!(producer.send("lost"), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
    });
    assert_eq!(placed.unwrap().offset, Some(2));
    assert_eq!(stored(&cluster, 0), ["before", "late", "lost"]);
}

#[tokio::test(start_paused = true)]
async fn timed_out_append_has_an_unknown_effect() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    cluster.change(|state| state.delayed_produce = Some((0, None)));
    let error = engine.append(request(0, "x")).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::RequestTimeout, Effect::Unknown));
    assert_eq!(engine.watermarks(at(0)).await.unwrap().high, 0);
    assert_eq!(stored(&cluster, 0), ["x"]);
}
