//! Calls of a task that are retried until they succeed or its lease ends.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::sleep;

use crate::Result;

/// Delay before a call is retried.
pub(super) const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Retries failures that pass; the caller ends with the lease.
pub(super) async fn patiently<'a, T>(mut look_up: impl FnMut() -> BoxFuture<'a, Result<T>>) -> Result<T> {
    loop {
        match look_up().await {
            Err(error) if error.is_retriable() || error.kind().is_unanswered() => {
                tracing::warn!(%error, "a task waits for its outputs");
                sleep(RETRY_DELAY).await;
            }
            other => return other,
        }
    }
}
