//! The records that a member appends, and the offsets that it stores.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use floe_core::random;
use floe_group::{Beat, Evict, GroupPartition, GroupRecord, Held, Join, Release, Revoke};
use futures_util::FutureExt as _;

use super::{End, Member, RETRY_DELAY};
use crate::{
    Error, ErrorKind,
    consumer::group::{
        holdings::{MAX_AHEAD, Owned},
        subscription::{Closing, Subscription},
    },
    topic::{Topic, TopicPartition},
};

/// Interval at which the positions of the group go to the stored offsets of the engine.
pub(super) const STORE_INTERVAL: Duration = Duration::from_secs(30);

/// Records of the group, and time, after which a snapshot is due.
const SNAPSHOT_RECORDS: u64 = 1_000;
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(300);

impl Member {
    pub(super) fn join(&self) -> Join {
        let mut join = Join::new(self.id);
        join.topics = self.wanted_topics().into_iter().collect();
        join.instance.clone_from(&self.options.instance);
        join.session_ms = milliseconds(self.session());
        join.drain_ms = milliseconds(self.options.drain);
        join.weight(self.options.weight)
    }

    /// Returns the record to append now.
    pub(super) fn due(&mut self, joined: i64, now: Duration) -> Result<Option<GroupRecord>, End> {
        let releases = self.drained(now);
        if self.options.instance.is_some() {
            self.finish_stored(now)?;
        } else if self.is_leaving() {
            return Ok(Some(GroupRecord::Leave(self.beat(joined, now))));
        }
        if !releases.is_empty() {
            let beat = self.beat(joined, now);
            return Ok(Some(GroupRecord::Release(Release { beat, partitions: releases })));
        }
        if self.roster.suspect(&self.state, now) {
            self.place.next_beat = now;
        }
        let asked = self.subscriptions.iter().any(|of| of.is_asked() || of.is_unfinished());
        let mut has_news = false;
        for subscription in &mut self.subscriptions {
            has_news |= subscription.is_due(now);
        }
        // Half way to the bound, so that the commit comes back before.
        let is_far = self.ahead.is_some_and(|ahead| ahead >= MAX_AHEAD / 2);
        if asked || has_news || is_far || self.has_announcement(now) || now >= self.place.next_beat {
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

    /// Drains the partitions that others shall have, and returns those that are ready to go.
    fn drained(&mut self, now: Duration) -> Vec<Held> {
        let (settled, until) = (now >= self.settled_at, now + self.options.drain);
        let mut all = self.unread_to_release();
        for Subscription { holdings, leaving, .. } in &mut self.subscriptions {
            if settled && !leaving.is_empty() {
                holdings.drain(leaving.iter().copied(), now, until);
            }
            let (ready, kept): (Vec<_>, Vec<_>) =
                holdings.drained(now).into_iter().partition(|number| leaving.contains(number));
            kept.into_iter().for_each(|number| holdings.take_up(number));
            all.extend(ready.into_iter().filter_map(|number| holdings.named(number)));
        }
        all
    }

    /// Makes the next heartbeat, with the positions to store and the changes of topics.
    fn beat(&mut self, joined: i64, now: Duration) -> Beat {
        self.place.sequence += 1;
        let sequence = self.place.sequence;
        self.place.sent.push_back((sequence, now));
        let third = self.session() / 3;
        self.place.next_beat = now + third.mul_f64(0.9 + 0.2 * random::fraction());
        let mut beat = Beat::new(self.id, joined, sequence);
        for subscription in &mut self.subscriptions {
            beat.commits.extend(subscription.commits(sequence, now));
        }
        beat.topics = self.announce(now);
        beat
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
    /// sleeps for longer than the retention of its records. Then the close of a consumer that has ended is answered.
    pub(super) fn store(&mut self, of: &[TopicPartition], ended: Option<Closing>, now: Duration) {
        self.next_store = now + STORE_INTERVAL;
        let position = |at: &TopicPartition| {
            let key = GroupPartition::new(at.topic.as_str(), at.partition);
            Some((at.clone(), self.state.partitions().get(&key)?.next?))
        };
        let positions: Vec<_> = of.iter().filter_map(position).collect();
        if positions.is_empty() && ended.is_none() {
            return;
        }
        let (engine, group) = (Arc::clone(self.client.engine()), Arc::clone(&self.group));
        let before = self.storing.take();
        let limit = ended.as_ref().map(|closing| closing.until.saturating_sub(now));
        self.storing = Some(
            async move {
                let stores = async {
                    let earlier = match before {
                        Some(before) => before.await,
                        None => Ok(()),
                    };
                    let stored =
                        if positions.is_empty() { Ok(()) } else { engine.commit(group, positions).await };
                    earlier.and(stored)
                };
                let late = || Error::new(ErrorKind::RequestTimeout, "the offsets were not stored in time");
                let stored = match limit {
                    Some(limit) => tokio::time::timeout(limit, stores).await.unwrap_or_else(|_| Err(late())),
                    None => stores.await,
                };
                if let Some(Closing { reply: Some(reply), outcome, .. }) = ended {
                    // The consumer may have stopped waiting.
                    let _ = reply.send(outcome);
                }
                stored
            }
            .boxed(),
        );
    }

    /// Copies the last positions when the member leaves, for as long as the close of its consumers may take.
    pub(super) async fn store_last(&mut self) {
        // The copy itself ends by the same time, and answers the consumers.
        let limit = self.closing_until.saturating_sub(self.now()) + RETRY_DELAY;
        if let Some(storing) = self.storing.take()
            && !matches!(tokio::time::timeout(limit, storing).await, Ok(Ok(())))
        {
            tracing::debug!(group = %self.group, "the last offsets of the group were not stored in the engine");
        }
    }

    /// The own partitions of a topic.
    pub(super) fn owned(&self, topic: &Topic) -> BTreeMap<u32, Owned> {
        self.state
            .owned_by(self.id)
            .filter(|(at, _)| at.topic == topic.as_str())
            .map(|(at, partition)| (at.partition, Owned::new(partition)))
            .collect()
    }
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
