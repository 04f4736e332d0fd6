//! The effect of each record on the state of a group.

use std::collections::BTreeMap;

use crate::{
    assignment,
    identity::{GroupPartition, Held, MemberId},
    record::{Beat, Commit, Evict, GroupRecord, Join, MAX_TOPICS, Reset, Revoke},
    state::{GroupState, MAX_EVICTED, MAX_MEMBERS, MAX_PARTITIONS, Member, PartitionState, Snapshot},
};

/// Beats after which a member that was evicted before counts as steady.
const STEADY_BEATS: u64 = 100;

/// Most beats that a member which is evicted again and again has to live for before it gets partitions.
const MAX_PROBATION: u64 = 64;

/// Reason why a record has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// The offset does not lie behind that of the last record: it was read twice.
    Repeated,
    /// The member is not in the group, or has joined anew since.
    NotAMember,
    /// The number of the beat is not larger than that of the last one.
    OldSequence,
    /// The member to evict was heard of after the beat that the record names.
    Alive,
    /// The lease is not the one of the partition.
    OldLease,
    /// The partition shall stay where it is.
    NotToMove,
    /// The partition has an owner and the reset is not forced, or the group to delete has members.
    Owned,
    /// The group would have too many members or partitions.
    TooLarge,
    /// The snapshot is not the state at this place of the log.
    OldSnapshot,
}

/// Effect of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Applied {
    /// Why the record has no effect, if it has none.
    pub ignored: Option<Ignored>,
    /// Commits that do not count: the member has not the lease any more, or the position would fall.
    pub fenced_commits: usize,
}

impl GroupState {
    /// Applies the record at `offset` of the coordination partition. Every member that applies the same records in the same
    /// order has the same state.
    pub fn apply(&mut self, offset: i64, record: &GroupRecord) -> Applied {
        if offset <= self.last {
            return Applied { ignored: Some(Ignored::Repeated), ..Applied::default() };
        }
        let mut effect = Applied::default();
        let applied = match record {
            GroupRecord::Join(join) => self.join(offset, join),
            GroupRecord::Beat(beat) => self.beat(offset, beat, &mut effect),
            GroupRecord::Release(release) => self.beat(offset, &release.beat, &mut effect).map(|()| {
                release.partitions.iter().for_each(|held| self.release(offset, release.beat.member, held));
            }),
            GroupRecord::Leave(beat) => {
                self.beat(offset, beat, &mut effect).map(|()| self.remove(offset, beat.member))
            }
            GroupRecord::Evict(evict) => self.evict(offset, evict),
            GroupRecord::Revoke(revoke) => self.revoke(offset, revoke),
            GroupRecord::Reset(reset) => self.reset(offset, reset),
            GroupRecord::Snapshot(snapshot) => self.compare(snapshot),
            GroupRecord::Delete => self.delete(offset),
        };
        effect.ignored = applied.err();
        self.last = offset;
        effect
    }

    /// Notes bytes at `offset` that are no record of this version: they have no effect, but a snapshot that was made before
    /// them is void.
    pub fn pass_over(&mut self, offset: i64) {
        self.last = self.last.max(offset);
    }

    fn join(&mut self, offset: i64, join: &Join) -> Result<(), Ignored> {
        let is_before = |id: MemberId, member: &Member| {
            id == join.member || (join.instance.is_some() && member.instance == join.instance)
        };
        let before: Vec<_> =
            self.members.iter().filter(|(id, member)| is_before(**id, member)).map(|(id, _)| *id).collect();
        let topics: BTreeMap<_, _> = join.topics.iter().cloned().collect();
        if before.is_empty() && self.members.len() >= MAX_MEMBERS
            || self.partitions_with(&topics) > MAX_PARTITIONS
        {
            return Err(Ignored::TooLarge);
        }
        for id in &before {
            self.members.remove(id);
        }
        for (partition, state) in &mut self.partitions {
            if state.owner.is_some_and(|owner| before.contains(&owner)) {
                state.owner = topics.contains_key(&partition.topic).then_some(join.member);
                state.lease = offset;
            }
        }
        let evictions = self.evictions.get(&join.member).copied().unwrap_or_default();
        let member = Member {
            joined: offset,
            instance: join.instance.clone(),
            sequence: 0,
            session_ms: join.session_ms,
            drain_ms: join.drain_ms,
            topics,
            weight: join.weight,
            algorithm: join.algorithm,
            probation: probation(evictions),
        };
        self.members.insert(join.member, member);
        self.distribute(offset);
        Ok(())
    }

    /// Returns the number of partitions that the group would have with these topics.
    fn partitions_with(&self, topics: &BTreeMap<String, u32>) -> usize {
        let added: usize = topics
            .iter()
            .map(|(topic, count)| {
                let known = self.partitions.keys().filter(|partition| partition.topic == *topic).count();
                (*count as usize).saturating_sub(known)
            })
            .sum();
        self.partitions.len().saturating_add(added)
    }

    fn beat(&mut self, offset: i64, beat: &Beat, effect: &mut Applied) -> Result<(), Ignored> {
        let member = self.members.get_mut(&beat.member).filter(|member| member.joined == beat.joined);
        let member = member.ok_or(Ignored::NotAMember)?;
        if beat.sequence <= member.sequence {
            return Err(Ignored::OldSequence);
        }
        let took = member.takes_partitions();
        member.sequence = beat.sequence;
        let takes = took != member.takes_partitions();
        if beat.sequence >= STEADY_BEATS {
            self.evictions.remove(&beat.member);
        }
        // Before the topics: the last commits of a topic that the member gives up count.
        for commit in &beat.commits {
            effect.fenced_commits += usize::from(!self.commit(beat.member, commit));
        }
        if self.subscribe(offset, beat) || takes {
            self.distribute(offset);
        }
        Ok(())
    }

    /// Takes the topics that a member begins or ceases to read, and those that have grown. Returns whether there are any.
    fn subscribe(&mut self, offset: i64, beat: &Beat) -> bool {
        let topics: BTreeMap<_, _> = beat.topics.iter().cloned().collect();
        let fits = self.partitions_with(&topics) <= MAX_PARTITIONS;
        let Some(member) = self.members.get_mut(&beat.member) else { return false };
        let mut changes = false;
        for (topic, count) in topics {
            let known = member.topics.get(&topic).copied();
            if count == 0 && known.is_some() {
                member.topics.remove(&topic);
                let is_left = |(at, state): &(&GroupPartition, &mut PartitionState)| {
                    at.topic == topic && state.owner == Some(beat.member)
                };
                for (_, state) in self.partitions.iter_mut().filter(is_left) {
                    state.free(offset);
                }
                changes = true;
            } else if fits
                && known.map_or(count > 0 && member.topics.len() < MAX_TOPICS, |known| known < count)
            {
                member.topics.insert(topic, count);
                changes = true;
            }
        }
        changes
    }

    fn commit(&mut self, member: MemberId, commit: &Commit) -> bool {
        let counts = self.accepts(member, &commit.held, commit.next);
        if let Some(state) = self.partitions.get_mut(&commit.held.partition).filter(|_| counts) {
            state.next = Some(commit.next);
            state.metadata.clone_from(&commit.metadata);
        }
        counts
    }

    /// Returns the state of a partition that the member owns under this lease.
    fn held(&mut self, member: MemberId, held: &Held) -> Option<&mut PartitionState> {
        let state = self.partitions.get_mut(&held.partition)?;
        (state.owner == Some(member) && state.lease == held.lease).then_some(state)
    }

    fn release(&mut self, offset: i64, member: MemberId, held: &Held) {
        if let Some(state) = self.held(member, held) {
            state.grant(offset);
        }
    }

    fn remove(&mut self, offset: i64, member: MemberId) {
        self.members.remove(&member);
        for state in self.partitions.values_mut().filter(|state| state.owner == Some(member)) {
            state.free(offset);
        }
        self.distribute(offset);
    }

    fn evict(&mut self, offset: i64, evict: &Evict) -> Result<(), Ignored> {
        let is_member =
            |id: MemberId, joined: i64| self.members.get(&id).filter(|member| member.joined == joined);
        if evict.by.is_some_and(|(id, joined)| is_member(id, joined).is_none()) {
            return Err(Ignored::NotAMember);
        }
        let member = is_member(evict.member, evict.joined).ok_or(Ignored::NotAMember)?;
        if member.sequence != evict.sequence {
            return Err(Ignored::Alive);
        }
        if self.evictions.len() >= MAX_EVICTED && !self.evictions.contains_key(&evict.member) {
            self.evictions.pop_first();
        }
        let count = self.evictions.entry(evict.member).or_default();
        *count = count.saturating_add(1);
        self.remove(offset, evict.member);
        Ok(())
    }

    fn revoke(&mut self, offset: i64, revoke: &Revoke) -> Result<(), Ignored> {
        if !self.members.contains_key(&revoke.by) {
            return Err(Ignored::NotAMember);
        }
        let state = self.partitions.get_mut(&revoke.held.partition);
        let state = state.filter(|state| state.lease == revoke.held.lease).ok_or(Ignored::OldLease)?;
        if state.target.is_none() || state.target == state.owner {
            return Err(Ignored::NotToMove);
        }
        state.grant(offset);
        Ok(())
    }

    fn reset(&mut self, offset: i64, reset: &Reset) -> Result<(), Ignored> {
        if !self.partitions.contains_key(&reset.partition) {
            if self.partitions.len() >= MAX_PARTITIONS {
                return Err(Ignored::TooLarge);
            }
            self.partitions.insert(reset.partition.clone(), PartitionState::unowned());
        }
        let Some(state) = self.partitions.get_mut(&reset.partition) else { return Err(Ignored::TooLarge) };
        if state.owner.is_some() && !reset.force {
            return Err(Ignored::Owned);
        }
        state.next = Some(reset.next);
        state.metadata.clear();
        // The owner starts anew under the new lease, and its commits under the old one do not count.
        state.lease = offset;
        Ok(())
    }

    fn delete(&mut self, offset: i64) -> Result<(), Ignored> {
        if !self.members.is_empty() {
            return Err(Ignored::Owned);
        }
        *self = Self { generation: offset, ..Self::default() };
        Ok(())
    }

    fn compare(&self, snapshot: &Snapshot) -> Result<(), Ignored> {
        if snapshot.upto == self.last && snapshot.state == *self { Ok(()) } else { Err(Ignored::OldSnapshot) }
    }

    /// Computes which member shall read each partition, and gives those without an owner to their member.
    fn distribute(&mut self, offset: i64) {
        self.generation = offset;
        let counts = assignment::counts(&self.members);
        self.partitions.retain(|partition, state| {
            state.next.is_some() || state.owner.is_some() || counts.contains_key(partition.topic.as_str())
        });
        for (topic, count) in &counts {
            for number in 0..*count {
                self.partitions
                    .entry(GroupPartition::new(*topic, number))
                    .or_insert_with(PartitionState::unowned);
            }
        }
        let targets = assignment::targets(&self.members, &self.partitions);
        for (partition, state) in &mut self.partitions {
            state.target = targets.get(partition).copied();
            if state.owner.is_none() && state.target.is_some() {
                state.grant(offset);
            }
        }
    }
}

impl PartitionState {
    fn unowned() -> Self {
        Self { lease: -1, ..Self::default() }
    }

    fn free(&mut self, offset: i64) {
        self.owner = None;
        self.lease = offset;
    }

    fn grant(&mut self, offset: i64) {
        self.owner = self.target;
        self.lease = offset;
    }
}

/// Returns the number of beats after which a member with these evictions takes partitions: none after the first one.
fn probation(evictions: u32) -> u64 {
    match evictions {
        0 | 1 => 0,
        more => 1_u64.checked_shl(more).unwrap_or(MAX_PROBATION).min(MAX_PROBATION),
    }
}
