//! `floe bench`: writes records, reads them back, and verifies that each arrives once and in order.
//!
//! Without a rate, the producers write as fast as they can, and the consumers read afterwards. With a rate, each record has
//! a time at which it is due, and the consumers read while the producers write. Both use the producer and consumer that
//! applications use. Produce time runs from the first record to the last acknowledgement, consume time from the start of
//! the consumers to the last record.

mod consume;
mod latency;
mod load;
mod output_files;
mod payload;
mod plot;
mod produce;
mod report;
mod schedule;
mod verify;

use std::{
    num::NonZeroU64,
    process,
    sync::Arc,
    time::{Duration, SystemTime},
};

use clap::Args;
use floe::{Client, Codec, Durability, TopicSpec, config::Settings, units, url};
use tokio::{sync::watch, time::Instant};

use self::{
    consume::{Consumers, Read},
    load::{Amount, MAX_RECORDS, Numbering},
    output_files::{OutputFileArgs, OutputFiles},
    payload::Payload,
    produce::Written,
    schedule::{Schedule, Timeline},
};
pub(crate) use self::{load::Load, report::Measurement};
use super::{topic_settings::parse_durability, with_client};
use crate::{
    exit::{Failure, Outcome},
    global::Global,
    interrupt::Interrupt,
    output::{print_document, stdout::note},
};

/// Largest value in bytes, as in `floe produce`: the benchmark allocates it before the producer can reject it.
const MAX_SIZE: usize = 16 * 1024 * 1024;

/// Records of a run unless a flag says otherwise.
const RECORDS: u64 = 1_000_000;

/// Time of a run with a rate unless a flag says otherwise.
const RATED_TIME: Duration = Duration::from_secs(10);

/// Most topics, and most producers and consumers of a topic.
const MAX_TASKS: i64 = 1000;

/// Time between the start of the consumers and the start of the schedule.
const HEAD_START: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Args)]
pub(crate) struct BenchArgs {
    /// Number of records [default: 1000000, or those of 10 s with --rate]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_RECORDS))]
    records: Option<u64>,
    /// Write for this long instead of a number of records
    #[arg(long, value_name = "DURATION", value_parser = parse_time, conflicts_with = "records")]
    duration: Option<Duration>,
    /// Send N records per second at fixed times, whether the engine keeps up or not, and read at the same time. Latency
    /// counts from the time at which a record was due, so a stall delays all records that were due during it [default:
    /// send as fast as the producers accept records, then read]
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rate: Option<NonZeroU64>,
    /// Size of each value in bytes, at least 8
    #[arg(long, value_name = "B", default_value = "100", value_parser = parse_record_size)]
    size: usize,
    /// Number of topics
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MAX_TASKS))]
    topics: u32,
    /// Number of partitions of each topic
    #[arg(long, value_name = "P", default_value_t = 1)]
    partitions: u32,
    /// Number of producers of each topic
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MAX_TASKS))]
    producers: u32,
    /// Number of consumers of each topic, which divide its partitions
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MAX_TASKS))]
    consumers: u32,
    /// Durability of the topics, as in `floe topic create` [default: set by the engine]
    #[arg(long, value_name = "os|always|interval:MS", value_parser = parse_durability)]
    durability: Option<Durability>,
    /// Number from which the values and the times of the records follow; the same number repeats a run
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Codec of batches: none, gzip, snappy, lz4 or zstd. Values are compressible text with a codec, random bytes without
    /// [default: setting compression.codec, or none]
    #[arg(long, value_name = "CODEC")]
    compression: Option<Codec>,
    /// Size of a batch before compression [default: setting producer.batch_size, or 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = super::parse_batch_size)]
    batch_size: Option<usize>,
    /// Time to wait for a batch to fill [default: setting producer.linger, or 0ms]
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    linger: Option<Duration>,
    #[command(flatten)]
    files: OutputFileArgs,
}

impl BenchArgs {
    /// Fills in from the settings what the flags leave open.
    fn load(&self, settings: &Settings) -> Outcome<Load> {
        let compression = &settings.compression;
        let configured = if compression.enabled { compression.codec } else { Codec::None };
        // One default for all engines, so that results are comparable.
        let batch_size = settings.producer.batch_size.unwrap_or(64 * 1024);
        let batch_size = usize::try_from(batch_size).unwrap_or(usize::MAX);
        if self.consumers > self.partitions.max(1) {
            return Err(Failure::usage("each consumer needs a partition of its own")
                .with_hint("raise --partitions, or lower --consumers"));
        }
        Ok(Load {
            amount: self.amount()?,
            rate: self.rate,
            size: self.size,
            topics: self.topics,
            partitions: self.partitions,
            producers: self.producers,
            consumers: self.consumers,
            durability: self.durability,
            seed: self.seed,
            compression: self.compression.unwrap_or(configured),
            batch_size: self.batch_size.unwrap_or(batch_size),
            linger: self.linger.unwrap_or(settings.producer.linger),
        })
    }

    /// Returns the end of the writing. With a rate it is a number of records: if the engine falls behind, the records that
    /// were due are sent late and measured, not left out.
    fn amount(&self) -> Outcome<Amount> {
        match (self.records, self.rate, self.duration) {
            (Some(records), _, _) => Ok(Amount::Records(records)),
            (None, Some(rate), time) => {
                let records = u128::from(rate.get()) * time.unwrap_or(RATED_TIME).as_millis() / 1000;
                match u64::try_from(records) {
                    Ok(records) if records <= MAX_RECORDS => Ok(Amount::Records(records.max(1))),
                    _ => Err(Failure::usage(format!(
                        "this rate and time make more than {MAX_RECORDS} records"
                    ))),
                }
            }
            (None, None, Some(time)) => Ok(Amount::Time(time)),
            (None, None, None) => Ok(Amount::Records(RECORDS)),
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

fn parse_time(text: &str) -> Result<Duration, String> {
    let time = units::parse_duration(text).map_err(|error| error.message().to_owned())?;
    if time.is_zero() { Err("a run takes longer than 0".to_owned()) } else { Ok(time) }
}

fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    let rate = text.parse::<NonZeroU64>().ok().filter(|rate| rate.get() <= 1_000_000_000);
    rate.ok_or_else(|| "use records per second, from 1 to 1000000000".to_owned())
}

/// Parts of a run that its tasks share.
#[derive(Debug)]
struct Bench {
    client: Client,
    load: Load,
    numbering: Numbering,
    payload: Payload,
    /// Name that the topics begin with.
    prefix: String,
}

impl Bench {
    fn new(client: &Client, load: &Load) -> Self {
        Self {
            client: client.clone(),
            load: load.clone(),
            numbering: load.numbering(),
            payload: Payload::new(load.size, load.compression != Codec::None, load.seed),
            prefix: temporary_name(),
        }
    }

    fn topic(&self, topic: u64) -> String {
        if self.load.topics == 1 { self.prefix.clone() } else { format!("{}-{topic}", self.prefix) }
    }
}

pub(crate) async fn run(global: &Global, args: BenchArgs) -> Outcome {
    let interrupt = Interrupt::listen()?;
    // Faulty options are reported before a store or a file is made.
    args.load(global.config.settings())?;
    let files = OutputFiles::create(&args.files)?;
    let measure = async |client: &Client| measure(client, &args.load(client.settings())?, &interrupt).await;
    let measurement = with_client(global, measure).await?;
    files.write(&measurement.title(), &measurement.curves())?;
    print_document(global.output, &measurement.to_json(), &measurement.to_text())?;
    measurement.check()
}

/// Runs the benchmark in temporary topics, which it deletes even after an error, where the engine can delete topics.
pub(crate) async fn measure(client: &Client, load: &Load, interrupt: &Interrupt) -> Outcome<Measurement> {
    let capabilities = client.info().capabilities;
    if !capabilities.binary {
        // The number and the filler of a value are binary, which such an engine rejects or changes.
        return Err(Failure::usage("the benchmark needs binary values, which this engine does not support")
            .with_hint("on Walrus, use framing=packed, the default"));
    }
    let bench = Arc::new(Bench::new(client, load));
    let mut created = Vec::new();
    let outcome = tokio::select! {
        outcome = measure_in(&bench, &mut created) => outcome,
        () = interrupt.pressed() => Err(Failure::interrupted()),
    };
    if !capabilities.delete_topic {
        for topic in created {
            note(&format!(
                "the topic {topic} remains: the {} engine cannot delete topics",
                client.info().name
            ));
        }
        return outcome;
    }
    let mut kept = None;
    for topic in created {
        if let Err(error) = client.admin().delete_topic(topic.as_str()).await {
            kept = Some(Failure::from(error).explained(format!("the topic {topic} could not be deleted")));
        }
    }
    let measurement = outcome?;
    kept.map_or(Ok(measurement), Err)
}

/// Returns a topic name that no other run uses, on this machine or another.
fn temporary_name() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("floe-bench-{}-{:x}", process::id(), now.as_nanos() & 0xffff_ffff_ffff)
}

/// Creates the topics, whose names it adds to `created`, and measures.
async fn measure_in(bench: &Arc<Bench>, created: &mut Vec<String>) -> Outcome<Measurement> {
    for topic in 0..u64::from(bench.load.topics) {
        let mut spec = TopicSpec::new(bench.topic(topic)).partitions(bench.load.partitions);
        spec.durability = bench.load.durability;
        bench.client.admin().create_topic(spec).await?;
        created.push(bench.topic(topic));
    }
    let (written, read) = match (bench.load.schedule(), bench.load.amount) {
        (Some(schedule), Amount::Records(records)) => keep_the_rate(bench, schedule, records).await?,
        _ => {
            let written = produce::produce(bench, None).await?;
            let consumers = Consumers::start(bench, &written.sent, true).await?;
            let (_done, finished) = watch::channel(true);
            let read = consumers.run(bench, None, &finished).await?;
            (written, read)
        }
    };
    Ok(Measurement {
        load: bench.load.clone(),
        url: url::shown(bench.client.url()),
        engine: bench.client.info().name,
        produce: written.measured,
        latency: written.latency,
        end_to_end: read.end_to_end,
        consume: read.measured,
        verdict: read.verdict,
    })
}

/// Writes and reads at the same time, each record when it is due. A failure of one side ends the other.
async fn keep_the_rate(bench: &Arc<Bench>, schedule: Schedule, records: u64) -> Outcome<(Written, Read)> {
    let shares: Vec<_> =
        bench.numbering.writers().map(|writer| bench.numbering.share(records, writer)).collect();
    let consumers = Consumers::start(bench, &shares, false).await?;
    let timeline = Timeline { schedule, start: Instant::now() + HEAD_START };
    let (done, finished) = watch::channel(false);
    let write = async {
        let written = produce::produce(bench, Some(timeline)).await?;
        done.send_replace(true);
        Ok(written)
    };
    tokio::try_join!(write, consumers.run(bench, Some(timeline), &finished))
}

#[cfg(test)]
mod tests {
    use floe::Topic;

    use super::*;

    #[test]
    fn temporary_topic_has_a_valid_name() {
        Topic::from(temporary_name()).validate().unwrap();
    }

    fn args(line: &[&str]) -> BenchArgs {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: BenchArgs,
        }
        <Line as clap::Parser>::parse_from([&["bench"][..], line].concat()).args
    }

    #[test]
    fn rate_and_duration_are_a_number_of_records() {
        let amount = |line: &[&str]| args(line).amount().ok();
        assert_eq!(amount(&[]), Some(Amount::Records(RECORDS)));
        assert_eq!(amount(&["--rate", "500"]), Some(Amount::Records(5000)));
        assert_eq!(amount(&["--rate", "500", "--duration", "3s"]), Some(Amount::Records(1500)));
        assert_eq!(amount(&["--rate", "500", "--records", "7"]), Some(Amount::Records(7)));
        assert_eq!(amount(&["--duration", "3s"]), Some(Amount::Time(Duration::from_secs(3))));
        assert_eq!(amount(&["--rate", "1", "--duration", "1ms"]), Some(Amount::Records(1)));
        assert_eq!(amount(&["--rate", "1000000000", "--duration", "1h"]), None);
        assert!(parse_rate("0").is_err() && parse_rate("2000000000").is_err() && parse_rate("1.5").is_err());
        assert!(parse_time("0s").is_err());
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
