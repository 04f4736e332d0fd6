//! Decoding of any request that a server may receive.

use super::{
    admin::{
        AnyCreate, AnyDelete, AnyList, AnyWatch, CreateRequest, DeleteRequest, ListRequest,
        UpdateTopicRequest, WatchRequest,
    },
    api_versions::ApiVersionsRequest,
    conditional_append::ConditionalAppendRequest,
    consumer_offsets::{
        DeleteConsumerOffsetRequest, FetchConsumerOffsetsRequest, UpdateConsumerOffsetRequest,
    },
    fetch::FetchRequest,
    fetch_offsets::FetchOffsetsRequest,
    frame::{RequestHeader, decode_request},
    input::Input,
    mirroring::MirroringRequest,
    object::TopicSpec,
    produce::ProduceRequest,
    request::{Request, SC_VERSIONS},
    start_mirror::StartMirrorRequest,
    stream_fetch::StreamFetchRequest,
    update_offsets::UpdateOffsetsRequest,
};
use crate::WireError;

/// A request to a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the requests")]
pub enum ScRequest {
    ApiVersions(ApiVersionsRequest),
    Create(Box<AnyCreate>),
    Delete(AnyDelete),
    Update(UpdateTopicRequest),
    List(AnyList),
    Watch(AnyWatch),
    Mirroring(MirroringRequest),
}

impl ScRequest {
    /// Decodes the body that follows `header`.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Malformed`], also for an unknown API key; [`WireError::OutOfRange`] for
    /// a version that this crate does not know. Servers then close the connection: the protocol has no reply for it.
    pub fn decode(header: &RequestHeader, mut body: Input) -> Result<Self, WireError> {
        const CREATE: u16 = CreateRequest::<TopicSpec>::KEY;
        const DELETE: u16 = DeleteRequest::<TopicSpec>::KEY;
        const LIST: u16 = ListRequest::<TopicSpec>::KEY;
        const WATCH: u16 = WatchRequest::<TopicSpec>::KEY;
        let version = header.version;
        match header.api_key {
            ApiVersionsRequest::KEY => decode_request(body, version).map(Self::ApiVersions),
            UpdateTopicRequest::KEY => decode_request(body, version).map(Self::Update),
            MirroringRequest::KEY => decode_request(body, version).map(Self::Mirroring),
            key @ (CREATE | DELETE | LIST | WATCH) => {
                if !SC_VERSIONS.contains(version) {
                    return Err(WireError::OutOfRange {
                        what: "admin request",
                        value: i64::from(version),
                        min: i64::from(SC_VERSIONS.min),
                        max: i64::from(SC_VERSIONS.max),
                    });
                }
                let body = &mut body;
                match key {
                    CREATE => AnyCreate::decode(body, version).map(|create| Self::Create(Box::new(create))),
                    DELETE => AnyDelete::decode(body, version).map(Self::Delete),
                    LIST => AnyList::decode(body, version).map(Self::List),
                    _ => AnyWatch::decode(body, version).map(Self::Watch),
                }
            }
            other => Err(unknown_key(other)),
        }
    }
}

/// A request to a data server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the requests")]
pub enum SpuRequest {
    ApiVersions(ApiVersionsRequest),
    Produce(ProduceRequest),
    Fetch(FetchRequest),
    FetchOffsets(FetchOffsetsRequest),
    StreamFetch(Box<StreamFetchRequest>),
    UpdateOffsets(UpdateOffsetsRequest),
    UpdateConsumerOffset(UpdateConsumerOffsetRequest),
    DeleteConsumerOffset(DeleteConsumerOffsetRequest),
    FetchConsumerOffsets(FetchConsumerOffsetsRequest),
    StartMirror(StartMirrorRequest),
    ConditionalAppend(ConditionalAppendRequest),
}

impl SpuRequest {
    /// Decodes the body that follows `header`.
    ///
    /// # Errors
    /// The errors of [`ScRequest::decode`].
    pub fn decode(header: &RequestHeader, body: Input) -> Result<Self, WireError> {
        let version = header.version;
        match header.api_key {
            ApiVersionsRequest::KEY => decode_request(body, version).map(Self::ApiVersions),
            ProduceRequest::KEY => decode_request(body, version).map(Self::Produce),
            FetchRequest::KEY => decode_request(body, version).map(Self::Fetch),
            FetchOffsetsRequest::KEY => decode_request(body, version).map(Self::FetchOffsets),
            StreamFetchRequest::KEY => {
                decode_request(body, version).map(|request| Self::StreamFetch(Box::new(request)))
            }
            UpdateOffsetsRequest::KEY => decode_request(body, version).map(Self::UpdateOffsets),
            UpdateConsumerOffsetRequest::KEY => decode_request(body, version).map(Self::UpdateConsumerOffset),
            DeleteConsumerOffsetRequest::KEY => decode_request(body, version).map(Self::DeleteConsumerOffset),
            FetchConsumerOffsetsRequest::KEY => decode_request(body, version).map(Self::FetchConsumerOffsets),
            StartMirrorRequest::KEY => decode_request(body, version).map(Self::StartMirror),
            ConditionalAppendRequest::KEY => decode_request(body, version).map(Self::ConditionalAppend),
            other => Err(unknown_key(other)),
        }
    }
}

fn unknown_key(key: u16) -> WireError {
    WireError::malformed("request header", format!("unknown API key {key}"))
}
