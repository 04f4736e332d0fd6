//! Following the records of the group.

use std::{collections::BTreeSet, pin::pin, sync::Arc, time::Duration};

use floe_group::{Applied, Beat, GroupRecord, Ignored};

use super::{End, Member, MemberPlace, RETRY_DELAY, topics};
use crate::{
    Error, ErrorKind,
    client_core::ClientCore,
    consumer::group::{
        holdings::Moved,
        log::{GroupLog, LogEntry, Replayed},
        log_reader::LogReader,
        membership::GroupEvent,
    },
};

/// Wait after a change of the group before partitions are released, so that a burst of joins moves each of them once.
const SETTLE: Duration = Duration::from_millis(500);

/// The same wait while a group starts.
const FIRST_SETTLE: Duration = Duration::from_secs(3);

/// Round trips of which the fastest has to fit into the session three times.
const TRIALS: usize = 3;

impl Member {
    /// Applies a record of the log.
    pub(super) fn take(&mut self, entry: LogEntry) -> Result<(), End> {
        let LogEntry { offset, record, .. } = entry;
        let now = self.now();
        self.since_snapshot.0 += 1;
        let Some(record) = record else {
            self.state.pass_over(offset);
            return Ok(());
        };
        let before = self.state.generation();
        let fenced = self.fenced_topics(&record);
        let applied = self.state.apply(offset, &record);
        if applied.ignored.is_none() {
            self.note(&record, now);
        }
        match &record {
            GroupRecord::Join(join) if join.member == self.id => self.joined(offset, applied, now)?,
            GroupRecord::Beat(beat) | GroupRecord::Leave(beat) => {
                self.read_back(beat, (applied, &fenced), now)?
            }
            GroupRecord::Release(release) => self.read_back(&release.beat, (applied, &fenced), now)?,
            _ => {}
        }
        if self.state.generation() != before {
            self.telemetry.rebalances();
            self.settled_at = self.settle(now);
            self.roster.sync(&self.state, self.id, now);
            for subscription in &self.subscriptions {
                subscription.holdings.check(self.state.partitions()).map_err(End::Failed)?;
            }
        }
        let moves = !matches!(record, GroupRecord::Beat(_) | GroupRecord::Snapshot(_));
        if moves || self.state.generation() != before {
            self.follow(&record, now)?;
        }
        self.welcome();
        Ok(())
    }

    /// Returns the topics of which an own heartbeat has commits that will not count.
    fn fenced_topics(&self, record: &GroupRecord) -> BTreeSet<String> {
        let beat = match record {
            GroupRecord::Beat(beat) | GroupRecord::Leave(beat) => beat,
            GroupRecord::Release(release) => &release.beat,
            _ => return BTreeSet::new(),
        };
        let own = beat.commits.iter().filter(|_| beat.member == self.id);
        let fenced = own.filter(|commit| !self.state.accepts(self.id, &commit.held, commit.next));
        fenced.map(|commit| commit.held.partition.topic.clone()).collect()
    }

    /// Notes what a valid record says about the group.
    pub(super) fn note(&mut self, record: &GroupRecord, now: Duration) {
        let heard = match record {
            GroupRecord::Join(join) => join.member,
            GroupRecord::Beat(beat) => beat.member,
            GroupRecord::Release(release) => release.beat.member,
            GroupRecord::Snapshot(_) => {
                self.since_snapshot = (0, now);
                return;
            }
            _ => return,
        };
        if heard != self.id {
            self.roster.hear(heard, now);
        }
    }

    /// Takes the own join.
    pub(super) fn joined(&mut self, offset: i64, applied: Applied, now: Duration) -> Result<(), End> {
        if applied.ignored == Some(Ignored::TooLarge) {
            let message =
                format!("the group {:?} has too many members or partitions for another one", self.group);
            return Err(End::Failed(Error::new(ErrorKind::InvalidConfig, message)));
        }
        let sent = self.place.joining.take().unwrap_or(now);
        let round_trip = now.saturating_sub(sent);
        let third = self.session() / 3;
        self.place = MemberPlace {
            joined: Some(offset),
            next_beat: sent + third,
            proven: sent,
            proven_at: now,
            ..MemberPlace::default()
        };
        self.subscriptions.iter_mut().for_each(|subscription| subscription.holdings.joins(offset));
        self.telemetry.is_member(true);
        self.telemetry.joins(round_trip);
        self.roster.forgive(now);
        self.judge(round_trip, now)
    }

    /// Notes that the session leaves room for three round trips, without which no consumer starts. A longer one may have waited
    /// for the end of an outage, which calls outlast by retries, so the member tries some more before it gives up.
    fn judge(&mut self, round_trip: Duration, now: Duration) -> Result<(), End> {
        let session = self.session();
        let Some(slow_trips) = &mut self.slow_trips else { return Ok(()) };
        if round_trip.saturating_mul(3) <= session {
            self.slow_trips = None;
            return Ok(());
        }
        slow_trips.push(round_trip);
        if slow_trips.len() < TRIALS {
            self.place.next_beat = now;
            return Ok(());
        }
        let fastest = slow_trips.iter().min().copied().unwrap_or(round_trip);
        let message = format!(
            "a session of {session:?} is below three round trips to the coordination topic, each of which takes {fastest:?}"
        );
        Err(End::Failed(Error::new(ErrorKind::InvalidConfig, message)))
    }

    /// Takes a heartbeat that came back, of this member or another one.
    pub(super) fn read_back(
        &mut self,
        beat: &Beat,
        (applied, fenced): (Applied, &BTreeSet<String>),
        now: Duration,
    ) -> Result<(), End> {
        if beat.member != self.id || Some(beat.joined) != self.place.joined || applied.ignored.is_some() {
            return Ok(());
        }
        let mut round_trip = None;
        while let Some((sequence, sent)) = self.place.sent.front().copied()
            && sequence <= beat.sequence
        {
            self.place.sent.pop_front();
            self.place.proven = self.place.proven.max(sent);
            round_trip = Some(now.saturating_sub(sent));
        }
        if let Some(round_trip) = round_trip {
            self.judge(round_trip, now)?;
        }
        // A member that was away itself knows nothing of the silence of others.
        if now.saturating_sub(self.place.proven_at) > self.session() / 2 {
            self.roster.forgive(now);
        }
        self.place.proven_at = now;
        if self.place.gave_up && now < self.place.proven.saturating_add(self.session()) {
            self.place.gave_up = false;
            self.sync(now);
        }
        self.telemetry.fences(applied.fenced_commits);
        for at in 0..self.subscriptions.len() {
            let Some(subscription) = self.subscriptions.get(at) else { break };
            let owned = self.owned(subscription.topic());
            let is_fenced = fenced.contains(subscription.topic().as_str());
            let outcome = if is_fenced { Err(self.fenced(subscription.topic())) } else { Ok(()) };
            if let Some(subscription) = self.subscriptions.get_mut(at) {
                subscription.holdings.stored(owned);
                subscription.answer_beat(beat.sequence, &outcome);
            }
        }
        self.refuse_unknown(beat);
        self.finish_given_up(now);
        if now >= self.next_store {
            let held: Vec<_> = self
                .subscriptions
                .iter()
                .flat_map(|subscription| subscription.holdings.partitions())
                .collect();
            self.store(&held, None, now);
        }
        Ok(())
    }

    /// Follows a record that may have moved partitions.
    pub(super) fn follow(&mut self, record: &GroupRecord, now: Duration) -> Result<(), End> {
        let joined = self.state.members().get(&self.id).map(|member| member.joined);
        if self.place.joined.is_some() && joined != self.place.joined {
            return self.removed(record, now);
        }
        self.sync(now);
        Ok(())
    }

    /// Takes up and gives up partitions as the group says.
    fn sync(&mut self, now: Duration) {
        if self.place.gave_up {
            return;
        }
        for at in 0..self.subscriptions.len() {
            self.sync_topic(at, now);
        }
    }

    /// Takes up and gives up partitions of one topic.
    pub(super) fn sync_topic(&mut self, at: usize, now: Duration) {
        let Some(subscription) = self.subscriptions.get(at) else { return };
        let topic = subscription.topic().clone();
        let owned = self.owned(&topic);
        let leaving = self.state.to_release(self.id).filter(|held| held.partition.topic == topic.as_str());
        let leaving = leaving.map(|held| held.partition.partition).collect();
        let Some(subscription) = self.subscriptions.get_mut(at) else { return };
        subscription.leaving = leaving;
        let moved = subscription.holdings.sync(&owned, now);
        moved.handovers.iter().for_each(|handover| self.telemetry.hands_over(&topic, *handover));
        if !moved.revoked.is_empty() {
            self.store(&moved.revoked, None, now);
        }
        self.tell(at, moved);
    }

    /// The group has removed this member.
    pub(super) fn removed(&mut self, record: &GroupRecord, now: Duration) -> Result<(), End> {
        if let GroupRecord::Leave(_) = record {
            return Err(End::Left);
        }
        self.lose_all();
        self.telemetry.is_member(false);
        if let GroupRecord::Join(join) = record
            && join.member != self.id
        {
            self.telemetry.evicts("replaced");
            let message = format!(
                "another member of the group {:?} has the name {:?}: a name belongs to one process at a time, and the \
                 newest has it",
                self.group,
                join.instance.as_deref().unwrap_or_default()
            );
            return Err(End::Failed(Error::new(ErrorKind::Fenced, message)));
        }
        self.telemetry.evicts("removed");
        tracing::warn!(group = %self.group, "the group has removed this member, which joins anew");
        self.place = MemberPlace { joined: None, proven_at: now, ..MemberPlace::default() };
        self.retry_at = now;
        Ok(())
    }

    /// Gives up all partitions, and what the application waits for.
    pub(super) fn lose_all(&mut self) {
        self.links.fence.end();
        self.lose_topics();
        for at in 0..self.subscriptions.len() {
            let error = self.subscriptions.get(at).map(|subscription| self.fenced(subscription.topic()));
            if let Some((subscription, error)) = self.subscriptions.get_mut(at).zip(error) {
                subscription.answer_all(&Err(error));
            }
        }
    }

    /// Gives up all partitions.
    pub(super) fn lose_topics(&mut self) {
        for at in 0..self.subscriptions.len() {
            let Some(subscription) = self.subscriptions.get_mut(at) else { break };
            subscription.leaving.clear();
            let moved = subscription.holdings.lose();
            self.tell(at, moved);
        }
    }

    /// The time from which partitions may be released after a change.
    pub(super) fn settle(&mut self, now: Duration) -> Duration {
        let began = self.group_began.as_mut().map(|began| {
            if *began == Duration::ZERO {
                *began = now;
            }
            *began + FIRST_SETTLE.min(self.options.session)
        });
        (now + SETTLE.min(self.options.session / 4)).max(began.unwrap_or_default())
    }

    /// Tells of partitions of a topic that came and went.
    pub(super) fn tell(&self, at: usize, moved: Moved) {
        let Some(subscription) = self.subscriptions.get(at) else { return };
        let Moved { assigned, revoked, lost, .. } = moved;
        let events = [
            ("revoked", GroupEvent::Revoked(revoked)),
            ("lost", GroupEvent::Lost(lost)),
            ("assigned", GroupEvent::Assigned(assigned)),
        ];
        for (change, event) in events {
            let (GroupEvent::Assigned(of) | GroupEvent::Revoked(of) | GroupEvent::Lost(of)) = &event;
            if of.is_empty() {
                continue;
            }
            self.telemetry.moves(subscription.topic(), change, of.len());
            tracing::info!(group = %self.group, member = %self.id, ?event, "partitions of the group");
            if let Some(callback) = &self.options.on_event {
                callback(&event);
            }
            subscription.tell(event);
        }
    }

    /// Begins anew after the log has lost its place: all leases are void.
    pub(super) async fn reload(&mut self, error: Error) -> Result<(), End> {
        tracing::warn!(group = %self.group, %error, "the coordination topic has no further record; the member joins anew");
        for subscription in &self.subscriptions {
            subscription.opener().queue.fence(true);
        }
        self.lose_all();
        (self.appending, self.unread) = (None, None);
        self.place = MemberPlace::default();
        let mut loading = pin!(load_at_last(self.client.clone(), Arc::clone(&self.group)));
        let (log, replayed) = loop {
            // Without a place in the group, commits fail, and nothing is left to do for a close.
            self.finish_all_closing(self.now())?;
            tokio::select! {
                biased;
                (topic, news) = topics::next(&mut self.subscriptions) => self.hear(&topic, news)?,
                loaded = &mut loading => break loaded,
            }
        };
        let Replayed { state, next, last, .. } = replayed;
        self.reader = LogReader::open(log.clone(), (next, last), &self.fetch);
        (self.log, self.state) = (log, state);
        let now = self.now();
        self.place.proven_at = now;
        self.roster.sync(&self.state, self.id, now);
        Ok(())
    }
}

/// Reads the log of a group as often as it takes.
async fn load_at_last(client: ClientCore, group: Arc<str>) -> (GroupLog, Replayed) {
    loop {
        match Member::load(&client, &group).await {
            Ok(loaded) => return loaded,
            Err(error) => {
                tracing::warn!(%group, %error, "the coordination topic cannot be read; retry");
            }
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}
