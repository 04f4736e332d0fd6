//! Rates of reading, on standard error.

use std::time::{Duration, Instant};

use floe::exchange::RecordFields;

use crate::output::{amount, stdout::note};

/// Time between two lines.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// Records and bytes since the last line.
#[derive(Debug)]
pub(super) struct ReadingStats {
    since: Instant,
    records: u64,
    bytes: u64,
    all: u64,
}

impl ReadingStats {
    pub(super) fn start() -> Self {
        Self { since: Instant::now(), records: 0, bytes: 0, all: 0 }
    }

    /// Counts a record that was read, whether it was printed or not.
    pub(super) fn count(&mut self, record: &RecordFields<'_>) {
        self.records += 1;
        self.bytes += (record.value.len() + record.key.map_or(0, <[u8]>::len)) as u64;
    }

    /// Whether the next line is due.
    pub(super) fn is_due(&self) -> bool {
        self.since.elapsed() >= EVERY
    }

    /// Time until the next line.
    pub(super) fn time_left(&self) -> Duration {
        EVERY.saturating_sub(self.since.elapsed())
    }

    /// Prints a line and begins anew.
    pub(super) fn print(&mut self, lag: Option<u64>) {
        let time = self.since.elapsed();
        self.all += self.records;
        note(&format!(
            "{} records/s, {}/s, {} in all, lag {}",
            amount::thousands(amount::rate(self.records, time)),
            amount::bytes(amount::rate(self.bytes, time)),
            amount::thousands(self.all),
            lag.map_or_else(|| "unknown".to_owned(), amount::thousands),
        ));
        (self.since, self.records, self.bytes) = (Instant::now(), 0, 0);
    }
}
