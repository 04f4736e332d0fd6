//! What the layers for applications cost: `cargo bench -p floe --bench applications`.
//!
//! Typed payloads against the same serializer by hand, and a processor that keeps the order of keys against one that
//! keeps none, on the engine `memory:`. Both sides alternate; the last line of each is the ratio of the medians.

use std::time::Instant;

use floe::{Client, Message, Record, TopicSpec, consumer::StartAt, processor::Order as Keeping};
use serde::{Deserialize, Serialize};

const RECORDS: u32 = 300_000;
const ROUNDS: usize = 5;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    id: u32,
    customer: String,
    item: String,
    count: u32,
}

fn order(id: u32) -> Order {
    Order {
        id,
        customer: format!("customer {}", id % 1000),
        item: "one coffee with milk".to_owned(),
        count: id % 7,
    }
}

fn main() -> floe::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime
        .map_err(|error| floe::Error::new(floe::ErrorKind::InvalidConfig, "no runtime").with_source(error))?;
    let run = async {
        tokio::spawn(async {
            compare("send, by hand", "send, typed", send_by_hand, send_typed).await?;
            compare("read, by hand", "read, typed", read_by_hand, read_typed).await?;
            compare("processor, no order", "processor, order of keys", unordered, ordered).await
        })
        .await
    };
    runtime.block_on(run).map_err(|error| {
        floe::Error::new(floe::ErrorKind::Closed, "the benchmark panicked").with_source(error)
    })?
}

/// Runs both in turns; each returns the nanoseconds of one record.
async fn compare<A, B>(
    name: &str,
    other: &str,
    first: fn(Client) -> A,
    second: fn(Client) -> B,
) -> floe::Result<()>
where
    A: Future<Output = floe::Result<f64>>,
    B: Future<Output = floe::Result<f64>>,
{
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(first(client().await?).await?);
        theirs.push(second(client().await?).await?);
    }
    let (one, two) = (median(ours), median(theirs));
    println!("{name:<26} {one:>8.1} ns a record");
    println!("{other:<26} {two:>8.1} ns a record");
    println!("rate of the second         {:>8.1} % of the first\n", one / two * 100.0);
    Ok(())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn per_record(began: Instant) -> f64 {
    began.elapsed().as_nanos() as f64 / f64::from(RECORDS)
}

async fn client() -> floe::Result<Client> {
    let client = Client::connect("memory:").await?;
    client.admin().create_topic(TopicSpec::new("orders")).await?;
    client.admin().create_topic(TopicSpec::new("invoices")).await?;
    Ok(client)
}

async fn send_by_hand(client: Client) -> floe::Result<f64> {
    let orders: Vec<_> = (0..RECORDS).map(order).collect();
    let producer = client.producer("orders").start().await?;
    let began = Instant::now();
    let sent = orders.into_iter().map(|order: Order| serde_json::to_vec(&order).unwrap_or_default());
    producer.enqueue_all(sent).await?.await?;
    Ok(per_record(began))
}

async fn send_typed(client: Client) -> floe::Result<f64> {
    let orders: Vec<_> = (0..RECORDS).map(order).collect();
    let producer = client.producer("orders").json::<Order>().start().await?;
    let began = Instant::now();
    producer.enqueue_all(orders).await?.await?;
    Ok(per_record(began))
}

async fn fill(client: &Client) -> floe::Result<()> {
    let producer = client.producer("orders").json::<Order>().start().await?;
    let record = |id| Record::keyed(format!("customer {}", id % 1000), order(id));
    producer.enqueue_all((0..RECORDS).map(record)).await?.await?;
    Ok(())
}

async fn read_by_hand(client: Client) -> floe::Result<f64> {
    fill(&client).await?;
    let began = Instant::now();
    let mut consumer = client.consumer("orders").from(StartAt::Beginning).stop_at_end().start().await?;
    let mut sum = 0;
    while let Some(message) = consumer.try_next().await? {
        sum += serde_json::from_slice::<Order>(&message.value).map_or(0, |order| u64::from(order.count));
    }
    assert!(sum > 0);
    Ok(per_record(began))
}

async fn read_typed(client: Client) -> floe::Result<f64> {
    fill(&client).await?;
    let began = Instant::now();
    let consumer = client.consumer("orders").json::<Order>();
    let mut consumer = consumer.from(StartAt::Beginning).stop_at_end().start().await?;
    let mut sum = 0;
    while let Some(message) = consumer.try_next().await? {
        sum += u64::from(message.value.count);
    }
    assert!(sum > 0);
    Ok(per_record(began))
}

async fn unordered(client: Client) -> floe::Result<f64> {
    process(client, Keeping::Unordered).await
}

async fn ordered(client: Client) -> floe::Result<f64> {
    process(client, Keeping::PerKey).await
}

/// A handler that awaits once, as one that asks somebody does.
async fn process(client: Client, order: Keeping) -> floe::Result<f64> {
    fill(&client).await?;
    let began = Instant::now();
    let report = client
        .processor("orders", "invoices")
        .concurrency(8)
        .order(order)
        .stop_at_end()
        .map(async |message: Message| {
            tokio::task::yield_now().await;
            Ok(Record { key: message.key, ..Record::new(message.value) })
        })
        .run(std::future::pending())
        .await?;
    assert_eq!((report.handled, report.dead_letters), (u64::from(RECORDS), 0));
    Ok(per_record(began))
}
