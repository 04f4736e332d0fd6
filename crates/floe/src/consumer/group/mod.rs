//! Shared groups: members divide the partitions of a topic among themselves.
//!
//! ```text
//!  coordination topic ──► log_reader ──► member ──► GroupState::apply (crate floe-group)
//!          ▲                               │  │
//!          └──── joins, heartbeats, ◄──────┘  └──► holdings ──► queues of the consumer
//!                releases, evictions                (partitions that come and go)
//! ```
//!
//! | file | holds |
//! | --- | --- |
//! | `membership` | settings of a member, and the events that it tells |
//! | `log`, `log_reader` | the coordination topic: appends, replay from a snapshot, reading on |
//! | `tail_guard` | notices a log that went backwards |
//! | `member` | the task: what is due by the clock and by the records |
//! | `roster` | silence of other members |
//! | `holdings` | partitions under a lease: opened, drained, given up |
//! | `fence` | the time until which records may be handed out |
//!
//! All decisions follow from the order of the log; see the crate `floe-group`. Clocks decide only when a member writes a
//! record, never what a record does.

mod fence;
mod holdings;
mod log;
mod log_reader;
mod member;
mod membership;
mod roster;
mod tail_guard;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use floe_core::{clock::ContinuousClock, process};
use tokio::sync::{broadcast, mpsc, oneshot};

pub(crate) use self::log::{GroupLog, Replayed, replication_factor};
pub use self::membership::{Fence, GroupEvent, Membership};
use self::{
    fence::FenceTime,
    holdings::Holdings,
    member::{Command, Links, Member},
};
use super::{
    commit::CommitTrigger, partition_discovery::PartitionOpener, settings::CommitPolicy,
    start_position::StartAt, task_lease::TaskKeeper,
};
use crate::{Error, ErrorKind, Result, client_core::ClientCore};

/// Events that wait for a slow application; older ones are dropped.
const EVENTS: usize = 256;

/// The consumer's side of a member. The member leaves the group when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct MemberHandle {
    group: Arc<str>,
    commands: mpsc::Sender<Command>,
    events: broadcast::Sender<GroupEvent>,
    fence: Arc<FenceTime>,
    /// The error with which the member ended by itself.
    failure: Arc<OnceLock<Error>>,
}

/// Settings of a consumer that its member needs.
pub(super) struct MemberSettings {
    pub(super) group: Arc<str>,
    pub(super) membership: Membership,
    pub(super) commit: CommitPolicy,
    pub(super) start: StartAt,
    /// Partitions that the topic has.
    pub(super) partitions: u32,
    /// Set where the partitions are read for the tasks of a processor.
    pub(super) tasks: Option<TaskKeeper>,
}

/// Joins a group. The partitions come through the queue of `opener`.
///
/// # Cancel safety
/// A dropped future leaves the group.
pub(super) async fn start(
    client: ClientCore,
    opener: PartitionOpener,
    settings: MemberSettings,
) -> Result<MemberHandle> {
    let MemberSettings { group, membership, commit, start, partitions, tasks } = settings;
    let name = Arc::clone(&group);
    let loaded = Member::load(&client, &group).await?;
    let (commands, received) = mpsc::channel(16);
    let (events, _) = broadcast::channel(EVENTS);
    let fence = Arc::new(FenceTime::new(ContinuousClock::new()));
    let failure = Arc::default();
    let (ready, joined) = oneshot::channel();
    let (counts, announced) = mpsc::channel(1);
    let links = Links {
        commands: received,
        events: events.clone(),
        fence: Arc::clone(&fence),
        failure: Arc::clone(&failure),
        ready: Some(ready),
        announced,
    };
    let announcing = opener.clone().announce(counts);
    let holdings = Holdings::new(opener, Arc::clone(&group), start, tasks);
    holdings.check(loaded.1.state.partitions())?;
    let member = Member::new((client, group), loaded, (membership, commit, partitions), holdings, links);
    let handle = MemberHandle { group: name, commands, events, fence, failure };
    tokio::spawn(process::inherit(member.run()));
    tokio::spawn(process::inherit(announcing));
    joined.await.unwrap_or_else(|_| Err(Error::closed("member of the group")))?;
    Ok(handle)
}

impl MemberHandle {
    pub(super) fn group(&self) -> &Arc<str> {
        &self.group
    }

    /// Whether the member has not proven in time that it lives.
    pub(super) fn is_fenced(&self) -> bool {
        self.fence.is_past()
    }

    /// Returns how long the member may still go on without another sign of life; `None` if it may not.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let now = self.fence.clock().now();
        Some(self.fence.end_after(now)?.saturating_sub(now))
    }

    /// Stores the progress of all tasks in the group, and waits until that is certain.
    ///
    /// # Cancel safety
    /// The progress may or may not be stored if the future is dropped.
    pub(crate) async fn store_tasks(&self) -> Result<()> {
        self.commit(CommitTrigger::Policy).await
    }

    /// Returns the events from now on.
    pub(super) fn events(&self) -> broadcast::Receiver<GroupEvent> {
        self.events.subscribe()
    }

    /// Stores the offsets in the group, and waits until that is certain.
    ///
    /// # Cancel safety
    /// The offsets may or may not be stored if the future is dropped.
    pub(super) async fn commit(&self, trigger: CommitTrigger) -> Result<()> {
        self.ask(|reply| Command::Commit(trigger, reply)).await
    }

    /// Leaves the group.
    pub(super) async fn close(&self) -> Result<()> {
        self.ask(Command::Close).await
    }

    async fn ask(&self, command: impl FnOnce(oneshot::Sender<Result<()>>) -> Command) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let gone = || {
            let message = "the consumer is no member of the group any more; start another one";
            let error = Error::new(ErrorKind::NotAMember, message);
            match self.failure.get() {
                Some(cause) => error.with_source(cause.clone()),
                None => error,
            }
        };
        self.commands.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}
