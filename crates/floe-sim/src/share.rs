//! Members of a shared group that join, leave, crash and restart.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use floe::{
    Client, Consumer, ErrorKind, Message,
    consumer::{AckMode, CommitPolicy, Fence, Membership},
    engine::BatchReader,
    layer::{Layer, Operation},
};
use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{consume::Goal, produce::name, rng::Rng, store::Handled, trace::Trace};

/// Time limit of the members for handling the last record once faults have ended: the longest session, a drain, heartbeats,
/// and the back-off of members that were evicted again and again.
const CATCH_UP: Duration = Duration::from_secs(900);

/// Time limit of one call under faults.
const CALL: Duration = Duration::from_secs(120);

/// Longest wait for a record between two looks at the goal.
const LOOK: Duration = Duration::from_secs(2);

/// Values by partition and offset, each with the number of times that it was handled.
pub(crate) type Times = BTreeMap<(u32, i64), (String, u32)>;

/// Records that members of a shared group handled.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedRecords(Arc<Mutex<Deeds>>);

#[derive(Debug, Default)]
struct Deeds {
    handled: Times,
    /// Whether a member crashed, so that records may come twice.
    crashed: bool,
}

impl SharedRecords {
    fn handle(&self, message: &Message, value: String) {
        let mut deeds = self.0.lock();
        deeds.handled.entry((message.partition, message.offset)).or_insert((value, 0)).1 += 1;
    }

    fn reaches(&self, goal: &BTreeMap<u32, i64>) -> bool {
        let deeds = self.0.lock();
        goal.iter().all(|(partition, end)| (0..*end).all(|at| deeds.handled.contains_key(&(*partition, at))))
    }

    /// Returns what was handled, and whether a member crashed.
    pub(crate) fn deeds(&self) -> (Times, bool) {
        let deeds = self.0.lock();
        (deeds.handled.clone(), deeds.crashed)
    }
}

/// Process that is a member of the group again and again.
#[derive(Debug)]
pub(crate) struct Sharing {
    pub(crate) number: usize,
    pub(crate) topic: &'static str,
    pub(crate) group: &'static str,
    pub(crate) goal: watch::Receiver<Goal>,
    pub(crate) shared: SharedRecords,
    pub(crate) handled: Handled,
    /// Whether members crash.
    pub(crate) faults: bool,
    pub(crate) rng: Rng,
    pub(crate) trace: Trace,
}

/// End of one life of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Leaves,
    Crashes,
    /// The group has handled everything.
    Done,
}

impl Sharing {
    /// Lives until the group has handled all records up to the goal.
    pub(crate) async fn run(mut self, client: Client) -> Result<(), String> {
        sleep(self.rng.millis(0..=8_000)).await;
        let mut lives_left = self.rng.within(0..=4);
        loop {
            let life = self.live(&client, lives_left > 0).await?;
            self.trace.note(format_args!("member {} ends: {life:?}", self.number));
            if life == Life::Done {
                return Ok(());
            }
            lives_left = lives_left.saturating_sub(1);
            let pause = self.rng.pick(&[0, 500, 15_000]);
            sleep(self.rng.millis(0..=pause)).await;
        }
    }

    fn membership(&mut self) -> Membership {
        let session = Duration::from_secs(self.rng.pick(&[3, 5, 10]));
        let drain = Duration::from_secs(self.rng.pick(&[1, 10, 30]));
        let fence = self.rng.pick(&[Fence::Lenient, Fence::Strict]);
        let mut membership = Membership::new().session(session).drain(drain).fence(fence);
        if self.rng.percent(40) {
            membership = membership.instance(format!("member-{}", self.number));
        }
        membership.weight(self.rng.pick(&[1, 1, 2, 5]))
    }

    async fn live(&mut self, client: &Client, may_end: bool) -> Result<Life, String> {
        // Each life has a connection of its own to the engine, which a crash ends.
        let power = Power::default();
        let own = Client::from_engine(power.clone().layer(Arc::clone(client.engine())));
        let mut consumer = self.start(&own).await?;
        let records = if may_end { self.rng.within(0..=20) } else { u64::MAX };
        let end = if self.faults && self.rng.percent(50) { Life::Crashes } else { Life::Leaves };
        let pause = self.rng.pick(&[0, 20, 300, 2_000]);
        let mut left = records;
        let mut give_up_at = None;
        loop {
            let known = self.goal.borrow().clone();
            if let Some(known) = &known {
                let at = give_up_at.get_or_insert_with(|| Instant::now() + CATCH_UP);
                if self.shared.reaches(known) {
                    break;
                }
                if Instant::now() > *at {
                    let deeds = self.shared.deeds().0;
                    let missing: Vec<_> = known
                        .iter()
                        .flat_map(|(partition, end)| (0..*end).map(|at| (*partition, at)))
                        .filter(|at| !deeds.contains_key(at))
                        .collect();
                    return Err(format!("the shared group hangs: no member handles {missing:?}"));
                }
            }
            if left == 0 && known.is_none() {
                return self.end(end, consumer, &power).await;
            }
            match timeout(LOOK, consumer.try_next()).await {
                Ok(Ok(Some(message))) => {
                    sleep(self.rng.millis(0..=pause)).await;
                    self.handle(&message)?;
                    left = left.saturating_sub(1);
                }
                Ok(Ok(None)) => return Err("a shared consumer ended, although the topic exists".to_owned()),
                // Another life of the same name lives: the crash of this process was too short for its connection.
                Ok(Err(error)) if error.kind() == ErrorKind::Fenced => return Ok(Life::Crashes),
                Ok(Err(error)) if error.operation() == Some("commit") && error.is_retriable() => {}
                Ok(Err(error)) => return Err(format!("a shared consumer failed: {error:?}")),
                Err(_) => {}
            }
        }
        self.end(Life::Done, consumer, &power).await
    }

    fn handle(&self, message: &Message) -> Result<(), String> {
        let value = String::from_utf8(message.value.to_vec());
        let value = value.map_err(|_| "a value is not what was sent".to_owned())?;
        let (partition, offset) = (message.partition, message.offset);
        self.trace.note(format_args!("member {} handles {partition}/{offset} {}", self.number, name(&value)));
        self.handled.record(self.group, partition, offset);
        self.shared.handle(message, value);
        message.ack();
        Ok(())
    }

    async fn end(&self, life: Life, consumer: Consumer, power: &Power) -> Result<Life, String> {
        if life == Life::Crashes {
            self.shared.0.lock().crashed = true;
            power.off();
            drop(consumer);
            return Ok(life);
        }
        match timeout(CALL, consumer.close()).await {
            Ok(Ok(())) => Ok(life),
            // Under faults a close may fail to commit; others handle the records again.
            Ok(Err(error)) if self.goal.borrow().is_none() => {
                self.trace.note(format_args!("member {} cannot leave: {error}", self.number));
                self.shared.0.lock().crashed = true;
                Ok(life)
            }
            Ok(Err(error)) => Err(format!("a shared consumer cannot be closed: {error:?}")),
            Err(_) => Err("closing a shared consumer hangs".to_owned()),
        }
    }

    async fn start(&mut self, client: &Client) -> Result<Consumer, String> {
        let begun = Instant::now();
        loop {
            let commit =
                self.rng.pick(&[CommitPolicy::PerRecord, CommitPolicy::Interval(Duration::from_secs(5))]);
            let membership = self.membership();
            let consumer = client.consumer(self.topic).group(self.group).shared_as(membership);
            let start = consumer.ack_mode(AckMode::Explicit).commit(commit).start();
            match timeout(CALL, start).await {
                Ok(Ok(consumer)) => return Ok(consumer),
                // A session may be too short for the latency that the plan has drawn.
                Ok(Err(error)) if begun.elapsed() < CATCH_UP => {
                    self.trace.note(format_args!("member {} cannot join: {error}", self.number));
                    sleep(Duration::from_millis(500)).await;
                }
                Ok(Err(error)) => return Err(format!("a shared consumer cannot start: {error:?}")),
                Err(_) => return Err("starting a shared consumer hangs".to_owned()),
            }
        }
    }
}

/// Power of a process: without it no call returns, and nothing is read.
#[derive(Debug, Clone)]
struct Power(watch::Sender<bool>);

impl Default for Power {
    fn default() -> Self {
        Self(watch::Sender::new(true))
    }
}

impl Power {
    fn off(&self) {
        self.0.send_replace(false);
    }

    /// Waits until the power is off.
    async fn is_off(&self) {
        // The sender lives in `self`.
        let _ = self.0.subscribe().wait_for(|on| !on).await;
        std::future::pending().await
    }
}

impl Layer for Power {
    async fn around<'a, T, F>(&'a self, _: &Operation, attempt: F) -> floe::Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, floe::Result<T>> + Send + Sync,
    {
        tokio::select! {
            biased;
            () = self.is_off() => std::future::pending().await,
            outcome = attempt() => outcome,
        }
    }

    fn wrap_reader(&self, _: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        Box::new(Powered { reader, power: self.clone() })
    }
}

#[derive(Debug)]
struct Powered {
    reader: Box<dyn BatchReader>,
    power: Power,
}

impl BatchReader for Powered {
    fn next(&mut self) -> BoxFuture<'_, floe::Result<Option<EncodedBatch>>> {
        Box::pin(async move {
            tokio::select! {
                biased;
                () = self.power.is_off() => std::future::pending().await,
                next = self.reader.next() => next,
            }
        })
    }

    fn ready(&mut self) -> BoxFuture<'_, bool> {
        self.reader.ready()
    }

    fn looked_up_to(&self) -> Option<i64> {
        self.reader.looked_up_to()
    }
}
