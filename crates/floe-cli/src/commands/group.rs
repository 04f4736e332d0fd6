//! `floe group`: shared groups, their members and partitions.

use clap::Subcommand;
use floe::{
    Client, Error, ErrorKind, Topic, TopicPartition,
    groups::{GroupDescription, GroupMember, PartitionAssignment},
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::{
    confirm,
    offsets::{self, ResetArgs},
    with_reader,
};
use crate::{
    exit::{Failure, Outcome},
    global::Global,
    output::{List, amount, print_document, print_list, table},
};

/// Partitions whose ends are looked up at once.
const LOOKUPS: usize = 64;

/// Characters of a member id in tables. The JSON output has all of them.
const SHORT_ID: usize = 8;

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List the shared groups with members, partitions and lag
    #[command(visible_alias = "ls")]
    List,
    /// Show the members of a shared group, and for each partition its member, lag and the age of its commit
    Describe {
        /// Group
        group: String,
    },
    /// Set the position of a shared group in a topic, where no member reads or --force is given
    Reset {
        #[command(flatten)]
        args: ResetArgs,
        /// Reset partitions that a member reads too: it begins anew there, and may handle records in hand twice
        #[arg(long)]
        force: bool,
    },
    /// Remove a member from a shared group; one that lives joins anew
    Evict {
        /// Group
        group: String,
        /// Id of the member, its beginning, or the name of the instance
        member: String,
    },
    /// Forget a shared group without members, with all its positions
    Delete {
        /// Group
        group: String,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) async fn run(global: &Global, command: GroupCommand) -> Outcome {
    match command {
        GroupCommand::List => list(global).await,
        GroupCommand::Describe { group } => describe(global, &group).await,
        GroupCommand::Reset { args, force } => {
            offsets::reset(global, &args, async |client, moves| {
                reset(client, &args.group, moves, force).await
            })
            .await
        }
        GroupCommand::Evict { group, member } => evict(global, &group, &member).await,
        GroupCommand::Delete { group, yes } => {
            confirm(yes, &format!("deleting the positions of group {group}"))?;
            with_reader(global, async |client| Ok(client.groups().delete(group.as_str()).await?)).await?;
            print_document(
                global.output,
                &json!({ "group": group, "deleted": true }),
                &format!("deleted group {group}\n"),
            )
        }
    }
}

/// Records between the position and the end of each partition; `None` without a position, or where the end is unknown.
async fn lags(client: &Client, partitions: &[PartitionAssignment]) -> Vec<Option<u64>> {
    let lookups = partitions.iter().map(|partition| async move {
        let next = partition.next?;
        let marks = client.admin().watermarks(partition.at.clone()).await.ok()?;
        marks.lag(next)
    });
    stream::iter(lookups.collect::<Vec<_>>()).buffered(LOOKUPS).collect().await
}

async fn list(global: &Global) -> Outcome {
    let (mut rows, mut documents) = (Vec::new(), Vec::new());
    with_reader(global, async |client| {
        for group in client.groups().list().await? {
            let lags = lags(client, &group.partitions).await;
            let lag: u64 = lags.iter().flatten().sum();
            let mut topics: Vec<_> = group.partitions.iter().map(|one| one.at.topic.as_str()).collect();
            topics.dedup();
            rows.push(vec![
                group.name.to_string(),
                topics.join(","),
                group.members.len().to_string(),
                group.partitions.len().to_string(),
                lag.to_string(),
            ]);
            documents.push(json!({
                "group": &*group.name,
                "topics": topics,
                "members": group.members.len(),
                "partitions": group.partitions.len(),
                "lag": lag,
            }));
        }
        Ok(())
    })
    .await?;
    let headings = vec!["group", "topics", "members", "partitions", "lag"];
    let text = if rows.is_empty() { String::new() } else { table(&headings, &rows) };
    print_list(global.output, &List { headings, rows, documents, text })
}

async fn describe(global: &Global, group: &str) -> Outcome {
    let (group, lags) = with_reader(global, async |client| {
        let described = client.groups().describe(group).await?;
        let lags = lags(client, &described.partitions).await;
        Ok((described, lags))
    })
    .await?;
    let document = json!({
        "group": &*group.name,
        "generation": group.generation,
        "members": group.members.iter().map(|member| member_document(&group, member)).collect::<Vec<_>>(),
        "partitions": group.partitions.iter().zip(&lags).map(|(one, lag)| json!({
            "topic": one.at.topic.as_str(),
            "partition": one.at.partition,
            "member": one.member,
            "moves_to": one.moves_to,
            "lease": one.lease,
            "next_offset": one.next,
            "lag": lag,
            "committed_at": one.committed_at,
        })).collect::<Vec<_>>(),
    });
    let members: Vec<_> = group.members.iter().map(|member| member_row(&group, member)).collect();
    let partitions: Vec<_> =
        group.partitions.iter().zip(&lags).map(|(partition, lag)| partition_row(partition, *lag)).collect();
    let members = if members.is_empty() {
        "no members\n".to_owned()
    } else {
        table(&["member", "instance", "partitions", "weight", "session", "heard at"], &members)
    };
    let headings = ["topic", "partition", "member", "moves to", "lease", "next", "lag", "committed at"];
    let text = format!("{members}\n{}", table(&headings, &partitions));
    print_document(global.output, &document, &text)
}

fn partitions_of(group: &GroupDescription, member: &GroupMember) -> usize {
    group.partitions.iter().filter(|one| one.member.as_deref() == Some(&*member.id)).count()
}

fn member_document(group: &GroupDescription, member: &GroupMember) -> Value {
    json!({
        "id": member.id,
        "instance": member.instance,
        "partitions": partitions_of(group, member),
        "weight": member.weight,
        "session_ms": u64::try_from(member.session.as_millis()).unwrap_or(u64::MAX),
        "drain_ms": u64::try_from(member.drain.as_millis()).unwrap_or(u64::MAX),
        "topics": member.topics.iter().map(Topic::as_str).collect::<Vec<_>>(),
        "heard_at": member.heard_at,
    })
}

fn short(id: Option<&str>) -> String {
    id.map_or_else(|| "-".to_owned(), |id| id.chars().take(SHORT_ID).collect())
}

fn member_row(group: &GroupDescription, member: &GroupMember) -> Vec<String> {
    vec![
        short(Some(&member.id)),
        member.instance.clone().unwrap_or_else(|| "-".to_owned()),
        partitions_of(group, member).to_string(),
        member.weight.to_string(),
        amount::duration(member.session),
        amount::time(member.heard_at),
    ]
}

fn partition_row(partition: &PartitionAssignment, lag: Option<u64>) -> Vec<String> {
    let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    vec![
        partition.at.topic.to_string(),
        partition.at.partition.to_string(),
        short(partition.member.as_deref()),
        short(partition.moves_to.as_deref()),
        partition.lease.to_string(),
        number(partition.next),
        lag.map_or_else(|| "-".to_owned(), |lag| lag.to_string()),
        amount::time(partition.committed_at),
    ]
}

async fn reset(client: &Client, group: &str, moves: &[(TopicPartition, i64)], force: bool) -> Outcome {
    // All of them or none: a partition with a member is found before the first change.
    let described = client.groups().describe(group).await;
    let read = described.as_ref().map_or(&[][..], |group| &group.partitions);
    let has_member = |at: &TopicPartition| read.iter().any(|one| one.at == *at && one.member.is_some());
    if let Some((at, _)) = moves.iter().find(|(at, _)| !force && has_member(at)) {
        let error = Error::new(ErrorKind::Fenced, "a member reads the partition");
        return Err(Failure::from(error.with_topic(&at.topic).with_partition(at.partition))
            .with_hint("stop the members first, or add --force"));
    }
    for (at, next) in moves {
        client.groups().reset(group, at.clone(), *next, force).await?;
    }
    Ok(())
}

async fn evict(global: &Global, group: &str, member: &str) -> Outcome {
    let id = with_reader(global, async |client| {
        let described = client.groups().describe(group).await?;
        let is_meant =
            |one: &&GroupMember| one.instance.as_deref() == Some(member) || one.id.starts_with(member);
        let found: Vec<_> = described.members.iter().filter(is_meant).map(|one| one.id.clone()).collect();
        let id = match &found[..] {
            [id] => id.clone(),
            [] => member.to_owned(),
            _ => return Err(Failure::usage(format!("{} members begin with {member:?}", found.len()))),
        };
        client.groups().evict(group, &id).await?;
        Ok(id)
    })
    .await?;
    let text = format!("evicted {member} from group {group}\n");
    print_document(global.output, &json!({ "group": group, "evicted": id }), &text)
}
