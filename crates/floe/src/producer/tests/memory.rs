//! Bounded memory and the bounded queue of closed batches.

use std::time::Duration;

use tokio::time::Instant;

use super::{enqueue_all, orders, settle, values};
use crate::{ErrorKind, fake_engine::Fault, producer::WhenFull};

const VALUE: [u8; 100] = [b'x'; 100];

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_makes_room_for_a_waiting_record() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Hold, Fault::Hold]);
    let orders = builder.buffer_memory(300).start().await.unwrap();
    let _kept = orders.enqueue(&VALUE[..]).await.unwrap();
    settle().await;
    let _kept = orders.enqueue(&VALUE[..]).await.unwrap();
    let third = tokio::spawn({
        let orders = orders.clone();
        async move { orders.enqueue(&VALUE[..]).await.unwrap().await.unwrap() }
    });
    settle().await;
    assert!(!third.is_finished());
    assert!(orders.stats().buffered_bytes <= 300);
    engine.release(2);
    assert_eq!(third.await.unwrap().offset, Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_makes_room_for_a_waiting_record() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Hold]);
    let orders = builder.buffer_memory(150).timeout(Duration::from_secs(7)).start().await.unwrap();
    drop(orders.enqueue(&VALUE[..]).await.unwrap());
    let began = Instant::now();
    drop(orders.enqueue(&VALUE[..]).await.unwrap());
    assert_eq!(began.elapsed(), Duration::from_secs(7));
    assert!(orders.flush().await.is_err(), "the failure of the first was not observed");
}

#[tokio::test(start_paused = true)]
async fn when_full_fail_fails_at_once() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Hold]);
    let orders = builder.buffer_memory(300).when_full(WhenFull::Fail).start().await.unwrap();
    drop(orders.enqueue(&VALUE[..]).await.unwrap());
    drop(orders.enqueue(&VALUE[..]).await.unwrap());
    let error = orders.enqueue(&VALUE[..]).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (ErrorKind::BufferFull, true));
    assert!(error.message().contains("of 300 bytes") && error.message().contains("buffer_memory"), "{error}");
    engine.release(1);
    orders.flush().await.unwrap();
    assert_eq!(values(&engine, 0).len(), 2);
    drop(orders.enqueue(&VALUE[..]).await.unwrap());
    orders.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn when_full_wait_up_to_fails_after_the_limit() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Hold]);
    let limit = Duration::from_secs(2);
    let orders = builder.buffer_memory(150).when_full(WhenFull::WaitUpTo(limit)).start().await.unwrap();
    drop(orders.enqueue(&VALUE[..]).await.unwrap());
    let began = Instant::now();
    let error = orders.enqueue(&VALUE[..]).await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed()), (ErrorKind::BufferFull, limit));
    engine.release(1);
    orders.flush().await.unwrap();
    assert_eq!(values(&engine, 0).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_record_larger_than_the_memory_waits_for_all_of_it() {
    let (engine, builder) = orders();
    let orders = builder.buffer_memory(64).start().await.unwrap();
    for _ in 0..3 {
        drop(orders.enqueue(&VALUE[..]).await.unwrap());
    }
    orders.flush().await.unwrap();
    assert_eq!(values(&engine, 0).len(), 3);
    assert_eq!(orders.stats().buffered_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn the_queue_of_closed_batches_is_bounded_for_each_partition() {
    let (engine, builder) = super::over(crate::fake_engine::FakeEngine::with_topic("orders", 2));
    engine.fail_appends(vec![Fault::Hold; 1]);
    let orders = builder
        .batch_size(200)
        .batch_queue(2)
        .max_in_flight(1)
        .when_full(WhenFull::Fail)
        .start()
        .await
        .unwrap();
    let to = |partition| crate::Record::new(&VALUE[..]).partition(partition);
    drop(orders.enqueue(to(0)).await.unwrap());
    settle().await;
    // One batch in flight and two in the queue; while the queue is full no batch is opened.
    for _ in 0..2 {
        drop(orders.enqueue(to(0)).await.unwrap());
    }
    let error = orders.enqueue(to(0)).await.unwrap_err();
    assert_eq!((error.kind(), error.partition()), (ErrorKind::BufferFull, Some(0)));
    assert!(error.message().contains("2 batches") && error.message().contains("batch_queue"), "{error}");
    assert!(!error.message().contains("bytes"), "memory is not the limit that was hit: {error}");
    drop(orders.enqueue(to(1)).await.unwrap());
    engine.release(1);
    orders.flush().await.unwrap();
    assert_eq!((values(&engine, 0).len(), values(&engine, 1).len()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_ends_names_the_limit_that_it_waited_for() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Hold]);
    let builder = builder.batch_size(200).batch_queue(1).max_in_flight(1);
    let orders = builder.when_full(WhenFull::WaitUpTo(Duration::from_secs(2))).start().await.unwrap();
    drop(orders.enqueue(&VALUE[..]).await.unwrap());
    settle().await;
    drop(orders.enqueue(&VALUE[..]).await.unwrap());
    let error = orders.enqueue(&VALUE[..]).await.unwrap_err();
    assert!(error.message().contains("within 2s") && error.message().contains("batch_queue"), "{error}");
    engine.release(1);
    orders.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slot_in_the_queue_ends_the_wait() {
    let (engine, builder) = orders();
    engine.fail_appends(vec![Fault::Hold; 1]);
    let orders = builder.batch_size(150).batch_queue(1).max_in_flight(1).start().await.unwrap();
    let filling = tokio::spawn({
        let orders = orders.clone();
        async move { drop(enqueue_all(&orders, &[&"x".repeat(100); 6]).await) }
    });
    settle().await;
    assert!(!filling.is_finished());
    engine.release(1);
    filling.await.unwrap();
    orders.flush().await.unwrap();
    assert_eq!(values(&engine, 0).len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_takes_no_memory() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Hold]);
    let orders = builder.buffer_memory(150).start().await.unwrap();
    drop(orders.enqueue(&VALUE[..]).await.unwrap());
    let waited = tokio::time::timeout(Duration::from_secs(1), orders.enqueue("given up")).await;
    assert!(waited.is_err());
    engine.release(1);
    orders.flush().await.unwrap();
    assert_eq!(orders.stats().buffered_bytes, 0);
    assert_eq!(values(&engine, 0).len(), 1);
}
