//! Verification that each record arrives once, in order and unchanged.

use std::{collections::HashMap, ops::AddAssign};

use super::{load::Numbering, payload::Payload};

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

impl AddAssign for Verdict {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.damaged += other.damaged;
    }
}

/// Verifies the records of one topic as they are read.
#[derive(Debug)]
pub(super) struct Verifier {
    numbering: Numbering,
    topic: u64,
    /// Number of records of each writer.
    sent: Vec<u64>,
    /// Records that the topic should have.
    records: u64,
    /// Writers of the topic.
    writers: u64,
    /// One bit per record.
    seen: Vec<u64>,
    distinct: u64,
    /// Highest record number of each partition and writer.
    highest: HashMap<(u32, u64), u64>,
    verdict: Verdict,
}

impl Verifier {
    /// Expects the records of the writers of this topic, of which each wrote as many as `sent` says.
    pub(super) fn new(numbering: Numbering, topic: u64, sent: &[u64]) -> Self {
        let of_topic = || (0..).zip(sent).filter(|(writer, _)| numbering.topic(*writer) == topic);
        let most = of_topic().map(|(_, sent)| *sent).max().unwrap_or(0);
        let writers = of_topic().count() as u64;
        let words = usize::try_from((most * writers).div_ceil(64)).unwrap_or(usize::MAX);
        Self {
            numbering,
            topic,
            sent: sent.to_vec(),
            records: of_topic().map(|(_, sent)| sent).sum(),
            writers,
            seen: vec![0; words],
            distinct: 0,
            highest: HashMap::new(),
            verdict: Verdict::default(),
        }
    }

    /// Returns the number of a value that the topic should have.
    #[inline]
    fn number_of(&self, payload: &Payload, value: &[u8]) -> Option<u64> {
        let number = payload.number_of(value)?;
        let (writer, nth) = self.numbering.origin(number);
        let sent = *self.sent.get(usize::try_from(writer).ok()?)?;
        (self.numbering.topic(writer) == self.topic && nth < sent).then_some(number)
    }

    /// Verifies one record, and returns its number if this is the first time that it was read.
    #[inline]
    pub(super) fn check(&mut self, payload: &Payload, partition: u32, value: &[u8]) -> Option<u64> {
        let Some(number) = self.number_of(payload, value) else {
            self.verdict.damaged += 1;
            return None;
        };
        let (writer, nth) = self.numbering.origin(number);
        let place = nth * self.writers + self.numbering.place(writer);
        let bit = 1 << (place % 64);
        let word = usize::try_from(place / 64).ok().and_then(|at| self.seen.get_mut(at))?;
        if *word & bit != 0 {
            // A duplicate is also out of order; it counts as a duplicate only.
            self.verdict.duplicated += 1;
            return None;
        }
        *word |= bit;
        self.distinct += 1;
        let highest = self.highest.entry((partition, writer)).or_insert(number);
        if number < *highest {
            self.verdict.out_of_order += 1;
        }
        *highest = number.max(*highest);
        Some(number)
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
    use super::{super::load::Load, *};

    fn verifier(records: u64) -> (Verifier, Payload) {
        (Verifier::new(Load::of_records(records).numbering(), 0, &[records]), Payload::new(20, false, 1))
    }

    fn feed((mut verifier, payload): (Verifier, Payload), read: &[(u32, u64)]) -> Verdict {
        let mut value = payload.buffer();
        for (partition, number) in read {
            payload.fill(*number, &mut value);
            verifier.check(&payload, *partition, &value);
        }
        verifier.verdict()
    }

    fn verdict(records: u64, read: &[(u32, u64)]) -> Verdict {
        feed(verifier(records), read)
    }

    #[test]
    fn records_belong_to_their_topics_and_writers() {
        let load = Load { topics: 2, producers: 2, ..Load::of_records(8) };
        // Writers 0 and 2 write to topic 0; the second has written less.
        let verdict = |read: &[(u32, u64)]| {
            let verifier = Verifier::new(load.numbering(), 0, &[2, 2, 1, 2]);
            feed((verifier, Payload::new(20, false, 1)), read)
        };
        assert_eq!(verdict(&[(0, 2), (0, 0), (0, 4)]), Verdict::default(), "writers may interleave");
        assert_eq!(verdict(&[(0, 2), (0, 4), (0, 0)]), Verdict { out_of_order: 1, ..Verdict::default() });
        for foreign in [1, 6] {
            let found = verdict(&[(0, 0), (0, 2), (0, 4), (0, foreign)]);
            assert_eq!(found, Verdict { damaged: 1, ..Verdict::default() });
        }
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
        let (mut verifier, payload) = verifier(2);
        let mut value = payload.buffer();
        for (number, waits) in [(1, true), (1, true), (0, false)] {
            payload.fill(number, &mut value);
            verifier.check(&payload, 0, &value);
            assert_eq!(verifier.is_waiting(), waits);
        }
    }

    #[test]
    fn damaged_record_counts_as_lost() {
        let (mut verifier, payload) = verifier(1);
        let mut value = payload.buffer();
        payload.fill(0, &mut value);
        value[19] ^= 1;
        verifier.check(&payload, 0, &value);
        assert_eq!(verifier.verdict(), Verdict { lost: 1, damaged: 1, ..Verdict::default() });
    }
}
