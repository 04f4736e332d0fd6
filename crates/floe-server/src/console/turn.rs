//! Share of the processor that all live tails together use.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Rest after work, as a multiple of it: the tails use at most a twentieth of one processor.
const REST: u32 = 19;

/// Rest that is worth a sleep.
const LEAST_REST: Duration = Duration::from_millis(5);

/// Rest that the tails owe. One tail works at a time, and rests before it passes the turn on.
#[derive(Debug)]
pub(super) struct Turn {
    owed: Duration,
    since: Instant,
}

impl Default for Turn {
    fn default() -> Self {
        Self { owed: Duration::ZERO, since: Instant::now() }
    }
}

impl Turn {
    /// Works, and then rests if enough work has come together.
    pub(super) async fn work<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        self.owed = self.owed.saturating_sub(started.duration_since(self.since));
        let done = work();
        self.owed += started.elapsed() * REST;
        if self.owed >= LEAST_REST {
            sleep(self.owed).await;
            self.owed = Duration::ZERO;
        }
        self.since = Instant::now();
        done
    }
}
