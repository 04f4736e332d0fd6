//! `floe export`: writes a topic into one file.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use floe::{
    Client, Error, ErrorKind,
    consumer::{GapPolicy, StartAt},
    exchange::RecordFields,
    filter::Filter,
};
use serde_json::json;

use super::{
    export_file::ExportWriter,
    selection::{FILTER_HELP, parse_filter},
    with_reader,
};
use crate::{
    commands::gaps::GapTally,
    exit::{Failure, Outcome},
    global::Global,
    interrupt::Interrupt,
    output::{amount, stdout::note},
};

#[derive(Debug, Args)]
#[command(after_long_help = FILTER_HELP)]
pub(crate) struct ExportArgs {
    /// Topic to read
    topic: String,
    /// File to write: JSON lines, compressed with zstd; it has its name only once it is complete
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Export only the records that this expression selects, such as 'key = "ada" and .order.total > 10'
    #[arg(long = "where", value_name = "EXPR")]
    expression: Option<String>,
    /// Replace FILE if it exists
    #[arg(long)]
    overwrite: bool,
}

/// Counts of an export.
#[derive(Debug, Default)]
struct Exported {
    records: u64,
    gaps: GapTally,
}

pub(crate) async fn run(global: &Global, args: ExportArgs) -> Outcome {
    let name = args.file.display();
    if args.file.as_os_str() == "-" {
        return Err(Failure::usage("an export goes to a file, not to -")
            .with_hint("`floe consume TOPIC -e -o jsonl` prints the records"));
    }
    if args.file.exists() && !args.overwrite {
        return Err(Failure::usage(format!("{name} exists")).with_hint("--overwrite replaces it"));
    }
    let filter = args.expression.as_deref().map(parse_filter).transpose()?;
    let mut partial = args.file.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let interrupt = Interrupt::listen()?;
    let begun = Instant::now();
    let outcome = with_reader(global, async |client| {
        write(global, (&args, filter.as_ref()), client, (&partial, &interrupt)).await
    })
    .await;
    let renamed = outcome.and_then(|exported| {
        fs::rename(&partial, &args.file)
            .map_err(|error| Failure::io(format!("cannot rename {}", partial.display()), &error))?;
        Ok(exported)
    });
    let exported = renamed.inspect_err(|_| {
        // Half a file is worth nothing; where it cannot be removed, its name tells.
        let _ = fs::remove_file(&partial);
    })?;
    summarise(global, &args, &exported, begun.elapsed());
    exported.gaps.verdict(&format!(" of {}", args.topic))
}

async fn write(
    global: &Global,
    (args, filter): (&ExportArgs, Option<&Filter>),
    client: &Client,
    (partial, interrupt): (&Path, &Interrupt),
) -> Outcome<Exported> {
    let info = client.info();
    if !info.capabilities.offsets {
        let failure = Failure::from(Error::unsupported("reading without removing records", info.name));
        return Err(failure.with_hint("on Walrus, journal=PATH in the URL keeps what was read"));
    }
    let topic = client.admin().topic(args.topic.as_str()).await?;
    let consumer = client.consumer(args.topic.as_str()).from(StartAt::Beginning);
    let mut consumer = consumer.on_gap(GapPolicy::Fail).stop_at_end().start().await?;
    let cannot = |error| Failure::io(format!("cannot write {}", partial.display()), &error);
    let mut out = ExportWriter::create(partial, &topic, filter).map_err(cannot)?;
    let mut exported = Exported::default();
    loop {
        let fetched = tokio::select! {
            fetched = consumer.next_batch() => fetched,
            () = interrupt.pressed() => return Err(Failure::interrupted()),
        };
        let batch = match fetched {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::Gap => {
                exported.gaps.tell(error, global.output);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for record in batch.borrowed() {
            let fields = RecordFields::of_batch(&batch, &record);
            if filter.is_none_or(|filter| filter.matches(&fields)) {
                out.write(&fields).map_err(cannot)?;
                exported.records += 1;
            }
        }
    }
    consumer.close().await?;
    out.finish().map_err(cannot)?;
    Ok(exported)
}

fn summarise(global: &Global, args: &ExportArgs, exported: &Exported, time: Duration) {
    let bytes = fs::metadata(&args.file).map_or(0, |file| file.len());
    let name = args.file.display().to_string();
    if global.output.is_json() {
        let summary = json!({
            "topic": args.topic,
            "file": name,
            "records": exported.records,
            "missing": exported.gaps.missing(),
            "file_bytes": bytes,
            "seconds": time.as_secs_f64(),
        });
        return note(&summary.to_string());
    }
    note(&format!(
        "exported {} of {} to {name} ({}) in {:.2} s",
        amount::count(exported.records, "record"),
        args.topic,
        amount::bytes(bytes),
        time.as_secs_f64(),
    ));
}
