//! What the layers for applications cost: `cargo bench -p floe --bench applications`.
//!
//! Typed payloads against the same serializer by hand, a processor that keeps the order of keys against one that keeps
//! none, and exactly once against at least once, on the engine `memory:`. All variants run once in each round, the first of a round another one each time;
//! what is compared is compared within a round, and the medians over the rounds are printed, with their quartiles.
//! `-- send`, `-- read`, `-- processor` and `-- exact` run one part alone.

use std::time::{Duration, Instant};

use floe::{
    Client, Message, Record, TopicSpec,
    consumer::StartAt,
    processor::{Order as Keeping, ProcessorBuilder},
};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

const RECORDS: u32 = 200_000;
const ROUNDS: usize = 31;

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
            if is_wanted("send") {
                typed_cost("send", &rounds([send_raw, send_by_hand, send_typed]).await?);
            }
            if is_wanted("read") {
                typed_cost("read", &rounds([read_raw, read_by_hand, read_typed]).await?);
            }
            if is_wanted("processor") {
                cost_of_order(&rounds([unordered, ordered]).await?);
            }
            if is_wanted("exact") {
                cost_of_exactness(&rounds([at_least_once, exactly_once]).await?);
            }
            Ok(())
        })
        .await
    };
    runtime.block_on(run).map_err(|error| {
        floe::Error::new(floe::ErrorKind::Closed, "the benchmark panicked").with_source(error)
    })?
}

/// Takes a client with topics that are empty, or hold the records if it reads; gives the nanoseconds of one record.
type Variant = fn(Client) -> BoxFuture<'static, floe::Result<f64>>;

/// The times of each variant in each round.
async fn rounds<const N: usize>(variants: [Variant; N]) -> floe::Result<Vec<[f64; N]>> {
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        let mut times = [0.0; N];
        for step in 0..N {
            let index = (round + step) % N;
            let (Some(time), Some(variant)) = (times.get_mut(index), variants.get(index)) else { continue };
            let client = client().await?;
            *time = variant(client.clone()).await?;
            client.close().await?;
        }
        all.push(times);
    }
    Ok(all)
}

/// Prints what a typed payload costs besides its serializer, in percent of what raw bytes cost.
fn typed_cost(name: &str, times: &[[f64; 3]]) {
    for (index, variant) in ["raw bytes", "by hand", "typed"].into_iter().enumerate() {
        print(name, variant, &column(times, index), "ns a record");
    }
    let beyond = times.iter().map(|[raw, hand, typed]| (typed - hand) / raw * 100.0);
    print(name, "beyond serializer", &beyond.collect::<Vec<_>>(), "% of raw bytes");
    let over = times.iter().map(|[_, hand, typed]| (typed / hand - 1.0) * 100.0);
    print(name, "over by hand", &over.collect::<Vec<_>>(), "%");
}

/// Prints at what rate a processor keeps the order of keys.
fn cost_of_order(times: &[[f64; 2]]) {
    let name = "processor, 8 at once";
    print(name, "no order", &column(times, 0), "ns a record");
    print(name, "order of keys", &column(times, 1), "ns a record");
    let rates = times.iter().map(|[none, keys]| none / keys * 100.0);
    print(name, "rate with order", &rates.collect::<Vec<_>>(), "% of that without");
}

/// Prints at what rate a processor writes each record once.
fn cost_of_exactness(times: &[[f64; 2]]) {
    let name = "processor, shared";
    print(name, "at least once", &column(times, 0), "ns a record");
    print(name, "exactly once", &column(times, 1), "ns a record");
    let rates = times.iter().map(|[least, exact]| least / exact * 100.0);
    print(name, "rate, exactly once", &rates.collect::<Vec<_>>(), "% of that at least once");
}

/// Whether the command line names this part, or none.
fn is_wanted(part: &str) -> bool {
    let mut named = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    named.peek().is_none() || named.any(|name| name == part)
}

fn column<const N: usize>(times: &[[f64; N]], index: usize) -> Vec<f64> {
    times.iter().filter_map(|round| round.get(index).copied()).collect()
}

fn print(name: &str, what: &str, values: &[f64], unit: &str) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |part: usize| sorted.get(sorted.len() * part / 4).copied().unwrap_or_default();
    println!("{name:<22}{what:<20}{:>9.1} {unit} ({:.1} to {:.1})", at(2), at(1), at(3));
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

fn send_raw(client: Client) -> BoxFuture<'static, floe::Result<f64>> {
    Box::pin(async move {
        let encoded = |id| serde_json::to_vec(&order(id)).unwrap_or_default();
        let orders: Vec<_> = (0..RECORDS).map(encoded).collect();
        let producer = client.producer("orders").start().await?;
        let began = Instant::now();
        producer.enqueue_all(orders).await?.await?;
        Ok(per_record(began))
    })
}

fn send_by_hand(client: Client) -> BoxFuture<'static, floe::Result<f64>> {
    Box::pin(async move {
        let orders: Vec<_> = (0..RECORDS).map(order).collect();
        let producer = client.producer("orders").start().await?;
        let began = Instant::now();
        let sent = orders.into_iter().map(|order: Order| serde_json::to_vec(&order).unwrap_or_default());
        producer.enqueue_all(sent).await?.await?;
        Ok(per_record(began))
    })
}

fn send_typed(client: Client) -> BoxFuture<'static, floe::Result<f64>> {
    Box::pin(async move {
        let orders: Vec<_> = (0..RECORDS).map(order).collect();
        let producer = client.producer("orders").json::<Order>().start().await?;
        let began = Instant::now();
        producer.enqueue_all(orders).await?.await?;
        Ok(per_record(began))
    })
}

async fn fill(client: &Client) -> floe::Result<()> {
    let producer = client.producer("orders").json::<Order>().start().await?;
    let record = |id| Record::keyed(format!("customer {}", id % 1000), order(id));
    producer.enqueue_all((0..RECORDS).map(record)).await?.await?;
    Ok(())
}

fn read_raw(client: Client) -> BoxFuture<'static, floe::Result<f64>> {
    Box::pin(async move {
        fill(&client).await?;
        let began = Instant::now();
        let mut consumer = client.consumer("orders").from(StartAt::Beginning).stop_at_end().start().await?;
        let mut sum = 0;
        while let Some(message) = consumer.try_next().await? {
            sum += message.value.len();
        }
        assert!(sum > 0);
        Ok(per_record(began))
    })
}

fn read_by_hand(client: Client) -> BoxFuture<'static, floe::Result<f64>> {
    Box::pin(async move {
        fill(&client).await?;
        let began = Instant::now();
        let mut consumer = client.consumer("orders").from(StartAt::Beginning).stop_at_end().start().await?;
        let mut sum = 0;
        while let Some(message) = consumer.try_next().await? {
            let order = serde_json::from_slice::<Order>(&message.value);
            sum += order.map_or(0, |order| u64::from(order.count));
        }
        assert!(sum > 0);
        Ok(per_record(began))
    })
}

fn read_typed(client: Client) -> BoxFuture<'static, floe::Result<f64>> {
    Box::pin(async move {
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
    })
}

fn unordered(client: Client) -> BoxFuture<'static, floe::Result<f64>> {
    Box::pin(process(client, Keeping::Unordered))
}

fn ordered(client: Client) -> BoxFuture<'static, floe::Result<f64>> {
    Box::pin(process(client, Keeping::PerKey))
}

/// Runs a processor whose handler awaits once, as a handler that calls a service does.
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

fn at_least_once(client: Client) -> BoxFuture<'static, floe::Result<f64>> {
    Box::pin(process_shared(client, ProcessorBuilder::shared))
}

fn exactly_once(client: Client) -> BoxFuture<'static, floe::Result<f64>> {
    Box::pin(process_shared(client, ProcessorBuilder::exactly_once))
}

/// As [`process`], in a shared group, whose processors have no end.
async fn process_shared(
    client: Client,
    configure: fn(ProcessorBuilder) -> ProcessorBuilder,
) -> floe::Result<f64> {
    fill(&client).await?;
    let began = Instant::now();
    let running = configure(client.processor("orders", "invoices"))
        .concurrency(8)
        .map(async |message: Message| {
            tokio::task::yield_now().await;
            Ok(Record { key: message.key, ..Record::new(message.value) })
        })
        .start()
        .await?;
    while running.stats().handled < u64::from(RECORDS) && !running.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = per_record(began);
    let report = running.stop().await?;
    assert_eq!((report.handled, report.dead_letters), (u64::from(RECORDS), 0));
    Ok(took)
}
