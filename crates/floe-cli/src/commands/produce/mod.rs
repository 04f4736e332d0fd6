//! `floe produce`: writes records, one for each line of the input unless `--raw`.
//!
//! ```text
//! reading thread ──chunks of whole lines──► this task ──enqueue──► producer
//! ```
//!
//! The thread reads while the task waits under backpressure. A read that never returns, as from a terminal, delays
//! neither Ctrl-C nor the report of an error.

mod input;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use floe::{
    Bytes, Client, Codec, Error, ErrorKind, Record, SmartModule,
    exchange::ParsedRecord,
    producer::{Producer, ProducerBuilder},
    units,
};
use indicatif::ProgressBar;
use serde_json::json;
use tokio::sync::mpsc;

use self::input::{Chunk, ChunkValues, InputError, InputFormat};
use super::{fluvio::smartmodule_options::SmartModuleArgs, wait_for_topic, with_reader};
use crate::{
    escape::unescape,
    exit::{Failure, Outcome},
    global::Global,
    interrupt::Interrupt,
    output::{amount, progress, stdout::note},
};

/// Longest line or `--raw` record in bytes. It bounds memory for an input without newlines; the limit of the producer
/// is at most this.
const LONGEST_RECORD: usize = 16 * 1024 * 1024;

#[derive(Debug, Args)]
pub(crate) struct ProduceArgs {
    /// Topic to write to
    topic: String,
    /// File to read [default: standard input, also as `-`]
    file: Option<PathBuf>,
    /// Split each line into key and value at the first SEP, with the escapes \t and \xNN; a line without SEP has no key
    #[arg(short = 'K', long, value_name = "SEP", conflicts_with_all = ["key", "raw"], value_parser = parse_separator, allow_hyphen_values = true)]
    key_separator: Option<Bytes>,
    /// Key of every record
    #[arg(short, long, value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,
    /// Header of every record, as name=value or name:value; may be repeated
    #[arg(short = 'H', long, value_name = "NAME=VALUE", value_parser = parse_header)]
    header: Vec<(String, Bytes)>,
    /// Send the whole input as one record
    #[arg(long)]
    raw: bool,
    /// Format of the input
    #[arg(long, value_name = "FORMAT", default_value_t, value_enum, conflicts_with = "raw")]
    input: InputFormat,
    /// Keep the times of the records (jsonl and csv) [default: the time of sending]
    #[arg(long)]
    keep_timestamps: bool,
    /// Keep the partitions of the records (jsonl and csv) [default: by key, else round robin]
    #[arg(long, conflicts_with = "partition")]
    keep_partitions: bool,
    /// Send all records to this partition [default: by key, else round robin]
    #[arg(short, long, value_name = "P")]
    partition: Option<u32>,
    /// Codec of batches: none, gzip, snappy, lz4 or zstd [default: setting compression.codec, or none]
    #[arg(long, value_name = "CODEC")]
    compression: Option<Codec>,
    /// Time to wait for a batch to fill, such as 5ms [default: setting producer.linger, or 0ms]
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    linger: Option<Duration>,
    /// Size of a batch before compression [default: setting producer.batch_size, or set by the engine]
    #[arg(long, value_name = "SIZE", value_parser = super::parse_batch_size)]
    batch_size: Option<usize>,
    #[command(flatten)]
    smartmodules: SmartModuleArgs,
}

/// Key, headers and partition that the options add to each value.
#[derive(Debug)]
struct Envelope {
    key_separator: Option<memchr::memmem::Finder<'static>>,
    separator_len: usize,
    key: Option<Bytes>,
    headers: Vec<(String, Bytes)>,
    partition: Option<u32>,
    keeps_timestamps: bool,
    keeps_partitions: bool,
}

impl Envelope {
    fn new(args: &ProduceArgs) -> Self {
        let finder = |separator: &Bytes| memchr::memmem::Finder::new(separator.as_ref()).into_owned();
        Self {
            key_separator: args.key_separator.as_ref().map(finder),
            separator_len: args.key_separator.as_ref().map_or(0, Bytes::len),
            key: args.key.clone().map(Bytes::from),
            headers: args.header.clone(),
            partition: args.partition,
            keeps_timestamps: args.keep_timestamps,
            keeps_partitions: args.keep_partitions,
        }
    }

    /// Completes a record that the input holds as a whole.
    fn complete(&self, parsed: ParsedRecord) -> Record {
        let mut record = parsed.record;
        record.key = record.key.or_else(|| self.key.clone());
        record.headers.extend(self.headers.iter().cloned());
        record.timestamp = record.timestamp.filter(|_| self.keeps_timestamps);
        record.partition = if self.keeps_partitions { parsed.partition } else { self.partition };
        record
    }

    fn record<'a>(&self, chunk: &Bytes, line: &'a [u8]) -> Record<&'a [u8]> {
        let (key, value) = match &self.key_separator {
            None => (self.key.clone(), line),
            Some(separator) => match separator.find(line) {
                Some(at) => (Some(chunk.slice_ref(&line[..at])), &line[at + self.separator_len..]),
                None => (None, line),
            },
        };
        Record { key, value, headers: self.headers.clone(), timestamp: None, partition: self.partition }
    }
}

/// Progress of sending.
#[derive(Debug, Default)]
struct Progress {
    records: u64,
    /// Bytes of keys and values in the input.
    bytes: u64,
    interrupted: bool,
    /// Failure that ended sending before the end of the input.
    stopped: Option<Failure>,
}

pub(crate) async fn run(global: &Global, args: ProduceArgs) -> Outcome {
    let has_records = matches!(args.input, InputFormat::Jsonl | InputFormat::Csv);
    if (args.keep_timestamps || args.keep_partitions) && !has_records {
        return Err(Failure::usage("--keep-timestamps and --keep-partitions need --input jsonl or csv"));
    }
    if args.key_separator.is_some() && args.input != InputFormat::Text && args.input != InputFormat::Null {
        return Err(Failure::usage("--key-separator splits lines of text: leave it out, or --input"));
    }
    let interrupt = Interrupt::listen()?;
    let modules = args.smartmodules.load(global).await?;
    // A new store has no topic to write to.
    with_reader(global, async |client| produce(global, &args, client, (modules, &interrupt)).await).await
}

async fn produce(
    global: &Global,
    args: &ProduceArgs,
    client: &Client,
    (modules, interrupt): (Vec<SmartModule>, &Interrupt),
) -> Outcome {
    let mut builder = client.producer(args.topic.as_str());
    if let Some(linger) = args.linger {
        builder = builder.linger(linger);
    }
    if let Some(size) = args.batch_size {
        builder = builder.batch_size(size);
    }
    if let Some(codec) = args.compression {
        builder = builder.compression(codec);
    }
    wait_for_topic(global, client, &args.topic).await;
    // The producer starts before the first read, so that an error comes before a person types lines in vain.
    let producer = modules.into_iter().fold(builder, ProducerBuilder::smartmodule).start().await?;
    if let Some(partition) = args.partition.filter(|partition| *partition >= producer.partitions()) {
        let message = format!("the topic has {}", amount::count(producer.partitions().into(), "partition"));
        return Err(Error::new(ErrorKind::PartitionNotFound, message)
            .with_topic(producer.topic())
            .with_partition(partition)
            .into());
    }
    let (source, size) = open(args.file.as_deref())?;
    let bar = progress::bar(size, "{decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}");
    let envelope = Envelope::new(args);
    let begun = Instant::now();
    let mut chunks = input::spawn(source, (args.raw, args.input), LONGEST_RECORD)
        .map_err(|error| Failure::io("cannot start the reading thread", &error))?;
    let progress = send_all(&producer, &mut chunks, &envelope, (&bar, interrupt)).await;
    let report = producer.close().await?;
    bar.finish_and_clear();
    summarise(global, producer.topic().as_str(), &progress, (report.delivered, begun.elapsed()));

    let lost: u64 = report.undelivered.iter().map(|undelivered| undelivered.records).sum();
    if let Some(first) = report.undelivered.first() {
        let message = format!(
            "{} of {} not delivered",
            amount::thousands(lost),
            amount::count(progress.records, "record")
        );
        return Err(if report.delivered > 0 {
            Failure::partial(message, &first.error)
        } else {
            Failure::from(first.error.clone()).explained(message)
        });
    }
    match progress.stopped {
        Some(failure) => Err(failure),
        None if progress.interrupted => Err(Failure::interrupted()),
        None => Ok(()),
    }
}

/// Enqueues all lines until the input ends, an error occurs or Ctrl-C is pressed.
async fn send_all(
    producer: &Producer,
    chunks: &mut mpsc::Receiver<Result<Chunk, InputError>>,
    envelope: &Envelope,
    (bar, interrupt): (&ProgressBar, &Interrupt),
) -> Progress {
    let mut progress = Progress::default();
    loop {
        let received = tokio::select! {
            received = chunks.recv() => received,
            () = interrupt.pressed() => None,
        };
        let chunk = match received {
            None => {
                progress.interrupted = interrupt.is_pressed();
                return progress;
            }
            Some(Ok(chunk)) => chunk,
            Some(Err(error)) => {
                progress.stopped = Some(input_failure(&error, progress.records));
                return progress;
            }
        };
        let len = match &chunk {
            Chunk::Values { bytes, .. } => bytes.len(),
            Chunk::Records { len, .. } => *len,
        };
        if let Err(error) = enqueue_chunk(producer, chunk, envelope, interrupt, &mut progress).await {
            progress.stopped = Some(record_failure(&error, progress.records));
            return progress;
        }
        if interrupt.is_pressed() {
            progress.interrupted = true;
            return progress;
        }
        bar.inc(len as u64);
        // After a failed delivery there is no point in reading on; the close reports the cause.
        if producer.stats().failed > 0 {
            return progress;
        }
    }
}

/// Enqueues the records of a chunk, until Ctrl-C is pressed.
async fn enqueue_chunk(
    producer: &Producer,
    chunk: Chunk,
    envelope: &Envelope,
    interrupt: &Interrupt,
    progress: &mut Progress,
) -> floe::Result<()> {
    // The report of the close holds the outcome of every record; waiting for each delivery here would send one batch per
    // record.
    match chunk {
        Chunk::Values { bytes, shape } => {
            for value in ChunkValues::of(&bytes, shape).take_while(|_| !interrupt.is_pressed()) {
                drop(producer.enqueue(envelope.record(&bytes, value)).await?);
                progress.records += 1;
                progress.bytes += value.len() as u64;
            }
        }
        Chunk::Records { records, .. } => {
            for parsed in records.into_iter().take_while(|_| !interrupt.is_pressed()) {
                let record = envelope.complete(parsed);
                let len = record.value.len() + record.key.as_ref().map_or(0, Bytes::len);
                drop(producer.enqueue(record).await?);
                progress.records += 1;
                progress.bytes += len as u64;
            }
        }
    }
    Ok(())
}

fn record_failure(error: &Error, sent_before: u64) -> Failure {
    let message = format!("record {} of the input was rejected", amount::thousands(sent_before + 1));
    if sent_before == 0 {
        return Failure::from(error.clone()).explained(message);
    }
    Failure::partial(format!("{message}; {} sent before it", amount::count(sent_before, "record")), error)
}

fn input_failure(error: &InputError, sent_before: u64) -> Failure {
    match error {
        InputError::TooLong => record_failure(
            &Error::new(
                ErrorKind::RecordTooLarge,
                format!("the record is longer than {} bytes", amount::thousands(LONGEST_RECORD as u64)),
            ),
            sent_before,
        ),
        InputError::Malformed(error) => record_failure(error, sent_before),
        InputError::Io(error) => Failure::io("cannot read the input", error),
    }
}

/// Opens the input and returns its size where it is known.
fn open(file: Option<&Path>) -> Outcome<(Box<dyn Read + Send>, Option<u64>)> {
    let Some(path) = file.filter(|path| *path != Path::new("-")) else {
        return Ok((Box::new(io::stdin()), None));
    };
    let cannot = |error| Failure::io(format!("cannot read {}", path.display()), &error);
    let file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if metadata.is_dir() {
        return Err(cannot(io::ErrorKind::IsADirectory.into()));
    }
    Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
}

/// Prints a summary of the acknowledged records to standard error.
fn summarise(global: &Global, topic: &str, progress: &Progress, (delivered, time): (u64, Duration)) {
    // The bytes of undelivered records are not counted, so the total is known only if all were delivered.
    let bytes = (delivered == progress.records).then_some(progress.bytes);
    if global.output.is_json() {
        let summary = json!({
            "topic": topic,
            "records": delivered,
            "bytes": bytes,
            "seconds": time.as_secs_f64(),
            "records_per_second": amount::per_second(delivered, time),
            "bytes_per_second": bytes.map(|bytes| amount::per_second(bytes, time)),
            "interrupted": progress.interrupted,
        });
        return note(&summary.to_string());
    }
    let size = bytes.map_or_else(String::new, |bytes| format!(" ({})", amount::bytes(bytes)));
    let speed =
        bytes.map_or_else(String::new, |bytes| format!(", {}/s", amount::bytes(amount::rate(bytes, time))));
    note(&format!(
        "{}sent {}{size} to {topic} in {:.2} s: {} records/s{speed}",
        if progress.interrupted { "interrupted: " } else { "" },
        amount::count(delivered, "record"),
        time.as_secs_f64(),
        amount::thousands(amount::rate(delivered, time)),
    ));
}

fn parse_separator(text: &str) -> Result<Bytes, String> {
    let separator = unescape(text);
    if separator.is_empty() {
        return Err("the separator must not be empty".to_owned());
    }
    if separator.contains(&b'\n') {
        return Err("the separator must not contain a newline".to_owned());
    }
    Ok(separator.into())
}

fn parse_header(text: &str) -> Result<(String, Bytes), String> {
    let at = text.find(['=', ':']).ok_or_else(|| format!("invalid header {text:?}: use name=value"))?;
    let (name, value) = text.split_at(at);
    if name.is_empty() {
        return Err(format!("{text:?} has no name before the {:?}", &value[..1]));
    }
    Ok((name.to_owned(), Bytes::copy_from_slice(&value.as_bytes()[1..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_parsed() {
        let parsed = |text| parse_header(text).map(|(name, value)| (name, value.to_vec()));
        assert_eq!(parsed("a=1"), Ok(("a".to_owned(), b"1".to_vec())));
        assert_eq!(parsed("a:1=2"), Ok(("a".to_owned(), b"1=2".to_vec())));
        assert_eq!(parsed("a=b:c"), Ok(("a".to_owned(), b"b:c".to_vec())));
        assert_eq!(parsed("a="), Ok(("a".to_owned(), Vec::new())));
        assert!(parsed("a").is_err());
        assert!(parsed("=1").is_err());
    }

    #[test]
    fn first_separator_splits_a_line() {
        let envelope = Envelope {
            key_separator: Some(memchr::memmem::Finder::new("::").into_owned()),
            separator_len: 2,
            key: None,
            headers: Vec::new(),
            partition: Some(3),
            keeps_timestamps: false,
            keeps_partitions: false,
        };
        for (line, key, value) in [
            ("k::v", Some("k"), "v"),
            ("k::v::w", Some("k"), "v::w"),
            ("::v", Some(""), "v"),
            ("k::", Some("k"), ""),
            ("k:v", None, "k:v"),
            ("", None, ""),
        ] {
            let chunk = Bytes::copy_from_slice(line.as_bytes());
            let record = envelope.record(&chunk, &chunk);
            assert_eq!(record.key.as_deref(), key.map(str::as_bytes), "{line}");
            assert_eq!(record.value, value.as_bytes(), "{line}");
            assert_eq!(record.partition, Some(3));
        }
    }

    #[test]
    fn separators_are_parsed() {
        assert_eq!(parse_separator(r"\t").unwrap(), b"\t".as_slice());
        assert!(parse_separator("").is_err());
        assert!(parse_separator(r"\n").is_err());
    }
}
