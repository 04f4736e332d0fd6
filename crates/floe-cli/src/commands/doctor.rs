//! `floe doctor`: tries each step between this machine and a record that comes back, and says where it ends.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use clap::Args;
use floe::{
    Client, Error, ErrorKind, Record, TopicSpec,
    consumer::StartAt,
    health::Status,
    net::Endpoint,
    url::{EngineUrl, shown},
};
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};

use super::with_client;
use crate::{
    exit::{Failure, Outcome},
    global::Global,
    output::{amount, print_document, stdout},
};

/// Longest time of one connection to a server.
const CONNECT: Duration = Duration::from_secs(3);

/// Longest time until the record comes back.
const RECORD: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Leave out the steps that create a topic and write a record
    #[arg(long)]
    read_only: bool,
}

/// Steps that were tried.
struct Examination {
    quiet: bool,
    steps: Vec<(&'static str, Outcome<String>, Duration)>,
}

impl Examination {
    /// Tries a step and prints its outcome. Returns whether the next one makes sense.
    async fn step(
        &mut self,
        name: &'static str,
        attempt: impl Future<Output = Outcome<String>>,
    ) -> Outcome<bool> {
        let begun = Instant::now();
        let outcome = attempt.await;
        let took = begun.elapsed();
        if !self.quiet {
            let (word, told) = match &outcome {
                Ok(told) => ("ok", told.as_str()),
                Err(failure) => ("FAILED", failure.message()),
            };
            let line = format!("{word:<7} {name:<9} {told} ({})\n", amount::duration(took));
            stdout::print(crate::escape::line(line.trim_end()).as_bytes())?;
            stdout::print(b"\n")?;
        }
        let passed = outcome.is_ok();
        self.steps.push((name, outcome, took));
        Ok(passed)
    }
}

pub(crate) async fn run(global: &Global, args: &DoctorArgs) -> Outcome {
    let mut examination = Examination { quiet: global.output.is_json(), steps: Vec::new() };
    examine(global, args, &mut examination).await?;
    let Examination { steps, .. } = examination;
    let document = json!({
        "url": shown(&global.url),
        "steps": steps.iter().map(|(name, outcome, took)| json!({
            "step": name,
            "ok": outcome.is_ok(),
            "detail": outcome.as_ref().map_or_else(Failure::message, |told| told.as_str()),
            "seconds": took.as_secs_f64(),
        })).collect::<Vec<_>>(),
    });
    print_document(global.output, &document, "")?;
    // The failure with its causes and what to do about them ends the command.
    steps.into_iter().find_map(|(_, outcome, _)| outcome.err()).map_or(Ok(()), Err)
}

async fn examine(global: &Global, args: &DoctorArgs, examination: &mut Examination) -> Outcome {
    let mut parsed = None;
    let address = async {
        let url: EngineUrl = global.url.parse()?;
        parsed = Some(url);
        Ok(shown(&global.url))
    };
    if !examination.step("address", address).await? {
        return Ok(());
    }
    let hosts = parsed.map_or_else(Vec::new, |url| url.hosts);
    let mut addresses = Vec::new();
    if !hosts.is_empty() {
        if !examination.step("resolve", resolve(&hosts, &mut addresses)).await? {
            return Ok(());
        }
        if !examination.step("connect", connect(&addresses)).await? {
            return Ok(());
        }
    }
    // One client serves all steps from here on, so that a store is opened once.
    let mut opened = false;
    let outcome = with_client(global, async |client| {
        opened = true;
        // The records that are written and read make a large future.
        Box::pin(with_engine(args, examination, client)).await
    })
    .await;
    if !opened || outcome.is_err() {
        examination.step("open", async { outcome.map(|()| String::new()) }).await?;
    }
    Ok(())
}

async fn with_engine(args: &DoctorArgs, examination: &mut Examination, client: &Client) -> Outcome {
    let info = client.info();
    let open = async { Ok(format!("the {} engine, as {}", info.name, client.url())) };
    examination.step("open", open).await?;
    let health = async {
        let health = client.health().await?;
        match health.status {
            Status::Fail => Err(Failure::not_ready(health.findings.join("; "))),
            _ if !health.findings.is_empty() => Ok(health.findings.join("; ")),
            _ => Ok(amount::count(health.nodes.len() as u64, "node") + " ready"),
        }
    };
    examination.step("health", health).await?;
    let metadata = async {
        if !info.capabilities.list_topics {
            return Ok(format!("the {} engine lists no topics", info.name));
        }
        let topics = client.admin().topics().await?;
        Ok(amount::count(topics.len() as u64, "topic"))
    };
    if !examination.step("metadata", metadata).await? || args.read_only {
        return Ok(());
    }
    let topic = format!("floe-doctor-{}", std::process::id());
    let created = async {
        client.admin().create_topic(TopicSpec::new(topic.as_str())).await?;
        Ok(topic.clone())
    };
    if !examination.step("create", created).await? {
        return Ok(());
    }
    examination.step("record", record(client, &topic)).await?;
    if info.capabilities.delete_topic {
        let removed = async {
            client.admin().delete_topic(topic.as_str()).await?;
            Ok(topic.clone())
        };
        examination.step("delete", removed).await?;
    } else {
        let left = async { Ok(format!("{topic} stays: the {} engine deletes no topics", info.name)) };
        examination.step("delete", left).await?;
    }
    Ok(())
}

async fn resolve(hosts: &[Endpoint], addresses: &mut Vec<(String, SocketAddr)>) -> Outcome<String> {
    for host in hosts {
        let name = host.to_string();
        let found = tokio::net::lookup_host(&name).await.map_err(|error| {
            Failure::io(format!("{name} has no address"), &error)
                .with_hint("check the spelling of the host, and the name server of this machine")
        })?;
        addresses.extend(found.map(|address| (name.clone(), address)));
    }
    let mut told: Vec<_> =
        addresses.iter().map(|(name, address)| format!("{name} is {}", address.ip())).collect();
    told.dedup();
    Ok(told.join(", "))
}

/// Connects to each server; one of them is enough for a client.
async fn connect(addresses: &[(String, SocketAddr)]) -> Outcome<String> {
    let (mut reached, mut problems) = (Vec::new(), Vec::new());
    for (_, address) in addresses {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => reached.push(address.to_string()),
            Ok(Err(error)) => problems.push(format!("{address}: {error}")),
            Err(_) => problems.push(format!("{address}: no answer within {} s", CONNECT.as_secs())),
        }
    }
    if reached.is_empty() {
        let error = Error::new(ErrorKind::ConnectionRefused, problems.join("; "));
        return Err(Failure::from(error).with_hint(
            "is the server running, on that port, and does a firewall let this machine through?",
        ));
    }
    let missing = if problems.is_empty() { String::new() } else { format!("; {}", problems.join("; ")) };
    Ok(format!("{}{missing}", reached.join(", ")))
}

/// Writes a record and reads it back.
async fn record(client: &Client, topic: &str) -> Outcome<String> {
    let begun = Instant::now();
    let back = async {
        let sent = client.shared_producer(topic).await?.send(Record::keyed("floe", "doctor")).await?;
        let acknowledged = begun.elapsed();
        let mut reader = client.consumer(topic).from(StartAt::Beginning).start().await?;
        let read = reader.try_next().await?;
        reader.close().await?;
        if read.is_none_or(|message| &message.value[..] != b"doctor") {
            return Err(Failure::verification("another record came back than was written"));
        }
        let place = sent.offset.map_or_else(String::new, |offset| format!(" at offset {offset}"));
        Ok(format!("written{place} in {}, and read back", amount::duration(acknowledged)))
    };
    timeout(RECORD, back).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::RequestTimeout, "the record did not come back within 30 s").into())
    })
}
