//! The official decoder reads random messages of floe to their last byte, and the official encoder writes the same bytes
//! again. Two swapped neighbouring fields of one type would pass this test; the other modules check them with explicit
//! values.

use std::{fmt::Debug, io::Cursor};

use bytes::Bytes;
use floe_wire::fluvio::{self as floe, Request, frame};
use fluvio_protocol::{
    Decoder, Encoder,
    api::{RequestMessage, ResponseMessage},
    link::versions as official_versions,
    record::{RawRecords, RecordSet},
};
use fluvio_sc_schema::{
    TryEncodableFrom,
    customspu::CustomSpuSpec,
    mirror::MirrorSpec,
    mirroring::ObjectMirroringRequest,
    objects::{
        CreateRequest, DeleteRequest, ListRequest, ListResponse, ObjectApiCreateRequest,
        ObjectApiDeleteRequest, ObjectApiListRequest, ObjectApiListResponse, ObjectApiUpdateRequest,
        ObjectApiWatchRequest, ObjectApiWatchResponse, UpdateRequest, WatchRequest, WatchResponse,
    },
    partition::PartitionSpec,
    smartmodule::SmartModuleSpec,
    spg::SpuGroupSpec,
    spu::SpuSpec,
    tableformat::TableFormatSpec,
    topic::TopicSpec,
};
use fluvio_spu_schema::{
    fetch::FetchRequest,
    produce::ProduceRequest,
    server::{
        consumer_offset::{
            DeleteConsumerOffsetRequest, FetchConsumerOffsetsRequest, UpdateConsumerOffsetRequest,
        },
        fetch_offset::FetchOffsetsRequest,
        mirror::StartMirrorRequest,
        stream_fetch::StreamFetchRequest,
        update_offset::UpdateOffsetsRequest,
    },
};
use proptest::prelude::*;

use crate::sample::{Sample, Source};

type Records = RecordSet<RawRecords>;

/// Returns the frame without its size.
fn request_frame<R: Request>(request: &R, version: i16) -> Bytes {
    let frame = frame::encode_request(request, version, -7, "floe ☃").unwrap().to_bytes();
    frame.slice(frame::SIZE_LEN..)
}

fn reply_frame<R: Request>(reply: &R::Reply, version: i16) -> Bytes {
    let frame = frame::encode_reply::<R>(reply, version, i32::MIN).unwrap().to_bytes();
    frame.slice(frame::SIZE_LEN..)
}

/// Checks that floe decodes its own message to the same value, for the fields of the version.
fn floe_reads_itself<R: Request + Debug + PartialEq>(request: &R, version: i16) {
    let encoded = request_frame(request, version);
    let (header, body) = frame::RequestHeader::split(encoded.clone()).unwrap();
    assert_eq!((header.api_key, header.version, header.correlation_id), (R::KEY, version, -7));
    assert_eq!(header.client_id, "floe ☃");
    let decoded: R = frame::decode_request(body, version).unwrap();
    assert_eq!(request_frame(&decoded, version), encoded);
    // Two requests have fields that only older versions encode.
    if version == R::VERSIONS.max && !["StreamFetch", "FetchOffsets"].contains(&R::NAME) {
        assert_eq!(&decoded, request);
    }
}

fn floe_reads_its_reply<R: Request>(reply: &R::Reply, version: i16)
where
    R::Reply: Debug + PartialEq,
{
    let encoded = reply_frame::<R>(reply, version);
    let (correlation_id, body) = frame::split_reply(encoded.clone()).unwrap();
    assert_eq!(correlation_id, i32::MIN);
    let decoded = frame::decode_reply::<R>(body, version).unwrap();
    assert_eq!(reply_frame::<R>(&decoded, version), encoded);
    if version == R::VERSIONS.max {
        assert_eq!(&decoded, reply);
    }
}

/// Decodes with the official crate, checks that no bytes are left, calls `inspect`, and encodes again.
fn official_request<R: fluvio_protocol::api::Request + Default>(
    bytes: &[u8],
    version: i16,
    through: impl FnOnce(R) -> R,
) -> Vec<u8> {
    let mut source = Cursor::new(bytes);
    let message =
        RequestMessage::<R>::decode_from(&mut source, version).expect("the official decoder reads it");
    assert_eq!(source.position(), bytes.len() as u64, "the official decoder reads everything");
    let (header, request) = message.get_header_request();
    let mut out = Vec::new();
    RequestMessage::new(header, through(request)).encode(&mut out, version).unwrap();
    out
}

fn official_reply<P: Decoder + Encoder + Default>(
    bytes: &[u8],
    version: i16,
    through: impl FnOnce(P) -> P,
) -> Vec<u8> {
    let mut source = Cursor::new(bytes);
    let message =
        ResponseMessage::<P>::decode_from(&mut source, version).expect("the official decoder reads it");
    assert_eq!(source.position(), bytes.len() as u64, "the official decoder reads everything");
    let mut out = Vec::new();
    let message = ResponseMessage::new(message.correlation_id, through(message.response));
    message.encode(&mut out, version).unwrap();
    out
}

/// Decodes and encodes the content of the official envelope, which would forward it unread.
fn reopened<E: TryEncodableFrom<T>, T>(envelope: &E, version: i16) -> E {
    let content = envelope.downcast().expect("the content decodes").expect("the label is the official one");
    E::try_encode_from(content, version).unwrap()
}

const CASES: u32 = 24;

/// Checks random requests and replies of one API in every version.
macro_rules! transcode {
    ($name:ident, $floe:ty, $official:ty $(, $through:expr, $through_reply:expr)?) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(CASES))]
            #[test]
            fn $name(seed in any::<u64>()) {
                let range = <$floe as Request>::VERSIONS;
                for version in range.min..=range.max {
                    let source = &mut Source(seed);
                    let request = <$floe>::sample(source);
                    floe_reads_itself(&request, version);
                    let encoded = request_frame(&request, version);
                    let again = official_request::<$official>(&encoded, version, |request| {
                        $(let request = ($through)(request, version);)?
                        request
                    });
                    prop_assert_eq!(&again[..], &encoded[..], "request, version {}", version);

                    let reply = <$floe as Request>::Reply::sample(source);
                    floe_reads_its_reply::<$floe>(&reply, version);
                    let encoded = reply_frame::<$floe>(&reply, version);
                    let again = official_reply::<<$official as fluvio_protocol::api::Request>::Response>(
                        &encoded,
                        version,
                        |reply| {
                            $(let reply = ($through_reply)(reply, version);)?
                            reply
                        },
                    );
                    prop_assert_eq!(&again[..], &encoded[..], "reply, version {}", version);
                }
            }
        }
    };
}

transcode!(api_versions, floe::ApiVersionsRequest, official_versions::ApiVersionsRequest);
transcode!(produce, floe::ProduceRequest, ProduceRequest<Records>);
transcode!(fetch, floe::FetchRequest, FetchRequest<Records>);
transcode!(fetch_offsets, floe::FetchOffsetsRequest, FetchOffsetsRequest);
transcode!(stream_fetch, floe::StreamFetchRequest, StreamFetchRequest<Records>);
transcode!(update_offsets, floe::UpdateOffsetsRequest, UpdateOffsetsRequest);
transcode!(update_consumer_offset, floe::UpdateConsumerOffsetRequest, UpdateConsumerOffsetRequest);
transcode!(delete_consumer_offset, floe::DeleteConsumerOffsetRequest, DeleteConsumerOffsetRequest);
transcode!(fetch_consumer_offsets, floe::FetchConsumerOffsetsRequest, FetchConsumerOffsetsRequest);
transcode!(start_mirror, floe::StartMirrorRequest, StartMirrorRequest);
transcode!(mirroring, floe::MirroringRequest, ObjectMirroringRequest, |request, _| request, |reply, _| reply);
transcode!(
    update_topic,
    floe::UpdateTopicRequest,
    ObjectApiUpdateRequest,
    |request, version| reopened::<ObjectApiUpdateRequest, UpdateRequest<TopicSpec>>(&request, version),
    |reply, _| reply
);

macro_rules! transcode_create_and_delete {
    ($($create:ident, $delete:ident: $spec:ident;)*) => {$(
        transcode!(
            $create,
            floe::CreateRequest<floe::$spec>,
            ObjectApiCreateRequest,
            |request, version| reopened::<ObjectApiCreateRequest, CreateRequest<$spec>>(&request, version),
            |reply, _| reply
        );
        transcode!(
            $delete,
            floe::DeleteRequest<floe::$spec>,
            ObjectApiDeleteRequest,
            |request, version| reopened::<ObjectApiDeleteRequest, DeleteRequest<$spec>>(&request, version),
            |reply, _| reply
        );
    )*};
}

transcode_create_and_delete! {
    create_topic, delete_topic: TopicSpec;
    create_custom_spu, delete_custom_spu: CustomSpuSpec;
    create_smartmodule, delete_smartmodule: SmartModuleSpec;
    create_spu_group, delete_spu_group: SpuGroupSpec;
    create_table_format, delete_table_format: TableFormatSpec;
    create_mirror, delete_mirror: MirrorSpec;
}

macro_rules! transcode_list_and_watch {
    ($($list:ident, $watch:ident: $spec:ident;)*) => {$(
        transcode!(
            $list,
            floe::ListRequest<floe::$spec>,
            ObjectApiListRequest,
            |request, version| reopened::<ObjectApiListRequest, ListRequest<$spec>>(&request, version),
            |reply, version| reopened::<ObjectApiListResponse, ListResponse<$spec>>(&reply, version)
        );
        transcode!(
            $watch,
            floe::WatchRequest<floe::$spec>,
            ObjectApiWatchRequest,
            |request, version| reopened::<ObjectApiWatchRequest, WatchRequest<$spec>>(&request, version),
            |reply, version| reopened::<ObjectApiWatchResponse, WatchResponse<$spec>>(&reply, version)
        );
    )*};
}

transcode_list_and_watch! {
    list_topics, watch_topics: TopicSpec;
    list_partitions, watch_partitions: PartitionSpec;
    list_spus, watch_spus: SpuSpec;
    list_custom_spus, watch_custom_spus: CustomSpuSpec;
    list_smartmodules, watch_smartmodules: SmartModuleSpec;
    list_spu_groups, watch_spu_groups: SpuGroupSpec;
    list_table_formats, watch_table_formats: TableFormatSpec;
    list_mirrors, watch_mirrors: MirrorSpec;
}
