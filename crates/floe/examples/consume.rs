//! Reads values of the program's own type, and meets a record that is something else.
//!
//! `cargo run -p floe --example consume`

use floe::{
    Client, TopicSpec,
    consumer::{StartAt, Undecodable},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
}

/// Writes three records and reads them.
#[tokio::main]
pub async fn main() -> floe::Result<()> {
    let url = std::env::var("FLOE_URL").unwrap_or_else(|_| "memory:".to_owned());
    let client = Client::connect(&url).await?;
    client.admin().ensure_topic(TopicSpec::new("typed-orders")).await?;

    let orders = client.producer("typed-orders").json::<Order>().start().await?;
    orders.send(Order { item: "tea".to_owned(), count: 2 }).await?;
    orders.raw().send("this is no order").await?;
    orders.send(Order { item: "milk".to_owned(), count: 1 }).await?;

    let mut inbox = client
        .consumer("typed-orders")
        .json::<Order>()
        .from(StartAt::Beginning)
        .stop_at_end()
        .start()
        .await?;
    loop {
        match inbox.try_next().await {
            Ok(Some(order)) => {
                println!("{} {} at offset {}", order.value.count, order.value.item, order.offset)
            }
            Ok(None) => break,
            // One record is bad; the next call goes on after it.
            Err(error) if Undecodable::of(&error).is_some() => println!("left out: {error}"),
            Err(error) => return Err(error),
        }
    }
    inbox.close().await?;
    client.close().await
}
