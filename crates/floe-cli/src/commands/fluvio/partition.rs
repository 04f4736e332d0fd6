//! `floe partition`: partitions of a Fluvio cluster with their replicas.

use clap::Subcommand;
use floe::{
    Error, ErrorKind, Topic,
    engine::fluvio::objects::{Metadata, PartitionResolution, PartitionSpec, names::PartitionName},
};
use serde_json::{Value, json};

use super::with_admin;
use crate::{
    exit::Outcome,
    global::Global,
    output::{List, amount, print_list, table},
};

#[derive(Debug, Subcommand)]
pub(crate) enum PartitionCommand {
    /// List partitions with leader, replicas, offsets and size
    List {
        /// List only the partitions of this topic
        topic: Option<String>,
    },
}

pub(crate) async fn run(global: &Global, command: PartitionCommand) -> Outcome {
    let PartitionCommand::List { topic } = command;
    list(global, topic.as_deref()).await
}

async fn list(global: &Global, topic: Option<&str>) -> Outcome {
    let found =
        with_admin(global, "replicas", async |admin| Ok(admin.list::<PartitionSpec>(&[]).await?)).await?;
    let mut partitions: Vec<_> = found
        .into_iter()
        .filter_map(|one| Some((one.name.parse::<PartitionName>().ok()?, one)))
        .filter(|(name, _)| topic.is_none_or(|topic| topic == name.topic))
        .collect();
    if let (true, Some(topic)) = (partitions.is_empty(), topic) {
        let error = Error::new(ErrorKind::TopicNotFound, "the topic does not exist");
        return Err(error.with_topic(&Topic::from(topic)).into());
    }
    partitions.sort_by(|(left, _), (right, _)| left.cmp(right));
    let headings =
        vec!["topic", "partition", "state", "leader", "replicas", "in sync", "high watermark", "end", "size"];
    let rows: Vec<_> = partitions.iter().map(|(name, one)| row(name, one)).collect();
    let documents = partitions.iter().map(|(name, one)| document(name, one)).collect();
    let text = table(&headings, &rows);
    print_list(global.output, &List { headings, rows, documents, text })
}

fn state(of: PartitionResolution) -> String {
    match of {
        PartitionResolution::Offline => "offline".to_owned(),
        PartitionResolution::Online => "online".to_owned(),
        PartitionResolution::LeaderOffline => "leader-offline".to_owned(),
        PartitionResolution::ElectionLeaderFound => "leader-found".to_owned(),
        PartitionResolution::OutOfStorage => "out-of-storage".to_owned(),
        PartitionResolution::Unknown(tag) => format!("unknown-{tag}"),
    }
}

/// Returns the size on disk in bytes, where the cluster reports it.
fn size(one: &Metadata<PartitionSpec>) -> Option<u64> {
    u64::try_from(one.status.size).ok()
}

fn row(name: &PartitionName, one: &Metadata<PartitionSpec>) -> Vec<String> {
    let replicas: Vec<_> = one.spec.replicas.iter().map(ToString::to_string).collect();
    let offset = |offset: i64| if offset < 0 { "-".to_owned() } else { offset.to_string() };
    vec![
        name.topic.clone(),
        name.partition.to_string(),
        state(one.status.resolution),
        one.spec.leader.to_string(),
        replicas.join(","),
        one.status.live_replicas.to_string(),
        offset(one.status.leader.high_watermark),
        offset(one.status.leader.log_end_offset),
        size(one).map_or_else(|| "-".to_owned(), amount::bytes),
    ]
}

fn document(name: &PartitionName, one: &Metadata<PartitionSpec>) -> Value {
    let replica = |status: &floe::engine::fluvio::objects::ReplicaStatus| {
        json!({
            "spu": status.spu,
            "high_watermark": status.high_watermark,
            "log_end_offset": status.log_end_offset,
        })
    };
    json!({
        "topic": name.topic,
        "partition": name.partition,
        "state": state(one.status.resolution),
        "leader": one.spec.leader,
        "replicas": one.spec.replicas,
        "in_sync_replicas": one.status.live_replicas,
        "start_offset": one.status.base_offset,
        "size_bytes": size(one),
        "leader_status": replica(&one.status.leader),
        "follower_status": one.status.replicas.iter().map(replica).collect::<Vec<_>>(),
    })
}
