//! Replay from any snapshot equals the live state, whatever bytes the log holds.

use floe_group::{
    Beat, Commit, DecodeError, Evict, GroupPartition, GroupRecord, GroupState, Held, Ignored, Join, MemberId,
    Release, Reset, Revoke,
};
use proptest::prelude::*;

fn member() -> impl Strategy<Value = MemberId> {
    (0..4_u128).prop_map(MemberId)
}

fn held() -> impl Strategy<Value = Held> {
    (0..2_u8, 0..4_u32, -1..40_i64).prop_map(|(topic, number, lease)| Held {
        partition: GroupPartition::new(["a", "b"][usize::from(topic)], number),
        lease,
    })
}

fn beat() -> impl Strategy<Value = Beat> {
    let commits = prop::collection::vec((held(), 0..50_i64), 0..3);
    (member(), 0..40_i64, 0..9_u64, commits, 0..6_u32).prop_map(
        |(member, joined, sequence, commits, count)| {
            let mut beat = Beat::new(member, joined, sequence);
            beat.commits = commits
                .into_iter()
                .map(|(held, next)| Commit { held, next, metadata: "m".repeat(next as usize % 3) })
                .collect();
            beat.topics = vec![("a".to_owned(), count)];
            beat
        },
    )
}

fn record() -> impl Strategy<Value = GroupRecord> {
    prop_oneof![
        (member(), prop::option::of(0..2_u8), 0..5_u32, 1..4_u16).prop_map(
            |(id, instance, count, weight)| {
                let mut join = Join::new(id).topic("a", count).weight(weight);
                if count % 2 == 0 {
                    join = join.topic("b", 2);
                }
                join.instance = instance.map(|number| format!("i{number}"));
                GroupRecord::Join(join)
            }
        ),
        beat().prop_map(GroupRecord::Beat),
        (beat(), prop::collection::vec(held(), 0..3))
            .prop_map(|(beat, partitions)| GroupRecord::Release(Release { beat, partitions })),
        beat().prop_map(GroupRecord::Leave),
        (member(), 0..40_i64, 0..9_u64, prop::option::of((member(), 0..40_i64))).prop_map(
            |(member, joined, sequence, by)| GroupRecord::Evict(Evict { by, member, joined, sequence })
        ),
        Just(GroupRecord::Delete),
        (held(), member()).prop_map(|(held, by)| GroupRecord::Revoke(Revoke { held, by })),
        (held(), 0..50_i64, any::<bool>()).prop_map(|(held, next, force)| GroupRecord::Reset(Reset {
            partition: held.partition,
            next,
            force
        })),
    ]
}

/// A value of the log: an encoded record, or other bytes.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        9 => record().prop_map(|record| record.encode().unwrap()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn read(state: &mut GroupState, offset: i64, value: &[u8]) {
    match GroupRecord::decode(value) {
        Ok(record) => drop(state.apply(offset, &record)),
        Err(_) => state.pass_over(offset),
    }
}

proptest! {
    #[test]
    fn replay_from_any_snapshot_is_the_live_state(values in prop::collection::vec(value(), 1..40), at in 0..40_usize) {
        let mut live = GroupState::default();
        let at = at.min(values.len());
        for (offset, value) in (0..).zip(&values[..at]) {
            read(&mut live, offset, value);
        }
        let before = live.last();
        let snapshot = live.snapshot();
        let encoded = GroupRecord::Snapshot(Box::new(snapshot.clone())).encode().unwrap();
        prop_assert_eq!(GroupRecord::decode(&encoded).unwrap(), GroupRecord::Snapshot(Box::new(snapshot.clone())));
        let offset = at as i64;
        let outcome = live.apply(offset, &GroupRecord::decode(&encoded).unwrap());
        prop_assert_eq!(outcome.ignored, None);
        let mut restored = GroupState::restore(offset, &snapshot, before).unwrap();
        for (offset, value) in (offset + 1..).zip(&values[at..]) {
            read(&mut live, offset, value);
            read(&mut restored, offset, value);
        }
        prop_assert_eq!(live, restored);
    }

    #[test]
    fn damaged_records_never_panic(record in record(), at in any::<usize>(), bit in 0..8_u8) {
        let mut value = record.encode().unwrap();
        let at = at % value.len();
        value[at] ^= 1 << bit;
        let mut state = GroupState::default();
        state.apply(0, &GroupRecord::Join(Join::new(MemberId(1)).topic("a", 3)));
        read(&mut state, 1, &value);
        read(&mut state, 2, &value[..at]);
    }
}

#[test]
fn snapshots_that_were_overtaken_are_void() {
    let mut state = GroupState::default();
    state.apply(0, &GroupRecord::Join(Join::new(MemberId(1)).topic("a", 3)));
    let snapshot = state.snapshot();
    state.apply(1, &GroupRecord::Beat(Beat::new(MemberId(1), 0, 1)));
    let outcome = state.apply(2, &GroupRecord::Snapshot(Box::new(snapshot.clone())));
    assert_eq!(outcome.ignored, Some(Ignored::OldSnapshot));
    assert_eq!(GroupState::restore(2, &snapshot, 1), None);
    assert_eq!(GroupState::restore(1, &snapshot, 0).unwrap().members().len(), 1);
}

#[test]
fn records_of_others_are_told_apart() {
    assert_eq!(GroupRecord::decode(b""), Err(DecodeError::Length(0)));
    assert_eq!(GroupRecord::decode(&[9, 0, 0]), Err(DecodeError::Version(9)));
    assert_eq!(GroupRecord::decode(&[1, 99, 0x90]), Err(DecodeError::Kind(99)));
    assert!(matches!(GroupRecord::decode(b"\x01\x01garbage"), Err(DecodeError::Malformed(_))));
    // An array that claims 2^32 - 1 topics.
    let claims = [&[1, 1, 0x95, 0xc4, 16][..], &[0; 16], &[0, 1, 0xdd, 0xff, 0xff, 0xff, 0xff]].concat();
    assert!(matches!(GroupRecord::decode(&claims), Err(DecodeError::Malformed(_))));
}
