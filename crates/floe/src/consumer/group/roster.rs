//! Silence of other members, by the clock of this one.

use std::{collections::BTreeMap, time::Duration};

use floe_group::{GroupPartition, GroupState, Held, MemberId};

/// Delay between the evictions by two members that suspect the same one.
const STAGGER: Duration = Duration::from_millis(20);

/// Another member as this one sees it.
#[derive(Debug, Clone, Copy)]
struct Heard {
    at: Duration,
    suspected: Option<Duration>,
}

/// Signs of life of the other members, as this one received them.
#[derive(Debug, Default)]
pub(super) struct Roster {
    heard: BTreeMap<MemberId, Heard>,
    /// Partitions that another member owns and this one shall have: the lease, and since when.
    wanted: BTreeMap<GroupPartition, (i64, Duration)>,
}

impl Roster {
    /// Notes a sign of life.
    pub(super) fn hear(&mut self, member: MemberId, now: Duration) {
        self.heard.insert(member, Heard { at: now, suspected: None });
    }

    /// Begins all times anew: this member was away itself, and knows nothing of the silence of others.
    pub(super) fn forgive(&mut self, now: Duration) {
        for heard in self.heard.values_mut() {
            *heard = Heard { at: now, suspected: None };
        }
        for (_, since) in self.wanted.values_mut() {
            *since = now;
        }
    }

    /// Follows the members and the distribution of a state.
    pub(super) fn sync(&mut self, state: &GroupState, me: MemberId, now: Duration) {
        self.heard.retain(|id, _| *id != me && state.members().contains_key(id));
        for id in state.members().keys().filter(|id| **id != me) {
            self.heard.entry(*id).or_insert(Heard { at: now, suspected: None });
        }
        let wanted = state.partitions().iter().filter(|(_, partition)| {
            partition.target == Some(me) && partition.owner.is_some_and(|owner| owner != me)
        });
        let before = std::mem::take(&mut self.wanted);
        self.wanted = wanted
            .map(|(at, partition)| {
                let since = before.get(at).filter(|(lease, _)| *lease == partition.lease);
                (at.clone(), (partition.lease, since.map_or(now, |(_, since)| *since)))
            })
            .collect();
    }

    /// Marks the members that have been silent for their session. Returns whether there are new ones, to which this member
    /// answers with a heartbeat.
    pub(super) fn suspect(&mut self, state: &GroupState, now: Duration) -> bool {
        let mut new = false;
        for (id, heard) in &mut self.heard {
            let Some(session) = session(state, *id) else { continue };
            if heard.suspected.is_none() && now >= heard.at.saturating_add(session) {
                heard.suspected = Some(now);
                new = true;
            }
        }
        new
    }

    /// Returns a member to evict, and when it was heard last: suspected before this member sent a heartbeat that it has read
    /// back, which proves that its reading is not behind.
    pub(super) fn to_evict(
        &self,
        state: &GroupState,
        me: MemberId,
        proven: Duration,
        now: Duration,
    ) -> Option<(MemberId, Duration)> {
        let rank = state.members().keys().position(|id| *id == me).unwrap_or(0);
        let stagger = STAGGER.saturating_mul(u32::try_from(rank).unwrap_or(u32::MAX));
        let is_due = |suspected: Duration, session: Duration| {
            proven >= suspected && now >= suspected.saturating_add(stagger.min(session / 10))
        };
        self.heard
            .iter()
            .find_map(|(id, heard)| is_due(heard.suspected?, session(state, *id)?).then_some((*id, heard.at)))
    }

    /// Returns a partition to take by force: its owner lives, and has not released it in time.
    pub(super) fn to_revoke(&self, state: &GroupState, now: Duration) -> Option<Held> {
        self.wanted.iter().find_map(|(at, (lease, since))| {
            let owner = state.members().get(&state.partitions().get(at)?.owner?)?;
            // The owner settles, drains, and releases with a heartbeat.
            let patience = Duration::from_millis(u64::from(owner.drain_ms) + 2 * u64::from(owner.session_ms));
            let is_late = now >= since.saturating_add(patience);
            is_late.then(|| Held { partition: at.clone(), lease: *lease })
        })
    }

    /// Notes that this member has asked for a partition; it asks again after another such time.
    pub(super) fn asked(&mut self, at: &GroupPartition, now: Duration) {
        if let Some((_, since)) = self.wanted.get_mut(at) {
            *since = now;
        }
    }

    /// Returns the next time at which another member may become suspect.
    pub(super) fn next_suspicion(&self, state: &GroupState) -> Option<Duration> {
        let at = |(id, heard): (&MemberId, &Heard)| {
            let session = session(state, *id)?;
            heard.suspected.is_none().then(|| heard.at.saturating_add(session))
        };
        self.heard.iter().filter_map(at).min()
    }
}

/// Returns the session of a member.
fn session(state: &GroupState, member: MemberId) -> Option<Duration> {
    Some(Duration::from_millis(u64::from(state.members().get(&member)?.session_ms)))
}
