//! Retries: one policy for calls, batches and broken readers.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::{Effect, Error, ErrorKind, Operation, Result, random};

/// A retry policy: exponential back-off with full jitter. The wait before each attempt is random between zero and an
/// upper bound that grows with every failure, so that many clients do not retry in step. Where the server asked for a
/// wait ([`Error::retry_after`]), the wait is at least that long.
///
/// [`RetryPolicy::default`] retries for as long as its user allows: a producer until its timeout, a consumer for ever.
///
/// ```
/// use std::time::Duration;
/// use floe_core::RetryPolicy;
///
/// let policy = RetryPolicy::default().max_attempts(10);
/// assert_eq!(policy.upper_bound(1), Duration::from_millis(100));
/// assert_eq!(policy.upper_bound(3), Duration::from_millis(400));
/// assert_eq!(policy.upper_bound(40), Duration::from_secs(5));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Largest number of attempts, the first included. Default: `None`, no limit.
    pub max_attempts: Option<u32>,
    /// Upper bound of the wait after the first failure. Default: 100 ms.
    pub first_delay: Duration,
    /// Factor by which the upper bound grows with every further failure. Default: 2.
    pub multiplier: f64,
    /// Largest upper bound. Default: 5 s.
    pub max_delay: Duration,
    /// Deadline for all attempts together, the waits included. Default: `None`, no limit.
    pub deadline: Option<Duration>,
    /// Predicate over errors. Default: [`Error::is_retriable`].
    pub should_retry: ShouldRetry,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: None,
            first_delay: Duration::from_millis(100),
            multiplier: 2.0,
            max_delay: Duration::from_secs(5),
            deadline: None,
            should_retry: ShouldRetry::default(),
        }
    }
}

impl RetryPolicy {
    /// Returns the policy for single calls, such as describing a topic: 3 attempts within 30 seconds.
    #[must_use]
    pub fn calls() -> Self {
        Self { max_attempts: Some(3), deadline: Some(Duration::from_secs(30)), ..Self::default() }
    }

    /// Returns the policy of one attempt, without retries.
    #[must_use]
    pub fn never() -> Self {
        Self { max_attempts: Some(1), ..Self::default() }
    }

    /// Sets the largest number of attempts, the first included; `None` for no limit.
    #[must_use]
    pub fn max_attempts(mut self, attempts: impl Into<Option<u32>>) -> Self {
        self.max_attempts = attempts.into();
        self
    }

    /// Sets the upper bound of the wait after the first failure.
    #[must_use]
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// Sets the factor by which the upper bound grows with every further failure; at least 1.
    #[must_use]
    pub fn multiplier(mut self, factor: f64) -> Self {
        self.multiplier = factor;
        self
    }

    /// Sets the largest upper bound.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Sets the deadline for all attempts together, the waits included; `None` for no limit.
    #[must_use]
    pub fn deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.deadline = deadline.into();
        self
    }

    /// Lets `predicate` decide which errors are retried.
    ///
    /// ```
    /// use floe_core::{ErrorKind, RetryPolicy};
    ///
    /// let policy = RetryPolicy::calls().when(|error| error.kind() == ErrorKind::RateLimited);
    /// ```
    #[must_use]
    pub fn when(mut self, predicate: impl Fn(&Error) -> bool + Send + Sync + 'static) -> Self {
        self.should_retry = ShouldRetry::new(predicate);
        self
    }

    /// Longest wait after this many failures, unless the server asks for more.
    #[must_use]
    pub fn upper_bound(&self, failures: u32) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.first_delay.as_secs_f64() * self.multiplier.powi(exponent);
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max_delay).min(self.max_delay)
    }

    /// A random wait after this many failures, the last of which was `error`.
    #[must_use]
    pub fn delay(&self, failures: u32, error: Option<&Error>) -> Duration {
        let asked = error.and_then(Error::retry_after).unwrap_or_default();
        self.jittered(failures, random::fraction()).max(asked)
    }

    /// The wait after this many failures, `random` of the way from nothing to the upper bound.
    fn jittered(&self, failures: u32, random: f64) -> Duration {
        self.upper_bound(failures).mul_f64(random.clamp(0.0, 1.0))
    }

    /// Whether the policy allows another attempt after this many.
    #[must_use]
    pub fn allows_after(&self, attempts: u32) -> bool {
        self.max_attempts.is_none_or(|most| attempts < most)
    }

    /// The reason why the policy cannot work, if any.
    pub fn problem(&self) -> Option<&'static str> {
        if self.max_attempts == Some(0) {
            return Some("max_attempts is 0: at least the first attempt must be allowed");
        }
        if !self.multiplier.is_finite() || self.multiplier < 1.0 {
            return Some("multiplier must be a number of at least 1");
        }
        if self.deadline == Some(Duration::ZERO) {
            return Some("deadline is 0: not even the first attempt would have time");
        }
        None
    }
}

type Predicate = dyn Fn(&Error) -> bool + Send + Sync;

/// Decides which errors are retried; by default [`Error::is_retriable`] does.
///
/// The predicate judges whether a retry makes sense, never whether it is harmless: a call that is not idempotent is not
/// retried once it may have taken effect ([`Effect::Unknown`]).
#[derive(Clone, Default)]
pub struct ShouldRetry(Option<Arc<Predicate>>);

impl ShouldRetry {
    /// Decides by `predicate`.
    pub fn new(predicate: impl Fn(&Error) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(predicate)))
    }

    /// Whether `error` is retried.
    #[must_use]
    pub fn accepts(&self, error: &Error) -> bool {
        self.accepts_or(error, Error::is_retriable)
    }

    /// As [`ShouldRetry::accepts`], with the caller's default.
    pub fn accepts_or(&self, error: &Error, default: impl Fn(&Error) -> bool) -> bool {
        match &self.0 {
            Some(predicate) => predicate(error),
            None => default(error),
        }
    }
}

impl fmt::Debug for ShouldRetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "predicate" } else { "retriable errors" })
    }
}

/// Counts the attempts of one piece of work and gives the waits between them.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> floe_core::Result<()> {
/// use floe_core::{Error, ErrorKind, RetryPolicy, retry::Retries};
///
/// let mut tries_left = 2;
/// let mut work = || {
///     tries_left -= 1;
///     if tries_left > 0 { Err(Error::new(ErrorKind::RateLimited, "slow down")) } else { Ok("done") }
/// };
/// let mut retries = Retries::new(RetryPolicy::calls());
/// let outcome = loop {
///     match work() {
///         Ok(outcome) => break outcome,
///         Err(error) => match retries.after(&error) {
///             Some(delay) => tokio::time::sleep(delay).await,
///             None => return Err(error.with_attempts(retries.attempts())),
///         },
///     }
/// };
/// assert_eq!(outcome, "done");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Retries {
    policy: RetryPolicy,
    began: Instant,
    failures: u32,
}

impl Retries {
    /// Starts the deadline for all attempts.
    #[must_use]
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, began: Instant::now(), failures: 0 }
    }

    /// Number of failed attempts.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.failures
    }

    /// Counts a failed attempt. Returns the wait before the next one, or `None` if there is none: the error is not
    /// retriable, or the attempts or the time are used up.
    pub fn after(&mut self, error: &Error) -> Option<Duration> {
        let worth_it = self.policy.should_retry.accepts(error);
        self.after_if(worth_it, error)
    }

    /// As [`Retries::after`], for work that is not idempotent: an error of unknown effect ends it.
    pub fn after_not_idempotent(&mut self, error: &Error) -> Option<Duration> {
        let worth_it = error.effect() == Effect::None && self.policy.should_retry.accepts(error);
        self.after_if(worth_it, error)
    }

    /// As [`Retries::after`] where the caller judges the error.
    pub fn after_if(&mut self, worth_it: bool, error: &Error) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        if !worth_it || !self.policy.allows_after(self.failures) {
            return None;
        }
        let delay = self.policy.delay(self.failures, Some(error));
        let fits = self.policy.deadline.is_none_or(|deadline| {
            self.began.elapsed().checked_add(delay).is_some_and(|elapsed| elapsed < deadline)
        });
        fits.then_some(delay)
    }

    /// Time until the deadline; `None` without a deadline.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.policy.deadline.map(|deadline| deadline.saturating_sub(self.began.elapsed()))
    }

    /// Resets attempts and deadline after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
        self.began = Instant::now();
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &RetryPolicy {
        &self.policy
    }
}

/// Observes retries: called with the operation and the error of the failed attempt before each wait.
pub type RetryObserver = Arc<dyn Fn(&Operation, &Error) + Send + Sync>;

/// Runs a call until it succeeds, fails for good, or the policy ends.
///
/// A call that is not idempotent is retried only after errors without effect.
///
/// # Errors
/// The error of the last attempt, with the number of attempts; [`ErrorKind::RequestTimeout`] at the policy's deadline.
///
/// # Cancel safety
/// Dropping the future drops the attempt under way.
pub async fn retry_call<'a, T, F>(
    policy: &RetryPolicy,
    operation: &Operation,
    observer: Option<&RetryObserver>,
    attempt: F,
) -> Result<T>
where
    F: Fn() -> BoxFuture<'a, Result<T>>,
{
    let mut retries = Retries::new(policy.clone());
    let mut cause: Option<Error> = None;
    loop {
        let outcome = match retries.time_left() {
            None => attempt().await,
            Some(left) => match tokio::time::timeout(left, attempt()).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    let attempts = retries.attempts() + 1;
                    return Err(deadline_passed(policy, operation, cause).with_attempts(attempts));
                }
            },
        };
        let error = match outcome {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let idempotent = operation.kind.is_idempotent();
        let wait = if idempotent { retries.after(&error) } else { retries.after_not_idempotent(&error) };
        let Some(wait) = wait else { return Err(error.with_attempts(retries.attempts())) };
        tracing::debug!(
            operation = operation.kind.as_str(),
            attempt = retries.attempts(),
            delay_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            %error,
            "call failed; retrying"
        );
        if let Some(observer) = observer {
            observer(operation, &error);
        }
        tokio::time::sleep(wait).await;
        cause = Some(error);
    }
}

fn deadline_passed(policy: &RetryPolicy, operation: &Operation, cause: Option<Error>) -> Error {
    let effect = if operation.kind.is_read() { Effect::None } else { Effect::Unknown };
    let limit = policy.deadline.unwrap_or_default();
    let message =
        format!("no answer within {limit:?}, the deadline for all attempts (limit: retry.deadline)");
    let error = Error::new(ErrorKind::RequestTimeout, message);
    let error = error.with_effect(effect);
    operation.locate(match cause {
        Some(cause) => error.with_source(cause),
        None => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn broken() -> Error {
        Error::new(ErrorKind::NetworkError, "broken")
    }

    #[test]
    fn the_bound_doubles_up_to_the_limit() {
        let policy = RetryPolicy::default();
        let bounds: Vec<_> = (1..=8).map(|failures| policy.upper_bound(failures).as_millis()).collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(policy.upper_bound(u32::MAX), Duration::from_secs(5));
    }

    #[test]
    fn jitter_covers_the_whole_range() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.jittered(2, 0.0), Duration::ZERO);
        assert_eq!(policy.jittered(2, 0.5), Duration::from_millis(100));
        assert_eq!(policy.jittered(2, 1.0), Duration::from_millis(200));
    }

    #[test]
    fn attempts_are_counted_with_the_first() {
        assert!(!RetryPolicy::never().allows_after(1));
        assert!(RetryPolicy { max_attempts: Some(3), ..RetryPolicy::default() }.allows_after(2));
        assert!(RetryPolicy::default().allows_after(u32::MAX));
        assert_eq!(RetryPolicy::calls().max_attempts, Some(3));
    }

    #[test]
    fn impossible_numbers_are_named() {
        let policy = RetryPolicy::default;
        assert!(RetryPolicy { max_attempts: Some(0), ..policy() }.problem().is_some());
        assert!(RetryPolicy { multiplier: f64::NAN, ..policy() }.problem().is_some());
        assert!(RetryPolicy { multiplier: 0.5, ..policy() }.problem().is_some());
        assert!(RetryPolicy { deadline: Some(Duration::ZERO), ..policy() }.problem().is_some());
        assert!(policy().problem().is_none() && RetryPolicy::calls().problem().is_none());
    }

    #[test]
    fn settings_that_make_no_sense_still_give_a_wait() {
        for multiplier in [f64::NAN, f64::INFINITY, -2.0] {
            let policy = RetryPolicy { multiplier, ..RetryPolicy::default() };
            assert!(policy.upper_bound(3) <= policy.max_delay, "{multiplier}");
        }
    }

    #[test]
    fn the_other_side_may_ask_for_a_longer_wait() {
        let error = broken().with_retry_after(Duration::from_secs(9));
        assert_eq!(RetryPolicy::default().delay(1, Some(&error)), Duration::from_secs(9));
        assert!(RetryPolicy::default().delay(1, Some(&broken())) <= Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn retries_end_with_the_attempts() {
        let mut retries = Retries::new(RetryPolicy::calls());
        assert!(retries.after(&broken()).is_some());
        assert!(retries.after(&broken()).is_some());
        assert_eq!((retries.after(&broken()), retries.attempts()), (None, 3));
        retries.reset();
        assert!(retries.after(&broken()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn retries_end_with_the_time() {
        let policy = RetryPolicy { deadline: Some(Duration::from_secs(10)), ..RetryPolicy::default() };
        let mut retries = Retries::new(policy);
        let patient = broken().with_retry_after(Duration::from_secs(4));
        assert_eq!(retries.after(&patient), Some(Duration::from_secs(4)));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(retries.after(&patient), Some(Duration::from_secs(4)));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(retries.time_left(), Some(Duration::from_secs(2)));
        assert_eq!(retries.after(&patient), None, "the next attempt would come after the deadline");
        let endless = broken().with_retry_after(Duration::MAX);
        assert_eq!(retries.after(&endless), None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_errors_worth_it_are_tried_again() {
        let refused = Error::new(ErrorKind::AuthFailed, "no");
        assert_eq!(Retries::new(RetryPolicy::calls()).after(&refused), None);
        let stubborn = RetryPolicy::calls().when(|error| error.kind() == ErrorKind::AuthFailed);
        assert!(Retries::new(stubborn.clone()).after(&refused).is_some());
        assert_eq!(Retries::new(stubborn).after(&broken()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_happened_is_not_done_twice() {
        let happened = broken().with_effect(Effect::Unknown);
        let mut retries = Retries::new(RetryPolicy::calls().when(|_| true));
        assert_eq!(retries.after_not_idempotent(&happened), None);
        assert!(retries.after_not_idempotent(&broken().with_effect(Effect::None)).is_some());
    }
}
