//! Random histories of a correct log, and the same with one thing changed.

use std::collections::{BTreeMap, VecDeque};

use floe_check::{Anomaly, Call, HistoryEvent, Phase};

use crate::{check, found};

type Event = HistoryEvent<'static>;

/// Draws of one seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) as usize % bound
    }
}

/// A send in flight: its invocation, and its outcome once the log has judged it.
struct InFlight {
    invoke: Event,
    outcome: Option<Event>,
}

/// A correct log and its clients.
struct World {
    draw: Draw,
    events: Vec<Event>,
    /// Digests by partition.
    logs: Vec<Vec<u64>>,
    producers: Vec<VecDeque<InFlight>>,
    sent: u64,
    /// Position by reader and partition.
    readers: Vec<Vec<usize>>,
    /// Partition 0 by the group: process, next offset, polled records that are not handled.
    member: (usize, usize, Vec<usize>),
    handled: Vec<bool>,
}

fn on(mut event: Event, partition: usize, offset: Option<usize>) -> Event {
    event.topic = Some("t".into());
    event.partition = Some(partition as u32);
    event.offset = offset.map(|offset| offset as i64);
    event
}

impl World {
    fn new(seed: u64) -> Self {
        let mut draw = Draw(seed);
        let partitions = 1 + draw.below(3);
        let readers = 1 + draw.below(2);
        let mut world = Self {
            events: Vec::new(),
            logs: vec![Vec::new(); partitions],
            producers: (0..=draw.below(3)).map(|_| VecDeque::new()).collect(),
            sent: 0,
            readers: vec![vec![0; partitions]; readers],
            member: (0, 0, Vec::new()),
            handled: Vec::new(),
            draw,
        };
        for reader in 0..readers {
            for partition in 0..partitions {
                world.assign(reader, partition, 0);
            }
        }
        world.join(0);
        world
    }

    fn run(seed: u64) -> Vec<Event> {
        let mut world = Self::new(seed);
        for _ in 0..300 {
            world.step();
        }
        for producer in 0..world.producers.len() {
            while !world.producers[producer].is_empty() {
                world.store(producer);
                world.complete(producer);
            }
        }
        for reader in 0..world.readers.len() {
            for partition in 0..world.logs.len() {
                while world.poll(reader, partition) {}
            }
        }
        world.events
    }

    fn step(&mut self) {
        let producer = self.draw.below(self.producers.len());
        let (reader, partition) = (self.draw.below(self.readers.len()), self.draw.below(self.logs.len()));
        match self.draw.below(12) {
            0..=2 => self.send(producer, partition),
            3 | 4 => self.store(producer),
            5 | 6 => self.complete(producer),
            7 | 8 => {
                self.poll(reader, partition);
            }
            9 => self.member_polls(),
            10 => self.member_handles(),
            _ => match self.draw.below(4) {
                0 => {
                    let back = self.draw.below(self.readers[reader][partition] + 1);
                    self.assign(reader, partition, back);
                }
                1 => self.member_crashes(),
                _ => self.member_commits(),
            },
        }
    }

    fn send(&mut self, producer: usize, partition: usize) {
        let mut event = on(Event::new(Phase::Invoke, Call::Send, format!("p{producer}")), partition, None);
        event.id = Some(self.sent);
        event.digest = Some(self.sent * 7 + 1);
        if self.draw.below(4) == 0 {
            event.expect = Some((self.logs[partition].len() + self.draw.below(3)) as i64);
        }
        self.sent += 1;
        self.events.push(event.clone());
        self.producers[producer].push_back(InFlight { invoke: event, outcome: None });
    }

    /// The log judges the oldest send of a producer that it has not judged.
    fn store(&mut self, producer: usize) {
        let lost = self.draw.below(10);
        let Some(send) = self.producers[producer].iter_mut().find(|send| send.outcome.is_none()) else {
            return;
        };
        let mut outcome = Event::new(Phase::Ok, Call::Send, send.invoke.process.clone());
        outcome.id = send.invoke.id;
        let log = &mut self.logs[send.invoke.partition.unwrap() as usize];
        let end = log.len() as i64;
        if send.invoke.expect.is_some_and(|expect| expect != end) {
            outcome.phase = Phase::Fail;
            outcome.end = Some(end);
        } else if lost == 0 {
            outcome.phase = Phase::Fail;
        } else if lost == 1 {
            outcome.phase = Phase::Unknown;
        } else {
            log.push(send.invoke.digest.unwrap());
            if lost == 2 {
                outcome.phase = Phase::Unknown;
            } else {
                outcome.offset = Some(end);
            }
        }
        send.outcome = Some(outcome);
    }

    fn complete(&mut self, producer: usize) {
        if let Some(InFlight { outcome: Some(_), .. }) = self.producers[producer].front() {
            let send = self.producers[producer].pop_front();
            self.events.extend(send.and_then(|send| send.outcome));
        }
    }

    fn assign(&mut self, reader: usize, partition: usize, offset: usize) {
        self.readers[reader][partition] = offset;
        self.events.push(on(
            Event::new(Phase::Ok, Call::Assign, format!("c{reader}")),
            partition,
            Some(offset),
        ));
    }

    fn poll(&mut self, reader: usize, partition: usize) -> bool {
        let offset = self.readers[reader][partition];
        let Some(digest) = self.logs[partition].get(offset).copied() else { return false };
        self.readers[reader][partition] += 1;
        let event = on(Event::new(Phase::Ok, Call::Poll, format!("c{reader}")), partition, Some(offset));
        self.events.push(Event { digest: Some(digest), ..event });
        true
    }

    fn of_member(&self, phase: Phase, call: Call, offset: usize) -> Event {
        let event = Event::new(phase, call, format!("m{}", self.member.0));
        Event { group: Some("g".into()), ..on(event, 0, Some(offset)) }
    }

    fn done(&self) -> usize {
        self.handled.iter().take_while(|handled| **handled).count()
    }

    fn join(&mut self, offset: usize) {
        self.member.1 = offset;
        self.events.push(self.of_member(Phase::Ok, Call::Assign, offset));
    }

    fn member_polls(&mut self) {
        let offset = self.member.1;
        let Some(digest) = self.logs[0].get(offset).copied() else { return };
        self.member.1 += 1;
        self.member.2.push(offset);
        self.events.push(Event { digest: Some(digest), ..self.of_member(Phase::Ok, Call::Poll, offset) });
    }

    fn member_handles(&mut self) {
        if self.member.2.is_empty() {
            return;
        }
        let at = self.draw.below(self.member.2.len());
        let offset = self.member.2.swap_remove(at);
        self.handled.resize(self.handled.len().max(offset + 1), false);
        self.handled[offset] = true;
        self.events.push(self.of_member(Phase::Ok, Call::Handle, offset));
    }

    fn member_commits(&mut self) {
        let next = self.done();
        self.events.push(self.of_member(Phase::Invoke, Call::Commit, next));
    }

    fn member_crashes(&mut self) {
        self.member.0 += 1;
        self.member.2.clear();
        let back = self.draw.below(self.done() + 1);
        self.join(back);
    }
}

/// Positions of events that fulfil a condition.
fn all(events: &[Event], condition: impl Fn(&Event) -> bool) -> Vec<usize> {
    (0..events.len()).filter(|at| condition(&events[*at])).collect()
}

fn is_poll_of(event: &Event, (partition, offset): (Option<u32>, Option<i64>)) -> bool {
    event.call == Call::Poll && (event.partition, event.offset) == (partition, offset)
}

/// Partition and offset of each acknowledged send, with the positions of its two events.
fn acknowledged(events: &[Event]) -> Vec<(usize, usize)> {
    let ok = all(events, |event| event.call == Call::Send && event.phase == Phase::Ok);
    ok.into_iter()
        .map(|at| (events.iter().position(|other| other.id == events[at].id).unwrap(), at))
        .collect()
}

/// Changes a history so that it has the anomaly. Returns false where the history offers no occasion.
fn mutate(events: &mut Vec<Event>, anomaly: Anomaly, draw: &mut Draw) -> bool {
    let acknowledged = acknowledged(events);
    let place_of = |(invoked, ok): (usize, usize)| (events[invoked].partition, events[ok].offset);
    let suits = |send: (usize, usize)| match anomaly {
        Anomaly::LostWrite => is_passed(events, place_of(send)),
        Anomaly::Unseen => is_last(events, place_of(send)),
        Anomaly::NonmonotonicSend | Anomaly::Nonlinearizable => {
            follower(events, &acknowledged, send, anomaly).is_some()
        }
        _ => true,
    };
    let suitable: Vec<_> = acknowledged.iter().copied().filter(|send| suits(*send)).collect();
    if suitable.is_empty() {
        return false;
    }
    let (invoked, ok) = suitable[draw.below(suitable.len())];
    let (place, digest) = (place_of((invoked, ok)), events[invoked].digest);
    let places: Vec<_> = acknowledged.iter().map(|send| place_of(*send)).collect();
    match anomaly {
        Anomaly::LostWrite | Anomaly::Unseen => events.retain(|event| !is_poll_of(event, place)),
        Anomaly::AbortedRead => {
            events[ok].phase = Phase::Fail;
            events[ok].offset = None;
        }
        Anomaly::Duplicate => add_poll_at_end(events, place.0, digest),
        Anomaly::Unsent => add_poll_at_end(events, place.0, Some(u64::MAX)),
        Anomaly::InconsistentOffsets => {
            let polls = all(events, |event| is_poll_of(event, place));
            events[polls[draw.below(polls.len())]].digest = Some(u64::MAX);
        }
        Anomaly::PollSkip | Anomaly::NonmonotonicPoll => {
            let reads = all(events, |event| {
                let reads = matches!(event.call, Call::Poll | Call::Assign);
                reads && event.process == "c0" && event.partition == place.0
            });
            let in_a_row = |at: &&[usize]| {
                let middle = &events[at[1]];
                at.iter().all(|at| events[*at].call == Call::Poll)
                    && places.contains(&(middle.partition, middle.offset))
            };
            let occasions: Vec<_> = reads.windows(3).filter(in_a_row).collect();
            if occasions.is_empty() {
                return false;
            }
            let occasion = occasions[draw.below(occasions.len())];
            if anomaly == Anomaly::PollSkip {
                events.remove(occasion[1]);
            } else {
                events.swap(occasion[1], occasion[2]);
            }
        }
        Anomaly::NonmonotonicSend | Anomaly::Nonlinearizable => {
            let Some(other) = follower(events, &acknowledged, (invoked, ok), anomaly) else { return false };
            let offset = events[other].offset;
            events[other].offset = place.1;
            events[ok].offset = offset;
        }
        Anomaly::CommitAhead => return commit_ahead(events),
    }
    true
}

/// Whether nothing behind this place was read.
fn is_last(events: &[Event], place: (Option<u32>, Option<i64>)) -> bool {
    !events.iter().any(|it| it.call == Call::Poll && it.partition == place.0 && it.offset > place.1)
}

/// Whether a reader read this place and the next one without a new position between them.
fn is_passed(events: &[Event], place: (Option<u32>, Option<i64>)) -> bool {
    let reads = all(events, |event| {
        let reads = matches!(event.call, Call::Poll | Call::Assign);
        reads && event.process == "c0" && event.partition == place.0
    });
    reads.windows(2).any(|at| is_poll_of(&events[at[0]], place) && events[at[1]].call == Call::Poll)
}

/// Returns the acknowledgement of a later send to the same partition: of the same process, or of another one that began
/// after the first was acknowledged.
fn follower(
    events: &[Event],
    acknowledged: &[(usize, usize)],
    (invoked, ok): (usize, usize),
    anomaly: Anomaly,
) -> Option<usize> {
    let of_one = anomaly == Anomaly::NonmonotonicSend;
    let later = |other: usize| {
        let same = events[other].process == events[invoked].process;
        let later = if of_one { other > invoked } else { other > ok };
        events[other].partition == events[invoked].partition && same == of_one && later
    };
    acknowledged.iter().find(|(other, _)| later(*other)).map(|(_, ok)| *ok)
}

/// A reader that has read everything gets one more record.
fn add_poll_at_end(events: &mut Vec<Event>, partition: Option<u32>, digest: Option<u64>) {
    let polls = events.iter().filter(|it| it.call == Call::Poll && it.partition == partition);
    let end = polls.filter_map(|it| it.offset).max().map(|last| last as usize + 1);
    let event = on(Event::new(Phase::Ok, Call::Poll, "c0"), partition.unwrap() as usize, end);
    events.push(Event { digest, ..event });
}

/// A commit covers one more record, which was not handled before.
fn commit_ahead(events: &mut [Event]) -> bool {
    let handles = |events: &[Event], offset: Option<i64>| {
        events.iter().any(|it| it.call == Call::Handle && (offset.is_none() || it.offset == offset))
    };
    let commits = all(events, |event| event.call == Call::Commit);
    let ahead = commits.into_iter().find(|at| {
        let next = events[*at].offset;
        !handles(&events[..*at], next) && events.iter().any(|it| is_poll_of(it, (Some(0), next)))
    });
    let Some(at) = ahead else { return false };
    events[at].offset = events[at].offset.map(|next| next + 1);
    // A group is judged by what it handles.
    handles(events, None)
}

#[test]
fn a_correct_history_has_no_findings() {
    let mut stored = 0;
    for seed in 0..300 {
        let verdict = check(&World::run(seed));
        assert_eq!(verdict.findings(), [], "seed {seed}");
        stored += verdict.stored;
    }
    assert!(stored > 300 * 20, "{stored}");
}

#[test]
fn each_mutation_is_found() {
    let mut occasions: BTreeMap<Anomaly, u32> = BTreeMap::new();
    for seed in 0..150 {
        for anomaly in Anomaly::ALL {
            let mut events = World::run(seed);
            let mut draw = Draw(seed ^ 0x5555);
            if mutate(&mut events, *anomaly, &mut draw) {
                *occasions.entry(*anomaly).or_default() += 1;
                let verdict = check(&events);
                assert!(found(&verdict).contains(anomaly), "seed {seed}: {anomaly} is not in {verdict:?}");
            }
        }
    }
    let rare: Vec<_> =
        Anomaly::ALL.iter().filter(|it| occasions.get(it).is_none_or(|count| *count < 20)).collect();
    assert!(rare.is_empty(), "{rare:?} of {occasions:?}");
}

/// The verdict does not depend on how much is sorted in memory.
#[test]
fn temporary_files_change_nothing() {
    use floe_check::{CheckOptions, Checker};
    let mut events = Vec::new();
    for seed in 0..40 {
        // Each run in a topic of its own, with its own processes.
        for mut event in World::run(seed) {
            event.topic = event.topic.map(|_| format!("t{seed}").into());
            event.process = format!("{seed}{}", event.process).into();
            event.group = event.group.map(|_| format!("g{seed}").into());
            events.push(event);
        }
    }
    let mut event = on(Event::new(Phase::Ok, Call::Poll, "another"), 0, Some(0));
    (event.topic, event.digest) = (Some("t0".into()), Some(u64::MAX));
    events.push(event);
    let large = {
        let mut checker = Checker::new(CheckOptions { drained: true, ..CheckOptions::default() });
        events.iter().for_each(|event| checker.event(event).unwrap());
        checker.finish().unwrap()
    };
    assert_eq!(check(&events), large);
    assert_eq!(large.count(Anomaly::Unsent), 1);
}
