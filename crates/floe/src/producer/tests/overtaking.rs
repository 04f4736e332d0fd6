//! Batches that fail although a later one was stored.

use std::time::Duration;

use super::{enqueue_all, lost, orders, refused, values};
use crate::{
    Effect, Error,
    fake_engine::{FakeEngine, Fault},
    producer::{Delivery, Producer},
};

/// Sends two batches. The second is stored while the first is in flight; then the first has this fault.
async fn overtake(fault: Fault) -> (FakeEngine, Producer, Delivery) {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::HoldThen(Box::new(fault)), Fault::Pass]);
    let orders = builder.batch_size(150).start().await.unwrap();
    let names = ["a", "b"].map(|name| name.repeat(100));
    let mut deliveries = enqueue_all(&orders, &names).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(deliveries.pop().unwrap().await.unwrap().offset, Some(0));
    engine.release(1);
    (engine, orders, deliveries.pop().unwrap())
}

fn assert_reported(error: &Error) {
    assert!(!error.is_retriable(), "{error}");
    assert!(error.message().contains("a later batch was appended"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn overtaken_batch_is_reported_and_not_resent() {
    let (engine, orders, first) = overtake(Fault::Refuse(refused())).await;
    let error = first.await.unwrap_err();
    assert_reported(&error);
    assert_eq!((error.kind(), error.effect()), (refused().kind(), Effect::None));
    assert_eq!((engine.appends(), values(&engine, 0)), (2, vec!["b".repeat(100)]));
    // The producer continues.
    assert_eq!(orders.send("c").await.unwrap().offset, Some(1));
}

#[tokio::test(start_paused = true)]
async fn overtaken_batch_that_was_stored_is_found() {
    let (engine, _orders, first) = overtake(Fault::LoseAnswer(lost())).await;
    assert_eq!(first.await.unwrap().offset, Some(1));
    assert_eq!(engine.appends(), 2);
}

#[tokio::test(start_paused = true)]
async fn overtaken_batch_that_is_not_found_is_reported_and_not_resent() {
    let (engine, _orders, first) = overtake(Fault::Refuse(lost())).await;
    let error = first.await.unwrap_err();
    assert_reported(&error);
    assert_eq!(error.effect(), Effect::None, "the partition was read to its end");
    assert_eq!((engine.appends(), values(&engine, 0)), (2, vec!["b".repeat(100)]));
}
