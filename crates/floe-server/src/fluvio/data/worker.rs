//! Answers the requests of a connection in order, except for streams.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use floe::{TopicPartition, memory::MemoryReservation};
use floe_wire::fluvio::{
    ConditionalAppendRequest, DeleteConsumerOffsetRequest, FetchConsumerOffsetsRequest, FetchOffsetsRequest,
    FetchRequest, ProduceRequest, UpdateConsumerOffsetRequest, frame::RequestHeader,
};
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesOrdered};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{conditional_append, fetch, offsets, produce};
use crate::{
    access::Session,
    fluvio::frames::pieces,
    memory::Tenant,
    node::Node,
    response_writer::{Disconnected, ResponseSender},
};

/// Pipelined appends per connection, in addition to the limit in bytes.
const APPENDS: usize = 32;

/// A request in the worker's queue, in a box: the queue of an idle connection has room for 32 of them.
#[derive(Debug)]
pub(super) struct QueuedRequest {
    pub(super) header: RequestHeader,
    pub(super) request: Request,
    /// Share of the bytes in flight and memory of the request, released with the answer.
    pub(super) held: (OwnedSemaphorePermit, MemoryReservation),
}

/// A request for the worker.
#[derive(Debug)]
pub(super) enum Request {
    /// Pipelined with other appends.
    Produce(ProduceRequest),
    Serial(SerialRequest),
}

/// Requests that are answered one at a time.
#[derive(Debug)]
pub(super) enum SerialRequest {
    ConditionalAppend(ConditionalAppendRequest),
    Fetch(FetchRequest),
    FetchOffsets(FetchOffsetsRequest),
    /// Carries the partition and the consumer of the stream, if the stream exists.
    StoreOffset(UpdateConsumerOffsetRequest, Option<(TopicPartition, Option<String>)>),
    DeleteOffset(DeleteConsumerOffsetRequest),
    ListOffsets(FetchConsumerOffsetsRequest),
}

impl From<SerialRequest> for Request {
    fn from(request: SerialRequest) -> Self {
        Self::Serial(request)
    }
}

type Answer = Result<Response, Disconnected>;

/// An encoded response, and its memory if it was reserved before.
struct Response {
    pieces: Vec<Bytes>,
    room: Option<MemoryReservation>,
}

/// Runs until the queue closes or the connection does.
pub(super) async fn run(
    node: Arc<Node>,
    (session, tenant): (Arc<Session>, Arc<Tenant>),
    mut queue: mpsc::Receiver<Box<QueuedRequest>>,
    responses: ResponseSender,
) {
    // A closed connection leaves no client to inform.
    let _ = answer_all(node, (&session, &tenant), &mut queue, &responses).await;
}

async fn answer_all(
    node: Arc<Node>,
    (session, tenant): (&Session, &Tenant),
    queue: &mut mpsc::Receiver<Box<QueuedRequest>>,
    responses: &ResponseSender,
) -> Result<(), Disconnected> {
    let mut appends: FuturesOrdered<Pin<Box<dyn Future<Output = Answer> + Send>>> = FuturesOrdered::new();
    loop {
        let queued = tokio::select! {
            biased;
            Some(answer) = appends.next(), if !appends.is_empty() => {
                send(responses, answer).await?;
                continue;
            }
            queued = queue.recv(), if appends.len() < APPENDS => queued,
        };
        let Some(queued) = queued else { break };
        let QueuedRequest { header, request, held } = *queued;
        let request = match request {
            Request::Serial(request) => request,
            Request::Produce(request) => {
                let request = (request, held.1.bytes());
                let prepared = produce::prepare((&node, session, tenant), request, header.version).await;
                let node = Arc::clone(&node);
                let mut append = Box::pin(async move {
                    let reply = produce::append(&node, prepared).await;
                    let answer = pieces::<ProduceRequest>(&header, &reply)
                        .map(|pieces| Response { pieces, room: None });
                    drop(held);
                    answer
                });
                // The first poll here starts appends in the order of their requests, whichever is polled next.
                match append.as_mut().now_or_never() {
                    Some(answer) if appends.is_empty() => {
                        send(responses, answer).await?;
                    }
                    Some(answer) => appends.push_back(Box::pin(std::future::ready(answer))),
                    None => appends.push_back(append),
                }
                continue;
            }
        };
        // All other requests see the appends before them.
        while let Some(answer) = appends.next().await {
            send(responses, answer).await?;
        }
        let received = held.1.bytes();
        let answer = answer((&node, session, tenant), (&header, received), request, responses).await;
        drop(held);
        send(responses, answer).await?;
    }
    while let Some(answer) = appends.next().await {
        send(responses, answer).await?;
    }
    Ok(())
}

async fn answer(
    (node, session, tenant): (&Node, &Session, &Tenant),
    (header, received): (&RequestHeader, usize),
    request: SerialRequest,
    responses: &ResponseSender,
) -> Answer {
    let whole = |pieces| Ok(Response { pieces, room: None });
    match request {
        SerialRequest::ConditionalAppend(request) => {
            let reply = conditional_append::answer((node, session, tenant), (request, received)).await;
            whole(pieces::<ConditionalAppendRequest>(header, &reply)?)
        }
        SerialRequest::Fetch(request) => {
            // A client waits for its rate before it holds memory.
            session.admit_reading().await;
            let (reply, room) = fetch::answer(node, session, request, responses).await?;
            Ok(Response { pieces: pieces::<FetchRequest>(header, &reply)?, room: Some(room) })
        }
        SerialRequest::FetchOffsets(request) => {
            whole(pieces::<FetchOffsetsRequest>(header, &offsets::watermarks(node, session, request).await)?)
        }
        SerialRequest::StoreOffset(request, stream) => whole(pieces::<UpdateConsumerOffsetRequest>(
            header,
            &offsets::store(node, session, &request, stream).await,
        )?),
        SerialRequest::DeleteOffset(request) => {
            let reply = offsets::delete(node, session, request).await;
            whole(pieces::<DeleteConsumerOffsetRequest>(header, &reply)?)
        }
        SerialRequest::ListOffsets(request) => {
            let reply = offsets::list(node, session, request).await;
            whole(pieces::<FetchConsumerOffsetsRequest>(header, &reply)?)
        }
    }
}

async fn send(responses: &ResponseSender, answer: Answer) -> Result<(), Disconnected> {
    let Response { pieces, room } = answer?;
    match room {
        Some(room) => responses.send_records(room, pieces).await,
        None => responses.send(pieces).await,
    }
}
