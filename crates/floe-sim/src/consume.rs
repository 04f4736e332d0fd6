//! Consumers: a reader of everything, and a group member that crashes.

use std::{collections::BTreeMap, time::Duration};

use floe::{
    Client, Consumer, Message,
    consumer::{AckMode, StartAt},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::{
    handled::Handled,
    plan::GroupPlan,
    produce::{may_pass, name},
    rng::Rng,
    trace::Trace,
};

/// Time limit of a consumer for reaching the goal once faults have ended.
const CATCH_UP: Duration = Duration::from_secs(180);

/// Time limit of one call under faults, including its retries.
const CALL: Duration = Duration::from_secs(120);

/// Pause of a group after a failed commit.
const RETRY: Duration = Duration::from_millis(20);

/// Records read: offsets and values by partition.
pub type Read = BTreeMap<u32, Vec<(i64, String)>>;

/// End of reading by partition: the offset after the last record. `None` until all records are sent.
pub type Goal = Option<BTreeMap<u32, i64>>;

/// Reader that reads every record once.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) topic: &'static str,
    pub(crate) goal: watch::Receiver<Goal>,
    pub(crate) trace: Trace,
    /// On engines without offsets: time without records that means the end.
    pub(crate) silence: Option<Duration>,
}

impl Reading {
    /// Reads up to the goal once it is known.
    pub(crate) async fn when_known(mut self, client: Client) -> Result<Read, String> {
        self.goal
            .wait_for(Option::is_some)
            .await
            .map_err(|_| "the run ended before its reader".to_owned())?;
        // Seen as a change by the run below.
        self.goal.mark_changed();
        self.run(client).await
    }

    /// Reads up to the goal.
    pub(crate) async fn run(self, client: Client) -> Result<Read, String> {
        let mut consumer =
            start(&self.trace, || client.consumer(self.topic).from(StartAt::Beginning)).await?;
        let mut read = Read::new();
        let mut goal = self.goal.clone();
        let mut known: Goal = None;
        let mut give_up_at = None;
        loop {
            if let (Some(known), None) = (&known, self.silence)
                && known.iter().all(|(partition, end)| consumer.position(*partition).unwrap_or(0) >= *end)
            {
                break;
            }
            let wait = match (&known, self.silence) {
                (Some(_), Some(silence)) => silence,
                _ => CALL,
            };
            let next = tokio::select! {
                biased;
                changed = goal.changed(), if known.is_none() => {
                    changed.map_err(|_| "the run ended before its reader".to_owned())?;
                    known = goal.borrow_and_update().clone();
                    give_up_at = Some(Instant::now() + CATCH_UP);
                    continue;
                }
                next = timeout(wait, consumer.try_next()) => next,
            };
            match next {
                Ok(Ok(Some(message))) => take(&mut read, &message, &self.trace)?,
                Ok(Ok(None)) => return Err("the reader ended, although the topic exists".to_owned()),
                Ok(Err(error)) => return Err(format!("the reader failed: {error:?}")),
                Err(_) if known.is_some() && self.silence.is_some() => break,
                Err(_) => {}
            }
            if give_up_at.is_some_and(|at| Instant::now() > at) {
                let at: Vec<_> =
                    read.keys().map(|partition| (*partition, consumer.position(*partition))).collect();
                return Err(format!("the reader hangs at {at:?} and is to reach {known:?}"));
            }
        }
        match timeout(CALL, consumer.close()).await {
            Ok(Ok(())) => Ok(read),
            Ok(Err(error)) => Err(format!("the reader cannot be closed: {error}")),
            Err(_) => Err("closing the reader hangs".to_owned()),
        }
    }
}

/// Starts a consumer, with retries.
async fn start(
    trace: &Trace,
    builder: impl Fn() -> floe::consumer::ConsumerBuilder,
) -> Result<Consumer, String> {
    let begun = Instant::now();
    loop {
        match timeout(CALL, builder().start()).await {
            Ok(Ok(consumer)) => return Ok(consumer),
            Ok(Err(error)) if may_pass(&error) && begun.elapsed() < CALL => {
                trace.note(format_args!("a consumer cannot start: {error}"));
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(Err(error)) => return Err(format!("a consumer cannot start: {error:?}")),
            Err(_) => return Err("starting a consumer hangs".to_owned()),
        }
    }
}

fn take(read: &mut Read, message: &Message, trace: &Trace) -> Result<(), String> {
    let value =
        String::from_utf8(message.value.to_vec()).map_err(|_| "a value is not what was sent".to_owned())?;
    trace.note(format_args!("read {}/{} {}", message.partition, message.offset, name(&value)));
    read.entry(message.partition).or_default().push((message.offset, value));
    Ok(())
}

/// Group member that crashes and restarts.
#[derive(Debug)]
pub(crate) struct Grouped {
    pub(crate) topic: &'static str,
    pub(crate) group: &'static str,
    pub(crate) plan: GroupPlan,
    pub(crate) goal: watch::Receiver<Goal>,
    pub(crate) handled: Handled,
    pub(crate) rng: Rng,
    pub(crate) trace: Trace,
}

/// The way in which one incarnation of a member ended.
enum Incarnation {
    Crashed,
    /// All records are handled, and the consumer is closed.
    Done,
}

impl Grouped {
    /// Handles all records up to the goal, over any number of crashes.
    pub(crate) async fn run(mut self, client: Client) -> Result<Read, String> {
        let mut read = Read::new();
        let mut crashes_left = 8;
        loop {
            match self.live(&client, &mut read, crashes_left > 0).await? {
                Incarnation::Done => return Ok(read),
                Incarnation::Crashed => crashes_left -= 1,
            }
        }
    }

    async fn live(
        &mut self,
        client: &Client,
        read: &mut Read,
        may_crash: bool,
    ) -> Result<Incarnation, String> {
        let plan = self.plan.clone();
        let mut consumer = self.start(client).await?;
        let mut previous = BTreeMap::new();
        let mut give_up_at = None;
        let mut goal = self.goal.clone();
        loop {
            let known = goal.borrow_and_update().clone();
            if let Some(known) = &known {
                let at = give_up_at.get_or_insert_with(|| Instant::now() + CATCH_UP);
                let has_all = |(partition, end): (&u32, &i64)| {
                    // Records that a crash left uncommitted are redelivered first.
                    let position = consumer.position(*partition).unwrap_or(0);
                    position.min(self.handled.next(self.group, *partition)) >= *end
                };
                if known.iter().all(has_all) {
                    break;
                }
                if Instant::now() > *at {
                    return Err(format!("the group hangs, and is to reach {known:?}"));
                }
            }
            let next = tokio::select! {
                biased;
                _ = goal.changed(), if known.is_none() => continue,
                next = timeout(CALL, consumer.try_next()) => next,
            };
            let message = match next {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => {
                    return Err("the group's consumer ended, although the topic exists".to_owned());
                }
                // The commit failed, and is retried with the next record.
                Ok(Err(error)) if error.operation() == Some("commit") && may_pass(&error) => {
                    self.trace.note(format_args!("the group cannot commit: {error}"));
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
                Ok(Err(error)) => return Err(format!("the group's consumer failed: {error:?}")),
                Err(_) => continue,
            };
            let (partition, offset) = (message.partition, message.offset);
            let is_new = self.check_position(&mut previous, partition, offset)?;
            tokio::time::sleep(self.rng.millis(0..=plan.pause)).await;
            if may_crash && self.rng.bits() % 1000 < plan.crashes {
                self.trace.note(format_args!("the group crashes at {partition}/{offset}"));
                drop(consumer);
                return Ok(Incarnation::Crashed);
            }
            self.handled.record(self.group, partition, offset);
            if plan.ack_mode == AckMode::Explicit {
                message.ack();
            }
            if is_new {
                take(read, &message, &self.trace)?;
            }
        }
        // Faults have ended, so the close must commit all handled records.
        match timeout(CALL, consumer.close()).await {
            Ok(Ok(())) => Ok(Incarnation::Done),
            Ok(Err(error)) => Err(format!("the group's consumer cannot be closed: {error}")),
            Err(_) => Err("closing the group's consumer hangs".to_owned()),
        }
    }

    async fn start(&self, client: &Client) -> Result<Consumer, String> {
        start(&self.trace, || {
            client
                .consumer(self.topic)
                .group(self.group)
                .from(StartAt::StoredOrBeginning)
                .commit(self.plan.commit)
                .ack_mode(self.plan.ack_mode)
        })
        .await
    }

    /// Checks that an offset follows the previous one of this incarnation. Returns whether the record is new to the group.
    fn check_position(
        &self,
        previous: &mut BTreeMap<u32, i64>,
        partition: u32,
        offset: i64,
    ) -> Result<bool, String> {
        let handled = self.handled.next(self.group, partition);
        match previous.insert(partition, offset).map(|before| before + 1) {
            // Handled but uncommitted records are redelivered; unhandled records must not be skipped.
            None if offset > handled => {
                Err(format!("the group resumes at {partition}/{offset}, and has handled up to {handled}"))
            }
            Some(expected) if offset != expected => {
                Err(format!("the group got {partition}/{offset} and expected {expected}"))
            }
            _ => Ok(offset >= handled),
        }
    }
}
