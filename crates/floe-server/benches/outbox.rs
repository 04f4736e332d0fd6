//! Throughput of an outbox while the cluster is up: `cargo bench -p floe-server --bench outbox`.
//!
//! Sends records of 100 bytes over TCP to a Fluvio front-end in this process: directly, and through an outbox on disk
//! until all of them are in the topic. Both alternate and are compared within a round; the benchmark prints medians
//! and quartiles.

use std::time::Instant;

use floe::{Client, TopicSpec};
use floe_server::testkit::TestServer;

const RECORDS: u32 = 1_000_000;
const ROUNDS: usize = 9;
const VALUE: [u8; 100] = [b'x'; 100];

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        tokio::spawn(async {
            let (mut straight, mut through, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            for round in 0..ROUNDS {
                // Alternating the order cancels warm-up effects.
                let (one, other) = if round % 2 == 0 {
                    let one = send_straight().await?;
                    (one, send_through_outbox().await?)
                } else {
                    let other = send_through_outbox().await?;
                    (send_straight().await?, other)
                };
                straight.push(one);
                through.push(other);
                ratios.push(other / one * 100.0);
            }
            print("straight", straight, "records/s");
            print("through outbox", through, "records/s");
            print("ratio", ratios, "%");
            Ok(())
        })
        .await?
    })
}

fn print(what: &str, mut values: Vec<f64>, unit: &str) {
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values.get(values.len() * part / 4).copied().unwrap_or_default();
    println!("{what:<16}{:>12.1} {unit} ({:.1} to {:.1})", at(2), at(1), at(3));
}

async fn cluster() -> floe::Result<(TestServer, Client)> {
    let server = TestServer::start().await?;
    let client = Client::connect(&format!("fluvio://{}", server.fluvio_address())).await?;
    client.admin().create_topic(TopicSpec::new("bench")).await?;
    Ok((server, client))
}

async fn send_straight() -> floe::Result<f64> {
    let (server, client) = cluster().await?;
    let producer = client.producer("bench").start().await?;
    let began = Instant::now();
    for _ in 0..RECORDS {
        drop(producer.enqueue(VALUE.as_slice()).await?);
    }
    producer.flush().await?;
    let rate = f64::from(RECORDS) / began.elapsed().as_secs_f64();
    client.close().await?;
    server.stop().await?;
    Ok(rate)
}

async fn send_through_outbox() -> Result<f64, Box<dyn std::error::Error + Send + Sync>> {
    let (server, client) = cluster().await?;
    let folder = tempfile::tempdir()?;
    let outbox = client.producer("bench").outbox(folder.path().join("outbox")).start().await?;
    let began = Instant::now();
    for _ in 0..RECORDS {
        drop(outbox.enqueue(VALUE.as_slice()).await?);
    }
    outbox.drained().await?;
    let rate = f64::from(RECORDS) / began.elapsed().as_secs_f64();
    client.close().await?;
    server.stop().await?;
    Ok(rate)
}
