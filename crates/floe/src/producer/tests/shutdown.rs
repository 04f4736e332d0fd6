//! Flush, close and drop, and their reports.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{assert_at_orders, enqueue_all, orders, over, rejected, settle, values};
use crate::{
    Client, Effect, ErrorKind, Record,
    fake_engine::{FakeEngine, Fault},
    producer::BatchOutcome,
};

#[tokio::test(start_paused = true)]
async fn flush_reports_failures_once() {
    let (engine, builder) = over(FakeEngine::with_topic("orders", 3));
    engine.fail_appends([Fault::Refuse(rejected()), Fault::Refuse(rejected())]);
    let orders = builder.linger(Duration::from_secs(1)).start().await.unwrap();
    for partition in [0, 0, 2] {
        drop(orders.enqueue(Record::new("x").partition(partition)).await.unwrap());
    }
    let error = orders.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ServerError);
    assert_eq!(
        error.to_string(),
        "flush of orders on fake: 3 records of partitions 0, 2 are not delivered: rejected (server_error)"
    );
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("orders/0"));
    orders.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn flush_reports_earlier_unobserved_failures() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Refuse(rejected()), Fault::Refuse(rejected())]);
    let orders = builder.start().await.unwrap();
    drop(orders.enqueue("unseen").await.unwrap());
    settle().await;
    orders.send("seen").await.unwrap_err();
    orders.send("good").await.unwrap();
    let error = orders.flush().await.unwrap_err();
    assert!(error.to_string().contains("1 record of partition 0 is not delivered"), "{error}");
    assert_eq!(orders.close().await.unwrap().undelivered.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn flush_within_reports_pending_records_and_cancels_none() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Hold]);
    let orders = builder.start().await.unwrap();
    let deliveries = enqueue_all(&orders, &["a", "b"]).await;
    let began = Instant::now();
    let error = orders.flush_within(Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    assert_eq!((error.kind(), error.effect()), (ErrorKind::RequestTimeout, Effect::Unknown));
    assert!(error.to_string().contains("2 records of partition 0 are not acknowledged"), "{error}");
    engine.release(1);
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    orders.flush_within(Duration::from_secs(2)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn close_sends_buffered_records_and_refuses_new_ones() {
    let (engine, builder) = orders();
    let orders = builder.linger(Duration::from_secs(60)).start().await.unwrap();
    let clone = orders.clone();
    let deliveries = enqueue_all(&orders, &["a", "b", "c"]).await;
    let began = Instant::now();
    let report = orders.close().await.unwrap();
    assert_eq!((report.delivered, report.undelivered.len(), began.elapsed()), (3, 0, Duration::ZERO));
    assert!(clone.is_closed());
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let error = clone.enqueue("late").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(values(&engine, 0), ["a", "b", "c"]);
    assert_eq!(clone.close().await.unwrap().delivered, 3);
}

#[tokio::test(start_paused = true)]
async fn close_abandons_records_at_its_deadline_and_reports_them() {
    let (engine, builder) = over(FakeEngine::with_topic("orders", 2));
    engine.fail_appends(vec![Fault::Pass, Fault::Hold]);
    let orders = builder.batch_size(150).max_in_flight(1).start().await.unwrap();
    orders.send(Record::new("first").partition(0)).await.unwrap();
    let mut deliveries = Vec::new();
    for name in ["a", "b", "c"] {
        deliveries.push(orders.enqueue(Record::new(name.repeat(100)).partition(1)).await.unwrap());
    }
    let began = Instant::now();
    let report = orders.close_within(Duration::from_secs(4)).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(4));
    assert_eq!(report.delivered, 1);
    let [undelivered] = report.undelivered.as_slice() else { panic!("{report:?}") };
    assert_eq!((undelivered.partition, undelivered.records), (1, 3));
    assert_eq!(undelivered.error.kind(), ErrorKind::Closed);
    assert_at_orders(&undelivered.error, 1);
    let mut effects = Vec::new();
    for delivery in deliveries {
        effects.push(delivery.await.unwrap_err().effect());
    }
    assert_eq!(effects, [Effect::Unknown, Effect::None, Effect::None]);
    let error = report.into_result(&"orders".into()).unwrap_err();
    assert!(error.to_string().contains("3 records of partition 1 are not delivered"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn close_ends_waits_for_room() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Hold]);
    let orders = builder.buffer_memory(100).start().await.unwrap();
    drop(orders.enqueue("x".repeat(100)).await.unwrap());
    let waiting = tokio::spawn({
        let orders = orders.clone();
        async move { orders.enqueue("late").await }
    });
    settle().await;
    let closing = tokio::spawn(async move { orders.close().await });
    settle().await;
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    engine.release(1);
    assert_eq!(closing.await.unwrap().unwrap().delivered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_close_has_a_deadline_of_its_own() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Hold]);
    let orders = builder.start().await.unwrap();
    drop(orders.enqueue("a").await.unwrap());
    let first = tokio::spawn({
        let orders = orders.clone();
        async move { orders.close().await }
    });
    settle().await;
    let second = orders.close_within(Duration::from_secs(1)).await;
    assert_eq!(second.unwrap_err().kind(), ErrorKind::RequestTimeout);
    engine.release(1);
    assert_eq!(first.await.unwrap().unwrap().delivered, 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_still_sends() {
    let (engine, builder) = orders();
    let orders = builder.linger(Duration::from_secs(60)).start().await.unwrap();
    let shared = Arc::downgrade(orders.shared());
    let delivery = orders.enqueue("a").await.unwrap();
    drop(orders);
    let began = Instant::now();
    assert_eq!(delivery.await.unwrap().offset, Some(0));
    assert_eq!((began.elapsed(), values(&engine, 0)), (Duration::ZERO, vec!["a".to_owned()]));
    settle().await;
    assert!(shared.upgrade().is_none(), "the senders ended");
}

#[tokio::test(start_paused = true)]
async fn closing_the_client_flushes_its_producers() {
    let engine = FakeEngine::with_topic("orders", 1);
    let client = Client::from_engine(Arc::new(engine.clone()));
    let orders = client.producer("orders").linger(Duration::from_secs(60)).start().await.unwrap();
    drop(orders.enqueue("a").await.unwrap());
    client.close().await.unwrap();
    assert_eq!(values(&engine, 0), ["a"]);
    assert_eq!(orders.enqueue("b").await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn closing_the_client_reports_failures_of_dropped_producers() {
    let engine = FakeEngine::with_topic("orders", 1);
    engine.fail_appends([Fault::Hold]);
    let client = Client::from_engine(Arc::new(engine.clone()));
    let orders = client.producer("orders").start().await.unwrap();
    drop(orders.enqueue("a").await.unwrap());
    drop(orders);
    let error = client.close_within(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Closed, Effect::Unknown));
    assert!(error.to_string().contains("1 record of partition 0 is not delivered"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_callback_gets_every_batch() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Refuse(super::refused()), Fault::Pass, Fault::Refuse(rejected())]);
    let heard: Arc<Mutex<Vec<BatchOutcome>>> = Arc::default();
    let into = Arc::clone(&heard);
    let orders = builder.on_delivery(move |outcome| into.lock().push(outcome.clone())).start().await.unwrap();
    orders.send("a").await.unwrap();
    orders.send("b").await.unwrap_err();
    let heard = heard.lock();
    let [good, bad] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!((good.records, good.attempts, good.result.as_ref().ok()), (1, 2, Some(&Some(0))));
    assert_eq!(good.bytes, engine.batches("orders", 0)[0].len());
    assert_eq!(bad.target.to_string(), "orders/0");
    assert_eq!(bad.result.as_ref().unwrap_err().kind(), ErrorKind::ServerError);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_callback_has_no_effect() {
    let (engine, builder) = orders();
    let orders = builder.on_delivery(|_| panic!("on purpose")).start().await.unwrap();
    orders.send("a").await.unwrap();
    orders.send("b").await.unwrap();
    assert_eq!(values(&engine, 0), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn awaiting_a_delivery_can_be_interrupted_and_resumed() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Hold]);
    let orders = builder.start().await.unwrap();
    let mut delivery = orders.enqueue("a").await.unwrap();
    for _ in 0..3 {
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut delivery).await.is_err());
    }
    engine.release(1);
    assert_eq!(delivery.await.unwrap().offset, Some(0));
}

#[tokio::test]
async fn deliveries_fail_when_the_runtime_shuts_down() {
    let engine = FakeEngine::with_topic("orders", 1);
    engine.fail_appends([Fault::Hold]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let started = runtime.spawn(async move {
        let (_, builder) = over(engine);
        let orders = builder.start().await.unwrap();
        let delivery = orders.enqueue("a").await.unwrap();
        settle().await;
        (orders, delivery)
    });
    let (orders, delivery) = started.await.unwrap();
    tokio::task::spawn_blocking(move || drop(runtime)).await.unwrap();
    assert!(orders.is_closed());
    let error = delivery.await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Closed, Effect::Unknown));
    assert_eq!(orders.enqueue("b").await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_producer_without_its_runtime_refuses_or_fails_records() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let started = runtime.spawn(async { orders().1.start().await.unwrap() });
    let orders = started.await.unwrap();
    tokio::task::spawn_blocking(move || drop(runtime)).await.unwrap();
    assert_eq!(orders.send("a").await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(orders.send("b").await.unwrap_err().kind(), ErrorKind::Closed);
}
