//! Times at which records are due, whatever the engine does.
//!
//! A load that waits for answers before it sends more sends less while the engine stalls, and so leaves out the very
//! latencies that a stall causes (coordinated omission). A schedule fixes the time of each record beforehand; latency
//! counts from that time, also for records that were sent late.

use std::{num::NonZeroU64, thread, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::exit::{Failure, Outcome};

/// Longest sleep of the thread that follows a schedule, after which it checks whether the run has ended.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// Times of records: one in each interval of the rate, at a moment that follows from the seed. Records at equal distances
/// would fall in step with timers of the engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    rate: NonZeroU64,
    seed: u64,
}

impl Schedule {
    /// Schedules this number of records per second.
    pub(super) fn new(rate: NonZeroU64, seed: u64) -> Self {
        Self { rate, seed }
    }

    /// Returns the time of a record since the start. It grows with the number.
    pub(super) fn offset(self, number: u64) -> Duration {
        // In units of 2^-32 of an interval.
        let at = (u128::from(number) << 32) + u128::from(mixed(self.seed, number) >> 32);
        let nanos = (at * 1_000_000_000 / u128::from(self.rate.get())) >> 32;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Returns how many records are due after this time.
    pub(super) fn due(self, elapsed: Duration) -> u64 {
        let intervals = elapsed.as_nanos() * u128::from(self.rate.get()) / 1_000_000_000;
        let full = u64::try_from(intervals).unwrap_or(u64::MAX);
        if self.offset(full) <= elapsed { full.saturating_add(1) } else { full }
    }
}

/// Returns bits that depend on both numbers (the finalizer of splitmix64).
fn mixed(seed: u64, number: u64) -> u64 {
    let mut bits = (seed ^ number.wrapping_mul(0xd134_2543_de82_ef95)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A schedule with its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeline {
    pub(super) schedule: Schedule,
    pub(super) start: Instant,
}

impl Timeline {
    /// Returns the time at which a record is due.
    pub(super) fn intended(self, number: u64) -> Instant {
        self.start + self.schedule.offset(number)
    }

    /// Starts a thread that sends how many of the records are due, until all are or no receiver is left. A thread sleeps
    /// for microseconds, while timers of the runtime have a resolution of a millisecond.
    pub(super) fn follow(self, records: u64) -> Outcome<watch::Receiver<u64>> {
        let (due, receiver) = watch::channel(0);
        let follow = move || {
            while !due.is_closed() {
                let now = self.schedule.due(self.start.elapsed()).min(records);
                due.send_if_modified(|due| std::mem::replace(due, now) != now);
                if now == records {
                    return;
                }
                let sleep = self.intended(now).saturating_duration_since(Instant::now());
                thread::sleep(sleep.min(LONGEST_SLEEP));
            }
        };
        thread::Builder::new()
            .name("schedule".to_owned())
            .spawn(follow)
            .map_err(|error| Failure::io("cannot start the thread of the schedule", &error))?;
        Ok(receiver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: u64, seed: u64) -> Schedule {
        Schedule::new(NonZeroU64::new(rate).unwrap(), seed)
    }

    #[test]
    fn each_interval_has_one_record() {
        for rate in [1, 7, 1000, 3_000_000] {
            let schedule = schedule(rate, 5);
            for number in (0..100).chain([1 << 20, 1 << 33]) {
                let at = schedule.offset(number).as_secs_f64() * rate as f64;
                let number = number as f64;
                assert!(at >= number - 0.01 && at <= number + 1.01, "{number} at {at}, rate {rate}");
            }
        }
    }

    #[test]
    fn records_are_due_at_their_times() {
        let schedule = schedule(1000, 1);
        for number in 0..2000 {
            let at = schedule.offset(number);
            assert_eq!(schedule.due(at), number + 1);
            assert_eq!(schedule.due(at.saturating_sub(Duration::from_nanos(1))), number);
        }
        assert!(schedule.due(Duration::MAX) > 1 << 40);
    }

    #[test]
    fn seed_repeats_a_schedule() {
        let times = |seed| (0..50).map(|number| schedule(100, seed).offset(number)).collect::<Vec<_>>();
        assert_eq!(times(3), times(3));
        assert_ne!(times(3), times(4));
    }

    #[tokio::test]
    async fn thread_follows_the_schedule() {
        let timeline = Timeline { schedule: schedule(100_000, 1), start: Instant::now() };
        let mut due = timeline.follow(500).unwrap();
        let last = *due.wait_for(|due| *due == 500).await.unwrap();
        assert!(Instant::now() >= timeline.intended(499) && last == 500);
    }
}
