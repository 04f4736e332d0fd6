//! The consumer over an engine that keeps batches in memory and fails on demand.

mod ending;
mod extras;
mod fetch_range;
mod gaps;
mod groups;
mod numbering;
mod polling;
mod prefetching;
mod reconnect;
mod seeking;
mod starting;
mod tasks;

use std::{future::Future, sync::Arc, task::Waker, time::Duration};

use floe_wire::batch::{BatchBuilder, EncodedBatch, FinishOptions, ProducerIdentity};

use super::{checked_batch::Found, fetch::Fetch, offset_check::OffsetCheck, *};
use crate::{
    Client,
    engine::{Acks, AppendRequest, Engine},
    fake_engine::FakeEngine,
    topic::Topic,
};

const TOPIC: &str = "orders";

/// A client over a fake engine with one topic.
fn over(engine: &FakeEngine) -> Client {
    Client::from_engine(Arc::new(engine.clone()))
}

/// A batch of records whose values are `values`; times count up from `time`.
fn batch_at(time: i64, values: &[&str]) -> EncodedBatch {
    let mut builder = BatchBuilder::new(64);
    for (index, value) in values.iter().enumerate() {
        builder.append(time + index as i64, None, value.as_bytes(), &[]).unwrap();
    }
    builder.finish(FinishOptions::default()).unwrap()
}

/// A batch of a producer.
fn from_producer(id: i64, epoch: i16, first_sequence: i32, values: &[&str]) -> EncodedBatch {
    let mut builder = BatchBuilder::new(64);
    for value in values {
        builder.append(1, None, value.as_bytes(), &[]).unwrap();
    }
    let producer = ProducerIdentity { id, epoch, first_sequence };
    builder.finish(FinishOptions { producer, ..FinishOptions::default() }).unwrap()
}

async fn append_batch(engine: &FakeEngine, partition: u32, batch: EncodedBatch) {
    let target = Topic::from(TOPIC).partition(partition);
    engine.append(AppendRequest::new(target, batch, Acks::Leader)).await.unwrap();
}

/// Appends one batch.
async fn append(engine: &FakeEngine, partition: u32, values: &[&str]) {
    append_batch(engine, partition, batch_at(1000, values)).await;
}

/// Appends `batches` batches of `records` records; values are `partition:offset`.
async fn fill(engine: &FakeEngine, partition: u32, batches: usize, records: usize) {
    let start = engine.watermarks(Topic::from(TOPIC).partition(partition)).await.unwrap().high;
    for batch in 0..batches {
        let values: Vec<_> =
            (0..records).map(|i| format!("{partition}:{}", start + (batch * records + i) as i64)).collect();
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        append_batch(engine, partition, batch_at(1000 + (batch * records) as i64, &values)).await;
    }
}

/// One partition with offsets 0 to 9 in batches of 3, 3, 3 and 1.
async fn ten() -> FakeEngine {
    let engine = FakeEngine::with_topic(TOPIC, 1);
    fill(&engine, 0, 3, 3).await;
    fill(&engine, 0, 1, 1).await;
    engine
}

async fn offsets(consumer: &mut Consumer, count: usize) -> Vec<i64> {
    let mut offsets = Vec::new();
    for _ in 0..count {
        offsets.push(next(consumer).await.offset);
    }
    offsets
}

/// Returns the next record, which must arrive.
async fn next(consumer: &mut Consumer) -> Message {
    let next = tokio::time::timeout(Duration::from_secs(3600), consumer.try_next()).await;
    next.expect("no record arrived").unwrap().expect("the consumer ended")
}

/// Returns the next error, which must arrive.
async fn next_error(consumer: &mut Consumer) -> Error {
    let next = tokio::time::timeout(Duration::from_secs(3600), consumer.try_next()).await;
    next.expect("no record arrived").expect_err("a record arrived")
}

/// Asserts that no record arrives.
async fn assert_silent(consumer: &mut Consumer) {
    let next = tokio::time::timeout(Duration::from_secs(3600), consumer.try_next()).await;
    assert!(next.is_err(), "{next:?}");
}

/// Returns the offsets and errors up to the end.
async fn drain(consumer: &mut Consumer) -> Vec<Result<i64, ErrorKind>> {
    let mut all = Vec::new();
    for _ in 0..100_000 {
        match tokio::time::timeout(Duration::from_secs(3600), consumer.try_next()).await.expect("hangs") {
            Ok(Some(message)) => all.push(Ok(message.offset)),
            Ok(None) => return all,
            Err(error) => all.push(Err(error.kind())),
        }
    }
    panic!("no end");
}

async fn stored(engine: &FakeEngine, group: &str, partition: u32) -> Option<i64> {
    engine.committed(Arc::from(group), Topic::from(TOPIC).partition(partition)).await.unwrap()
}

/// Polls once and drops the future.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::NetworkError, "the connection broke")
}
