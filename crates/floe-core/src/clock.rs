//! The time of day, which a test may set.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

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
