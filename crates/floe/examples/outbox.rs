//! Sends through an outbox: a record is safe as soon as it is in a log on this machine, and reaches the cluster when the
//! cluster can be reached, be it after a restart of this program.
//!
//! `cargo run -p floe --example outbox`

use std::time::Duration;

use floe::{
    Client, Record, TopicSpec,
    outbox::{OutboxBuilder, WhenOutboxFull},
};

/// Accepts orders while the cluster is unreachable, "restarts", and delivers them.
#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("FLOE_URL").unwrap_or_else(|_| "memory:".to_owned());
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("outbox");

    // Port 1 refuses connections: the cluster is unreachable when the program starts.
    let outbox = OutboxBuilder::to("fluvio://127.0.0.1:1", "outbox-orders", &path)
        .max_bytes(64 << 20)
        .when_full(WhenOutboxFull::Fail)
        .start()
        .await?;
    for number in 0..100 {
        outbox.send(Record::keyed(format!("customer {}", number % 10), format!("order {number}"))).await?;
    }
    let report = outbox.close_within(Duration::from_millis(100)).await?;
    println!("{} orders wait in {}", report.waiting, path.display());

    // The next run finds a cluster.
    let client = Client::connect(&url).await?;
    client.admin().ensure_topic(TopicSpec::new("outbox-orders").partitions(3)).await?;
    let outbox = client.producer("outbox-orders").outbox(&path).start().await?;
    outbox.send("one more").await?;
    outbox.drained().await?;
    println!("{} orders delivered", outbox.stats().delivered);
    client.close().await?;
    Ok(())
}
