//! Two runs of a program that reads as a group: the second goes on where the first one stopped.
//!
//! `cargo run -p floe --example group`

use std::time::Duration;

use floe::{Client, TopicSpec, consumer::AckMode};

/// Reads half of the records, "restarts", and reads the rest.
#[tokio::main]
pub async fn main() -> floe::Result<()> {
    let url = std::env::var("FLOE_URL").unwrap_or_else(|_| "memory:".to_owned());
    let client = Client::connect(&url).await?;
    client.admin().ensure_topic(TopicSpec::new("group-orders").partitions(2)).await?;
    let orders = client.producer("group-orders").start().await?;
    orders.send_all((0..100).map(|number| format!("order {number}"))).await?;

    // The first run takes chunks, and stops after 50 records. What it had in hand is stored when it closes.
    let mut first = client.consumer("group-orders").group("billing").start().await?;
    let mut seen = 0;
    while seen < 50 {
        seen += first.next_chunk(50 - seen, Duration::from_millis(10)).await?.len();
    }
    first.close().await?;
    println!("the first run handled {seen} orders");

    // The second one handles several at once; stored offsets follow the oldest that is not done.
    let mut second = client
        .consumer("group-orders")
        .group("billing")
        .ack_mode(AckMode::Explicit)
        .stop_at_end()
        .start()
        .await?;
    let waiting = second.lag().await?;
    second
        .handle_each(8, async |order| {
            println!("partition {} offset {}", order.partition, order.offset);
            Ok::<_, floe::Error>(())
        })
        .await?;
    second.close().await?;
    println!("the second run handled {waiting} orders");
    client.close().await
}
