//! `floe serve`: addresses, rejected options, and shutdown.
#![cfg(unix)]

use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
};

use floe::{Client, TopicSpec, consumer::StartAt, history::Recorder, producer::Delivery};
use futures_util::FutureExt as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Dir, Running};

const FREE: [&str; 8] = [
    "--fluvio-sc",
    "127.0.0.1:0",
    "--fluvio-spu",
    "127.0.0.1:0",
    "--walrus",
    "127.0.0.1:0",
    "--http",
    "127.0.0.1:0",
];

/// Starts a server on free ports and reads the addresses that it prints.
pub(crate) fn start(dir: &Dir, args: &[&str]) -> (Running, Value) {
    start_with(dir, args, &[])
}

/// Like [`start`], with environment variables.
pub(crate) fn start_with(dir: &Dir, args: &[&str], variables: &[(&str, &str)]) -> (Running, Value) {
    let args = [&["serve", "-o", "jsonl"][..], &FREE, args].concat();
    let mut child = dir.start_with(&args, variables);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

pub(crate) fn end(mut child: Running, signal: Signal) -> Option<i32> {
    kill_process(Pid::from_child(&child), signal).unwrap();
    child.wait().unwrap().code()
}

pub(crate) fn ask_walrus(addresses: &Value, request: &str) -> String {
    let mut socket = TcpStream::connect(addresses["walrus"].as_str().unwrap()).unwrap();
    let length = u32::try_from(request.len()).unwrap().to_le_bytes();
    socket.write_all(&[&length, request.as_bytes()].concat()).unwrap();
    let mut length = [0; 4];
    socket.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::try_from(u32::from_le_bytes(length)).unwrap()];
    socket.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
fn server_serves_the_store_and_shuts_down_on_signals() {
    let dir = Dir::new();
    for signal in [Signal::TERM, Signal::INT] {
        let (child, addresses) = start(&dir, &["--data", "data"]);
        for name in ["fluvio_sc", "fluvio_spu", "walrus", "http"] {
            TcpStream::connect(addresses[name].as_str().unwrap()).unwrap();
        }
        assert_eq!(ask_walrus(&addresses, "REGISTER t"), "OK");
        assert_eq!(ask_walrus(&addresses, "PUT t a record"), "OK");
        // An embedded store serves one process at a time; the message names the remedy.
        dir.run(&["topic", "list", "--url", "embedded:data"]).code(1).mentions("floe serve");
        assert_eq!(end(child, signal), Some(0));
    }
    let read = dir.run(&["consume", "t", "-e", "--from", "beginning", "--url", "embedded:data"]);
    read.ok().prints("a record\na record\n");
}

#[test]
fn acknowledged_records_survive_a_kill() {
    let dir = Dir::new();
    let (child, addresses) = start(&dir, &["--data", "data"]);
    assert_eq!(ask_walrus(&addresses, "REGISTER t"), "OK");
    for number in 0..50 {
        assert_eq!(ask_walrus(&addresses, &format!("PUT t {number}")), "OK");
    }
    assert_eq!(end(child, Signal::KILL), None);
    let read = dir.run(&["consume", "t", "-e", "--from", "beginning", "--url", "embedded:data"]).ok();
    assert_eq!(read.text().lines().collect::<Vec<_>>(), (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// Sends records, kills the server while records are in flight, and returns partition, offset and value of the
/// acknowledged ones.
async fn load_and_kill(
    url: &str,
    recorder: Recorder,
    mut child: Running,
    round: u32,
) -> Vec<((u32, i64), String)> {
    let client = Client::builder(url).record(recorder).connect().await.unwrap();
    if round == 0 {
        client.admin().create_topic(TopicSpec::new("t").partitions(2)).await.unwrap();
    }
    let producer = client.producer("t").batch_size(4096).start().await.unwrap();
    let (mut waiting, mut acknowledged) = (VecDeque::new(), Vec::new());
    for number in 0.. {
        let value = format!("record {number} of round {round}");
        waiting.push_back((producer.enqueue(value.clone()).await.unwrap(), value));
        if waiting.len() > 200 {
            let (delivery, value): (Delivery, String) = waiting.pop_front().unwrap();
            acknowledged.push((delivery.await.unwrap(), value));
        }
        if acknowledged.len() == 1000 {
            break;
        }
    }
    // Hundreds of records are in flight; those acknowledged by now count as well.
    child.kill().unwrap();
    child.wait().unwrap();
    for (delivery, value) in waiting {
        if let Some(Ok(metadata)) = delivery.now_or_never() {
            acknowledged.push((metadata, value));
        }
    }
    acknowledged
        .into_iter()
        .map(|(metadata, value)| ((metadata.partition, metadata.offset.unwrap()), value))
        .collect()
}

#[test]
fn acknowledged_records_of_fluvio_clients_survive_kills_under_load() {
    let dir = Dir::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = |addresses: &Value| format!("fluvio://{}", addresses["fluvio_sc"].as_str().unwrap());
    let recorder = Recorder::append_to(dir.path().join("history.jsonl")).unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let (child, addresses) = start(&dir, &["--data", "data"]);
        acknowledged.extend(runtime.block_on(load_and_kill(
            &url(&addresses),
            recorder.clone(),
            child,
            round,
        )));
    }
    let (child, addresses) = start(&dir, &["--data", "data"]);
    let stored = runtime.block_on(async {
        let client = Client::builder(&url(&addresses)).record(recorder.clone()).connect().await.unwrap();
        let mut consumer = client.consumer("t").from(StartAt::Beginning).stop_at_end().start().await.unwrap();
        let mut stored = BTreeMap::new();
        while let Some(message) = consumer.try_next().await.unwrap() {
            let value = String::from_utf8(message.value.to_vec()).unwrap();
            stored.insert((message.partition, message.offset), value);
        }
        stored
    });
    assert!(acknowledged.len() >= 3000);
    for (at, value) in acknowledged {
        assert_eq!(stored.get(&at), Some(&value), "{at:?}");
    }
    assert_eq!(recorder.problem(), None);
    let verdict = dir.run(&["check-history", "history.jsonl", "--drained", "-o", "json"]).ok().json();
    assert!(verdict["acknowledged"].as_u64().unwrap() >= 3000, "{verdict}");
    assert_eq!(verdict["read"], stored.len(), "{verdict}");
    assert_eq!(end(child, Signal::TERM), Some(0));
}

#[test]
fn protocol_can_be_disabled() {
    let dir = Dir::new();
    let args = ["--fluvio-sc", "off", "--fluvio-spu", "off", "--http", "off"];
    let mut child = dir.start(
        &[&["serve", "-o", "jsonl", "--url", "memory:", "--walrus", "127.0.0.1:0"][..], &args].concat(),
    );
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addresses: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&addresses["fluvio_sc"], &addresses["http"]), (&Value::Null, &Value::Null));
    assert!(ask_walrus(&addresses, "METRICS").contains("Leader"));
    assert_eq!(end(child, Signal::TERM), Some(0));
}

#[test]
fn public_addresses_need_an_option() {
    let dir = Dir::new();
    let run = dir.run(&["serve", "--data", "data", "--walrus", "0.0.0.0:0"]);
    run.code(2).mentions("--listen-public");
    assert!(!dir.path().join("data").exists(), "the store must not be created");
}

#[test]
fn port_in_use_is_reported() {
    let dir = Dir::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let args = [&["serve", "--url", "memory:"][..], &FREE, &["--walrus", &address]].concat();
    // The option occurs twice, which clap rejects.
    dir.run(&args).code(2);
    let args = ["serve", "--url", "memory:", "--fluvio-sc", &address, "--fluvio-spu", "127.0.0.1:0"];
    dir.run(&args).code(1).mentions(&address);
}

#[test]
fn addresses_that_cannot_work_are_usage_errors() {
    let dir = Dir::new();
    dir.run(&["serve", "--fluvio-sc", "foo"]).code(2).mentions("--fluvio-sc").mentions("HOST:PORT");
    let off = ["serve", "--fluvio-sc", "OFF", "--fluvio-spu", "off", "--walrus", "Off", "--http", "OFF"];
    dir.run(&off).code(2).mentions("nothing to serve");
}

#[test]
fn connect_errors_name_engine_operation_and_all_addresses() {
    let dir = Dir::new();
    // Ports that the system chose and nothing listens on any more.
    let ports = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    for scheme in ["fluvio", "walrus"] {
        let url = format!("{scheme}://{},{}", ports[0], ports[1]);
        let run = dir.run(&["--url", &url, "consume", "t"]).code(4);
        let error = run.stderr.lines().next().unwrap();
        assert!(error.starts_with(&format!("error: connect on {scheme}: ")), "{error}");
        assert!(ports.iter().all(|port| error.contains(&port.to_string())), "{error}");
        assert!(!run.stderr.contains("caused by"), "{}", run.stderr);
    }
}
