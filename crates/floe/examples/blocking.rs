//! The API for programs without async.
//!
//! `cargo run -p floe --example blocking`

use floe::{ErrorKind, Record, TopicSpec, blocking::Client, consumer::StartAt};

/// Writes and reads from plain threads.
pub fn main() -> floe::Result<()> {
    let url = std::env::var("FLOE_URL").unwrap_or_else(|_| "memory:".to_owned());
    let client = Client::connect(&url)?;
    match client.create_topic(TopicSpec::new("plain-orders")) {
        Err(error) if error.kind() != ErrorKind::TopicAlreadyExists => return Err(error),
        _ => {}
    }

    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let client = client.clone();
                scope.spawn(move || {
                    let orders = client.producer("plain-orders").start()?;
                    orders.send_all(
                        (0..25).map(|n| Record::keyed(format!("worker {worker}"), format!("order {n}"))),
                    )
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(sent) => sent.map(drop),
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;

    let inbox = client.consumer("plain-orders").from(StartAt::Beginning).stop_at_end().start()?;
    let mut count = 0;
    for message in inbox {
        message?;
        count += 1;
    }
    println!("{count} orders");
    client.close()
}
