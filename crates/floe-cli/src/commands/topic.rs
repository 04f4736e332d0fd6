//! `floe topic`: create, list, describe, delete and watch topics.

use std::time::Duration;

use clap::{Args, Subcommand};
use floe::{
    Durability, TopicSpec,
    admin::TopicDescription,
    topic::{TopicEvent, TopicInfo},
    units,
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::{confirm, with_client};
use crate::{
    args::Global,
    exit::{Failure, Outcome},
    interrupt::Interrupt,
    output::{List, OutputFormat, amount, print_document, print_list, stdout, table},
};

#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic
    Create(CreateArgs),
    /// List the topics
    List,
    /// Show a topic: its settings, and offsets and size of each partition
    Describe {
        /// Name of the topic
        name: String,
    },
    /// Delete a topic with all its records
    Delete {
        /// Name of the topic
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Show the topics now and every change to them, until Ctrl-C
    Watch,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the topic: 1 to 63 of a-z, 0-9 and '-', not at the ends
    // Else a name such as `-orders` would be taken for options, with an error that helps nobody.
    #[arg(allow_hyphen_values = true)]
    name: String,
    /// How many partitions
    #[arg(long, value_name = "N", default_value_t = 1)]
    partitions: u32,
    /// Let records go when they are older than this, such as 7d [default: never]
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    retention_age: Option<Duration>,
    /// Let the oldest records of a partition go beyond this size, such as 10GiB [default: never]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    retention_bytes: Option<u64>,
    /// When a record counts as written: `os` after the operating system has it, `interval:MS` with a sync at least so
    /// often, `always` after the disk has it [default: os]
    #[arg(long, value_name = "os|always|interval:MS", value_parser = parse_durability)]
    durability: Option<Durability>,
    /// Size of a segment file, such as 64MiB [default: the engine's]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    segment_bytes: Option<u64>,
}

pub(crate) async fn run(global: &Global, command: TopicCommand) -> Outcome {
    match command {
        TopicCommand::Create(args) => create(global, args).await,
        TopicCommand::List => list(global).await,
        TopicCommand::Describe { name } => describe(global, name).await,
        TopicCommand::Delete { name, yes } => delete(global, name, yes).await,
        TopicCommand::Watch => watch(global).await,
    }
}

async fn create(global: &Global, args: CreateArgs) -> Outcome {
    let mut spec = TopicSpec::new(args.name).partitions(args.partitions);
    spec.durability = args.durability;
    spec.retention_age = args.retention_age;
    spec.retention_bytes = args.retention_bytes;
    spec.segment_bytes = args.segment_bytes;
    // Before a store is opened, and so created, for nothing.
    spec.validate()?;
    let name = spec.name.clone();
    with_client(&global.url, async |client| Ok(client.admin().create_topic(spec).await?)).await?;
    let partitions = amount::count(args.partitions.into(), "partition");
    let document = json!({ "created": name.as_str(), "partitions": args.partitions });
    print_document(global.output, &document, &format!("created topic {name} with {partitions}\n"))
}

async fn list(global: &Global) -> Outcome {
    let topics = with_client(&global.url, async |client| Ok(client.admin().topics().await?)).await?;
    let list = List {
        headings: vec!["name", "partitions", "durability", "retention", "created"],
        rows: topics
            .iter()
            .map(|info| {
                vec![
                    info.name.to_string(),
                    info.partitions.to_string(),
                    durability_text(info.durability),
                    retention_text(info),
                    amount::time(info.created_at),
                ]
            })
            .collect(),
        documents: topics.iter().map(info_json).collect(),
        text: topics.iter().map(|info| format!("{}\n", info.name)).collect(),
    };
    print_list(global.output, &list)
}

async fn describe(global: &Global, name: String) -> Outcome {
    let described = with_client(&global.url, async |client| Ok(client.admin().describe(name).await?)).await?;
    let text = if global.output == OutputFormat::Table {
        partitions_table(&described)
    } else {
        description_text(&described)
    };
    print_document(global.output, &description_json(&described), &text)
}

async fn delete(global: &Global, name: String, yes: bool) -> Outcome {
    confirm(yes, &format!("deleting topic {name} with all its records"))?;
    with_client(&global.url, async |client| Ok(client.admin().delete_topic(name.as_str()).await?)).await?;
    print_document(global.output, &json!({ "deleted": name }), &format!("deleted topic {name}\n"))
}

async fn watch(global: &Global) -> Outcome {
    let interrupt = Interrupt::listen()?;
    with_client(&global.url, async |client| {
        let mut events = client.admin().watch().await?;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = interrupt.pressed() => return Err(Failure::interrupted()),
            };
            let Some(event) = event else { return Ok(()) };
            let (document, text) = match event? {
                TopicEvent::Updated(info) => (
                    json!({ "event": "updated", "topic": info_json(&info) }),
                    format!("+ {} {}\n", info.name, amount::count(info.partitions.into(), "partition")),
                ),
                TopicEvent::Deleted(name) => {
                    (json!({ "event": "deleted", "name": name.as_str() }), format!("- {name}\n"))
                }
                _ => continue,
            };
            let line = if global.output.is_json() { format!("{document}\n") } else { text };
            stdout::print(line.as_bytes())?;
        }
    })
    .await
}

fn parse_durability(text: &str) -> Result<Durability, String> {
    match text.split_once(':') {
        None if text == "os" => Ok(Durability::Os),
        None if text == "always" => Ok(Durability::Always),
        Some(("interval", every)) => match every.parse::<u64>() {
            Ok(milliseconds) if milliseconds > 0 => {
                Ok(Durability::Interval(Duration::from_millis(milliseconds)))
            }
            // `interval:1s` is what one types who knows the other options.
            Err(_) => match units::parse_duration(every) {
                Ok(every) if !every.is_zero() => Ok(Durability::Interval(every)),
                _ => Err(format!("{every:?} is no interval: write milliseconds, such as interval:100")),
            },
            Ok(_) => Err("an interval of 0 is `always`".to_owned()),
        },
        _ => Err(format!("{text:?} is no durability: write os, always or interval:MS")),
    }
}

fn durability_text(durability: Option<Durability>) -> String {
    match durability {
        None => "-".to_owned(),
        Some(Durability::Os) => "os".to_owned(),
        Some(Durability::Always) => "always".to_owned(),
        Some(Durability::Interval(every)) => format!("interval:{}", every.as_millis()),
    }
}

fn retention_text(info: &TopicInfo) -> String {
    let age = info.retention_age.map(amount::duration);
    let size = info.retention_bytes.map(amount::bytes);
    match (age, size) {
        (None, None) => "for ever".to_owned(),
        (Some(one), None) | (None, Some(one)) => one,
        (Some(age), Some(size)) => format!("{age} or {size}"),
    }
}

fn info_json(info: &TopicInfo) -> Value {
    json!({
        "name": info.name.as_str(),
        "partitions": info.partitions,
        "created_at": info.created_at,
        "durability": info.durability.map(|durability| durability_text(Some(durability))),
        "retention_age_ms": info.retention_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        "retention_bytes": info.retention_bytes,
    })
}

fn description_json(described: &TopicDescription) -> Value {
    let mut document = info_json(&described.info);
    document["partition_details"] = described
        .partitions
        .iter()
        .map(|one| {
            json!({
                "partition": one.partition,
                "start_offset": one.watermarks.start,
                "high_watermark": one.watermarks.high,
                "records": records(one.watermarks.start, one.watermarks.high),
                "size_bytes": one.watermarks.size_bytes,
            })
        })
        .collect();
    document
}

fn description_text(described: &TopicDescription) -> String {
    let info = &described.info;
    format!(
        "name:        {}\npartitions:  {}\ndurability:  {}\nretention:   {}\ncreated:     {}\n\n{}",
        info.name,
        info.partitions,
        durability_text(info.durability),
        retention_text(info),
        amount::time(info.created_at),
        partitions_table(described)
    )
}

fn partitions_table(described: &TopicDescription) -> String {
    let rows: Vec<_> = described
        .partitions
        .iter()
        .map(|one| {
            let marks = one.watermarks;
            vec![
                one.partition.to_string(),
                marks.start.to_string(),
                marks.high.to_string(),
                records(marks.start, marks.high).to_string(),
                marks.size_bytes.map_or_else(|| "-".to_owned(), amount::bytes),
            ]
        })
        .collect();
    table(&["partition", "start", "high watermark", "records", "size"], &rows)
}

/// Offsets between two, which is the number of records where offsets have no holes.
fn records(start: i64, high: i64) -> u64 {
    u64::try_from(high.saturating_sub(start)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durabilities() {
        assert_eq!(parse_durability("os"), Ok(Durability::Os));
        assert_eq!(parse_durability("always"), Ok(Durability::Always));
        let tenth = Durability::Interval(Duration::from_millis(100));
        assert_eq!(parse_durability("interval:100"), Ok(tenth));
        assert_eq!(parse_durability("interval:100ms"), Ok(tenth));
        for bad in [
            "",
            "Os",
            "interval",
            "interval:",
            "interval:0",
            "interval:0s",
            "interval:x",
            "interval:-1",
            "os:1",
        ] {
            assert!(parse_durability(bad).is_err(), "{bad}");
        }
        assert_eq!(durability_text(Some(tenth)), "interval:100");
    }
}
