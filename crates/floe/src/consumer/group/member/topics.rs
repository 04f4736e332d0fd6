//! The topics of a member: consumers that come and go.

use std::{collections::BTreeMap, future::poll_fn, task::Poll, time::Duration};

use floe_group::{Beat, GroupState, Held};

use super::{End, Member};
use crate::{
    Error, ErrorKind, Result,
    consumer::group::{
        membership::Membership,
        subscription::{Closing, Command, Subscription, TopicNews},
    },
    topic::Topic,
};

/// Changes of topics that a heartbeat told, and when.
pub(super) type Announcement = (Vec<(String, u32)>, Duration);

/// A topic that a named member keeps for a while without a consumer.
#[derive(Debug)]
pub(super) struct KeptTopic {
    name: String,
    count: u32,
    until: Duration,
}

impl KeptTopic {
    /// The topics of the member of the same name that this one replaces.
    pub(super) fn of_predecessor(state: &GroupState, options: &Membership, now: Duration) -> Vec<Self> {
        let is_before = |name: &Option<String>| name.is_some() && *name == options.instance;
        let before = state.members().values().find(|member| is_before(&member.instance));
        let topics = before.into_iter().flat_map(|member| &member.topics);
        let until = now + options.session;
        topics.map(|(name, count)| Self { name: name.clone(), count: *count, until }).collect()
    }
}

/// Waits for the next event of a topic.
///
/// # Cancel safety
/// Dropping the future loses nothing.
pub(super) async fn next(subscriptions: &mut [Subscription]) -> (Topic, TopicNews) {
    poll_fn(|cx| {
        for subscription in &mut *subscriptions {
            if let Poll::Ready(news) = subscription.poll(cx) {
                return Poll::Ready((subscription.topic().clone(), news));
            }
        }
        Poll::Pending
    })
    .await
}

impl Member {
    fn subscription_to(&self, topic: &Topic) -> Option<usize> {
        self.subscriptions.iter().position(|subscription| subscription.topic() == topic)
    }

    /// Takes the consumers that came, as far as their topics have no other consumer.
    pub(super) fn admit_parked(&mut self, now: Duration) {
        self.kept.retain(|kept| now < kept.until);
        for mut parked in std::mem::take(&mut self.parked) {
            let topic = parked.topic().clone();
            let Some(other) = self.subscription_to(&topic).and_then(|at| self.subscriptions.get(at)) else {
                match parked.holdings.check(self.state.partitions()) {
                    Ok(()) => self.admit(parked, now),
                    Err(error) => _ = parked.fail(error),
                }
                continue;
            };
            if other.closing.is_some() {
                self.parked.push(parked);
                continue;
            }
            let message = "another consumer reads the topic as the same member";
            parked.fail(Error::new(ErrorKind::InvalidConfig, message).with_topic(&topic));
        }
    }

    /// Takes a consumer.
    pub(super) fn admit(&mut self, mut subscription: Subscription, now: Duration) {
        let topic = subscription.topic().clone();
        if let Some(kept) = self.kept.extract_if(.., |kept| kept.name == topic.as_str()).next() {
            subscription.count = subscription.count.max(kept.count);
        }
        subscription.begin(now);
        self.subscriptions.push(subscription);
        if self.place.joined.is_some() && !self.place.gave_up {
            self.sync_topic(self.subscriptions.len() - 1, now);
        }
        self.welcome();
    }

    /// Lets the consumers start whose topics the group knows of.
    pub(super) fn welcome(&mut self) {
        if !self.subscriptions.iter().any(Subscription::is_starting) {
            return;
        }
        let member = self.state.members().get(&self.id).filter(|_| self.place.joined.is_some());
        let Some(member) = member.filter(|_| self.slow_trips.is_none()) else { return };
        for subscription in &mut self.subscriptions {
            if member.topics.contains_key(subscription.topic().as_str()) {
                subscription.welcome();
            }
        }
    }

    /// Takes an event of a topic.
    pub(super) fn hear(&mut self, topic: &Topic, news: TopicNews) -> Result<(), End> {
        let now = self.now();
        let limit = now + self.session();
        let Some(at) = self.subscription_to(topic) else { return Ok(()) };
        let is_cut_off = self.place.joined.is_none() || self.links.fence.is_past();
        let fenced = is_cut_off.then(|| self.fenced(topic));
        let Some(subscription) = self.subscriptions.get_mut(at) else { return Ok(()) };
        let reply = match news {
            TopicNews::Opened(number, took) => {
                self.telemetry.assigns(topic, number, took);
                return Ok(());
            }
            TopicNews::Announced(Ok(count)) => {
                subscription.count = subscription.count.max(count);
                return Ok(());
            }
            TopicNews::Announced(Err(error)) => return self.end_topic(at, error),
            TopicNews::Command(Some(Command::Commit(trigger, reply))) => {
                match fenced {
                    // The caller may have stopped waiting.
                    Some(error) => _ = reply.send(Err(error)),
                    None => subscription.wait(trigger, reply),
                }
                return Ok(());
            }
            TopicNews::Command(Some(Command::Close(reply))) => Some(reply),
            // The consumer was dropped.
            TopicNews::Command(None) => {
                subscription.holdings.end_tasks();
                None
            }
        };
        subscription.closing = Some(Closing { reply, until: limit, outcome: Ok(()) });
        self.closing_until = limit;
        Ok(())
    }

    /// Ends the consumer of a topic that is gone. Its member ends with the last one.
    fn end_topic(&mut self, at: usize, error: Error) -> Result<(), End> {
        if self.subscriptions.len() == 1 && self.parked.is_empty() {
            return Err(End::Failed(error));
        }
        let moved = self.subscriptions.get_mut(at).map(|subscription| subscription.holdings.lose());
        self.tell(at, moved.unwrap_or_default());
        let mut ended = self.subscriptions.remove(at);
        tracing::warn!(group = %self.group, %error, "the member gives a topic up");
        ended.fail(error);
        Ok(())
    }

    /// Ends a consumer that is being closed: stores its last positions in the engine, and answers it.
    pub(super) fn finish(&mut self, at: usize, now: Duration) {
        let subscription = self.subscriptions.remove(at);
        let held: Vec<_> = subscription.holdings.partitions().collect();
        self.store(&held, subscription.closing, now);
    }

    /// Fails the closes that take too long.
    pub(super) fn end_overdue(&mut self, now: Duration) -> Result<(), End> {
        let is_overdue = |of: &Subscription| of.closing.as_ref().is_some_and(|closing| now >= closing.until);
        while let Some(at) = self.subscriptions.iter().position(is_overdue) {
            if let Some(closing) = self.subscriptions.get_mut(at).and_then(|of| of.closing.as_mut()) {
                let error =
                    Error::new(ErrorKind::RequestTimeout, "the member did not leave the group in time");
                closing.outcome = Err(error.with_operation("commit"));
            }
            self.finish(at, now);
        }
        self.end_without_consumers()
    }

    /// Ends all consumers that are being closed.
    pub(super) fn finish_all_closing(&mut self, now: Duration) -> Result<(), End> {
        while let Some(at) = self.subscriptions.iter().position(|of| of.closing.is_some()) {
            self.finish(at, now);
        }
        self.end_without_consumers()
    }

    /// Ends the consumers that are being closed and have stored everything; the topics are kept for a restart of the process.
    pub(super) fn finish_stored(&mut self, now: Duration) -> Result<(), End> {
        let until = now + self.session();
        let is_done = |of: &Subscription| of.closing.is_some() && !of.is_unfinished();
        while let Some(at) = self.subscriptions.iter().position(is_done) {
            if let Some(subscription) = self.subscriptions.get(at) {
                let name = subscription.topic().as_str().to_owned();
                self.kept.push(KeptTopic { name, count: subscription.count, until });
            }
            self.finish(at, now);
        }
        self.end_without_consumers()
    }

    fn end_without_consumers(&self) -> Result<(), End> {
        if self.subscriptions.is_empty() && self.parked.is_empty() { Err(End::Left) } else { Ok(()) }
    }

    /// Ends the consumers whose topics the group has taken from this member as it asked.
    pub(super) fn finish_given_up(&mut self, now: Duration) {
        let Some(member) = self.state.members().get(&self.id) else { return };
        let topics = member.topics.clone();
        let is_given_up =
            |of: &Subscription| of.closing.is_some() && !topics.contains_key(of.topic().as_str());
        while let Some(at) = self.subscriptions.iter().position(is_given_up) {
            self.finish(at, now);
        }
    }

    /// Refuses consumers whose topics a heartbeat has announced in vain: the group would be too large.
    pub(super) fn refuse_unknown(&mut self, beat: &Beat) {
        let Some(member) = self.state.members().get(&self.id) else { return };
        let is_refused = |of: &Subscription| {
            let name = of.topic().as_str();
            of.is_starting()
                && !member.topics.contains_key(name)
                && beat.topics.iter().any(|(topic, count)| topic == name && *count > 0)
        };
        let Some(at) = self.subscriptions.iter().position(is_refused) else { return };
        let mut refused = self.subscriptions.remove(at);
        let message =
            format!("the group {:?} has too many partitions for those of another topic", self.group);
        refused.fail(Error::new(ErrorKind::InvalidConfig, message).with_topic(refused.topic()));
    }

    /// Whether all consumers are being closed.
    pub(super) fn is_leaving(&self) -> bool {
        self.parked.is_empty() && self.subscriptions.iter().all(|of| of.closing.is_some())
    }

    /// The topics that the member reads, or keeps for a while, with their numbers of partitions.
    pub(super) fn wanted_topics(&self) -> BTreeMap<String, u32> {
        let stays = |of: &&Subscription| of.closing.is_none() || self.options.instance.is_some();
        let kept = self.kept.iter().map(|kept| (kept.name.clone(), kept.count));
        let read = self.subscriptions.iter().filter(stays);
        kept.chain(read.map(|of| (of.topic().as_str().to_owned(), of.count))).collect()
    }

    /// The changes of topics that the group does not know of.
    fn changes_of_topics(&self) -> Vec<(String, u32)> {
        let Some(member) = self.state.members().get(&self.id) else { return Vec::new() };
        let wanted = self.wanted_topics();
        let gone = member.topics.keys().filter(|name| !wanted.contains_key(*name));
        let gone = gone.map(|name| (name.clone(), 0)).collect::<Vec<_>>();
        let is_new =
            |(name, count): &(String, u32)| member.topics.get(name).is_none_or(|known| known < count);
        wanted.into_iter().filter(is_new).chain(gone).collect()
    }

    /// Whether the group does not know of a change of topics that the member has not told of for a session.
    pub(super) fn has_announcement(&self, now: Duration) -> bool {
        let changes = self.changes_of_topics();
        let told = self.announcement.as_ref().filter(|(told, _)| *told == changes);
        !changes.is_empty() && told.is_none_or(|(_, at)| now >= at.saturating_add(self.options.session))
    }

    /// Returns the changes of topics for a heartbeat.
    pub(super) fn announce(&mut self, now: Duration) -> Vec<(String, u32)> {
        let changes = self.changes_of_topics();
        if !changes.is_empty() {
            self.announcement = Some((changes.clone(), now));
        }
        changes
    }

    /// Returns the partitions to release of topics that the member keeps without a consumer.
    pub(super) fn unread_to_release(&self) -> Vec<Held> {
        let is_kept = |held: &Held| self.kept.iter().any(|kept| kept.name == held.partition.topic);
        self.state.to_release(self.id).filter(is_kept).collect()
    }
}
