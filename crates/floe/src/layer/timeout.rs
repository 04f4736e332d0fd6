//! Timeout of one attempt of a call.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Layer, Operation, OperationKind};
use crate::{Effect, Error, ErrorKind, Result};

/// Ends an attempt that takes too long with [`ErrorKind::RequestTimeout`].
///
/// The timeout does not apply to appends, which the producer bounds and an engine finishes in order; to the wait for
/// records, which may last forever; and to close, which has a limit of its own.
#[derive(Debug)]
pub struct Timeout {
    per_attempt: Duration,
}

impl Timeout {
    /// Allows each attempt this long.
    #[must_use]
    pub fn new(per_attempt: Duration) -> Self {
        Self { per_attempt }
    }
}

impl Layer for Timeout {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        if matches!(operation.kind, OperationKind::Append | OperationKind::Close) {
            return attempt().await;
        }
        match tokio::time::timeout(self.per_attempt, attempt()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let message = format!("no answer within {:?}", self.per_attempt);
                let effect = if operation.kind.is_read() { Effect::None } else { Effect::Unknown };
                Err(operation.locate(Error::new(ErrorKind::RequestTimeout, message).with_effect(effect)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;
    use crate::{
        fake_engine::{FakeEngine, Fault},
        layer::testing::{append, engine_of, hang_topics},
    };

    #[tokio::test(start_paused = true)]
    async fn attempt_without_an_answer_times_out() {
        let engine = Timeout::new(Duration::from_secs(7)).layer(hang_topics());
        let began = Instant::now();
        let error = engine.topics().await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::RequestTimeout, Effect::None));
        assert_eq!(error.operation(), Some("topics"));
        assert_eq!(began.elapsed(), Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn appends_have_no_timeout() {
        let fake = FakeEngine::with_topic("orders", 1);
        fake.fail_appends([Fault::Hold]);
        let engine = Timeout::new(Duration::from_secs(1)).layer(engine_of(&fake));
        let waiting = tokio::spawn({
            let engine = Arc::clone(&engine);
            async move { append(&engine, 0).await }
        });
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(!waiting.is_finished());
        waiting.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn reads_have_no_timeout() {
        use crate::engine::{ReadRequest, Start};
        let fake = FakeEngine::with_topic("orders", 1);
        let engine = Timeout::new(Duration::from_secs(1)).layer(engine_of(&fake));
        let at = crate::Topic::from("orders").partition(0);
        let mut reader = engine.open(ReadRequest::new(at, Start::Earliest)).await.unwrap();
        let writer = Arc::clone(&engine);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            append(&writer, 0).await.unwrap();
        });
        assert!(reader.next().await.unwrap().is_some());
    }
}
