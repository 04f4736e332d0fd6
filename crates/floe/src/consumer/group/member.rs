//! The task of a member: reads the coordination partition, applies each record, and appends what is due.

mod reading;
mod topics;
mod writing;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use floe_core::random;
use floe_group::{GroupRecord, GroupState, MemberId};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::sync::mpsc;

use self::topics::{Announcement, KeptTopic};
use super::{
    fence::FenceTime,
    log::{GroupLog, Replayed},
    log_reader::LogReader,
    membership::{Fence, Membership},
    roster::Roster,
    subscription::Subscription,
};
use crate::{
    Error, ErrorKind, Result, client_core::ClientCore, consumer::fetch::FetchSettings,
    telemetry::GroupTelemetry, topic::Topic,
};

/// Delay before a failed append is followed by another one.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// How often a member looks whether the application has finished the records of a partition to release, and how far tasks are
/// ahead of their stored progress.
const WORK_TICK: Duration = Duration::from_millis(20);

/// How often a member looks whether its tasks have begun to work.
const IDLE_TICK: Duration = Duration::from_millis(100);

/// Parts that a member and its consumers share.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) fence: Arc<FenceTime>,
    /// Brings consumers that read further topics as this member.
    pub(super) arriving: mpsc::Receiver<Box<Subscription>>,
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
    /// Settings of the reader of the log.
    fetch: FetchSettings,
    group: Arc<str>,
    id: MemberId,
    state: GroupState,
    place: MemberPlace,
    /// Round trips that were too long for the session; `None` once one was short enough.
    slow_trips: Option<Vec<Duration>>,
    roster: Roster,
    /// The topics, each with its consumer.
    subscriptions: Vec<Subscription>,
    /// Consumers whose topic has another consumer, which is about to end.
    parked: Vec<Subscription>,
    /// Topics that a named member keeps for a consumer that may come again.
    kept: Vec<KeptTopic>,
    /// The last change of topics that a heartbeat told.
    announcement: Option<Announcement>,
    appending: Option<(BoxFuture<'static, Result<Option<i64>>>, Duration)>,
    /// Offset of the last own record and the time of its acknowledgement. The next record waits until it has been read back,
    /// so that it says what follows from it.
    unread: Option<(i64, Duration)>,
    /// Whether the last append failed, and when the next one may begin.
    failing: bool,
    retry_at: Duration,
    /// Records by which a task of a processor is ahead of what the group has stored, if there are tasks.
    ahead: Option<i64>,
    /// The time until which consumers wait for their close.
    closing_until: Duration,
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
    /// The last consumer was closed or dropped.
    Left,
    /// The member cannot go on.
    Failed(Error),
}

impl Member {
    pub(super) fn new(
        (client, group): (ClientCore, Arc<str>),
        (log, replayed): (GroupLog, Replayed),
        options: Membership,
        first: Subscription,
        links: Links,
    ) -> Self {
        let Replayed { state, next, last, .. } = replayed;
        let fetch = first.opener().fetch.clone();
        let reader = LogReader::open(log.clone(), (next, last), &fetch);
        let group_began = state.members().is_empty().then_some(Duration::ZERO);
        let id = MemberId((u128::from(random::bits()) << 64) | u128::from(random::bits()));
        let now = links.fence.clock().now();
        let telemetry = GroupTelemetry::new(client.telemetry(), first.topic().clone(), Arc::clone(&group));
        let kept = KeptTopic::of_predecessor(&state, &options, now);
        let mut member = Self {
            client,
            log,
            reader,
            links,
            options,
            fetch,
            group,
            id,
            state,
            place: MemberPlace::default(),
            slow_trips: Some(Vec::new()),
            roster: Roster::default(),
            subscriptions: Vec::new(),
            parked: Vec::new(),
            kept,
            announcement: None,
            appending: None,
            unread: None,
            failing: false,
            retry_at: Duration::ZERO,
            ahead: None,
            closing_until: Duration::ZERO,
            settled_at: Duration::ZERO,
            group_began,
            since_snapshot: (0, now),
            storing: None,
            next_store: now + writing::STORE_INTERVAL,
            last_tick: now,
            telemetry,
        };
        member.admit(first, now);
        member
    }

    /// Takes part in the group until the last consumer is closed or dropped.
    pub(super) async fn run(mut self) {
        let end = loop {
            if let Err(end) = self.step().await {
                break end;
            }
        };
        match end {
            End::Left => {
                let now = self.now();
                while !self.subscriptions.is_empty() {
                    self.finish(0, now);
                }
                self.store_last().await;
                self.links.fence.end();
            }
            End::Failed(error) => {
                self.lose_topics();
                // Nothing is left that must not be handed out, but the error.
                self.links.fence.extend(Duration::MAX);
                let mut started = false;
                for subscription in self.subscriptions.iter_mut().chain(&mut self.parked) {
                    started |= subscription.fail(error.clone());
                }
                if started {
                    tracing::warn!(group = %self.group, %error, "the member leaves the group");
                }
            }
        }
    }

    /// Appends what is due, and waits for the next thing to happen.
    async fn step(&mut self) -> Result<(), End> {
        let now = self.now();
        self.admit_parked(now);
        self.keep_fence(now);
        self.ahead = self.subscriptions.iter_mut().filter_map(|of| of.holdings.hold_back()).max();
        self.act(now)?;
        let tick = self.next_tick(now);
        tokio::select! {
            biased;
            outcome = pending_or(self.appending.as_mut().map(|(append, _)| append)) => self.appended(outcome),
            (topic, news) = topics::next(&mut self.subscriptions) => self.hear(&topic, news)?,
            Some(arrival) = self.links.arriving.recv() => self.parked.push(*arrival),
            entry = self.reader.next() => match entry {
                Ok(entry) => self.take(entry)?,
                Err(error) => self.reload(error).await?,
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
        let drains = self.subscriptions.iter().any(|subscription| subscription.holdings.is_draining());
        if drains || self.ahead.is_some_and(|ahead| ahead > 0) {
            at = at.min(now + WORK_TICK);
        } else if self.ahead.is_some() {
            at = at.min(now + IDLE_TICK);
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
        let is_past = self.links.fence.is_past();
        for queue in self.subscriptions.iter().map(|subscription| &subscription.opener().queue) {
            if queue.is_fenced() != is_past {
                queue.fence(is_past);
            }
        }
    }

    /// Begins the next append that is due, if none is under way.
    fn act(&mut self, now: Duration) -> Result<(), End> {
        self.end_overdue(now)?;
        let awaits = self.unread.is_some_and(|(offset, since)| {
            self.state.last() < offset && now < since.saturating_add(self.session() / 3)
        });
        if self.appending.is_some() || awaits || now < self.retry_at {
            return Ok(());
        }
        let Some(joined) = self.place.joined else {
            self.finish_all_closing(now)?;
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

    fn fenced(&self, topic: &Topic) -> Error {
        let message = format!(
            "the group {:?} cannot count on this member: it has not proven in time that it lives, and others may have taken \
             over its partitions; it goes on by itself once it has joined anew",
            self.group
        );
        Error::new(ErrorKind::Fenced, message).with_topic(topic)
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
