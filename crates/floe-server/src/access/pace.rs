//! A rate with a burst, paid in advance or owed.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Longest time that one amount costs, which keeps the arithmetic within bounds.
const MAX_COST: Duration = Duration::from_secs(24 * 3600);

/// A rate in units per second. Units that were not used are kept for the length of a burst; a larger amount is let
/// through and delays the next one.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: u64,
    burst: Duration,
    /// Time up to which the units are spent.
    spent_until: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(per_second: u64, burst: Duration) -> Self {
        Self { per_second: per_second.max(1), burst, spent_until: Mutex::new(Instant::now()) }
    }

    /// Spends an amount, and returns when the caller may go on.
    pub(super) fn take(&self, amount: u64) -> Instant {
        let now = Instant::now();
        let mut spent_until = self.spent_until.lock();
        let from = (*spent_until).max(now);
        *spent_until = from + self.cost(amount);
        self.start(from, now)
    }

    /// Returns when the amounts spent so far are paid.
    pub(super) fn paid(&self) -> Instant {
        let now = Instant::now();
        self.start(*self.spent_until.lock(), now)
    }

    /// Spends one unit if it is there.
    pub(super) fn try_take(&self) -> bool {
        let now = Instant::now();
        let mut spent_until = self.spent_until.lock();
        let from = (*spent_until).max(now);
        let is_free = from + self.cost(1) <= now + self.burst;
        if is_free {
            *spent_until = from + self.cost(1);
        }
        is_free
    }

    /// Whether a new rate would behave the same.
    pub(super) fn is_unspent(&self) -> bool {
        *self.spent_until.lock() <= Instant::now()
    }

    fn start(&self, spent_until: Instant, now: Instant) -> Instant {
        spent_until.checked_sub(self.burst).map_or(now, |start| start.max(now))
    }

    fn cost(&self, amount: u64) -> Duration {
        let nanos = u128::from(amount) * 1_000_000_000 / u128::from(self.per_second);
        u64::try_from(nanos).map_or(MAX_COST, Duration::from_nanos).min(MAX_COST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn amounts_go_at_the_rate_after_the_burst() {
        let pace = Pace::new(100, Duration::from_secs(1));
        let begun = Instant::now();
        for _ in 0..10 {
            tokio::time::sleep_until(pace.take(50)).await;
        }
        // One second of the rate is free, and the last amount is owed.
        assert_eq!(begun.elapsed().as_millis() / 100, 35);
    }

    #[tokio::test(start_paused = true)]
    async fn large_amount_passes_and_delays_the_next() {
        let pace = Pace::new(10, Duration::from_secs(1));
        assert!(pace.take(100) <= Instant::now());
        assert!(!pace.is_unspent());
        let wait = pace.paid() - Instant::now();
        assert_eq!(wait, Duration::from_secs(9));
        assert_eq!(pace.take(u64::MAX) - Instant::now(), wait);
        assert!(pace.take(1) - Instant::now() >= MAX_COST);
    }

    #[tokio::test(start_paused = true)]
    async fn single_units_run_out_and_come_back() {
        let pace = Pace::new(1, Duration::from_secs(3));
        assert_eq!((0..10).filter(|_| pace.try_take()).count(), 3);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!((0..10).filter(|_| pace.try_take()).count(), 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(pace.is_unspent());
        assert_eq!((0..10).filter(|_| pace.try_take()).count(), 3);
    }
}
