//! What telemetry costs: `cargo bench -p floe --bench telemetry`.
//!
//! The same records through four clients, in turns: telemetry off; on without an exporter; with metrics and spans
//! exported; the same inside an active span, whose context every record carries. Prints medians, and how much slower
//! each is than off was in the same round: the median, and the quartiles. `RECORDS`, `SIZE` and `ROUNDS` in the environment change the defaults of 1,000,000, 100 and 9;
//! `URL` the engine, `memory:`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run shall stop")]
#![allow(clippy::print_stdout, reason = "the report")]

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use floe::{Client, TopicSpec, consumer::StartAt, telemetry::TelemetryOptions};
use opentelemetry::{
    Context,
    context::FutureExt as _,
    trace::{TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::SdkMeterProvider,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};

const RUN: usize = 64;

#[derive(Debug)]
struct Discard;

impl SpanExporter for Discard {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

/// Time that this thread has computed, where the system tells; else the time. Everything runs on one thread, and what
/// others on the machine do in between is not part of it.
fn now() -> Duration {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let computed = stat.and_then(|stat| stat.split(' ').next()?.parse().ok());
    computed.map_or_else(|| BEGAN.elapsed(), Duration::from_nanos)
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Times of: produce in runs, produce one at a time, consume by batches, consume one at a time.
async fn round(
    options: TelemetryOptions,
    (records, size): (usize, usize),
    context: Context,
) -> [Duration; 4] {
    let url = std::env::var("URL").unwrap_or_else(|_| "memory:".to_owned());
    let client = Client::builder(&url).telemetry(options).connect().await.unwrap();
    let topics = ["runs", "singles"];
    for topic in topics {
        client.admin().create_topic(TopicSpec::new(topic)).await.unwrap();
    }
    // On a task of the runtime, as programs do it.
    let task = {
        let client = client.clone();
        tokio::spawn(
            async move {
                let value = vec![b'x'; size];
                let began = now();
                let producer = client.producer("runs").start().await.unwrap();
                for run in (0..records).step_by(RUN) {
                    let count = RUN.min(records - run);
                    drop(producer.enqueue_all(std::iter::repeat_n(&value, count)).await.unwrap());
                }
                producer.flush().await.unwrap();
                let runs = now() - began;
                let began = now();
                let producer = client.producer("singles").start().await.unwrap();
                for _ in 0..records {
                    drop(producer.enqueue(&value).await.unwrap());
                }
                producer.flush().await.unwrap();
                (runs, now() - began)
            }
            .with_context(context),
        )
    };
    let (runs, singles) = task.await.unwrap();
    let began = now();
    let mut consumer = client.consumer("runs").from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    let mut seen = 0;
    while let Some(batch) = consumer.next_batch().await.unwrap() {
        seen += batch.borrowed().map(|record| usize::from(record.value.len() == size)).sum::<usize>();
    }
    assert_eq!(seen, records);
    let batched = now() - began;
    let began = now();
    let mut consumer =
        client.consumer("singles").from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    let mut seen = 0;
    while let Some(message) = consumer.try_next().await.unwrap() {
        seen += usize::from(message.value.len() == size);
    }
    assert_eq!(seen, records);
    let single = now() - began;
    for topic in topics {
        client.admin().delete_topic(topic).await.unwrap();
    }
    client.close().await.unwrap();
    [runs, singles, batched, single]
}

/// Quartiles; the middle one is the median.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

fn main() {
    let (records, size, rounds) = (setting("RECORDS", 1_000_000), setting("SIZE", 100), setting("ROUNDS", 9));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build().unwrap();
    let meters = SdkMeterProvider::builder().with_reader(exporter).build();
    let tracers = SdkTracerProvider::builder().with_batch_exporter(Discard).build();
    let exported = || TelemetryOptions::default().meter_provider(&meters).tracer_provider(&tracers);
    let variants = ["off", "no exporter", "exported", "exported, in a span"];
    let mut times: [[Vec<Duration>; 4]; 4] = Default::default();
    for turn in 0..rounds {
        // Each variant is first as often as the others, and follows each neighbour as often.
        let order =
            (0..4).map(|place| if turn % 2 == 0 { (place + turn) % 4 } else { (turn + 4 - place) % 4 });
        for variant in order {
            let (options, context) = match variant {
                0 => (TelemetryOptions::off(), Context::new()),
                1 => (TelemetryOptions::default(), Context::new()),
                2 => (exported(), Context::new()),
                _ => (exported(), Context::current_with_span(tracers.tracer("bench").start("load"))),
            };
            // The one before leaves memory behind, a lot or a little; this one leaves the same for all.
            runtime.block_on(round(TelemetryOptions::off(), (records, size), Context::new()));
            let took = runtime.block_on(round(options, (records, size), context));
            for (times, took) in times[variant].iter_mut().zip(took) {
                times.push(took);
            }
            registry.gather();
        }
    }
    println!(
        "{records} records of {size} B, {rounds} rounds, medians; slower than off in the same round, with quartiles"
    );
    let heads =
        ["produce in runs of 64", "produce one at a time", "consume by batches", "consume one at a time"];
    for (way, head) in heads.into_iter().enumerate() {
        let seconds = |variant: usize| times[variant][way].iter().map(Duration::as_secs_f64);
        for (variant, name) in variants.into_iter().enumerate() {
            let [_, took, _] = quartiles(seconds(variant).collect());
            let rate = records as f64 / took / 1e6;
            // Against its neighbour in time, because the machine is not the same for long.
            let slower = seconds(variant).zip(seconds(0)).map(|(took, off)| (took / off - 1.0) * 100.0);
            let [low, middle, high] = quartiles(slower.collect());
            println!(
                "{head:<24} {name:<20} {rate:>7.2} M records/s {middle:+.1} % ({low:+.1} to {high:+.1})"
            );
        }
    }
}
