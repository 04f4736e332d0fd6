//! Share of the processor that all live tails together use.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Rest after work, as a multiple of it: the tails use at most a twentieth of one processor.
const REST: u32 = 19;

/// Work that a byte was before it came here, where no clock of the tail saw it: read from the disk, checked and decoded. A
/// gigabyte in a second is what one processor does.
const READING: Duration = Duration::from_nanos(1);

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
    /// Works on so many bytes, and then rests if enough work has come together.
    pub(super) async fn work<T>(&mut self, bytes: usize, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        self.owed = self.owed.saturating_sub(started.duration_since(self.since));
        let done = work();
        let reading = READING * u32::try_from(bytes).unwrap_or(u32::MAX);
        self.owed += (started.elapsed() + reading) * REST;
        if self.owed >= LEAST_REST {
            sleep(self.owed).await;
            self.owed = Duration::ZERO;
        }
        self.since = Instant::now();
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_read_is_rested_for_as_what_was_worked() {
        let (mut turn, started) = (Turn::default(), Instant::now());
        for _ in 0..10 {
            turn.work(10_000_000, || ()).await;
        }
        let rest = started.elapsed();
        // 100 MB are 100 ms of work; the last rest is over as well.
        assert!((Duration::from_millis(1_900)..Duration::from_millis(2_000)).contains(&rest), "{rest:?}");
    }
}
