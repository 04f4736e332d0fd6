//! Verification that each record arrives once, in order and unchanged.

use std::collections::HashMap;

use super::payload::Payload;

/// Findings of the verification.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Records written and not read; a damaged record counts as lost.
    pub(crate) lost: u64,
    /// Records read more than once.
    pub(crate) duplicated: u64,
    /// Records read after a later record of the same partition.
    pub(crate) out_of_order: u64,
    /// Records whose bytes changed, or that were never written.
    pub(crate) damaged: u64,
}

/// Verifies records as they are read.
#[derive(Debug)]
pub(super) struct Verifier<'a> {
    payload: &'a Payload,
    records: u64,
    /// One bit per record.
    seen: Vec<u64>,
    distinct: u64,
    /// Highest record number of each partition.
    highest: HashMap<u32, u64>,
    verdict: Verdict,
}

impl<'a> Verifier<'a> {
    /// Expects the records 0 to `records - 1` of `payload`.
    pub(super) fn new(records: u64, payload: &'a Payload) -> Self {
        let words = usize::try_from(records.div_ceil(64)).unwrap_or(usize::MAX);
        Self {
            payload,
            records,
            seen: vec![0; words],
            distinct: 0,
            highest: HashMap::new(),
            verdict: Verdict::default(),
        }
    }

    /// Verifies one record.
    #[inline]
    pub(super) fn check(&mut self, partition: u32, value: &[u8]) {
        let number = self.payload.number_of(value).filter(|number| *number < self.records);
        let Some(number) = number else {
            self.verdict.damaged += 1;
            return;
        };
        let bit = 1 << (number % 64);
        let Some(word) = usize::try_from(number / 64).ok().and_then(|at| self.seen.get_mut(at)) else {
            return;
        };
        if *word & bit == 0 {
            *word |= bit;
            self.distinct += 1;
        } else {
            // A duplicate is also out of order; it counts as a duplicate only.
            self.verdict.duplicated += 1;
            return;
        }
        let highest = self.highest.entry(partition).or_insert(number);
        if number < *highest {
            self.verdict.out_of_order += 1;
        }
        *highest = number.max(*highest);
    }

    /// Whether records are still missing.
    pub(super) fn is_waiting(&self) -> bool {
        self.distinct < self.records
    }

    pub(super) fn verdict(&self) -> Verdict {
        Verdict { lost: self.records - self.distinct, ..self.verdict }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(records: u64, read: &[(u32, u64)]) -> Verdict {
        let payload = Payload::new(20, false);
        let mut verifier = Verifier::new(records, &payload);
        let mut value = payload.buffer();
        for (partition, number) in read {
            payload.fill(*number, &mut value);
            verifier.check(*partition, &value);
        }
        verifier.verdict()
    }

    #[test]
    fn every_kind_of_fault_is_found() {
        assert_eq!(verdict(3, &[(0, 0), (0, 1), (0, 2)]), Verdict::default());
        assert_eq!(
            verdict(4, &[(1, 2), (0, 0), (1, 3), (0, 1)]),
            Verdict::default(),
            "partitions may interleave"
        );
        assert_eq!(verdict(3, &[(0, 0), (0, 2)]), Verdict { lost: 1, ..Verdict::default() });
        assert_eq!(
            verdict(3, &[(0, 0), (0, 1), (0, 1), (0, 2)]),
            Verdict { duplicated: 1, ..Verdict::default() }
        );
        assert_eq!(verdict(3, &[(0, 1), (0, 0), (0, 2)]), Verdict { out_of_order: 1, ..Verdict::default() });
        assert_eq!(verdict(1, &[(0, 0), (0, 7)]), Verdict { damaged: 1, ..Verdict::default() });
    }

    #[test]
    fn verifier_waits_for_every_record() {
        let payload = Payload::new(20, false);
        let mut verifier = Verifier::new(2, &payload);
        let mut value = payload.buffer();
        for (number, waits) in [(1, true), (1, true), (0, false)] {
            payload.fill(number, &mut value);
            verifier.check(0, &value);
            assert_eq!(verifier.is_waiting(), waits);
        }
    }

    #[test]
    fn damaged_record_counts_as_lost() {
        let payload = Payload::new(20, false);
        let mut verifier = Verifier::new(1, &payload);
        let mut value = payload.buffer();
        payload.fill(0, &mut value);
        value[19] ^= 1;
        verifier.check(0, &value);
        assert_eq!(verifier.verdict(), Verdict { lost: 1, damaged: 1, ..Verdict::default() });
    }
}
