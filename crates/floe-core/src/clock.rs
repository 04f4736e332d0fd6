//! The time of day, which a test may set, and the time that goes on while the system sleeps.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::platform;

/// The clock that dates records and expires them; by default that of the system.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use floe_core::clock::WallClock;
///
/// // Follows the clock of tokio, which tests may pause and advance.
/// let began = tokio::time::Instant::now();
/// let clock = WallClock::new(move || SystemTime::UNIX_EPOCH + Duration::from_secs(86_400) + began.elapsed());
/// assert!(clock.now_millis() >= 86_400_000);
/// ```
#[derive(Clone, Default)]
pub struct WallClock(Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>);

impl WallClock {
    /// Creates a clock that calls a function for each reading.
    pub fn new(read: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(read)))
    }

    /// Returns whether it is the clock of the system.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the time.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.0.as_ref().map_or_else(SystemTime::now, |read| read())
    }

    /// Returns milliseconds since the Unix epoch; 0 before it.
    #[must_use]
    pub fn now_millis(&self) -> i64 {
        let since = self.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_system() { "WallClock(system)" } else { "WallClock(set)" })
    }
}

/// Monotonic time that goes on while the system is suspended, unlike [`std::time::Instant`] on Linux and macOS: a lease of
/// ten seconds has passed after a night in the bag. It follows the clock of tokio, which tests may pause and advance.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// use std::time::Duration;
///
/// let clock = floe_core::clock::ContinuousClock::new();
/// tokio::time::sleep(Duration::from_secs(5)).await;
/// assert!(clock.now() >= Duration::from_secs(5));
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ContinuousClock {
    began: tokio::time::Instant,
    /// The clock of programs, which stands still in a sleep, and the one that does not.
    awake: std::time::Instant,
    continuous: Option<Duration>,
    /// Rate of the clock in a simulated process, which the clocks of the system have no part in.
    #[cfg(feature = "simulation")]
    rate: Option<f64>,
}

impl ContinuousClock {
    /// Creates a clock that begins at zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            began: tokio::time::Instant::now(),
            awake: std::time::Instant::now(),
            continuous: platform::continuous_time(),
            #[cfg(feature = "simulation")]
            rate: crate::simulation::clock_rate(),
        }
    }

    /// Returns the time since the clock was created.
    #[must_use]
    pub fn now(&self) -> Duration {
        #[cfg(feature = "simulation")]
        if let Some(rate) = self.rate {
            return self.began.elapsed().mul_f64(rate);
        }
        self.began.elapsed().saturating_add(self.suspended())
    }

    /// Returns how long the system was suspended since the clock was created.
    fn suspended(&self) -> Duration {
        let (Some(began), Some(now)) = (self.continuous, platform::continuous_time()) else {
            return Duration::ZERO;
        };
        let slept = now.saturating_sub(began).saturating_sub(self.awake.elapsed());
        // The two clocks are read one after the other.
        if slept < Duration::from_millis(10) { Duration::ZERO } else { slept }
    }
}

impl Default for ContinuousClock {
    fn default() -> Self {
        Self::new()
    }
}
