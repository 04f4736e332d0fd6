//! Repeats failed calls.

use futures_util::future::BoxFuture;

use super::{Layer, Operation};
use crate::{Effect, Error, ErrorKind, Result, RetryPolicy, retry::Retries, telemetry::Telemetry};

/// Repeats calls that failed and are worth it, by a [`RetryPolicy`].
///
/// A call that must not happen twice, such as creating a topic, is repeated only after errors that say that it did not
/// happen. Left alone are appends, which the producer repeats itself because only it can keep their order; opening a
/// reader, which the consumer does at the next offset; health checks, which tell how it is now; and closing.
#[derive(Debug)]
pub struct Retry {
    policy: RetryPolicy,
    telemetry: Option<Telemetry>,
}

impl Retry {
    /// Repeats by this policy.
    #[must_use]
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, telemetry: None }
    }

    /// Tells about every repetition.
    pub(crate) fn observed(policy: RetryPolicy, telemetry: Telemetry) -> Self {
        Self { policy, telemetry: Some(telemetry) }
    }
}

impl Layer for Retry {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        if operation.ordered || operation.is_open() || operation.is_health() || operation.is_close() {
            return attempt().await;
        }
        let mut retries = Retries::new(self.policy.clone());
        let mut cause: Option<Error> = None;
        loop {
            let outcome = match retries.time_left() {
                None => attempt().await,
                Some(left) => match tokio::time::timeout(left, attempt()).await {
                    Ok(outcome) => outcome,
                    Err(_) => {
                        let error = out_of_time(operation, cause).with_attempts(retries.attempts() + 1);
                        return Err(error);
                    }
                },
            };
            let error = match outcome {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let wait =
                if operation.repeatable { retries.after(&error) } else { retries.after_unrepeatable(&error) };
            let Some(wait) = wait else { return Err(error.with_attempts(retries.attempts())) };
            tracing::debug!(
                operation = operation.name,
                attempt = retries.attempts(),
                delay_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                %error,
                "call failed; it is repeated"
            );
            if let Some(telemetry) = &self.telemetry {
                telemetry.retried(operation.name, operation.topic.as_ref(), &error);
            }
            tokio::time::sleep(wait).await;
            cause = Some(error);
        }
    }
}

fn out_of_time(operation: &Operation, cause: Option<Error>) -> Error {
    let effect = if operation.reads() { Effect::None } else { Effect::Unknown };
    let error =
        Error::new(ErrorKind::RequestTimeout, "the time for all attempts is over").with_effect(effect);
    let error = match cause {
        Some(cause) => error.with_source(cause),
        None => error,
    };
    operation.locate(error)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::{
        TopicSpec,
        engine::fake::FakeEngine,
        layer::testing::{Faulty, append, engine_of, hang_topics},
    };

    fn refused() -> Error {
        Error::new(ErrorKind::ConnectionRefused, "nobody there")
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_help_is_tried_again_and_the_last_error_counts_the_attempts() {
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
    async fn what_does_not_pass_is_not_repeated() {
        let (faulty, calls) = Faulty::around(vec![Error::new(ErrorKind::AuthFailed, "no"); 9]);
        let engine = Retry::new(RetryPolicy::calls()).layer(faulty);
        assert_eq!(engine.topics().await.unwrap_err().kind(), ErrorKind::AuthFailed);
        assert_eq!(calls(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_happened_is_not_done_twice() {
        let lost = refused().with_effect(Effect::Unknown);
        let (faulty, calls) = Faulty::around(vec![refused(), lost, refused()]);
        let engine = Retry::new(RetryPolicy::calls()).layer(faulty);
        let error = engine.create_topic(TopicSpec::new("new")).await.unwrap_err();
        assert_eq!((error.effect(), error.attempts(), calls()), (Effect::Unknown, 2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_other_side_says_how_long_to_wait() {
        let busy = Error::new(ErrorKind::RateLimited, "slow down").with_retry_after(Duration::from_secs(8));
        let (faulty, _) = Faulty::around(vec![busy]);
        let engine = Retry::new(RetryPolicy::calls()).layer(faulty);
        let began = Instant::now();
        engine.topics().await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(8));
    }

    #[tokio::test(start_paused = true)]
    async fn all_attempts_share_one_deadline() {
        let policy = RetryPolicy { deadline: Some(Duration::from_secs(9)), ..RetryPolicy::default() };
        let engine = Retry::new(policy).layer(hang_topics());
        let began = Instant::now();
        let error = engine.topics().await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed()), (ErrorKind::RequestTimeout, Duration::from_secs(9)));
    }

    #[tokio::test(start_paused = true)]
    async fn appends_and_opening_are_left_to_those_who_know_how() {
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
    async fn a_call_that_works_is_made_once() {
        let fake = FakeEngine::with_topic("orders", 1);
        let engine = Retry::new(RetryPolicy::calls()).layer(engine_of(&fake));
        assert_eq!(engine.topics().await.unwrap().len(), 1);
    }
}
