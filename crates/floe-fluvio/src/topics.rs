//! Topics: create, delete, list, describe.

use std::{ops::Range, sync::Arc, time::Duration};

use floe_core::{
    Error, ErrorKind, Result,
    topic::{Topic, TopicInfo, TopicSpec},
};
use floe_wire::compress::Codec;
use floe_wire::fluvio::names::DEFAULT_SEGMENT_SIZE;
use floe_wire::fluvio::{
    CleanupPolicy, CreateRequest, DeleteRequest, ListRequest, ReplicaAssignment, Status, TopicCompression,
    TopicResolution, TopicSpec as WireSpec, TopicStatus, TopicStorage, TopicUpdate, UpdateTopicRequest,
};

use super::{
    cluster::{partitions, topic_info},
    errors,
    metadata::{Metadata, not_found},
    router::Router,
};

/// Deadline for the creation of a topic; the controller gives up after 90 s.
const CREATE_TIMEOUT: Duration = Duration::from_secs(100);

/// How long to rely on the controller alone. It refuses within milliseconds and usually completes within half a second.
const CREATE_PATIENCE: Duration = Duration::from_millis(750);

/// Pause between requests to data servers for a new partition after that.
const CREATE_POLL: Duration = Duration::from_millis(250);

/// Converts a status of the controller to a result.
pub(super) fn check_status(status: &Status) -> Result<()> {
    if status.error_code.is_success() {
        return Ok(());
    }
    let error = errors::explained(&status.error_code, status.error_message.as_deref());
    // The controller knows all modules. Only a data server may get one later.
    let retriable = error.is_retriable() && error.kind() != ErrorKind::ModuleNotFound;
    Err(error.with_retriable(retriable))
}

/// Converts the settings of a topic to those of the protocol.
pub(super) fn wire_spec(spec: &TopicSpec) -> Result<WireSpec> {
    let too_much =
        |what: &str| Error::new(ErrorKind::InvalidCommand, format!("{what} is more than Fluvio can store"));
    if spec.durability.is_some() {
        return Err(Error::unsupported("choice of durability for a topic", "fluvio"));
    }
    let cleanup_policy = match spec.retention_age {
        None => None,
        Some(age) => Some(CleanupPolicy::Segment {
            time_in_seconds: u32::try_from(age.as_secs()).map_err(|_| too_much("the retention age"))?,
        }),
    };
    let segment_size = match spec.segment_bytes {
        None => None,
        Some(bytes) => Some(u32::try_from(bytes).map_err(|_| too_much("the segment size"))?),
    };
    // A partition holds one segment at least, so that a small one needs a small segment.
    let fitting = spec.retention_bytes.and_then(|bytes| u32::try_from(bytes).ok());
    let segment_size = segment_size.or(fitting.filter(|bytes| *bytes < DEFAULT_SEGMENT_SIZE));
    let storage = (segment_size.is_some() || spec.retention_bytes.is_some())
        .then_some(TopicStorage { segment_size, max_partition_size: spec.retention_bytes });
    Ok(WireSpec {
        replicas: ReplicaAssignment::Computed {
            partitions: spec.partitions,
            replication_factor: spec.replication_factor.unwrap_or(1),
            ignore_rack: false,
        },
        cleanup_policy,
        storage,
        compression: match spec.compression {
            None => TopicCompression::Any,
            Some(Codec::None) => TopicCompression::None,
            Some(Codec::Gzip) => TopicCompression::Gzip,
            Some(Codec::Snappy) => TopicCompression::Snappy,
            Some(Codec::Lz4) => TopicCompression::Lz4,
            Some(Codec::Zstd) => TopicCompression::Zstd,
        },
        deduplication: None,
        system: false,
    })
}

/// Creates a topic and waits until its partitions can be used.
pub(super) async fn create(router: &Arc<Router>, spec: TopicSpec) -> Result<()> {
    spec.validate()?;
    let wire = wire_spec(&spec)?;
    create_wire(router, &spec.name, wire).await
}

/// Creates a topic as [`create`], with all settings of the protocol.
///
/// Controllers of platform 0.18 sometimes miss that a new partition is online, and answer only after their next scan, up to
/// a minute later. When the answer takes long, this asks the data servers: once they lead every partition, the topic is
/// usable.
pub(super) async fn create_wire(router: &Arc<Router>, name: &Topic, spec: WireSpec) -> Result<()> {
    let metadata = &router.metadata;
    let count = partitions(&spec);
    // Otherwise an existing topic could be mistaken for the new one when the answer is late.
    if metadata.ask_topic(name).await?.is_some() {
        return Err(Error::new(
            ErrorKind::TopicAlreadyExists,
            format!("there is a topic {:?}", name.as_str()),
        ));
    }
    let request = CreateRequest { name: name.to_string(), dry_run: false, timeout_ms: None, spec };
    // A separate connection, because the controller serves no other request on it until all partitions are online.
    let link = metadata.new_controller_link().await?;
    tokio::select! {
        biased;
        status = link.call(&request, CREATE_TIMEOUT) => check_status(&status?)?,
        () = created(router, name, count) => {}
        reason = refused(metadata, name) => {
            // The controller would keep it, and place it once there are enough data servers.
            delete(metadata, name).await?;
            let message = format!("the controller cannot place the topic, which was not created: {reason}");
            return Err(Error::new(ErrorKind::InvalidCommand, message));
        }
    }
    if metadata.is_watching() {
        // The caller expects to find the topic. On timeout, appends ask the controller themselves.
        metadata.wait_for(|cluster| cluster.is_ready(name, count)).await;
    }
    Ok(())
}

/// Raises the number of partitions, and waits until the new ones can be used.
pub(super) async fn add_partitions(router: &Arc<Router>, name: &Topic, total: u32) -> Result<()> {
    let metadata = &router.metadata;
    let topic = metadata.ask_topic(name).await?.ok_or_else(|| not_found(name))?;
    let present = partitions(&topic.spec);
    let Some(count) = total.checked_sub(present) else {
        let message = format!("topic {name} has {present} partitions, and partitions cannot be removed");
        return Err(Error::new(ErrorKind::InvalidCommand, message));
    };
    if count > 0 {
        let request =
            UpdateTopicRequest { key: name.to_string(), action: TopicUpdate::AddPartition { count } };
        check_status(&metadata.controller().await?.call(&request, metadata.request_timeout()).await?)?;
    }
    // The controller answers before the partitions can be used.
    if tokio::time::timeout(CREATE_TIMEOUT, served(router, name, present..total)).await.is_err() {
        let message = format!("the controller added {count} partitions, but no data server leads them yet");
        return Err(Error::new(ErrorKind::RequestTimeout, message));
    }
    if metadata.is_watching() {
        metadata.wait_for(|cluster| cluster.is_ready(name, total)).await;
    }
    Ok(())
}

/// Completes when data servers lead all partitions of a topic that is being created. Waits first, so that the controller
/// has time to refuse the request.
async fn created(router: &Arc<Router>, name: &Topic, count: u32) {
    tokio::time::sleep(CREATE_PATIENCE).await;
    served(router, name, 0..count).await;
    tracing::debug!(topic = %name, "the controller has not answered, but the new topic is usable");
}

/// The reason why the controller cannot place a topic; `None` while it may. Controllers of platform 0.18 mostly leave out the
/// text.
fn refusal(status: &TopicStatus) -> Option<String> {
    let meaning = match status.resolution {
        TopicResolution::InsufficientResources => "there are too few data servers for its replicas",
        TopicResolution::InvalidConfig => "its settings are invalid",
        _ => return None,
    };
    Some(if status.reason.is_empty() { meaning.to_owned() } else { status.reason.clone() })
}

/// Completes with the reason when the controller has found that it cannot place a topic that is being created. It answers the
/// request only after 90 s in that case, but shows the reason in the status of the topic at once (platform 0.18).
async fn refused(metadata: &Metadata, name: &Topic) -> String {
    loop {
        tokio::time::sleep(CREATE_POLL).await;
        match metadata.ask_topic(name).await {
            Ok(Some(topic)) => {
                if let Some(reason) = refusal(&topic.status) {
                    return reason;
                }
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(topic = %name, %error, "the status of a new topic is not known"),
        }
    }
}

/// Completes when data servers lead these partitions.
async fn served(router: &Arc<Router>, name: &Topic, numbers: Range<u32>) {
    for number in numbers {
        let at = name.partition(number);
        while let Err(error) = super::watermarks(router, &at).await {
            tracing::debug!(%at, %error, "a new partition is not usable yet");
            tokio::time::sleep(CREATE_POLL).await;
        }
    }
}

/// Deletes a topic and waits until it is no longer listed.
pub(super) async fn delete(metadata: &Metadata, name: &Topic) -> Result<()> {
    delete_forced(metadata, name, false).await
}

/// Deletes a topic as [`delete`]; with `force` also a system topic.
pub(super) async fn delete_forced(metadata: &Metadata, name: &Topic, force: bool) -> Result<()> {
    let request = DeleteRequest::<WireSpec> { key: name.to_string(), force };
    let link = metadata.controller().await?;
    let timeout = metadata.request_timeout();
    check_status(&link.call(&request, timeout).await?)?;
    metadata.wait_deleted(name).await;
    Ok(())
}

/// Describes one topic.
pub(super) async fn describe(metadata: &Metadata, name: &Topic) -> Result<TopicInfo> {
    match metadata.ask_topic(name).await {
        Ok(Some(topic)) => Ok(topic_info(&topic.name, &topic.spec)),
        Ok(None) => Err(not_found(name)),
        // The controller is unreachable: use the known metadata.
        Err(error) if error.is_retriable() => {
            let cluster = metadata.cluster();
            let known = cluster.topics.get(name.as_str());
            known.map(|topic| topic_info(&topic.name, &topic.spec)).ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// Lists all topics except system topics, ordered by name.
pub(super) async fn list(metadata: &Metadata) -> Result<Vec<TopicInfo>> {
    match metadata.list(ListRequest::<WireSpec>::default()).await {
        Ok(topics) => {
            let mut found: Vec<_> = topics.iter().map(|topic| topic_info(&topic.name, &topic.spec)).collect();
            found.sort_by(|left, right| left.name.cmp(&right.name));
            Ok(found)
        }
        Err(error) if error.is_retriable() => {
            let cluster = metadata.cluster();
            if cluster.topics.complete { Ok(cluster.topic_infos()) } else { Err(error) }
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_topic_are_translated() {
        let spec =
            TopicSpec::new("a").partitions(3).retention_age(Duration::from_secs(60)).segment_bytes(4096);
        let wire = wire_spec(&spec).unwrap();
        assert_eq!(partitions(&wire), 3);
        assert_eq!(wire.cleanup_policy, Some(CleanupPolicy::Segment { time_in_seconds: 60 }));
        assert_eq!(wire.storage, Some(TopicStorage { segment_size: Some(4096), max_partition_size: None }));
        let storage = |bytes| wire_spec(&TopicSpec::new("a").retention_bytes(bytes)).unwrap().storage;
        let limits =
            |segment_size, bytes| Some(TopicStorage { segment_size, max_partition_size: Some(bytes) });
        assert_eq!(
            storage(1 << 20),
            limits(Some(1 << 20), 1 << 20),
            "a segment is no larger than the partition"
        );
        assert_eq!(storage(1 << 40), limits(None, 1 << 40));
        let plain = wire_spec(&TopicSpec::new("a")).unwrap();
        assert_eq!((plain.storage, plain.compression), (None, TopicCompression::Any));
        let factor = |spec: TopicSpec| match wire_spec(&spec).unwrap().replicas {
            ReplicaAssignment::Computed { replication_factor, .. } => replication_factor,
            other => panic!("the controller places the replicas: {other:?}"),
        };
        assert_eq!(factor(TopicSpec::new("a")), 1);
        assert_eq!(factor(TopicSpec::new("a").replication_factor(3)), 3);
        for (codec, compression) in [
            (Codec::None, TopicCompression::None),
            (Codec::Gzip, TopicCompression::Gzip),
            (Codec::Snappy, TopicCompression::Snappy),
            (Codec::Lz4, TopicCompression::Lz4),
            (Codec::Zstd, TopicCompression::Zstd),
        ] {
            let spec = TopicSpec::new("a").compression(codec);
            assert_eq!(wire_spec(&spec).unwrap().compression, compression, "{codec}");
        }
        for refused in [
            TopicSpec::new("a").segment_bytes(1 << 33),
            TopicSpec::new("a").retention_age(Duration::from_secs(1 << 33)),
            TopicSpec::new("a").durability(floe_core::Durability::Always),
        ] {
            assert!(wire_spec(&refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn refusals_have_a_reason() {
        let status = |resolution, reason: &str| TopicStatus {
            resolution,
            reason: reason.to_owned(),
            ..TopicStatus::default()
        };
        for fine in [TopicResolution::Init, TopicResolution::Pending, TopicResolution::Provisioned] {
            assert_eq!(refusal(&status(fine, "")), None);
        }
        let too_few = status(TopicResolution::InsufficientResources, "");
        assert!(refusal(&too_few).unwrap().contains("too few data servers"));
        let invalid = status(TopicResolution::InvalidConfig, "partition map is inconsistent");
        assert_eq!(refusal(&invalid).unwrap(), "partition map is inconsistent");
    }
}
