//! Kills processes at the worst moment: the cluster has stored their batch, and they have not received the
//! acknowledgement.
//!
//! The killed process is this binary with a role in its environment. It stops itself at that moment, so the test does
//! not depend on timing.
//!
//! All processes append to one history, which `floe-check` judges at the end.

mod exact;
mod outbox;
mod outbox_sends;
mod processor;

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use floe::{
    Client, Message, TopicSpec,
    consumer::{Consumer, StartAt},
    history::Recorder,
    producer::ProducerBuilder,
};
use floe_check::{CheckOptions, Checker, HistoryVerdict};
use floe_server::testkit::TestServer;

/// Role of a child process; the test itself has none.
const ROLE: &str = "FLOE_KILL_ROLE";
/// URL of the cluster.
const URL: &str = "FLOE_KILL_URL";
/// Batches after which the process stops to be killed; without it, the process ends by itself.
const MOMENT: &str = "FLOE_KILL_MOMENT";
/// Folder that the processes share.
const FOLDER: &str = "FLOE_KILL_FOLDER";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match std::env::var(ROLE).as_deref() {
        Ok("outbox") => runtime.block_on(outbox::process()),
        Ok("outbox_sends") => runtime.block_on(outbox_sends::process()),
        Ok("processor") => runtime.block_on(processor::process()),
        Ok("exact") => runtime.block_on(exact::process()),
        Ok(other) => panic!("no role {other}"),
        // `--list` must print no test.
        Err(_) if std::env::args().any(|argument| argument == "--list") => {}
        Err(_) => {
            runtime.block_on(outbox::test());
            println!("an outbox killed while it drains loses and duplicates no record ... ok");
            runtime.block_on(outbox_sends::test());
            println!(
                "an outbox killed while it accepts records loses and duplicates no accepted record ... ok"
            );
            runtime.block_on(processor::test());
            println!("a processor killed between delivery and commit skips no record ... ok");
            runtime.block_on(exact::test());
            println!("exactly-once processors killed at any moment write each record once ... ok");
        }
    }
}

/// Starts a cluster with topics of two partitions.
async fn cluster(topics: &[&str]) -> TestServer {
    let server = TestServer::start().await.unwrap();
    for topic in topics {
        server.client().admin().create_topic(TopicSpec::new(*topic).partitions(2)).await.unwrap();
    }
    server
}

/// Starts this binary in a role.
fn start(role: &str, server: &TestServer, folder: &std::path::Path, moment: Option<usize>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env(ROLE, role)
        .env(URL, format!("fluvio://{}", server.fluvio_address()))
        .env(FOLDER, folder)
        .stdout(Stdio::piped());
    if let Some(moment) = moment {
        command.env(MOMENT, moment.to_string());
    }
    command.spawn().unwrap()
}

/// Waits for the moment, then kills the process.
async fn kill(mut child: Child) {
    let output = child.stdout.take().unwrap();
    let line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        line
    });
    assert_eq!(line.await.unwrap(), "now\n", "the process ended too early");
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
}

/// Waits until the process ends by itself.
async fn finish(child: Child) {
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Configures small batches, and stops the process after some of them. The cluster has acknowledged the last batch by
/// then, and the delivery callback never returns, so no other part of the process learns it.
fn with_moment(builder: ProducerBuilder) -> ProducerBuilder {
    let left = std::env::var(MOMENT).ok().map(|moment| moment.parse::<usize>().unwrap());
    let left = std::sync::Mutex::new(left);
    builder.batch_size(400).on_delivery(move |_| {
        let mut left = left.lock().unwrap();
        match left.as_mut() {
            Some(0) => {
                println!("now");
                loop {
                    std::thread::park();
                }
            }
            Some(left) => *left -= 1,
            None => {}
        }
    })
}

/// Appends to the history of a test.
fn recorder(folder: &Path) -> Recorder {
    Recorder::append_to(folder.join("history.jsonl")).unwrap()
}

/// The folder of a killed process.
fn folder() -> PathBuf {
    std::env::var(FOLDER).unwrap().into()
}

/// Connects a process of a test, and records what it does.
async fn connect(url: &str, folder: &Path) -> Client {
    Client::builder(url).record(recorder(folder)).connect().await.unwrap()
}

/// Connects to the cluster of a test, and records.
async fn connected(server: &TestServer, folder: &Path) -> Client {
    connect(&format!("fluvio://{}", server.fluvio_address()), folder).await
}

/// Judges the history of a test. All topics were read to their ends.
fn judged(folder: &Path) -> HistoryVerdict {
    let mut checker = Checker::new(CheckOptions { drained: true, ..CheckOptions::default() });
    checker.read(BufReader::new(File::open(folder.join("history.jsonl")).unwrap())).unwrap();
    let verdict = checker.finish().unwrap();
    assert!(verdict.is_clean(), "{:?}", verdict.findings());
    verdict
}

/// Returns all records of a topic.
async fn read(client: &Client, topic: &str) -> Vec<Message> {
    let reader = client.consumer(topic).from(StartAt::Beginning).stop_at_end();
    let mut reader: Consumer = reader.start().await.unwrap();
    let mut messages = Vec::new();
    while let Some(message) = reader.try_next().await.unwrap() {
        messages.push(message);
    }
    messages
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}
