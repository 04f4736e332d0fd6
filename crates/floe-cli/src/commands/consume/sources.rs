//! Consumers of several topics, read in turn.

use floe::{
    Client, Error, Message, Topic,
    consumer::{Consumer, ConsumerBuilder, RecordBatch, StartAt},
};
use futures_util::{
    FutureExt as _,
    future::{join_all, select_all},
};

use crate::exit::Outcome;

/// Next event of a consumer.
pub(super) enum Next {
    Batch(RecordBatch),
    Message(Message),
    Gap(Error),
    /// All topics have ended.
    End,
}

/// Consumers, of which each may have ended.
pub(super) struct TopicSources {
    consumers: Vec<(Consumer, bool)>,
    /// The consumer that is asked first.
    turn: usize,
}

impl TopicSources {
    pub(super) fn new(consumers: Vec<Consumer>) -> Self {
        Self { consumers: consumers.into_iter().map(|consumer| (consumer, false)).collect(), turn: 0 }
    }

    /// Returns the next event, if there is one at hand.
    pub(super) fn at_hand(&mut self, singly: bool) -> Option<floe::Result<Next>> {
        for step in 0..self.consumers.len() {
            let at = (self.turn + step) % self.consumers.len();
            let (consumer, has_ended) = &mut self.consumers[at];
            if *has_ended {
                continue;
            }
            match fetch(consumer, singly).now_or_never() {
                None => {}
                Some(Ok(None)) => *has_ended = true,
                Some(fetched) => {
                    self.turn = at + 1;
                    return Some(fetched.map(|next| next.unwrap_or(Next::End)));
                }
            }
        }
        self.consumers.iter().all(|(_, has_ended)| *has_ended).then_some(Ok(Next::End))
    }

    /// Waits for the next event.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self, singly: bool) -> floe::Result<Next> {
        loop {
            if let Some(next) = self.at_hand(singly) {
                return next;
            }
            let waiting = self.consumers.iter_mut().enumerate().filter(|(_, (_, has_ended))| !has_ended);
            let waiting =
                waiting.map(|(at, (consumer, _))| async move { (at, fetch(consumer, singly).await) }.boxed());
            let ((at, fetched), _, others) = select_all(waiting).await;
            drop(others);
            match fetched {
                Ok(None) => self.consumers[at].1 = true,
                fetched => return fetched.map(|next| next.unwrap_or(Next::End)),
            }
        }
    }

    /// Returns the records behind the position of all consumers.
    pub(super) async fn lag(&self) -> floe::Result<u64> {
        let mut lag = 0;
        for (consumer, _) in &self.consumers {
            lag += consumer.lag().await?;
        }
        Ok(lag)
    }

    /// Closes all consumers at once, so that a member of several topics leaves with all of them; returns the first error.
    pub(super) async fn close(self) -> floe::Result<()> {
        let closed = join_all(self.consumers.into_iter().map(|(consumer, _)| consumer.close())).await;
        closed.into_iter().collect()
    }
}

/// Returns the next message, or the next batch; none at the end.
///
/// # Cancel safety
/// Dropping the future loses nothing.
async fn fetch(consumer: &mut Consumer, singly: bool) -> floe::Result<Option<Next>> {
    let fetched = if singly {
        consumer.try_next().await.map(|next| next.map(Next::Message))
    } else {
        consumer.next_batch().await.map(|next| next.map(Next::Batch))
    };
    match fetched {
        Err(error) if error.kind() == floe::ErrorKind::Gap => Ok(Some(Next::Gap(error))),
        fetched => fetched,
    }
}

/// Returns the newest records of all topics together, by their times, and consumers that go on behind them.
pub(super) async fn tail(
    client: &Client,
    topics: &[Topic],
    (partition, count, exits): (Option<u32>, usize, bool),
    builder: impl Fn(&Topic, StartAt) -> ConsumerBuilder,
) -> Outcome<(TopicSources, Vec<Message>)> {
    let mut newest: Vec<Message> = Vec::new();
    let mut consumers = Vec::with_capacity(topics.len());
    for topic in topics {
        let ends = client.offsets_at(topic, partition, StartAt::End).await?;
        let start = StartAt::BeforeEnd(u64::try_from(count).unwrap_or(u64::MAX));
        let mut reader = builder(topic, start).stop_at_end().start().await?;
        while let Some(message) = reader.try_next().await? {
            // Later ones come from the other consumer.
            if ends.iter().any(|(at, end)| at.partition == message.partition && message.offset < *end) {
                newest.push(message);
            }
            if newest.len() > count.saturating_mul(2) {
                keep_newest(&mut newest, count);
            }
        }
        reader.close().await?;
        if !exits {
            let mut consumer = builder(topic, StartAt::End).start().await?;
            for (at, end) in ends {
                consumer.seek(at.partition, StartAt::Offset(end)).await?;
            }
            consumers.push(consumer);
        }
    }
    keep_newest(&mut newest, count);
    Ok((TopicSources::new(consumers), newest))
}

fn keep_newest(messages: &mut Vec<Message>, count: usize) {
    messages.sort_by(|one, other| {
        let place = |message: &Message| (message.timestamp, message.partition, message.offset);
        place(one).cmp(&place(other))
    });
    let excess = messages.len().saturating_sub(count);
    messages.drain(..excess);
}
