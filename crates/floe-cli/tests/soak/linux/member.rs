//! A member of a shared group, in a process of its own.

use std::{path::Path, process::Stdio, time::Duration};

use floe::{
    Client, Consumer, Error, ErrorKind,
    consumer::{AckMode, CommitPolicy, Membership, StartAt},
    history::Recorder,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};

/// Name of the member; a process without it is the soak itself.
pub(crate) const ROLE: &str = "FLOE_SOAK_MEMBER";
const URL: &str = "FLOE_SOAK_URL";
const TOPIC: &str = "FLOE_SOAK_TOPIC";
const HISTORY: &str = "FLOE_SOAK_HISTORY";

/// The member that takes the partitions of its predecessor over at once; the others have no name in the group.
const NAMED: &str = "worker-0";

const SESSION: Duration = Duration::from_secs(3);

/// Longest time for the end of a member that was asked to leave.
const LEAVE: Duration = Duration::from_secs(60);

/// The process of a member.
#[derive(Debug)]
pub(crate) struct Member {
    name: String,
    child: Child,
}

impl Member {
    pub(crate) fn start(name: &str, url: &str, topic: &str, history: &Path) -> Self {
        let log = history.with_file_name("members.log");
        let child = Command::new(std::env::current_exe().unwrap())
            .envs([(ROLE, name), (URL, url), (TOPIC, topic)])
            .env(HISTORY, history)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(super::server::log_file(&log))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { name: name.to_owned(), child }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> Result<(), String> {
        match self.child.try_wait().unwrap() {
            Some(status) => Err(format!("member {} ended with {status}", self.name)),
            None => {
                let pid = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
                kill_process(pid, signal).map_err(|error| error.to_string())
            }
        }
    }

    pub(crate) async fn kill(mut self) -> Result<(), String> {
        self.signal(Signal::KILL)?;
        self.child.wait().await.map(drop).map_err(|error| error.to_string())
    }

    /// Lets the member store its offsets and leave.
    pub(crate) async fn leave(mut self) -> Result<(), String> {
        self.signal(Signal::TERM)?;
        match timeout(LEAVE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            other => Err(format!("member {} does not leave: {other:?}", self.name)),
        }
    }
}

/// Handles records until it is told to leave, or killed.
pub(crate) async fn process() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let mut leave = signal(SignalKind::terminate()).unwrap();
    let recorder = Recorder::append_to(variable(HISTORY)).unwrap();
    let client = loop {
        match Client::builder(&variable(URL)).record(recorder.clone()).connect().await {
            Ok(client) => break client,
            Err(error) => pass_over(&error).await,
        }
    };
    loop {
        let name = variable(ROLE);
        let membership = Membership::new().session(SESSION);
        let membership = if name == NAMED { membership.instance(name) } else { membership };
        let consumer = client.consumer(variable(TOPIC)).from(StartAt::Beginning).group("workers");
        let consumer = consumer
            .shared_as(membership)
            .ack_mode(AckMode::Explicit)
            .commit(CommitPolicy::Interval(Duration::from_millis(500)))
            .start();
        let consumer: Consumer = tokio::select! {
            consumer = consumer => match consumer {
                Ok(consumer) => consumer,
                Err(error) => {
                    pass_over(&error).await;
                    continue;
                }
            },
            _ = leave.recv() => return,
        };
        let mut consumer = consumer;
        let left = tokio::select! {
            () = handle(&mut consumer) => false,
            _ = leave.recv() => true,
        };
        if left {
            consumer.close().await.unwrap();
            assert_eq!(recorder.problem(), None);
            return;
        }
    }
}

/// Handles records until another process has taken the name over.
async fn handle(consumer: &mut Consumer) {
    loop {
        match consumer.try_next().await {
            Ok(Some(message)) => {
                if message.offset % 97 == 0 {
                    sleep(Duration::from_millis(20)).await;
                }
                message.ack();
            }
            Ok(None) => panic!("the consumer ended, although the topic exists"),
            Err(error) if error.kind() == ErrorKind::Fenced => return,
            Err(error) => pass_over(&error).await,
        }
    }
}

/// Waits after an error that faults explain. Other errors end the process, which fails the soak.
async fn pass_over(error: &Error) {
    eprintln!("{error}");
    assert!(
        error.is_retriable() || matches!(error.kind(), ErrorKind::StorageError | ErrorKind::Fenced),
        "{error:?}"
    );
    sleep(Duration::from_millis(200)).await;
}
