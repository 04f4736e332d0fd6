//! The layers that every client has, in their order.
//!
//! ```text
//! caller ──► measurement ──► user layers ──► limits ──► retry ──► breaker ──► timeout ──► error context ──► engine
//! ```
//!
//! - Measurement is outermost: it measures how long the caller waits.
//! - User layers see one call, however many attempts it takes.
//! - A call takes its permit once, not for every attempt, and holds it between attempts.
//! - Retry owns the deadline of all attempts; the breaker counts each of them, the timeout bounds each of them.

use std::{sync::Arc, time::Duration};

use super::{
    Layer,
    breaker::{Breaker, BreakerPolicy, Breakers},
    context::{Context, LastSuccess},
    limit::{Limit, Limits},
    retry::Retry,
    timeout::Timeout,
};
use crate::{RetryPolicy, engine::SharedEngine, retry::RetryObserver, telemetry::Telemetry};

/// Wraps an engine in one layer.
pub(crate) type PutAround = Box<dyn FnOnce(SharedEngine) -> SharedEngine + Send>;

/// The layers of a client. A layer that is `None` costs nothing.
pub(crate) struct Stack {
    pub(crate) telemetry: Telemetry,
    pub(crate) last_success: LastSuccess,
    /// Outermost first.
    pub(crate) user: Vec<PutAround>,
    pub(crate) limits: Limits,
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) breaker: Option<BreakerPolicy>,
    pub(crate) attempt_timeout: Option<Duration>,
}

impl Stack {
    /// Observes the retries of calls that do not pass the stack.
    #[cfg(feature = "fluvio")]
    pub(crate) fn retry_observer(&self) -> RetryObserver {
        retry_observer(&self.telemetry)
    }

    /// Wraps `engine` in all layers. Returns the breakers too, if there are some.
    pub(crate) fn around(self, engine: SharedEngine) -> (SharedEngine, Option<Breakers>) {
        let Self { telemetry, last_success, user, limits, retry, breaker, attempt_timeout } = self;
        let mut engine = Context(last_success).layer(engine);
        if let Some(limit) = attempt_timeout {
            engine = Timeout::new(limit).layer(engine);
        }
        let breakers = breaker.map(|policy| Breakers::new(policy, Some(telemetry.clone())));
        if let Some(breakers) = &breakers {
            engine = Breaker::with(breakers.clone(), engine);
        }
        if let Some(policy) = retry {
            engine = Retry::new(policy).on_retry(retry_observer(&telemetry)).layer(engine);
        }
        if !limits.is_empty() {
            engine = Limit::new(limits).layer(engine);
        }
        for put_around in user.into_iter().rev() {
            engine = put_around(engine);
        }
        #[cfg(feature = "telemetry")]
        if telemetry.measures_calls() {
            engine = super::measure::Measure(telemetry).layer(engine);
        }
        (engine, breakers)
    }
}

/// Counts retries in the telemetry of a client.
fn retry_observer(telemetry: &Telemetry) -> RetryObserver {
    let telemetry = telemetry.clone();
    Arc::new(move |operation, cause| {
        telemetry.retried(operation.kind.as_str(), operation.topic.as_ref(), cause);
    })
}

#[cfg(test)]
mod tests {
    use std::{
        num::NonZeroU32,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use futures_util::future::BoxFuture;
    use tokio::time::Instant;

    use super::*;
    use crate::{
        Error, ErrorKind, Result,
        fake_engine::FakeEngine,
        layer::{
            BreakerState, Operation,
            testing::{Faulty, engine_of, hang_topics},
        },
        telemetry::TelemetryOptions,
    };

    /// Counts calls.
    #[derive(Debug)]
    struct Count(Arc<AtomicUsize>);

    impl Layer for Count {
        async fn around<'a, T, F>(&'a self, _: &Operation, attempt: F) -> Result<T>
        where
            T: Send,
            F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
        {
            self.0.fetch_add(1, Ordering::Relaxed);
            attempt().await
        }
    }

    fn full(user: Vec<PutAround>) -> Stack {
        Stack {
            telemetry: Telemetry::new(TelemetryOptions::off(), "fake"),
            last_success: LastSuccess::new(),
            user,
            limits: Limits { concurrency: NonZeroU32::new(1), ..Limits::default() },
            retry: Some(RetryPolicy::calls()),
            breaker: Some(BreakerPolicy::default()),
            attempt_timeout: Some(Duration::from_secs(2)),
        }
    }

    fn refused() -> Error {
        Error::new(ErrorKind::ConnectionRefused, "refused")
    }

    #[test]
    fn layers_have_the_documented_order() {
        let count = Count(Arc::default());
        let (engine, _) = full(vec![Box::new(|engine| count.layer(engine))])
            .around(engine_of(&FakeEngine::with_topic("orders", 1)));
        let drawn = format!("{engine:?}");
        let places: Vec<_> = [
            "layer: Count",
            "layer: Limit ",
            "layer: Retry ",
            "layer: Breaker ",
            "layer: Timeout ",
            "layer: Context",
        ]
        .map(|name| drawn.find(name).unwrap_or_else(|| panic!("no {name:?} in {drawn}")))
        .into();
        assert!(places.is_sorted(), "{places:?} in {drawn}");
    }

    #[tokio::test(start_paused = true)]
    async fn user_layers_see_one_call_and_the_breaker_every_attempt() {
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Count(Arc::clone(&seen));
        let (faulty, calls) = Faulty::around(vec![refused(); 99]);
        let (engine, breakers) = full(vec![Box::new(|engine| count.layer(engine))]).around(faulty);
        assert_eq!(engine.topics().await.unwrap_err().attempts(), 3);
        assert_eq!((seen.load(Ordering::Relaxed), calls()), (1, 3));
        // Two more attempts reach the engine and open the breaker; the third is refused for longer than there is time.
        let error = engine.topics().await.unwrap_err();
        assert_eq!((error.kind(), error.attempts(), calls()), (ErrorKind::CircuitOpen, 3, 5));
        assert_eq!(breakers.unwrap().troubled()[0].state, BreakerState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn breaker_counts_timeouts() {
        let (engine, breakers) = full(Vec::new()).around(hang_topics());
        let began = Instant::now();
        let error = engine.topics().await.unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::RequestTimeout, 3));
        assert!(began.elapsed() >= Duration::from_secs(6), "{:?}", began.elapsed());
        engine.topics().await.unwrap_err();
        assert_eq!(breakers.unwrap().troubled()[0].state, BreakerState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn permit_lasts_for_all_attempts() {
        let patience = Duration::from_secs(5);
        let (faulty, _) = Faulty::around(vec![refused().with_retry_after(patience)]);
        let (engine, _) = full(Vec::new()).around(faulty);
        let began = Instant::now();
        let (first, second) =
            tokio::join!(engine.topics(), async { (engine.topics().await, began.elapsed()) });
        first.unwrap();
        let (second, waited) = second;
        second.unwrap();
        assert_eq!(waited, patience, "the second call waited for the first to be done");
    }
}
