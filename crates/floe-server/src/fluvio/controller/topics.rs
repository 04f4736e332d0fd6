//! Creates, deletes and changes topics, with the checks of a real controller.

use std::{collections::BTreeSet, io, time::Duration};

use floe::{
    ErrorKind, Topic,
    topic::{MAX_PARTITIONS, TopicSpec as EngineSpec},
};
use floe_wire::fluvio::{
    CleanupPolicy, CreateRequest, DeleteRequest, ErrorCode, PartitionAssignment, ReplicaAssignment, Status,
    TopicCompression, TopicSpec, TopicUpdate, UpdateTopicRequest,
    names::{
        CONSUMER_OFFSET_TOPIC, DEFAULT_SEGMENT_SIZE, MIN_PARTITION_SIZE, MIN_RETENTION_SECONDS,
        MIN_SEGMENT_SIZE, check_topic_name,
    },
};

use super::{done, refused};
use crate::{
    fluvio::errors::of_admin,
    node::{Node, SPU_ID},
};

pub(super) async fn create(node: &Node, request: CreateRequest<TopicSpec>) -> Status {
    let CreateRequest { name, dry_run, timeout_ms: _, spec } = request;
    if let Err(error) = check_topic_name(&name) {
        return refused(name, ErrorCode::TopicInvalidName, error.to_string());
    }
    match exists(node, &name).await {
        Ok(false) => {}
        Ok(true) => {
            return refused(&name, ErrorCode::TopicAlreadyExists, format!("topic {name:?} already exists"));
        }
        Err(status) => return status,
    }
    let partitions = match check(&spec) {
        Ok(partitions) => partitions,
        Err((code, message)) => return refused(name, code, message),
    };
    if dry_run {
        return done(name);
    }
    let wanted = engine_spec(&name, partitions, &spec);
    // The rules are stored first: whatever fails next, a topic never exists without its rules.
    if let Err(error) = node.registry.insert(name.clone(), spec).await {
        return registry_failed(name, &error);
    }
    let outcome = node.engine.create_topic(wanted).await;
    match outcome {
        Ok(()) => {
            node.catalog.refresh(&Topic::from(name.as_str())).await;
            done(name)
        }
        Err(error) if error.kind() == ErrorKind::TopicAlreadyExists => {
            refused(name, ErrorCode::TopicAlreadyExists, error.to_string())
        }
        Err(error) => {
            forget_rules(node, &name).await;
            let code = match error.kind() {
                ErrorKind::InvalidConfig | ErrorKind::InvalidCommand => ErrorCode::TopicInvalidConfiguration,
                _ => of_admin(&error),
            };
            refused(name, code, error.to_string())
        }
    }
}

pub(super) async fn delete(node: &Node, request: DeleteRequest<TopicSpec>) -> Status {
    let DeleteRequest { key: name, force } = request;
    match exists(node, &name).await {
        Ok(true) => {}
        Ok(false) => {
            return refused(&name, ErrorCode::TopicNotFound, format!("topic {name:?} not found"));
        }
        Err(status) => return status,
    }
    if name == CONSUMER_OFFSET_TOPIC || (is_system(node, &name) && !force) {
        let code = ErrorCode::SystemSpecDeletionAttempt { kind: "Topic".to_owned(), name: name.clone() };
        return refused(name, code, "this is a system topic");
    }
    match node.engine.delete_topic(Topic::from(name.as_str())).await {
        Ok(()) => {
            node.catalog.refresh(&Topic::from(name.as_str())).await;
            forget_rules(node, &name).await;
            node.catalog.notify_changed();
            done(name)
        }
        Err(error) if error.kind() == ErrorKind::TopicNotFound => {
            refused(name, ErrorCode::TopicNotFound, error.to_string())
        }
        Err(error) => refused(name, of_admin(&error), error.to_string()),
    }
}

pub(super) async fn update(node: &Node, request: UpdateTopicRequest) -> Status {
    let UpdateTopicRequest { key: name, action } = request;
    match exists(node, &name).await {
        Ok(true) => {}
        Ok(false) => {
            return refused(&name, ErrorCode::TopicNotFound, format!("topic {name:?} not found"));
        }
        Err(status) => return status,
    }
    if name == CONSUMER_OFFSET_TOPIC || is_system(node, &name) {
        let code = ErrorCode::SystemSpecUpdatingAttempt { kind: "Topic".to_owned(), name: name.clone() };
        return refused(name, code, "this is a system topic");
    }
    let is_assigned = node.registry.read(|objects| {
        objects.topics.get(&name).is_some_and(|spec| matches!(spec.replicas, ReplicaAssignment::Assigned(_)))
    });
    match action {
        TopicUpdate::AddPartition { .. } if is_assigned => {
            refused(name, ErrorCode::TopicInvalidReplicaType, "the topic has an explicit replica assignment")
        }
        TopicUpdate::AddPartition { count } => add_partitions(node, name, count).await,
        TopicUpdate::AddMirror(_) => {
            refused(name, ErrorCode::TopicInvalidReplicaType, "the topic is not mirrored")
        }
    }
}

async fn add_partitions(node: &Node, name: String, count: u32) -> Status {
    if count == 0 {
        return refused(
            name,
            ErrorCode::TopicError,
            "the number of partitions to add must be greater than 0",
        );
    }
    let topic = Topic::from(name.as_str());
    // The engine is asked because the catalog may lag behind.
    let outcome = match node.engine.topic(topic.clone()).await {
        Ok(info) => match info.partitions.checked_add(count).filter(|total| *total <= MAX_PARTITIONS) {
            Some(total) => node.engine.add_partitions(topic.clone(), total).await,
            None => {
                let message = format!("cannot add {count} partitions: a topic has at most {MAX_PARTITIONS}");
                return refused(name, ErrorCode::TopicError, message);
            }
        },
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => {
            node.catalog.refresh(&topic).await;
            done(name)
        }
        Err(error) if error.kind() == ErrorKind::TopicNotFound => {
            refused(name, ErrorCode::TopicNotFound, error.to_string())
        }
        Err(error) => refused(name, of_admin(&error), error.to_string()),
    }
}

async fn exists(node: &Node, name: &str) -> Result<bool, Status> {
    if name == CONSUMER_OFFSET_TOPIC {
        return Ok(true);
    }
    match node.catalog.find(name).await {
        Ok(found) => Ok(found.is_some()),
        Err(error) => Err(refused(name, of_admin(&error), error.to_string())),
    }
}

fn is_system(node: &Node, name: &str) -> bool {
    node.registry.read(|objects| objects.topics.get(name).is_some_and(|spec| spec.system))
}

async fn forget_rules(node: &Node, name: &str) {
    if let Err(error) = node.registry.remove::<TopicSpec>(name).await {
        // Harmless: the next start drops rules without a topic, and a new topic of the name replaces them.
        tracing::warn!(%error, topic = name, "cannot write the registry");
    }
}

pub(super) fn registry_failed(name: impl Into<String>, error: &io::Error) -> Status {
    let message = format!("cannot write the registry of the server: {error}");
    refused(name, ErrorCode::StorageError, message)
}

fn engine_spec(name: &str, partitions: u32, spec: &TopicSpec) -> EngineSpec {
    let mut wanted = EngineSpec::new(name).partitions(partitions);
    if let Some(CleanupPolicy::Segment { time_in_seconds }) = spec.cleanup_policy {
        wanted = wanted.retention_age(Duration::from_secs(time_in_seconds.into()));
    }
    if let Some(storage) = spec.storage {
        wanted.retention_bytes = storage.max_partition_size;
        wanted.segment_bytes = storage.segment_size.map(u64::from);
    }
    wanted
}

/// Checks a specification as a real controller does, and returns the number of partitions.
fn check(spec: &TopicSpec) -> Result<u32, (ErrorCode, String)> {
    let refuse = |message: &str| Err((ErrorCode::TopicError, message.to_owned()));
    let partitions = match &spec.replicas {
        ReplicaAssignment::Computed { partitions: 0, .. } => {
            return refuse("partition count must be greater than 0");
        }
        ReplicaAssignment::Computed { replication_factor: 0, .. } => {
            return refuse("replication factor must be greater than 0");
        }
        ReplicaAssignment::Computed { partitions, replication_factor, .. } => {
            if *replication_factor > 1 {
                return Err((
                    ErrorCode::TopicNotProvisioned,
                    format!(
                        "replication factor {replication_factor} needs as many data servers, this cluster has one"
                    ),
                ));
            }
            *partitions
        }
        ReplicaAssignment::Assigned(assignment) => check_assignment(assignment)?,
        ReplicaAssignment::Mirror(_) => {
            return Err((
                ErrorCode::TopicInvalidReplicaType,
                "this server does not support mirroring".to_owned(),
            ));
        }
    };
    if partitions > MAX_PARTITIONS {
        return refuse(&format!("{partitions} partitions: a topic has at most {MAX_PARTITIONS}"));
    }
    let invalid = |message: String| Err((ErrorCode::TopicInvalidConfiguration, message));
    if let Some(CleanupPolicy::Segment { time_in_seconds }) = spec.cleanup_policy
        && time_in_seconds < MIN_RETENTION_SECONDS
    {
        return invalid(format!(
            "retention time {time_in_seconds} is less than {MIN_RETENTION_SECONDS} seconds"
        ));
    }
    let storage = spec.storage.unwrap_or_default();
    if let Some(size) = storage.segment_size
        && size < MIN_SEGMENT_SIZE
    {
        return invalid(format!("segment size {size} is less than {MIN_SEGMENT_SIZE} bytes"));
    }
    if let Some(size) = storage.max_partition_size {
        let segment = storage.segment_size.unwrap_or(DEFAULT_SEGMENT_SIZE);
        if size < MIN_PARTITION_SIZE {
            return invalid(format!("max partition size {size} is less than {MIN_PARTITION_SIZE} bytes"));
        }
        if size < u64::from(segment) {
            return invalid(format!("max partition size {size} is less than the segment size {segment}"));
        }
    }
    if let TopicCompression::Unknown(code) = spec.compression {
        return invalid(format!("compression {code} is unknown"));
    }
    if spec.deduplication.is_some() {
        return Err((
            ErrorCode::DeduplicationSmartModuleNotLoaded,
            "this server does not support deduplication of topics: create the topic without it, and filter where \
             records are read; floe's own producers are idempotent"
                .to_owned(),
        ));
    }
    Ok(partitions)
}

/// Checks an explicit replica assignment.
fn check_assignment(assignment: &[PartitionAssignment]) -> Result<u32, (ErrorCode, String)> {
    let refuse = |message: String| Err((ErrorCode::TopicError, message));
    if assignment.is_empty() {
        return refuse("no partitions are assigned".to_owned());
    }
    for (expected, partition) in (0..).zip(assignment) {
        if partition.id != expected {
            return refuse(format!("partition {expected} is missing: the ids must be 0, 1, 2 and so on"));
        }
        if partition.replicas.is_empty() {
            return refuse(format!("partition {expected} has no replicas"));
        }
        if assignment.first().is_some_and(|first| first.replicas.len() != partition.replicas.len()) {
            return refuse("all partitions must have the same number of replicas".to_owned());
        }
        if partition.replicas.iter().collect::<BTreeSet<_>>().len() != partition.replicas.len() {
            return refuse(format!("partition {expected} has a duplicate replica"));
        }
        if let Some(unknown) = partition.replicas.iter().find(|id| **id != SPU_ID) {
            return refuse(format!("unknown data server {unknown}: the only one is {SPU_ID}"));
        }
    }
    u32::try_from(assignment.len()).or_else(|_| refuse("too many partitions".to_owned()))
}

#[cfg(test)]
mod tests {
    use floe_wire::fluvio::{Deduplication, HomeAssignment, MirrorAssignment, TopicStorage};

    use super::*;

    fn computed(partitions: u32, replication_factor: u32) -> TopicSpec {
        TopicSpec {
            replicas: ReplicaAssignment::Computed { partitions, replication_factor, ignore_rack: false },
            ..TopicSpec::default()
        }
    }

    fn assigned(partitions: &[(u32, &[i32])]) -> TopicSpec {
        let partitions = partitions
            .iter()
            .map(|(id, replicas)| PartitionAssignment { id: *id, replicas: replicas.to_vec(), mirror: None })
            .collect();
        TopicSpec { replicas: ReplicaAssignment::Assigned(partitions), ..TopicSpec::default() }
    }

    fn stored(segment_size: Option<u32>, max_partition_size: Option<u64>) -> TopicSpec {
        TopicSpec { storage: Some(TopicStorage { segment_size, max_partition_size }), ..TopicSpec::default() }
    }

    fn kept(time_in_seconds: u32) -> TopicSpec {
        TopicSpec { cleanup_policy: Some(CleanupPolicy::Segment { time_in_seconds }), ..TopicSpec::default() }
    }

    #[test]
    fn valid_specifications() {
        for (spec, partitions) in [
            (TopicSpec::default(), 1),
            (computed(12, 1), 12),
            (assigned(&[(0, &[SPU_ID]), (1, &[SPU_ID])]), 2),
            (kept(10), 1),
            (stored(Some(1024), Some(2048)), 1),
            (stored(Some(4096), Some(4096)), 1),
            (stored(None, Some(1 << 30)), 1),
        ] {
            assert_eq!(check(&spec), Ok(partitions), "{spec:?}");
        }
    }

    #[test]
    fn invalid_specifications_and_their_codes() {
        let mirror = MirrorAssignment::Home(HomeAssignment::default());
        for (spec, code) in [
            (computed(0, 1), ErrorCode::TopicError),
            (computed(1, 0), ErrorCode::TopicError),
            (computed(MAX_PARTITIONS + 1, 1), ErrorCode::TopicError),
            (computed(1, 2), ErrorCode::TopicNotProvisioned),
            (assigned(&[]), ErrorCode::TopicError),
            (assigned(&[(1, &[SPU_ID])]), ErrorCode::TopicError),
            (assigned(&[(0, &[SPU_ID]), (0, &[SPU_ID])]), ErrorCode::TopicError),
            (assigned(&[(0, &[])]), ErrorCode::TopicError),
            (assigned(&[(0, &[SPU_ID, SPU_ID])]), ErrorCode::TopicError),
            (assigned(&[(0, &[SPU_ID]), (1, &[])]), ErrorCode::TopicError),
            (assigned(&[(0, &[7])]), ErrorCode::TopicError),
            (kept(9), ErrorCode::TopicInvalidConfiguration),
            (stored(Some(1023), None), ErrorCode::TopicInvalidConfiguration),
            (stored(Some(1024), Some(2047)), ErrorCode::TopicInvalidConfiguration),
            (stored(Some(4096), Some(4095)), ErrorCode::TopicInvalidConfiguration),
            (stored(None, Some(4096)), ErrorCode::TopicInvalidConfiguration),
            (
                TopicSpec { compression: TopicCompression::Unknown(9), ..TopicSpec::default() },
                ErrorCode::TopicInvalidConfiguration,
            ),
            (
                TopicSpec { deduplication: Some(Deduplication::default()), ..TopicSpec::default() },
                ErrorCode::DeduplicationSmartModuleNotLoaded,
            ),
            (
                TopicSpec { replicas: ReplicaAssignment::Mirror(mirror), ..TopicSpec::default() },
                ErrorCode::TopicInvalidReplicaType,
            ),
        ] {
            assert_eq!(check(&spec).map_err(|(code, _)| code), Err(code), "{spec:?}");
        }
    }
}
