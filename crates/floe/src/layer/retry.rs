//! Retries failed calls.

use std::fmt;

use futures_util::future::BoxFuture;

#[cfg(doc)]
use super::OperationKind;
use super::{Layer, Operation};
use crate::{
    Result, RetryPolicy,
    retry::{RetryObserver, retry_call},
};

/// Retries failed calls by a [`RetryPolicy`].
///
/// A call that is not idempotent, such as creating a topic, is retried only after errors without effect. The layer
/// passes on the calls that their caller retries; see [`OperationKind::is_retried_by_caller`].
pub struct Retry {
    policy: RetryPolicy,
    observer: Option<RetryObserver>,
}

impl Retry {
    /// Retries by this policy.
    #[must_use]
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, observer: None }
    }

    /// Calls `observer` on every retry.
    #[must_use]
    pub fn on_retry(self, observer: RetryObserver) -> Self {
        Self { observer: Some(observer), ..self }
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Layer for Retry {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        if operation.kind.is_retried_by_caller() {
            return attempt().await;
        }
        retry_call(&self.policy, operation, self.observer.as_ref(), attempt).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::{
        Effect, Error, ErrorKind, TopicSpec,
        fake_engine::FakeEngine,
        layer::testing::{Faulty, append, engine_of, hang_topics},
    };

    fn refused() -> Error {
        Error::new(ErrorKind::ConnectionRefused, "refused")
    }

    #[tokio::test(start_paused = true)]
    async fn retriable_errors_are_retried_and_attempts_are_counted() {
        let (faulty, calls) = Faulty::around(vec![refused(), refused()]);
        let engine = Retry::new(RetryPolicy::calls()).layer(faulty);
        engine.topics().await.unwrap();
        assert_eq!(calls(), 3);

        let (faulty, calls) = Faulty::around(vec![refused(); 9]);
        let engine = Retry::new(RetryPolicy::calls()).layer(faulty);
        let began = Instant::now();
        let error = engine.topics().await.unwrap_err();
        assert_eq!((error.kind(), error.attempts(), calls()), (ErrorKind::ConnectionRefused, 3, 3));
        assert!(began.elapsed() <= Duration::from_millis(302), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn permanent_errors_are_not_retried() {
        let (faulty, calls) = Faulty::around(vec![Error::new(ErrorKind::AuthFailed, "no"); 9]);
        let engine = Retry::new(RetryPolicy::calls()).layer(faulty);
        assert_eq!(engine.topics().await.unwrap_err().kind(), ErrorKind::AuthFailed);
        assert_eq!(calls(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn call_that_is_not_idempotent_is_not_retried_after_an_unknown_effect() {
        let lost = refused().with_effect(Effect::Unknown);
        let (faulty, calls) = Faulty::around(vec![refused(), lost, refused()]);
        let engine = Retry::new(RetryPolicy::calls()).layer(faulty);
        let error = engine.create_topic(TopicSpec::new("new")).await.unwrap_err();
        assert_eq!((error.effect(), error.attempts(), calls()), (Effect::Unknown, 2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_of_the_server_is_honored() {
        let busy = Error::new(ErrorKind::RateLimited, "slow down").with_retry_after(Duration::from_secs(8));
        let (faulty, _) = Faulty::around(vec![busy]);
        let engine = Retry::new(RetryPolicy::calls()).layer(faulty);
        let began = Instant::now();
        engine.topics().await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(8));
    }

    #[tokio::test(start_paused = true)]
    async fn all_attempts_share_one_deadline() {
        let policy = RetryPolicy::default().deadline(Duration::from_secs(9));
        let engine = Retry::new(policy).layer(hang_topics());
        let began = Instant::now();
        let error = engine.topics().await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed()), (ErrorKind::RequestTimeout, Duration::from_secs(9)));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_their_caller_retries_are_passed_on() {
        let (faulty, calls) = Faulty::around(vec![refused(); 9]);
        let engine = Retry::new(RetryPolicy::calls()).layer(faulty);
        append(&engine, 0).await.unwrap_err();
        let at = crate::Topic::from("orders").partition(0);
        let request = crate::engine::ReadRequest::new(at, crate::engine::Start::Earliest);
        engine.open(request).await.unwrap_err();
        engine.health().await.unwrap_err();
        engine.close().await.unwrap_err();
        assert_eq!(calls(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn successful_call_is_made_once() {
        let fake = FakeEngine::with_topic("orders", 1);
        let engine = Retry::new(RetryPolicy::calls()).layer(engine_of(&fake));
        assert_eq!(engine.topics().await.unwrap().len(), 1);
    }
}
