//! Bounds on how much is asked of an engine at once and per second.
//!
//! The rate is kept with the generic cell rate algorithm, by the clock of tokio, so that tests can pause it.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as FairMutex, Semaphore},
    time::{Instant, sleep_until},
};

use super::{Layer, Operation, OperationKind, first_poll::after_first_poll};
use crate::{Error, ErrorKind, Result};

/// How much may be asked of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Calls running at once. Default: no bound.
    pub concurrency: Option<NonZeroU32>,
    /// Calls started per second, in the long run. Default: no bound.
    pub rate: Option<NonZeroU32>,
    /// Calls that may start at once after a pause. Default: as many as the rate.
    pub burst: Option<NonZeroU32>,
}

impl Limits {
    /// Whether there is nothing to bound.
    pub(crate) fn is_empty(&self) -> bool {
        self.concurrency.is_none() && self.rate.is_none()
    }
}

/// Has calls wait for their turn. Nothing is refused.
///
/// Appends are let through in the order in which they came, one started after the other, because engines order them by
/// their start. What an open reader does is not a call; closing and health checks do not wait.
#[derive(Debug)]
pub struct Limit {
    running: Option<Arc<Semaphore>>,
    rate: Option<Rate>,
    /// Held by an append from its coming to its start.
    appends: FairMutex<()>,
}

impl Limit {
    /// Bounds calls to this much.
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

    /// Waits until one more call may start. What is returned is to be kept while it runs.
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
        // The next append may come to its start only after this one has.
        let order = self.appends.lock().await;
        let _permit = self.turn().await?;
        after_first_poll(attempt(), move || drop(order)).await
    }
}

/// One call each `interval`, with `slack` for those that come in a burst.
#[derive(Debug)]
struct Rate {
    interval: Duration,
    slack: Duration,
    /// When the next call would be due if they came evenly.
    due: Mutex<Option<Instant>>,
}

impl Rate {
    fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let interval = Duration::from_secs(1) / per_second.get();
        Self { interval, slack: interval.saturating_mul(burst.get() - 1), due: Mutex::new(None) }
    }

    /// Takes the next place; `None` if it is now.
    fn reserve(&self, now: Instant) -> Option<Instant> {
        let mut due = self.due.lock();
        let mine = due.map_or(now, |due| due.max(now));
        // A place further away than the clock can tell is as good as the last one that it can.
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
    async fn no_more_calls_run_than_allowed_and_a_dropped_one_makes_room() {
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
    async fn appends_start_in_the_order_in_which_they_came() {
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
    async fn an_append_that_is_given_up_while_it_waits_lets_the_next_pass() {
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
