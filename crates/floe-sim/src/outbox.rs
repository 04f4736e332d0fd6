//! An outbox whose process crashes and restarts over its spool. Each record that it accepted has to be delivered once.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use floe::{Client, Durability, ErrorKind, Record, TopicSpec, layer::Layer as _, outbox::Outbox};
use floe_log::{
    StoreConfig,
    disk::{Disk, MemoryDisk},
};
use tokio::time::{sleep, timeout};

use crate::{
    disk::{Device, LogWork},
    power::{CoordinationWay, Power},
    produce::{Outcome, Sent},
    rng::Rng,
    trace::Trace,
};

/// Topic that the outbox delivers to.
pub(crate) const PARCELS: &str = "parcels";

/// Partitions of it.
pub(crate) const PARTITIONS: u32 = 2;

/// Directory of the spool.
const DIRECTORY: &str = "/outbox";

/// Time limit of the outbox for the last record once faults have ended.
pub(crate) const CATCH_UP: Duration = Duration::from_secs(900);

/// Time of the machine of the outbox.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// Time until no call of a crashed life waits any more.
const ENDING: Duration = Duration::from_secs(10);

/// Time limit of a close, which waits for deliveries under way.
const CLOSE: Duration = Duration::from_secs(180);

/// Returns the topic that the outbox delivers to.
pub(crate) fn parcels() -> TopicSpec {
    TopicSpec::new(PARCELS).partitions(PARTITIONS)
}

/// Process that runs an outbox again and again.
#[derive(Debug)]
pub(crate) struct Posting {
    /// Disk of the spool, which outlives the process.
    memory: MemoryDisk,
    /// Whether crashes are power losses too. The spool syncs what it accepts then.
    loses_power: bool,
    faults: bool,
    /// The work of crashed lives. It goes on over a disk that has stopped, so that the calls of those lives fail and end.
    past: Vec<LogWork>,
    /// Records to accept.
    left: u64,
    /// Records that it has been given, with what it said.
    posted: Vec<Sent>,
    rng: Rng,
    trace: Trace,
}

/// One life of the outbox.
#[derive(Debug)]
struct OutboxLife {
    outbox: Outbox,
    device: Device,
    work: LogWork,
    power: Power,
}

/// The spool keeps no record for its age.
fn wall_clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + EPOCH
}

impl Posting {
    pub(crate) fn new(mut rng: Rng, faults: bool, trace: &Trace) -> Self {
        let (loses_power, left) = (rng.percent(50), rng.within(1..=60));
        let memory = MemoryDisk::with_power_loss().wall_clock(wall_clock);
        let (past, posted, trace) = (Vec::new(), Vec::new(), trace.clone());
        Self { memory, loses_power, faults, past, left, posted, rng, trace }
    }

    /// Accepts all records in several lives, and delivers them. Returns what was said about each of them.
    pub(crate) async fn run(mut self, client: Client) -> Result<Vec<Sent>, String> {
        sleep(self.rng.millis(0..=3_000)).await;
        let mut lives_left = self.rng.within(0..=4);
        loop {
            let life = self.open(&client).await?;
            let lasts = if lives_left > 0 { self.rng.millis(100..=30_000) } else { CATCH_UP + CATCH_UP };
            let is_done = match timeout(lasts, self.post(&life.outbox)).await {
                Ok(posted) => posted.map(|()| true)?,
                Err(_) if lives_left == 0 => return Err("the outbox does not deliver".to_owned()),
                Err(_) => false,
            };
            if self.faults && lives_left > 0 && self.rng.percent(60) {
                self.crash(life);
            } else {
                self.end(life).await?;
                if is_done {
                    sleep(ENDING).await;
                    return Ok(self.posted);
                }
            }
            lives_left = lives_left.saturating_sub(1);
            sleep(self.rng.millis(0..=5_000)).await;
        }
    }

    /// Opens the spool as the last life has left it.
    async fn open(&mut self, client: &Client) -> Result<OutboxLife, String> {
        let power = Power::new(CoordinationWay::default(), false);
        let client = Client::builder("").from_engine(power.clone().layer(Arc::clone(client.engine())));
        let client = client.map_err(|error| error.to_string())?;
        let (device, work) = (Device::new(self.memory.clone(), self.rng.fork(), false), LogWork::default());
        let disk: Arc<dyn Disk> = Arc::new(device.clone());
        let slowness = self.rng.pick(&[0, 5, 200]);
        let spool = StoreConfig::at(DIRECTORY).disk(disk).wall_clock(wall_clock).executor(work.executor(
            slowness,
            self.rng.fork(),
            &self.trace,
        ));
        let durability = if self.loses_power { Durability::Always } else { Durability::Os };
        let outbox = client
            .producer(PARCELS)
            .linger(Duration::from_millis(self.rng.pick(&[0, 5, 100])))
            .batch_size(self.rng.pick(&[64, 1_000, 64 * 1024]))
            .max_in_flight(self.rng.pick(&[1, 3, 5]))
            .outbox(DIRECTORY)
            .store(spool)
            .durability(durability);
        let outbox =
            outbox.start().await.map_err(|error| format!("the outbox cannot be opened: {error:?}"))?;
        self.trace.note(format_args!("the outbox is open"));
        Ok(OutboxLife { outbox, device, work, power })
    }

    /// Accepts what is left, and waits until it is delivered.
    async fn post(&mut self, outbox: &Outbox) -> Result<(), String> {
        let pause = self.rng.pick(&[0, 20, 2_000]);
        while self.left > 0 {
            self.left -= 1;
            let partition = u32::try_from(self.rng.below(PARTITIONS as usize)).unwrap_or(0);
            let filling = usize::try_from(self.rng.within(0..=100)).unwrap_or(0);
            let value = format!("0.{}.{}", self.posted.len(), "x".repeat(filling));
            // A call that is cut off may have accepted the record.
            let outcome = Outcome::Unknown(ErrorKind::Closed);
            self.posted.push(Sent { value: value.clone(), partition, outcome });
            let accepted = outbox.send(Record::new(value).partition(partition).timestamp(1_000)).await;
            accepted.map_err(|error| format!("the outbox refuses a record: {error:?}"))?;
            if let Some(sent) = self.posted.last_mut() {
                sent.outcome = Outcome::Acknowledged(None);
            }
            sleep(self.rng.millis(0..=pause)).await;
        }
        outbox.drained().await.map_err(|error| format!("the outbox cannot deliver: {error:?}"))
    }

    /// Kills the process, or its machine.
    fn crash(&mut self, life: OutboxLife) {
        let OutboxLife { outbox, device, work, power } = life;
        device.stop();
        power.off();
        let takes_pages = self.loses_power && self.rng.percent(50);
        self.trace.note(format_args!("the outbox crashes, with a loss of power: {takes_pages}"));
        if takes_pages {
            let survival = self.rng.pick(&[0, 10, 50, 90, 100]);
            let mut rng = self.rng.fork();
            self.memory = self.memory.after_power_loss(|| rng.percent(survival));
        } else {
            self.memory = self.memory.after_kill();
        }
        self.past.push(work);
        drop(outbox);
    }

    async fn end(&mut self, life: OutboxLife) -> Result<(), String> {
        match timeout(CLOSE, life.outbox.close()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("the outbox cannot be closed: {error:?}")),
            Err(_) => return Err("closing the outbox hangs".to_owned()),
        }
        life.power.off();
        life.device.stop();
        life.work.abort();
        // The lock of the directory goes with the process.
        self.memory = self.memory.after_kill();
        Ok(())
    }
}
