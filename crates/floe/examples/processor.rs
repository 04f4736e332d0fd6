//! Makes invoices from orders in the background: in order for each customer, with retries, and with a topic for the
//! orders that cannot be handled.
//!
//! `cargo run -p floe --example processor`

use std::time::Duration;

use floe::{
    Client, Record, RetryPolicy, TopicSpec,
    consumer::StartAt,
    dead_letter::DeadLetter,
    processor::{DeadLetters, Failure},
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
}

#[derive(Serialize, Deserialize)]
struct Invoice {
    total: u32,
}

/// Runs the processor as a service until everything is handled, stops it, and prints what it made.
#[tokio::main]
pub async fn main() -> floe::Result<()> {
    let url = std::env::var("FLOE_URL").unwrap_or_else(|_| "memory:".to_owned());
    let client = Client::connect(&url).await?;
    for topic in ["shop-orders", "shop-invoices"] {
        client.admin().ensure_topic(TopicSpec::new(topic).partitions(3)).await?;
    }
    let orders = client.producer("shop-orders").json::<Order>().start().await?;
    for number in 0..20 {
        let item = if number == 7 { "unicorn" } else { "tea" };
        let order = Order { item: item.to_owned(), count: number };
        orders.send(Record::keyed(format!("customer {}", number % 4), order)).await?;
    }

    let service = client
        .processor("shop-orders", "shop-invoices")
        .json::<Order, Invoice>()
        .concurrency(8)
        .handler_timeout(Duration::from_secs(10))
        .retry(RetryPolicy::default().max_attempts(3))
        .dead_letters(DeadLetters::Topic("shop-orders-dead".into()))
        .map(async |order| {
            let price = match order.value.item.as_str() {
                "tea" => 3,
                other => return Err(Failure::permanent(format!("no price for {other}")).code("no_price")),
            };
            let invoice = Record::new(Invoice { total: price * order.value.count });
            Ok(Record { key: order.key, ..invoice })
        })
        .start()
        .await?;
    while service.stats().handled + service.stats().dead_letters < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // As a service does when it is told to stop: nothing more is read, and what was read is finished.
    let report = service.stop().await?;
    println!(
        "{} handled, {} invoices, {} dead letters",
        report.handled, report.produced, report.dead_letters
    );

    let mut dead = client.consumer("shop-orders-dead").from(StartAt::Beginning).stop_at_end().start().await?;
    while let Some(message) = dead.try_next().await? {
        if let Some(letter) = DeadLetter::of(&message) {
            println!(
                "{} after {} attempts: {} ({})",
                letter.origin, letter.attempts, letter.error, letter.code
            );
        }
    }
    client.close().await
}
