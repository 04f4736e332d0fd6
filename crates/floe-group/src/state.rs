//! State of a group, and questions to it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::identity::{GroupPartition, Held, MemberId, is_name};

/// Most members of a group. Further ones have no effect until another one leaves.
pub const MAX_MEMBERS: usize = 1000;

/// Most partitions of a group. A member whose topics would exceed them does not join.
pub const MAX_PARTITIONS: usize = 100_000;

/// Most members whose evictions are remembered.
pub(crate) const MAX_EVICTED: usize = 1000;

/// Member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Member {
    /// Offset of its join.
    pub joined: i64,
    /// Name that a restarted process keeps.
    pub instance: Option<String>,
    /// Number of its last beat.
    pub sequence: u64,
    /// Time without a record of the member after which others evict it, in milliseconds.
    pub session_ms: u32,
    /// Time that the member takes at most to release a partition, in milliseconds.
    pub drain_ms: u32,
    /// Topics and the number of partitions that the member has seen.
    pub topics: BTreeMap<String, u32>,
    /// Share of the partitions in relation to other members.
    pub weight: u16,
    /// Newest algorithm of distribution that the member knows.
    pub algorithm: u8,
    /// Number of the beat from which on it takes partitions; above 0 after repeated evictions.
    pub probation: u64,
}

impl Member {
    /// Whether the member takes partitions, or has to live on for a while before.
    #[must_use]
    pub fn takes_partitions(&self) -> bool {
        self.sequence >= self.probation
    }
}

/// Partition of a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PartitionState {
    /// The member that reads it.
    pub owner: Option<MemberId>,
    /// Offset of the record that granted the last lease, or moved it; -1 before the first one.
    pub lease: i64,
    /// Offset of the next record to read, once one was committed or set.
    pub next: Option<i64>,
    /// Text of the last commit.
    pub metadata: String,
    /// The member that shall read it. Differs from the owner until that releases it.
    pub target: Option<MemberId>,
}

/// State of a group after a record of its coordination partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GroupState {
    /// Offset of the group's last record, valid or not; -1 before the first one.
    pub(crate) last: i64,
    /// Offset of the last record that changed members, topics or the number of partitions; -1 before the first one.
    pub(crate) generation: i64,
    pub(crate) members: BTreeMap<MemberId, Member>,
    pub(crate) partitions: BTreeMap<GroupPartition, PartitionState>,
    /// How often members were evicted, until they have lived for long.
    pub(crate) evictions: BTreeMap<MemberId, u32>,
}

/// The whole state, at which newcomers start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Offset of the group's record before this one.
    pub upto: i64,
    /// State after that record.
    pub state: GroupState,
}

impl Default for GroupState {
    fn default() -> Self {
        Self {
            last: -1,
            generation: -1,
            members: BTreeMap::new(),
            partitions: BTreeMap::new(),
            evictions: BTreeMap::new(),
        }
    }
}

impl GroupState {
    /// Returns the offset of the group's last record; -1 before the first one.
    #[must_use]
    pub fn last(&self) -> i64 {
        self.last
    }

    /// Returns the offset of the last record that changed members, topics or the number of partitions.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// Returns the members, ordered by id.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<MemberId, Member> {
        &self.members
    }

    /// Returns the partitions, ordered by topic and number. Those of topics that no member reads any more stay as long as
    /// they have a position.
    #[must_use]
    pub fn partitions(&self) -> &BTreeMap<GroupPartition, PartitionState> {
        &self.partitions
    }

    /// Returns the partitions that a member owns.
    pub fn owned_by(&self, member: MemberId) -> impl Iterator<Item = (&GroupPartition, &PartitionState)> {
        self.partitions.iter().filter(move |(_, state)| state.owner == Some(member))
    }

    /// Returns the partitions that a member owns and another one shall have.
    pub fn to_release(&self, member: MemberId) -> impl Iterator<Item = Held> {
        self.owned_by(member)
            .filter(move |(_, state)| state.target != Some(member))
            .map(|(partition, state)| Held { partition: partition.clone(), lease: state.lease })
    }

    /// Returns whether a member may store a position here: it owns the partition under that lease, and the position does not fall.
    #[must_use]
    pub fn accepts(&self, member: MemberId, held: &Held, next: i64) -> bool {
        let state = self.partitions.get(&held.partition);
        let state = state.filter(|state| state.owner == Some(member) && state.lease == held.lease);
        state.is_some_and(|state| state.next.is_none_or(|stored| stored <= next))
    }

    /// Returns the record that lets newcomers start here.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { upto: self.last, state: self.clone() }
    }

    /// Returns the state after a snapshot at `offset`, if `before` is the offset of the group's record before it. Another
    /// record that came in between makes the snapshot void.
    #[must_use]
    pub fn restore(offset: i64, snapshot: &Snapshot, before: i64) -> Option<Self> {
        let is_valid = snapshot.upto == before
            && snapshot.state.last == before
            && before < offset
            && snapshot.state.is_consistent();
        is_valid.then(|| Self { last: offset, ..snapshot.state.clone() })
    }

    /// Returns whether records can lead to this state, as far as that shows: snapshots come from other members.
    pub(crate) fn is_consistent(&self) -> bool {
        let mut instances = BTreeSet::new();
        let in_log = |offset: i64| (-1..=self.last).contains(&offset);
        let known = |member: Option<MemberId>| member.is_none_or(|id| self.members.contains_key(&id));
        self.last >= -1
            && in_log(self.generation)
            && self.members.len() <= MAX_MEMBERS
            && self.partitions.len() <= MAX_PARTITIONS
            && self.evictions.len() <= MAX_EVICTED
            && self.members.values().all(|member| {
                let is_new = member.instance.as_ref().is_none_or(|name| instances.insert(name));
                is_new && in_log(member.joined) && member.weight > 0 && member.algorithm > 0
            })
            && self.partitions.iter().all(|(partition, state)| {
                is_name(&partition.topic)
                    && known(state.owner)
                    && known(state.target)
                    && in_log(state.lease)
                    && state.next.is_none_or(|next| next >= 0)
            })
    }
}
