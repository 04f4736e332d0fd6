//! Rules of the effects of group records, for tests and for the fuzz target `group_apply`.

use floe_group::{Applied, GroupRecord, GroupState, MemberId};

/// Checks what a record has changed.
pub(crate) fn check(
    before: &GroupState,
    record: &GroupRecord,
    after: &GroupState,
    outcome: Applied,
    offset: i64,
) {
    let told = || format!("{record:?} at {offset}\nbefore {before:?}\nafter {after:?}");
    if outcome.ignored.is_some() {
        let mut same = before.clone();
        same.pass_over(offset);
        assert!(same.partitions() == after.partitions() && same.members() == after.members(), "{}", told());
    }
    for (partition, state) in after.partitions() {
        let reads = |id: MemberId| {
            after.members().get(&id).is_some_and(|member| member.topics.contains_key(&partition.topic))
        };
        assert!(state.owner.is_none_or(reads) && state.target.is_none_or(reads), "{}", told());
        assert!(state.owner.is_some() || state.target.is_none(), "free with a target: {}", told());
        let Some(old) = before.partitions().get(partition) else { continue };
        assert!(state.lease >= old.lease, "leases rise: {}", told());
        if state.owner != old.owner {
            assert_eq!(state.lease, offset, "each owner has a lease of its own: {}", told());
        }
        if !matches!(record, GroupRecord::Reset(_)) {
            assert!(state.next >= old.next, "positions never fall: {}", told());
        }
    }
    if matches!(record, GroupRecord::Delete) {
        assert_eq!(outcome.ignored.is_none(), before.members().is_empty(), "{}", told());
        assert!(outcome.ignored.is_some() || after.partitions().is_empty(), "{}", told());
    }
}
