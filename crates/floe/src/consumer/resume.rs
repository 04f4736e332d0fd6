//! When a broken reader is opened again, and how long to wait before.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::Instant;

use crate::{Error, ErrorKind};

/// How a consumer reopens readers that broke. Reading goes on at the next offset, so nothing is lost or repeated.
///
/// The wait doubles (see [`Reconnect::multiplier`]) from the first to the longest delay; each wait is a random time
/// between half of that and all of it, so that many consumers do not come back at the same moment. A reader that gave a
/// batch, or stayed open longer than the longest delay, starts the count anew.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reconnect {
    /// Attempts in a row before the error is handed to the application and the partition ends. Default `None`: for
    /// ever, because a consumer that outlives an outage is what nearly everyone wants.
    pub max_attempts: Option<u32>,
    /// The longest wait before the first attempt. Default 100 ms.
    pub first_delay: Duration,
    /// What the wait is multiplied by after each attempt. Default 2.
    pub multiplier: f64,
    /// The longest wait before any attempt. Default 5 s.
    pub max_delay: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            max_attempts: None,
            first_delay: Duration::from_millis(100),
            multiplier: 2.0,
            max_delay: Duration::from_secs(5),
        }
    }
}

impl Reconnect {
    /// Never: the first failure is handed to the application.
    #[must_use]
    pub fn never() -> Self {
        Self { max_attempts: Some(0), ..Self::default() }
    }

    /// The wait before the attempt numbered from 0; `random` is in `0.0..=1.0`.
    fn delay(&self, attempt: u32, random: f64) -> Duration {
        let exponent = i32::try_from(attempt).unwrap_or(i32::MAX);
        let longest = self.max_delay.as_secs_f64();
        let full = (self.first_delay.as_secs_f64() * self.multiplier.max(1.0).powi(exponent)).min(longest);
        Duration::try_from_secs_f64(full * (0.5 + 0.5 * random)).unwrap_or(self.max_delay)
    }
}

/// Whether opening the reader again may help. Reading has no effects, so every failure of a connection qualifies.
pub(super) fn may_pass(error: &Error) -> bool {
    error.is_retriable()
        || matches!(
            error.kind(),
            ErrorKind::ConnectionTimeout
                | ErrorKind::ConnectionRefused
                | ErrorKind::NetworkError
                | ErrorKind::RequestTimeout
                | ErrorKind::NotLeader
        )
}

/// Counts the attempts of one partition.
#[derive(Debug)]
pub(super) struct Backoff {
    policy: Reconnect,
    attempts: u32,
    opened_at: Instant,
    random: RandomState,
}

impl Backoff {
    pub(super) fn new(policy: Reconnect) -> Self {
        Self { policy, attempts: 0, opened_at: Instant::now(), random: RandomState::new() }
    }

    /// A reader is open.
    pub(super) fn opened(&mut self) {
        self.opened_at = Instant::now();
    }

    /// The reader works.
    pub(super) fn worked(&mut self) {
        self.attempts = 0;
    }

    /// An open reader failed.
    pub(super) fn broke(&mut self) {
        if self.opened_at.elapsed() > self.policy.max_delay {
            self.attempts = 0;
        }
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long to wait before the next attempt, or `None` to give up.
    pub(super) fn next_delay(&mut self, error: &Error) -> Option<Duration> {
        if self.policy.max_attempts.is_some_and(|most| self.attempts >= most) {
            return None;
        }
        let noise = self.random.hash_one(self.attempts) >> 32;
        let random = noise as f64 / f64::from(u32::MAX);
        let delay = self.policy.delay(self.attempts, random);
        self.attempts = self.attempts.saturating_add(1);
        // A fresh state per wait: the same attempt of the next outage waits another time.
        self.random = RandomState::new();
        Some(delay.max(error.retry_after().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Error {
        Error::new(ErrorKind::NetworkError, "broken")
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = Reconnect::default();
        let full: Vec<_> = (0..8).map(|attempt| policy.delay(attempt, 1.0).as_millis()).collect();
        assert_eq!(full, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(policy.delay(1, 0.0).as_millis(), 100, "half at least");
        assert_eq!(policy.delay(u32::MAX, 1.0), policy.max_delay);
    }

    #[test]
    fn settings_that_make_no_sense_still_give_a_wait() {
        let policy = Reconnect { multiplier: f64::NAN, ..Reconnect::default() };
        assert!(policy.delay(3, 0.5) <= policy.max_delay);
        let policy = Reconnect { multiplier: f64::INFINITY, ..Reconnect::default() };
        assert!(policy.delay(3, 0.5) <= policy.max_delay);
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_are_counted_until_it_works() {
        let mut backoff = Backoff::new(Reconnect { max_attempts: Some(2), ..Reconnect::default() });
        assert!(backoff.next_delay(&broken()).is_some());
        assert!(backoff.next_delay(&broken()).is_some());
        assert_eq!((backoff.next_delay(&broken()), backoff.attempts()), (None, 2));
        backoff.worked();
        assert!(backoff.next_delay(&broken()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_was_long_open_starts_the_count_anew() {
        let mut backoff = Backoff::new(Reconnect { max_attempts: Some(1), ..Reconnect::default() });
        assert!(backoff.next_delay(&broken()).is_some());
        backoff.opened();
        backoff.broke();
        assert!(backoff.next_delay(&broken()).is_none(), "it broke at once");
        backoff.opened();
        tokio::time::advance(Duration::from_secs(6)).await;
        backoff.broke();
        assert!(backoff.next_delay(&broken()).is_some());
    }

    #[test]
    fn the_other_side_may_ask_for_a_longer_wait() {
        let mut backoff = Backoff::new(Reconnect::default());
        let error = broken().with_retry_after(Duration::from_secs(9));
        assert_eq!(backoff.next_delay(&error), Some(Duration::from_secs(9)));
    }

    #[test]
    fn every_broken_connection_may_pass_and_a_refusal_does_not() {
        assert!(may_pass(&broken().with_retriable(false)));
        assert!(may_pass(&Error::new(ErrorKind::ServerError, "busy").with_retriable(true)));
        assert!(!may_pass(&Error::new(ErrorKind::AuthFailed, "no")));
        assert!(!may_pass(&Error::new(ErrorKind::CorruptData, "no")));
    }
}
