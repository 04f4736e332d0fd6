//! The records of each partition in the order of their offsets.

use std::{collections::HashMap, io};

use crate::{
    copies::{Copies, STORED},
    groups::Groups,
    names::{Names, Partitions},
    readers::AHEAD,
    sorter::{Sorted, Sorter},
    verdict::{Anomaly, Finding, HistoryVerdict},
};

/// Kinds of entries.
const END: u64 = 0;
pub(crate) const ACKNOWLEDGED: u64 = 1;
pub(crate) const POLLED: u64 = 2;

/// Bits of an entry that hold a process.
const PROCESS_BITS: u32 = 22;

/// Number of processes that fit in an entry.
pub(crate) const MAX_PROCESSES: usize = 1 << PROCESS_BITS;

/// Facts about records: `[partition, position, identity, first line and kind, last line and process]`. A record at offset
/// `n` has the position `2n + 1`, the observation that the partition ends at `n` the position `2n`: all of them together
/// are one sequence, and real time must agree with it.
pub(crate) type Facts = Sorter<5>;

/// A call with the lines at which it began and ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interval {
    pub(crate) process: u32,
    pub(crate) began: u64,
    pub(crate) ended: u64,
}

impl Interval {
    fn words(self, kind: u64) -> (u64, u64) {
        (self.began << 2 | kind, self.ended << PROCESS_BITS | u64::from(self.process))
    }
}

/// Notes that a record was [`ACKNOWLEDGED`] at an offset, or [`POLLED`] from it.
pub(crate) fn stored_at(
    facts: &mut Facts,
    (partition, offset): (u32, u64),
    identity: u64,
    (kind, call): (u64, Interval),
) -> io::Result<()> {
    let (began, ended) = call.words(kind);
    facts.push([partition.into(), offset * 2 + 1, identity, began, ended])
}

/// Notes that the partition ended at an offset at some time within the call.
pub(crate) fn ended_at(facts: &mut Facts, partition: u32, end: u64, call: Interval) -> io::Result<()> {
    let (began, ended) = call.words(END);
    facts.push([partition.into(), end * 2, 0, began, ended])
}

/// Everything that the pass reads.
#[derive(Debug)]
pub(crate) struct Sequence<'a> {
    pub(crate) facts: Sorted<5>,
    pub(crate) ranges: Sorted<5>,
    pub(crate) covered: Sorted<3>,
    pub(crate) groups: &'a Groups,
    pub(crate) partitions: &'a Partitions,
    pub(crate) topics: &'a Names,
    pub(crate) processes: &'a Names,
    pub(crate) group_names: &'a Names,
    pub(crate) drained: bool,
    pub(crate) along: Along,
    pub(crate) copies: &'a mut Copies,
    pub(crate) verdict: &'a mut HistoryVerdict,
}

/// Values carried along a partition.
#[derive(Debug, Default)]
pub(crate) struct Along {
    /// Latest begin of an append or observation at a lower position: its line, and its process.
    latest: (u64, u32),
    /// End of the ranges that were read so far.
    covered: u64,
    /// First line and offset of the last acknowledged send of each process.
    sends: HashMap<u32, (u64, u64)>,
}

/// Facts about one record at one offset.
#[derive(Debug)]
struct StoredCopy {
    identity: u64,
    acknowledged: Option<u64>,
    polled: Option<u64>,
}

impl Sequence<'_> {
    /// Checks all partitions, and notes the records that are stored.
    pub(crate) fn check(mut self) -> io::Result<()> {
        let mut current = None;
        while let Some([partition, position, ..]) = self.facts.peek().copied() {
            if current.replace(partition) != Some(partition) {
                self.along = Along::default();
            }
            if position.is_multiple_of(2) {
                self.observations(partition, position)?;
            } else {
                self.follow_ranges(partition, position / 2)?;
                self.records(partition, position)?;
            }
        }
        Ok(())
    }

    /// Checks the observations of one end.
    fn observations(&mut self, partition: u64, position: u64) -> io::Result<()> {
        let before = self.along.latest;
        while let Some(next) = self.facts.peek()
            && (next[0], next[1]) == (partition, position)
            && let Some([_, _, _, first, last]) = self.facts.pop()?
        {
            let (began, ended, process) = lines(first, last);
            if ended < before.0 {
                let detail = format!(
                    "{} saw the partition end here, and a record below was sent by {} after that (line {})",
                    self.processes.name(process),
                    self.processes.name(before.1),
                    before.0
                );
                self.add(Anomaly::Nonlinearizable, (partition, position / 2), ended, detail);
            }
            self.along.latest = self.along.latest.max((began, process));
        }
        Ok(())
    }

    /// Resolves ranges that must be empty, and follows those that were read, up to a record.
    fn follow_ranges(&mut self, partition: u64, offset: u64) -> io::Result<()> {
        while let Some(range) = self.ranges.peek()
            && (range[0], range[1]) <= (partition, offset)
            && let Some([of, from, to, line, by]) = self.ranges.pop()?
        {
            if of != partition || offset >= to {
                continue;
            }
            let at = (partition, offset);
            let number = u32::try_from(by).unwrap_or(u32::MAX);
            if line % 2 != AHEAD {
                let detail = format!(
                    "{} went from {from} to {to} and passed over this record",
                    self.processes.name(number)
                );
                self.add(Anomaly::PollSkip, at, line / 2, detail);
            } else if self.groups.judged(by) {
                let detail = format!(
                    "group {} stands beyond this record and has not handled it",
                    self.group_names.name(number)
                );
                self.add(Anomaly::CommitAhead, at, line / 2, detail);
            }
        }
        while let Some(range) = self.covered.peek()
            && (range[0], range[1]) <= (partition, offset)
            && let Some([of, _, to]) = self.covered.pop()?
        {
            if of == partition {
                self.along.covered = self.along.covered.max(to);
            }
        }
        Ok(())
    }

    /// Checks the records of one offset.
    fn records(&mut self, partition: u64, position: u64) -> io::Result<()> {
        let at = (partition, position / 2);
        let before = self.along.latest;
        let mut copy: Option<StoredCopy> = None;
        let mut contents = 0;
        while let Some(next) = self.facts.peek()
            && (next[0], next[1]) == (partition, position)
            && let Some([_, _, identity, first, last]) = self.facts.pop()?
        {
            if copy.as_ref().is_none_or(|copy| copy.identity != identity) {
                contents += 1;
                if let Some(done) = copy.replace(StoredCopy { identity, acknowledged: None, polled: None }) {
                    self.close_copy(at, &done)?;
                }
            }
            let (began, ended, process) = lines(first, last);
            if ended < before.0 {
                let detail = format!(
                    "the record was there before a record below it was sent by {} (line {})",
                    self.processes.name(before.1),
                    before.0
                );
                self.add(Anomaly::Nonlinearizable, at, ended, detail);
            }
            let Some(copy) = &mut copy else { continue };
            if first & 3 == POLLED {
                copy.polled.get_or_insert(ended);
                continue;
            }
            copy.acknowledged.get_or_insert(ended);
            self.along.latest = self.along.latest.max((began, process));
            if let Some((earlier, lower)) = self.along.sends.insert(process, (began, at.1))
                && earlier > began
            {
                let detail = format!(
                    "{} sent this record before the one at {lower} (line {earlier})",
                    self.processes.name(process)
                );
                self.add(Anomaly::NonmonotonicSend, at, began, detail);
            }
        }
        if let Some(done) = copy {
            let line = done.acknowledged.or(done.polled).unwrap_or(0);
            self.close_copy(at, &done)?;
            if contents > 1 {
                let detail = format!("{contents} records have this offset");
                self.add(Anomaly::InconsistentOffsets, at, line, detail);
            }
        }
        self.verdict.stored += 1;
        Ok(())
    }

    fn close_copy(&mut self, at: (u64, u64), copy: &StoredCopy) -> io::Result<()> {
        if let (Some(line), None) = (copy.acknowledged, copy.polled) {
            if at.1 < self.along.covered {
                let detail = "an acknowledged record was read by no reader that passed it".to_owned();
                self.add(Anomaly::LostWrite, at, line, detail);
            } else {
                self.verdict.unseen += 1;
                if self.drained {
                    let detail = "an acknowledged record was not read".to_owned();
                    self.add(Anomaly::Unseen, at, line, detail);
                }
            }
        }
        let (topic, _) = self.partition(at.0);
        let line = copy.polled.max(copy.acknowledged).unwrap_or(0);
        self.copies.push([topic.into(), copy.identity, STORED, line])
    }

    fn partition(&self, number: u64) -> (u32, u32) {
        self.partitions.get(u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn add(&mut self, anomaly: Anomaly, at: (u64, u64), line: u64, detail: String) {
        let (topic, partition) = self.partition(at.0);
        let topics = self.topics;
        self.verdict.add(anomaly, || Finding {
            anomaly,
            topic: topics.name(topic).to_owned(),
            partition: Some(partition),
            offset: i64::try_from(at.1).ok(),
            line,
            detail,
        });
    }
}

/// Returns first line, last line and process of an entry.
fn lines(first: u64, last: u64) -> (u64, u64, u32) {
    let process = last & ((1 << PROCESS_BITS) - 1);
    (first >> 2, last >> PROCESS_BITS, u32::try_from(process).unwrap_or(u32::MAX))
}
