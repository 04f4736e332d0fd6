//! Bounds on concurrency and rate of engine calls.
//!
//! The rate limit is the generic cell rate algorithm (GCRA, ITU-T I.371), on tokio's clock, which tests can pause.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as FairMutex, Semaphore},
    time::{Instant, sleep_until},
};

use super::{Layer, Operation, OperationKind, first_poll::after_first_poll};
use crate::{Error, ErrorKind, Result};

/// Bounds on concurrency and rate of engine calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Limits {
    /// Concurrent calls. Default: no bound.
    pub concurrency: Option<NonZeroU32>,
    /// Calls started per second, in the long run. Default: no bound.
    pub rate: Option<NonZeroU32>,
    /// Calls that may start at once after a pause. Default: as many as the rate.
    pub burst: Option<NonZeroU32>,
}

impl Limits {
    /// Bounds the calls that run at once.
    #[must_use]
    pub fn concurrency(mut self, calls: NonZeroU32) -> Self {
        self.concurrency = Some(calls);
        self
    }

    /// Bounds the calls started per second.
    #[must_use]
    pub fn rate(mut self, per_second: NonZeroU32) -> Self {
        self.rate = Some(per_second);
        self
    }

    /// Bounds the calls that may start at once after a pause.
    #[must_use]
    pub fn burst(mut self, calls: NonZeroU32) -> Self {
        self.burst = Some(calls);
        self
    }

    /// Whether no bound is set.
    pub(crate) fn is_empty(&self) -> bool {
        self.concurrency.is_none() && self.rate.is_none()
    }
}

/// Delays calls beyond the bounds. Refuses nothing.
///
/// Appends start one after the other in the order of their arrival, because engines order them by their start. Reads of
/// an open reader, health checks and close are not bounded.
#[derive(Debug)]
pub struct Limit {
    running: Option<Arc<Semaphore>>,
    rate: Option<Rate>,
    /// Held by an append from its arrival to its start.
    appends: FairMutex<()>,
}

impl Limit {
    /// Creates the layer.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let most = |number: NonZeroU32| usize::try_from(number.get()).unwrap_or(usize::MAX);
        let permits = |number| Arc::new(Semaphore::new(most(number).min(Semaphore::MAX_PERMITS)));
        Self {
            running: limits.concurrency.map(permits),
            rate: limits.rate.map(|rate| Rate::new(rate, limits.burst.unwrap_or(rate))),
            appends: FairMutex::new(()),
        }
    }

    /// Waits until one more call may start. The caller keeps the permit while the call runs.
    async fn turn(&self) -> Result<Option<tokio::sync::SemaphorePermit<'_>>> {
        let permit = match &self.running {
            None => None,
            Some(running) => {
                let closed = |_| Error::new(ErrorKind::Closed, "the limit is closed");
                Some(running.acquire().await.map_err(closed)?)
            }
        };
        if let Some(rate) = &self.rate
            && let Some(at) = rate.reserve(Instant::now())
        {
            sleep_until(at).await;
        }
        Ok(permit)
    }
}

impl Layer for Limit {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        if matches!(operation.kind, OperationKind::Close | OperationKind::Health) {
            return attempt().await;
        }
        if operation.kind != OperationKind::Append {
            let _permit = self.turn().await?;
            return attempt().await;
        }
        // The lock is released after the first poll, so the next append starts after this one.
        let order = self.appends.lock().await;
        let _permit = self.turn().await?;
        after_first_poll(attempt(), move || drop(order)).await
    }
}

/// One call each `interval`, with `slack` for a burst.
#[derive(Debug)]
struct Rate {
    interval: Duration,
    slack: Duration,
    /// Theoretical arrival time of the next call.
    due: Mutex<Option<Instant>>,
}

impl Rate {
    fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let interval = Duration::from_secs(1) / per_second.get();
        Self { interval, slack: interval.saturating_mul(burst.get() - 1), due: Mutex::new(None) }
    }

    /// Reserves the next start; `None` for now.
    fn reserve(&self, now: Instant) -> Option<Instant> {
        let mut due = self.due.lock();
        let mine = due.map_or(now, |due| due.max(now));
        // A start beyond the range of the clock becomes the last one within it.
        *due = Some(mine.checked_add(self.interval).unwrap_or(mine));
        let start = mine.checked_sub(self.slack)?;
        (start > now).then_some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fake_engine::{FakeEngine, Fault},
        layer::testing::{append, engine_of, hang_topics},
    };

    fn number(number: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(number)
    }

    #[tokio::test(start_paused = true)]
    async fn calls_beyond_the_burst_keep_the_rate() {
        let limits = Limits { rate: number(10), burst: number(3), ..Limits::default() };
        let engine = Limit::new(limits).layer(engine_of(&FakeEngine::with_topic("orders", 1)));
        let began = Instant::now();
        let mut started = Vec::new();
        for _ in 0..6 {
            engine.topics().await.unwrap();
            started.push(began.elapsed().as_millis());
        }
        assert_eq!(started, [0, 0, 0, 100, 200, 300]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let pause_over = Instant::now();
        for _ in 0..4 {
            engine.topics().await.unwrap();
        }
        assert_eq!(pause_over.elapsed().as_millis(), 100, "a pause gives one burst, not more");
    }

    #[tokio::test(start_paused = true)]
    async fn concurrency_is_bounded_and_a_dropped_call_frees_its_permit() {
        let limits = Limits { concurrency: number(1), ..Limits::default() };
        let engine = Limit::new(limits).layer(hang_topics());
        let first = tokio::spawn({
            let engine = Arc::clone(&engine);
            async move { engine.topics().await }
        });
        tokio::task::yield_now().await;
        let waited = tokio::time::timeout(Duration::from_secs(60), engine.topic("orders".into())).await;
        assert!(waited.is_err(), "the first still runs");
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        engine.topic("orders".into()).await.unwrap();
        // Neither of these waits for a turn.
        engine.health().await.unwrap();
        engine.close().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn appends_start_in_order_of_arrival() {
        let fake = FakeEngine::with_topic("orders", 1);
        let limits = Limits { rate: number(1000), burst: number(1), concurrency: number(2) };
        let engine = Limit::new(limits).layer(engine_of(&fake));
        let mut tasks = Vec::new();
        for number in 0..20 {
            let engine = Arc::clone(&engine);
            tasks.push(tokio::spawn(async move { append(&engine, number).await }));
            tokio::task::yield_now().await;
        }
        for (number, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap().unwrap().base_offset, Some(number as i64));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_append_lets_the_next_pass() {
        let fake = FakeEngine::with_topic("orders", 1);
        fake.fail_appends([Fault::Hold]);
        let limits = Limits { concurrency: number(1), ..Limits::default() };
        let engine = Limit::new(limits).layer(engine_of(&fake));
        let mut tasks: Vec<_> = (0..3)
            .map(|number| {
                let engine = Arc::clone(&engine);
                tokio::spawn(async move { append(&engine, number).await })
            })
            .collect();
        tokio::task::yield_now().await;
        let last = tasks.pop().unwrap();
        for task in tasks.into_iter().rev() {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
        last.await.unwrap().unwrap();
    }
}
