//! Result of a full scan of a segment file, for checks and repairs.

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;

use crate::segment::SegmentHeader;

/// Runs of whole batches that a scan notes in one file. A file with more damaged places is not repaired.
pub(crate) const MAX_RUNS: usize = 1_000;

/// Whole batches that follow each other in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Offsets of the first record, and after the last one.
    pub(crate) base: i64,
    pub(crate) end: i64,
}

/// Runs of one file, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs {
    pub(crate) runs: Vec<Run>,
    /// Whether there are more than [`MAX_RUNS`].
    pub(crate) overflows: bool,
}

impl Runs {
    /// Adds a whole batch at these positions with these offsets.
    pub(crate) fn note(&mut self, (from, to): (u64, u64), (base, end): (i64, i64)) {
        if let Some(last) = self.runs.last_mut().filter(|last| last.to == from && last.end == base) {
            (last.to, last.end) = (to, end);
        } else if self.runs.len() < MAX_RUNS {
            self.runs.push(Run { from, to, base, end });
        } else {
            self.overflows = true;
        }
    }
}

/// State of a scanned file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScanState {
    /// A segment of the log, apart from damaged bytes between or behind its runs.
    Segment,
    /// The end of the log, whose torn bytes recovery removed.
    Cut,
    /// Not a segment of this log.
    Foreign,
}

/// Scanned segment file.
#[derive(Debug, Clone)]
pub(crate) struct SegmentScan {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: u32,
    pub(crate) log_id: u64,
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    pub(crate) has_header: bool,
    pub(crate) size: u64,
    pub(crate) runs: Runs,
    pub(crate) state: ScanState,
}

impl SegmentScan {
    /// Returns whether the file is a segment without damage.
    pub(crate) fn is_whole(&self) -> bool {
        let first = crate::segment::SEGMENT_HEADER_LEN;
        let is_filled = match self.runs.runs.as_slice() {
            [] => self.size <= first,
            [run] => (run.from, run.base, run.to) == (first, self.header.base, self.size),
            _ => false,
        };
        self.state != ScanState::Foreign && self.has_header && is_filled && !self.runs.overflows
    }

    /// Returns the offsets that are lost around a damaged position: those between the runs before and behind it, or up to
    /// `end` if there is none behind.
    pub(crate) fn lost_at(&self, position: u64, end: i64) -> Option<(i64, i64)> {
        let runs = &self.runs.runs;
        let behind = runs.partition_point(|run| run.from <= position);
        let before = behind.checked_sub(1).and_then(|last| runs.get(last));
        let from = before.map_or(self.header.base, |run| run.end);
        let to = runs.get(behind).map_or(end, |run| run.base);
        (from < to).then_some((from, to))
    }
}

/// Everything that a full scan notes beside the findings of recovery.
#[derive(Debug, Default)]
pub(crate) struct ScanNotes {
    pub(crate) segments: Mutex<Vec<SegmentScan>>,
    /// Files that are written anew, with the reason; nothing is lost with them.
    pub(crate) rewritten: Mutex<Vec<(PathBuf, String)>>,
}
