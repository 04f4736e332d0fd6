//! Applies arbitrary records of a coordination log, valid and not, to the state of a group. The rules of
//! `crates/floe-group/tests/rules` hold after each of them, and a replay from a snapshot ends in the same state.

#![no_main]

#[path = "../../crates/floe-group/tests/rules/mod.rs"]
mod rules;

use floe_group::{
    Beat, Commit, Evict, GroupPartition, GroupRecord, GroupState, Held, Join, MemberId, Release, Reset,
    Revoke,
};
use libfuzzer_sys::fuzz_target;

/// Records of one input at most.
const RECORDS: i64 = 200;

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let mut state = GroupState::default();
    let mut restored: Option<GroupState> = None;
    let begin = i64::from(script.byte());
    for offset in begin..begin + RECORDS {
        if script.0.is_empty() {
            break;
        }
        let record = match script.byte() % 16 {
            // The log holds whatever bytes its writers append.
            0 => {
                let length = usize::from(script.byte());
                GroupRecord::decode(script.bytes(length)).ok()
            }
            1 => Some(GroupRecord::Snapshot(Box::new(state.snapshot()))),
            kind => Some(script.record(kind, &state, offset)),
        };
        let Some(record) = record else {
            state.pass_over(offset);
            restored.iter_mut().for_each(|restored| restored.pass_over(offset));
            continue;
        };
        if let Ok(bytes) = record.encode() {
            assert_eq!(GroupRecord::decode(&bytes).as_ref(), Ok(&record));
        }
        let before = state.clone();
        let outcome = state.apply(offset, &record);
        rules::check(&before, &record, &state, outcome, offset);
        if let Some(restored) = &mut restored {
            restored.apply(offset, &record);
            assert_eq!(*restored, state, "after {record:?}");
        }
        if let GroupRecord::Snapshot(snapshot) = &record
            && let Some(found) = GroupState::restore(offset, snapshot, before.last())
        {
            assert_eq!(found, state);
            restored = Some(found);
        }
    }
});

/// An input as a source of choices.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn member(&mut self) -> MemberId {
        MemberId(u128::from(self.byte() % 5))
    }

    fn partition(&mut self) -> GroupPartition {
        let byte = self.byte();
        GroupPartition::new(["a", "b"][usize::from(byte % 2)], u32::from(byte / 2 % 5))
    }

    /// A partition with its lease, or with another one.
    fn held(&mut self, state: &GroupState) -> Held {
        let partition = self.partition();
        let lease = state.partitions().get(&partition).map_or(0, |found| found.lease);
        let other = self.byte();
        Held { partition, lease: if other < 200 { lease } else { lease - i64::from(other % 8) } }
    }

    fn next(&mut self) -> i64 {
        match self.byte() {
            255 => i64::MAX,
            254 => -1,
            next => i64::from(next),
        }
    }

    fn beat(&mut self, state: &GroupState, offset: i64) -> Beat {
        let id = self.member();
        let (joined, sequence) =
            state.members().get(&id).map_or((offset, 0), |member| (member.joined, member.sequence));
        let ahead = self.byte();
        let sequence = if ahead < 200 { sequence.saturating_add(1) } else { u64::from(ahead) };
        let mut beat = Beat::new(id, joined - i64::from(ahead == 255), sequence);
        for _ in 0..self.byte() % 3 {
            let metadata = "m".repeat(usize::from(self.byte() % 4));
            beat.commits.push(Commit { held: self.held(state), next: self.next(), metadata });
        }
        if self.byte() % 8 == 0 {
            beat.topics.push(("a".to_owned(), u32::from(self.byte() % 8)));
        }
        beat
    }

    fn join(&mut self) -> Join {
        let mut join = Join::new(self.member());
        for topic in ["a", "b"].into_iter().take(1 + usize::from(self.byte() % 2)) {
            join = join.topic(topic, u32::from(self.byte() % 6));
        }
        if self.byte() % 2 == 0 {
            join = join.instance(["x", "y"][usize::from(self.byte() % 2)]);
        }
        join.algorithm = u8::from(self.byte() == 255);
        join.weight(u16::from(self.byte() % 4))
    }

    fn record(&mut self, kind: u8, state: &GroupState, offset: i64) -> GroupRecord {
        match kind {
            2..=4 => GroupRecord::Join(self.join()),
            5..=7 => GroupRecord::Beat(self.beat(state, offset)),
            8..=9 => {
                let beat = self.beat(state, offset);
                let partitions = (0..self.byte() % 4).map(|_| self.held(state)).collect();
                GroupRecord::Release(Release { beat, partitions })
            }
            10 => GroupRecord::Leave(self.beat(state, offset)),
            11..=12 => {
                let Beat { member, joined, sequence, .. } = self.beat(state, offset);
                let by = (self.byte() % 2 == 0).then(|| (self.member(), i64::from(self.byte())));
                let sequence = sequence.wrapping_sub(u64::from(self.byte() % 3));
                GroupRecord::Evict(Evict { by, member, joined, sequence })
            }
            13 => GroupRecord::Revoke(Revoke { held: self.held(state), by: self.member() }),
            14 => {
                let force = self.byte() % 2 == 0;
                GroupRecord::Reset(Reset { partition: self.partition(), next: self.next(), force })
            }
            _ => GroupRecord::Delete,
        }
    }
}
