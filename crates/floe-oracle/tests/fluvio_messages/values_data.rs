//! Messages of data servers with explicit, pairwise different field values.

use std::{fmt::Debug, io::Cursor, time::Duration};

use floe_wire::fluvio::{self as floe, EncodedFrame, Input, Output, Wire};
use fluvio_protocol::{
    Decoder, Encoder,
    link::{ErrorCode, versions as official_versions},
    record::{RawRecords, RecordSet, ReplicaKey},
};
use fluvio_spu_schema::{
    Isolation, fetch, produce,
    server::{
        consumer_offset, fetch_offset, mirror,
        smartmodule::{
            SmartModuleContextData, SmartModuleInvocation, SmartModuleInvocationWasm, SmartModuleKind,
        },
        stream_fetch, update_offset,
    },
};

/// Checks that both values encode to the same bytes, that floe decodes them to its value, and that the official decoder
/// round-trips them.
pub(crate) fn same<F, O>(floe: &F, official: &O, version: i16)
where
    F: Wire + Debug + PartialEq,
    O: Encoder + Decoder + Debug,
{
    let mut output = Output::new();
    floe.encode(&mut output, version).unwrap();
    let floe_bytes = EncodedFrame::to_bytes(&output.into_frame());
    let mut official_bytes = Vec::new();
    official.encode(&mut official_bytes, version).unwrap();
    assert_eq!(floe_bytes, official_bytes, "version {version}: {floe:?}\nand {official:?}");

    let mut input = Input::new(official_bytes.clone().into());
    assert_eq!(&F::decode(&mut input, version).unwrap(), floe, "version {version}");
    assert_eq!(input.finish(), Ok(()));

    let decoded = O::decode_from(&mut Cursor::new(&floe_bytes[..]), version).unwrap();
    let mut again = Vec::new();
    decoded.encode(&mut again, version).unwrap();
    assert_eq!(again, official_bytes, "version {version}: {official:?}");
}

type Records = RecordSet<RawRecords>;

fn batches() -> (floe::RecordSet, Records) {
    use floe_wire::batch::{BatchBuilder, FinishOptions};

    let batch = |value: &[u8]| {
        let mut builder = BatchBuilder::new(256);
        builder.append(1_700_000_000_000, Some(b"key"), value, &[]).unwrap();
        builder.finish(FinishOptions::default()).unwrap()
    };
    let batches = [batch(b"one"), batch(&[7; 2000]).with_base_offset(1)];
    let floe = floe::RecordSet::from_batches(&batches);
    let framed = [&u32::try_from(floe.len()).unwrap().to_be_bytes()[..], &floe.to_bytes()].concat();
    let official = Records::decode_from(&mut Cursor::new(framed), 25).unwrap();
    assert_eq!(official.batches.len(), 2);
    (floe, official)
}

fn modules() -> (Vec<floe::SmartModuleInvocation>, Vec<SmartModuleInvocation>) {
    let kinds = [
        (floe::SmartModuleKind::Filter, SmartModuleKind::Filter),
        (floe::SmartModuleKind::Map, SmartModuleKind::Map),
        (floe::SmartModuleKind::ArrayMap, SmartModuleKind::ArrayMap),
        (
            floe::SmartModuleKind::Aggregate { accumulator: "sum".into() },
            SmartModuleKind::Aggregate { accumulator: b"sum".to_vec() },
        ),
        (floe::SmartModuleKind::FilterMap, SmartModuleKind::FilterMap),
        (floe::SmartModuleKind::Join("other".into()), SmartModuleKind::Join("other".into())),
        (
            floe::SmartModuleKind::JoinStream { topic: "t".into(), derived_stream: "d".into() },
            SmartModuleKind::JoinStream { topic: "t".into(), derivedstream: "d".into() },
        ),
        (
            floe::SmartModuleKind::Generic(floe::SmartModuleContext::None),
            SmartModuleKind::Generic(SmartModuleContextData::None),
        ),
        (
            floe::SmartModuleKind::Generic(floe::SmartModuleContext::Aggregate { accumulator: "s".into() }),
            SmartModuleKind::Generic(SmartModuleContextData::Aggregate { accumulator: b"s".to_vec() }),
        ),
        (
            floe::SmartModuleKind::Generic(floe::SmartModuleContext::Join("j".into())),
            SmartModuleKind::Generic(SmartModuleContextData::Join("j".into())),
        ),
        (
            floe::SmartModuleKind::Generic(floe::SmartModuleContext::JoinStream {
                topic: "t".into(),
                derived_stream: "d".into(),
            }),
            SmartModuleKind::Generic(SmartModuleContextData::JoinStream {
                topic: "t".into(),
                derivedstream: "d".into(),
            }),
        ),
    ];
    let sources = [
        (
            floe::SmartModuleSource::Predefined("group/name@1.2.3".into()),
            SmartModuleInvocationWasm::Predefined("group/name@1.2.3".into()),
        ),
        (
            floe::SmartModuleSource::AdHoc(vec![0x1f; 1500].into()),
            SmartModuleInvocationWasm::AdHoc(vec![0x1f; 1500]),
        ),
    ];
    kinds
        .into_iter()
        .zip(sources.into_iter().cycle())
        .map(|((kind, official_kind), (wasm, official_wasm))| {
            let floe = floe::SmartModuleInvocation {
                wasm,
                kind,
                params: floe::SmartModuleParameters::default(),
                name: Some("label".into()),
            };
            let official = SmartModuleInvocation {
                wasm: official_wasm,
                kind: official_kind,
                params: Default::default(),
                name: Some("label".into()),
            };
            (floe, official)
        })
        .unzip()
}

#[test]
fn handshake() {
    same(
        &floe::ApiVersionsRequest {
            client_version: "0.50.1".into(),
            client_os: "linux".into(),
            client_arch: "x86_64".into(),
        },
        &official_versions::ApiVersionsRequest {
            client_version: "0.50.1".into(),
            client_os: "linux".into(),
            client_arch: "x86_64".into(),
        },
        2,
    );
    let mut reply = official_versions::ApiVersionsResponse {
        error_code: ErrorCode::None,
        api_keys: vec![
            official_versions::ApiVersionKey { api_key: 1, min_version: 2, max_version: 3 },
            official_versions::ApiVersionKey { api_key: -4, min_version: -5, max_version: -6 },
        ],
        ..Default::default()
    };
    // The field of the official type is private, so the value is decoded from bytes.
    reply.platform_version.decode(&mut Cursor::new(b"\0\x0c0.18.2-dev-1"), 0).unwrap();
    same(
        &floe::ApiVersionsReply {
            error_code: floe::ErrorCode::None,
            api_keys: vec![
                floe::ApiVersionRange { api_key: 1, min_version: 2, max_version: 3 },
                floe::ApiVersionRange { api_key: -4, min_version: -5, max_version: -6 },
            ],
            platform_version: "0.18.2-dev-1".into(),
        },
        &reply,
        2,
    );
}

#[test]
fn produce_requests() {
    for (floe_isolation, isolation) in [
        (floe::Isolation::ReadUncommitted, Isolation::ReadUncommitted),
        (floe::Isolation::ReadCommitted, Isolation::ReadCommitted),
    ] {
        let (floe_records, records) = batches();
        let (floe_modules, smartmodules) = modules();
        same(
            &floe::ProduceRequest {
                transactional_id: Some("transaction".into()),
                isolation: floe_isolation,
                timeout_ms: 1500,
                topics: vec![
                    floe::TopicProduceData {
                        name: "one".into(),
                        partitions: vec![
                            floe::PartitionProduceData { partition: 3, records: floe_records.clone() },
                            floe::PartitionProduceData { partition: 3, records: floe_records },
                        ],
                    },
                    floe::TopicProduceData { name: "without-partitions".into(), partitions: Vec::new() },
                ],
                smartmodules: floe_modules,
            },
            &produce::ProduceRequest::<Records> {
                transactional_id: Some("transaction".into()),
                isolation,
                timeout: Duration::from_millis(1500),
                topics: vec![
                    produce::TopicProduceData {
                        name: "one".into(),
                        partitions: vec![
                            produce::PartitionProduceData { partition_index: 3, records: records.clone() },
                            produce::PartitionProduceData { partition_index: 3, records },
                        ],
                        data: Default::default(),
                    },
                    produce::TopicProduceData { name: "without-partitions".into(), ..Default::default() },
                ],
                smartmodules,
                data: Default::default(),
            },
            25,
        );
    }
}

#[test]
fn produce_replies() {
    same(
        &floe::ProduceReply {
            topics: vec![floe::TopicProduceReply {
                name: "one".into(),
                partitions: vec![floe::PartitionProduceReply {
                    partition: 1,
                    error_code: floe::ErrorCode::MessageTooLarge,
                    base_offset: 2,
                    log_append_time_ms: 3,
                    log_start_offset: 4,
                }],
            }],
            throttle_ms: 5,
        },
        &produce::ProduceResponse {
            responses: vec![produce::TopicProduceResponse {
                name: "one".into(),
                partitions: vec![produce::PartitionProduceResponse {
                    partition_index: 1,
                    error_code: ErrorCode::MessageTooLarge,
                    base_offset: 2,
                    log_append_time_ms: 3,
                    log_start_offset: 4,
                }],
            }],
            throttle_time_ms: 5,
        },
        25,
    );
}

fn partition_records() -> (floe::PartitionRecords, fetch::FetchablePartitionResponse<Records>) {
    let (floe_records, records) = batches();
    (
        floe::PartitionRecords {
            partition: 1,
            error_code: floe::ErrorCode::OffsetEvicted { offset: 2, next_available: 3 },
            high_watermark: 4,
            next_filter_offset: 5,
            log_start_offset: 6,
            aborted: Some(vec![floe::AbortedTransaction { producer_id: 7, first_offset: 8 }]),
            records: floe_records,
        },
        fetch::FetchablePartitionResponse {
            partition_index: 1,
            error_code: ErrorCode::OffsetEvicted { offset: 2, next_available: 3 },
            high_watermark: 4,
            next_filter_offset: 5,
            log_start_offset: 6,
            aborted: Some(vec![fetch::AbortedTransaction { producer_id: 7, first_offset: 8 }]),
            records,
        },
    )
}

#[test]
fn fetch_messages() {
    same(
        &floe::FetchRequest {
            max_wait_ms: 1,
            min_bytes: 2,
            max_bytes: 3,
            isolation: floe::Isolation::ReadCommitted,
            topics: vec![floe::FetchTopic {
                name: "one".into(),
                partitions: vec![floe::FetchPartition {
                    partition: 4,
                    current_leader_epoch: 5,
                    fetch_offset: 6,
                    log_start_offset: 7,
                    max_bytes: 8,
                }],
            }],
            forgotten: vec![floe::ForgottenTopic { name: "two".into(), partitions: vec![9, 10] }],
        },
        &fetch::FetchRequest::<Records> {
            max_wait: 1,
            min_bytes: 2,
            max_bytes: 3,
            isolation_level: Isolation::ReadCommitted,
            topics: vec![fetch::FetchableTopic {
                name: "one".into(),
                fetch_partitions: vec![fetch::FetchPartition {
                    partition_index: 4,
                    current_leader_epoch: 5,
                    fetch_offset: 6,
                    log_start_offset: 7,
                    max_bytes: 8,
                }],
            }],
            forgotten: vec![fetch::ForgottenTopic {
                name: "two".into(),
                forgotten_partition_indexes: vec![9, 10],
            }],
            data: Default::default(),
        },
        25,
    );
    let (floe_partition, partition) = partition_records();
    same(
        &floe::FetchReply {
            throttle_ms: 1,
            error_code: floe::ErrorCode::SpuError,
            session_id: 2,
            topics: vec![floe::FetchTopicReply { name: "one".into(), partitions: vec![floe_partition] }],
        },
        &fetch::FetchResponse::<Records> {
            throttle_time_ms: 1,
            error_code: ErrorCode::SpuError,
            session_id: 2,
            topics: vec![fetch::FetchableTopicResponse {
                name: "one".into(),
                partitions: vec![partition],
                data: Default::default(),
            }],
        },
        25,
    );
}

#[test]
fn stream_fetch_messages() {
    let (floe_modules, smartmodules) = modules();
    let request = stream_fetch::StreamFetchRequest::<Records>::builder()
        .topic("one")
        .partition(1u32)
        .fetch_offset(2)
        .max_bytes(3)
        .isolation(Isolation::ReadCommitted)
        .smartmodules(smartmodules)
        .consumer_id(Some("reader".to_owned()))
        .build()
        .unwrap();
    same(
        &floe::StreamFetchRequest {
            topic: "one".into(),
            partition: 1,
            fetch_offset: 2,
            max_bytes: 3,
            isolation: floe::Isolation::ReadCommitted,
            smartmodules: floe_modules,
            consumer_id: Some("reader".into()),
            ..floe::StreamFetchRequest::default()
        },
        &request,
        25,
    );
    let (floe_partition, partition) = partition_records();
    same(
        &floe::StreamFetchReply { topic: "one".into(), stream_id: 2, partition: floe_partition },
        &stream_fetch::StreamFetchResponse::<Records> { topic: "one".into(), stream_id: 2, partition },
        25,
    );
}

#[test]
fn offset_messages() {
    let mut request = fetch_offset::FetchOffsetsRequest::new("one".into(), 7);
    request.topics[0].partitions.push(fetch_offset::FetchOffsetPartition { partition_index: 8 });
    same(
        &floe::FetchOffsetsRequest {
            topics: vec![floe::FetchOffsetsTopic { name: "one".into(), partitions: vec![7, 8] }],
            consumer_id: None,
        },
        &request,
        25,
    );
    same(
        &floe::FetchOffsetsReply {
            topics: vec![floe::FetchOffsetsTopicReply {
                name: "one".into(),
                partitions: vec![floe::PartitionOffsets {
                    error_code: floe::ErrorCode::PartitionNotLeader,
                    partition: 1,
                    start_offset: 2,
                    last_stable_offset: 3,
                }],
            }],
        },
        &fetch_offset::FetchOffsetsResponse {
            topics: vec![fetch_offset::FetchOffsetTopicResponse {
                name: "one".into(),
                partitions: vec![fetch_offset::FetchOffsetPartitionResponse {
                    error_code: ErrorCode::PartitionNotLeader,
                    partition_index: 1,
                    start_offset: 2,
                    last_stable_offset: 3,
                }],
            }],
        },
        25,
    );
    same(
        &floe::UpdateOffsetsRequest { offsets: vec![floe::OffsetUpdate { offset: 1, stream_id: 2 }] },
        &update_offset::UpdateOffsetsRequest {
            offsets: vec![update_offset::OffsetUpdate { offset: 1, session_id: 2 }],
        },
        0,
    );
    same(
        &floe::UpdateOffsetsReply {
            results: vec![floe::OffsetUpdateResult {
                stream_id: 1,
                error_code: floe::ErrorCode::FetchSessionNotFoud,
            }],
        },
        &update_offset::UpdateOffsetsResponse {
            status: vec![update_offset::OffsetUpdateStatus {
                session_id: 1,
                error: ErrorCode::FetchSessionNotFoud,
            }],
        },
        0,
    );
}

#[test]
fn consumer_offset_messages() {
    let replica = || floe::ReplicaKey { topic: "one".into(), partition: 7 };
    same(
        &floe::UpdateConsumerOffsetRequest { offset: 1, stream_id: 2 },
        &consumer_offset::UpdateConsumerOffsetRequest::new(1, 2),
        25,
    );
    same(
        &floe::UpdateConsumerOffsetReply { offset: 1, error_code: floe::ErrorCode::StorageError },
        &consumer_offset::UpdateConsumerOffsetResponse { offset: 1, error_code: ErrorCode::StorageError },
        25,
    );
    same(
        &floe::DeleteConsumerOffsetRequest { replica: replica(), consumer_id: "reader".into() },
        &consumer_offset::DeleteConsumerOffsetRequest::new("one", 7, "reader"),
        25,
    );
    same(
        &floe::DeleteConsumerOffsetReply { error_code: floe::ErrorCode::PermissionDenied },
        &consumer_offset::DeleteConsumerOffsetResponse { error_code: ErrorCode::PermissionDenied },
        25,
    );
    same(
        &floe::FetchConsumerOffsetsRequest {
            filter: Some(floe::ConsumerOffsetFilter {
                replica: Some(replica()),
                consumer_id: Some("reader".into()),
            }),
        },
        &consumer_offset::FetchConsumerOffsetsRequest::with_opts(
            Some(ReplicaKey::new("one", 7u32)),
            Some("reader".into()),
        ),
        25,
    );
    same(
        &floe::FetchConsumerOffsetsReply {
            error_code: floe::ErrorCode::None,
            consumers: vec![floe::ConsumerOffset {
                consumer_id: "reader".into(),
                replica: replica(),
                offset: 1,
                modified_time: 2,
            }],
        },
        &consumer_offset::FetchConsumerOffsetsResponse {
            error_code: ErrorCode::None,
            consumers: vec![consumer_offset::ConsumerOffset::new(
                "reader",
                ReplicaKey::new("one", 7u32),
                1,
                2,
            )],
        },
        25,
    );
    same(
        &floe::StartMirrorRequest { remote_replica: "one-0".into(), remote_cluster_id: "far".into() },
        &mirror::StartMirrorRequest { remote_replica: "one-0".into(), remote_cluster_id: "far".into() },
        25,
    );
}
