//! Distribution of the partitions of a group among its members.
//!
//! The algorithm is sticky: a partition stays with its owner unless a move makes the loads more even. Partitions of the
//! same number move together if the same members read their topics, so that a member can join such topics. Loads are
//! numbers of partitions in relation to weights; in the end no move of one such unit makes them more even.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    identity::{GroupPartition, MemberId},
    state::{Member, PartitionState},
};

/// Partitions that go to one member.
#[derive(Debug)]
struct Unit {
    partitions: Vec<GroupPartition>,
    owner: Option<MemberId>,
}

/// Load of a member.
#[derive(Debug, Clone, Copy)]
struct Load {
    partitions: u64,
    weight: u64,
}

impl Load {
    /// Compares loads in relation to weights, without rounding.
    fn is_below(self, other: Self) -> bool {
        u128::from(self.partitions) * u128::from(other.weight)
            < u128::from(other.partitions) * u128::from(self.weight)
    }

    fn with(self, more: u64) -> Self {
        Self { partitions: self.partitions + more, ..self }
    }
}

/// Returns the number of partitions of each topic that members read: the largest that one of them has seen.
pub(crate) fn counts(members: &BTreeMap<MemberId, Member>) -> BTreeMap<&str, u32> {
    let mut counts = BTreeMap::new();
    for (topic, count) in members.values().flat_map(|member| &member.topics) {
        let largest: &mut u32 = counts.entry(topic.as_str()).or_default();
        *largest = (*largest).max(*count);
    }
    counts
}

/// Returns the member that shall read each partition; none for topics that no member reads.
pub(crate) fn targets(
    members: &BTreeMap<MemberId, Member>,
    partitions: &BTreeMap<GroupPartition, PartitionState>,
) -> BTreeMap<GroupPartition, MemberId> {
    let mut loads: BTreeMap<MemberId, Load> = members
        .iter()
        .map(|(id, member)| (*id, Load { partitions: 0, weight: u64::from(member.weight.max(1)) }))
        .collect();
    let mut targets = BTreeMap::new();
    for (readers, topics) in classes(members) {
        let units = units(&topics, partitions);
        for (unit, member) in distribute(&units, &readers, &mut loads) {
            targets.extend(unit.partitions.iter().map(|partition| (partition.clone(), member)));
        }
    }
    targets
}

/// Groups the topics by the members that read them. Members on probation count only where there is no other.
fn classes(members: &BTreeMap<MemberId, Member>) -> BTreeMap<BTreeSet<MemberId>, BTreeSet<&str>> {
    let mut readers: BTreeMap<&str, BTreeSet<MemberId>> = BTreeMap::new();
    for takes in [true, false] {
        let mut found: BTreeMap<&str, BTreeSet<MemberId>> = BTreeMap::new();
        for (id, member) in members.iter().filter(|(_, member)| member.takes_partitions() == takes) {
            for topic in member.topics.keys().filter(|topic| !readers.contains_key(topic.as_str())) {
                found.entry(topic).or_default().insert(*id);
            }
        }
        readers.extend(found);
    }
    let mut classes: BTreeMap<BTreeSet<MemberId>, BTreeSet<&str>> = BTreeMap::new();
    for (topic, members) in readers {
        classes.entry(members).or_default().insert(topic);
    }
    classes
}

/// Joins the partitions of the same number of these topics.
fn units(topics: &BTreeSet<&str>, partitions: &BTreeMap<GroupPartition, PartitionState>) -> Vec<Unit> {
    let mut units: BTreeMap<u32, Unit> = BTreeMap::new();
    for (partition, state) in partitions {
        if topics.contains(partition.topic.as_str()) {
            let unit = units
                .entry(partition.partition)
                .or_insert_with(|| Unit { partitions: Vec::new(), owner: None });
            unit.partitions.push(partition.clone());
            unit.owner = unit.owner.or(state.owner);
        }
    }
    units.into_values().collect()
}

fn distribute<'u>(
    units: &'u [Unit],
    readers: &BTreeSet<MemberId>,
    loads: &mut BTreeMap<MemberId, Load>,
) -> Vec<(&'u Unit, MemberId)> {
    let mut kept: BTreeMap<MemberId, Vec<&Unit>> = readers.iter().map(|id| (*id, Vec::new())).collect();
    let mut free = Vec::new();
    for unit in units {
        match unit.owner.and_then(|owner| kept.get_mut(&owner).map(|held| (owner, held))) {
            Some((owner, held)) => {
                held.push(unit);
                add(loads, owner, unit);
            }
            None => free.push(unit),
        }
    }
    for unit in free {
        let Some(id) = least(readers, loads, unit.partitions.len() as u64) else { continue };
        kept.entry(id).or_default().push(unit);
        add(loads, id, unit);
    }
    // Each move makes the largest load smaller, or fewer members have it.
    while let Some((from, to)) = next_move(&kept, readers, loads) {
        let Some(unit) = kept.get_mut(&from).and_then(Vec::pop) else { break };
        remove(loads, from, unit);
        add(loads, to, unit);
        kept.entry(to).or_default().push(unit);
    }
    kept.into_iter().flat_map(|(id, units)| units.into_iter().map(move |unit| (unit, id))).collect()
}

/// Returns the move of a last unit that evens the loads most: from the largest load to the smallest.
fn next_move(
    kept: &BTreeMap<MemberId, Vec<&Unit>>,
    readers: &BTreeSet<MemberId>,
    loads: &BTreeMap<MemberId, Load>,
) -> Option<(MemberId, MemberId)> {
    let mut most: Option<(MemberId, Load, u64)> = None;
    for (id, units) in kept {
        let (Some(load), Some(unit)) = (loads.get(id), units.last()) else { continue };
        if most.is_none_or(|(_, largest, _)| largest.is_below(*load)) {
            most = Some((*id, *load, unit.partitions.len() as u64));
        }
    }
    let (from, largest, size) = most?;
    let to = least(readers, loads, size).filter(|to| *to != from)?;
    let after = loads.get(&to)?.with(size);
    after.is_below(largest).then_some((from, to))
}

/// Returns the reader with the smallest load after it took `more` partitions; the first of several.
fn least(readers: &BTreeSet<MemberId>, loads: &BTreeMap<MemberId, Load>, more: u64) -> Option<MemberId> {
    let mut least: Option<(MemberId, Load)> = None;
    for id in readers {
        let Some(load) = loads.get(id).map(|load| load.with(more)) else { continue };
        if least.is_none_or(|(_, smallest)| load.is_below(smallest)) {
            least = Some((*id, load));
        }
    }
    least.map(|(id, _)| id)
}

fn add(loads: &mut BTreeMap<MemberId, Load>, id: MemberId, unit: &Unit) {
    if let Some(load) = loads.get_mut(&id) {
        load.partitions += unit.partitions.len() as u64;
    }
}

fn remove(loads: &mut BTreeMap<MemberId, Load>, id: MemberId, unit: &Unit) {
    if let Some(load) = loads.get_mut(&id) {
        load.partitions = load.partitions.saturating_sub(unit.partitions.len() as u64);
    }
}
