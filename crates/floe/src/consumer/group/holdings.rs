//! The partitions that a member reads: opened when a lease comes, drained before it goes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use floe_group::{Commit, GroupPartition, Held, PartitionState};
use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::Instant;

use crate::{
    Error, ErrorKind, Result,
    consumer::{
        ack_tracker::AckTracker,
        commit::CommitTrigger,
        partition_discovery::PartitionOpener,
        start_position::{StartAt, StartPosition},
        task_facts::TaskFacts,
        task_lease::{TaskKeeper, TaskLease},
    },
    topic::TopicPartition,
};

/// Input records by which a task may be ahead of the progress that the group has stored. A later owner makes and compares anew
/// what follows from them, so that its begin stays short also where heartbeats take long, or a backlog is worked off fast.
pub(super) const MAX_AHEAD: i64 = 50_000;

/// The lease on an own partition, and the position and the text that the group has stored for it.
#[derive(Debug, Clone)]
pub(super) struct Owned {
    lease: i64,
    next: Option<i64>,
    metadata: String,
}

impl Owned {
    pub(super) fn new(state: &PartitionState) -> Self {
        Self { lease: state.lease, next: state.next, metadata: state.metadata.clone() }
    }
}

/// A partition for which the member has a lease.
#[derive(Debug)]
struct Holding {
    /// As the group has it.
    group: Owned,
    stage: Stage,
    /// Whether its task is too far ahead to get more records.
    held_back: bool,
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
    /// Set where the partitions are read for the tasks of a processor, which store their own progress.
    tasks: Option<TaskKeeper>,
    /// Offset of the join of the member.
    joined: Option<i64>,
}

impl Holdings {
    pub(super) fn new(
        opener: PartitionOpener,
        group: Arc<str>,
        start: StartAt,
        tasks: Option<TaskKeeper>,
    ) -> Self {
        let (held, indexes, opening) = (BTreeMap::new(), BTreeMap::new(), FuturesUnordered::new());
        Self { opener, start, group, held, indexes, opening, tasks, joined: None }
    }

    /// Notes the offset of the join of the member.
    pub(super) fn joins(&mut self, at: i64) {
        self.joined = Some(at);
    }

    /// Refuses a group in which partitions have texts that this member would not go on with.
    pub(super) fn check(&self, partitions: &BTreeMap<GroupPartition, PartitionState>) -> Result<()> {
        partitions.iter().filter(|(_, state)| !state.metadata.is_empty()).try_for_each(|(at, state)| {
            match &self.tasks {
                Some(tasks) => (tasks.accepts)(&at.topic, &state.metadata),
                None if at.topic == self.opener.topic.as_str() => Err(exact_group(&self.group)),
                None => Ok(()),
            }
        })
    }

    /// Follows the leases of a state: partition to lease and stored position.
    pub(super) fn sync(&mut self, owned: &BTreeMap<u32, Owned>, now: Duration) -> Moved {
        let mut moved = Moved::default();
        let is_gone = |(number, holding): &(&u32, &Holding)| {
            owned.get(*number).is_none_or(|owned| owned.lease != holding.group.lease)
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
        for (number, owned) in owned {
            if self.held.contains_key(number) {
                continue;
            }
            let holding = Holding { group: owned.clone(), stage: Stage::Opening, held_back: false };
            self.held.insert(*number, holding);
            self.open(*number, owned.lease, owned.next);
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

    /// Gives up the tasks of a processor that is gone, whose appends must end before others hear that the member leaves.
    pub(super) fn end_tasks(&mut self) {
        if self.tasks.is_some() {
            self.lose();
        }
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
        if holding.group.lease != lease || !matches!(holding.stage, Stage::Opening) {
            return None;
        }
        let Owned { next, metadata, .. } = &holding.group;
        let task = self.tasks.as_ref().zip(found.as_ref().ok()).map(|(_, found)| TaskFacts {
            start: found.next,
            next: *next,
            metadata: metadata.clone(),
            in_engine: if next.is_none() { found.stored } else { None },
            by_join: self.joined == Some(lease),
        });
        let (index, acks) = self.opener.join(self.indexes.get(&number).copied(), number, found, task);
        if let Some(index) = index {
            self.indexes.insert(number, index);
        }
        if let (Some(tasks), Some(acks)) = (&self.tasks, &acks) {
            // The processor may have ended, or hear of it with the first record.
            let _ = tasks.leases.try_send(TaskLease::new(number, Arc::clone(acks)));
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
        let next = if self.tasks.is_some() {
            // Its heartbeats may not have come back yet, and it stands at a place that nothing but its own text says.
            if let Some((next, metadata)) = acks.as_ref().and_then(|acks| acks.task_progress()) {
                holding.group = Owned { next: Some(next), metadata, ..holding.group };
            }
            holding.group.next
        } else {
            acks.as_ref().map(|acks| acks.finished_or_origin()).or(holding.group.next)
        };
        holding.stage = Stage::Opening;
        // It joins the queue anew.
        holding.held_back = false;
        if let Some(acks) = acks {
            // Records whose time to drain has passed come again.
            acks.lose();
        }
        let lease = holding.group.lease;
        self.open(number, lease, next);
    }

    /// Hands out no more records to tasks that are too far ahead of what the group has stored, and goes on with those that are
    /// not. Returns by how many records the first of the tasks is ahead; `None` without tasks.
    pub(super) fn hold_back(&mut self) -> Option<i64> {
        let mut furthest = None;
        for (number, holding) in self.held.iter_mut().filter(|_| self.tasks.is_some()) {
            let Stage::Reading(acks) = &holding.stage else { continue };
            let (Some((next, _)), Some(facts)) = (acks.task_progress(), acks.task()) else { continue };
            let ahead = next.saturating_sub(holding.group.next.unwrap_or(facts.start));
            furthest = furthest.max(Some(ahead));
            let is_far = ahead >= MAX_AHEAD;
            if let Some(index) = self.indexes.get(number).filter(|_| is_far != holding.held_back) {
                holding.held_back = is_far;
                if is_far {
                    tracing::debug!(topic = %self.opener.topic, partition = number, ahead, "a task waits for its commit");
                    self.opener.queue.pause(*index);
                } else {
                    self.opener.queue.resume(*index);
                }
            }
        }
        furthest
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
            let Owned { lease, next: stored, metadata: stored_text } = &holding.group;
            let found = match &self.tasks {
                Some(_) => acks.task_progress(),
                None => trigger.position(acks).map(|next| (next, String::new())),
            };
            let is_news = |(next, text): &(i64, String)| {
                Some(*next) != *stored || (self.tasks.is_some() && text != stored_text)
            };
            let Some((next, metadata)) = found.filter(is_news) else { continue };
            if stored.is_some_and(|stored| next < stored) {
                if trigger == CommitTrigger::Policy {
                    continue;
                }
                let message = "a shared group does not move back: reset it while the partition has no member";
                return Err(Error::new(ErrorKind::InvalidCommand, message)
                    .with_topic(&self.opener.topic)
                    .with_partition(*number));
            }
            let held = self.held_as(*number, *lease);
            commits.push(Commit { held, next, metadata });
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
    pub(super) fn stored(&mut self, owned: BTreeMap<u32, Owned>) {
        for (number, owned) in owned {
            if let Some(holding) =
                self.held.get_mut(&number).filter(|holding| holding.group.lease == owned.lease)
            {
                holding.group = owned;
            }
        }
    }

    /// Names a partition with its lease.
    pub(super) fn named(&self, number: u32) -> Option<Held> {
        self.held.get(&number).map(|holding| self.held_as(number, holding.group.lease))
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

fn exact_group(group: &str) -> Error {
    let message = format!(
        "the group {group:?} belongs to a processor that handles its records exactly once: take another name, or reset the \
         group while it has no members"
    );
    Error::new(ErrorKind::InvalidConfig, message)
}
