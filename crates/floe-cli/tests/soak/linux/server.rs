//! The process of a server, with its store in a folder.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{Instant, sleep},
};

/// Longest time for a start. The port of a killed server may belong to another connection for a moment.
const START: Duration = Duration::from_secs(60);

/// Bytes of a file that can be written on a full disk: appends behind them fail.
const FULL: u64 = 4096;

#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    binary: PathBuf,
    folder: PathBuf,
    /// Chosen by the system at the first start, and kept.
    sc: String,
    spu: String,
    child: Option<Child>,
    /// For the samples.
    pid: Arc<AtomicU32>,
}

impl Server {
    /// Starts a server on a new store below the folder.
    pub(crate) async fn start(name: &'static str, binary: &Path, folder: &Path) -> Result<Self, String> {
        let any = || "127.0.0.1:0".to_owned();
        let mut server = Self {
            name,
            binary: binary.to_owned(),
            folder: folder.join(name),
            sc: any(),
            spu: any(),
            child: None,
            pid: Arc::default(),
        };
        std::fs::create_dir_all(&server.folder).unwrap();
        server.restart().await?;
        Ok(server)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn url(&self) -> String {
        format!("fluvio://{}", self.sc)
    }

    /// Returns the number of the process, which changes with each restart.
    pub(crate) fn pid(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.pid)
    }

    /// Returns the folder of the store.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Starts the process, which must not run.
    pub(crate) async fn restart(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        while begun.elapsed() < START {
            if self.attempt().await? {
                return Ok(());
            }
            sleep(Duration::from_millis(200)).await;
        }
        Err(format!("server {} does not start; {} has its log", self.name, self.log().display()))
    }

    /// Starts the process once. `false` if it ended at once.
    async fn attempt(&mut self) -> Result<bool, String> {
        let mut command = Command::new(&self.binary);
        command
            .args(["serve", "-o", "jsonl", "--walrus", "off", "--http", "127.0.0.1:0"])
            .args(["--fluvio-sc", &self.sc, "--fluvio-spu", &self.spu, "--data"])
            .arg(self.store())
            .current_dir(&self.folder)
            .env("HOME", &self.folder)
            .env("XDG_CONFIG_HOME", self.folder.join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file(&self.log()))
            .kill_on_drop(true);
        for name in ["FLOE_URL", "FLOE_PROFILE", "FLOE_CONFIG", "FLOE_LOG", "NOTIFY_SOCKET"] {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", self.binary.display()))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        let Ok(addresses) = serde_json::from_str::<Value>(&line) else {
            child.wait().await.unwrap();
            return Ok(false);
        };
        let address = |of: &str| addresses[of].as_str().unwrap().to_owned();
        (self.sc, self.spu) = (address("fluvio_sc"), address("fluvio_spu"));
        self.pid.store(child.id().unwrap(), Ordering::Relaxed);
        self.child = Some(child);
        Ok(true)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("serve.log")
    }

    /// Kills the process.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().await.unwrap();
    }

    /// Ends the process as an administrator would.
    pub(crate) async fn end(&mut self) -> Result<(), String> {
        self.signal(Signal::TERM)?;
        let mut child = self.child.take().unwrap();
        match tokio::time::timeout(START, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            other => Err(format!("server {} does not end: {other:?}", self.name)),
        }
    }

    /// Fails if the process has ended by itself.
    fn id(&mut self) -> Result<Pid, String> {
        let child = self.child.as_mut().unwrap();
        match child.try_wait().unwrap() {
            None => Ok(Pid::from_raw(child.id().unwrap().cast_signed()).unwrap()),
            Some(status) => {
                Err(format!("server {} ended with {status}; {} has its log", self.name, self.log().display()))
            }
        }
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> Result<(), String> {
        kill_process(self.id()?, signal).map_err(|error| error.to_string())
    }

    /// Fills the disk of this process alone, or empties it: its files may not grow any more.
    pub(crate) fn fill_disk(&mut self, full: bool) -> Result<(), String> {
        let limit = Rlimit { current: full.then_some(FULL), maximum: None };
        prlimit(Some(self.id()?), Resource::Fsize, limit).map(drop).map_err(|error| error.to_string())
    }
}

/// Appends, so that the log of a killed process stays.
pub(crate) fn log_file(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}
