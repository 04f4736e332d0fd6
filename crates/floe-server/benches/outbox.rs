//! What an outbox costs while the cluster is up: `cargo bench -p floe-server --bench outbox`.
//!
//! Records of 100 bytes to a Fluvio front-end in this process, over TCP: straight, and through an outbox on disk until
//! all are in the topic. Both alternate; the last line is the ratio of the medians.

use std::time::Instant;

use floe::{Client, TopicSpec};
use floe_server::testkit::TestServer;

const RECORDS: u32 = 500_000;
const ROUNDS: usize = 5;
const VALUE: [u8; 100] = [b'x'; 100];

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        tokio::spawn(async {
            let (mut straight, mut through) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                straight.push(send_straight().await?);
                through.push(send_through_outbox().await?);
            }
            let (straight, through) = (median(straight), median(through));
            println!("straight        {straight:>10.0} records/s");
            println!("through outbox  {through:>10.0} records/s, {:.1} %", through / straight * 100.0);
            Ok(())
        })
        .await?
    })
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

async fn cluster() -> floe::Result<(TestServer, Client)> {
    let server = TestServer::start().await?;
    server.client().admin().create_topic(TopicSpec::new("bench")).await?;
    let client = Client::connect(&format!("fluvio://{}", server.fluvio_address())).await?;
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
