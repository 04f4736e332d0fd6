//! How partitions are distributed, and how many move.

use floe_group::{
    Beat, Evict, GroupPartition, GroupRecord, GroupState, Held, Ignored, Join, MemberId, Release,
};

fn join(id: u128, topics: &[(&str, u32)]) -> Join {
    topics.iter().fold(Join::new(MemberId(id)), |join, (topic, count)| join.topic(*topic, *count))
}

/// Lets every member release what it shall, and returns how many partitions moved.
fn settle(state: &mut GroupState) -> usize {
    let mut moved = 0;
    let ids: Vec<_> = state.members().keys().copied().collect();
    for id in ids {
        let partitions: Vec<_> = state.to_release(id).collect();
        moved += partitions.len();
        let member = &state.members()[&id];
        let beat = Beat::new(id, member.joined, member.sequence + 1);
        let release = GroupRecord::Release(Release { beat, partitions });
        assert_eq!(state.apply(state.last() + 1, &release).ignored, None);
    }
    moved
}

/// Returns how many leases the last record granted.
fn granted(state: &GroupState) -> usize {
    state.partitions().values().filter(|partition| partition.lease == state.last()).count()
}

fn shares(state: &GroupState) -> Vec<usize> {
    state.members().keys().map(|id| state.owned_by(*id).count()).collect()
}

#[test]
fn fifth_member_takes_a_fifth_and_nothing_else_moves() {
    let mut state = GroupState::default();
    for id in 1..=4 {
        state.apply(state.last() + 1, &GroupRecord::Join(join(id, &[("t", 100)])));
        settle(&mut state);
    }
    assert_eq!(shares(&state), [25; 4]);
    state.apply(state.last() + 1, &GroupRecord::Join(join(5, &[("t", 100)])));
    assert_eq!(settle(&mut state), 20);
    assert_eq!(shares(&state), [20; 5]);
}

#[test]
fn partitions_of_a_member_that_leaves_go_to_the_others_at_once() {
    let mut state = GroupState::default();
    for id in 1..=3 {
        state.apply(state.last() + 1, &GroupRecord::Join(join(id, &[("t", 9)])));
    }
    settle(&mut state);
    let member = &state.members()[&MemberId(2)];
    let leave = GroupRecord::Leave(Beat::new(MemberId(2), member.joined, member.sequence + 1));
    state.apply(state.last() + 1, &leave);
    assert_eq!((granted(&state), shares(&state)), (3, vec![5, 4]));
    assert_eq!(settle(&mut state), 0);
}

#[test]
fn shares_follow_weights() {
    let mut state = GroupState::default();
    for (id, weight) in [(1, 1), (2, 3)] {
        state.apply(state.last() + 1, &GroupRecord::Join(join(id, &[("t", 40)]).weight(weight)));
    }
    settle(&mut state);
    assert_eq!(shares(&state), [10, 30]);
}

#[test]
fn same_number_of_topics_read_together_goes_to_one_member() {
    let mut state = GroupState::default();
    for id in 1..=3 {
        state.apply(state.last() + 1, &GroupRecord::Join(join(id, &[("a", 6), ("b", 6)])));
    }
    settle(&mut state);
    for number in 0..6 {
        let owner = |topic| state.partitions()[&GroupPartition::new(topic, number)].owner;
        assert_eq!(owner("a"), owner("b"), "partition {number}");
    }
}

/// Applies a beat of a member that changes its topics.
fn subscribe(state: &mut GroupState, id: u128, topics: &[(&str, u32)]) {
    let member = &state.members()[&MemberId(id)];
    let beat = Beat::new(MemberId(id), member.joined, member.sequence + 1);
    let beat = topics.iter().fold(beat, |beat, (topic, count)| beat.topic(*topic, *count));
    assert_eq!(state.apply(state.last() + 1, &GroupRecord::Beat(beat)).ignored, None);
}

fn leases(state: &GroupState, topic: &str) -> Vec<(Option<MemberId>, i64)> {
    let of_topic = state.partitions().iter().filter(|(at, _)| at.topic == topic);
    of_topic.map(|(_, found)| (found.owner, found.lease)).collect()
}

#[test]
fn a_topic_that_a_member_adds_or_gives_up_moves_no_partition_of_another_one() {
    let mut state = GroupState::default();
    for id in 1..=2 {
        state.apply(state.last() + 1, &GroupRecord::Join(join(id, &[("a", 6)])));
    }
    settle(&mut state);
    let before = leases(&state, "a");
    // Before the second one has it too, the loads are uneven; members wait a while before they release.
    subscribe(&mut state, 1, &[("b", 6)]);
    subscribe(&mut state, 2, &[("b", 6)]);
    assert_eq!(settle(&mut state), 3, "half of the new topic");
    assert_eq!(leases(&state, "a"), before, "the leases stay");
    for number in 0..6 {
        let owner = |topic| state.partitions()[&GroupPartition::new(topic, number)].owner;
        assert_eq!(owner("a"), owner("b"), "partition {number}");
    }
    subscribe(&mut state, 1, &[("b", 0)]);
    assert_eq!((granted(&state), state.to_release(MemberId(1)).count()), (3, 0), "its three go to the other");
    assert!(leases(&state, "b").iter().all(|(owner, _)| *owner == Some(MemberId(2))));
    assert_eq!(leases(&state, "a"), before, "nothing else moves");
    // A topic that no member reads any more is forgotten with its partitions, which have no position.
    subscribe(&mut state, 2, &[("b", 0)]);
    assert_eq!(leases(&state, "b"), []);
    assert_eq!(leases(&state, "a"), before);
}

#[test]
fn commits_of_a_topic_that_is_given_up_count_in_the_same_record() {
    let mut state = GroupState::default();
    state.apply(0, &GroupRecord::Join(join(1, &[("a", 1), ("b", 1)])));
    let at = GroupPartition::new("b", 0);
    let held = Held { partition: at.clone(), lease: 0 };
    let beat = Beat::new(MemberId(1), 0, 1).commit(held.clone(), 7).topic("b", 0);
    assert_eq!(state.apply(1, &GroupRecord::Beat(beat)).fenced_commits, 0);
    assert_eq!((state.partitions()[&at].next, state.partitions()[&at].owner), (Some(7), None));
    let beat = Beat::new(MemberId(1), 0, 2).commit(held, 8).topic("b", 1);
    assert_eq!(state.apply(2, &GroupRecord::Beat(beat)).fenced_commits, 1, "it was given up before");
    assert_eq!((state.partitions()[&at].next, state.partitions()[&at].lease), (Some(7), 2));
}

#[test]
fn members_read_only_their_topics() {
    let mut state = GroupState::default();
    state.apply(1, &GroupRecord::Join(join(1, &[("a", 4)])));
    state.apply(2, &GroupRecord::Join(join(2, &[("b", 4)])));
    state.apply(3, &GroupRecord::Join(join(3, &[("a", 4), ("b", 4)])));
    settle(&mut state);
    for (partition, found) in state.partitions() {
        let owner = &state.members()[&found.owner.unwrap()];
        assert!(owner.topics.contains_key(&partition.topic), "{partition:?}");
    }
    assert_eq!(shares(&state), [2, 3, 3]);
}

#[test]
fn restart_with_an_instance_inherits_at_once() {
    let mut state = GroupState::default();
    state.apply(0, &GroupRecord::Join(join(1, &[("t", 4)]).instance("i")));
    state.apply(1, &GroupRecord::Join(join(2, &[("t", 4)]).instance("i")));
    assert_eq!((granted(&state), shares(&state)), (4, vec![4]));
    assert!(state.owned_by(MemberId(2)).all(|(_, found)| found.lease == 1));
}

#[test]
fn topics_that_grow_are_distributed() {
    let mut state = GroupState::default();
    for id in 1..=2 {
        state.apply(state.last() + 1, &GroupRecord::Join(join(id, &[("t", 2)])));
    }
    settle(&mut state);
    let member = &state.members()[&MemberId(1)];
    let beat = Beat::new(MemberId(1), member.joined, member.sequence + 1).topic("t", 6);
    state.apply(state.last() + 1, &GroupRecord::Beat(beat));
    assert_eq!((granted(&state), shares(&state)), (4, vec![3, 3]));
}

#[test]
fn a_beat_before_the_eviction_makes_it_void() {
    let mut state = GroupState::default();
    state.apply(0, &GroupRecord::Join(join(1, &[("t", 1)])));
    let evict = GroupRecord::Evict(Evict { by: None, member: MemberId(1), joined: 0, sequence: 0 });
    state.apply(1, &GroupRecord::Beat(Beat::new(MemberId(1), 0, 1)));
    assert_eq!(state.apply(2, &evict).ignored, Some(Ignored::Alive));
    assert_eq!(shares(&state), [1]);
}

#[test]
fn members_that_are_evicted_again_and_again_wait_longer_for_partitions() {
    let mut state = GroupState::default();
    state.apply(0, &GroupRecord::Join(join(9, &[("t", 4)])));
    let mut waits = Vec::new();
    for _ in 0..8 {
        state.apply(state.last() + 1, &GroupRecord::Join(join(1, &[("t", 4)])));
        let joined = state.members()[&MemberId(1)].joined;
        let mut beats = 0;
        while state.to_release(MemberId(9)).next().is_none() {
            beats += 1;
            assert!(beats < 1000, "never gets partitions");
            state.apply(state.last() + 1, &GroupRecord::Beat(Beat::new(MemberId(1), joined, beats)));
        }
        waits.push(beats);
        let evict = Evict { by: None, member: MemberId(1), joined, sequence: beats };
        assert_eq!(state.apply(state.last() + 1, &GroupRecord::Evict(evict)).ignored, None);
    }
    assert_eq!(waits, [0, 0, 4, 8, 16, 32, 64, 64]);
}
