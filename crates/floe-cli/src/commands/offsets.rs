//! `floe offsets`: the stored offsets of consumer groups.

use clap::Subcommand;
use floe::{
    Client, Error, ErrorKind,
    admin::PartitionDescription,
    consumer::StartAt,
    engine::CommittedOffset,
    topic::{Topic, TopicPartition},
};
use serde_json::{Value, json};

use super::{confirm, with_client};
use crate::{
    global::Global,
    exit::{Failure, Outcome},
    output::{List, amount, print_document, print_list, table},
    position::Position,
};

#[derive(Debug, Subcommand)]
pub(crate) enum OffsetsCommand {
    /// List stored offsets and how many records are still to read
    List {
        /// Of this group only
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
    },
    /// Make a group go on somewhere else
    Reset {
        /// The group
        group: String,
        /// The topic
        topic: String,
        /// Where to go on: beginning, end, offset N, +N after the beginning, -N before the end, or @TIME
        #[arg(long, value_name = "POSITION", allow_hyphen_values = true)]
        to: Position,
        /// In this partition only [default: all]
        #[arg(long, value_name = "P")]
        partition: Option<u32>,
    },
    /// Forget the stored offsets of a group
    Delete {
        /// The group
        group: String,
        /// In this topic only
        topic: Option<String>,
        /// In this partition only
        #[arg(long, value_name = "P", requires = "topic")]
        partition: Option<u32>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) async fn run(global: &Global, command: OffsetsCommand) -> Outcome {
    match command {
        OffsetsCommand::List { group } => list(global, group).await,
        OffsetsCommand::Reset { group, topic, to, partition } => {
            if to == Position::Stored {
                return Err(Failure::usage("--to stored would change nothing"));
            }
            reset(global, &group, &topic, (to, partition)).await
        }
        OffsetsCommand::Delete { group, topic, partition, yes } => {
            let place = topic.as_ref().map_or_else(String::new, |topic| format!(" in {topic}"));
            confirm(yes, &format!("deleting the offsets of group {group}{place}"))?;
            delete(global, &group, topic, partition).await
        }
    }
}

async fn list(global: &Global, group: Option<String>) -> Outcome {
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    with_client(global, async |client| {
        for stored in client.admin().committed_offsets(group.as_deref()).await? {
            let lag = match client.admin().watermarks(stored.at.clone()).await {
                Ok(marks) => u64::try_from(marks.high.saturating_sub(stored.next)).ok(),
                // The offset may be older than the deletion of its topic.
                Err(_) => None,
            };
            rows.push(row(&stored, lag));
            documents.push(document(&stored, lag));
        }
        Ok(())
    })
    .await?;
    let headings = vec!["group", "topic", "partition", "next", "lag", "stored"];
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

async fn reset(
    global: &Global,
    group: &str,
    topic: &str,
    (to, partition): (Position, Option<u32>),
) -> Outcome {
    let moved = with_client(global, async |client| {
        let described = client.admin().describe(topic).await?;
        let partitions: Vec<_> = described
            .partitions
            .into_iter()
            .filter(|one| partition.is_none_or(|partition| partition == one.partition))
            .collect();
        if let (true, Some(partition)) = (partitions.is_empty(), partition) {
            return Err(Error::new(ErrorKind::PartitionNotFound, "the topic has no such partition")
                .with_topic(&described.info.name)
                .with_partition(partition)
                .into());
        }
        // All are looked up before the first is changed, so that a bad position changes nothing.
        let mut moves = Vec::new();
        for one in partitions {
            let at = described.info.name.partition(one.partition);
            moves.push((at.clone(), resolve(client, &at, one, to).await?));
        }
        for (at, next) in &moves {
            client.admin().set_committed_offset(group, at.clone(), *next).await?;
        }
        Ok(moves)
    })
    .await?;
    let document = json!({
        "group": group,
        "reset": moved.iter().map(|(at, next)| json!({
            "topic": at.topic.as_str(), "partition": at.partition, "next_offset": next,
        })).collect::<Vec<_>>(),
    });
    let text = moved.iter().map(|(at, next)| format!("{group} goes on at {next} in {at}\n"));
    print_document(global.output, &document, &text.collect::<String>())
}

/// The offset that a position means in a partition now.
async fn resolve(
    client: &Client,
    at: &TopicPartition,
    now: PartitionDescription,
    to: Position,
) -> Outcome<i64> {
    let marks = now.watermarks?;
    let (start, high) = (marks.start, marks.high);
    let records = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let wanted = match to {
        Position::Beginning => start,
        Position::End | Position::Stored => high,
        Position::Offset(offset) => offset,
        Position::AfterBeginning(count) => start.saturating_add(records(count)).min(high),
        Position::BeforeEnd(count) => high.saturating_sub(records(count)).max(start),
        Position::Time(milliseconds) => {
            let mut reader = client
                .consumer(at.topic.clone())
                .partition(at.partition)
                .from(StartAt::Time(milliseconds))
                .stop_at_end()
                .start()
                .await?;
            let first = reader.try_next().await?.map_or(high, |message| message.offset);
            reader.close().await?;
            first
        }
    };
    if (start..=high).contains(&wanted) {
        return Ok(wanted);
    }
    Err(Error::new(ErrorKind::OffsetOutOfRange, format!("offset {wanted} is outside {start} to {high}"))
        .with_topic(&at.topic)
        .with_partition(at.partition)
        .into())
}

async fn delete(global: &Global, group: &str, topic: Option<String>, partition: Option<u32>) -> Outcome {
    let topic = topic.map(Topic::from);
    let forgotten = with_client(global, async |client| {
        let mut forgotten = 0;
        for stored in client.admin().committed_offsets(Some(group)).await? {
            let meant = topic.as_ref().is_none_or(|topic| *topic == stored.at.topic)
                && partition.is_none_or(|partition| partition == stored.at.partition);
            if meant {
                client.admin().forget_committed_offset(group, stored.at).await?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    })
    .await?;
    let text = format!("forgot {} of group {group}\n", amount::count(forgotten, "offset"));
    print_document(global.output, &json!({ "group": group, "forgotten": forgotten }), &text)
}
