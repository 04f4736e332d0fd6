//! Gaps in the records that a command reads: each is told at once, and decides how the command ends.

use floe::{Error, consumer::Gap};

use crate::{
    exit::{Failure, Outcome},
    format::OutputFormat,
    output::amount,
};

/// Gaps that a command has reported; it goes on after each.
#[derive(Debug, Default)]
pub(crate) struct GapTally {
    gaps: u64,
    missing: u64,
}

impl GapTally {
    /// Reports a gap and counts it.
    pub(crate) fn tell(&mut self, error: Error, format: OutputFormat) {
        self.gaps += 1;
        self.missing += Gap::of(&error).map_or(0, Gap::offsets);
        Failure::from(error).report(format);
    }

    /// Adds the gaps of another part of the work.
    pub(crate) fn add(&mut self, other: &Self) {
        self.gaps += other.gaps;
        self.missing += other.missing;
    }

    /// Number of missing records.
    pub(crate) fn missing(&self) -> u64 {
        self.missing
    }

    /// Fails if there were gaps. `of` follows the number of records in the message.
    pub(crate) fn verdict(&self, of: &str) -> Outcome {
        if self.gaps == 0 {
            return Ok(());
        }
        let (records, gaps) = (amount::count(self.missing, "record"), amount::count(self.gaps, "gap"));
        Err(Failure::loss(format!("{records}{of} missing in {gaps}")))
    }
}
