//! The API for programs without async.
//!
//! `cargo run -p floe --example blocking`

use floe::{Record, TopicSpec, blocking::Client, consumer::StartAt};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
}

/// Writes and reads from plain threads.
pub fn main() -> floe::Result<()> {
    let url = std::env::var("FLOE_URL").unwrap_or_else(|_| "memory:".to_owned());
    let client = Client::connect(&url)?;
    client.ensure_topic(TopicSpec::new("plain-orders"))?;

    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let client = client.clone();
                scope.spawn(move || {
                    let orders = client.producer("plain-orders").json::<Order>().start()?;
                    orders.send_all((0..25).map(|count| {
                        let order = Order { item: "tea".to_owned(), count };
                        Record::keyed(format!("worker {worker}"), order)
                    }))
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(sent) => sent.map(drop),
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;

    let inbox = client.consumer("plain-orders").json::<Order>();
    let (mut orders, mut cups) = (0, 0);
    for order in inbox.from(StartAt::Beginning).stop_at_end().start()? {
        let order = order?.value;
        orders += 1;
        cups += order.count;
        assert_eq!(order.item, "tea");
    }
    println!("{orders} orders, {cups} cups of tea");
    client.close()
}
