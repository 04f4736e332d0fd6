//! What everybody does: send, enqueue, flush, close.

use std::sync::Arc;

use crate::{Client, Record, engine::fake::FakeEngine};

#[tokio::test(start_paused = true)]
async fn a_record_is_placed_and_readable() {
    let engine = FakeEngine::with_topic("orders", 1);
    let client = Client::over(Arc::new(engine.clone()));
    let orders = client.producer("orders").start().await.unwrap();
    let first = orders.send("one").await.unwrap();
    let second = orders.send(Record::keyed("k", "two").timestamp(77)).await.unwrap();
    assert_eq!((first.partition, first.offset), (0, Some(0)));
    assert_eq!((second.offset, second.timestamp), (Some(1), 77));
    let report = orders.close().await.unwrap();
    assert_eq!((report.delivered, report.undelivered.len()), (2, 0));
}
