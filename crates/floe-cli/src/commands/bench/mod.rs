//! `floe bench`: writes records, reads them back, and verifies that each arrives once and in order.
//!
//! Produce time runs from the first record to the last acknowledgement, consume time from the start of the consumer to
//! the last record. Both use the producer and consumer that applications use.

mod latency;
mod payload;
mod report;
mod verify;

use std::{
    process,
    time::{Duration, Instant, SystemTime},
};

use clap::Args;
use floe::{Client, Codec, TopicSpec, config::Settings, consumer::StartAt, units, url};

pub(crate) use self::report::{Measured, Measurement};
use self::{latency::LatencySampler, payload::Payload, verify::Verifier};
use super::with_client;
use crate::{
    exit::{Failure, Outcome},
    global::Global,
    interrupt::Interrupt,
    output::{print_document, stdout::note},
};

/// Records per call of the producer, as in a program with many records at hand.
const RUN: u64 = 64;

/// Idle time after which missing records count as lost, on an engine without offsets.
const SILENCE: Duration = Duration::from_secs(30);

/// Most records of one run; the verifier keeps one bit per record.
const MAX_RECORDS: u64 = 1 << 33;

/// Largest value in bytes, as in `floe produce`: the benchmark allocates it before the producer can reject it.
const MAX_SIZE: usize = 16 * 1024 * 1024;

#[derive(Debug, Clone, Args)]
pub(crate) struct BenchArgs {
    /// Number of records
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=MAX_RECORDS))]
    pub(crate) records: u64,
    /// Size of each value in bytes, at least 8
    #[arg(long, value_name = "B", default_value = "100", value_parser = parse_record_size)]
    pub(crate) size: usize,
    /// Number of partitions of the topic
    #[arg(long, value_name = "P", default_value_t = 1)]
    pub(crate) partitions: u32,
    /// Codec of batches: none, gzip, snappy, lz4 or zstd. Values are compressible text with a codec, random bytes without
    /// [default: setting compression.codec, or none]
    #[arg(long, value_name = "CODEC")]
    pub(crate) compression: Option<Codec>,
    /// Size of a batch before compression [default: setting producer.batch_size, or 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = super::parse_batch_size)]
    pub(crate) batch_size: Option<usize>,
    /// Time to wait for a batch to fill [default: setting producer.linger, or 0ms]
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    pub(crate) linger: Option<Duration>,
}

/// Parameters of a benchmark, from flags and settings.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) records: u64,
    pub(crate) size: usize,
    pub(crate) partitions: u32,
    pub(crate) compression: Codec,
    pub(crate) batch_size: usize,
    pub(crate) linger: Duration,
}

impl BenchArgs {
    /// Fills in from the settings what the flags leave open.
    fn load(&self, settings: &Settings) -> Load {
        let compression = &settings.compression;
        let configured = if compression.enabled { compression.codec } else { Codec::None };
        // One default for all engines, so that results are comparable.
        let batch_size = settings.producer.batch_size.unwrap_or(64 * 1024);
        let batch_size = usize::try_from(batch_size).unwrap_or(usize::MAX);
        Load {
            records: self.records,
            size: self.size,
            partitions: self.partitions,
            compression: self.compression.unwrap_or(configured),
            batch_size: self.batch_size.unwrap_or(batch_size),
            linger: self.linger.unwrap_or(settings.producer.linger),
        }
    }
}

fn parse_record_size(text: &str) -> Result<usize, String> {
    let size = units::parse_size(text).map_err(|error| error.message().to_owned())?;
    match usize::try_from(size) {
        Ok(size) if size < payload::NUMBER_LEN => {
            Err(format!("the minimum is {} bytes, for the number of the record", payload::NUMBER_LEN))
        }
        Ok(size) if size <= MAX_SIZE => Ok(size),
        _ => Err(format!("the maximum is {MAX_SIZE} bytes")),
    }
}

pub(crate) async fn run(global: &Global, args: BenchArgs) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let measurement =
        with_client(global, async |client| measure(client, &args.load(client.settings()), &interrupt).await)
            .await?;
    print_document(global.output, &measurement.to_json(), &measurement.to_text())?;
    measurement.check()
}

/// Runs the benchmark in a temporary topic, which it deletes even after an error, where the engine can delete topics.
pub(crate) async fn measure(client: &Client, load: &Load, interrupt: &Interrupt) -> Outcome<Measurement> {
    let capabilities = client.info().capabilities;
    if !capabilities.binary {
        // The number and the filler of a value are binary, which such an engine rejects or changes.
        return Err(Failure::usage("the benchmark needs binary values, which this engine does not support")
            .with_hint("on Walrus, use framing=packed, the default"));
    }
    let topic = temporary_name();
    client.admin().create_topic(TopicSpec::new(topic.as_str()).partitions(load.partitions)).await?;
    let outcome = tokio::select! {
        outcome = measure_in(client, load, &topic) => outcome,
        () = interrupt.pressed() => Err(Failure::interrupted()),
    };
    if !capabilities.delete_topic {
        note(&format!("the topic {topic} remains: the {} engine cannot delete topics", client.info().name));
        return outcome;
    }
    let deleted = client.admin().delete_topic(topic.as_str()).await;
    let measurement = outcome?;
    deleted
        .map_err(|error| Failure::from(error).explained(format!("the topic {topic} could not be deleted")))?;
    Ok(measurement)
}

/// Returns a topic name that no other run uses, on this machine or another.
fn temporary_name() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("floe-bench-{}-{:x}", process::id(), now.as_nanos() & 0xffff_ffff_ffff)
}

async fn measure_in(client: &Client, load: &Load, topic: &str) -> Outcome<Measurement> {
    let payload = Payload::new(load.size, load.compression != Codec::None);
    let (produce, latency) = produce(client, load, topic, &payload).await?;
    let mut verifier = Verifier::new(load.records, &payload);
    let consume = consume(client, topic, &mut verifier).await?;
    Ok(Measurement {
        load: load.clone(),
        url: url::shown(client.url()),
        engine: client.info().name,
        produce,
        latency,
        consume,
        verdict: verifier.verdict(),
    })
}

async fn produce(
    client: &Client,
    load: &Load,
    topic: &str,
    payload: &Payload,
) -> Outcome<(Measured, hdrhistogram::Histogram<u64>)> {
    let producer = client
        .producer(topic)
        .linger(load.linger)
        .batch_size(load.batch_size)
        .compression(load.compression)
        .start()
        .await?;
    let mut latency = LatencySampler::start(load.records.div_ceil(RUN))?;
    let mut values = vec![0; load.size * RUN as usize];
    let begun = Instant::now();
    for run in 0..load.records.div_ceil(RUN) {
        let numbers = run * RUN..load.records.min((run + 1) * RUN);
        let mut filled = 0;
        for (number, value) in numbers.zip(values.chunks_exact_mut(load.size)) {
            payload.fill(number, value);
            filled += value.len();
        }
        // The clock starts before the call, so that latency includes backpressure.
        let started = latency.wants(run).then(Instant::now);
        let deliveries = producer.enqueue_all(values[..filled].chunks_exact(load.size)).await?;
        match started {
            Some(started) => latency.watch(started, deliveries).await,
            None => drop(deliveries),
        }
    }
    producer.flush().await?;
    let time = begun.elapsed();
    let latency = latency.finish().await?;
    let report = producer.close().await?;
    if let Some(undelivered) = report.undelivered.first() {
        return Err(undelivered.error.clone().into());
    }
    Ok((Measured { records: load.records, bytes: load.records * load.size as u64, time }, latency))
}

async fn consume(client: &Client, topic: &str, verifier: &mut Verifier<'_>) -> Outcome<Measured> {
    let has_end = client.info().capabilities.offsets;
    let begun = Instant::now();
    let mut builder = client.consumer(topic).from(StartAt::Beginning);
    if has_end {
        builder = builder.stop_at_end();
    }
    let mut consumer = builder.start().await?;
    let (mut records, mut bytes) = (0, 0);
    let mut time = begun.elapsed();
    // Without offsets the end is unknown: reading ends when every record was seen, or after the idle time.
    while has_end || verifier.is_waiting() {
        let next = if has_end {
            consumer.next_batch().await?
        } else {
            match tokio::time::timeout(SILENCE, consumer.next_batch()).await {
                Ok(next) => next?,
                Err(_) => break,
            }
        };
        let Some(batch) = next else { break };
        records += batch.len() as u64;
        for record in batch.borrowed() {
            bytes += record.value.len() as u64;
            verifier.check(batch.partition, record.value);
        }
        time = begun.elapsed();
        // Yields from time to time: batches that are always ready would otherwise block the check for Ctrl-C.
        tokio::task::consume_budget().await;
    }
    consumer.close().await?;
    Ok(Measured { records, bytes, time })
}

#[cfg(test)]
mod tests {
    use floe::Topic;

    use super::*;

    #[test]
    fn temporary_topic_has_a_valid_name() {
        Topic::from(temporary_name()).validate().unwrap();
    }

    #[test]
    fn record_size_has_room_for_the_number() {
        assert_eq!(parse_record_size("8"), Ok(8));
        assert_eq!(parse_record_size("1KiB"), Ok(1024));
        assert!(parse_record_size("7").is_err());
        assert_eq!(parse_record_size("16MiB"), Ok(MAX_SIZE));
        assert!(parse_record_size("99999999999").is_err(), "exceeds the maximum");
    }
}
