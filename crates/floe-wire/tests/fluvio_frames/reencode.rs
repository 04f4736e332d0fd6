//! Decodes whole frames and encodes them again, for tests and fuzz targets.

use bytes::{Bytes, BytesMut};
use floe_wire::{
    WireError,
    fluvio::{
        AnyCreate, AnyDelete, AnyList, AnyWatch, ApiVersionsRequest, ConditionalAppendRequest, CreateRequest,
        CustomSpuSpec, DeleteConsumerOffsetRequest, DeleteRequest, FetchConsumerOffsetsRequest,
        FetchOffsetsRequest, FetchRequest, ListRequest, MirrorSpec, MirroringRequest, PartitionSpec,
        ProduceRequest, Request, ScRequest, SmartModuleSpec, SpuGroupSpec, SpuRequest, SpuSpec,
        StartMirrorRequest, StreamFetchRequest, TableFormatSpec, TopicSpec, UpdateConsumerOffsetRequest,
        UpdateOffsetsRequest, UpdateTopicRequest, WatchRequest,
        frame::{self, RequestHeader},
    },
};

/// Kind of server that a frame goes to or comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Controller,
    DataServer,
}

/// Decodes a reply frame without its size, and encodes it again with its size.
pub(crate) type ReencodeReply = fn(Bytes, i16) -> Result<Bytes, WireError>;

/// A request that was decoded and encoded again.
#[derive(Debug)]
pub(crate) struct Reencoded {
    pub(crate) header: RequestHeader,
    /// The encoded frame, with its size.
    pub(crate) frame: Bytes,
    /// Function that decodes and encodes a reply to the request.
    pub(crate) reply: ReencodeReply,
}

/// Decodes a request frame without its size, and encodes it again with its size.
pub(crate) fn reencode_request(peer: Peer, frame: Bytes) -> Result<Reencoded, WireError> {
    let (header, body) = RequestHeader::split(frame)?;
    let (frame, reply) = match peer {
        Peer::Controller => reencode_sc(&header, ScRequest::decode(&header, body)?)?,
        Peer::DataServer => reencode_spu(&header, SpuRequest::decode(&header, body)?)?,
    };
    Ok(Reencoded { header, frame, reply })
}

fn again<R: Request>(header: &RequestHeader, request: &R) -> Result<(Bytes, ReencodeReply), WireError> {
    let frame = frame::encode_request(request, header.version, header.correlation_id, &header.client_id)?;
    Ok((frame.to_bytes(), reencode_reply::<R>))
}

/// Decodes the reply to `R`, checks that it survives another round, and encodes it.
pub(crate) fn reencode_reply<R: Request>(frame: Bytes, version: i16) -> Result<Bytes, WireError> {
    let (correlation_id, body) = frame::split_reply(frame)?;
    let reply = frame::decode_reply::<R>(body, version)?;
    Ok(frame::encode_reply::<R>(&reply, version, correlation_id)?.to_bytes())
}

fn reencode_sc(header: &RequestHeader, request: ScRequest) -> Result<(Bytes, ReencodeReply), WireError> {
    macro_rules! any {
        ($any:ident, $request:expr) => {
            match $request {
                $any::Topic(request) => again(header, &request),
                $any::Partition(request) => again(header, &request),
                $any::Spu(request) => again(header, &request),
                $any::CustomSpu(request) => again(header, &request),
                $any::SmartModule(request) => again(header, &request),
                $any::SpuGroup(request) => again(header, &request),
                $any::TableFormat(request) => again(header, &request),
                $any::Mirror(request) => again(header, &request),
            }
        };
    }
    match request {
        ScRequest::ApiVersions(request) => again(header, &request),
        ScRequest::Create(request) => any!(AnyCreate, *request),
        ScRequest::Delete(request) => any!(AnyDelete, request),
        ScRequest::Update(request) => again(header, &request),
        ScRequest::List(request) => any!(AnyList, request),
        ScRequest::Watch(request) => any!(AnyWatch, request),
        ScRequest::Mirroring(request) => again(header, &request),
    }
}

fn reencode_spu(header: &RequestHeader, request: SpuRequest) -> Result<(Bytes, ReencodeReply), WireError> {
    match request {
        SpuRequest::ApiVersions(request) => again(header, &request),
        SpuRequest::Produce(request) => again(header, &request),
        SpuRequest::Fetch(request) => again(header, &request),
        SpuRequest::FetchOffsets(request) => again(header, &request),
        SpuRequest::StreamFetch(request) => again(header, request.as_ref()),
        SpuRequest::UpdateOffsets(request) => again(header, &request),
        SpuRequest::UpdateConsumerOffset(request) => again(header, &request),
        SpuRequest::DeleteConsumerOffset(request) => again(header, &request),
        SpuRequest::FetchConsumerOffsets(request) => again(header, &request),
        SpuRequest::StartMirror(request) => again(header, &request),
        SpuRequest::ConditionalAppend(request) => again(header, &request),
    }
}

/// Every type of reply, with the greatest version of its API.
pub(crate) const REPLIES: &[(&str, i16, ReencodeReply)] = &[
    ("ApiVersions", 2, reencode_reply::<ApiVersionsRequest>),
    ("Create", 19, reencode_reply::<CreateRequest<TopicSpec>>),
    ("Delete", 19, reencode_reply::<DeleteRequest<CustomSpuSpec>>),
    ("Update", 19, reencode_reply::<UpdateTopicRequest>),
    ("List Topic", 19, reencode_reply::<ListRequest<TopicSpec>>),
    ("List Partition", 19, reencode_reply::<ListRequest<PartitionSpec>>),
    ("List SPU", 19, reencode_reply::<ListRequest<SpuSpec>>),
    ("List CustomSpu", 19, reencode_reply::<ListRequest<CustomSpuSpec>>),
    ("List SmartModule", 19, reencode_reply::<ListRequest<SmartModuleSpec>>),
    ("List SpuGroup", 19, reencode_reply::<ListRequest<SpuGroupSpec>>),
    ("List TableFormat", 19, reencode_reply::<ListRequest<TableFormatSpec>>),
    ("List Mirror", 19, reencode_reply::<ListRequest<MirrorSpec>>),
    ("Watch Topic", 19, reencode_reply::<WatchRequest<TopicSpec>>),
    ("Watch Partition", 19, reencode_reply::<WatchRequest<PartitionSpec>>),
    ("Watch SPU", 19, reencode_reply::<WatchRequest<SpuSpec>>),
    ("Watch SpuGroup", 19, reencode_reply::<WatchRequest<SpuGroupSpec>>),
    ("Watch SmartModule", 19, reencode_reply::<WatchRequest<SmartModuleSpec>>),
    ("Watch TableFormat", 19, reencode_reply::<WatchRequest<TableFormatSpec>>),
    ("Mirroring", 19, reencode_reply::<MirroringRequest>),
    ("Produce", 25, reencode_reply::<ProduceRequest>),
    ("Fetch", 25, reencode_reply::<FetchRequest>),
    ("FetchOffsets", 25, reencode_reply::<FetchOffsetsRequest>),
    ("StreamFetch", 25, reencode_reply::<StreamFetchRequest>),
    ("UpdateOffsets", 0, reencode_reply::<UpdateOffsetsRequest>),
    ("UpdateConsumerOffset", 25, reencode_reply::<UpdateConsumerOffsetRequest>),
    ("DeleteConsumerOffset", 25, reencode_reply::<DeleteConsumerOffsetRequest>),
    ("FetchConsumerOffsets", 25, reencode_reply::<FetchConsumerOffsetsRequest>),
    ("StartMirror", 25, reencode_reply::<StartMirrorRequest>),
    ("ConditionalAppend", 0, reencode_reply::<ConditionalAppendRequest>),
];

/// Fuzz target: arbitrary bytes as the input of a server. Each decoded request must encode, and survive a second round
/// unchanged.
pub(crate) fn fuzz_requests(data: &[u8]) {
    for peer in [Peer::Controller, Peer::DataServer] {
        let mut received = BytesMut::from(data);
        while let Ok(Some(frame)) = frame::split_frame(&mut received, data.len()) {
            let Ok(first) = reencode_request(peer, frame) else { continue };
            let second = reencode_request(peer, first.frame.slice(frame::SIZE_LEN..));
            let second = second.expect("an encoded frame decodes");
            assert_eq!(first.frame, second.frame, "a second round changes nothing");
        }
    }
}

/// Fuzz target: the first two bytes choose a type of reply and a version; the other bytes are the input of a client.
pub(crate) fn fuzz_replies(data: &[u8]) {
    let [kind, version, rest @ ..] = data else { return };
    let (_, newest, reencode) = REPLIES[usize::from(*kind) % REPLIES.len()];
    let version = i16::from(*version) % (newest + 1);
    let mut received = BytesMut::from(rest);
    while let Ok(Some(frame)) = frame::split_frame(&mut received, rest.len()) {
        let Ok(first) = reencode(frame, version) else { continue };
        let second = reencode(first.slice(frame::SIZE_LEN..), version).expect("an encoded frame decodes");
        assert_eq!(first, second, "a second round changes nothing");
    }
}
