//! One run: a plan, the world it happens in, and what is found at the end.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use floe::{
    Client, RetryPolicy, Topic, TopicSpec,
    engine::{Engine as _, FluvioEngine, SharedEngine, WalrusEngine},
    layer::BreakerPolicy,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    consume::{Grouped, Read, Reading},
    leaders::{self, Leaders},
    network::Network,
    panics,
    plan::{Plan, What},
    produce::{Producing, Sent},
    rng::Rng,
    rules::{self, Facts, Log},
    store::{Handled, Lie, Store},
    trace::Trace,
    world::{CONTROLLER, DATA, Server, Troublemaker, WALRUS},
};

/// What is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The engine for Fluvio against floe's server.
    Fluvio,
    /// The engine for Walrus against floe's server.
    Walrus,
    /// The engine for Fluvio against two data servers whose partitions change leaders.
    Leaders,
}

impl Kind {
    /// Everything that can be simulated.
    pub const ALL: [Self; 3] = [Self::Fluvio, Self::Walrus, Self::Leaders];

    /// The name of its test.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fluvio => "fluvio",
            Self::Walrus => "walrus",
            Self::Leaders => "leaders",
        }
    }

    fn topic(self) -> &'static str {
        if self == Self::Leaders { leaders::TOPIC } else { "orders" }
    }

    fn hosts(self) -> &'static [&'static str] {
        const FLUVIO: &[&str] = &[CONTROLLER.0, DATA.0];
        const WALRUS_ONLY: &[&str] = &[WALRUS.0];
        match self {
            Self::Fluvio => FLUVIO,
            Self::Walrus => WALRUS_ONLY,
            Self::Leaders => leaders::HOSTS,
        }
    }

    fn troubles(self) -> &'static [What] {
        use What::{Crash, CutAll, CutOne, MoveLeaders, Partition, Refuse, Restart};
        match self {
            Self::Fluvio | Self::Walrus => &[CutAll, CutOne, Partition, Refuse, Crash, Restart],
            Self::Leaders => &[CutAll, CutOne, Partition, Refuse, MoveLeaders, MoveLeaders, MoveLeaders],
        }
    }
}

/// Name of the group.
const GROUP: &str = "billing";

/// Nothing takes longer than this, or it hangs.
const FOREVER: Duration = Duration::from_secs(3_600);

/// How long the first connection may take while things go wrong.
const CONNECT: Duration = Duration::from_secs(300);

/// How long closing a client may take, and how long its connections and tasks may outlive it.
const RELEASE: Duration = Duration::from_secs(120);

/// How long something that was given up may take to arrive all the same.
const SETTLE: Duration = Duration::from_secs(60);

/// Silence after which a reader that cannot know where the end is takes it to be reached.
const SILENCE: Duration = Duration::from_secs(60);

/// Entries that one connection may take with it: the engine's prefetch.
const PREFETCH: u64 = 8;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Equal for equal runs.
    pub fingerprint: u64,
    /// How much happened.
    pub events: u64,
    /// How many records were stored.
    pub stored: usize,
    /// How many connections were broken.
    pub broken: u64,
    /// What should not have happened.
    pub violations: Vec<String>,
    /// The events as text, if they were kept.
    pub story: String,
}

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Simulation {
    /// What is simulated.
    pub kind: Kind,
    /// What decides everything.
    pub seed: u64,
    /// What the server does wrong.
    pub lie: Lie,
    /// Whether anything goes wrong.
    pub faults: bool,
    /// Whether to keep the story.
    pub keep: bool,
}

impl fmt::Display for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, seed, .. } = self;
        write!(f, "FLOE_SIM_SEED={seed} cargo simulate {}", kind.name())
    }
}

impl Simulation {
    /// A run of honest servers.
    #[must_use]
    pub fn new(kind: Kind, seed: u64) -> Self {
        Self { kind, seed, lie: Lie::None, faults: true, keep: false }
    }

    /// Runs it, in no time.
    ///
    /// # Panics
    /// When the runtime cannot be made, and when a run never ends.
    #[must_use]
    pub fn run(self) -> Report {
        let _seeded = floe::simulation::seed(self.seed);
        let panics = panics::Watch::begin();
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true);
        // In which order tokio wakes those who watch the same value is random unless it is told.
        #[cfg(tokio_unstable)]
        builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&self.seed.to_le_bytes()));
        let runtime = builder.build().expect("a runtime without IO can be made");
        let mut report = runtime.block_on(async {
            let run = Run::new(self);
            let trace = run.trace.clone();
            let (violations, stored, broken) = match timeout(FOREVER, run.all()).await {
                Ok(outcome) => outcome,
                Err(_) => (vec![format!("it has not ended after {FOREVER:?}")], 0, 0),
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

/// A run under way.
struct Run {
    kind: Kind,
    plan: Plan,
    rng: Rng,
    trace: Trace,
    network: Network,
    store: Store,
    handled: Handled,
    leaders: Option<Leaders>,
}

impl Run {
    fn new(simulation: Simulation) -> Self {
        let Simulation { kind, seed, lie, faults, keep } = simulation;
        let trace = Trace::new(keep);
        let mut rng = Rng::new(seed);
        let most = if kind == Kind::Walrus { 1 } else { 3 };
        let mut plan = Plan::draw(&mut rng.fork(), kind.troubles(), most);
        if !faults {
            plan.calm_down();
        }
        trace.note(format_args!("{plan:?}"));
        let network = Network::new(rng.fork(), plan.weather.clone(), trace.clone());
        let handled = Handled::default();
        let store = Store::new(lie, plan.slowness, rng.fork(), trace.clone(), handled.clone());
        let leaders = (kind == Kind::Leaders).then(|| Leaders::new(plan.partitions, &trace));
        Self { kind, plan, rng, trace, network, store, handled, leaders }
    }

    /// Everything; what is wrong, how many records are stored, and how many connections were broken.
    async fn all(mut self) -> (Vec<String>, usize, u64) {
        let mut violations = Vec::new();
        let outcome = self.happen().await;
        violations.extend(self.handled.violations());
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

    async fn happen(&mut self) -> Result<Facts, String> {
        let spec = TopicSpec::new(self.kind.topic()).partitions(self.plan.partitions);
        self.store.create_topic(spec).await.map_err(|error| error.to_string())?;
        let mut scripted = self.leaders.as_ref().map(|leaders| leaders.serve(&self.network));
        let server = match self.kind {
            Kind::Fluvio | Kind::Walrus => {
                Some(Server::start(&self.network, &self.store, self.kind.hosts(), &self.trace))
            }
            Kind::Leaders => None,
        };
        let mut troubles = self.begin_troubles(server.clone());
        let (sending, reading) = (self.connect().await?, self.connect().await?);

        let mut producers = JoinSet::new();
        for (number, plan) in self.plan.producers.clone().into_iter().enumerate() {
            let producing = Producing {
                number,
                topic: self.kind.topic(),
                partitions: self.plan.partitions,
                plan,
                rng: self.rng.fork(),
                trace: self.trace.clone(),
            };
            let client = sending.clone();
            producers.spawn(async move { (number, producing.run(client).await) });
        }
        let (tell, goal) = watch::channel(None);
        let reader = Reading {
            topic: self.kind.topic(),
            goal: goal.clone(),
            trace: self.trace.clone(),
            silence: (self.kind == Kind::Walrus).then_some(SILENCE),
        };
        let reader = tokio::spawn(reader.run(reading.clone()));
        let grouped = (self.kind == Kind::Fluvio).then(|| {
            let grouped = Grouped {
                topic: self.kind.topic(),
                group: GROUP,
                plan: self.plan.group.clone(),
                goal,
                handled: self.handled.clone(),
                rng: self.rng.fork(),
                trace: self.trace.clone(),
            };
            tokio::spawn(grouped.run(reading.clone()))
        });

        while let Some(made) = troubles.join_next().await {
            made.map_err(|error| format!("the troublemaker: {error}"))??;
        }
        self.network.calm();
        let sent = self.outcomes(producers).await?;
        // What was given up may still be on its way.
        tokio::time::sleep(SETTLE).await;
        let log = self.log().await?;
        tell.send_replace(Some(ends(&log)));
        let read = joined(reader).await?;
        let grouped = match grouped {
            Some(grouped) => Some(joined(grouped).await?),
            None => None,
        };
        let stored = self.stored().await?;
        // Before the clients are closed, which closes connections that were fine.
        let losses = PREFETCH * (self.network.broken() + self.partings());
        self.close(sending).await?;
        self.close(reading).await?;
        self.wait_until("connections of closed clients are open", |run| run.network.open_ends()[0] == 0)
            .await?;
        if let Some(server) = server {
            match timeout(RELEASE, server.stop()).await {
                Ok(stopped) => stopped?,
                Err(_) => return Err("stopping the server hangs".to_owned()),
            }
        }
        if let Some(scripted) = &mut scripted {
            scripted.shutdown().await;
        }
        self.wait_until("connections are open at the end", |run| run.network.open_ends() == [0, 0]).await?;
        self.wait_until("tasks go on after the end", |_| {
            tokio::runtime::Handle::current().metrics().num_alive_tasks() == 0
        })
        .await?;
        Ok(Facts { kind: self.kind, sent, log, read, grouped, stored, losses })
    }

    fn begin_troubles(&mut self, server: Option<Server>) -> JoinSet<Result<(), String>> {
        let maker = Troublemaker {
            network: self.network.clone(),
            hosts: self.kind.hosts(),
            server,
            leaders: self.leaders.clone(),
            trace: self.trace.clone(),
        };
        let mut lines = JoinSet::new();
        for line in self.plan.troubles.clone() {
            let (maker, mut rng) = (maker.clone(), self.rng.fork());
            lines.spawn(async move {
                for trouble in &line {
                    maker.make(trouble, &mut rng).await?;
                }
                Ok(())
            });
        }
        lines
    }

    /// Connections that may have been given up while a host could not be reached.
    fn partings(&self) -> u64 {
        let partitions =
            self.plan.troubles.iter().flatten().filter(|trouble| trouble.what == What::Partition);
        partitions.count() as u64
    }

    async fn connect(&self) -> Result<Client, String> {
        let begun = Instant::now();
        loop {
            let dial = Arc::new(self.network.clone());
            let connecting = async {
                Ok::<SharedEngine, floe::Error>(match self.kind {
                    Kind::Fluvio | Kind::Leaders => {
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
                    // What a client of a URL has by itself.
                    let client = Client::builder("")
                        .retry(RetryPolicy::calls())
                        .breaker(BreakerPolicy::default())
                        .attempt_timeout(Duration::from_secs(25))
                        .over(engine);
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

    async fn outcomes(
        &self,
        mut producers: JoinSet<(usize, Result<Vec<Sent>, String>)>,
    ) -> Result<Vec<Vec<Sent>>, String> {
        let mut sent = BTreeMap::new();
        while let Some(ended) = producers.join_next().await {
            let (number, outcome) = ended.map_err(|error| format!("a producer: {error}"))?;
            sent.insert(number, outcome?);
        }
        Ok(sent.into_values().collect())
    }

    async fn log(&self) -> Result<Log, String> {
        let mut log = Log::new();
        for partition in 0..self.plan.partitions {
            let batches = match &self.leaders {
                Some(leaders) => leaders.batches(partition),
                None => {
                    let at = Topic::from(self.kind.topic()).partition(partition);
                    self.store.batches(&at).await.map_err(|error| error.to_string())?
                }
            };
            log.insert(partition, rules::records(&batches)?);
        }
        Ok(log)
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

    /// Waits until it is so, or complains.
    async fn wait_until(&self, otherwise: &str, is_so: impl Fn(&Self) -> bool) -> Result<(), String> {
        let begun = Instant::now();
        while !is_so(self) {
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

async fn joined(task: tokio::task::JoinHandle<Result<Read, String>>) -> Result<Read, String> {
    task.await.map_err(|error| format!("a reader: {error}"))?
}

fn ends(log: &Log) -> BTreeMap<u32, i64> {
    let end = |batches: &Vec<Vec<(i64, String)>>| {
        batches.iter().flatten().last().map_or(0, |(offset, _)| offset + 1)
    };
    log.iter().map(|(partition, batches)| (*partition, end(batches))).collect()
}
