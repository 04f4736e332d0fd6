//! The one pass over the events of a history.

use std::{
    collections::HashMap,
    io::{self, BufRead},
};

use crate::{
    copies::{self, Copies},
    event::{Call, HEADER, HistoryError, HistoryEvent, Phase},
    groups::Groups,
    names::{Names, Partitions},
    readers::{Ranges, Readers},
    sequence::{self, ACKNOWLEDGED, Along, Facts, Interval, MAX_PROCESSES, POLLED, Sequence},
    sorter::Sorter,
    verdict::{Anomaly, Finding, HistoryVerdict},
};

/// Longest line.
const MAX_LINE: u64 = 1 << 20;

/// Largest number of lines, which leaves room for the arithmetic of the checker.
const MAX_LINES: u64 = 1 << 40;

/// Settings of a check.
///
/// ```
/// use floe_check::CheckOptions;
///
/// let options = CheckOptions { drained: true, ..CheckOptions::default() };
/// assert_eq!(options.memory, 256 * 1024 * 1024);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckOptions {
    /// The readers had read everything when the recording ended, so that an unread record is an anomaly.
    pub drained: bool,
    /// About how many bytes to sort in memory; the rest is sorted in temporary files.
    pub memory: usize,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { drained: false, memory: 256 * 1024 * 1024 }
    }
}

/// A send in flight.
#[derive(Debug)]
struct Sending {
    topic: u32,
    partition: Option<u32>,
    identity: u64,
    expect: Option<u64>,
    began: u64,
}

/// Checks one history.
#[derive(Debug)]
pub struct Checker {
    options: CheckOptions,
    line: u64,
    processes: Names,
    topics: Names,
    group_names: Names,
    partitions: Partitions,
    sending: HashMap<(u32, u64), Sending>,
    /// Topics whose sends are recorded.
    sent_topics: Vec<bool>,
    readers: Readers,
    groups: Groups,
    facts: Facts,
    ranges: Ranges,
    copies: Copies,
    verdict: HistoryVerdict,
}

impl Checker {
    /// Creates a checker that has seen nothing.
    #[must_use]
    pub fn new(options: CheckOptions) -> Self {
        // Facts are most of what is sorted, then copies.
        let part = options.memory / 8;
        Self {
            options,
            line: 0,
            processes: Names::default(),
            topics: Names::default(),
            group_names: Names::default(),
            partitions: Partitions::default(),
            sending: HashMap::new(),
            sent_topics: Vec::new(),
            readers: Readers::new(part),
            groups: Groups::default(),
            facts: Sorter::new(part * 3),
            ranges: Sorter::new(part),
            copies: Sorter::new(part * 3),
            verdict: HistoryVerdict::default(),
        }
    }

    /// Reads a history with its first line. A last line without its end, which a crash of the recorder leaves, is passed
    /// over.
    ///
    /// # Errors
    /// The first line that is no event or does not fit the others, and errors of the reader and of temporary files.
    pub fn read(&mut self, mut history: impl BufRead) -> Result<(), HistoryError> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = io::Read::take(&mut history, MAX_LINE).read_until(b'\n', &mut line)?;
            if length == 0 {
                return Ok(());
            }
            if line.last() != Some(&b'\n') {
                if length as u64 == MAX_LINE {
                    self.line += 1;
                    return Err(self.wrong("the line is too long"));
                }
                self.verdict.cut = true;
                return Ok(());
            }
            let text = str::from_utf8(&line).map_err(|_| HistoryError::Line {
                line: self.line + 1,
                problem: "the line is not UTF-8".to_owned(),
            })?;
            let text = text.trim();
            // Several recorders that append to one file each write the first line.
            if text == HEADER {
                self.line += 1;
                continue;
            }
            if self.line == 0 {
                self.line += 1;
                return Err(self.wrong(&format!("a history begins with {HEADER}")));
            }
            let event = HistoryEvent::parse(text)
                .map_err(|problem| HistoryError::Line { line: self.line + 1, problem })?;
            self.event(&event)?;
        }
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// The event does not fit those before it, and errors of temporary files.
    pub fn event(&mut self, event: &HistoryEvent<'_>) -> Result<(), HistoryError> {
        self.line += 1;
        if self.line >= MAX_LINES {
            return Err(self.wrong("the history has too many lines"));
        }
        self.verdict.events += 1;
        let process = self.processes.number(&event.process);
        if self.processes.len() > MAX_PROCESSES {
            return Err(self.wrong("the history has too many processes"));
        }
        match (event.call, event.phase) {
            (Call::Send, Phase::Invoke) => self.begin_send(process, event),
            (Call::Send, _) => self.end_send(process, event),
            (Call::Commit, Phase::Invoke) => self.commit(event),
            (Call::Commit, _) => Ok(()),
            (call, Phase::Ok) => self.observe(call, process, event),
            (_, Phase::Invoke | Phase::Fail | Phase::Unknown) => {
                Err(self.wrong("only sends and commits have this type"))
            }
        }
    }

    fn begin_send(&mut self, process: u32, event: &HistoryEvent<'_>) -> Result<(), HistoryError> {
        let topic = self.topics.number(self.need("topic", event.topic.as_deref())?);
        if self.sent_topics.len() <= topic as usize {
            self.sent_topics.resize(topic as usize + 1, false);
        }
        self.sent_topics[topic as usize] = true;
        let sending = Sending {
            topic,
            partition: event.partition,
            identity: identity(event.key.as_deref(), self.need("digest", event.digest)?),
            expect: event.expect.map(unsigned),
            began: self.line,
        };
        let id = self.need("id", event.id)?;
        self.verdict.sent += 1;
        match self.sending.insert((process, id), sending) {
            Some(_) => Err(self.wrong("the process has a call with this id in flight")),
            None => Ok(()),
        }
    }

    fn end_send(&mut self, process: u32, event: &HistoryEvent<'_>) -> Result<(), HistoryError> {
        let id = self.need("id", event.id)?;
        let Some(sending) = self.sending.remove(&(process, id)) else {
            return Err(self.wrong("the process has no call with this id in flight"));
        };
        let call = Interval { process, began: sending.began, ended: self.line };
        let partition = event.partition.or(sending.partition);
        let kind = match event.phase {
            Phase::Ok => {
                self.verdict.acknowledged += 1;
                match event.offset.map(unsigned) {
                    Some(offset) => {
                        self.acknowledged(&sending, self.need("partition", partition)?, offset, call)?;
                        copies::ACKNOWLEDGED
                    }
                    None => copies::ACKNOWLEDGED_SOMEWHERE,
                }
            }
            Phase::Fail => {
                self.verdict.failed += 1;
                if let Some(end) = event.end.map(unsigned) {
                    self.refused(&sending, self.need("partition", partition)?, end, call)?;
                }
                copies::FAILED
            }
            Phase::Unknown | Phase::Invoke => {
                self.verdict.unknown += 1;
                copies::UNKNOWN
            }
        };
        self.copies.push([sending.topic.into(), sending.identity, kind, self.line])?;
        Ok(())
    }

    fn acknowledged(
        &mut self,
        sending: &Sending,
        partition: u32,
        offset: u64,
        call: Interval,
    ) -> Result<(), HistoryError> {
        let number = self.partitions.number(sending.topic, partition);
        sequence::stored_at(&mut self.facts, (number, offset), sending.identity, (ACKNOWLEDGED, call))?;
        if let Some(expect) = sending.expect
            && expect != offset
        {
            let detail =
                format!("an append on condition that the partition ends at {expect} got this offset");
            self.add(Anomaly::Nonlinearizable, (sending.topic, partition), offset, detail);
        }
        Ok(())
    }

    /// A conditional append was refused because the partition ended elsewhere.
    fn refused(
        &mut self,
        sending: &Sending,
        partition: u32,
        end: u64,
        call: Interval,
    ) -> Result<(), HistoryError> {
        let number = self.partitions.number(sending.topic, partition);
        sequence::ended_at(&mut self.facts, number, end, call)?;
        if sending.expect == Some(end) {
            let detail = "an append was refused although the partition ended where it required".to_owned();
            self.add(Anomaly::Nonlinearizable, (sending.topic, partition), end, detail);
        }
        Ok(())
    }

    fn commit(&mut self, event: &HistoryEvent<'_>) -> Result<(), HistoryError> {
        self.verdict.commits += 1;
        let at = self.group_partition(event)?;
        let next = unsigned(self.need("offset", event.offset)?);
        Ok(self.groups.commit(at, next, self.line, &mut self.ranges)?)
    }

    /// Takes an event of a reader or a group.
    fn observe(&mut self, call: Call, process: u32, event: &HistoryEvent<'_>) -> Result<(), HistoryError> {
        let topic = self.topics.number(self.need("topic", event.topic.as_deref())?);
        let partition = self.need("partition", event.partition)?;
        let number = self.partitions.number(topic, partition);
        let group = event.group.as_deref().map(|group| (self.group_names.number(group), number));
        let offset = event.offset.map(unsigned);
        match call {
            Call::Assign => {
                self.readers.assign(process, number, offset)?;
                if let (Some(group), Some(offset)) = (group, offset) {
                    self.groups.assign(group, offset, self.line, &mut self.ranges)?;
                }
            }
            Call::Poll => {
                self.verdict.polled += 1;
                let identity = identity(event.key.as_deref(), self.need("digest", event.digest)?);
                match offset {
                    Some(offset) => self.polled((process, number), group, offset, identity)?,
                    None => self.copies.push([topic.into(), identity, copies::SEEN, self.line])?,
                }
            }
            Call::Gap => {
                let (from, to) = (self.need("offset", offset)?, unsigned(self.need("end", event.end)?));
                self.verdict.reported_missing += to.saturating_sub(from);
                self.readers.gap(process, number, to)?;
                if let Some(group) = group
                    && from < to
                {
                    self.groups.gap(group, from, to);
                }
            }
            Call::Skip => {
                let (from, to) = (self.need("offset", offset)?, unsigned(self.need("end", event.end)?));
                if from < to {
                    self.groups.gap(self.need("group", group)?, from, to);
                }
            }
            Call::Handle => {
                self.verdict.handled += 1;
                self.groups.handle(self.need("group", group)?, self.need("offset", offset)?);
            }
            Call::Reset => self.groups.reset(self.need("group", group)?, self.need("offset", offset)?),
            Call::Send | Call::Commit => {}
        }
        Ok(())
    }

    fn polled(
        &mut self,
        (process, number): (u32, u32),
        group: Option<(u32, u32)>,
        offset: u64,
        identity: u64,
    ) -> Result<(), HistoryError> {
        let call = Interval { process, began: self.line, ended: self.line };
        sequence::stored_at(&mut self.facts, (number, offset), identity, (POLLED, call))?;
        if let Some(group) = group {
            self.groups.poll(group, offset);
        }
        let backwards = self.readers.poll((process, number), offset, self.line, &mut self.ranges)?;
        if let Some(expected) = backwards {
            let detail = format!("{} was at {expected}", self.processes.name(process));
            self.add(Anomaly::NonmonotonicPoll, self.partitions.get(number), offset, detail);
        }
        Ok(())
    }

    fn group_partition(&mut self, event: &HistoryEvent<'_>) -> Result<(u32, u32), HistoryError> {
        let topic = self.topics.number(self.need("topic", event.topic.as_deref())?);
        let partition = self.need("partition", event.partition)?;
        let group = self.group_names.number(self.need("group", event.group.as_deref())?);
        Ok((group, self.partitions.number(topic, partition)))
    }

    /// Sorts what was read and returns the verdict.
    ///
    /// # Errors
    /// Errors of temporary files.
    pub fn finish(mut self) -> Result<HistoryVerdict, HistoryError> {
        for sending in self.sending.values() {
            self.verdict.unknown += 1;
            self.copies.push([sending.topic.into(), sending.identity, copies::UNKNOWN, sending.began])?;
        }
        let Self { options, groups, partitions, topics, mut copies, mut verdict, sent_topics, .. } = self;
        let sequence = Sequence {
            facts: self.facts.sorted()?,
            ranges: self.ranges.sorted()?,
            covered: self.readers.finish()?.sorted()?,
            groups: &groups,
            partitions: &partitions,
            topics: &topics,
            processes: &self.processes,
            group_names: &self.group_names,
            drained: options.drained,
            along: Along::default(),
            copies: &mut copies,
            verdict: &mut verdict,
        };
        sequence.check()?;
        let judged = |topic: u64| usize::try_from(topic).is_ok_and(|at| sent_topics.get(at) == Some(&true));
        copies::compare(copies.sorted()?, judged, options.drained, &topics, &mut verdict)?;
        verdict.partitions = partitions.len() as u64;
        verdict.order();
        Ok(verdict)
    }

    fn add(&mut self, anomaly: Anomaly, (topic, partition): (u32, u32), offset: u64, detail: String) {
        let (line, topics) = (self.line, &self.topics);
        self.verdict.add(anomaly, || Finding {
            anomaly,
            topic: topics.name(topic).to_owned(),
            partition: Some(partition),
            offset: i64::try_from(offset).ok(),
            line,
            detail,
        });
    }

    fn need<T>(&self, field: &str, value: Option<T>) -> Result<T, HistoryError> {
        value.ok_or_else(|| self.wrong(&format!("field {field} is missing")))
    }

    fn wrong(&self, problem: &str) -> HistoryError {
        HistoryError::Line { line: self.line, problem: problem.to_owned() }
    }
}

/// Offsets of events are not negative.
fn unsigned(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

/// Returns a number that tells contents apart: key and value.
fn identity(key: Option<&str>, digest: u64) -> u64 {
    key.map_or(digest, |key| {
        let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        mixed(hash ^ mixed(digest))
    })
}

/// Spreads the bits of a number.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}
