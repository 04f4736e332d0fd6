//! Tests of the producer on an engine with faults, with a paused clock.

mod at_most_once;
mod batching;
mod chaos;
mod compressing;
mod configuration;
mod failures;
mod growth;
mod memory;
mod overtaking;
mod sending;
mod shutdown;

use std::sync::Arc;

use super::{Producer, ProducerBuilder};
use crate::{Client, Effect, Error, ErrorKind, fake_engine::FakeEngine, topic::Topic};

/// A builder over an engine, with a topic of one partition.
fn orders() -> (FakeEngine, ProducerBuilder) {
    over(FakeEngine::with_topic("orders", 1))
}

fn over(engine: FakeEngine) -> (FakeEngine, ProducerBuilder) {
    let client = Client::from_engine(Arc::new(engine.clone()));
    (engine, client.producer("orders"))
}

/// The values of a partition, in order.
fn values(engine: &FakeEngine, partition: u32) -> Vec<String> {
    let batches = engine.batches("orders", partition);
    let records = batches.iter().flat_map(|batch| batch.records().unwrap());
    records.map(|record| String::from_utf8(record.unwrap().value.to_vec()).unwrap()).collect()
}

/// The number of records in each batch of a partition.
fn counts(engine: &FakeEngine, partition: u32) -> Vec<u32> {
    engine.batches("orders", partition).iter().map(|batch| batch.header().offset_span()).collect()
}

/// A retriable error without an effect.
fn refused() -> Error {
    Error::new(ErrorKind::NotLeader, "not the leader")
}

/// A retriable error with an unknown effect.
fn lost() -> Error {
    Error::new(ErrorKind::NetworkError, "the connection broke")
}

/// A permanent error without an effect.
fn rejected() -> Error {
    Error::new(ErrorKind::ServerError, "rejected").with_effect(Effect::None)
}

fn assert_at_orders(error: &Error, partition: u32) {
    assert_eq!(
        (error.topic(), error.partition()),
        (Some(&Topic::from("orders")), Some(partition)),
        "{error}"
    );
}

/// Lets all tasks run until they wait.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn enqueue_all<V: AsRef<str>>(producer: &Producer, values: &[V]) -> Vec<super::Delivery> {
    let mut deliveries = Vec::new();
    for value in values {
        deliveries.push(producer.enqueue(value.as_ref()).await.unwrap());
    }
    deliveries
}
