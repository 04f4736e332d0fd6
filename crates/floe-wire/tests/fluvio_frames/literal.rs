//! Frames derived by hand from `docs/formats/fluvio.md`, for messages and versions that the recordings lack.

use bytes::{Bytes, BytesMut};
use floe_wire::{
    WireError,
    fluvio::{
        AnyCreate, ApiVersionsRequest, ConditionalAppendReply, ConditionalAppendRequest, CreateRequest,
        CustomSpuKey, CustomSpuSpec, DeleteRequest, ErrorCode, FetchConsumerOffsetsReply,
        FetchConsumerOffsetsRequest, Isolation, ListRequest, Lookback, MAX_STRING_LEN, MirroringRequest,
        PartitionProduceData, PartitionProduceReply, ProduceReply, ProduceRequest, RecordSet, Request,
        ScRequest, SmartModuleInvocation, SmartModuleKind, SmartModuleParameters, SmartModuleSource, Status,
        StreamFetchRequest, TopicProduceData, TopicProduceReply, TopicSpec, TopicUpdate, UpdateTopicRequest,
        frame::{self, RequestHeader},
    },
};

/// Parses hexadecimal digits, which blanks may group; `"text"` stands for its bytes.
fn bytes(text: &str) -> Bytes {
    let mut out = BytesMut::new();
    for (index, part) in text.split('"').enumerate() {
        if index % 2 == 1 {
            out.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: String = part.chars().filter(|character| !character.is_whitespace()).collect();
        assert_eq!(digits.len() % 2, 0, "whole bytes: {part}");
        for at in (0..digits.len()).step_by(2) {
            out.extend_from_slice(&[u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal")]);
        }
    }
    out.freeze()
}

/// Checks that a request encodes to this body after the header, and decodes from it.
#[track_caller]
fn request<R: Request + std::fmt::Debug + PartialEq>(request: &R, version: i16, body: &str) {
    let body = bytes(body);
    let frame = frame::encode_request(request, version, 1, "").unwrap().to_bytes();
    let (header, input) = RequestHeader::split(frame.slice(frame::SIZE_LEN..)).unwrap();
    assert_eq!((header.api_key, header.version), (R::KEY, version));
    assert_eq!(input.clone().rest(), body);
    assert_eq!(&frame::decode_request::<R>(input, version).unwrap(), request);
}

/// Checks that a reply encodes to this body after the header, and decodes from it.
#[track_caller]
fn reply<R: Request>(reply: &R::Reply, version: i16, body: &str)
where
    R::Reply: std::fmt::Debug + PartialEq,
{
    let body = bytes(body);
    let frame = frame::encode_reply::<R>(reply, version, 1).unwrap().to_bytes();
    let (_, input) = frame::split_reply(frame.slice(frame::SIZE_LEN..)).unwrap();
    assert_eq!(input.clone().rest(), body);
    assert_eq!(&frame::decode_reply::<R>(input, version).unwrap(), reply);
}

#[test]
fn a_whole_request_frame() {
    let request = ApiVersionsRequest {
        client_version: "0.50.1".into(),
        client_os: "linux".into(),
        client_arch: "x86_64".into(),
    };
    assert_eq!(
        frame::encode_request(&request, 2, 1, "fluvio").unwrap().to_bytes(),
        bytes(
            r#"00000027 0012 0002 00000001 0006 "fluvio"
               0006 "0.50.1" 0005 "linux" 0006 "x86_64""#
        )
    );
}

#[test]
fn a_whole_reply_frame() {
    let status = Status { name: "t".into(), error_code: ErrorCode::TopicAlreadyExists, error_message: None };
    assert_eq!(
        frame::encode_reply::<CreateRequest<TopicSpec>>(&status, 19, -2).unwrap().to_bytes(),
        bytes(r#"0000000a fffffffe 0001 "t" 07d2 00"#)
    );
}

#[test]
fn produce() {
    let produce = ProduceRequest {
        timeout_ms: 1500,
        topics: vec![TopicProduceData {
            name: "t".into(),
            partitions: vec![PartitionProduceData {
                partition: 2,
                records: RecordSet::from_bytes(Bytes::from_static(b"records")),
            }],
        }],
        smartmodules: vec![SmartModuleInvocation {
            wasm: SmartModuleSource::Predefined("m".into()),
            kind: SmartModuleKind::Aggregate { accumulator: Bytes::from_static(b"0") },
            params: SmartModuleParameters {
                values: [("k".to_owned(), "v".to_owned())].into(),
                lookback: Some(Lookback { last: 5, age: Some(std::time::Duration::from_millis(1_500)) }),
            },
            name: Some("n".into()),
        }],
        ..ProduceRequest::default()
    };
    let front = r#"00 0001 000005dc 00000001 0001 "t" 00000001 00000002 00000007 "records"
                   00000001 00 0001 "m" 03 00000001 "0" 0001 0001 "k" 0001 "v""#;
    let lookback = "01 0000000000000005 01 0000000000000001 1dcd6500";
    request(&produce, 25, &format!(r#"{front} {lookback} 01 0001 "n""#));

    // Older versions lack the label, the age of the lookback, and the lookback itself.
    let mut older = produce;
    older.smartmodules[0].name = None;
    request(&older, 24, &format!("{front} {lookback}"));
    older.smartmodules[0].params.lookback = Some(Lookback { last: 5, age: None });
    request(&older, 20, &format!("{front} 01 0000000000000005"));
    older.smartmodules[0].params.lookback = None;
    request(&older, 19, front);

    let committed = ProduceRequest { isolation: Isolation::ReadCommitted, ..ProduceRequest::default() };
    request(&committed, 25, "00 ffff 00000000 00000000 00000000");
    let negative = ProduceRequest { timeout_ms: -1, ..ProduceRequest::default() };
    assert!(matches!(
        frame::encode_request(&negative, 25, 1, ""),
        Err(WireError::OutOfRange { what: "ProduceRequest.timeout_ms", value: -1, .. })
    ));
}

#[test]
fn produce_replies_by_version() {
    let with = |throttle_ms, log_append_time_ms, log_start_offset| ProduceReply {
        topics: vec![TopicProduceReply {
            name: "t".into(),
            partitions: vec![PartitionProduceReply {
                partition: 2,
                error_code: ErrorCode::PartitionFull { topic: "t".into(), partition: 2 },
                base_offset: 3,
                log_append_time_ms,
                log_start_offset,
            }],
        }],
        throttle_ms,
    };
    let front = r#"00000001 0001 "t" 00000001 00000002 0048 0001 "t" 00000002 0000000000000003"#;
    reply::<ProduceRequest>(&with(0, 0, 0), 0, front);
    reply::<ProduceRequest>(&with(4, 0, 0), 1, &format!("{front} 00000004"));
    reply::<ProduceRequest>(&with(4, 5, 0), 2, &format!("{front} 0000000000000005 00000004"));
    reply::<ProduceRequest>(
        &with(4, 5, 6),
        5,
        &format!("{front} 0000000000000005 0000000000000006 00000004"),
    );
}

#[test]
fn stream_fetch_by_version() {
    let mut stream = StreamFetchRequest {
        topic: "t".into(),
        fetch_offset: 5,
        max_bytes: 1_048_890,
        ..StreamFetchRequest::default()
    };
    let front = r#"0001 "t" 00000000 0000000000000005 0010013a 00"#;
    request(&stream, 10, front);
    request(&stream, 11, &format!("{front} 00000000"));
    request(&stream, 16, &format!("{front} 00000000 00 00"));
    request(&stream, 18, &format!("{front} 00000000 00 00 00000000"));
    request(&stream, 19, &format!("{front} 00000000"));
    stream.consumer_id = Some("c".into());
    request(&stream, 23, &format!(r#"{front} 00000000 01 0001 "c""#));
}

#[test]
fn offsets_of_consumers() {
    reply::<FetchConsumerOffsetsRequest>(
        &FetchConsumerOffsetsReply { error_code: ErrorCode::PartitionNotLeader, consumers: Vec::new() },
        25,
        "0bb9 00000000",
    );
}

#[test]
fn envelopes() {
    request(
        &CreateRequest { name: "t".into(), dry_run: false, timeout_ms: None, spec: TopicSpec::default() },
        19,
        r#"0005 "Topic" 00000014 0001 "t" 00 00 01 00000001 00000001 00 00 00 04 00 00"#,
    );
    request(
        &DeleteRequest::<CustomSpuSpec> { key: CustomSpuKey::Id(5001), force: false },
        19,
        r#"0009 "CustomSpu" 00000009 0002 "Id" 00001389 00"#,
    );
    request(
        &UpdateTopicRequest { key: "t".into(), action: TopicUpdate::AddPartition { count: 2 } },
        19,
        r#"0005 "Topic" 00000008 0001 "t" 00 00000002"#,
    );
    request(&MirroringRequest { remote_id: "r".into() }, 19, r#"0010 "MirroringConnect" 00000003 0001 "r""#);
    request(&ListRequest::<TopicSpec>::default(), 19, r#"0005 "Topic" 00000006 00000000 00 00"#);
}

#[test]
fn wrong_envelopes_are_refused() {
    let decode = |key: u16, body: &str| {
        let header = RequestHeader { api_key: key, version: 19, correlation_id: 1, client_id: String::new() };
        ScRequest::decode(&header, floe_wire::fluvio::Input::new(bytes(body)))
    };
    let list = ListRequest::<TopicSpec>::KEY;
    for (body, why) in [
        (r#"0005 "topic" 00000006 00000000 00 00"#, r#"object label: "topic" is not a kind of object"#),
        (r#"0005 "Topic" 00000007 00000000 00 00 00"#, "Topic: 1 bytes follow the end of the message"),
        (r#"0005 "Topic" 00000005 00000000 00 00"#, "Topic: 1 bytes needed, 0 available"),
        (r#"0005 "Topic" 00000006 00000000 00 02"#, "Topic: 2 is not a boolean"),
    ] {
        assert_eq!(decode(list, body).unwrap_err().to_string(), why);
    }
    assert_eq!(decode(4711, "").unwrap_err().to_string(), "request header: unknown API key 4711");
    let body = r#"0005 "Topic" 00000014 0001 "t" 00 00 01 00000001 00000001 00 00 00 04 00 00"#;
    let ScRequest::Create(create) = decode(CreateRequest::<TopicSpec>::KEY, body).unwrap() else {
        panic!("a create request");
    };
    assert!(matches!(*create, AnyCreate::Topic(create) if create.name == "t"));
}

#[test]
fn a_name_that_official_peers_would_misread_is_not_encoded() {
    let list = ListRequest::<TopicSpec>::new(vec!["x".repeat(MAX_STRING_LEN + 1)]);
    assert_eq!(
        frame::encode_request(&list, 19, 1, "").unwrap_err(),
        WireError::TooLarge { what: "string", size: MAX_STRING_LEN + 1, limit: MAX_STRING_LEN }
    );
    let client_id = "x".repeat(40_000);
    assert!(frame::encode_request(&ListRequest::<TopicSpec>::default(), 19, 1, &client_id).is_err());
}

/// Versions do not guard tags: a newer server sends new states whatever version was negotiated.
#[test]
fn unknown_states_are_kept() {
    use floe_wire::fluvio::{
        ListReply, Metadata, PartitionResolution, SpuSpec, SpuStatus, TopicCompression, TopicResolution,
        TopicStatus,
    };

    let spus = ListReply::<SpuSpec> {
        objects: vec![Metadata { name: "s".into(), spec: SpuSpec::default(), status: SpuStatus::Unknown(3) }],
    };
    reply::<ListRequest<SpuSpec>>(
        &spus,
        19,
        r#"0003 "SPU" 0000001b 00000001 0001 "s" 00000000 00 0000 00000000 00 0000 0000 00 00 00 03"#,
    );
    let topics = ListReply::<TopicSpec> {
        objects: vec![Metadata {
            name: "t".into(),
            spec: TopicSpec { compression: TopicCompression::Unknown(6), ..TopicSpec::default() },
            status: TopicStatus { resolution: TopicResolution::Unknown(6), ..TopicStatus::default() },
        }],
    };
    reply::<ListRequest<TopicSpec>>(
        &topics,
        19,
        r#"0005 "Topic" 0000001d 00000001 0001 "t" 01 00000001 00000001 00 00 00 06 00 00 06 0000 0000 0000"#,
    );
    let mut input = floe_wire::fluvio::Input::new(bytes("05"));
    let resolution = <PartitionResolution as floe_wire::fluvio::Wire>::decode(&mut input, 19);
    assert_eq!(resolution, Ok(PartitionResolution::Unknown(5)));
}

#[test]
fn conditional_appends() {
    request(
        &ConditionalAppendRequest {
            topic: "t".to_owned(),
            partition: 3,
            expected_end: 258,
            isolation: Isolation::ReadCommitted,
            timeout_ms: 5,
            records: RecordSet::from_bytes(Bytes::from_static(b"records")),
        },
        0,
        "0001 \"t\" 00000003 0000000000000102 01 00000005 00000007 \"records\"",
    );
    reply::<ConditionalAppendRequest>(
        &ConditionalAppendReply { error_code: ErrorCode::None, base_offset: -1, actual_end: 7 },
        0,
        "0000 ffffffffffffffff 0000000000000007",
    );
}
