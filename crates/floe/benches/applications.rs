//! What the layers for applications cost: `cargo bench -p floe --bench applications`.
//!
//! Typed payloads against the same serializer by hand, a processor that keeps the order of keys against one that keeps
//! none, and exactly once against at least once, on the engine `memory:`. All variants run once in each round, the first of a round another one each time;
//! what is compared is compared within a round, and the medians over the rounds are printed, with their quartiles.
//! `-- send`, `-- read`, `-- processor` and `-- exact` run one part alone; the last also times take-overs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use floe::{
    Client, Message, Record, Topic, TopicSpec,
    consumer::{Membership, StartAt},
    layer::{Layer, Operation},
    processor::{Order as Keeping, ProcessorBuilder},
};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

const RECORDS: u32 = 200_000;
const ROUNDS: usize = 31;
/// Take-overs of each kind and size.
const TAKE_OVERS: usize = 5;

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
                cost_of_exactness(&rounds([at_least_once, exactly_once, recorded]).await?);
                take_over_times().await?;
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
fn cost_of_exactness(times: &[[f64; 3]]) {
    let name = "processor, shared";
    for (index, variant) in ["at least once", "exactly once", "recorded"].into_iter().enumerate() {
        print(name, variant, &column(times, index), "ns a record");
    }
    let rates = times.iter().map(|[least, exact, _]| least / exact * 100.0);
    print(name, "rate, exactly once", &rates.collect::<Vec<_>>(), "% of that at least once");
    let rates = times.iter().map(|[least, _, recorded]| least / recorded * 100.0);
    print(name, "rate, recorded", &rates.collect::<Vec<_>>(), "% of that at least once");
}

/// Prints how long a processor takes to go on after one that died, by the bytes that this one has written since its commit.
async fn take_over_times() -> floe::Result<()> {
    for (records, name) in [(1, "1 MB"), (10, "10 MB"), (100, "100 MB")].map(|(mb, name)| (mb * 1024, name)) {
        for (mode, configure) in [
            ("exactly once", ProcessorBuilder::exactly_once as fn(ProcessorBuilder) -> ProcessorBuilder),
            ("recorded", ProcessorBuilder::recorded),
        ] {
            let mut times = Vec::new();
            for _ in 0..TAKE_OVERS {
                times.push(take_over(records, configure).await?);
            }
            print(&format!("take-over, {mode}"), name, &times, "ms");
        }
    }
    Ok(())
}

/// Layer of a process that can die: from then on nothing of it reaches the engine.
#[derive(Debug, Clone, Default)]
struct Mortal(Arc<AtomicBool>);

impl Layer for Mortal {
    async fn around<'a, T, F>(&'a self, _: &Operation, attempt: F) -> floe::Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, floe::Result<T>> + Send + Sync,
    {
        if self.0.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        attempt().await
    }
}

/// Lets a processor that does not commit write so many records of a KiB, dies with it, and gives the milliseconds from the start of
/// the next one, which has its name, until that has looked at all of them.
async fn take_over(records: u64, configure: fn(ProcessorBuilder) -> ProcessorBuilder) -> floe::Result<f64> {
    let client = client().await?;
    let producer = client.producer("orders").start().await?;
    producer.enqueue_all((0..records).map(|_| vec![b'x'; 1_000])).await?.await?;
    let start = |client: &Client, seconds| {
        configure(client.processor("orders", "invoices"))
            .shared_as(Membership::new().session(Duration::from_secs(3_600)).instance("worker"))
            .commit_interval(Duration::from_secs(seconds))
            .concurrency(8)
            .map(async |message: Message| Ok(Record::new(message.value)))
    };
    let mortal = Mortal::default();
    let dies = Client::from_engine(mortal.clone().layer(Arc::clone(client.engine())));
    let first = tokio::spawn(start(&dies, 3_600).run(std::future::pending()));
    while client.admin().watermarks(Topic::from("invoices").partition(0)).await?.records() < records {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    mortal.0.store(true, Ordering::Relaxed);
    first.abort();
    let began = Instant::now();
    let second = start(&client, 1).start().await?;
    while second.stats().handled < records
        && !second.is_finished()
        && began.elapsed() < Duration::from_secs(60)
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = began.elapsed().as_secs_f64() * 1e3;
    let report = second.stop().await?;
    assert_eq!((report.handled, report.produced), (records, 0));
    client.close().await?;
    Ok(took)
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
    println!("{name:<26}{what:<20}{:>9.1} {unit} ({:.1} to {:.1})", at(2), at(1), at(3));
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

fn recorded(client: Client) -> BoxFuture<'static, floe::Result<f64>> {
    Box::pin(process_shared(client, ProcessorBuilder::recorded))
}

/// As [`process`], in a shared group, whose processors have no end.
async fn process_shared(
    client: Client,
    configure: fn(ProcessorBuilder) -> ProcessorBuilder,
) -> floe::Result<f64> {
    fill(&client).await?;
    let running = configure(client.processor("orders", "invoices"))
        .concurrency(8)
        .map(async |message: Message| {
            tokio::task::yield_now().await;
            Ok(Record { key: message.key, ..Record::new(message.value) })
        })
        .start()
        .await?;
    let handled = |records| {
        let running = &running;
        async move {
            while running.stats().handled < records && !running.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    // Joining the group takes the same time, however many records there are.
    handled(1).await;
    let (began, before) = (Instant::now(), running.stats().handled);
    handled(u64::from(RECORDS)).await;
    let took = began.elapsed().as_nanos() as f64 / (u64::from(RECORDS) - before).max(1) as f64;
    let report = running.stop().await?;
    assert_eq!((report.handled, report.dead_letters), (u64::from(RECORDS), 0));
    Ok(took)
}
