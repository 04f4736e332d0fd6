//! Objects of controllers with explicit, pairwise different field values.

use std::{collections::BTreeMap, io::Cursor, time::Duration};

use floe_wire::fluvio::{self as floe, Object};
use fluvio_controlplane_metadata::{
    mirror, partition, smartmodule,
    spg::{self, SpuGroupSpec},
    spu, tableformat, topic,
};
use fluvio_protocol::Decoder;

use crate::values_data::same;

const VERSION: i16 = 19;

fn mirrors() -> (floe::PartitionMirror, partition::PartitionMirrorConfig) {
    (
        floe::PartitionMirror::Remote(floe::RemotePartition {
            home_cluster: "home".into(),
            home_spu_key: "key".into(),
            home_spu_id: 5,
            home_spu_endpoint: "host:9005".into(),
            target: true,
        }),
        partition::PartitionMirrorConfig::Remote(partition::RemotePartitionConfig {
            home_cluster: "home".into(),
            home_spu_key: "key".into(),
            home_spu_id: 5,
            home_spu_endpoint: "host:9005".into(),
            target: true,
        }),
    )
}

fn home_partitions() -> (floe::HomePartition, partition::HomePartitionConfig) {
    (
        floe::HomePartition { remote_cluster: "remote".into(), remote_replica: "one-0".into(), source: true },
        partition::HomePartitionConfig {
            remote_cluster: "remote".into(),
            remote_replica: "one-0".into(),
            source: true,
        },
    )
}

fn deduplications() -> (floe::Deduplication, topic::Deduplication) {
    let with = BTreeMap::from([("a".to_owned(), "b".to_owned()), ("c".to_owned(), "d".to_owned())]);
    (
        floe::Deduplication {
            count: 10,
            age: Some(Duration::new(3, 4)),
            uses: "module".into(),
            with: with.clone(),
        },
        topic::Deduplication {
            bounds: topic::Bounds { count: 10, age: Some(Duration::new(3, 4)) },
            filter: topic::Filter { transform: topic::Transform { uses: "module".into(), with } },
        },
    )
}

fn storages() -> (floe::TopicStorage, topic::TopicStorageConfig) {
    (
        floe::TopicStorage { segment_size: Some(2048), max_partition_size: Some(1 << 40) },
        topic::TopicStorageConfig { segment_size: Some(2048), max_partition_size: Some(1 << 40) },
    )
}

/// Returns a topic with all fields set except the replicas.
fn topics(
    floe_replicas: floe::ReplicaAssignment,
    replicas: topic::ReplicaSpec,
) -> (floe::TopicSpec, topic::TopicSpec) {
    let (floe_storage, storage) = storages();
    let (floe_deduplication, deduplication) = deduplications();
    let mut official = topic::TopicSpec::from(replicas);
    official.set_cleanup_policy(topic::CleanupPolicy::Segment(topic::SegmentBasedPolicy {
        time_in_seconds: 3600,
    }));
    official.set_storage(storage);
    official.set_compression_type(topic::CompressionAlgorithm::Zstd);
    official.set_deduplication(Some(deduplication));
    official.set_system(true);
    let floe = floe::TopicSpec {
        replicas: floe_replicas,
        cleanup_policy: Some(floe::CleanupPolicy::Segment { time_in_seconds: 3600 }),
        storage: Some(floe_storage),
        compression: floe::TopicCompression::Zstd,
        deduplication: Some(floe_deduplication),
        system: true,
    };
    (floe, official)
}

pub(crate) fn computed_topics() -> (floe::TopicSpec, topic::TopicSpec) {
    topics(
        floe::ReplicaAssignment::Computed { partitions: 6, replication_factor: 3, ignore_rack: true },
        topic::ReplicaSpec::new_computed(6, 3, Some(true)),
    )
}

#[test]
fn topic_objects() {
    let (floe, official) = computed_topics();
    same(&floe, &official, VERSION);
    same(&floe::TopicSpec::default(), &topic::TopicSpec::new_computed(1, 1, None), VERSION);

    let (floe_mirror, mirror) = mirrors();
    let (floe_home, home) = home_partitions();
    let assigned = topics(
        floe::ReplicaAssignment::Assigned(vec![
            floe::PartitionAssignment {
                id: 0,
                replicas: vec![5001, 5002],
                mirror: Some(floe_mirror.clone()),
            },
            floe::PartitionAssignment { id: 1, replicas: vec![5002], mirror: None },
        ]),
        topic::ReplicaSpec::Assigned(topic::PartitionMaps::from(vec![
            topic::PartitionMap { id: 0, replicas: vec![5001, 5002], mirror: Some(mirror.clone()) },
            topic::PartitionMap { id: 1, replicas: vec![5002], mirror: None },
        ])),
    );
    same(&assigned.0, &assigned.1, VERSION);
    let remote = topics(
        floe::ReplicaAssignment::Mirror(floe::MirrorAssignment::Remote(floe::RemoteAssignment {
            home_cluster: "home".into(),
            home_spus: vec![floe::HomeSpu { id: 7, key: "key".into(), endpoint: "host".into() }],
            target: true,
        })),
        topic::ReplicaSpec::Mirror(topic::MirrorConfig::Remote(topic::RemoteMirrorConfig {
            home_cluster: "home".into(),
            home_spus: vec![topic::SpuMirrorConfig { id: 7, key: "key".into(), endpoint: "host".into() }],
            target: true,
        })),
    );
    same(&remote.0, &remote.1, VERSION);
    let mut official_home = topic::HomeMirrorConfig::default();
    official_home.partitions.push(home);
    official_home.source = true;
    let home = topics(
        floe::ReplicaAssignment::Mirror(floe::MirrorAssignment::Home(floe::HomeAssignment {
            partitions: vec![floe_home],
            source: true,
        })),
        topic::ReplicaSpec::Mirror(topic::MirrorConfig::Home(official_home)),
    );
    same(&home.0, &home.1, VERSION);

    same(
        &floe::TopicStatus {
            resolution: floe::TopicResolution::Provisioned,
            replica_map: BTreeMap::from([(0, vec![5001, 5002]), (1, vec![5002])]),
            mirror_map: BTreeMap::from([(1, floe_mirror)]),
            reason: "why".into(),
        },
        &topic::TopicStatus {
            resolution: topic::TopicResolution::Provisioned,
            replica_map: BTreeMap::from([(0, vec![5001, 5002]), (1, vec![5002])]),
            mirror_map: BTreeMap::from([(1, mirror)]),
            reason: "why".into(),
        },
        VERSION,
    );
}

#[test]
fn partition_objects() {
    let (floe_storage, storage) = storages();
    let (floe_deduplication, deduplication) = deduplications();
    let (floe_home, home) = home_partitions();
    same(
        &floe::PartitionSpec {
            leader: 5001,
            replicas: vec![5001, 5003],
            cleanup_policy: Some(floe::CleanupPolicy::Segment { time_in_seconds: 60 }),
            storage: Some(floe_storage),
            compression: floe::TopicCompression::Lz4,
            deduplication: Some(floe_deduplication),
            system: true,
            mirror: Some(floe::PartitionMirror::Home(floe_home)),
        },
        &partition::PartitionSpec {
            leader: 5001,
            replicas: vec![5001, 5003],
            cleanup_policy: Some(topic::CleanupPolicy::Segment(topic::SegmentBasedPolicy {
                time_in_seconds: 60,
            })),
            storage: Some(storage),
            compression_type: topic::CompressionAlgorithm::Lz4,
            deduplication: Some(deduplication),
            system: true,
            mirror: Some(partition::PartitionMirrorConfig::Home(home)),
        },
        VERSION,
    );
    let (floe, official) = partition_statuses();
    same(&floe, &official, VERSION);
    let replica =
        |spu, high_watermark, log_end_offset| floe::ReplicaStatus { spu, high_watermark, log_end_offset };
    assert_eq!(floe.leader, replica(1, 2, 3));
}

pub(crate) fn partition_statuses() -> (floe::PartitionStatus, partition::PartitionStatus) {
    let mut official = partition::PartitionStatus::new2(
        partition::ReplicaStatus::new(1, 2, 3),
        vec![partition::ReplicaStatus::new(4, 5, 6)],
        7,
        partition::PartitionResolution::ElectionLeaderFound,
        8,
    );
    official.lsr = 9;
    official.is_being_deleted = true;
    (
        floe::PartitionStatus {
            resolution: floe::PartitionResolution::ElectionLeaderFound,
            leader: floe::ReplicaStatus { spu: 1, high_watermark: 2, log_end_offset: 3 },
            live_replicas: 9,
            replicas: vec![floe::ReplicaStatus { spu: 4, high_watermark: 5, log_end_offset: 6 }],
            size: 7,
            is_being_deleted: true,
            base_offset: 8,
        },
        official,
    )
}

#[test]
fn data_server_objects() {
    let ingress = spu::IngressPort {
        port: 9005,
        ingress: vec![spu::IngressAddr { hostname: Some("name".into()), ip: Some("127.0.0.1".into()) }],
        encryption: spu::EncryptionEnum::SSL,
    };
    let floe_ingress = floe::IngressEndpoint {
        port: 9005,
        ingress: vec![floe::IngressAddress { hostname: Some("name".into()), ip: Some("127.0.0.1".into()) }],
        encryption: floe::Encryption::Ssl,
    };
    let endpoint = |port, host: &str| spu::Endpoint {
        port,
        host: host.into(),
        encryption: spu::EncryptionEnum::PLAINTEXT,
    };
    let floe_endpoint = |port, host: &str| floe::Endpoint {
        port,
        host: host.into(),
        encryption: floe::Encryption::Plaintext,
    };
    same(
        &floe::SpuSpec {
            id: 5001,
            spu_type: floe::SpuType::Custom,
            public_endpoint: floe_ingress.clone(),
            private_endpoint: floe_endpoint(9006, "private"),
            rack: Some("rack".into()),
            public_endpoint_local: Some(floe_endpoint(9010, "local")),
        },
        &spu::SpuSpec {
            id: 5001,
            spu_type: spu::SpuType::Custom,
            public_endpoint: ingress.clone(),
            private_endpoint: endpoint(9006, "private"),
            rack: Some("rack".into()),
            public_endpoint_local: Some(endpoint(9010, "local")),
        },
        VERSION,
    );
    same(
        &floe::CustomSpuSpec {
            id: 5001,
            public_endpoint: floe_ingress,
            private_endpoint: floe_endpoint(9006, "private"),
            rack: Some("rack".into()),
            public_endpoint_local: Some(floe_endpoint(9010, "local")),
        },
        &spu::CustomSpuSpec {
            id: 5001,
            public_endpoint: ingress,
            private_endpoint: endpoint(9006, "private"),
            rack: Some("rack".into()),
            public_endpoint_local: Some(endpoint(9010, "local")),
        },
        VERSION,
    );
    for (floe, official) in [
        (floe::CustomSpuKey::Name("name".into()), spu::CustomSpuKey::Name("name".into())),
        (floe::CustomSpuKey::Id(5001), spu::CustomSpuKey::Id(5001)),
    ] {
        same(&floe, &official, VERSION);
    }
}

#[test]
fn data_server_statuses() {
    for (floe, resolution) in [
        (floe::SpuStatus::Online, spu::SpuStatusResolution::Online),
        (floe::SpuStatus::Offline, spu::SpuStatusResolution::Offline),
        (floe::SpuStatus::Init, spu::SpuStatusResolution::Init),
    ] {
        same(&floe, &spu::SpuStatus { resolution }, VERSION);
    }
}

#[test]
fn data_server_group_objects() {
    same(
        &floe::SpuGroupSpec {
            replicas: 1,
            min_id: 2,
            rack: Some("rack".into()),
            replication: Some(floe::ReplicationConfig { in_sync_replica_min: Some(3) }),
            storage: Some(floe::StorageConfig { log_dir: Some("folder".into()), size: Some("1Gi".into()) }),
            env: vec![floe::EnvironmentVariable { name: "name".into(), value: "value".into() }],
        },
        &SpuGroupSpec {
            replicas: 1,
            min_id: 2,
            spu_config: spg::SpuConfig {
                rack: Some("rack".into()),
                replication: Some(spg::ReplicationConfig { in_sync_replica_min: Some(3) }),
                storage: Some(spg::StorageConfig {
                    log_dir: Some("folder".into()),
                    size: Some("1Gi".into()),
                }),
                env: vec![spg::EnvVar { name: "name".into(), value: "value".into() }],
            },
        },
        VERSION,
    );
    same(
        &floe::SpuGroupStatus { resolution: floe::SpuGroupResolution::Reserved, reason: Some("why".into()) },
        &spg::SpuGroupStatus {
            resolution: spg::SpuGroupStatusResolution::Reserved,
            reason: Some("why".into()),
        },
        VERSION,
    );
}

#[test]
fn smartmodule_objects() {
    let version = |text| smartmodule::FluvioSemVersion::parse(text).unwrap();
    same(
        &floe::SmartModuleSpec {
            meta: Some(floe::SmartModuleMetadata {
                package: floe::SmartModulePackage {
                    name: "name".into(),
                    group: "group".into(),
                    version: "1.2.3".into(),
                    api_version: "0.1.0".into(),
                    description: Some("description".into()),
                    license: Some("license".into()),
                    visibility: floe::SmartModuleVisibility::Public,
                    repository: Some("repository".into()),
                },
                params: BTreeMap::new(),
            }),
            summary: Some(floe::SmartModuleSummary { wasm_length: 9 }),
            format: floe::WasmFormat::Text,
            payload: "payload".into(),
        },
        &smartmodule::SmartModuleSpec {
            meta: Some(smartmodule::SmartModuleMetadata {
                package: smartmodule::SmartModulePackage {
                    name: "name".into(),
                    group: "group".into(),
                    version: version("1.2.3"),
                    api_version: version("0.1.0"),
                    description: Some("description".into()),
                    license: Some("license".into()),
                    visibility: smartmodule::SmartModuleVisibility::Public,
                    repository: Some("repository".into()),
                },
                params: Default::default(),
            }),
            summary: Some(smartmodule::SmartModuleWasmSummary { wasm_length: 9 }),
            wasm: smartmodule::SmartModuleWasm {
                format: smartmodule::SmartModuleWasmFormat::Text,
                payload: b"payload".to_vec().into(),
            },
        },
        VERSION,
    );
}

#[test]
fn table_format_objects() {
    same(
        &floe::TableFormatSpec {
            name: "name".into(),
            input_format: Some(floe::DataFormat::Json),
            columns: Some(vec![floe::TableFormatColumn {
                header_label: Some("label".into()),
                width: Some("width".into()),
                alignment: Some(floe::ColumnAlignment::Right),
                key_path: "path".into(),
                format: Some("format".into()),
                display: Some(true),
                primary_key: Some(false),
                header_background: Some(floe::ColumnColor::Yellow),
                header_text: Some(floe::ColumnColor::Green),
            }]),
            smartmodule: Some("module".into()),
        },
        &tableformat::TableFormatSpec {
            name: "name".into(),
            input_format: Some(tableformat::DataFormat::JSON),
            columns: Some(vec![tableformat::TableFormatColumnConfig {
                header_label: Some("label".into()),
                width: Some("width".into()),
                alignment: Some(tableformat::TableFormatAlignment::Right),
                key_path: "path".into(),
                format: Some("format".into()),
                display: Some(true),
                primary_key: Some(false),
                header_bg_color: Some(tableformat::Color::Yellow),
                header_text_color: Some(tableformat::Color::Green),
            }]),
            smartmodule: Some("module".into()),
        },
        VERSION,
    );
    same(
        &floe::TableFormatStatus {
            resolution: floe::TableFormatResolution::Failed,
            reason: Some("why".into()),
        },
        &tableformat::TableFormatStatus {
            resolution: tableformat::TableFormatStatusResolution::Failed,
            reason: Some("why".into()),
        },
        VERSION,
    );
}

#[test]
fn mirror_objects() {
    same(
        &floe::MirrorSpec::Remote(floe::RemoteCluster { id: "remote".into() }),
        &mirror::MirrorSpec {
            mirror_type: mirror::MirrorType::Remote(mirror::Remote { id: "remote".into() }),
        },
        VERSION,
    );
    same(
        &floe::MirrorSpec::Home(floe::HomeCluster {
            id: "home".into(),
            remote_id: "remote".into(),
            public_endpoint: "host:9003".into(),
            client_tls: Some(floe::ClientTls {
                domain: "domain".into(),
                ca_cert: "ca".into(),
                client_cert: "certificate".into(),
                client_key: "key".into(),
            }),
        }),
        &mirror::MirrorSpec {
            mirror_type: mirror::MirrorType::Home(mirror::Home {
                id: "home".into(),
                remote_id: "remote".into(),
                public_endpoint: "host:9003".into(),
                client_tls: Some(mirror::ClientTls {
                    domain: "domain".into(),
                    ca_cert: "ca".into(),
                    client_cert: "certificate".into(),
                    client_key: "key".into(),
                }),
            }),
        },
        VERSION,
    );
    same(
        &floe::MirrorStatus {
            connection: floe::ConnectionStatus::Online,
            pairing_sc: floe::PairingStatus::Unauthorized,
            pairing_spu: floe::PairingStatus::DetailFailure("why".into()),
            last_seen_ms: 1_700_000_000_000,
        },
        &mirror::MirrorStatus {
            connection_status: mirror::ConnectionStatus::Online,
            pairing_sc: mirror::MirrorPairStatus::Unauthorized,
            pairing_spu: mirror::MirrorPairStatus::DetailFailure("why".into()),
            connection_stat: mirror::ConnectionStat { last_seen: 1_700_000_000_000 },
        },
        VERSION,
    );
}

#[test]
fn labels_are_the_official_ones() {
    use fluvio_sc_schema::core::Spec;

    for (floe, official) in [
        (floe::TopicSpec::LABEL, topic::TopicSpec::LABEL),
        (floe::PartitionSpec::LABEL, partition::PartitionSpec::LABEL),
        (floe::SpuSpec::LABEL, <spu::SpuSpec as Spec>::LABEL),
        (floe::CustomSpuSpec::LABEL, <spu::CustomSpuSpec as Spec>::LABEL),
        (floe::SmartModuleSpec::LABEL, smartmodule::SmartModuleSpec::LABEL),
        (floe::SpuGroupSpec::LABEL, SpuGroupSpec::LABEL),
        (floe::TableFormatSpec::LABEL, tableformat::TableFormatSpec::LABEL),
        (floe::MirrorSpec::LABEL, mirror::MirrorSpec::LABEL),
    ] {
        assert_eq!(floe, official);
    }
}

/// Builds the private official key of a parameter map through its decoder.
#[test]
fn smartmodule_parameters() {
    let floe = floe::SmartModuleMetadata {
        params: BTreeMap::from([
            (
                "a".to_owned(),
                floe::SmartModuleParameter { description: Some("first".into()), optional: true },
            ),
            ("b".to_owned(), floe::SmartModuleParameter { description: None, optional: false }),
        ]),
        package: floe::SmartModulePackage {
            version: "0.1.0".into(),
            api_version: "0.1.0".into(),
            ..floe::SmartModulePackage::default()
        },
    };
    let mut output = floe::Output::new();
    floe::Wire::encode(&floe, &mut output, VERSION).unwrap();
    let bytes = output.into_frame().to_bytes();
    let official =
        smartmodule::SmartModuleMetadata::decode_from(&mut Cursor::new(&bytes[..]), VERSION).unwrap();
    assert_eq!(official.params.len(), 2);
    let first = official.params.get_param("a").unwrap();
    assert_eq!((first.description.as_deref(), first.optional), (Some("first"), true));
    assert!(!official.params.get_param("b").unwrap().optional);
    same(&floe, &official, VERSION);
}
