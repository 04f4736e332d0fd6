//! What a child process reports.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) seconds: f64,
    /// Processor time of the process within `seconds`.
    pub(crate) cpu: f64,
    /// Most memory that the process ever had, in bytes.
    pub(crate) peak_memory: u64,
    /// How much the resident memory grew within `seconds`.
    pub(crate) growth: i64,
    /// Records that were acknowledged or received.
    pub(crate) records: u64,
    /// Bytes of all batches, as far as they are known.
    pub(crate) bytes: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) out_of_order: u64,
    pub(crate) errors: u64,
    /// Microseconds from handing a record over to its acknowledgement.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Figures {
    /// Records in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.records as f64 / self.seconds
    }

    pub(crate) fn cpu_per_million(&self) -> f64 {
        self.cpu * 1e6 / self.records as f64
    }

    pub(crate) fn with_latencies(mut self, mut nanoseconds: Vec<u64>) -> Self {
        nanoseconds.sort_unstable();
        let at = |part: f64| {
            let last = nanoseconds.len().saturating_sub(1);
            nanoseconds
                .get((last as f64 * part) as usize)
                .map_or(f64::NAN, |nanoseconds| *nanoseconds as f64 / 1e3)
        };
        (self.p50, self.p99) = (at(0.5), at(0.99));
        self
    }
}

/// Judges received records by the numbers they begin with.
#[derive(Debug)]
pub(crate) struct Audit {
    seen: Vec<bool>,
    received: u64,
    doubled: u64,
    out_of_order: u64,
    next: u64,
}

impl Audit {
    pub(crate) fn new(expected: u64) -> Self {
        Self { seen: vec![false; expected as usize], received: 0, doubled: 0, out_of_order: 0, next: 0 }
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// True once every record was seen.
    pub(crate) fn complete(&self) -> bool {
        self.received - self.doubled == self.seen.len() as u64
    }

    pub(crate) fn record(&mut self, value: &[u8]) {
        self.received += 1;
        let number = crate::payload::number(value);
        match number.and_then(|number| self.seen.get_mut(number as usize).map(|seen| (number, seen))) {
            Some((number, seen)) => {
                self.doubled += u64::from(std::mem::replace(seen, true));
                self.out_of_order += u64::from(number < self.next);
                self.next = self.next.max(number + 1);
            }
            // Nobody wrote it.
            None => self.doubled += 1,
        }
    }

    pub(crate) fn judge(&self, figures: &mut Figures) {
        figures.records = self.received;
        figures.lost = self.seen.iter().filter(|seen| !**seen).count() as u64;
        figures.doubled = self.doubled;
        figures.out_of_order = self.out_of_order;
    }
}
