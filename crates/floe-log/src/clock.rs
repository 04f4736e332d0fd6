//! Wall clock, the clock of a store, and deadlines.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

/// Difference between two readings that counts as agreement, in milliseconds.
pub(crate) const TOLERANCE_MS: i64 = 10_000;

/// Returns milliseconds since the Unix epoch; 0 before it.
pub(crate) fn now_ms() -> i64 {
    millis(SystemTime::now())
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the instant after `delay`; a year from now if the clock cannot hold it, which is as good as never.
pub(crate) fn deadline_after(delay: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(delay).unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 3600))
}

/// Clocks that a [`StoreClock`] reads.
pub(crate) trait TimeSource: fmt::Debug + Send + Sync {
    /// Milliseconds since the Unix epoch; may jump.
    fn wall_ms(&self) -> i64;

    /// Milliseconds since some moment; never jumps.
    fn steady_ms(&self) -> i64;
}

/// The clocks of the system.
#[derive(Debug)]
pub(crate) struct SystemClocks;

impl TimeSource for SystemClocks {
    fn wall_ms(&self) -> i64 {
        now_ms()
    }

    fn steady_ms(&self) -> i64 {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        i64::try_from(START.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// Clock of a disk in memory: that of the system unless another one is given.
#[derive(Debug, Clone)]
pub(crate) struct DiskClock(pub(crate) Arc<dyn TimeSource>);

impl Default for DiskClock {
    fn default() -> Self {
        Self(Arc::new(SystemClocks))
    }
}

/// A wall clock that a function reads. It is trusted: time is what it says, jumps too.
pub(crate) struct GivenClock<F>(pub(crate) F);

impl<F> fmt::Debug for GivenClock<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivenClock")
    }
}

impl<F: Fn() -> SystemTime + Send + Sync> TimeSource for GivenClock<F> {
    fn wall_ms(&self) -> i64 {
        millis(self.0())
    }

    fn steady_ms(&self) -> i64 {
        self.wall_ms()
    }
}

/// Clock of an open store, for append times and retention.
///
/// It starts with the wall clock and follows it, but at no more than twice its speed and never backwards: a wall clock that
/// is hours ahead for a moment neither expires records hours too early nor leaves append times in the future.
#[derive(Debug)]
pub(crate) struct StoreClock {
    last: Mutex<StoreTime>,
}

#[derive(Debug, Clone, Copy)]
struct StoreTime {
    steady_ms: i64,
    store_ms: i64,
}

impl StoreClock {
    pub(crate) fn new(source: &dyn TimeSource) -> Self {
        Self { last: Mutex::new(StoreTime { steady_ms: source.steady_ms(), store_ms: source.wall_ms() }) }
    }

    /// Returns milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self, source: &dyn TimeSource) -> i64 {
        let mut last = self.last.lock();
        let steady_ms = source.steady_ms();
        let elapsed = steady_ms.saturating_sub(last.steady_ms).max(0);
        let expected = last.store_ms.saturating_add(elapsed);
        let ahead = source.wall_ms().saturating_sub(expected);
        let now = if ahead.abs() <= TOLERANCE_MS {
            expected + ahead
        } else {
            expected + ahead.clamp(-elapsed / 2, elapsed)
        };
        *last = StoreTime { steady_ms, store_ms: now.max(last.store_ms) };
        last.store_ms
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    /// Clocks that a test sets.
    #[derive(Debug, Default)]
    pub(crate) struct SetClocks {
        wall: AtomicI64,
        steady: AtomicI64,
    }

    impl SetClocks {
        pub(crate) fn at(wall_ms: i64) -> Self {
            Self { wall: AtomicI64::new(wall_ms), steady: AtomicI64::new(0) }
        }

        /// Lets time pass on both clocks.
        pub(crate) fn pass(&self, ms: i64) {
            self.wall.fetch_add(ms, Ordering::SeqCst);
            self.steady.fetch_add(ms, Ordering::SeqCst);
        }

        /// Sets the wall clock forward, or back.
        pub(crate) fn jump(&self, ms: i64) {
            self.wall.fetch_add(ms, Ordering::SeqCst);
        }
    }

    impl TimeSource for SetClocks {
        fn wall_ms(&self) -> i64 {
            self.wall.load(Ordering::SeqCst)
        }

        fn steady_ms(&self) -> i64 {
            self.steady.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn jumps_of_the_wall_clock_are_followed_slowly_and_never_backwards() {
        let clocks = SetClocks::at(1_000_000);
        let clock = StoreClock::new(&clocks);
        let now = || clock.now_ms(&clocks);
        clocks.pass(5_000);
        assert_eq!(now(), 1_005_000);
        // Corrections within the tolerance are taken over.
        clocks.jump(2_000);
        assert_eq!(now(), 1_007_000);
        clocks.jump(7_200_000);
        assert_eq!(now(), 1_007_000, "a jump alone moves nothing");
        clocks.pass(60_000);
        assert_eq!(now(), 1_127_000);
        clocks.jump(-7_200_000);
        assert_eq!(now(), 1_127_000, "never backwards");
        // 60 s ahead of the wall now; the clock goes at half speed until they agree.
        for _ in 0..200 {
            clocks.pass(1_000);
            now();
        }
        assert_eq!(now(), clocks.wall_ms());
        // A jump that stays is caught up with after as long again.
        clocks.jump(7_200_000);
        for _ in 0..7_200 {
            clocks.pass(1_000);
            now();
        }
        assert_eq!(now(), clocks.wall_ms());
    }
}
