//! Measurements of a child process.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) seconds: f64,
    /// Processor time of the process within `seconds`.
    pub(crate) cpu: f64,
    /// Peak resident memory of the process, in bytes.
    pub(crate) peak_memory: u64,
    /// Growth of resident memory within `seconds`, in bytes.
    pub(crate) growth: i64,
    /// Number of acknowledged or received records.
    pub(crate) records: u64,
    /// Size of all batches in bytes, where known.
    pub(crate) bytes: u64,
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) out_of_order: u64,
    pub(crate) errors: u64,
    /// Latency from send to acknowledgement, in microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Figures {
    /// Returns the rate in records per second.
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

/// Checks received records by the numbers at their beginning.
#[derive(Debug)]
pub(crate) struct Audit {
    seen: Vec<bool>,
    received: u64,
    duplicates: u64,
    out_of_order: u64,
    next: u64,
}

impl Audit {
    pub(crate) fn new(expected: u64) -> Self {
        Self { seen: vec![false; expected as usize], received: 0, duplicates: 0, out_of_order: 0, next: 0 }
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Returns true once every record was received.
    pub(crate) fn complete(&self) -> bool {
        self.received - self.duplicates == self.seen.len() as u64
    }

    pub(crate) fn record(&mut self, value: &[u8]) {
        self.received += 1;
        let number = crate::payload::number(value);
        match number.and_then(|number| self.seen.get_mut(number as usize).map(|seen| (number, seen))) {
            Some((number, seen)) => {
                self.duplicates += u64::from(std::mem::replace(seen, true));
                self.out_of_order += u64::from(number < self.next);
                self.next = self.next.max(number + 1);
            }
            // No such record was sent.
            None => self.duplicates += 1,
        }
    }

    pub(crate) fn judge(&self, figures: &mut Figures) {
        figures.records = self.received;
        figures.lost = self.seen.iter().filter(|seen| !**seen).count() as u64;
        figures.duplicates = self.duplicates;
        figures.out_of_order = self.out_of_order;
    }
}
