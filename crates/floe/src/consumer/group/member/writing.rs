//! The records that a member appends, and the offsets that it stores.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use floe_core::random;
use floe_group::{Beat, Evict, GroupPartition, GroupRecord, Join, Release, Revoke};
use futures_util::FutureExt as _;

use super::{End, Member};
use crate::{
    consumer::{commit::CommitTrigger, group::holdings::Owned, settings::CommitPolicy},
    topic::TopicPartition,
};

/// Interval at which the positions of the group go to the stored offsets of the engine.
pub(super) const STORE_INTERVAL: Duration = Duration::from_secs(30);

/// Records of the group, and time, after which a snapshot is due.
const SNAPSHOT_RECORDS: u64 = 1_000;
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(300);

impl Member {
    pub(super) fn join(&self) -> Join {
        let mut join = Join::new(self.id).topic(self.holdings.opener().topic.as_str(), self.count);
        join.instance.clone_from(&self.options.instance);
        join.session_ms = milliseconds(self.session());
        join.drain_ms = milliseconds(self.options.drain);
        join.weight(self.options.weight)
    }

    /// Returns the record to append now.
    pub(super) fn due(&mut self, joined: i64, now: Duration) -> Result<Option<GroupRecord>, End> {
        let releases = self.drained(now);
        if self.closing.is_some() {
            return self.leave(joined, now);
        }
        if !releases.is_empty() {
            let partitions = releases.into_iter().filter_map(|number| self.holdings.named(number)).collect();
            let beat = self.beat(joined, now);
            return Ok(Some(GroupRecord::Release(Release { beat, partitions })));
        }
        if self.roster.suspect(&self.state, now) {
            self.place.next_beat = now;
        }
        let asked = self.waiting.iter().any(|commit| commit.sequence.is_none());
        let commits = match self.commit {
            CommitPolicy::Interval(period) => now >= self.last_commit.saturating_add(period),
            CommitPolicy::Manual | CommitPolicy::PerRecord => false,
        };
        let has_news =
            commits && self.holdings.commits(CommitTrigger::Policy).is_ok_and(|news| !news.is_empty());
        if commits {
            self.last_commit = now;
        }
        let has_grown = self.known_count().is_some_and(|known| known < self.count);
        if asked || has_news || has_grown || now >= self.place.next_beat {
            return Ok(Some(GroupRecord::Beat(self.beat(joined, now))));
        }
        if let Some((member, heard_at)) = self.roster.to_evict(&self.state, self.id, self.place.proven, now)
            && let Some(silent) = self.state.members().get(&member)
        {
            tracing::info!(group = %self.group, %member, "a silent member is evicted");
            self.telemetry.evicts("silent");
            self.telemetry.takes_over(now.saturating_sub(heard_at));
            let by = Some((self.id, joined));
            let record = Evict { by, member, joined: silent.joined, sequence: silent.sequence };
            self.roster.hear(member, now);
            return Ok(Some(GroupRecord::Evict(record)));
        }
        if let Some(held) = self.roster.to_revoke(&self.state, now) {
            self.roster.asked(&held.partition, now);
            return Ok(Some(GroupRecord::Revoke(Revoke { held, by: self.id })));
        }
        Ok(self.snapshot(now))
    }

    /// The number of partitions that the group knows of.
    pub(super) fn known_count(&self) -> Option<u32> {
        let member = self.state.members().get(&self.id)?;
        member.topics.get(self.holdings.opener().topic.as_str()).copied()
    }

    /// Drains the partitions that others shall have, and returns those that are ready to go.
    pub(super) fn drained(&mut self, now: Duration) -> Vec<u32> {
        if now >= self.settled_at && !self.leaving.is_empty() {
            self.holdings.drain(self.leaving.iter().copied(), now, now + self.options.drain);
        }
        let (ready, kept): (Vec<_>, Vec<_>) =
            self.holdings.drained(now).into_iter().partition(|number| self.leaving.contains(number));
        kept.into_iter().for_each(|number| self.holdings.take_up(number));
        ready
    }

    /// Makes the next heartbeat, with the positions to store.
    pub(super) fn beat(&mut self, joined: i64, now: Duration) -> Beat {
        self.place.sequence += 1;
        let sequence = self.place.sequence;
        self.place.sent.push_back((sequence, now));
        let third = self.session() / 3;
        self.place.next_beat = now + third.mul_f64(0.9 + 0.2 * random::fraction());
        let mut beat = Beat::new(self.id, joined, sequence);
        let asked = self.waiting.iter().filter(|commit| commit.sequence.is_none());
        let by_application = asked.clone().any(|commit| commit.trigger == CommitTrigger::Application);
        let is_due = self.commit != CommitPolicy::Manual || asked.count() > 0;
        let trigger = if by_application { CommitTrigger::Application } else { CommitTrigger::Policy };
        if is_due {
            match self.holdings.commits(trigger) {
                Ok(commits) => {
                    self.holdings.note_commits(&commits);
                    beat.commits = commits;
                }
                Err(error) => {
                    self.answer(|commit| commit.sequence.is_none(), &Err(error));
                }
            }
            self.last_commit = now;
        }
        for commit in &mut self.waiting {
            commit.sequence.get_or_insert(sequence);
        }
        if self.known_count().is_some_and(|known| known < self.count) {
            beat.grown.push((self.holdings.opener().topic.as_str().to_owned(), self.count));
        }
        beat
    }

    /// Writes the last record of the member. One with a name stays, so that a restart takes its partitions over. A heartbeat
    /// that has not come back by now has failed or is lost: its positions go again.
    pub(super) fn leave(&mut self, joined: i64, now: Duration) -> Result<Option<GroupRecord>, End> {
        let Some((reply, _)) = &self.closing else { return Ok(None) };
        let commits = reply.is_some() && self.commit != CommitPolicy::Manual;
        if self.options.instance.is_some() {
            let news = self.holdings.commits(CommitTrigger::Policy).is_ok_and(|news| !news.is_empty());
            if !commits || !news {
                return Err(End::Left(Ok(())));
            }
            return Ok(Some(GroupRecord::Beat(self.beat(joined, now))));
        }
        let mut beat = self.beat(joined, now);
        if !commits {
            beat.commits.clear();
        }
        Ok(Some(GroupRecord::Leave(beat)))
    }

    /// Returns a snapshot if one is due. The member with the smallest id writes it; the others wait somewhat longer.
    pub(super) fn snapshot(&mut self, now: Duration) -> Option<GroupRecord> {
        let (records, since) = self.since_snapshot;
        let patience = if self.state.members().keys().next() == Some(&self.id) { 2 } else { 3 };
        let is_due = records * 2 >= SNAPSHOT_RECORDS * patience
            || now.saturating_sub(since) * 2 >= SNAPSHOT_INTERVAL * u32::try_from(patience).unwrap_or(2);
        if !is_due {
            return None;
        }
        // Another record may come in between and make it void; then the next one is due soon.
        self.since_snapshot = (records.saturating_sub(10), since + SNAPSHOT_INTERVAL / 100);
        Some(GroupRecord::Snapshot(Box::new(self.state.snapshot())))
    }

    /// Copies positions of the group to the stored offsets of the engine, for tools that look there, and for a group that
    /// sleeps for longer than the retention of its records.
    pub(super) fn store(&mut self, of: &[TopicPartition], now: Duration) {
        self.next_store = now + STORE_INTERVAL;
        let position = |at: &TopicPartition| {
            let key = GroupPartition::new(at.topic.as_str(), at.partition);
            Some((at.clone(), self.state.partitions().get(&key)?.next?))
        };
        let positions: Vec<_> = of.iter().filter_map(position).collect();
        if positions.is_empty() {
            return;
        }
        let (engine, group) = (Arc::clone(self.client.engine()), Arc::clone(&self.group));
        let before = self.storing.take();
        self.storing = Some(
            async move {
                if let Some(before) = before {
                    before.await?;
                }
                engine.commit(group, positions).await
            }
            .boxed(),
        );
    }

    /// Copies the last positions when the member leaves, for as long as its close may take.
    pub(super) async fn store_last(&mut self) {
        let now = self.now();
        let held: Vec<_> = self.holdings.partitions().collect();
        self.store(&held, now);
        let limit = self.closing.as_ref().map_or(now, |(_, until)| *until).saturating_sub(now);
        if let Some(storing) = self.storing.take()
            && !matches!(tokio::time::timeout(limit, storing).await, Ok(Ok(())))
        {
            tracing::debug!(group = %self.group, "the last offsets of the group were not stored in the engine");
        }
    }

    /// The own partitions of the topic.
    pub(super) fn owned(&self) -> BTreeMap<u32, Owned> {
        let topic = self.holdings.opener().topic.as_str();
        self.state
            .owned_by(self.id)
            .filter(|(at, _)| at.topic == topic)
            .map(|(at, partition)| (at.partition, Owned::new(partition)))
            .collect()
    }
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
