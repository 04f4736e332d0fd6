//! Three workers of a shared group: each record goes to one of them, and the others take over when one leaves.
//!
//! `cargo run -p floe --example shared`

use std::time::Duration;

use floe::{Client, Consumer, TopicSpec};
use tokio::time::timeout;

/// Handles records until none has come for a second.
async fn work(name: &str, worker: &mut Consumer) -> floe::Result<usize> {
    let mut handled = 0;
    while let Ok(order) = timeout(Duration::from_secs(1), worker.try_next()).await {
        handled += usize::from(order?.is_some());
    }
    println!("{name} handled {handled} orders");
    Ok(handled)
}

/// Shares the partitions of a topic among three workers, and then among two.
#[tokio::main]
pub async fn main() -> floe::Result<()> {
    let url = std::env::var("FLOE_URL").unwrap_or_else(|_| "memory:".to_owned());
    let client = Client::connect(&url).await?;
    client.admin().ensure_topic(TopicSpec::new("shared-orders").partitions(6)).await?;
    let join = async || client.consumer("shared-orders").group("billing").shared().start().await;
    let (mut one, mut two, mut three) = (join().await?, join().await?, join().await?);
    // While a group starts, its members wait for three seconds before they divide the partitions.
    for worker in [&mut one, &mut two, &mut three] {
        let _ = timeout(Duration::from_secs(2), worker.try_next()).await;
    }

    let orders = client.producer("shared-orders").start().await?;
    orders.send_all((0..600).map(|number| format!("order {number}"))).await?;
    work("one", &mut one).await?;
    work("two", &mut two).await?;
    work("three", &mut three).await?;
    three.close().await?;
    orders.send_all((600..900).map(|number| format!("order {number}"))).await?;
    work("one", &mut one).await?;
    work("two", &mut two).await?;
    one.close().await?;
    two.close().await?;
    client.close().await
}
