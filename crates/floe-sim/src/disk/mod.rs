//! The log of `floe-log` behind the simulated server, on a disk that fails with it.
//!
//! The work that the log gives to threads runs as tasks of the paused clock, each after a random latency. A crash leaves
//! the disk as it is, or as a power loss would; the next incarnation of the server opens the log on that.

mod device;
mod survival;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use floe::{
    Durability, TopicSpec,
    engine::{EmbeddedEngine, SharedEngine},
};
use floe_log::{
    Store, StoreConfig,
    disk::{Disk, MemoryDisk},
};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use crate::{backing::Backing, rng::Rng, store::Lie, trace::Trace};
pub(crate) use device::Device;
use survival::{After, Before, Contents};
pub(crate) use work::LogWork;

/// Directory of the store.
const DIRECTORY: &str = "/store";

/// Wall clock at the start of a run, in seconds since the Unix epoch.
const EPOCH: u64 = 1_700_000_000;

/// Time to wait for a change of the disk in whose middle the crash is to come.
const CHANGE: Duration = Duration::from_secs(2);

/// Things that a crash takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The process.
    Kill,
    /// The process, and the pages of the disk that were not synced: each of them or not, in any order.
    Power,
}

/// Plan of the disk and its log.
#[derive(Debug, Clone)]
pub(crate) struct DiskPlan {
    /// Durability of the topic.
    durability: Durability,
    /// Whether crashes may be power losses. Readers of a log that acknowledges before the sync can see records that a
    /// power loss takes, so they start after the last one then.
    loses_power: bool,
    segment_bytes: u64,
    tail_bytes: usize,
    open_files: usize,
    checkpoint_interval: Duration,
    /// Maximum latency of background work, in milliseconds.
    slowness: u64,
}

impl DiskPlan {
    fn draw(rng: &mut Rng) -> Self {
        let durability = rng.pick(&[
            Durability::Always,
            Durability::Always,
            Durability::Os,
            Durability::Interval(Duration::from_millis(100)),
            Durability::Interval(Duration::from_secs(2)),
        ]);
        Self {
            durability,
            loses_power: rng.percent(70),
            segment_bytes: rng.pick(&[500, 5_000, 256 << 20]),
            tail_bytes: rng.pick(&[0, 1_000, 1 << 20]),
            open_files: rng.pick(&[1, 2, 512]),
            checkpoint_interval: Duration::from_millis(rng.pick(&[300, 3_000, 30_000])),
            slowness: rng.pick(&[0, 0, 5, 200, 2_000]),
        }
    }

    /// Returns whether readers may see records that a crash takes.
    pub(crate) fn is_lossy(&self) -> bool {
        self.durability != Durability::Always && self.loses_power
    }

    /// Returns the time within which an acknowledged record is synced; `None` if it is before the acknowledgement.
    fn synced_within(&self) -> Option<Duration> {
        let delay = match self.durability {
            Durability::Always => return None,
            Durability::Os => self.checkpoint_interval,
            Durability::Interval(delay) => delay,
        };
        Some(delay + Duration::from_millis(self.slowness))
    }
}

/// The log, over all incarnations of the server. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LogDisk {
    plan: DiskPlan,
    topic: &'static str,
    backing: Backing,
    state: Arc<Mutex<LogDiskState>>,
    /// Held while the machine goes down and comes back.
    turn: Arc<tokio::sync::Mutex<()>>,
    trace: Trace,
    lie: Lie,
    began: Instant,
}

#[derive(Debug)]
struct LogDiskState {
    rng: Rng,
    memory: MemoryDisk,
    running: Option<Incarnation>,
    before: Option<Before>,
    /// Acknowledged or not: records that crashes took, where they may.
    lost: BTreeSet<String>,
    violations: Vec<String>,
}

/// The log between two crashes.
#[derive(Debug)]
struct Incarnation {
    device: Device,
    store: Arc<Store>,
    work: LogWork,
    /// Time since which syncs fail.
    failing_since: Option<Instant>,
}

impl LogDisk {
    /// Creates an empty disk, and opens a log on it.
    ///
    /// `keeps` says that the log acknowledges what is synced, and nothing before.
    pub(crate) fn new(
        (topic, keeps): (&'static str, bool),
        mut rng: Rng,
        lie: Lie,
        trace: &Trace,
    ) -> Result<Self, String> {
        let mut plan = DiskPlan::draw(&mut rng);
        if lie != Lie::None {
            // The injected bugs are those of a log that promises to lose nothing.
            (plan.durability, plan.loses_power) = (Durability::Always, true);
        }
        if keeps {
            plan.durability = Durability::Always;
        }
        trace.note(format_args!("{plan:?}"));
        let began = Instant::now();
        let memory = MemoryDisk::with_power_loss().wall_clock(move || wall_clock(began));
        let incarnation = Incarnation::open(&plan, &memory, &mut rng, lie, (trace, began))?;
        let backing = Backing::new(incarnation.engine());
        let state = LogDiskState {
            rng,
            memory,
            running: Some(incarnation),
            before: None,
            lost: BTreeSet::new(),
            violations: Vec::new(),
        };
        let (state, turn) = (Arc::new(Mutex::new(state)), Arc::default());
        Ok(Self { plan, topic, backing, state, turn, trace: trace.clone(), lie, began })
    }

    pub(crate) fn plan(&self) -> &DiskPlan {
        &self.plan
    }

    pub(crate) fn backing(&self) -> &Backing {
        &self.backing
    }

    /// Adds the settings of the log to those of the topic.
    pub(crate) fn configure(&self, spec: TopicSpec) -> TopicSpec {
        // The bug: the log forgets that it is to sync before it acknowledges.
        let forgets = self.lie == Lie::AckBeforeSync;
        let durability = if forgets { Durability::Os } else { self.plan.durability };
        spec.durability(durability).segment_bytes(self.plan.segment_bytes)
    }

    /// Returns the records that crashes took from a log that acknowledges before the sync.
    pub(crate) fn lost(&self) -> BTreeSet<String> {
        self.state.lock().lost.clone()
    }

    /// Returns the violations of the rules for crashes.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.state.lock().violations.clone()
    }

    /// Waits until the machine neither goes down nor comes back, and keeps it so.
    pub(crate) async fn turn(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.trace.note(format_args!("disk full: {is_full}"));
        if let Some(running) = &self.state.lock().running {
            running.device.set_full(is_full);
        }
    }

    pub(crate) fn fail_syncs(&self) {
        self.trace.note(format_args!("syncs fail"));
        if let Some(running) = &mut self.state.lock().running {
            running.device.fail_syncs();
            running.failing_since.get_or_insert_with(Instant::now);
        }
    }

    /// Takes the machine down, at once or in the middle of a change. `cut` ends its connections in the same moment, so
    /// that no reply leaves the machine afterwards.
    pub(crate) async fn crash(&self, loss: Loss, cut: impl FnOnce() + Send + 'static) {
        let loss = if self.plan.loses_power { loss } else { Loss::Kill };
        let stopped = Arc::new(Notify::new());
        let planned = {
            let mut state = self.state.lock();
            let changes = if state.rng.percent(50) { Some(state.rng.within(0..=30)) } else { None };
            let device = state.running.as_ref().map(|running| running.device.clone());
            device.zip(changes)
        };
        let is_whole = match planned {
            None => true,
            Some((device, changes)) => {
                let stopping = Arc::clone(&stopped);
                device.stop_after(changes, move || {
                    cut();
                    stopping.notify_one();
                });
                timeout(CHANGE, stopped.notified()).await.is_err()
            }
        };
        self.go_down(loss, is_whole);
    }

    /// Closes the log, as a server that stops does.
    pub(crate) fn close(&self) {
        let (store, device, has_failed_syncs) = match &self.state.lock().running {
            Some(running) => {
                (Arc::clone(&running.store), running.device.clone(), running.failing_since.is_some())
            }
            None => return,
        };
        let closed = store.close();
        self.trace.note(format_args!("the log closes: {closed:?}"));
        drop(store);
        self.go_down(Loss::Kill, true);
        let mut state = self.state.lock();
        match closed {
            // Without room the log is whole, and the mark that it was closed is missing.
            Ok(()) => state.before.iter_mut().for_each(|before| before.is_closed = !device.is_full()),
            Err(_) if has_failed_syncs || device.is_full() => {}
            Err(error) => state.violations.push(format!("the log cannot be closed: {error}")),
        }
    }

    /// Closes the log, and opens it a last time to see that nothing is missing.
    pub(crate) fn finish(&self) -> Result<(), String> {
        self.close();
        self.reopen()?;
        self.close();
        self.state.lock().before = None;
        Ok(())
    }

    /// Stops the device, and notes what the log holds at this moment.
    fn go_down(&self, loss: Loss, is_whole: bool) {
        self.trace.note(format_args!("machine down: {loss:?}, between changes: {is_whole}"));
        let running = self.state.lock().running.take();
        let Some(running) = running else { return };
        running.device.stop();
        self.backing.replace(None);
        let acknowledged = self.backing.take_acknowledged(self.topic);
        let mut state = self.state.lock();
        let contents = self.contents_of(&state.memory);
        match contents {
            Err(problem) => state.violations.push(problem),
            Ok(contents) => {
                state.before = Some(Before {
                    loss,
                    is_whole,
                    is_closed: false,
                    synced: synced_ends(&running.store, self.topic),
                    contents,
                    acknowledged,
                    committed: running.store.committed_all(None),
                    has_failed_syncs: running.failing_since.is_some(),
                    // Nothing is synced from then on.
                    at: running.failing_since.unwrap_or_else(Instant::now),
                });
            }
        }
        if loss == Loss::Power {
            let survival = state.rng.pick(&[0, 10, 50, 90, 100]);
            let mut rng = state.rng.fork();
            state.memory = state.memory.after_power_loss(|| rng.percent(survival));
        }
        drop(state);
        running.work.abort();
    }

    /// Returns the records of a disk as a process that reads it would find them.
    fn contents_of(&self, memory: &MemoryDisk) -> Result<Contents, String> {
        let config =
            StoreConfig::at(DIRECTORY).disk(Arc::new(memory.after_kill())).read_only(true).executor(drop);
        let store = Store::open(config).map_err(|error| format!("the log cannot be read: {error}"))?;
        survival::contents(&store, self.topic)
    }

    /// Opens the log on what the crash left, and checks that it is what it has to be.
    pub(crate) fn reopen(&self) -> Result<(), String> {
        let mut state = self.state.lock();
        let (memory, mut rng) = (state.memory.clone(), state.rng.fork());
        let bytes = segment_bytes(&memory);
        let running = Incarnation::open(&self.plan, &memory, &mut rng, self.lie, (&self.trace, self.began))?;
        let contents = survival::contents(&running.store, self.topic)?;
        let report = running.store.findings();
        self.trace.note(format_args!("the log is open: {:?}", ends(&contents)));
        if let Some(before) = state.before.take() {
            let after = After {
                contents: &contents,
                report: &report,
                committed: running.store.committed_all(None),
                removed_bytes: bytes.saturating_sub(segment_bytes(&memory)),
            };
            let wrong = survival::violations(&before, &after, self.plan.synced_within());
            wrong.iter().for_each(|wrong| self.trace.note(format_args!("violation: {wrong}")));
            state.violations.extend(wrong);
            if self.plan.is_lossy() && before.loss == Loss::Power {
                let remains: BTreeSet<_> = contents.values().flatten().map(|(_, value)| value).collect();
                let gone = before.contents.values().flatten().map(|(_, value)| value);
                state.lost.extend(gone.filter(|value| !remains.contains(value)).cloned());
            }
        }
        self.backing.replace(Some(running.engine()));
        state.running = Some(running);
        Ok(())
    }
}

impl Incarnation {
    fn open(
        plan: &DiskPlan,
        memory: &MemoryDisk,
        rng: &mut Rng,
        lie: Lie,
        (trace, began): (&Trace, Instant),
    ) -> Result<Self, String> {
        let device = Device::new(memory.clone(), rng.fork(), lie == Lie::SkipSync);
        let disk: Arc<dyn Disk> = Arc::new(device.clone());
        let work = LogWork::default();
        let run = work.executor(plan.slowness, rng.fork(), trace);
        let config = StoreConfig::at(DIRECTORY)
            .disk(disk)
            .wall_clock(move || wall_clock(began))
            .tail_bytes(plan.tail_bytes)
            .open_files(plan.open_files)
            .checkpoint_interval(plan.checkpoint_interval)
            .executor(run);
        let store = Store::open(config).map_err(|error| format!("the log cannot be opened: {error:?}"))?;
        Ok(Self { device, store, work, failing_since: None })
    }

    fn engine(&self) -> SharedEngine {
        Arc::new(EmbeddedEngine::over(Arc::clone(&self.store), DIRECTORY.to_owned()))
    }
}

fn wall_clock(began: Instant) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH) + began.elapsed()
}

/// Returns the ends before which the log says that everything is synced, of the partitions that are open.
fn synced_ends(store: &Store, topic: &str) -> BTreeMap<u32, i64> {
    let partitions = store.topic(topic).map_or(0, |topic| topic.partitions);
    (0..partitions)
        .filter_map(|number| Some((number, store.opened(topic, number)?.bounds().durable_end)))
        .collect()
}

/// Returns the bytes of all segment files of logs.
fn segment_bytes(memory: &MemoryDisk) -> u64 {
    let logs = Path::new(DIRECTORY).join("logs");
    let is_segment =
        |path: &Path| path.starts_with(&logs) && path.extension().is_some_and(|extension| extension == "seg");
    memory
        .paths()
        .iter()
        .filter(|path| is_segment(path))
        .map(|path| memory.contents(path).map_or(0, |contents| contents.len() as u64))
        .sum()
}

fn ends(contents: &Contents) -> Vec<i64> {
    contents.values().map(|records| records.last().map_or(0, |(offset, _)| offset + 1)).collect()
}
