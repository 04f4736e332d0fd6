//! The task of a member: reads the coordination partition, applies each record, and appends what is due.

mod reading;
mod writing;

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::Duration,
};

use floe_core::random;
use floe_group::{GroupRecord, GroupState, MemberId};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    fence::FenceTime,
    holdings::Holdings,
    log::{GroupLog, Replayed},
    log_reader::LogReader,
    membership::{Fence, GroupEvent, Membership},
    roster::Roster,
};
use crate::{
    Error, ErrorKind, Result,
    client_core::ClientCore,
    consumer::{commit::CommitTrigger, settings::CommitPolicy},
    telemetry::GroupTelemetry,
};

/// Delay before a failed append is followed by another one.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// How often a member looks whether the application has finished the records of a partition to release.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// Request of the consumer to its member.
#[derive(Debug)]
pub(super) enum Command {
    /// Stores the offsets.
    Commit(CommitTrigger, oneshot::Sender<Result<()>>),
    /// Stores the offsets if the policy does, and leaves the group.
    Close(oneshot::Sender<Result<()>>),
}

/// A commit that waits for a heartbeat, and then for its return.
#[derive(Debug)]
struct WaitingCommit {
    trigger: CommitTrigger,
    sequence: Option<u64>,
    reply: oneshot::Sender<Result<()>>,
}

/// Parts that a member and its consumer share.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) events: broadcast::Sender<GroupEvent>,
    pub(super) fence: Arc<FenceTime>,
    /// Keeps the error with which the member ends by itself.
    pub(super) failure: Arc<OnceLock<Error>>,
    /// Tells whether the member can take part, after the first join.
    pub(super) ready: Option<oneshot::Sender<Result<()>>>,
    /// Announces the numbers of partitions of the topic, or its end.
    pub(super) announced: mpsc::Receiver<Result<u32>>,
}

/// The own place in the group.
#[derive(Debug, Default)]
struct MemberPlace {
    /// Offset of the join that counts.
    joined: Option<i64>,
    /// When the join was sent that has not been read back.
    joining: Option<Duration>,
    /// Number of the last heartbeat.
    sequence: u64,
    /// Heartbeats that were not read back: number and time of sending.
    sent: VecDeque<(u64, Duration)>,
    next_beat: Duration,
    /// When the newest heartbeat was sent that was read back, and when that was.
    proven: Duration,
    proven_at: Duration,
    /// Whether the member gave its partitions up because none of its heartbeats came back for a session. It takes them up again
    /// with the next one that comes back, if they are still its own.
    gave_up: bool,
}

pub(super) struct Member {
    client: ClientCore,
    log: GroupLog,
    reader: LogReader,
    links: Links,
    options: Membership,
    commit: CommitPolicy,
    group: Arc<str>,
    id: MemberId,
    state: GroupState,
    place: MemberPlace,
    /// Round trips before the consumer started that were too long for the session.
    slow_trips: Vec<Duration>,
    roster: Roster,
    holdings: Holdings,
    /// Partitions that others shall have.
    leaving: Vec<u32>,
    /// Partitions of the topic, as far as they were announced.
    count: u32,
    appending: Option<(BoxFuture<'static, Result<Option<i64>>>, Duration)>,
    /// Offset of the last own record and the time of its acknowledgement. The next record waits until it has been read back,
    /// so that it says what follows from it.
    unread: Option<(i64, Duration)>,
    /// Whether the last append failed, and when the next one may begin.
    failing: bool,
    retry_at: Duration,
    waiting: Vec<WaitingCommit>,
    last_commit: Duration,
    closing: Option<(Option<oneshot::Sender<Result<()>>>, Duration)>,
    /// Before this time nothing is released.
    settled_at: Duration,
    group_began: Option<Duration>,
    /// Records since the last snapshot, and its time.
    since_snapshot: (u64, Duration),
    storing: Option<BoxFuture<'static, Result<()>>>,
    next_store: Duration,
    last_tick: Duration,
    telemetry: GroupTelemetry,
}

/// Reason why the task ends.
enum End {
    /// The member has left.
    Left(Result<()>),
    /// The member cannot go on.
    Failed(Error),
}

impl Member {
    pub(super) fn new(
        (client, group): (ClientCore, Arc<str>),
        (log, replayed): (GroupLog, Replayed),
        (options, commit, count): (Membership, CommitPolicy, u32),
        holdings: Holdings,
        links: Links,
    ) -> Self {
        let Replayed { state, next, last, .. } = replayed;
        let reader = LogReader::open(log.clone(), (next, last), &holdings.opener().fetch);
        let group_began = state.members().is_empty().then_some(Duration::ZERO);
        let id = MemberId((u128::from(random::bits()) << 64) | u128::from(random::bits()));
        let now = links.fence.clock().now();
        let topic = holdings.opener().topic.clone();
        let telemetry = GroupTelemetry::new(client.telemetry(), topic, Arc::clone(&group));
        Self {
            client,
            log,
            reader,
            links,
            options,
            commit,
            group,
            id,
            state,
            place: MemberPlace::default(),
            slow_trips: Vec::new(),
            roster: Roster::default(),
            holdings,
            leaving: Vec::new(),
            count,
            appending: None,
            unread: None,
            failing: false,
            retry_at: Duration::ZERO,
            waiting: Vec::new(),
            last_commit: now,
            closing: None,
            settled_at: Duration::ZERO,
            group_began,
            since_snapshot: (0, now),
            storing: None,
            next_store: now + writing::STORE_INTERVAL,
            last_tick: now,
            telemetry,
        }
    }

    /// Takes part in the group until the consumer is closed or dropped.
    pub(super) async fn run(mut self) {
        let end = loop {
            if let Err(end) = self.step().await {
                break end;
            }
        };
        match end {
            End::Left(outcome) => {
                self.store_last().await;
                self.links.fence.end();
                if let Some((Some(reply), _)) = self.closing.take() {
                    // The consumer may have stopped waiting.
                    let _ = reply.send(outcome);
                }
            }
            End::Failed(error) => {
                let moved = self.holdings.lose();
                self.tell(moved);
                // Nothing is left that must not be handed out, but the error.
                self.links.fence.extend(Duration::MAX);
                // The task ends once.
                let _ = self.links.failure.set(error.clone());
                match self.links.ready.take() {
                    Some(ready) => _ = ready.send(Err(error)),
                    None => {
                        tracing::warn!(group = %self.group, %error, "the member leaves the group");
                        self.holdings.opener().queue.fail(error);
                    }
                }
            }
        }
    }

    /// Appends what is due, and waits for the next thing to happen.
    async fn step(&mut self) -> Result<(), End> {
        let now = self.now();
        self.keep_fence(now);
        self.act(now)?;
        let tick = self.next_tick(now);
        tokio::select! {
            biased;
            outcome = pending_or(self.appending.as_mut().map(|(append, _)| append)) => self.appended(outcome),
            command = self.links.commands.recv(), if self.closing.is_none() => self.command(command),
            entry = self.reader.next() => match entry {
                Ok(entry) => self.take(entry)?,
                Err(error) => self.reload(error).await?,
            },
            opened = self.holdings.opened() => self.telemetry.assigns(opened.0, opened.1),
            Some(announced) = self.links.announced.recv() => match announced {
                Ok(count) => self.count = self.count.max(count),
                Err(error) => return Err(End::Failed(error)),
            },
            outcome = pending_or(self.storing.as_mut()) => {
                self.storing = None;
                if let Err(error) = outcome {
                    tracing::debug!(group = %self.group, %error, "the offsets of the group were not stored in the engine");
                }
            }
            () = tokio::time::sleep(tick) => {}
        }
        Ok(())
    }

    fn now(&self) -> Duration {
        self.links.fence.clock().now()
    }

    fn session(&self) -> Duration {
        self.options.session
    }

    /// The time until something is due by the clock.
    fn next_tick(&self, now: Duration) -> Duration {
        let longest = self.session() / 10;
        let mut at = now + longest;
        if self.holdings.is_draining() {
            at = at.min(now + DRAIN_TICK);
        }
        if self.place.joined.is_some() && self.appending.is_none() {
            at = at.min(self.place.next_beat);
            at = at.min(self.roster.next_suspicion(&self.state).unwrap_or(at));
        }
        if self.settled_at > now {
            at = at.min(self.settled_at);
        }
        if let Some(until) = self.links.fence.end_after(now) {
            at = at.min(until);
        }
        at.max(now.max(self.retry_at.min(at)) + Duration::from_millis(1)).saturating_sub(now)
    }

    /// Extends the time until which the consumer hands out records, or lets it wait.
    fn keep_fence(&mut self, now: Duration) {
        let fence = &self.links.fence;
        if self.place.joined.is_some() {
            fence.extend(self.place.proven + self.session() * 4 / 5);
        }
        let was_awake = now.saturating_sub(self.last_tick) <= self.session() * 3 / 10;
        let is_away = self.failing
            || self
                .appending
                .as_ref()
                .is_some_and(|(_, since)| now.saturating_sub(*since) > self.session() / 3);
        if self.options.fence == Fence::Lenient
            && is_away
            && was_awake
            && !fence.is_past()
            && self.place.joined.is_some()
        {
            fence.extend(now + self.session() * 3 / 10);
        }
        self.last_tick = now;
        // Others may have taken over: running handlers need not wait until this member hears of it.
        let is_silent = now >= self.place.proven.saturating_add(self.session());
        if fence.is_past() && is_silent && self.place.joined.is_some() && !self.place.gave_up {
            self.place.gave_up = true;
            self.lose_all();
        }
        let fence = &self.links.fence;
        let queue = &self.holdings.opener().queue;
        if queue.is_fenced() != fence.is_past() {
            queue.fence(fence.is_past());
        }
    }

    /// Begins the next append that is due, if none is under way.
    fn act(&mut self, now: Duration) -> Result<(), End> {
        if let Some((_, until)) = &self.closing
            && now >= *until
        {
            let error = Error::new(ErrorKind::RequestTimeout, "the member did not leave the group in time");
            return Err(End::Left(Err(error.with_operation("commit"))));
        }
        let awaits = self.unread.is_some_and(|(offset, since)| {
            self.state.last() < offset && now < since.saturating_add(self.session() / 3)
        });
        if self.appending.is_some() || awaits || now < self.retry_at {
            return Ok(());
        }
        let Some(joined) = self.place.joined else {
            if self.closing.is_some() {
                return Err(End::Left(Ok(())));
            }
            // A join that does not come back was lost with the end of the log.
            let is_lost = |sent: Duration| now >= sent.saturating_add(self.session());
            if self.place.joining.is_none_or(is_lost) {
                self.place.joining = Some(now);
                self.begin(now, GroupRecord::Join(self.join()));
            }
            return Ok(());
        };
        if let Some(record) = self.due(joined, now)? {
            self.begin(now, record);
        }
        Ok(())
    }

    fn begin(&mut self, now: Duration, record: GroupRecord) {
        let log = self.log.clone();
        let append = async move { log.append(&record).await };
        self.appending = Some((append.boxed(), now));
    }

    fn appended(&mut self, outcome: Result<Option<i64>>) {
        self.appending = None;
        self.failing = outcome.is_err();
        match outcome {
            Ok(offset) => self.unread = offset.map(|offset| (offset, self.now())),
            Err(error) => {
                tracing::warn!(group = %self.group, %error, "a record of the group was not stored; the member goes on trying");
                self.retry_at = self.now() + RETRY_DELAY;
                self.place.joining = None;
                self.place.next_beat = self.retry_at;
            }
        }
    }

    fn command(&mut self, command: Option<Command>) {
        let limit = self.now() + self.session();
        match command {
            Some(Command::Commit(trigger, reply))
                if self.place.joined.is_none() || self.links.fence.is_past() =>
            {
                let _ = (trigger, reply.send(Err(self.fenced())));
            }
            Some(Command::Commit(trigger, reply)) => {
                self.waiting.push(WaitingCommit { trigger, sequence: None, reply });
            }
            Some(Command::Close(reply)) => self.closing = Some((Some(reply), limit)),
            // The consumer was dropped.
            None => {
                self.holdings.end_tasks();
                self.closing = Some((None, limit));
            }
        }
    }

    /// Answers the commits that `which` accepts.
    fn answer(&mut self, which: impl Fn(&WaitingCommit) -> bool, outcome: &Result<()>) {
        for commit in self.waiting.extract_if(.., |commit| which(commit)) {
            // The caller may have stopped waiting.
            let _ = commit.reply.send(outcome.clone());
        }
    }

    fn fenced(&self) -> Error {
        let message = format!(
            "the group {:?} cannot count on this member: it has not proven in time that it lives, and others may have taken \
             over its partitions; it goes on by itself once it has joined anew",
            self.group
        );
        Error::new(ErrorKind::Fenced, message).with_topic(&self.holdings.opener().topic)
    }

    /// Opens the log of a group and reads its state.
    pub(super) async fn load(client: &ClientCore, group: &Arc<str>) -> Result<(GroupLog, Replayed)> {
        let log = GroupLog::open(client, group, true).await?;
        let log =
            log.ok_or_else(|| Error::new(ErrorKind::TopicNotFound, "the topic of the groups is gone"))?;
        let replayed = log.replay().await?;
        Ok((log, replayed))
    }
}

/// Polls a future if there is one.
async fn pending_or<T>(future: Option<&mut BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
