//! Every order of the records that members may write, up to a bound: rules hold in each state that is reached.
//!
//! `FLOE_GROUP_DEPTH` sets the number of records, 5 by default; each more takes about ten times as long.

mod rules;

use std::collections::HashSet;

use floe_group::{
    Beat, Evict, GroupPartition, GroupRecord, GroupState, Held, Join, Member, MemberId, PartitionState,
    Release, Reset, Revoke,
};

const MEMBERS: [MemberId; 3] = [MemberId(1), MemberId(2), MemberId(3)];
const PARTITIONS: u32 = 2;

fn held(state: &GroupState, number: u32) -> Vec<Held> {
    let partition = GroupPartition::new("t", number);
    let Some(found) = state.partitions().get(&partition) else { return Vec::new() };
    // The lease, and one that is not the partition's any more.
    [found.lease, found.lease - 1].map(|lease| Held { partition: partition.clone(), lease }).to_vec()
}

/// Records that some process may write now, with what it knows or knew.
fn candidates(state: &GroupState) -> Vec<GroupRecord> {
    let mut records = Vec::new();
    for id in MEMBERS {
        records.push(GroupRecord::Join(Join::new(id).topic("t", PARTITIONS)));
        let Some(member) = state.members().get(&id) else { continue };
        let beat = || Beat::new(id, member.joined, member.sequence + 1);
        records.push(GroupRecord::Beat(beat()));
        records.push(GroupRecord::Beat(Beat::new(id, member.joined - 1, member.sequence + 1)));
        records.push(GroupRecord::Beat(
            beat().topic("t", if member.topics.is_empty() { PARTITIONS } else { 0 }),
        ));
        records.push(GroupRecord::Leave(beat()));
        for sequence in [member.sequence, member.sequence.wrapping_sub(1)] {
            records.push(GroupRecord::Evict(Evict { by: None, member: id, joined: member.joined, sequence }));
        }
        for held in (0..PARTITIONS).flat_map(|number| held(state, number)) {
            records.push(GroupRecord::Beat(beat().commit(held.clone(), 1)));
            records.push(GroupRecord::Release(Release {
                beat: beat().commit(held.clone(), 2),
                partitions: vec![held.clone()],
            }));
            records.push(GroupRecord::Revoke(Revoke { held, by: id }));
        }
    }
    records.push(GroupRecord::Delete);
    for partition in state.partitions().keys() {
        for force in [false, true] {
            records.push(GroupRecord::Reset(Reset { partition: partition.clone(), next: 0, force }));
        }
    }
    records
}

/// The members that read the topic.
fn readers(state: &GroupState) -> impl Iterator<Item = (&MemberId, &Member)> {
    state.members().iter().filter(|(_, member)| !member.topics.is_empty())
}

/// Members that ask for the same share all partitions equally.
fn check_shares(after: &GroupState) {
    let is_shared = |state: &PartitionState| state.target.is_some() == readers(after).next().is_some();
    assert!(after.partitions().values().all(is_shared), "{after:?}");
    let any_takes = readers(after).any(|(_, member)| member.takes_partitions());
    let takers = readers(after).filter(|(_, member)| !any_takes || member.takes_partitions());
    let shares: Vec<_> = takers
        .map(|(id, _)| after.partitions().values().filter(|state| state.target == Some(*id)).count())
        .collect();
    if let (Some(least), Some(most)) = (shares.iter().min(), shares.iter().max()) {
        assert!(most - least <= 1, "shares {shares:?}: {after:?}");
    }
}

#[test]
fn rules_hold_in_every_order_of_records() {
    let mut seen = HashSet::new();
    let mut states = vec![GroupState::default()];
    let mut applied = 0_u64;
    let depth = std::env::var("FLOE_GROUP_DEPTH").map_or(5, |depth| depth.parse().expect("a number"));
    for offset in 0..depth {
        let mut next = Vec::new();
        for state in &states {
            for record in candidates(state) {
                let mut after = state.clone();
                let outcome = after.apply(offset, &record);
                rules::check(state, &record, &after, outcome, offset);
                check_shares(&after);
                applied += 1;
                if outcome.ignored.is_none() && seen.insert(after.clone()) {
                    next.push(after);
                }
            }
        }
        states = next;
    }
    assert!(applied > 20_000, "{applied} records were applied");
}
