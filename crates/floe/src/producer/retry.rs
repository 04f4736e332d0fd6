//! How often and how soon a failed batch is sent again.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// When to try again. The wait before each attempt is random between nothing and an upper bound that grows with every
/// failure ("full jitter"), so that many producers do not come back all at once.
///
/// ```
/// use std::time::Duration;
/// use floe::producer::RetryPolicy;
///
/// let policy = RetryPolicy::default();
/// assert_eq!(policy.upper_bound(1), Duration::from_millis(100));
/// assert_eq!(policy.upper_bound(3), Duration::from_millis(400));
/// assert_eq!(policy.upper_bound(40), Duration::from_secs(5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Most attempts for one batch, the first included. Default: `None`, as many as the timeout allows.
    pub max_attempts: Option<u32>,
    /// Upper bound of the wait after the first failure. Default: 100 ms.
    pub first_delay: Duration,
    /// What the upper bound is multiplied by after every further failure. Default: 2.
    pub multiplier: f64,
    /// Largest upper bound. Default: 5 s.
    pub max_delay: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: None,
            first_delay: Duration::from_millis(100),
            multiplier: 2.0,
            max_delay: Duration::from_secs(5),
        }
    }
}

impl RetryPolicy {
    /// One attempt, no retries.
    #[must_use]
    pub fn never() -> Self {
        Self { max_attempts: Some(1), ..Self::default() }
    }

    /// Longest wait after this many failures.
    #[must_use]
    pub fn upper_bound(&self, failures: u32) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.first_delay.as_secs_f64() * self.multiplier.powi(exponent);
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max_delay).min(self.max_delay)
    }

    /// The wait after this many failures, `random` of the way from nothing to the upper bound.
    pub(super) fn delay(&self, failures: u32, random: f64) -> Duration {
        self.upper_bound(failures).mul_f64(random.clamp(0.0, 1.0))
    }

    /// Whether a batch that was tried so often may be tried again.
    pub(super) fn allows_after(&self, attempts: u32) -> bool {
        self.max_attempts.is_none_or(|most| attempts < most)
    }

    /// What is wrong with the numbers, if anything.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.max_attempts == Some(0) {
            return Some("max_attempts is 0: at least the first attempt must be allowed");
        }
        if !self.multiplier.is_finite() || self.multiplier < 1.0 {
            return Some("multiplier must be a number of at least 1");
        }
        None
    }
}

/// Random bits. The standard library seeds its hash maps from the operating system; that is random enough to tell
/// producers apart and to spread retries, and needs no further crate.
pub(super) fn random_bits() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A random number from 0 to 1.
pub(super) fn random_fraction() -> f64 {
    (random_bits() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(policy.delay(2, 0.0), Duration::ZERO);
        assert_eq!(policy.delay(2, 0.5), Duration::from_millis(100));
        assert_eq!(policy.delay(2, 1.0), Duration::from_millis(200));
        let fractions: Vec<_> = (0..64).map(|_| random_fraction()).collect();
        assert!(fractions.iter().all(|fraction| (0.0..1.0).contains(fraction)));
        assert!(fractions.iter().any(|f| *f < 0.5) && fractions.iter().any(|f| *f > 0.5));
    }

    #[test]
    fn attempts_are_counted_with_the_first() {
        assert!(!RetryPolicy::never().allows_after(1));
        assert!(RetryPolicy { max_attempts: Some(3), ..RetryPolicy::default() }.allows_after(2));
        assert!(RetryPolicy::default().allows_after(u32::MAX));
    }

    #[test]
    fn impossible_numbers_are_named() {
        assert!(RetryPolicy { max_attempts: Some(0), ..RetryPolicy::default() }.problem().is_some());
        assert!(RetryPolicy { multiplier: f64::NAN, ..RetryPolicy::default() }.problem().is_some());
        assert!(RetryPolicy { multiplier: 0.5, ..RetryPolicy::default() }.problem().is_some());
        assert!(RetryPolicy::default().problem().is_none());
    }
}
