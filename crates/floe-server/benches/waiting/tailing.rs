//! Wake-up latency of tailing consumers.
//!
//! Consumers of one topic wait at its end over `fluvio:`, each on its own connection, while single records are
//! appended at a steady rate. The latency runs from enqueueing a record to its receipt by each consumer. All clients
//! share this process. The environment variables `CONSUMERS`, `RATE` and `SECONDS` override the defaults of 200, 1000
//! and 10.

use std::time::{Duration, Instant};

use floe::{Client, TopicSpec, consumer::StartAt};
use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::process::ServerProcess;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Returns the latency of each record in microseconds.
async fn tail(client: Client, records: u64, epoch: Instant) -> Vec<u32> {
    let mut consumer = client.consumer("tail").from(StartAt::Beginning).start().await.unwrap();
    // The first record shows that the consumer is connected.
    consumer.try_next().await.unwrap().unwrap();
    let mut delays = Vec::with_capacity(records as usize);
    while (delays.len() as u64) < records {
        let message = consumer.try_next().await.unwrap().unwrap();
        let now = epoch.elapsed().as_nanos() as u64;
        let sent = u64::from_be_bytes(message.value[..8].try_into().unwrap());
        delays.push(((now - sent) / 1000) as u32);
    }
    delays
}

pub(crate) async fn measure(server: &ServerProcess) {
    let (consumers, rate, seconds) =
        (setting("CONSUMERS", 200), setting("RATE", 1000), setting("SECONDS", 10));
    let records = rate * seconds;
    let client = Client::connect(&format!("fluvio://{}", server.controller)).await.unwrap();
    client.admin().create_topic(TopicSpec::new("tail")).await.unwrap();
    let producer = client.producer("tail").start().await.unwrap();
    let epoch = Instant::now();
    producer.send([0; 100].as_slice()).await.unwrap();
    let mut tails = JoinSet::new();
    for _ in 0..consumers {
        tails.spawn(tail(client.clone(), records, epoch));
    }
    // Gives all consumers time to receive the first record; a late one would show up as latency.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (cpu, began) = (server.cpu(), Instant::now());
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate as u32);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut acknowledged = Vec::with_capacity(records as usize);
    for _ in 0..records {
        pace.tick().await;
        let mut value = [0; 100];
        value[..8].copy_from_slice(&(epoch.elapsed().as_nanos() as u64).to_be_bytes());
        acknowledged.push(producer.enqueue(value.as_slice()).await.unwrap());
    }
    producer.flush().await.unwrap();
    let mut delays: Vec<u32> = tails.join_all().await.into_iter().flatten().collect();
    let took = began.elapsed().as_secs_f64();
    delays.sort_unstable();
    let at = |part: f64| f64::from(delays[((delays.len() - 1) as f64 * part) as usize]) / 1e3;
    println!(
        "{consumers} consumers, {rate} appends/s for {took:.1} s, {} deliveries: p50 {:.2} ms, p99 {:.2} ms, p99.9 \
         {:.2} ms, most {:.2} ms; {} batches, server {:.2} s of processor time and {:.0} MB",
        delays.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        producer.stats().batches,
        server.cpu() - cpu,
        server.resident(),
    );
    client.close().await.unwrap();
}
