//! Decides whether and when a failed reader is reopened.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    Error, ErrorKind,
    retry::{Retries, RetryPolicy},
};

/// Whether reopening the reader may help. Reading is idempotent, so every failure of a connection qualifies.
pub(super) fn may_pass(error: &Error) -> bool {
    error.is_retriable() || error.kind().is_unanswered() || error.kind() == ErrorKind::NotLeader
}

/// Counts the consecutive failures of one partition.
#[derive(Debug)]
pub(super) struct Backoff {
    retries: Retries,
    opened_at: Instant,
}

impl Backoff {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        Self { retries: Retries::new(policy), opened_at: Instant::now() }
    }

    /// Whether reopening the reader may help, by the policy.
    pub(super) fn may_pass(&self, error: &Error) -> bool {
        self.retries.policy().should_retry.accepts_or(error, may_pass)
    }

    /// Notes that a reader was opened.
    pub(super) fn opened(&mut self) {
        self.opened_at = Instant::now();
    }

    /// Resets the count after a batch.
    pub(super) fn worked(&mut self) {
        if self.retries.attempts() > 0 {
            self.retries.reset();
        }
    }

    /// Notes that an open reader failed.
    pub(super) fn broke(&mut self) {
        // A reader that stayed open for long has worked, even without records.
        if self.opened_at.elapsed() > self.retries.policy().max_delay {
            self.retries.reset();
        }
    }

    pub(super) fn attempts(&self) -> u32 {
        self.retries.attempts()
    }

    /// Returns the delay before the next attempt, or `None` after the last one.
    pub(super) fn next_delay(&mut self, error: &Error) -> Option<Duration> {
        if self.retries.attempts() == 0 {
            // The deadline of an outage counts from its first failure.
            self.retries.reset();
        }
        self.retries.after_if(true, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Error {
        Error::new(ErrorKind::NetworkError, "broken")
    }

    fn attempts(most: u32) -> RetryPolicy {
        RetryPolicy::default().max_attempts(most)
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_resets_the_attempts() {
        let mut backoff = Backoff::new(attempts(3));
        assert!(backoff.next_delay(&broken()).is_some());
        assert!(backoff.next_delay(&broken()).is_some());
        assert_eq!((backoff.next_delay(&broken()), backoff.attempts()), (None, 3));
        backoff.worked();
        assert!(backoff.next_delay(&broken()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_open_reader_resets_the_attempts() {
        let mut backoff = Backoff::new(attempts(2));
        assert!(backoff.next_delay(&broken()).is_some());
        backoff.opened();
        backoff.broke();
        assert!(backoff.next_delay(&broken()).is_none(), "it failed at once");
        backoff.opened();
        tokio::time::advance(Duration::from_secs(6)).await;
        backoff.broke();
        assert!(backoff.next_delay(&broken()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_for_one_outage() {
        let mut backoff = Backoff::new(RetryPolicy::default().deadline(Duration::from_secs(10)));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(backoff.next_delay(&broken()).is_some());
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(backoff.next_delay(&broken()).is_none());
        backoff.worked();
        assert!(backoff.next_delay(&broken()).is_some());
    }

    #[test]
    fn connection_failures_may_pass_and_refusals_do_not() {
        assert!(may_pass(&broken().with_retriable(false)));
        assert!(may_pass(&Error::new(ErrorKind::ServerError, "busy").with_retriable(true)));
        assert!(!may_pass(&Error::new(ErrorKind::AuthFailed, "no")));
        assert!(!may_pass(&Error::new(ErrorKind::CorruptData, "no")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_predicate_decides_what_may_pass() {
        let backoff =
            Backoff::new(RetryPolicy::default().when(|error| error.kind() == ErrorKind::AuthFailed));
        assert!(backoff.may_pass(&Error::new(ErrorKind::AuthFailed, "no")));
        assert!(!backoff.may_pass(&broken()));
    }
}
