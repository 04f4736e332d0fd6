//! Wall clock and deadlines.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Returns milliseconds since the Unix epoch; 0 before it.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the instant after `delay`; a year from now if the clock cannot hold it, which is as good as never.
pub(crate) fn deadline_after(delay: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(delay).unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 3600))
}
