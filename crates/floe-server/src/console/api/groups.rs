//! Consumer groups: positions, lag, members, reset.

use std::{collections::HashMap, sync::Arc};

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use floe::{
    Topic, TopicPartition,
    groups::{GroupMember, PartitionAssignment},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer,
    caller::Caller,
    json as answer, no_content,
    page::{MAX_LIST, Page},
};
use crate::{
    access::operation::{DELETE_OFFSET, DESCRIBE, STORE_OFFSET},
    console::{
        Console,
        history::{GroupSamples, PartitionLag, STEP, Samples},
        now, query,
        query::PathName,
        request_error::RequestError,
    },
};

/// Whether the client may see one of the topics of the group.
pub(super) fn is_visible(caller: &Caller, group: &GroupSamples) -> bool {
    group.partitions.is_empty() || group.partitions.keys().any(|at| caller.may(DESCRIBE, at.topic.as_str()))
}

/// Returns the partitions of the group whose topics the client may see.
fn visible<'a>(
    caller: &Caller,
    group: &'a GroupSamples,
) -> impl Iterator<Item = (&'a TopicPartition, &'a PartitionLag)> {
    group.partitions.iter().filter(|(at, _)| caller.may(DESCRIBE, at.topic.as_str()))
}

/// Describes a group in a list. Its counts cover the topics that the client may see.
pub(super) fn group_json(caller: &Caller, name: &str, group: &GroupSamples) -> Value {
    let mut topics: Vec<_> = visible(caller, group).map(|(at, _)| at.topic.as_str()).collect();
    topics.dedup();
    let lag = visible(caller, group).fold(None, |sum, (_, partition)| add(sum, partition.lag));
    json!({
        "name": name,
        "shared": group.shared.is_some(),
        "topics": topics,
        "members": group.shared.as_ref().map(|shared| shared.members.len()),
        "lag": lag,
        "partitions": visible(caller, group).count(),
        "committed_at": visible(caller, group).filter_map(|(_, partition)| partition.committed_at).max(),
    })
}

/// Returns the groups that read a topic.
pub(super) fn on_topic(samples: &Samples, topic: &Topic) -> Value {
    let of_topic = |(name, group): (&Arc<str>, &GroupSamples)| {
        let mut partitions = group.partitions.iter().filter(|(at, _)| at.topic == *topic).peekable();
        partitions.peek()?;
        let (lag, committed_at) = partitions.fold((None, None), |(lag, at), (_, partition)| {
            (add(lag, partition.lag), partition.committed_at.max(at))
        });
        Some(json!({
            "group": &**name,
            "shared": group.shared.is_some(),
            "lag": lag,
            "members": group.shared.as_ref().map(|shared| shared.members.len()),
            "committed_at": committed_at,
        }))
    };
    samples.groups().iter().filter_map(of_topic).collect()
}

fn add(sum: Option<u64>, more: Option<u64>) -> Option<u64> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
        (sum, more) => sum.or(more),
    }
}

pub(super) async fn list(
    State(console): State<Arc<Console>>,
    caller: Caller,
    query::Parameters(page): query::Parameters<Page>,
) -> Answer {
    if !console.client.info().capabilities.commit_offsets {
        return Err(RequestError::unsupported("this engine stores no offsets of groups"));
    }
    console.history().ready().await;
    let document = console.history().with(|samples| {
        let visible =
            samples.groups().iter().filter(|(name, group)| page.admits(name) && is_visible(&caller, group));
        let groups: Vec<_> = visible.collect();
        let total = groups.len();
        let value = |(_, group): &(&Arc<str>, &GroupSamples)| match page.sort.as_str() {
            "lag" => group.lag().map(|lag| lag as f64),
            "members" => group.shared.as_ref().map(|shared| shared.members.len() as f64),
            "age" => group.committed_at().map(|at| -(at as f64)),
            _ => None,
        };
        let part = match page.sort.as_str() {
            "" | "name" => page.part(groups, |(name, _)| Some(Arc::clone(name))),
            _ => page.part(groups, value),
        };
        let groups: Vec<_> = part.iter().map(|(name, group)| group_json(&caller, name, group)).collect();
        json!({ "groups": groups, "total": total })
    });
    Ok(answer(&document))
}

pub(super) async fn describe(
    State(console): State<Arc<Console>>,
    caller: Caller,
    Path(PathName(name)): Path<PathName>,
) -> Answer {
    console.history().ready().await;
    let document = console.history().with(|samples| {
        let (name, group) = samples.groups().get_key_value(name.as_str())?;
        is_visible(&caller, group).then(|| description(samples, &caller, name, group))
    });
    let document = document.ok_or_else(|| {
        let message = format!("no group {name:?} has stored offsets or members");
        RequestError::new(StatusCode::NOT_FOUND, "no_such_group", message)
    })?;
    Ok(answer(&document))
}

fn description(samples: &Samples, caller: &Caller, name: &str, group: &GroupSamples) -> Value {
    let mut document = group_json(caller, name, group);
    let owners = Owners::new(group);
    let shown: Vec<_> = visible(caller, group).collect();
    let has_history = shown.len() <= MAX_LIST;
    document["partition_details"] = shown
        .into_iter()
        .map(|(at, partition)| {
            let mut document = partition_json(samples, &owners, at, partition);
            document["lag_history"] = has_history.then(|| partition.lag_json(now())).into();
            document
        })
        .collect();
    let members = group.shared.iter().flat_map(|shared| &shared.members);
    document["members_detail"] = members
        .map(|member| member_json(caller, member, owners.held.get(&*member.id).copied().unwrap_or(0)))
        .collect();
    document["lag_step_seconds"] = STEP.as_secs().into();
    document["lag_history"] = group.lag_json(now());
    document
}

/// Owners of the partitions of a shared group, to be looked up.
struct Owners<'a> {
    assigned: HashMap<&'a TopicPartition, &'a PartitionAssignment>,
    instances: HashMap<&'a str, &'a str>,
    /// Partitions of each member.
    held: HashMap<&'a str, usize>,
}

impl<'a> Owners<'a> {
    fn new(group: &'a GroupSamples) -> Self {
        let partitions = group.shared.iter().flat_map(|shared| &shared.partitions);
        let members = group.shared.iter().flat_map(|shared| &shared.members);
        let mut held = HashMap::new();
        for member in partitions.clone().filter_map(|one| one.member.as_deref()) {
            *held.entry(member).or_default() += 1;
        }
        Self {
            assigned: partitions.map(|one| (&one.at, one)).collect(),
            instances: members.filter_map(|one| Some((&*one.id, one.instance.as_deref()?))).collect(),
            held,
        }
    }
}

fn partition_json(
    samples: &Samples,
    owners: &Owners<'_>,
    at: &TopicPartition,
    partition: &PartitionLag,
) -> Value {
    let marks = samples
        .topic(&at.topic)
        .and_then(|topic| topic.marks.get(usize::try_from(at.partition).ok()?)?.as_ref());
    let assigned = owners.assigned.get(at);
    let member = assigned.and_then(|assigned| assigned.member.as_deref());
    let instance = member.and_then(|member| owners.instances.get(member));
    json!({
        "topic": at.topic.as_str(),
        "partition": at.partition,
        "next_offset": partition.next,
        "start_offset": marks.map(|marks| marks.start),
        "high_watermark": marks.map(|marks| marks.high),
        "lag": partition.lag,
        "committed_at": partition.committed_at,
        "member": member,
        "instance": instance,
        "moves_to": assigned.and_then(|assigned| assigned.moves_to.as_deref()),
    })
}

fn member_json(caller: &Caller, member: &GroupMember, partitions: usize) -> Value {
    let topics = member.topics.iter().map(Topic::as_str).filter(|topic| caller.may(DESCRIBE, topic));
    json!({
        "id": member.id,
        "instance": member.instance,
        "session_ms": u64::try_from(member.session.as_millis()).unwrap_or(u64::MAX),
        "topics": topics.collect::<Vec<_>>(),
        "partitions": partitions,
        "heard_at": member.heard_at,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetRequest {
    topic: String,
    partition: Option<u32>,
    to: String,
    #[serde(default)]
    apply: bool,
    #[serde(default)]
    force: bool,
}

pub(super) async fn reset(
    State(console): State<Arc<Console>>,
    caller: Caller,
    Path(PathName(group)): Path<PathName>,
    body: Bytes,
) -> Answer {
    let request: ResetRequest = query::body(&body)?;
    caller.check(STORE_OFFSET, &request.topic)?;
    let admin = console.client.admin();
    let moves = console
        .client
        .offsets_at(request.topic.as_str(), request.partition, query::position(&request.to)?)
        .await?;
    let stored = admin.committed_offsets(Some(&group)).await?;
    let shared = console.client.groups().describe(group.as_str()).await.ok();
    let position = |at: &TopicPartition| {
        let assigned = shared.iter().flat_map(|shared| &shared.partitions).find(|one| one.at == *at);
        let copied = stored.iter().find(|one| one.at == *at).map(|one| one.next);
        assigned.and_then(|assigned| assigned.next).or(copied)
    };
    let changes: Vec<_> = moves
        .iter()
        .map(|(at, to)| {
            let from = position(at);
            json!({
                "topic": at.topic.as_str(), "partition": at.partition, "from": from, "to": to,
                "records": from.map(|from| to.saturating_sub(from)),
            })
        })
        .collect();
    if request.apply {
        for (at, next) in moves {
            match &shared {
                Some(_) => console.client.groups().reset(group.as_str(), at, next, request.force).await?,
                None => admin.set_committed_offset(&group, at, next).await?,
            }
        }
        caller.changed(STORE_OFFSET, &group);
    }
    Ok(answer(&json!({ "applied": request.apply, "changes": changes })))
}

pub(super) async fn remove(
    State(console): State<Arc<Console>>,
    caller: Caller,
    Path(PathName(group)): Path<PathName>,
) -> Answer {
    let admin = console.client.admin();
    let stored = admin.committed_offsets(Some(&group)).await?;
    for one in &stored {
        caller.check(DELETE_OFFSET, one.at.topic.as_str())?;
    }
    let shared = console.client.groups().describe(group.as_str()).await.ok();
    for one in shared.iter().flat_map(|shared| &shared.partitions) {
        caller.check(DELETE_OFFSET, one.at.topic.as_str())?;
    }
    let is_shared = match console.client.groups().delete(group.as_str()).await {
        Ok(()) => true,
        Err(error) if error.kind() == floe::ErrorKind::NotAMember => false,
        Err(error) => return Err(error.into()),
    };
    if stored.is_empty() && !is_shared {
        let message = format!("no group {group:?} has stored offsets or members");
        return Err(RequestError::new(StatusCode::NOT_FOUND, "no_such_group", message));
    }
    for one in stored {
        admin.forget_committed_offset(&group, one.at).await?;
    }
    caller.changed(DELETE_OFFSET, &group);
    Ok(no_content())
}
