//! Processes that are killed with -9 in the worst moment: the cluster has what they sent, and they have not learned it.
//!
//! The process that dies is this program with a role in its environment. It stops itself in that moment, so that nothing
//! here depends on speed.

mod outbox;
mod outbox_sends;
mod processor;

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use floe::{
    Client, Message, TopicSpec,
    consumer::{Consumer, StartAt},
    producer::ProducerBuilder,
};
use floe_server::testkit::TestServer;

/// What the process is to do; without it, this is the test.
const ROLE: &str = "FLOE_KILL_ROLE";
/// The cluster.
const URL: &str = "FLOE_KILL_URL";
/// After how many batches of the process the moment comes; without it, the process ends by itself.
const MOMENT: &str = "FLOE_KILL_MOMENT";
/// A folder that the processes share.
const FOLDER: &str = "FLOE_KILL_FOLDER";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match std::env::var(ROLE).as_deref() {
        Ok("outbox") => runtime.block_on(outbox::process()),
        Ok("outbox_sends") => runtime.block_on(outbox_sends::process()),
        Ok("processor") => runtime.block_on(processor::process()),
        Ok(other) => panic!("no role {other}"),
        // Whoever asks for a list of tests gets none.
        Err(_) if std::env::args().any(|argument| argument == "--list") => {}
        Err(_) => {
            runtime.block_on(outbox::test());
            println!("an outbox killed while it drains loses nothing and duplicates nothing ... ok");
            runtime.block_on(outbox_sends::test());
            println!(
                "an outbox killed while it accepts records loses none of them and duplicates none ... ok"
            );
            runtime.block_on(processor::test());
            println!("a processor killed between delivery and commit skips nothing ... ok");
        }
    }
}

/// A cluster with topics of two partitions.
async fn cluster(topics: &[&str]) -> TestServer {
    let server = TestServer::start().await.unwrap();
    for topic in topics {
        server.client().admin().create_topic(TopicSpec::new(*topic).partitions(2)).await.unwrap();
    }
    server
}

/// Starts this program in a role.
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

/// Waits for the moment, and kills.
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

/// In the process: small batches, and after some of them the moment comes. The cluster has acknowledged the batch, and
/// nobody is told before this returns, which it does not.
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

async fn connect() -> Client {
    Client::connect(&std::env::var(URL).unwrap()).await.unwrap()
}

/// Everything in a topic.
async fn read(server: &TestServer, topic: &str) -> Vec<Message> {
    let reader = server.client().consumer(topic).from(StartAt::Beginning).stop_at_end();
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
