//! Limits the rate at which a consumer hands out records.

use std::{
    num::NonZeroU32,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Burst after an idle time.
const BURST: Duration = Duration::from_millis(100);

/// Longest delay after one batch.
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// Spaces records evenly. Has no cost without a limit.
#[derive(Debug, Default)]
pub(super) struct RateLimit(Option<Box<Throttle>>);

#[derive(Debug)]
struct Throttle {
    records_per_second: f64,
    /// When the next record may be handed out.
    next: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl RateLimit {
    pub(super) fn new(records_per_second: Option<NonZeroU32>) -> Self {
        Self(records_per_second.map(|rate| {
            let records_per_second = f64::from(rate.get());
            Box::new(Throttle { records_per_second, next: Instant::now(), sleep: None })
        }))
    }

    /// Waits until the next record may be handed out.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            None => Poll::Ready(()),
            Some(throttle) => throttle.poll(cx),
        }
    }

    /// Accounts for records that were handed out.
    #[inline]
    pub(super) fn spend(&mut self, records: usize) {
        if let Some(throttle) = &mut self.0 {
            throttle.spend(records, Instant::now());
        }
    }
}

impl Throttle {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.next <= Instant::now() {
            self.sleep = None;
            return Poll::Ready(());
        }
        let next = self.next;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(next)));
        ready!(sleep.as_mut().poll(cx));
        self.sleep = None;
        Poll::Ready(())
    }

    fn spend(&mut self, records: usize, now: Instant) {
        let wait = Duration::from_secs_f64(records as f64 / self.records_per_second).min(MAX_DELAY);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        self.next = self.next.max(earliest) + wait;
    }
}
