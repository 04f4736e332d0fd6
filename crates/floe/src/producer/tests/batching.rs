//! When batches close, and their contents.

use std::time::Duration;

use tokio::time::Instant;

use super::{counts, enqueue_all, orders, settle, values};
use crate::{
    Codec, ErrorKind, Record,
    engine::Capabilities,
    fake_engine::{FakeEngine, Fault},
};

const LINGER: Duration = Duration::from_millis(20);

#[tokio::test(start_paused = true)]
async fn without_linger_records_gather_while_a_batch_is_in_flight() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Hold]);
    let orders = builder.start().await.unwrap();
    let began = Instant::now();
    let first = orders.enqueue("a").await.unwrap();
    settle().await;
    assert_eq!(engine.appends(), 1);
    drop(enqueue_all(&orders, &["b", "c", "d"]).await);
    settle().await;
    assert_eq!(engine.appends(), 1, "the others wait while the first is in flight");
    engine.release(1);
    first.await.unwrap();
    orders.flush().await.unwrap();
    assert_eq!(counts(&engine, 0), [1, 3]);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn linger_starts_with_the_first_record() {
    let (engine, builder) = orders();
    let orders = builder.linger(LINGER).start().await.unwrap();
    let began = Instant::now();
    let first = orders.enqueue("a").await.unwrap();
    tokio::time::sleep(LINGER / 2).await;
    let second = orders.enqueue("b").await.unwrap();
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(began.elapsed(), LINGER);
    assert_eq!(counts(&engine, 0), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_does_not_wait_for_its_linger() {
    let (engine, builder) = orders();
    let orders = builder.linger(Duration::from_secs(60)).batch_size(300).start().await.unwrap();
    let began = Instant::now();
    let value = "x".repeat(150);
    let deliveries = enqueue_all(&orders, &[&value; 3]).await;
    let mut deliveries = deliveries.into_iter();
    deliveries.next().unwrap().await.unwrap();
    deliveries.next().unwrap().await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(counts(&engine, 0), [1, 1]);
    deliveries.next().unwrap().await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn flush_does_not_wait_for_the_linger() {
    let (engine, builder) = orders();
    let orders = builder.linger(Duration::from_secs(60)).start().await.unwrap();
    let began = Instant::now();
    drop(enqueue_all(&orders, &["a", "b"]).await);
    orders.flush().await.unwrap();
    assert_eq!((began.elapsed(), counts(&engine, 0)), (Duration::ZERO, vec![2]));
    orders.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_never_waits_does_not_starve_the_sender() {
    let (engine, builder) = orders();
    let orders = builder.batch_size(1000).start().await.unwrap();
    for _ in 0..200 {
        drop(orders.enqueue("x".repeat(90)).await.unwrap());
    }
    assert!(engine.batches("orders", 0).len() > 5, "sent before the loop ended");
    orders.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_window_of_appends_in_flight_is_limited() {
    for (asked, able, expected) in [(5, 3, 3), (2, 4, 2), (1, 4, 1)] {
        let mut capabilities = Capabilities::FULL;
        capabilities.append_window = able;
        let engine = FakeEngine::with_topic("orders", 1).with_capabilities(capabilities);
        let (engine, builder) = super::over(engine);
        engine.fail_appends(vec![Fault::Hold; 8]);
        let orders = builder.batch_size(200).max_in_flight(asked).start().await.unwrap();
        let value = "x".repeat(150);
        drop(enqueue_all(&orders, &[&value; 8]).await);
        settle().await;
        assert_eq!(engine.appends(), expected, "{asked} asked, {able} possible");
        engine.release(8);
        orders.flush().await.unwrap();
        assert_eq!(values(&engine, 0).len(), 8);
    }
}

#[tokio::test(start_paused = true)]
async fn batches_carry_producer_id_and_sequences() {
    let (engine, builder) = orders();
    let orders = builder.start().await.unwrap();
    for round in [&["a", "b"][..], &["c"], &["d", "e", "f"]] {
        drop(enqueue_all(&orders, round).await);
        orders.flush().await.unwrap();
    }
    let producers: Vec<_> = engine.batches("orders", 0).iter().map(|batch| batch.header().producer).collect();
    assert!(producers.iter().all(|one| one.id == producers[0].id && one.id >= 0 && one.epoch == 0));
    let sequences: Vec<_> = producers.iter().map(|one| one.first_sequence).collect();
    assert_eq!(sequences, [0, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn only_batches_over_the_threshold_are_compressed() {
    let (engine, builder) = orders();
    let orders = builder.compression(Codec::Lz4).compression_threshold(500).start().await.unwrap();
    orders.send("x".repeat(400)).await.unwrap();
    orders.send("x".repeat(600)).await.unwrap();
    let codecs: Vec<_> =
        engine.batches("orders", 0).iter().map(|batch| batch.header().attributes.codec().unwrap()).collect();
    assert_eq!(codecs, [Codec::None, Codec::Lz4]);
    assert_eq!(values(&engine, 0)[1].len(), 600);
}

#[tokio::test(start_paused = true)]
async fn incompatible_timestamps_go_into_separate_batches() {
    let (engine, builder) = orders();
    let orders = builder.linger(LINGER).start().await.unwrap();
    let month = 32 * 24 * 3600 * 1000;
    for time in [month, 2 * month, 2 * month + 1] {
        drop(orders.enqueue(Record::new("x").timestamp(time)).await.unwrap());
    }
    // Readers would take them for records without a time.
    for time in [0, -5, i64::MIN] {
        let error = orders.enqueue(Record::new("x").timestamp(time)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidCommand);
    }
    orders.flush().await.unwrap();
    assert_eq!(counts(&engine, 0), [1, 2]);
    let times: Vec<_> = engine
        .batches("orders", 0)
        .iter()
        .flat_map(|batch| batch.records().unwrap())
        .map(|record| record.unwrap().timestamp)
        .collect();
    assert_eq!(times, [Some(month), Some(2 * month), Some(2 * month + 1)]);
}

#[tokio::test(start_paused = true)]
async fn statistics_count_records_batches_and_retries() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Refuse(super::refused()), Fault::Pass, Fault::Refuse(super::rejected())]);
    let orders = builder.start().await.unwrap();
    orders.send("a").await.unwrap();
    orders.send("b").await.unwrap_err();
    let stats = orders.stats();
    assert_eq!((stats.records, stats.batches, stats.retries, stats.failed), (1, 1, 1, 1));
    assert_eq!(stats.bytes, engine.batches("orders", 0)[0].len() as u64);
    assert_eq!(stats.buffered_bytes, 0);
    engine.fail_appends([Fault::Hold]);
    drop(orders.enqueue("c").await.unwrap());
    assert!(orders.stats().buffered_bytes > 0);
    engine.release(1);
    orders.flush().await.unwrap();
    assert_eq!(orders.stats().buffered_bytes, 0);
}
