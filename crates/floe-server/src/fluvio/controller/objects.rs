//! Builds the objects of the cluster that lists and watches show. Which of them a client sees is decided by
//! [`Watched::is_visible`](super::views::Watched::is_visible).

use std::{collections::BTreeMap, sync::Arc};

use floe::topic::TopicInfo;
use floe_wire::fluvio::{
    CleanupPolicy, CustomSpuSpec, Encryption, Endpoint, IngressAddress, IngressEndpoint, Metadata,
    PartitionResolution, PartitionSpec, PartitionStatus, ReplicaAssignment, ReplicaStatus, SmartModuleSpec,
    SpuSpec, SpuStatus, SpuType, TableFormatSpec, TableFormatStatus, TopicResolution, TopicSpec, TopicStatus,
    TopicStorage,
    names::{CONSUMER_OFFSET_TOPIC, DEFAULT_RETENTION_SECONDS},
};

use super::smartmodules;
use crate::{
    catalog::TopicEntry,
    node::{Node, SPU_ID, SPU_NAME},
    registry::StoredObject,
};

/// Returns all topics, system topics included.
pub(super) fn topics(node: &Node) -> Vec<Metadata<TopicSpec>> {
    let mut topics = vec![system_topic()];
    topics.extend(entries(node).iter().map(|entry| topic(entry, rules(node, entry).as_deref())));
    topics
}

/// Returns the entries of all topics but the system topic.
pub(super) fn entries(node: &Node) -> Vec<Arc<TopicEntry>> {
    let mut entries = node.catalog.all();
    entries.retain(|entry| entry.info.name.as_str() != CONSUMER_OFFSET_TOPIC);
    entries
}

/// Returns the rules that a Fluvio client stored for a topic.
pub(super) fn rules(node: &Node, entry: &TopicEntry) -> Option<Arc<StoredObject<TopicSpec>>> {
    node.registry.read(|objects| objects.topics.get(entry.info.name.as_str()).cloned())
}

/// Returns a topic of the engine.
pub(super) fn topic(entry: &TopicEntry, rules: Option<&StoredObject<TopicSpec>>) -> Metadata<TopicSpec> {
    topic_object(entry.info.name.to_string(), spec_of(&entry.info, rules), entry.info.partitions)
}

/// Returns the topic in which a real cluster stores consumer offsets.
pub(super) fn system_topic() -> Metadata<TopicSpec> {
    topic_object(CONSUMER_OFFSET_TOPIC.to_owned(), offsets_topic(), 1)
}

fn topic_object(name: String, spec: TopicSpec, partitions: u32) -> Metadata<TopicSpec> {
    let status = TopicStatus {
        resolution: TopicResolution::Provisioned,
        replica_map: (0..partitions).map(|partition| (partition, vec![SPU_ID])).collect(),
        mirror_map: BTreeMap::new(),
        reason: String::new(),
    };
    Metadata { name, spec, status }
}

/// The topic in which a real cluster stores consumer offsets. It holds no records here; official clients look it up
/// to find the data server that stores offsets.
fn offsets_topic() -> TopicSpec {
    TopicSpec {
        cleanup_policy: Some(CleanupPolicy::Segment { time_in_seconds: DEFAULT_RETENTION_SECONDS }),
        storage: Some(TopicStorage {
            segment_size: Some(512_000_000),
            max_partition_size: Some(2_048_000_000),
        }),
        system: true,
        ..TopicSpec::default()
    }
}

/// Returns the specification of a topic: the one that a Fluvio client stored, else one derived from the engine's
/// settings.
fn spec_of(info: &TopicInfo, rules: Option<&StoredObject<TopicSpec>>) -> TopicSpec {
    let mut spec = rules.map(|rules| TopicSpec::clone(rules)).unwrap_or_else(|| TopicSpec {
        cleanup_policy: info.retention_age.map(|age| CleanupPolicy::Segment {
            time_in_seconds: u32::try_from(age.as_secs()).unwrap_or(u32::MAX),
        }),
        storage: info
            .retention_bytes
            .map(|bytes| TopicStorage { segment_size: None, max_partition_size: Some(bytes) }),
        ..TopicSpec::default()
    });
    // The engine's partition count overrides the stored one.
    if let ReplicaAssignment::Computed { partitions, .. } = &mut spec.replicas {
        *partitions = info.partitions;
    }
    spec
}

/// Returns the partitions, those of system topics included. Offsets and sizes stay zero: watches do not report their
/// changes, and official clients ask the data server.
/// Returns the partitions of a topic.
pub(super) fn partitions_of(topic: &Metadata<TopicSpec>) -> impl Iterator<Item = Metadata<PartitionSpec>> {
    topic.status.replica_map.keys().map(|partition| {
        let spec = PartitionSpec {
            leader: SPU_ID,
            replicas: vec![SPU_ID],
            cleanup_policy: topic.spec.cleanup_policy,
            storage: topic.spec.storage,
            compression: topic.spec.compression,
            deduplication: topic.spec.deduplication.clone(),
            system: topic.spec.system,
            mirror: None,
        };
        let status = PartitionStatus {
            resolution: PartitionResolution::Online,
            leader: ReplicaStatus { spu: SPU_ID, high_watermark: 0, log_end_offset: 0 },
            live_replicas: 1,
            ..PartitionStatus::default()
        };
        Metadata { name: format!("{}-{partition}", topic.name), spec, status }
    })
}

/// Fills in the offsets and the size of a partition.
pub(super) async fn measure(node: &Node, partition: &mut Metadata<PartitionSpec>) {
    let Ok(name) = partition.name.parse::<floe_wire::fluvio::names::PartitionName>() else {
        debug_assert!(false, "`partitions` made the name {:?}", partition.name);
        tracing::error!(name = partition.name, "cannot parse the name of a partition");
        return;
    };
    let at = floe::Topic::from(name.topic).partition(name.partition);
    // The topic may have been deleted meanwhile.
    let Ok(marks) = node.engine.watermarks(at).await else { return };
    partition.status.leader.high_watermark = marks.high;
    partition.status.leader.log_end_offset = marks.high;
    partition.status.base_offset = marks.start;
    partition.status.size = marks.size_bytes.map_or(-2, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
}

/// Returns this process as the data server, followed by the registered ones, which never come online.
pub(super) fn spus(node: &Node) -> Vec<Metadata<SpuSpec>> {
    let mut spus: Vec<_> = node
        .data_server
        .iter()
        .map(|address| {
            let encryption = if node.is_encrypted { Encryption::Ssl } else { Encryption::Plaintext };
            let spec = SpuSpec {
                id: SPU_ID,
                spu_type: SpuType::Managed,
                public_endpoint: ingress(address.host.clone(), address.port, encryption),
                // No other server connects to the private endpoint.
                private_endpoint: endpoint(address.host.clone(), address.port),
                rack: None,
                public_endpoint_local: None,
            };
            Metadata { name: SPU_NAME.to_owned(), spec, status: SpuStatus::Online }
        })
        .collect();
    spus.extend(custom_spus(node).into_iter().map(|custom| {
        let CustomSpuSpec { id, public_endpoint, private_endpoint, rack, public_endpoint_local } =
            custom.spec;
        let spu_type = SpuType::Custom;
        let spec = SpuSpec { id, spu_type, public_endpoint, private_endpoint, rack, public_endpoint_local };
        Metadata { name: custom.name, spec, status: custom.status }
    }));
    spus
}

fn ingress(host: String, port: u16, encryption: Encryption) -> IngressEndpoint {
    let address = IngressAddress { hostname: Some(host), ip: None };
    IngressEndpoint { port, ingress: vec![address], encryption }
}

fn endpoint(host: String, port: u16) -> Endpoint {
    Endpoint { port, host, encryption: Encryption::Plaintext }
}

/// Returns the data servers that clients registered.
pub(super) fn custom_spus(node: &Node) -> Vec<Metadata<CustomSpuSpec>> {
    node.registry.read(|objects| {
        let object = |(name, spec): (&String, &Arc<StoredObject<CustomSpuSpec>>)| Metadata {
            name: name.clone(),
            spec: CustomSpuSpec::clone(spec),
            status: SpuStatus::Init,
        };
        objects.custom_spus.iter().map(object).collect()
    })
}

/// Returns the stored modules that `filters` names, or all.
pub(super) fn smartmodules(node: &Node, filters: &[String], summary: bool) -> Vec<Metadata<SmartModuleSpec>> {
    let modules = smartmodules::list(node, filters).into_iter();
    modules.map(|(name, spec)| module(name, &spec, summary)).collect()
}

/// Returns a stored module.
pub(super) fn module(
    name: String,
    spec: &StoredObject<SmartModuleSpec>,
    summary: bool,
) -> Metadata<SmartModuleSpec> {
    Metadata { name, spec: smartmodules::shown(spec, summary), status: () }
}

/// Returns the stored table formats.
pub(super) fn table_formats(node: &Node) -> Vec<Metadata<TableFormatSpec>> {
    node.registry.read(|objects| {
        let object = |(name, spec): (&String, &Arc<StoredObject<TableFormatSpec>>)| Metadata {
            name: name.clone(),
            spec: TableFormatSpec::clone(spec),
            status: TableFormatStatus::default(),
        };
        objects.table_formats.iter().map(object).collect()
    })
}
