//! `floe offsets`: the stored offsets of consumer groups.

use clap::{Args, Subcommand};
use floe::{
    Client,
    consumer::StartAt,
    engine::CommittedOffset,
    topic::{Topic, TopicPartition},
};
use serde_json::{Value, json};

use super::{confirm, with_reader};
use crate::{
    exit::{Failure, Outcome},
    global::Global,
    output::{List, amount, print_document, print_list, table},
};

#[derive(Debug, Subcommand)]
pub(crate) enum OffsetsCommand {
    /// List stored offsets with the lag of each consumer group
    List {
        /// List only this consumer group
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
    },
    /// Reset the offsets of a consumer group to another position
    Reset(ResetArgs),
    /// Delete the stored offsets of a consumer group
    Delete {
        /// Consumer group
        group: String,
        /// Delete only the offsets of this topic
        topic: Option<String>,
        /// Delete only the offset of this partition
        #[arg(long, value_name = "P", requires = "topic")]
        partition: Option<u32>,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
}

/// Partitions of a group, and their new position.
#[derive(Debug, Args)]
pub(crate) struct ResetArgs {
    /// Consumer group
    pub(super) group: String,
    /// Topic
    topic: String,
    /// New position: beginning, end, offset N, +N after the beginning, -N before the end, or @TIME
    #[arg(long, value_name = "POSITION", allow_hyphen_values = true)]
    to: StartAt,
    /// Reset only this partition [default: all]
    #[arg(long, value_name = "P")]
    partition: Option<u32>,
}

pub(crate) async fn run(global: &Global, command: OffsetsCommand) -> Outcome {
    match command {
        OffsetsCommand::List { group } => list(global, group).await,
        OffsetsCommand::Reset(args) => {
            reset(global, &args, async |client, moves| {
                for (at, next) in moves {
                    client.admin().set_committed_offset(&args.group, at.clone(), *next).await?;
                }
                Ok(())
            })
            .await
        }
        OffsetsCommand::Delete { group, topic, partition, yes } => {
            let scope = topic.as_ref().map_or_else(String::new, |topic| format!(" in {topic}"));
            confirm(yes, &format!("deleting the offsets of group {group}{scope}"))?;
            delete(global, &group, topic, partition).await
        }
    }
}

async fn list(global: &Global, group: Option<String>) -> Outcome {
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    with_reader(global, async |client| {
        for stored in client.admin().committed_offsets(group.as_deref()).await? {
            let lag = match client.admin().watermarks(stored.at.clone()).await {
                Ok(marks) => marks.lag(stored.next),
                // A deleted topic may leave its stored offset behind for a while.
                Err(_) => None,
            };
            rows.push(row(&stored, lag));
            documents.push(document(&stored, lag));
        }
        Ok(())
    })
    .await?;
    let headings = vec!["group", "topic", "partition", "next", "lag", "stored at"];
    let text = if rows.is_empty() { String::new() } else { table(&headings, &rows) };
    print_list(global.output, &List { headings, rows, documents, text })
}

fn row(stored: &CommittedOffset, lag: Option<u64>) -> Vec<String> {
    vec![
        stored.group.to_string(),
        stored.at.topic.to_string(),
        stored.at.partition.to_string(),
        stored.next.to_string(),
        lag.map_or_else(|| "-".to_owned(), |lag| lag.to_string()),
        amount::time(stored.modified_at),
    ]
}

fn document(stored: &CommittedOffset, lag: Option<u64>) -> Value {
    json!({
        "group": &*stored.group,
        "topic": stored.at.topic.as_str(),
        "partition": stored.at.partition,
        "next_offset": stored.next,
        "lag": lag,
        "modified_at": stored.modified_at,
    })
}

/// Resolves the new positions, moves the group by `apply`, and prints where it resumes.
pub(super) async fn reset(
    global: &Global,
    args: &ResetArgs,
    apply: impl AsyncFnOnce(&Client, &[(TopicPartition, i64)]) -> Outcome,
) -> Outcome {
    let ResetArgs { group, topic, to, partition } = args;
    if *to == StartAt::StoredOrBeginning {
        return Err(Failure::usage("--to stored has no effect"));
    }
    let moved = with_reader(global, async |client| {
        let moves = client.offsets_at(topic.as_str(), *partition, *to).await?;
        apply(client, &moves).await?;
        Ok(moves)
    })
    .await?;
    let document = json!({
        "group": group,
        "reset": moved.iter().map(|(at, next)| json!({
            "topic": at.topic.as_str(), "partition": at.partition, "next_offset": next,
        })).collect::<Vec<_>>(),
    });
    let text = moved.iter().map(|(at, next)| format!("{group} resumes at {next} in {at}\n"));
    print_document(global.output, &document, &text.collect::<String>())
}

async fn delete(global: &Global, group: &str, topic: Option<String>, partition: Option<u32>) -> Outcome {
    let topic = topic.map(Topic::from);
    let deleted = with_reader(global, async |client| {
        let mut deleted = 0;
        for stored in client.admin().committed_offsets(Some(group)).await? {
            let meant = topic.as_ref().is_none_or(|topic| *topic == stored.at.topic)
                && partition.is_none_or(|partition| partition == stored.at.partition);
            if meant {
                client.admin().forget_committed_offset(group, stored.at).await?;
                deleted += 1;
            }
        }
        Ok(deleted)
    })
    .await?;
    if deleted == 0 {
        return Err(Failure::no_offsets(format!("group {group:?} has no such stored offsets"))
            .with_hint("`floe offsets list` shows the groups with their offsets"));
    }
    let text = format!("deleted {} of group {group}\n", amount::count(deleted, "offset"));
    print_document(global.output, &json!({ "group": group, "forgotten": deleted }), &text)
}
