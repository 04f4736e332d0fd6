//! Random values of all fields of each message type.

use bytes::Bytes;
use floe_wire::fluvio::*;

use crate::sample::{Sample, Source, sample_enum, sample_struct};

impl Sample for ErrorCode {
    fn sample(source: &mut Source) -> Self {
        let (code, name) = Self::TABLE[source.below(Self::TABLE.len())];
        match name {
            "Other" => Self::Other(Sample::sample(source)),
            "RequestTimedOut" => {
                Self::RequestTimedOut { timeout_ms: Sample::sample(source), kind: RequestKind::Produce }
            }
            "OffsetEvicted" => {
                Self::OffsetEvicted { offset: Sample::sample(source), next_available: Sample::sample(source) }
            }
            "PartitionFull" => {
                Self::PartitionFull { topic: Sample::sample(source), partition: Sample::sample(source) }
            }
            "OffsetFlushRequestError" => Self::OffsetFlushRequestError(Sample::sample(source)),
            "SmartModuleNotFound" => Self::SmartModuleNotFound { name: Sample::sample(source) },
            "SmartModuleInvalid" => {
                Self::SmartModuleInvalid { error: Sample::sample(source), name: Sample::sample(source) }
            }
            "SmartModuleInvalidExports" => Self::SmartModuleInvalidExports {
                error: Sample::sample(source),
                kind: Sample::sample(source),
            },
            "SmartModuleRuntimeError" => Self::SmartModuleRuntimeError(Sample::sample(source)),
            "SmartModuleChainInitError" => Self::SmartModuleChainInitError(Sample::sample(source)),
            "SmartModuleInitError" => Self::SmartModuleInitError(Sample::sample(source)),
            "SmartModuleLookBackError" => Self::SmartModuleLookBackError(Sample::sample(source)),
            "SmartModuleMemoryLimitExceeded" => Self::SmartModuleMemoryLimitExceeded {
                requested: Sample::sample(source),
                max: Sample::sample(source),
            },
            "DerivedStreamNotFound" => Self::DerivedStreamNotFound(Sample::sample(source)),
            "DerivedStreamInvalid" => Self::DerivedStreamInvalid(Sample::sample(source)),
            "DeduplicationSmartModuleNameInvalid" => {
                Self::DeduplicationSmartModuleNameInvalid(Sample::sample(source))
            }
            "SystemSpecDeletionAttempt" => {
                Self::SystemSpecDeletionAttempt { kind: Sample::sample(source), name: Sample::sample(source) }
            }
            "SystemSpecUpdatingAttempt" => {
                Self::SystemSpecUpdatingAttempt { kind: Sample::sample(source), name: Sample::sample(source) }
            }
            _ => {
                let mut input = Input::new(Bytes::copy_from_slice(&code.to_be_bytes()));
                Self::decode(&mut input, 0).expect("a code without details")
            }
        }
    }
}

impl Sample for RecordBlob {
    fn sample(source: &mut Source) -> Self {
        Self(Bytes::sample(source))
    }
}

/// Official decoders require semantic versions here.
pub(crate) fn semantic_version(source: &mut Source) -> String {
    ["0.0.0", "0.18.2-dev-1", "1.2.3", "1.0.0-alpha.1+build.7"][source.below(4)].to_owned()
}

impl Sample for ApiVersionsReply {
    fn sample(source: &mut Source) -> Self {
        Self {
            error_code: Sample::sample(source),
            api_keys: Sample::sample(source),
            platform_version: semantic_version(source),
        }
    }
}

impl Sample for SmartModulePackage {
    fn sample(source: &mut Source) -> Self {
        Self {
            name: Sample::sample(source),
            group: Sample::sample(source),
            version: semantic_version(source),
            api_version: semantic_version(source),
            description: Sample::sample(source),
            license: Sample::sample(source),
            visibility: Sample::sample(source),
            repository: Sample::sample(source),
        }
    }
}

/// The official decoder replaces an empty host by `127.0.0.1`.
impl Sample for Endpoint {
    fn sample(source: &mut Source) -> Self {
        let host = Some(String::sample(source)).filter(|host| !host.is_empty());
        Self {
            port: Sample::sample(source),
            host: host.unwrap_or_else(|| "host".to_owned()),
            encryption: Sample::sample(source),
        }
    }
}

impl Sample for ProduceRequest {
    fn sample(source: &mut Source) -> Self {
        Self {
            transactional_id: Sample::sample(source),
            isolation: Sample::sample(source),
            timeout_ms: i32::try_from(source.below(1 << 31)).unwrap(),
            topics: Sample::sample(source),
            smartmodules: Sample::sample(source),
        }
    }
}

impl<O: Sample> Sample for CreateRequest<O> {
    fn sample(source: &mut Source) -> Self {
        Self {
            name: Sample::sample(source),
            dry_run: Sample::sample(source),
            timeout_ms: Sample::sample(source),
            spec: Sample::sample(source),
        }
    }
}

impl<O: Object<DeleteKey: Sample>> Sample for DeleteRequest<O> {
    fn sample(source: &mut Source) -> Self {
        Self { key: Sample::sample(source), force: Sample::sample(source) }
    }
}

impl<O> Sample for ListRequest<O> {
    fn sample(source: &mut Source) -> Self {
        Self::new(Sample::sample(source)).summary(Sample::sample(source)).system(Sample::sample(source))
    }
}

impl<O> Sample for WatchRequest<O> {
    fn sample(source: &mut Source) -> Self {
        let mut request = Self::new(Sample::sample(source));
        request.epoch = Sample::sample(source);
        request
    }
}

impl<O: Object<Status: Sample> + Sample> Sample for Metadata<O> {
    fn sample(source: &mut Source) -> Self {
        Self { name: Sample::sample(source), spec: Sample::sample(source), status: Sample::sample(source) }
    }
}

impl<O: Object<Status: Sample> + Sample> Sample for ListReply<O> {
    fn sample(source: &mut Source) -> Self {
        Self { objects: Sample::sample(source) }
    }
}

impl<O: Object<Status: Sample> + Sample> Sample for Change<O> {
    fn sample(source: &mut Source) -> Self {
        Self { kind: Sample::sample(source), object: Sample::sample(source) }
    }
}

impl<O: Object<Status: Sample> + Sample> Sample for WatchReply<O> {
    fn sample(source: &mut Source) -> Self {
        Self { epoch: Sample::sample(source), changes: Sample::sample(source), all: Sample::sample(source) }
    }
}

sample_struct! {
    SmartModuleFailure { hint, offset, kind, record_key, record_value }
    ApiVersionsRequest { client_version, client_os, client_arch }
    ApiVersionRange { api_key, min_version, max_version }
    TopicProduceData { name, partitions }
    PartitionProduceData { partition, records }
    ProduceReply { topics, throttle_ms }
    TopicProduceReply { name, partitions }
    PartitionProduceReply { partition, error_code, base_offset, log_append_time_ms, log_start_offset }
    FetchRequest { max_wait_ms, min_bytes, max_bytes, isolation, topics, forgotten }
    FetchTopic { name, partitions }
    FetchPartition { partition, current_leader_epoch, fetch_offset, log_start_offset, max_bytes }
    ForgottenTopic { name, partitions }
    FetchReply { throttle_ms, error_code, session_id, topics }
    FetchTopicReply { name, partitions }
    PartitionRecords {
        partition, error_code, high_watermark, next_filter_offset, log_start_offset, aborted, records
    }
    AbortedTransaction { producer_id, first_offset }
    StreamFetchRequest {
        topic, partition, fetch_offset, max_bytes, isolation, wasm_module, smartmodule, derived_stream,
        smartmodules, consumer_id
    }
    DerivedStreamInvocation { stream, params }
    StreamFetchReply { topic, stream_id, partition }
    FetchOffsetsRequest { topics, consumer_id }
    FetchOffsetsTopic { name, partitions }
    FetchOffsetsReply { topics }
    FetchOffsetsTopicReply { name, partitions }
    PartitionOffsets { error_code, partition, start_offset, last_stable_offset }
    UpdateOffsetsRequest { offsets }
    OffsetUpdate { offset, stream_id }
    UpdateOffsetsReply { results }
    OffsetUpdateResult { stream_id, error_code }
    UpdateConsumerOffsetRequest { offset, stream_id }
    UpdateConsumerOffsetReply { offset, error_code }
    DeleteConsumerOffsetRequest { replica, consumer_id }
    DeleteConsumerOffsetReply { error_code }
    FetchConsumerOffsetsRequest { filter }
    ConsumerOffsetFilter { replica, consumer_id }
    FetchConsumerOffsetsReply { error_code, consumers }
    ConsumerOffset { consumer_id, replica, offset, modified_time }
    ReplicaKey { topic, partition }
    StartMirrorRequest { remote_replica, remote_cluster_id }
    SmartModuleInvocation { wasm, kind, params, name }
    SmartModuleParameters { values, lookback }
    Lookback { last, age }
    UpdateTopicRequest { key, action }
    Status { name, error_code, error_message }
    MirroringRequest { remote_id }
    MirroringReply { name, error_code, error_message, topics }
    MirroredTopic { key, spec, spu_id, spu_key, spu_endpoint }
    TopicSpec { replicas, cleanup_policy, storage, compression, deduplication, system }
    PartitionAssignment { id, replicas, mirror }
    RemoteAssignment { home_cluster, home_spus, target }
    HomeSpu { id, key, endpoint }
    HomeAssignment { partitions, source }
    HomePartition { remote_cluster, remote_replica, source }
    TopicStorage { segment_size, max_partition_size }
    Deduplication { count, age, uses, with }
    TopicStatus { resolution, replica_map, mirror_map, reason }
    AddMirror { remote_cluster, home_to_mirror }
    PartitionSpec { leader, replicas, cleanup_policy, storage, compression, deduplication, system, mirror }
    RemotePartition { home_cluster, home_spu_key, home_spu_id, home_spu_endpoint, target }
    PartitionStatus {
        resolution, leader, live_replicas, replicas, size, is_being_deleted, base_offset
    }
    ReplicaStatus { spu, high_watermark, log_end_offset }
    SpuSpec { id, spu_type, public_endpoint, private_endpoint, rack, public_endpoint_local }
    IngressEndpoint { port, ingress, encryption }
    IngressAddress { hostname, ip }
    CustomSpuSpec { id, public_endpoint, private_endpoint, rack, public_endpoint_local }
    SpuGroupSpec { replicas, min_id, rack, replication, storage, env }
    ReplicationConfig { in_sync_replica_min }
    StorageConfig { log_dir, size }
    EnvironmentVariable { name, value }
    SpuGroupStatus { resolution, reason }
    TableFormatSpec { name, input_format, columns, smartmodule }
    TableFormatColumn {
        header_label, width, alignment, key_path, format, display, primary_key, header_background, header_text
    }
    TableFormatStatus { resolution, reason }
    SmartModuleSpec { meta, summary, format, payload }
    SmartModuleMetadata { package, params }
    SmartModuleParameter { description, optional }
    SmartModuleSummary { wasm_length }
    RemoteCluster { id }
    HomeCluster { id, remote_id, public_endpoint, client_tls }
    ClientTls { domain, ca_cert, client_cert, client_key }
    MirrorStatus { connection, pairing_sc, pairing_spu, last_seen_ms }
}

sample_enum! {
    FailedModuleKind: Filter, Map, ArrayMap, Aggregate, FilterMap, Join, Generic;
    Isolation: ReadUncommitted, ReadCommitted;
    SmartModuleSource: Predefined(name), AdHoc(bytes);
    SmartModuleKind: Filter, Map, ArrayMap, Aggregate { accumulator }, FilterMap, Join(topic),
        JoinStream { topic, derived_stream }, Generic(context);
    SmartModuleContext: None, Aggregate { accumulator }, Join(topic), JoinStream { topic, derived_stream };
    ChangeKind: Update, Delete;
    ReplicaAssignment: Assigned(partitions), Computed { partitions, replication_factor, ignore_rack },
        Mirror(assignment);
    MirrorAssignment: Remote(remote), Home(home);
    CleanupPolicy: Segment { time_in_seconds };
    TopicCompression: None, Gzip, Snappy, Lz4, Any, Zstd;
    TopicResolution: Init, Pending, InsufficientResources, InvalidConfig, Provisioned, Deleting;
    TopicUpdate: AddPartition { count }, AddMirror(mirror);
    PartitionMirror: Remote(remote), Home(home);
    PartitionResolution: Offline, Online, LeaderOffline, ElectionLeaderFound, OutOfStorage;
    SpuType: Managed, Custom;
    Encryption: Plaintext, Ssl;
    SpuStatus: Online, Offline, Init;
    CustomSpuKey: Name(name), Id(id);
    SpuGroupResolution: Init, Invalid, Reserved;
    DataFormat: Json;
    ColumnAlignment: Left, Right, Center;
    ColumnColor: Blue, Yellow, Green;
    TableFormatResolution: Init, Invalid, Running, Pending, Failed;
    SmartModuleVisibility: Private, Public;
    WasmFormat: Binary, Text;
    MirrorSpec: Remote(remote), Home(home);
    ConnectionStatus: Offline, Online;
    PairingStatus: Waiting, Successful, Failed, Disabled, Unauthorized, DetailFailure(reason);
}
