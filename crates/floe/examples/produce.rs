//! Sends orders to a topic: one by one, many at once, and without waiting for each.
//!
//! `cargo run -p floe --example produce`; `FLOE_URL=embedded:./data` keeps them, `FLOE_URL=fluvio://HOST:9003` sends them
//! to a cluster.

use std::time::Duration;

use floe::{Client, Codec, Record, TopicSpec};

/// Sends and prints where each order is.
#[tokio::main]
pub async fn main() -> floe::Result<()> {
    let url = std::env::var("FLOE_URL").unwrap_or_else(|_| "memory:".to_owned());
    let client = Client::connect(&url).await?;
    client.admin().ensure_topic(TopicSpec::new("orders").partitions(3)).await?;

    let orders =
        client.producer("orders").linger(Duration::from_millis(2)).compression(Codec::Lz4).start().await?;

    // Waits until the order is stored. Orders of one customer stay in order, because they have one key.
    let placed = orders.send(Record::keyed("ada", "one coffee")).await?;
    println!("ada's coffee is in partition {} at offset {:?}", placed.partition, placed.offset);

    // Waits for room in memory only; records fill batches meanwhile.
    let mut deliveries = Vec::new();
    for number in 0..1000 {
        let record = Record::keyed(format!("customer {}", number % 10), format!("order {number}"));
        deliveries.push(orders.enqueue(record).await?);
    }
    for delivery in deliveries {
        delivery.await?;
    }

    let report = orders.close().await?;
    println!("{} orders delivered, {} not", report.delivered, report.undelivered.len());
    client.close().await
}
