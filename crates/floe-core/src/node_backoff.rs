//! Back-off of a node that failed.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Longest back-off after the first failure.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// Longest back-off.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// Counts the failures of one node. The back-off grows twofold with every further failure and is random between half and
/// all of that, so that many clients do not return in step.
#[derive(Debug, Default)]
pub struct NodeState {
    inner: Mutex<NodeFailures>,
}

#[derive(Debug, Default)]
struct NodeFailures {
    failures: u32,
    down_until: Option<Instant>,
    last_error: Option<crate::Error>,
}

impl NodeState {
    /// Records a success.
    pub fn worked(&self) {
        let mut inner = self.inner.lock();
        if inner.failures > 0 || inner.down_until.is_some() {
            *inner = NodeFailures::default();
        }
    }

    /// The node failed.
    pub fn failed(&self, error: &crate::Error) {
        self.failed_with(error, crate::random::fraction());
    }

    fn failed_with(&self, error: &crate::Error, random: f64) {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        // Everything in flight fails together; that is one failure of the node.
        if inner.down_until.is_some_and(|until| until > now) {
            return;
        }
        let longest = FIRST_DELAY.saturating_mul(1 << inner.failures.min(16)).min(MAX_DELAY);
        inner.failures = inner.failures.saturating_add(1);
        inner.down_until = Some(now + longest.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0)));
        inner.last_error = Some(error.clone());
    }

    /// How long the node is to be left alone; `None` if it may be asked.
    pub fn down_for(&self) -> Option<Duration> {
        let until = self.inner.lock().down_until?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// The failure that marked it down, until it works again.
    pub fn last_error(&self) -> Option<crate::Error> {
        self.inner.lock().last_error.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, ErrorKind};

    #[tokio::test(start_paused = true)]
    async fn the_wait_doubles_until_it_works() {
        let state = NodeState::default();
        let error = Error::new(ErrorKind::NetworkError, "no");
        let mut waits = Vec::new();
        for _ in 0..9 {
            state.failed_with(&error, 1.0);
            let wait = state.down_for().unwrap();
            waits.push(wait.as_millis());
            tokio::time::advance(wait).await;
            assert_eq!(state.down_for(), None, "a call is allowed again");
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(state.last_error().unwrap().message(), "no");
        state.worked();
        assert!(state.last_error().is_none());
        state.failed_with(&error, 0.0);
        assert_eq!(state.down_for(), Some(Duration::from_millis(50)), "half at least");
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_together_counts_once() {
        let state = NodeState::default();
        let error = Error::new(ErrorKind::NetworkError, "no");
        for _ in 0..5 {
            state.failed_with(&error, 1.0);
        }
        assert_eq!(state.down_for(), Some(Duration::from_millis(100)));
    }
}
