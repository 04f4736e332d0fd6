//! `floe import`: writes the records of an exported file into a topic.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use floe::{
    Client, Error, ErrorKind, Record,
    exchange::ParsedRecord,
    producer::Producer,
    topic::{Topic, TopicInfo},
};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    export_file::{CheckedExport, ExportLines},
    topic_settings::spec_like,
    with_client,
};
use crate::{
    exit::{Failure, Outcome},
    global::Global,
    interrupt::Interrupt,
    output::{amount, stdout::note},
};

/// Records that the reading thread hands over at once.
const CHUNK: usize = 512;

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// File that `floe export` wrote; it is checked as a whole before the first record is sent
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Topic to write; a missing one is created with the settings of the file [default: the topic of the file]
    topic: Option<String>,
    /// Write behind the records of a topic that has some
    #[arg(long)]
    append: bool,
}

pub(crate) async fn run(global: &Global, args: ImportArgs) -> Outcome {
    if args.file.as_os_str() == "-" {
        return Err(Failure::usage("an import reads its file twice, so it cannot be -"));
    }
    let interrupt = Interrupt::listen()?;
    let path = args.file.clone();
    let export = tokio::task::spawn_blocking(move || CheckedExport::read(&path));
    let export = tokio::select! {
        export = export => export.map_err(|error| Failure::io("the file was not read", &error.into()))??,
        () = interrupt.pressed() => return Err(Failure::interrupted()),
    };
    let topic = args.topic.as_deref().map_or_else(|| export.topic.name.clone(), Topic::from);
    topic.validate()?;
    with_client(global, async |client| {
        prepare(client, (&topic, &export.topic), args.append).await?;
        send_all(global, &args.file, (client, &topic), (&export, &interrupt)).await
    })
    .await
}

/// Creates the topic, or checks the one that exists.
async fn prepare(client: &Client, (topic, model): (&Topic, &TopicInfo), append: bool) -> Outcome {
    let info = match client.admin().describe(topic.clone()).await {
        Ok(described) => described,
        Err(error) if error.kind() == ErrorKind::TopicNotFound => {
            let spec = spec_like(model, topic, client);
            refuse_fewer(topic, spec.partitions, model.partitions)?;
            client.admin().ensure_topic(spec).await?;
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    refuse_fewer(topic, info.info.partitions, model.partitions)?;
    // An engine without offsets does not tell whether a topic has records.
    let has_offsets = client.info().capabilities.offsets;
    let mut has_records = !has_offsets;
    for partition in info.partitions {
        let marks = partition.watermarks?;
        has_records |= marks.high > marks.start;
    }
    if has_records && !append {
        let message = if has_offsets { "has records" } else { "exists, and may have records" };
        return Err(Failure::usage(format!("topic {topic} {message}: nothing was imported"))
            .with_hint("--append writes behind them; another TOPIC leaves them alone"));
    }
    Ok(())
}

fn refuse_fewer(topic: &Topic, partitions: u32, needed: u32) -> Outcome {
    if partitions >= needed {
        return Ok(());
    }
    let partitions = amount::count(partitions.into(), "partition");
    Err(Failure::usage(format!(
        "topic {topic} has {partitions}, and the file needs {needed}: records keep theirs"
    )))
}

async fn send_all(
    global: &Global,
    file: &Path,
    (client, topic): (&Client, &Topic),
    (export, interrupt): (&CheckedExport, &Interrupt),
) -> Outcome {
    let begun = Instant::now();
    let producer = client.producer(topic.clone()).start().await?;
    let mut records = read_records(file)?;
    let sent = send(&producer, &mut records, interrupt).await;
    let report = producer.close().await?;
    summarise(global, (file, topic), report.delivered, begun.elapsed());
    let unfinished = |failure: Failure| {
        let delivered = amount::count(report.delivered, "record");
        let all = amount::thousands(export.records);
        failure
            .explained(format!("{delivered} of {all} were imported"))
            .with_hint(format!("delete topic {topic} and repeat the import, which does not resume"))
    };
    if let Some(first) = report.undelivered.first() {
        return Err(unfinished(Failure::from(first.error.clone())));
    }
    sent.map_err(unfinished)?;
    if interrupt.is_pressed() { Err(Failure::interrupted()) } else { Ok(()) }
}

async fn send(
    producer: &Producer,
    records: &mut mpsc::Receiver<Outcome<Vec<Record>>>,
    interrupt: &Interrupt,
) -> Outcome {
    loop {
        let received = tokio::select! {
            received = records.recv() => received,
            () = interrupt.pressed() => None,
        };
        let Some(chunk) = received else { return Ok(()) };
        drop(producer.enqueue_all(chunk?).await?);
        // After a failed delivery there is no point in reading on; the close reports the cause.
        if producer.stats().failed > 0 {
            return Ok(());
        }
    }
}

/// Starts a thread that reads the records of a checked file.
fn read_records(file: &Path) -> Outcome<mpsc::Receiver<Outcome<Vec<Record>>>> {
    let mut lines = ExportLines::open(file)?;
    let (sender, receiver) = mpsc::channel(4);
    let read = move || {
        let mut progress = RecordLines::default();
        loop {
            let chunk = progress.chunk(&mut lines);
            let is_last = chunk.is_err();
            let is_end = chunk.as_ref().is_ok_and(Vec::is_empty);
            if is_end || sender.blocking_send(chunk).is_err() || is_last {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("import".to_owned()).spawn(read);
    thread.map_err(|error| Failure::io("cannot start the reading thread", &error))?;
    Ok(receiver)
}

/// The line that was read last, which is a record if another one follows.
#[derive(Debug, Default)]
struct RecordLines {
    line: Vec<u8>,
    next: Vec<u8>,
    is_begun: bool,
}

impl RecordLines {
    /// Returns the next records; none at the end.
    fn chunk(&mut self, lines: &mut ExportLines) -> Outcome<Vec<Record>> {
        if !self.is_begun {
            self.is_begun = true;
            // The header.
            lines.read(&mut self.line)?;
            if !lines.read(&mut self.line)? {
                return Ok(Vec::new());
            }
        }
        let mut records = Vec::with_capacity(CHUNK);
        while records.len() < CHUNK && lines.read(&mut self.next)? {
            let parsed = ParsedRecord::from_json(&self.line)?;
            let Some(partition) = parsed.partition else {
                return Err(
                    Error::new(ErrorKind::DeserializationError, "a record without a partition").into()
                );
            };
            records.push(parsed.record.partition(partition));
            std::mem::swap(&mut self.line, &mut self.next);
        }
        Ok(records)
    }
}

fn summarise(global: &Global, (file, topic): (&Path, &Topic), records: u64, time: Duration) {
    if global.output.is_json() {
        let summary = json!({
            "file": file.display().to_string(),
            "topic": topic.as_str(),
            "records": records,
            "seconds": time.as_secs_f64(),
            "records_per_second": amount::per_second(records, time),
        });
        return note(&summary.to_string());
    }
    note(&format!(
        "imported {} from {} to {topic} in {:.2} s: {} records/s",
        amount::count(records, "record"),
        file.display(),
        time.as_secs_f64(),
        amount::thousands(amount::rate(records, time)),
    ));
}
