//! A server with its clients, and the rounds that they go through.

mod faults;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use floe::{
    Client, TopicSpec,
    consumer::{Consumer, StartAt},
    history::Recorder,
    topic::Topic,
};
use serde_json::{Value, json};
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

use self::faults::FaultCounts;
use super::{member::Member, print, produce::Producing, rng::Rng, server::Server, settings::Settings};

const PARTITIONS: u32 = 4;
const PRODUCERS: u64 = 2;
const MEMBERS: usize = 3;

/// Longest time after the last fault in which the group handles what is left, and in which any other call ends.
const CATCH_UP: Duration = Duration::from_secs(180);

#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) server: Server,
    /// Whether its server is killed.
    pub(crate) kills: bool,
    pub(crate) members: Vec<Member>,
    pub(crate) faults: FaultCounts,
    pub(crate) rng: Rng,
    settings: Settings,
    folder: PathBuf,
    topic: String,
    report: SceneReport,
}

/// What a scene has done.
#[derive(Debug, Default, Clone)]
pub(crate) struct SceneReport {
    name: &'static str,
    rounds: u64,
    faults: FaultCounts,
    /// Sums of the verdicts.
    sums: [u64; SUMS.len()],
}

/// Fields of a verdict that are added up.
const SUMS: [&str; 7] = ["sent", "acknowledged", "failed", "unknown", "read", "handled", "commits"];

impl SceneReport {
    pub(crate) fn line(&self) -> Value {
        let mut line = json!({ "scene": self.name, "rounds": self.rounds, "faults": self.faults });
        for (name, sum) in SUMS.iter().zip(self.sums) {
            line[name] = sum.into();
        }
        line
    }
}

impl Scene {
    pub(crate) async fn start(
        name: &'static str,
        kills: bool,
        settings: &Settings,
        folder: &Path,
        rng: Rng,
    ) -> Result<Self, String> {
        let server = Server::start(name, &settings.binary, folder).await?;
        let folder = folder.join(name);
        let report = SceneReport { name, ..SceneReport::default() };
        let settings = settings.clone();
        let (members, faults, topic) = (Vec::new(), FaultCounts::new(), String::new());
        Ok(Self { server, kills, members, faults, rng, settings, folder, topic, report })
    }

    /// Goes through rounds until the time has come, at least through one.
    pub(crate) async fn run(&mut self, until: Instant) -> Result<SceneReport, String> {
        loop {
            let name = self.report.name;
            let round = self.report.rounds;
            let verdict =
                self.round(round, until).await.map_err(|it| format!("{name}, round {round}: {it}"))?;
            for (sum, field) in self.report.sums.iter_mut().zip(SUMS) {
                *sum += verdict[field].as_u64().unwrap();
            }
            self.report.rounds += 1;
            print(&json!({ "scene": name, "round": round, "faults": self.faults, "verdict": verdict }));
            if Instant::now() >= until {
                break;
            }
        }
        self.server.end().await?;
        self.report.faults.clone_from(&self.faults);
        Ok(self.report.clone())
    }

    fn history(&self) -> PathBuf {
        self.folder.join("history.jsonl")
    }

    pub(crate) fn join(&mut self, name: &str) {
        let member = Member::start(name, &self.server.url(), &self.topic, &self.history());
        self.members.push(member);
    }

    async fn round(&mut self, round: u64, until: Instant) -> Result<Value, String> {
        let recorder = Recorder::append_to(self.history()).map_err(|error| text(&error))?;
        let client = Client::builder(&self.server.url()).record(recorder.clone()).connect().await;
        let client = client.map_err(|error| text(&error))?;
        self.topic = format!("round-{round}");
        let spec = TopicSpec::new(&*self.topic).partitions(PARTITIONS);
        client.admin().create_topic(spec).await.map_err(|error| text(&error))?;
        for number in 0..MEMBERS {
            self.join(&format!("worker-{number}"));
        }
        self.load(&client, (Instant::now() + self.settings.round).min(until)).await?;
        self.catch_up(&client).await?;
        for member in self.members.drain(..) {
            member.leave().await?;
        }
        self.read_all(&client).await?;
        self.delete(&client).await?;
        within("closing the client", client.close()).await?;
        if let Some(problem) = recorder.problem() {
            return Err(problem);
        }
        self.judge().await
    }

    /// Sends under faults.
    async fn load(&mut self, client: &Client, until: Instant) -> Result<(), String> {
        let producing = (0..PRODUCERS).map(|number| {
            let producing = Producing {
                name: format!("{}.{number}", self.topic),
                topic: self.topic.clone(),
                // Per tick of 50 ms, in thousandths, for one of the producers of both scenes.
                rate: self.settings.rate * 50 / (2 * PRODUCERS),
                until: until.into(),
                rng: self.rng.fork(),
            };
            tokio::spawn(producing.run(client.clone()))
        });
        let producing: Vec<_> = producing.collect();
        self.break_things(until.into()).await?;
        for producing in producing {
            producing.await.map_err(|error| error.to_string())??;
        }
        Ok(())
    }

    /// Waits until the group has handled everything.
    async fn catch_up(&self, client: &Client) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let left = self.left(client).await;
            if left == Ok(0) {
                return Ok(());
            }
            if begun.elapsed() > CATCH_UP {
                return Err(format!("the group hangs: {left:?} records are not handled"));
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Counts the records that the group has not committed.
    async fn left(&self, client: &Client) -> Result<i64, String> {
        let group = within("describing the group", client.groups().describe("workers")).await?;
        let mut left = 0;
        for partition in 0..PARTITIONS {
            let at = Topic::from(&*self.topic).partition(partition);
            let high = within("asking for the end", client.admin().watermarks(at.clone())).await?.high;
            let next = group.partitions.iter().find(|one| one.at == at).and_then(|one| one.next);
            left += high - next.unwrap_or_default();
        }
        Ok(left)
    }

    /// Reads all that is stored, for the history.
    async fn read_all(&self, client: &Client) -> Result<(), String> {
        let reader = client.consumer(&*self.topic).from(StartAt::Beginning).stop_at_end().start();
        let mut reader: Consumer = within("starting a reader", reader).await?;
        while within("reading", reader.try_next()).await?.is_some() {}
        within("closing a reader", reader.close()).await
    }

    async fn delete(&self, client: &Client) -> Result<(), String> {
        let groups = client.groups();
        let group = within("describing the group", groups.describe("workers")).await?;
        // A member with a name keeps its place when it leaves.
        for member in group.members {
            within("evicting a member", groups.evict("workers", &member.id)).await?;
        }
        within("deleting the group", groups.delete("workers")).await?;
        within("deleting the topic", client.admin().delete_topic(&*self.topic)).await
    }

    /// Judges the history and removes it. All records were read, so each acknowledged one must be there.
    async fn judge(&self) -> Result<Value, String> {
        let output = Command::new(&self.settings.binary)
            .arg("check-history")
            .arg(self.history())
            .args(["--drained", "-o", "json"])
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let verdict: Value = serde_json::from_str(&text)
            .map_err(|error| format!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)))?;
        if !output.status.success() || verdict["reported_missing"] != 0 || verdict["acknowledged"] == 0 {
            return Err(format!("the history shows faults: {verdict}"));
        }
        std::fs::remove_file(self.history()).unwrap();
        Ok(verdict)
    }
}

fn text(error: &floe::Error) -> String {
    format!("{error:?}")
}

/// Bounds a call after the last fault.
async fn within<T>(what: &str, call: impl Future<Output = floe::Result<T>>) -> Result<T, String> {
    match timeout(CATCH_UP, call).await {
        Ok(outcome) => outcome.map_err(|error| format!("{what}: {error:?}")),
        Err(_) => Err(format!("{what} hangs")),
    }
}
