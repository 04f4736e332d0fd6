//! At-most-once delivery: each batch is sent once.

use std::time::Duration;

use tokio::time::Instant;

use super::{enqueue_all, lost, orders, over, refused, settle, values};
use crate::{
    ErrorKind,
    engine::{Acks, Capabilities},
    fake_engine::{FakeEngine, Fault},
    producer::DeliveryMode,
};

#[tokio::test(start_paused = true)]
async fn failed_batches_are_not_retried() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Refuse(refused()), Fault::LoseAnswer(lost())]);
    let orders = builder.delivery(DeliveryMode::AtMostOnce).start().await.unwrap();
    let began = Instant::now();
    assert_eq!(orders.send("a").await.unwrap_err().kind(), ErrorKind::NotLeader);
    assert_eq!(orders.send("b").await.unwrap_err().kind(), ErrorKind::NetworkError);
    assert_eq!(orders.send("c").await.unwrap().offset, Some(1));
    assert_eq!((values(&engine, 0), engine.appends()), (vec!["b".to_owned(), "c".to_owned()], 3));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_next_batch_does_not_wait_for_an_acknowledgement() {
    let mut capabilities = Capabilities::FULL;
    capabilities.append_window = 1;
    let (engine, builder) = over(FakeEngine::with_topic("orders", 1).with_capabilities(capabilities));
    engine.fail_appends([Fault::Hold]);
    let orders =
        builder.delivery(DeliveryMode::AtMostOnce).max_in_flight(3).batch_size(150).start().await.unwrap();
    let names = ["a", "b", "c"].map(|name| name.repeat(100));
    let mut deliveries = enqueue_all(&orders, &[&names[0], &names[1], &names[2]]).await.into_iter();
    let first = deliveries.next().unwrap();
    settle().await;
    assert_eq!(deliveries.next().unwrap().await.unwrap().offset, Some(0));
    engine.release(1);
    first.await.unwrap();
    orders.flush().await.unwrap();
    assert_eq!(values(&engine, 0).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn flush_reports_unobserved_failures() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Refuse(refused())]);
    let orders = builder.acks(Acks::None).start().await.unwrap();
    drop(orders.enqueue("a").await.unwrap());
    let error = orders.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotLeader);
    assert_eq!(engine.appends(), 1, "without acks a batch is sent once");
    orders.flush().await.unwrap();
}
