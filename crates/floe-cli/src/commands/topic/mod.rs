//! `floe topic`: create, list, describe, change, delete and watch topics.

mod create;
mod show;

use clap::Subcommand;
use floe::{
    consumer::StartAt,
    topic::{TopicEvent, TopicUpdate},
};
use futures_util::StreamExt as _;
use serde_json::json;

pub(crate) use self::create::CreateArgs;
use self::show::{
    UNLIMITED, description_json, description_text, info_json, partitions_table, retention_text,
};
use super::{
    confirm,
    fluvio::{self, topic as fluvio_topic},
    topic_settings::{self, durability_text},
    with_reader,
};
use crate::{
    exit::{Failure, Outcome},
    format::OutputFormat,
    global::Global,
    interrupt::Interrupt,
    output::{List, amount, print_document, print_list, stdout},
};

#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic
    Create(CreateArgs),
    /// List the topics
    #[command(alias = "ls")]
    List,
    /// Describe a topic: its settings, and the offsets and size of each partition
    Describe {
        /// Name of the topic
        name: String,
    },
    /// Delete a topic with all its records
    #[command(alias = "rm")]
    Delete {
        /// Name of the topic
        name: String,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Remove the records of a topic before a position
    Trim {
        /// Name of the topic
        name: String,
        /// First record to keep: an offset N, or @TIME; also +N, -N or end, which removes all
        #[arg(long, value_name = "POSITION", allow_hyphen_values = true)]
        before: StartAt,
        /// Trim only this partition [default: all]
        #[arg(long, value_name = "P")]
        partition: Option<u32>,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Change settings of a topic; those that are not named stay
    Set {
        /// Name of the topic
        name: String,
        /// Setting and its new value: retention-age=DURATION or retention-bytes=SIZE, as in `floe topic create`, or `none` for
        /// no limit
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = topic_settings::parse_change)]
        changes: Vec<TopicUpdate>,
        /// Skip the confirmation, which a limit asks for: records beyond it are removed
        #[arg(long)]
        yes: bool,
    },
    /// Print the topics and every change to them until Ctrl-C
    Watch,
    /// Add partitions to a topic; existing records keep their partitions
    AddPartitions {
        /// Name of the topic
        name: String,
        /// Total number of partitions; the current number is accepted
        #[arg(long, value_name = "TOTAL", value_parser = clap::value_parser!(u32).range(1..))]
        to: u32,
    },
    /// Add a remote cluster to a mirrored topic (Fluvio)
    AddMirror {
        /// Name of the topic
        name: String,
        /// Id of the remote cluster
        remote: String,
        /// Copy records to the remote cluster instead of from it
        #[arg(long)]
        home_to_remote: bool,
    },
}

pub(crate) async fn run(global: &Global, command: TopicCommand) -> Outcome {
    match command {
        TopicCommand::Create(args) => create::run(global, args).await,
        TopicCommand::List => list(global).await,
        TopicCommand::Describe { name } => describe(global, name).await,
        TopicCommand::Delete { name, yes } => delete(global, name, yes).await,
        TopicCommand::Trim { name, before, partition, yes } => {
            if before == StartAt::StoredOrBeginning {
                return Err(Failure::usage("--before stored has no meaning: a topic stores no position"));
            }
            confirm(yes, &format!("removing the first records of {name}"))?;
            trim(global, &name, before, partition).await
        }
        TopicCommand::Set { name, changes, yes } => set(global, &name, &changes, yes).await,
        TopicCommand::Watch => watch(global).await,
        TopicCommand::AddPartitions { name, to } => add_partitions(global, &name, to).await,
        TopicCommand::AddMirror { name, remote, home_to_remote } => {
            add_mirror(global, &name, &remote, home_to_remote).await
        }
    }
}

async fn trim(global: &Global, name: &str, before: StartAt, partition: Option<u32>) -> Outcome {
    let trimmed = with_reader(global, async |client| {
        // All of them or none: a position that a partition does not have is found before the first record is removed.
        let starts = client.offsets_at(name, partition, before).await?;
        let mut trimmed = Vec::with_capacity(starts.len());
        for (at, start) in starts {
            let removed = start.saturating_sub(client.admin().watermarks(at.clone()).await?.start);
            client.admin().trim(at.clone(), start).await?;
            trimmed.push((at, start, removed.max(0)));
        }
        Ok(trimmed)
    })
    .await?;
    let document = json!({
        "topic": name,
        "trimmed": trimmed.iter().map(|(at, start, removed)| json!({
            "partition": at.partition, "start_offset": start, "removed": removed,
        })).collect::<Vec<_>>(),
    });
    let lines = trimmed.iter().map(|(at, start, removed)| {
        let removed = amount::count(u64::try_from(*removed).unwrap_or(0), "record");
        format!("{at} begins at {start}, {removed} removed\n")
    });
    print_document(global.output, &document, &lines.collect::<String>())
}

async fn set(global: &Global, name: &str, changes: &[TopicUpdate], yes: bool) -> Outcome {
    let mut update = TopicUpdate::new();
    for change in changes {
        let repeated = (update.retention_age.is_some() && change.retention_age.is_some())
            || (update.retention_bytes.is_some() && change.retention_bytes.is_some());
        if repeated {
            return Err(Failure::usage("a setting is named twice"));
        }
        update.retention_age = update.retention_age.or(change.retention_age);
        update.retention_bytes = update.retention_bytes.or(change.retention_bytes);
    }
    if update.retention_age.flatten().is_some() || update.retention_bytes.flatten().is_some() {
        confirm(yes, &format!("removing the records of {name} beyond the new limit"))?;
    }
    let info = with_reader(global, async |client| {
        client.admin().update_topic(name, update).await?;
        Ok(client.admin().topic(name).await?)
    })
    .await?;
    let text = format!("topic {name} has retention {}\n", retention_text(&info, UNLIMITED));
    print_document(global.output, &info_json(&info), &text)
}

async fn list(global: &Global) -> Outcome {
    let topics = with_reader(global, async |client| Ok(client.admin().topics().await?)).await?;
    let unset = if fluvio::is_fluvio(&global.url) { "default" } else { UNLIMITED };
    let list = List {
        headings: vec!["name", "partitions", "durability", "retention", "created"],
        rows: topics
            .iter()
            .map(|info| {
                vec![
                    info.name.to_string(),
                    info.partitions.to_string(),
                    durability_text(info.durability),
                    retention_text(info, unset),
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
    let described = with_reader(global, async |client| Ok(client.admin().describe(name).await?)).await?;
    let fluvio = if fluvio::is_fluvio(&global.url) {
        fluvio_topic::settings(global, described.info.name.as_str()).await?
    } else {
        None
    };
    let text = if global.output == OutputFormat::Table {
        partitions_table(&described)
    } else {
        description_text(&described, fluvio.as_ref().map(fluvio_topic::settings_text))
    };
    let mut document = description_json(&described);
    if let Some(spec) = &fluvio {
        document["fluvio"] = fluvio_topic::settings_json(spec);
    }
    print_document(global.output, &document, &text)?;
    // The description above may be partial, which only the exit code reveals to a script.
    match described.partitions.into_iter().find_map(|one| one.watermarks.err()) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

async fn add_partitions(global: &Global, name: &str, to: u32) -> Outcome {
    with_reader(global, async |client| Ok(client.admin().add_partitions(name, to).await?)).await?;
    let text = format!("topic {name} has {}\n", amount::count(to.into(), "partition"));
    print_document(global.output, &json!({ "name": name, "partitions": to }), &text)
}

async fn add_mirror(global: &Global, name: &str, remote: &str, home_to_remote: bool) -> Outcome {
    fluvio_topic::add_mirror(global, name, remote, home_to_remote).await?;
    let document = json!({ "name": name, "remote_cluster": remote });
    print_document(global.output, &document, &format!("topic {name} is mirrored with {remote}\n"))
}

async fn delete(global: &Global, name: String, yes: bool) -> Outcome {
    confirm(yes, &format!("deleting topic {name} with all its records"))?;
    with_reader(global, async |client| Ok(client.admin().delete_topic(name.as_str()).await?)).await?;
    print_document(global.output, &json!({ "deleted": name }), &format!("deleted topic {name}\n"))
}

async fn watch(global: &Global) -> Outcome {
    let interrupt = Interrupt::listen()?;
    with_reader(global, async |client| {
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
