//! The time until which a member may hand out records.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use floe_core::clock::ContinuousClock;

/// The time until which a member may hand out records: the others may have taken over afterwards. Its task moves it on, the
/// consumer looks before each batch, so that a process that was stopped for long does not go on with old batches.
#[derive(Debug)]
pub(super) struct FenceTime {
    clock: ContinuousClock,
    /// Milliseconds of the clock.
    until: AtomicU64,
}

impl FenceTime {
    pub(super) fn new(clock: ContinuousClock) -> Self {
        Self { clock, until: AtomicU64::new(0) }
    }

    pub(super) fn clock(&self) -> ContinuousClock {
        self.clock
    }

    /// Moves the time on; never back.
    pub(super) fn extend(&self, until: Duration) {
        self.until.fetch_max(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    /// Ends the time at once.
    pub(super) fn end(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// Returns the end of the time, if it lies ahead.
    pub(super) fn end_after(&self, now: Duration) -> Option<Duration> {
        let until = Duration::from_millis(self.until.load(Ordering::Acquire));
        (until > now).then_some(until)
    }

    /// Whether the time has passed.
    pub(super) fn is_past(&self) -> bool {
        self.clock.now().as_millis() >= u128::from(self.until.load(Ordering::Acquire))
    }
}
