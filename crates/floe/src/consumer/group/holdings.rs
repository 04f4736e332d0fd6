//! The partitions that a member reads: opened when a lease comes, drained before it goes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use floe_group::{Commit, GroupPartition, Held};
use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::Instant;

use crate::{
    Error, Result,
    consumer::{
        ack_tracker::AckTracker,
        commit::CommitTrigger,
        partition_discovery::PartitionOpener,
        start_position::{StartAt, StartPosition},
    },
    topic::TopicPartition,
};

/// A partition for which the member has a lease.
#[derive(Debug)]
struct Holding {
    lease: i64,
    /// The position that the group has stored.
    committed: Option<i64>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Its start is looked up.
    Opening,
    /// The consumer reads it.
    Reading(Arc<AckTracker>),
    /// It cannot be read: the consumer got the error.
    Unreadable,
    /// The consumer hands out nothing more of it; the application finishes what it has, until this time.
    Draining { acks: Option<Arc<AckTracker>>, since: Duration, until: Duration },
}

impl Stage {
    fn acks(&self) -> Option<&Arc<AckTracker>> {
        match self {
            Self::Opening | Self::Unreadable => None,
            Self::Reading(acks) => Some(acks),
            Self::Draining { acks, .. } => acks.as_ref(),
        }
    }
}

/// The start of a partition under a lease, and how long the look-up took; `None` once the consumer is closed.
type Opened = Option<(u32, i64, Result<StartPosition>, Duration)>;

/// Partitions that came and went by a new state.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) assigned: Vec<TopicPartition>,
    pub(super) revoked: Vec<TopicPartition>,
    pub(super) lost: Vec<TopicPartition>,
    /// How long the revoked ones were drained.
    pub(super) handovers: Vec<(u32, Duration)>,
}

/// The partitions of one topic that a member reads.
pub(super) struct Holdings {
    opener: PartitionOpener,
    start: StartAt,
    /// The name under which the engine stores offsets.
    group: Arc<str>,
    held: BTreeMap<u32, Holding>,
    /// Index of each partition in the consumer, which it keeps.
    indexes: BTreeMap<u32, usize>,
    opening: FuturesUnordered<BoxFuture<'static, Opened>>,
}

impl Holdings {
    pub(super) fn new(opener: PartitionOpener, group: Arc<str>, start: StartAt) -> Self {
        let (held, indexes, opening) = (BTreeMap::new(), BTreeMap::new(), FuturesUnordered::new());
        Self { opener, start, group, held, indexes, opening }
    }

    /// Follows the leases of a state: partition to lease and stored position.
    pub(super) fn sync(&mut self, owned: &BTreeMap<u32, (i64, Option<i64>)>, now: Duration) -> Moved {
        let mut moved = Moved::default();
        let is_gone = |(number, holding): &(&u32, &Holding)| {
            owned.get(*number).is_none_or(|(lease, _)| *lease != holding.lease)
        };
        let gone: Vec<u32> = self.held.iter().filter(is_gone).map(|(number, _)| *number).collect();
        for number in gone {
            let Some(holding) = self.held.remove(&number) else { continue };
            let at = self.opener.topic.partition(number);
            if let Some(acks) = holding.stage.acks() {
                acks.lose();
            }
            match holding.stage {
                Stage::Draining { since, .. } => {
                    moved.handovers.push((number, now.saturating_sub(since)));
                    moved.revoked.push(at);
                }
                Stage::Opening | Stage::Unreadable | Stage::Reading(_) => {
                    self.leave(number);
                    moved.lost.push(at);
                }
            }
        }
        for (number, (lease, next)) in owned {
            if self.held.contains_key(number) {
                continue;
            }
            self.held.insert(*number, Holding { lease: *lease, committed: *next, stage: Stage::Opening });
            self.open(*number, *lease, *next);
            moved.assigned.push(self.opener.topic.partition(*number));
        }
        moved
    }

    /// Gives up everything at once, also what is being drained.
    pub(super) fn lose(&mut self) -> Moved {
        let Moved { revoked, mut lost, .. } = self.sync(&BTreeMap::new(), Duration::ZERO);
        lost.extend(revoked);
        Moved { lost, ..Moved::default() }
    }

    /// Takes a partition from the consumer. Returns whether records of it may be in hand.
    fn leave(&self, number: u32) -> bool {
        self.indexes.get(&number).is_some_and(|index| self.opener.queue.leave(*index))
    }

    /// Looks up where reading begins: at the position of the group, or the offset that the engine has stored, or the start
    /// that the consumer asked for.
    fn open(&self, number: u32, lease: i64, next: Option<i64>) {
        let (opener, group, start) = (self.opener.clone(), Arc::clone(&self.group), self.start);
        self.opening.push(Box::pin(async move {
            let begun = Instant::now();
            let found = opener.find_start(number, start, Some(&group), next).await?;
            Some((number, lease, found, begun.elapsed()))
        }));
    }

    /// Waits until a partition was opened, and gives it to the consumer. Returns the partition and how long its start was looked
    /// up. Pending while none is being opened.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn opened(&mut self) -> (u32, Duration) {
        loop {
            match self.opening.next().await {
                Some(Some(opened)) => {
                    if let Some(opened) = self.give(opened) {
                        return opened;
                    }
                }
                // The consumer was closed meanwhile.
                Some(None) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Gives a partition to the consumer, unless its lease is gone by now.
    fn give(
        &mut self,
        (number, lease, found, took): (u32, i64, Result<StartPosition>, Duration),
    ) -> Option<(u32, Duration)> {
        let holding = self.held.get_mut(&number)?;
        if holding.lease != lease || !matches!(holding.stage, Stage::Opening) {
            return None;
        }
        let (index, acks) = self.opener.join(self.indexes.get(&number).copied(), number, found);
        if let Some(index) = index {
            self.indexes.insert(number, index);
        }
        holding.stage = acks.map_or(Stage::Unreadable, Stage::Reading);
        Some((number, took))
    }

    /// Lets the consumer finish partitions that others shall have.
    pub(super) fn drain(&mut self, numbers: impl Iterator<Item = u32>, since: Duration, until: Duration) {
        for number in numbers {
            let acks = match self.held.get(&number).map(|holding| &holding.stage) {
                None | Some(Stage::Draining { .. }) => continue,
                Some(Stage::Opening | Stage::Unreadable) => None,
                Some(Stage::Reading(acks)) => Some(Arc::clone(acks)),
            };
            if !self.leave(number)
                && let Some(acks) = &acks
            {
                acks.leave();
            }
            if let Some(holding) = self.held.get_mut(&number) {
                holding.stage = Stage::Draining { acks, since, until };
            }
        }
    }

    /// Takes up a partition again that was drained for another member which does not want it any more.
    pub(super) fn take_up(&mut self, number: u32) {
        let Some(holding) = self.held.get_mut(&number) else { return };
        let acks = holding.stage.acks().cloned();
        let next = acks.as_ref().map(|acks| acks.finished_or_origin()).or(holding.committed);
        holding.stage = Stage::Opening;
        if let Some(acks) = acks {
            // Records whose time to drain has passed come again.
            acks.lose();
        }
        let lease = holding.lease;
        self.open(number, lease, next);
    }

    /// Returns the partitions that were drained, or whose time to drain has passed.
    pub(super) fn drained(&self, now: Duration) -> Vec<u32> {
        let is_drained = |holding: &Holding| match &holding.stage {
            Stage::Draining { acks, until, .. } => {
                now >= *until || acks.as_ref().is_none_or(|acks| acks.is_settled())
            }
            Stage::Opening | Stage::Unreadable | Stage::Reading(_) => false,
        };
        self.held.iter().filter(|(_, holding)| is_drained(holding)).map(|(number, _)| *number).collect()
    }

    /// Whether a partition is being drained.
    pub(super) fn is_draining(&self) -> bool {
        self.held.values().any(|holding| matches!(holding.stage, Stage::Draining { acks: Some(_), .. }))
    }

    /// Returns the positions that the group does not have yet.
    ///
    /// # Errors
    /// After a seek back the application cannot move the group back.
    pub(super) fn commits(&self, trigger: CommitTrigger) -> Result<Vec<Commit>> {
        let mut commits = Vec::new();
        for (number, holding) in &self.held {
            let Some(acks) = holding.stage.acks() else { continue };
            let Some(next) = trigger.position(acks).filter(|next| Some(*next) != holding.committed) else {
                continue;
            };
            if holding.committed.is_some_and(|committed| next < committed) {
                if trigger == CommitTrigger::Policy {
                    continue;
                }
                let message = "a shared group does not move back: reset it while the partition has no member";
                return Err(Error::new(crate::ErrorKind::InvalidCommand, message)
                    .with_topic(&self.opener.topic)
                    .with_partition(*number));
            }
            let held = self.held_as(*number, holding.lease);
            commits.push(Commit { held, next, metadata: String::new() });
        }
        Ok(commits)
    }

    /// Tells the history of positions that are about to be stored.
    pub(super) fn note_commits(&self, commits: &[Commit]) {
        for Commit { held, next, .. } in commits {
            if let Some(acks) = self.held.get(&held.partition.partition).and_then(|held| held.stage.acks()) {
                acks.history().commits(*next);
            }
        }
    }

    /// Notes the positions that the group has stored under the leases held.
    pub(super) fn stored(&mut self, owned: &BTreeMap<u32, (i64, Option<i64>)>) {
        for (number, (lease, next)) in owned {
            if let Some(holding) = self.held.get_mut(number).filter(|holding| holding.lease == *lease) {
                holding.committed = *next;
            }
        }
    }

    /// Names a partition with its lease.
    pub(super) fn named(&self, number: u32) -> Option<Held> {
        self.held.get(&number).map(|holding| self.held_as(number, holding.lease))
    }

    fn held_as(&self, number: u32, lease: i64) -> Held {
        Held { partition: GroupPartition::new(self.opener.topic.as_str(), number), lease }
    }

    /// Returns all partitions with a lease.
    pub(super) fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        self.held.keys().map(|number| self.opener.topic.partition(*number))
    }

    pub(super) fn opener(&self) -> &PartitionOpener {
        &self.opener
    }
}
