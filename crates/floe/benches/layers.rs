//! What the layers of a client cost: `cargo bench -p floe --bench layers`.
//!
//! The same engine, a log in memory, bare and behind each layer, then behind all that engines on the network get. Two
//! calls are made through each: `watermarks`, which does almost nothing, so that the layer shows; and `append` of a batch
//! of 64 KiB, which is what producers do. Then records go through a producer and a consumer, over the engine with only
//! what every client has, and over all layers. Each round goes through all variants in turn; medians are printed.
//! `CALLS`, `RECORDS` and `ROUNDS` in the environment change the defaults of 20,000, 500,000 and 11.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run shall stop")]
#![allow(clippy::print_stdout, reason = "the report")]

use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use floe::{
    Client, RetryPolicy, TopicPartition, TopicSpec,
    consumer::StartAt,
    engine::{Acks, AppendRequest, EmbeddedEngine, SharedEngine},
    layer::{Breaker, BreakerPolicy, Layer as _, Limit, Limits, Retry, Timeout},
    telemetry::TelemetryOptions,
};
use floe_log::{Store, StoreConfig};
use floe_wire::batch::{BatchBuilder, EncodedBatch, FinishOptions};

/// As the setting `client.attempt_timeout`.
const ATTEMPT: Duration = Duration::from_secs(25);
/// Records handed over together.
const RUN: usize = 64;
const VALUE: [u8; 100] = [b'x'; 100];

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn bare() -> SharedEngine {
    let store = Store::open(StoreConfig::memory()).unwrap();
    let engine: SharedEngine = Arc::new(EmbeddedEngine::over(store, "memory".to_owned()));
    engine.create_topic(TopicSpec::new("orders")).await.unwrap();
    engine
}

fn plenty() -> Limits {
    Limits::default().concurrency(NonZeroU32::new(1000).unwrap())
}

/// A client with nothing that can be left out, and one with everything that engines on the network get.
fn client(engine: SharedEngine, everything: bool) -> Client {
    let builder = Client::builder("memory:");
    let builder = if everything {
        builder.retry(RetryPolicy::calls()).breaker(BreakerPolicy::default()).attempt_timeout(ATTEMPT)
    } else {
        builder.telemetry(TelemetryOptions::off())
    };
    builder.from_engine(engine).unwrap()
}

const VARIANTS: [&str; 7] =
    ["bare", "error context", "timeout", "breaker", "retry", "limits", "all of a network client"];

fn variant(index: usize, engine: SharedEngine) -> SharedEngine {
    match index {
        0 => engine,
        1 => Arc::clone(client(engine, false).engine()),
        2 => Timeout::new(ATTEMPT).layer(engine),
        3 => Breaker::around(BreakerPolicy::default(), engine).0,
        4 => Retry::new(RetryPolicy::calls()).layer(engine),
        5 => Limit::new(plenty()).layer(engine),
        _ => Arc::clone(client(engine, true).engine()),
    }
}

fn batch() -> EncodedBatch {
    let mut builder = BatchBuilder::new(65_536);
    while builder.len() < 65_000 {
        builder.append(1_700_000_000_000, None, &VALUE, &[]).unwrap();
    }
    builder.finish(FinishOptions::default()).unwrap()
}

fn at() -> TopicPartition {
    floe::Topic::from("orders").partition(0)
}

/// Nanoseconds of one call: `watermarks`, then `append`.
async fn calls(index: usize, count: usize, batch: &EncodedBatch) -> [f64; 2] {
    let engine = variant(index, bare().await);
    let each = |began: Instant, count: usize| began.elapsed().as_nanos() as f64 / count as f64;
    let began = Instant::now();
    for _ in 0..count {
        engine.watermarks(at()).await.unwrap();
    }
    let watermarks = each(began, count);
    let appends = count / 20;
    let began = Instant::now();
    for _ in 0..appends {
        engine.append(AppendRequest::new(at(), batch.clone(), Acks::Leader)).await.unwrap();
    }
    [watermarks, each(began, appends)]
}

/// Nanoseconds of one record: in, then out.
async fn records(everything: bool, count: usize) -> [f64; 2] {
    let client = client(bare().await, everything);
    let each = |began: Instant| began.elapsed().as_nanos() as f64 / count as f64;
    let began = Instant::now();
    let producer = client.producer("orders").start().await.unwrap();
    for run in (0..count).step_by(RUN) {
        let values = std::iter::repeat_n(&VALUE[..], RUN.min(count - run));
        drop(producer.enqueue_all(values).await.unwrap());
    }
    producer.flush().await.unwrap();
    let produced = each(began);
    let began = Instant::now();
    let mut consumer =
        client.consumer("orders").from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    let mut seen = 0;
    while let Some(batch) = consumer.next_batch().await.unwrap() {
        seen += batch.borrowed().count();
    }
    assert_eq!(seen, count);
    [produced, each(began)]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let (count, per_run, rounds) =
        (setting("CALLS", 20_000), setting("RECORDS", 500_000), setting("ROUNDS", 11));
    let batch = batch();
    // One thread: what is measured is the work of the layers, not who does it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut of_calls = vec![[const { Vec::new() }; 2]; VARIANTS.len()];
    let mut ratios = [const { Vec::new() }; 2];
    for turn in 0..=rounds {
        for index in (0..VARIANTS.len()).map(|place| (place + turn) % VARIANTS.len()) {
            let took = runtime.block_on(calls(index, count, &batch));
            // The first round warms up.
            if turn > 0 {
                for (all, took) in of_calls[index].iter_mut().zip(took) {
                    all.push(took);
                }
            }
        }
        let order = if turn % 2 == 0 { [false, true] } else { [true, false] };
        let took = order.map(|everything| (everything, runtime.block_on(records(everything, per_run))));
        if turn > 0 {
            let of = |wanted| took.iter().find(|(everything, _)| *everything == wanted).unwrap().1;
            for ((ratios, all), none) in ratios.iter_mut().zip(of(true)).zip(of(false)) {
                ratios.push(all / none);
            }
        }
    }
    println!("{:<24} {:>12} {:>18}", "engine behind", "watermarks", "append of 64 KiB");
    let bare = median(of_calls[0][1].clone());
    for (name, took) in VARIANTS.iter().zip(of_calls) {
        let [watermarks, append] = took.map(median);
        println!(
            "{name:<24} {watermarks:>9.0} ns {append:>15.0} ns ({:+.0} ns, {:+.1} %)",
            append - bare,
            (append / bare - 1.0) * 100.0
        );
    }
    let [produce, consume] = ratios.map(|ratios| (median(ratios) - 1.0) * 100.0);
    println!("all of a network client against none: produce {produce:+.1} %, consume {consume:+.1} %");
}
