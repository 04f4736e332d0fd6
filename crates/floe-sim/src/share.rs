//! Members of a shared group that join, leave, crash and restart.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use floe::{
    Client, Consumer, ErrorKind, Message, WallClock,
    consumer::{AckMode, CommitPolicy, Fence, Membership},
    history::Recorder,
    layer::Layer as _,
};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{
    consume::Goal,
    handled::Handled,
    misdeed::Misdeed,
    power::{CoordinationWay, Power},
    produce::name,
    referee::{LifeMark, Referee},
    rng::Rng,
    trace::Trace,
};

/// Time limit of the members for handling the last record once faults have ended: the longest session, a drain, heartbeats,
/// and the back-off of members that were evicted again and again.
const CATCH_UP: Duration = Duration::from_secs(900);

/// Time limit of one call under faults.
const CALL: Duration = Duration::from_secs(120);

/// Longest wait for a record between two looks at the goal.
const LOOK: Duration = Duration::from_secs(2);

/// Time from the Unix epoch to the simulation, by clocks that are right.
const YEARS: Duration = Duration::from_secs(50 * 365 * 86_400);

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
        self.missing(goal).is_empty()
    }

    /// Returns the records below the goal that no member has handled.
    fn missing(&self, goal: &BTreeMap<u32, i64>) -> Vec<(u32, i64)> {
        let deeds = self.0.lock();
        let wanted = goal.iter().flat_map(|(partition, end)| (0..*end).map(|at| (*partition, at)));
        wanted.filter(|at| !deeds.handled.contains_key(at)).collect()
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
    /// When its process last went on after it had been frozen.
    pub(crate) woken: watch::Receiver<Option<Instant>>,
    pub(crate) way: CoordinationWay,
    pub(crate) misdeed: Misdeed,
    pub(crate) referee: Referee,
    pub(crate) topic: &'static str,
    pub(crate) group: &'static str,
    pub(crate) goal: watch::Receiver<Goal>,
    pub(crate) shared: SharedRecords,
    pub(crate) handled: Handled,
    pub(crate) recorder: Recorder,
    /// Whether members crash.
    pub(crate) faults: bool,
    /// Number of lives so far, with those that could not join.
    pub(crate) lives: u32,
    pub(crate) rng: Rng,
    pub(crate) trace: Trace,
}

/// Topic without records that some lives read as well.
pub(crate) const SECOND_TOPIC: &str = "second";

/// One life of a member.
#[derive(Debug)]
struct MemberLife {
    consumer: Consumer,
    /// The consumer of the second topic, and the records of the first one after which it goes.
    second: Option<(Consumer, u32)>,
    power: Power,
    mark: LifeMark,
    fence: Fence,
}

/// End of one life of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LifeEnd {
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
            if life == LifeEnd::Done {
                return Ok(());
            }
            lives_left = lives_left.saturating_sub(1);
            let pause = self.rng.pick(&[0, 500, 15_000]);
            sleep(self.rng.millis(0..=pause)).await;
        }
    }

    /// Draws the settings of a life. Its drain names it.
    fn membership(&mut self) -> (Membership, LifeMark, Fence) {
        let session = Duration::from_secs(self.rng.pick(&[3, 5, 10]));
        self.lives += 1;
        let number = u32::try_from(self.number).unwrap_or_default();
        let mark: LifeMark = self.rng.pick(&[1_000, 10_000, 30_000]) + number * 100 + self.lives % 100;
        let outlives = self.misdeed == Misdeed::OutliveTheFence;
        let fence = self.rng.pick(&[Fence::Lenient, Fence::Strict]);
        let fence = if outlives { Fence::Strict } else { fence };
        let mut membership = Membership::new()
            .session(session)
            .drain(Duration::from_millis(u64::from(mark)))
            .fence(if outlives { Fence::Lenient } else { fence });
        if self.rng.percent(40) {
            membership = membership.instance(format!("member-{}", self.number));
        }
        (membership.weight(self.rng.pick(&[1, 1, 2, 5])), mark, fence)
    }

    async fn live(&mut self, client: &Client, may_end: bool) -> Result<LifeEnd, String> {
        let mut life = self.start(client).await?;
        let records = if may_end { self.rng.within(0..=20) } else { u64::MAX };
        let end = if self.faults && self.rng.percent(50) { LifeEnd::Crashes } else { LifeEnd::Leaves };
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
                    let missing = self.shared.missing(known);
                    return Err(format!("the shared group hangs: no member handles {missing:?}"));
                }
            }
            if left == 0 && known.is_none() {
                return self.end(end, life).await;
            }
            self.part_with_second(&mut life).await?;
            match timeout(LOOK, life.consumer.try_next()).await {
                Ok(Ok(Some(message))) => {
                    self.take(&life, &message, pause).await?;
                    left = left.saturating_sub(1);
                }
                Ok(Ok(None)) => return Err("a shared consumer ended, although the topic exists".to_owned()),
                // Another life of the same name lives, or round trips take longer than the session: what was handled last
                // comes again.
                Ok(Err(error)) if error.kind() == ErrorKind::Fenced => {
                    self.shared.0.lock().crashed = true;
                    return Ok(LifeEnd::Crashes);
                }
                Ok(Err(error)) if error.operation() == Some("commit") && error.is_retriable() => {}
                Ok(Err(error)) => return Err(format!("a shared consumer failed: {error:?}")),
                Err(_) => {}
            }
        }
        self.end(LifeEnd::Done, life).await
    }

    /// Lets the consumer of the second topic hear of its partitions, and gives it up when its time has come. These members draw
    /// nothing, so that all else happens as without them.
    async fn part_with_second(&self, life: &mut MemberLife) -> Result<(), String> {
        let Some((second, left)) = &mut life.second else { return Ok(()) };
        match second.try_next().now_or_never() {
            Some(Ok(Some(message))) => return Err(format!("a topic without records has {message:?}")),
            Some(Ok(None)) => return Err("a consumer of a second topic ended".to_owned()),
            // The first consumer tells of it, too.
            Some(Err(_)) | None => {}
        }
        *left = left.saturating_sub(1);
        if *left > 0 || self.goal.borrow().is_some() {
            return Ok(());
        }
        let Some((second, _)) = life.second.take() else { return Ok(()) };
        let closes = self.lives.is_multiple_of(2);
        self.trace.note(format_args!("member {} gives the second topic up: closes {closes}", self.number));
        if closes && timeout(CALL, second.close()).await.is_err() {
            return Err("closing the consumer of a second topic hangs".to_owned());
        }
        Ok(())
    }

    /// Begins to read the second topic in some lives.
    async fn start_second(
        &self,
        client: &Client,
        consumer: &Consumer,
    ) -> Result<Option<(Consumer, u32)>, String> {
        if self.lives % 3 != 1 {
            return Ok(None);
        }
        let second = client.consumer(SECOND_TOPIC).ack_mode(AckMode::Explicit).shared_with(consumer);
        match timeout(CALL, second.start()).await {
            Ok(Ok(second)) => Ok(Some((second, self.lives % 5 * 4 + 1))),
            // The member may have been replaced meanwhile, or the topic not be reached.
            Ok(Err(error)) => {
                self.trace.note(format_args!("member {} has no second topic: {error}", self.number));
                Ok(None)
            }
            // It waits as long as the member cannot join.
            Err(_) if self.goal.borrow().is_none() => Ok(None),
            Err(_) => Err("starting the consumer of a second topic hangs".to_owned()),
        }
    }

    /// Handles a record that takes up to `pause` milliseconds.
    async fn take(&mut self, life: &MemberLife, message: &Message, pause: u64) -> Result<(), String> {
        if life.fence == Fence::Strict {
            let has_just_woken = self.woken.borrow().is_some_and(|at| at.elapsed().is_zero());
            self.referee.hand_out(life.mark, (self.topic, message.partition), has_just_woken);
        }
        if self.misdeed == Misdeed::CommitAhead {
            message.ack();
        }
        // Without faults each record is handled once: its time stays within the drain.
        let longest = if self.faults { pause } else { pause.min(u64::from(life.mark) / 2) };
        sleep(self.rng.millis(0..=longest)).await;
        self.handle(message)
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

    async fn end(&self, end: LifeEnd, life: MemberLife) -> Result<LifeEnd, String> {
        let MemberLife { consumer, second, power, .. } = life;
        if end == LifeEnd::Crashes {
            self.shared.0.lock().crashed = true;
            power.off();
            drop((consumer, second));
            return Ok(end);
        }
        drop(second);
        match timeout(CALL, consumer.close()).await {
            Ok(Ok(())) => Ok(end),
            // Under faults a close may fail to commit; others handle the records again.
            Ok(Err(error)) if self.goal.borrow().is_none() => {
                self.trace.note(format_args!("member {} cannot leave: {error}", self.number));
                self.shared.0.lock().crashed = true;
                Ok(end)
            }
            Ok(Err(error)) => Err(format!("a shared consumer cannot be closed: {error:?}")),
            Err(_) => Err("closing a shared consumer hangs".to_owned()),
        }
    }

    async fn start(&mut self, client: &Client) -> Result<MemberLife, String> {
        // Each life has a connection of its own to the engine, which a crash ends.
        let ignores = self.misdeed == Misdeed::IgnoreEvictions && self.number.is_multiple_of(2);
        let power = Power::new(self.way.clone(), ignores);
        let engine = power.clone().layer(Arc::clone(client.engine()));
        let client = Client::builder("").clock(self.wall_clock()).record(self.recorder.clone());
        let client = client.from_engine(engine);
        let client = client.map_err(|error| error.to_string())?;
        let begun = Instant::now();
        loop {
            let commit =
                self.rng.pick(&[CommitPolicy::PerRecord, CommitPolicy::Interval(Duration::from_secs(5))]);
            let (membership, mark, fence) = self.membership();
            let consumer = client.consumer(self.topic).group(self.group).shared_as(membership);
            let start = consumer.ack_mode(AckMode::Explicit).commit(commit).start();
            match timeout(CALL, start).await {
                Ok(Ok(consumer)) => {
                    let second = self.start_second(&client, &consumer).await?;
                    return Ok(MemberLife { consumer, second, power, mark, fence });
                }
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

    /// A clock that is wrong by hours.
    fn wall_clock(&mut self) -> WallClock {
        let (begun, wrong) = (Instant::now(), self.rng.millis(0..=48 * 3_600_000));
        WallClock::new(move || SystemTime::UNIX_EPOCH + YEARS + wrong + begun.elapsed())
    }
}
