//! Engines for the tests of layers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use floe_wire::batch::{BatchBuilder, FinishOptions};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::{Layer, Operation};
use crate::{
    Error, Result, Topic,
    engine::{Acks, AppendAck, AppendRequest, SharedEngine},
    fake_engine::FakeEngine,
};

pub(crate) fn engine_of(fake: &FakeEngine) -> SharedEngine {
    Arc::new(fake.clone())
}

/// Appends a batch of one record to partition 0 of `orders`.
pub(crate) async fn append(engine: &SharedEngine, number: usize) -> Result<AppendAck> {
    append_to(engine, 0, number).await
}

pub(crate) async fn append_to(engine: &SharedEngine, partition: u32, number: usize) -> Result<AppendAck> {
    let mut builder = BatchBuilder::new(64);
    builder.append(0, None, number.to_string().as_bytes(), &[]).unwrap();
    let batch = builder.finish(FinishOptions::default()).unwrap();
    engine.append(AppendRequest::new(Topic::from("orders").partition(partition), batch, Acks::Leader)).await
}

/// Fails the first calls.
#[derive(Debug)]
pub(crate) struct Faulty {
    errors: Mutex<Vec<Error>>,
    calls: Arc<AtomicUsize>,
}

impl Faulty {
    /// An engine whose first calls fail with these errors, and the count of all calls.
    pub(crate) fn around(mut errors: Vec<Error>) -> (SharedEngine, impl Fn() -> usize) {
        errors.reverse();
        let calls = Arc::new(AtomicUsize::new(0));
        let faulty = Self { errors: Mutex::new(errors), calls: Arc::clone(&calls) };
        let engine = faulty.layer(engine_of(&FakeEngine::with_topic("orders", 1)));
        (engine, move || calls.load(Ordering::Relaxed))
    }
}

impl Layer for Faulty {
    async fn around<'a, T, F>(&'a self, _: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let fault = self.errors.lock().pop();
        match fault {
            Some(error) => Err(error),
            None => attempt().await,
        }
    }
}

/// Never answers the calls of one name.
#[derive(Debug)]
struct Hang(&'static str);

impl Layer for Hang {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        if operation.kind.as_str() == self.0 {
            std::future::pending::<()>().await;
        }
        attempt().await
    }
}

/// An engine that never answers `topics`.
pub(crate) fn hang_topics() -> SharedEngine {
    Hang("topics").layer(engine_of(&FakeEngine::with_topic("orders", 1)))
}

/// An engine that never answers a health check.
pub(crate) fn hang_health() -> SharedEngine {
    Hang("health").layer(engine_of(&FakeEngine::with_topic("orders", 1)))
}
