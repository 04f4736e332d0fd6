//! Effects of single records at the limits: what counts, what is ignored, and what that says.

use floe_group::{
    Beat, Evict, GroupPartition, GroupRecord, GroupState, Held, Ignored, Join, MAX_MEMBERS, MAX_PARTITIONS,
    MemberId, Release, Reset, Revoke,
};

/// A state to which records are applied at rising offsets.
#[derive(Debug, Default)]
struct Log {
    state: GroupState,
    next: i64,
}

impl Log {
    fn apply(&mut self, record: &GroupRecord) -> Option<Ignored> {
        self.next += 1;
        self.state.apply(self.next - 1, record).ignored
    }

    /// Returns the offset of the join, which identifies the member.
    fn join(&mut self, id: u128, topic: &str, partitions: u32) -> i64 {
        assert_eq!(self.apply(&join(id, topic, partitions)), None);
        self.next - 1
    }

    fn partitions_of(&self, topic: &str) -> usize {
        self.state.partitions().keys().filter(|partition| partition.topic == topic).count()
    }

    fn held(&self, topic: &str, number: u32) -> Held {
        let partition = GroupPartition::new(topic, number);
        let lease = self.state.partitions()[&partition].lease;
        Held { partition, lease }
    }
}

fn join(id: u128, topic: &str, partitions: u32) -> GroupRecord {
    GroupRecord::Join(Join::new(MemberId(id)).topic(topic, partitions))
}

fn reads(id: u128, joined: i64, sequence: u64, topic: &str, partitions: u32) -> GroupRecord {
    GroupRecord::Beat(Beat::new(MemberId(id), joined, sequence).topic(topic, partitions))
}

fn most() -> u32 {
    u32::try_from(MAX_PARTITIONS).unwrap()
}

#[test]
fn a_record_that_comes_again_is_ignored_and_told() {
    let mut state = GroupState::default();
    assert_eq!(state.apply(3, &join(1, "a", 2)).ignored, None);
    let before = state.clone();
    for offset in [3, 2] {
        assert_eq!(state.apply(offset, &join(2, "a", 2)).ignored, Some(Ignored::Repeated));
        assert_eq!(state, before);
    }
}

#[test]
fn bytes_that_are_no_record_void_the_snapshots_before_them() {
    let mut log = Log::default();
    log.join(1, "a", 2);
    let snapshot = log.state.snapshot();
    log.state.pass_over(4);
    assert_eq!(log.state.last(), 4);
    log.state.pass_over(2);
    assert_eq!(log.state.last(), 4);
    let outcome = log.state.apply(5, &GroupRecord::Snapshot(Box::new(snapshot.clone())));
    assert_eq!(outcome.ignored, Some(Ignored::OldSnapshot));
    assert_eq!(GroupState::restore(5, &snapshot, 4), None);
}

#[test]
fn a_group_has_a_limit_of_members_that_a_rejoin_keeps() {
    let mut log = Log::default();
    for id in 0..MAX_MEMBERS as u128 {
        log.join(id, "a", 0);
    }
    assert_eq!(log.apply(&join(5_000, "a", 0)), Some(Ignored::TooLarge));
    log.join(7, "a", 1);
    assert_eq!((log.state.members().len(), log.partitions_of("a")), (MAX_MEMBERS, 1));
}

#[test]
fn a_group_has_a_limit_of_partitions_over_all_topics() {
    let mut log = Log::default();
    assert_eq!(log.apply(&join(1, "a", most() + 1)), Some(Ignored::TooLarge));
    log.join(1, "a", most() - 10);
    assert_eq!(log.apply(&join(2, "b", 11)), Some(Ignored::TooLarge));
    let second = log.join(2, "b", 10);
    // What is known counts once.
    let first = log.join(1, "a", most() - 10);
    assert_eq!(log.state.partitions().len(), MAX_PARTITIONS);

    // A beat counts, although what it says has grown is too large.
    assert_eq!(log.apply(&reads(2, second, 1, "b", 11)), None);
    assert_eq!(log.state.members()[&MemberId(2)].sequence, 1);
    assert_eq!(log.partitions_of("b"), 10);
    assert_eq!(log.apply(&GroupRecord::Leave(Beat::new(MemberId(1), first, 1))), None);
    assert_eq!(log.partitions_of("a"), 0);
    assert_eq!(log.apply(&reads(2, second, 2, "b", most())), None);
    assert_eq!(log.partitions_of("b"), MAX_PARTITIONS);
    let reset = |number| {
        GroupRecord::Reset(Reset { partition: GroupPartition::new("c", number), next: 1, force: false })
    };
    assert_eq!(log.apply(&reset(0)), Some(Ignored::TooLarge));
}

#[test]
fn a_beat_without_news_distributes_nothing_anew() {
    let mut log = Log::default();
    let joined = log.join(1, "a", 3);
    assert_eq!(log.apply(&reads(1, joined, 1, "a", 3)), None);
    assert_eq!(log.apply(&reads(1, joined, 2, "other", 0)), None);
    assert_eq!(log.state.generation(), joined);
    assert_eq!(log.apply(&reads(1, joined, 3, "a", 4)), None);
    assert_eq!(log.state.generation(), log.next - 1);
    assert_eq!(log.partitions_of("a"), 4);
    assert_eq!(log.apply(&reads(1, joined, 3, "a", 5)), Some(Ignored::OldSequence));
}

#[test]
fn commits_that_do_not_count_are_counted() {
    let mut log = Log::default();
    let joined = log.join(1, "a", 2);
    let mut old = log.held("a", 0);
    let beat = Beat::new(MemberId(1), joined, 1).commit(old.clone(), 5).commit(log.held("a", 1), 7);
    assert_eq!(log.state.apply(1, &GroupRecord::Beat(beat)).fenced_commits, 0);
    let falls = Beat::new(MemberId(1), joined, 2).commit(old.clone(), 4);
    assert_eq!(log.state.apply(2, &GroupRecord::Beat(falls)).fenced_commits, 1);
    old.lease -= 1;
    let beat = Beat::new(MemberId(1), joined, 3).commit(old.clone(), 9).commit(old.clone(), 9).commit(old, 9);
    assert_eq!(log.state.apply(3, &GroupRecord::Beat(beat)).fenced_commits, 3);
    let next = |number| log.state.partitions()[&GroupPartition::new("a", number)].next;
    assert_eq!((next(0), next(1)), (Some(5), Some(7)));
}

#[test]
fn an_eviction_names_the_last_beat_and_a_living_witness() {
    let mut log = Log::default();
    let (first, second) = (log.join(1, "a", 1), log.join(2, "a", 1));
    let evict =
        |by, joined, sequence| GroupRecord::Evict(Evict { by, member: MemberId(2), joined, sequence });
    assert_eq!(log.apply(&GroupRecord::Beat(Beat::new(MemberId(2), second, 4))), None);
    for (record, ignored) in [
        (evict(None, second, 3), Ignored::Alive),
        (evict(None, second - 1, 4), Ignored::NotAMember),
        (evict(Some((MemberId(3), first)), second, 4), Ignored::NotAMember),
        (evict(Some((MemberId(1), first + 1)), second, 4), Ignored::NotAMember),
    ] {
        assert_eq!(log.apply(&record), Some(ignored));
    }
    assert_eq!(log.apply(&evict(Some((MemberId(1), first)), second, 4)), None);
    assert_eq!(log.state.members().len(), 1);
}

#[test]
fn repeated_evictions_let_a_member_wait_for_its_partitions() {
    let mut log = Log::default();
    log.join(1, "a", 4);
    let mut expected = [0, 0, 4, 8, 16].into_iter();
    for _ in 0..5 {
        let joined = log.join(2, "a", 4);
        assert_eq!(Some(log.state.members()[&MemberId(2)].probation), expected.next());
        let evict = Evict { by: None, member: MemberId(2), joined, sequence: 0 };
        assert_eq!(log.apply(&GroupRecord::Evict(evict)), None);
    }
    let joined = log.join(2, "a", 4);
    let waits = log.state.members()[&MemberId(2)].probation;
    assert_eq!(log.state.to_release(MemberId(1)).count(), 0);
    for sequence in 1..waits {
        assert_eq!(log.apply(&GroupRecord::Beat(Beat::new(MemberId(2), joined, sequence))), None);
        assert_eq!(log.state.to_release(MemberId(1)).count(), 0, "beat {sequence} of {waits}");
    }
    assert_eq!(log.apply(&GroupRecord::Beat(Beat::new(MemberId(2), joined, waits))), None);
    assert_eq!(log.state.to_release(MemberId(1)).count(), 2);
}

#[test]
fn a_partition_moves_by_a_release_or_by_force_and_not_otherwise() {
    let mut log = Log::default();
    let first = log.join(1, "a", 2);
    let held: Vec<_> = (0..2).map(|number| log.held("a", number)).collect();
    let revoke = |held: &Held, by| GroupRecord::Revoke(Revoke { held: held.clone(), by: MemberId(by) });
    // No other member is to get it.
    assert_eq!(log.apply(&revoke(&held[0], 1)), Some(Ignored::NotToMove));
    log.join(2, "a", 2);
    let to_move: Vec<_> = log.state.to_release(MemberId(1)).collect();
    let [moves] = to_move.as_slice() else { panic!("{to_move:?}") };
    let stays = held.iter().find(|held| held.partition != moves.partition).unwrap();
    assert_eq!(log.apply(&revoke(stays, 2)), Some(Ignored::NotToMove));
    assert_eq!(log.apply(&revoke(moves, 9)), Some(Ignored::NotAMember));
    let old = Held { lease: moves.lease - 1, ..moves.clone() };
    assert_eq!(log.apply(&revoke(&old, 2)), Some(Ignored::OldLease));
    // A release of what is held under another lease does nothing.
    let release = |held: &Held, sequence| {
        let beat = Beat::new(MemberId(1), first, sequence);
        GroupRecord::Release(Release { beat, partitions: vec![held.clone()] })
    };
    assert_eq!(log.apply(&release(&old, 1)), None);
    assert_eq!(log.state.owned_by(MemberId(2)).count(), 0);
    assert_eq!(log.apply(&release(moves, 2)), None);
    assert_eq!(log.state.partitions()[&moves.partition].owner, Some(MemberId(2)));
    assert_eq!(log.state.partitions()[&moves.partition].lease, log.next - 1);
}

#[test]
fn a_reset_needs_force_where_a_member_reads_and_gives_a_new_lease() {
    let mut log = Log::default();
    log.join(1, "a", 1);
    let reset = |topic: &str, force| {
        GroupRecord::Reset(Reset { partition: GroupPartition::new(topic, 0), next: 3, force })
    };
    assert_eq!(log.apply(&reset("a", false)), Some(Ignored::Owned));
    assert_eq!(log.apply(&reset("a", true)), None);
    assert_eq!(log.held("a", 0).lease, log.next - 1);
    // A partition that no member reads keeps its position.
    assert_eq!(log.apply(&reset("b", false)), None);
    log.join(2, "a", 1);
    assert_eq!(log.state.partitions()[&GroupPartition::new("b", 0)].next, Some(3));
    assert_eq!(log.state.partitions()[&GroupPartition::new("b", 0)].owner, None);
}

#[test]
fn a_restart_takes_the_partitions_of_its_predecessor_except_those_it_does_not_read() {
    let mut log = Log::default();
    let named = |id: u128| Join::new(MemberId(id)).instance("worker");
    log.apply(&GroupRecord::Join(named(1).topic("a", 2).topic("b", 1)));
    log.apply(&GroupRecord::Join(named(2).topic("a", 2)));
    assert_eq!(log.state.members().keys().collect::<Vec<_>>(), [&MemberId(2)]);
    assert_eq!(log.state.owned_by(MemberId(2)).count(), 2);
    assert_eq!(log.partitions_of("b"), 0);
    // A member without a name has no successor.
    log.join(3, "a", 2);
    log.join(4, "a", 2);
    assert_eq!(log.state.members().len(), 3);
}

#[test]
fn a_group_is_deleted_only_without_members() {
    let mut log = Log::default();
    let joined = log.join(1, "a", 1);
    assert_eq!(log.apply(&GroupRecord::Delete), Some(Ignored::Owned));
    assert_eq!(log.apply(&GroupRecord::Leave(Beat::new(MemberId(1), joined, 1))), None);
    assert_eq!(log.apply(&GroupRecord::Delete), None);
    assert_eq!(log.state.generation(), log.next - 1);
}

/// Joins and evicts a member.
fn come_and_go(log: &mut Log, id: u128) {
    let joined = log.join(id, "a", 1);
    let evict = Evict { by: None, member: MemberId(id), joined, sequence: 0 };
    assert_eq!(log.apply(&GroupRecord::Evict(evict)), None);
}

fn probation_of(log: &mut Log, id: u128) -> u64 {
    log.join(id, "a", 1);
    log.state.members()[&MemberId(id)].probation
}

#[test]
fn a_hundred_beats_make_evictions_forgotten() {
    for (beats, probation) in [(99, 8), (100, 0)] {
        let mut log = Log::default();
        come_and_go(&mut log, 1);
        come_and_go(&mut log, 1);
        let joined = log.join(1, "a", 1);
        assert_eq!(log.apply(&GroupRecord::Beat(Beat::new(MemberId(1), joined, beats))), None);
        let evict = Evict { by: None, member: MemberId(1), joined, sequence: beats };
        assert_eq!(log.apply(&GroupRecord::Evict(evict)), None);
        assert_eq!(probation_of(&mut log, 1), probation, "after {beats}");
    }
}

#[test]
fn evictions_are_remembered_for_a_bounded_number_of_members() {
    let mut log = Log::default();
    for id in 0..1000 {
        come_and_go(&mut log, id);
        come_and_go(&mut log, id);
    }
    assert_eq!(probation_of(&mut log, 0), 4);
    // One that is known already takes no place; another one takes that of the first.
    come_and_go(&mut log, 1);
    assert_eq!(probation_of(&mut log, 2), 4);
    come_and_go(&mut log, 2000);
    assert_eq!(probation_of(&mut log, 0), 0);
    assert_eq!(probation_of(&mut log, 999), 4);
    let snapshot = log.state.snapshot();
    assert!(GroupState::restore(log.next, &snapshot, log.next - 1).is_some(), "it is within the limits");
}

#[test]
fn a_snapshot_of_another_history_is_void() {
    let (mut log, mut other) = (Log::default(), Log::default());
    log.join(1, "a", 1);
    other.join(2, "a", 1);
    let snapshot = |log: &Log| GroupRecord::Snapshot(Box::new(log.state.snapshot()));
    assert_eq!(log.apply(&snapshot(&other)), Some(Ignored::OldSnapshot));
    let own = snapshot(&log);
    assert_eq!(log.apply(&own), None);
}
