//! Shared groups: members divide the partitions of topics among themselves.
//!
//! ```text
//!  coordination topic ──► log_reader ──► member ──► GroupState::apply (crate floe-group)
//!          ▲                               │  │
//!          └──── joins, heartbeats, ◄──────┘  └──► subscription ──► holdings ──► queues of the consumer
//!                releases, evictions                (one a topic)   (partitions that come and go)
//! ```
//!
//! | file | holds |
//! | --- | --- |
//! | `membership` | settings of a member, and the events that it tells |
//! | `log`, `log_reader` | the coordination topic: appends, replay from a snapshot, reading on |
//! | `tail_guard` | notices a log that went backwards |
//! | `member` | the task: what is due by the clock and by the records |
//! | `roster` | silence of other members |
//! | `subscription` | one topic of a member: requests and events of its consumer, commits that wait |
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
mod subscription;
mod tail_guard;

use std::{
    fmt,
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
    member::{Links, Member},
    subscription::{Command, ConsumerEnds, Subscription},
};
use super::{
    commit::CommitTrigger, partition_discovery::PartitionOpener, settings::CommitPolicy,
    start_position::StartAt, task_lease::TaskKeeper,
};
use crate::{Error, ErrorKind, Result, client_core::ClientCore, engine::SharedEngine};

/// Events that wait for a slow application; older ones are dropped.
const EVENTS: usize = 256;

/// The consumer's side of a member. The member gives the topic up when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct MemberHandle {
    link: MemberLink,
    commands: mpsc::Sender<Command>,
    events: broadcast::Sender<GroupEvent>,
    /// The error with which the consumer ended by its member.
    failure: Arc<OnceLock<Error>>,
}

/// The way to a member for consumers that read further topics as the same one.
#[derive(Clone)]
pub(crate) struct MemberLink {
    group: Arc<str>,
    engine: SharedEngine,
    fence: Arc<FenceTime>,
    arrivals: mpsc::Sender<Box<Subscription>>,
}

/// The way in which a consumer takes part in a shared group.
#[derive(Debug, Clone)]
pub(crate) enum Sharing {
    /// As a member.
    Alone(Membership),
    /// As one more topic of the member of another consumer; `None` if that one is no member.
    With(Option<MemberLink>),
}

/// Settings of a consumer that its member needs.
pub(super) struct MemberSettings {
    pub(super) group: Arc<str>,
    pub(super) commit: CommitPolicy,
    pub(super) start: StartAt,
    /// Partitions that the topic has.
    pub(super) partitions: u32,
    /// Set where the partitions are read for the tasks of a processor.
    pub(super) tasks: Option<TaskKeeper>,
}

/// Joins a group, or adds a topic to a member of it. The partitions come through the queue of `opener`.
///
/// # Cancel safety
/// A dropped future leaves the group, or gives the topic up.
pub(super) async fn start(
    client: ClientCore,
    opener: PartitionOpener,
    (sharing, settings): (Sharing, MemberSettings),
) -> Result<MemberHandle> {
    let MemberSettings { group, commit, start, partitions, tasks } = settings;
    let holdings = Holdings::new(opener.clone(), Arc::clone(&group), start, tasks);
    let (subscription, ends) = Subscription::new(holdings, (commit, partitions), EVENTS);
    let link = match sharing {
        Sharing::With(link) => {
            let link = link.ok_or_else(|| gone(None))?;
            link.arrivals.send(Box::new(subscription)).await.map_err(|_| gone(None))?;
            link
        }
        Sharing::Alone(membership) => {
            let loaded = Member::load(&client, &group).await?;
            subscription.holdings.check(loaded.1.state.partitions())?;
            let fence = Arc::new(FenceTime::new(ContinuousClock::new()));
            let (arrivals, arriving) = mpsc::channel(1);
            let engine = Arc::clone(client.engine());
            let link = MemberLink { group: Arc::clone(&group), engine, fence: Arc::clone(&fence), arrivals };
            let links = Links { fence, arriving };
            let member = Member::new((client, group), loaded, membership, subscription, links);
            tokio::spawn(process::inherit(member.run()));
            link
        }
    };
    let ConsumerEnds { commands, events, failure, ready, counts } = ends;
    let handle = MemberHandle { link, commands, events, failure };
    tokio::spawn(process::inherit(opener.announce(counts)));
    ready.await.unwrap_or_else(|_| Err(gone(handle.failure.get())))?;
    Ok(handle)
}

/// The error of a consumer without a member.
fn gone(cause: Option<&Error>) -> Error {
    let message = "the consumer is no member of the group any more; start another one";
    let error = Error::new(ErrorKind::NotAMember, message);
    match cause {
        Some(cause) => error.with_source(cause.clone()),
        None => error,
    }
}

impl Sharing {
    /// The group of the other consumer.
    pub(crate) fn group(&self) -> Option<Arc<str>> {
        match self {
            Self::With(Some(link)) => Some(Arc::clone(&link.group)),
            Self::Alone(_) | Self::With(None) => None,
        }
    }
}

impl MemberLink {
    /// Whether the member is one of this group, over this engine.
    pub(super) fn is_of(&self, group: &str, engine: &SharedEngine) -> bool {
        *self.group == *group && Arc::ptr_eq(&self.engine, engine)
    }
}

impl fmt::Debug for MemberLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberLink").field("group", &self.group).finish_non_exhaustive()
    }
}

impl MemberHandle {
    pub(super) fn group(&self) -> &Arc<str> {
        &self.link.group
    }

    /// The way for further topics.
    pub(super) fn link(&self) -> &MemberLink {
        &self.link
    }

    /// Whether the member has not proven in time that it lives.
    pub(super) fn is_fenced(&self) -> bool {
        self.link.fence.is_past()
    }

    /// Returns how long the member may still go on without another sign of life; `None` if it may not.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let now = self.link.fence.clock().now();
        Some(self.link.fence.end_after(now)?.saturating_sub(now))
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

    /// Gives the topic up, and leaves the group if no other consumer has the same member.
    pub(super) async fn close(&self) -> Result<()> {
        self.ask(Command::Close).await
    }

    async fn ask(&self, command: impl FnOnce(oneshot::Sender<Result<()>>) -> Command) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let gone = || gone(self.failure.get());
        self.commands.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}
