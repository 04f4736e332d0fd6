//! One run: the plan, its execution, and the check of the results.

mod actors;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use floe::{
    Client, RetryPolicy, Topic, TopicSpec,
    engine::{Engine as _, FluvioEngine, SharedEngine, WalrusEngine},
    layer::BreakerPolicy,
};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{Instant, timeout},
};

use crate::{
    consume::Read,
    disk::LogDisk,
    fault_injector::FaultInjector,
    handled::Handled,
    history::History,
    kind::Kind,
    leaders::Leaders,
    misdeed::Misdeed,
    network::Network,
    outbox, panics,
    plan::{Fault, Plan},
    processors::{Outputs, Workers},
    produce::Sent,
    reduction::Reduction,
    referee::Referee,
    rng::Rng,
    rules::{self, Facts},
    server::{CONTROLLER, Server, WALRUS},
    store::{Lie, Store, StoredLog},
    swarm::{MishapKinds, Swarm},
    trace::Trace,
};

/// Name of the consumer group.
const GROUP: &str = "billing";

/// Time limit of a run; a longer one hangs.
const FOREVER: Duration = Duration::from_secs(3_600);

/// Time limit of the first connection under faults.
const CONNECT: Duration = Duration::from_secs(300);

/// Time limit of a close, and of the connections and tasks that outlive it.
const RELEASE: Duration = Duration::from_secs(120);

/// Time until no abandoned request can arrive any more.
const SETTLE: Duration = Duration::from_secs(60);

/// Time without records after which a reader without offsets has reached the end.
const SILENCE: Duration = Duration::from_secs(60);

/// Maximum number of entries lost with one connection: the prefetch of the engine.
const PREFETCH: u64 = 8;

/// Result of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Hash of all events.
    pub fingerprint: u64,
    /// Number of events.
    pub events: u64,
    /// Number of stored records.
    pub stored: usize,
    /// Number of connections broken by faults.
    pub broken: u64,
    /// Violations of the rules.
    pub violations: Vec<String>,
    /// Event log, if it was kept.
    pub story: String,
}

/// Configuration of one run.
#[derive(Debug, Clone, Copy)]
pub struct Simulation {
    /// Kind of the simulation.
    pub kind: Kind,
    /// Seed of all random choices.
    pub seed: u64,
    /// Injected bug of the server.
    pub lie: Lie,
    /// Injected bug of the members of a shared group.
    pub misdeed: Misdeed,
    /// Whether faults happen.
    pub faults: bool,
    /// Whether to keep the event log.
    pub keep: bool,
    /// Parts of the plan that are left out.
    pub reduction: Reduction,
}

impl fmt::Display for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, seed, .. } = self;
        write!(f, "FLOE_SIM_SEED={seed} cargo simulate {}", kind.name())
    }
}

impl Simulation {
    /// Creates a run with faults and without injected bugs.
    #[must_use]
    pub fn new(kind: Kind, seed: u64) -> Self {
        let (lie, misdeed, reduction) = (Lie::None, Misdeed::None, Reduction::NONE);
        Self { kind, seed, lie, misdeed, faults: true, keep: false, reduction }
    }

    /// Returns the plan of the run.
    #[must_use]
    pub fn plan(&self) -> Plan {
        self.draw(&mut Rng::new(self.seed))
    }

    /// Draws the plan.
    fn draw(&self, rng: &mut Rng) -> Plan {
        let Self { kind, misdeed, .. } = *self;
        let most = match kind {
            Kind::Walrus => 1,
            Kind::Fluvio | Kind::Leaders | Kind::Disk | Kind::ExactlyOnce | Kind::Applications => 3,
            Kind::Groups => 6,
        };
        let swarm = Swarm::draw(&mut rng.fork(), kind.planned_faults());
        let mut plan = Plan::draw(&mut rng.fork(), &swarm, most);
        if matches!(kind, Kind::Groups | Kind::ExactlyOnce | Kind::Applications) {
            plan.prolong(&mut rng.fork(), misdeed.needs_absence());
        }
        if misdeed.needs_absence() {
            plan.mishaps = MishapKinds::ALL;
        }
        if !self.faults {
            plan.remove_faults();
        }
        self.reduction.apply(&mut plan);
        plan
    }

    /// Executes the run.
    ///
    /// # Panics
    /// Panics if the runtime cannot be created, or if events recur without progress of the clock.
    #[must_use]
    pub fn run(self) -> Report {
        let _seeded = floe::simulation::seed(self.seed);
        let panics = panics::Watch::begin();
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true);
        // Without a seed, tokio wakes the watchers of one value in random order.
        #[cfg(tokio_unstable)]
        builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&self.seed.to_le_bytes()));
        let runtime = builder.build().expect("a runtime without IO");
        let mut report = runtime.block_on(async {
            let run = Run::new(self);
            let trace = run.trace.clone();
            let (violations, stored, broken) = match timeout(FOREVER, run.checked()).await {
                Ok(outcome) => outcome,
                Err(_) => (vec![format!("the run hangs: no end after {FOREVER:?}")], 0, 0),
            };
            Report {
                fingerprint: trace.fingerprint(),
                events: trace.events(),
                stored,
                broken,
                violations,
                story: trace.story(),
            }
        });
        report.violations.extend(panics.seen());
        report
    }
}

/// Tasks of the producers, each with its number and outcomes.
type Producers = JoinSet<(usize, Result<Vec<Sent>, String>)>;

/// Tasks of the members of the shared group, and their clients.
type Members = Vec<(JoinHandle<Result<(), String>>, Client)>;

/// Task of the outbox, and its client.
type PostingTask = (JoinHandle<Result<Vec<Sent>, String>>, Client);

/// Task of a consumer.
type ReaderTask = JoinHandle<Result<Read, String>>;

/// Execution of a run.
struct Run {
    simulation: Simulation,
    kind: Kind,
    plan: Plan,
    rng: Rng,
    trace: Trace,
    network: Network,
    store: Store,
    handled: Handled,
    referee: Referee,
    history: History,
    leaders: Option<Leaders>,
    /// Log on disk, or why there is none.
    disk: Result<Option<LogDisk>, String>,
}

impl Run {
    fn new(simulation: Simulation) -> Self {
        let Simulation { kind, seed, lie, keep, .. } = simulation;
        let trace = Trace::new(keep);
        let mut rng = Rng::new(seed);
        let plan = simulation.draw(&mut rng);
        trace.note(format_args!("{plan:?}"));
        let network = Network::new(rng.fork(), plan.conditions.clone(), trace.clone());
        let (handled, referee) = (Handled::default(), Referee::default());
        let judges = (handled.clone(), referee.clone());
        let store = Store::new((lie, plan.slowness), rng.fork(), trace.clone(), judges);
        let leaders = (kind == Kind::Leaders).then(|| Leaders::new(plan.partitions, &trace));
        let (mut store, mut disk) = (store, Ok(None));
        if kind.has_disk() {
            disk =
                LogDisk::new((kind.topic(), kind == Kind::Applications), rng.fork(), lie, &trace).map(Some);
            if let Ok(Some(disk)) = &disk {
                store = store.over(disk.backing());
            }
        }
        let history = History::new();
        Self { simulation, kind, plan, rng, trace, network, store, handled, referee, history, leaders, disk }
    }

    /// Executes the run and checks the rules. Returns violations, number of stored records and number of broken connections.
    async fn checked(mut self) -> (Vec<String>, usize, u64) {
        let mut violations = Vec::new();
        let outcome = self.happen().await;
        violations.extend(self.handled.violations());
        violations.extend(self.referee.violations());
        if let Ok(Some(disk)) = &self.disk {
            violations.extend(disk.violations());
        }
        if !self.is_lossy() {
            // Where reading removes records, prefetched ones go with a connection.
            violations.extend(self.history.violations(outcome.is_ok() && self.kind != Kind::Walrus));
        }
        let stored = match outcome {
            Ok(facts) => {
                violations.extend(rules::violations(&facts));
                facts.log.values().flatten().map(Vec::len).sum()
            }
            Err(problem) => {
                violations.push(problem);
                0
            }
        };
        (violations, stored, self.network.broken())
    }

    /// Whether acknowledged records may be missing, as documented.
    fn is_lossy(&self) -> bool {
        matches!(&self.disk, Ok(Some(disk)) if disk.plan().is_lossy())
    }

    async fn happen(&mut self) -> Result<Facts, String> {
        let disk = self.disk.clone()?;
        for spec in self.topics() {
            let spec = disk.iter().fold(spec, |spec, disk| disk.configure(spec));
            self.store.create_topic(spec).await.map_err(|error| error.to_string())?;
        }
        let scripted = self.leaders.as_ref().map(|leaders| leaders.serve(&self.network));
        let server = (self.kind != Kind::Leaders)
            .then(|| Server::start(&self.network, &self.store, self.kind.hosts(), &self.trace));
        let mut injecting = self.inject_faults(server.clone(), disk.clone());
        let (sending, reading) = (self.connect().await?, self.connect().await?);

        let producers = self.start_producers(&sending);
        let (tell, goal) = watch::channel(None);
        let (end_mishaps, quiet) = watch::channel(false);
        let (members, shared) = self.start_members((&goal, &quiet)).await?;
        let workers = self.start_workers(&quiet).await?;
        let posting = self.start_outbox(&quiet).await?;
        let (reader, grouped) = self.start_consumers(&reading, goal);

        while let Some(ended) = injecting.join_next().await {
            ended.map_err(|error| format!("the fault injector: {error}"))??;
        }
        self.network.calm();
        let sent = self.outcomes(producers).await?;
        // Abandoned requests may still be in flight.
        tokio::time::sleep(SETTLE / 2).await;
        // Members have the other half to join anew.
        end_mishaps.send_replace(true);
        tokio::time::sleep(SETTLE / 2).await;
        let log = self.log().await?;
        tell.send_replace(Some(ends(&log)));
        let read = joined(reader).await?;
        let grouped = match grouped {
            Some(grouped) => Some(joined(grouped).await?),
            None => None,
        };
        let outputs = self.outputs(workers, &log).await?;
        let posted = match posting {
            Some(posting) => Some(self.posted(posting).await?),
            None => None,
        };
        self.leave(members).await?;
        let stored = self.stored().await?;
        // Before the clients close, which closes healthy connections.
        let losses = PREFETCH * (self.network.broken() + self.connections_given_up());
        self.shut_down([sending, reading], server, scripted).await?;
        let lost = disk.map(|disk| disk.lost()).unwrap_or_default();
        let shared = (self.kind == Kind::Groups).then(|| shared.deeds());
        let had_faults = self.simulation.faults;
        let kind = self.kind;
        Ok(Facts {
            kind,
            sent,
            log,
            read,
            grouped,
            shared,
            posted,
            outputs,
            had_faults,
            stored,
            lost,
            losses,
        })
    }

    /// Waits until the processors have written everything, and closes their clients.
    async fn outputs(&self, workers: Workers, log: &StoredLog) -> Result<Option<Outputs>, String> {
        let (outputs, clients) = workers.finish(&self.store, log).await?;
        for client in clients {
            self.close(client).await?;
        }
        let has_processors = matches!(self.kind, Kind::ExactlyOnce | Kind::Applications);
        Ok(has_processors.then_some(outputs))
    }

    /// Waits until the members have left, and closes their clients.
    async fn leave(&self, members: Members) -> Result<(), String> {
        for (member, client) in members {
            member.await.map_err(|error| format!("a member: {error}"))??;
            self.close(client).await?;
        }
        Ok(())
    }

    /// Closes the clients and stops the servers; no connection and no task may be left.
    async fn shut_down(
        &self,
        clients: [Client; 2],
        server: Option<Server>,
        scripted: Option<JoinSet<()>>,
    ) -> Result<(), String> {
        for client in clients {
            self.close(client).await?;
        }
        self.wait_until("connections of closed clients are open", |run| run.network.open_ends()[0] == 0)
            .await?;
        if let Some(server) = server {
            match timeout(RELEASE, server.stop()).await {
                Ok(stopped) => stopped?,
                Err(_) => return Err("stopping the server hangs".to_owned()),
            }
        }
        if let Ok(Some(disk)) = &self.disk {
            disk.finish()?;
        }
        if let Some(mut scripted) = scripted {
            scripted.shutdown().await;
        }
        self.wait_until("connections are open at the end", |run| run.network.open_ends() == [0, 0]).await?;
        self.wait_until("tasks go on after the end", |_| {
            tokio::runtime::Handle::current().metrics().num_alive_tasks() == 0
        })
        .await
    }

    fn inject_faults(
        &mut self,
        server: Option<Server>,
        disk: Option<LogDisk>,
    ) -> JoinSet<Result<(), String>> {
        let injector = FaultInjector {
            network: self.network.clone(),
            hosts: self.kind.hosts(),
            server,
            leaders: self.leaders.clone(),
            disk,
            trace: self.trace.clone(),
        };
        let mut lines = JoinSet::new();
        for line in self.plan.planned_faults.clone() {
            let (injector, mut rng) = (injector.clone(), self.rng.fork());
            lines.spawn(async move {
                for planned in &line {
                    injector.inject(planned, &mut rng).await?;
                }
                Ok(())
            });
        }
        lines
    }

    /// Returns the number of connections that clients may have dropped while a host was unreachable.
    fn connections_given_up(&self) -> u64 {
        let partitions =
            self.plan.planned_faults.iter().flatten().filter(|planned| planned.fault == Fault::Partition);
        partitions.count() as u64
    }

    async fn connect(&self) -> Result<Client, String> {
        let begun = Instant::now();
        loop {
            let dial = Arc::new(self.network.clone());
            let connecting = async {
                Ok::<SharedEngine, floe::Error>(match self.kind {
                    Kind::Fluvio
                    | Kind::Leaders
                    | Kind::Groups
                    | Kind::Disk
                    | Kind::ExactlyOnce
                    | Kind::Applications => {
                        let url = format!("fluvio://{}:{}", CONTROLLER.0, CONTROLLER.1);
                        Arc::new(FluvioEngine::connect_over(&url, dial).await?)
                    }
                    Kind::Walrus => {
                        let url = format!("walrus://{}:{}", WALRUS.0, WALRUS.1).parse()?;
                        Arc::new(WalrusEngine::connect_with(&url, dial).await?)
                    }
                })
            };
            match timeout(CONNECT, connecting).await {
                Ok(Ok(engine)) => {
                    // The layers that a client of a URL has by default.
                    let client = Client::builder("")
                        .retry(RetryPolicy::calls())
                        .breaker(BreakerPolicy::default())
                        .attempt_timeout(Duration::from_secs(25))
                        .record(self.history.recorder())
                        .from_engine(engine);
                    return client.map_err(|error| error.to_string());
                }
                Ok(Err(error)) if error.is_retriable() && begun.elapsed() < CONNECT => {
                    self.trace.note(format_args!("no connection yet: {error}"));
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Ok(Err(error)) => return Err(format!("no connection: {error:?}")),
                Err(_) => return Err("connecting hangs".to_owned()),
            }
        }
    }

    async fn outcomes(&self, mut producers: Producers) -> Result<Vec<Vec<Sent>>, String> {
        let mut sent = BTreeMap::new();
        while let Some(ended) = producers.join_next().await {
            let (number, outcome) = ended.map_err(|error| format!("a producer: {error}"))?;
            sent.insert(number, outcome?);
        }
        Ok(sent.into_values().collect())
    }

    /// Returns the topics of the run.
    fn topics(&self) -> Vec<TopicSpec> {
        let mut topics = vec![TopicSpec::new(self.kind.topic()).partitions(self.plan.partitions)];
        if matches!(self.kind, Kind::ExactlyOnce | Kind::Applications) {
            topics.push(Workers::output());
        }
        if self.kind == Kind::Applications {
            topics.push(outbox::parcels());
        }
        topics
    }

    async fn log(&self) -> Result<StoredLog, String> {
        match &self.leaders {
            Some(leaders) => {
                let records = |number| Ok((number, rules::records(&leaders.batches(number))?));
                (0..self.plan.partitions).map(records).collect()
            }
            None => self.log_of(self.kind.topic(), self.plan.partitions).await,
        }
    }

    async fn log_of(&self, topic: &'static str, partitions: u32) -> Result<StoredLog, String> {
        let mut log = StoredLog::new();
        for number in 0..partitions {
            let at = Topic::from(topic).partition(number);
            let batches = self.store.batches(&at).await.map_err(|error| error.to_string())?;
            log.insert(number, rules::records(&batches)?);
        }
        Ok(log)
    }

    /// Waits until the outbox has delivered everything. Returns what it said, and what is stored.
    async fn posted(&self, (posting, client): PostingTask) -> Result<(Vec<Sent>, StoredLog), String> {
        let ended = timeout(outbox::CATCH_UP, posting).await;
        let ended = ended.map_err(|_| "the outbox hangs".to_owned())?;
        let posted = ended.map_err(|error| format!("the outbox: {error}"))??;
        self.close(client).await?;
        Ok((posted, self.log_of(outbox::PARCELS, outbox::PARTITIONS).await?))
    }

    async fn stored(&self) -> Result<BTreeMap<u32, Option<i64>>, String> {
        let mut stored = BTreeMap::new();
        for partition in 0..self.plan.partitions {
            let at = Topic::from(self.kind.topic()).partition(partition);
            let offset = self.store.stored_offset(GROUP, &at).await.map_err(|error| error.to_string())?;
            stored.insert(partition, offset);
        }
        Ok(stored)
    }

    async fn close(&self, client: Client) -> Result<(), String> {
        match timeout(RELEASE, client.close()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("a client cannot be closed: {error:?}")),
            Err(_) => Err("closing a client hangs".to_owned()),
        }
    }

    /// Waits until the condition holds. Fails with `otherwise` after a time limit.
    async fn wait_until(&self, otherwise: &str, condition: impl Fn(&Self) -> bool) -> Result<(), String> {
        let begun = Instant::now();
        while !condition(self) {
            if begun.elapsed() > RELEASE {
                let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
                let ends = self.network.open_ends();
                return Err(format!("{otherwise} after {RELEASE:?}: {ends:?} ends, {tasks} tasks"));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }
}

async fn joined(task: ReaderTask) -> Result<Read, String> {
    task.await.map_err(|error| format!("a reader: {error}"))?
}

fn ends(log: &StoredLog) -> BTreeMap<u32, i64> {
    let end = |batches: &Vec<Vec<(i64, String)>>| {
        batches.iter().flatten().last().map_or(0, |(offset, _)| offset + 1)
    };
    log.iter().map(|(partition, batches)| (*partition, end(batches))).collect()
}
