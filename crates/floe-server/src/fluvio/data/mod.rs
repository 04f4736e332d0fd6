//! The data server (SPU): appends, reads, and stored consumer offsets.
//!
//! ```text
//!            ┌─ stream tasks (one per StreamFetch) ─┐
//! socket ─► reader ─► worker ───────────────────────┴─► response queue ─► writer ─► socket
//!            └─ acknowledgements, straight to the streams
//! ```
//!
//! The reader passes acknowledgements to streams itself, so that they never queue behind a slow request. The worker
//! answers all other requests in order; appends are pipelined, in order.

mod conditional_append;
mod fetch;
mod offsets;
mod produce;
mod stream;
mod versions;
mod worker;

use std::{collections::HashMap, sync::Arc};

use floe::{TopicPartition, memory::MemoryReservation};
use floe_wire::fluvio::{
    ConditionalAppendRequest, DeleteConsumerOffsetRequest, ErrorCode, FetchConsumerOffsetsRequest,
    FetchOffsetsRequest, FetchRequest, OffsetUpdateResult, PartitionRecords, ProduceRequest, Request as _,
    SpuRequest, StreamFetchReply, StreamFetchRequest, UpdateConsumerOffsetRequest, UpdateOffsetsReply,
    UpdateOffsetsRequest, frame::RequestHeader,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
};

use self::{stream::RecordStream, worker::QueuedRequest};
use super::frames;
use crate::{
    access::Session,
    connection_slots::Activity,
    memory::{Tenant, too_large},
    metrics::Frontend,
    node::{Node, log_panic},
    request_reader::{ReadEnd, ReceivedRequest, RequestReader, read_until_end},
    response_writer::{Disconnected, ResponseSender, response_queue},
    socket::Socket,
};

/// Length of the worker's queue; the bytes in flight are the limit that matters.
const WAITING_REQUESTS: usize = 64;

/// Serves one connection until it ends.
pub(crate) async fn serve(
    node: Arc<Node>,
    session: Arc<Session>,
    (socket, activity): (Socket, Activity),
    mut stop: watch::Receiver<bool>,
) {
    let (reading, writing) = socket.into_split();
    let limits = &node.limits;
    let tenant = Arc::new(node.memory.tenant(session.client(), limits));
    let framing = frames::FRAMING;
    let reader =
        RequestReader::new(reading, framing, limits.frame_bytes, limits.frame_timeout, &tenant.requests);
    let (responses, writer) = response_queue(&tenant.responses);
    let (queue, queued) = mpsc::channel(WAITING_REQUESTS);
    // The connection owns its tasks, so dropping it ends them.
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(writer.run(writing).await) });
    let client = (Arc::clone(&session), Arc::clone(&tenant));
    tasks.spawn(worker::run(Arc::clone(&node), client, queued, responses.clone()));
    let mut connection = Connection {
        activity,
        in_flight: Arc::new(Semaphore::new(limits.in_flight_bytes.clamp(1, Semaphore::MAX_PERMITS))),
        node: Arc::clone(&node),
        session,
        tenant: Arc::clone(&tenant),
        responses,
        queue,
        streams: HashMap::new(),
        opened: 0,
        running: JoinSet::new(),
    };
    let reading = connection.read(reader);
    let ended = read_until_end(&node, (Frontend::Data, &tenant), reading, &mut stop, &mut tasks).await;
    if matches!(ended, Some(ReadEnd::Broken | ReadEnd::Idle | ReadEnd::CutOff)) {
        return;
    }
    // Requests that were received are still answered; dropping the connection then ends the worker and the writer.
    drop(connection);
    while let Some(ended) = tasks.join_next().await {
        log_panic(ended);
    }
}

/// A stream of this connection, as other requests see it.
#[derive(Debug)]
struct OpenStream {
    /// Latest acknowledged offset.
    acknowledged: watch::Sender<i64>,
    at: TopicPartition,
    consumer_id: Option<String>,
}

/// The reading side of a connection.
struct Connection {
    activity: Activity,
    node: Arc<Node>,
    session: Arc<Session>,
    tenant: Arc<Tenant>,
    responses: ResponseSender,
    queue: mpsc::Sender<Box<QueuedRequest>>,
    in_flight: Arc<Semaphore>,
    /// Streams by id. An ended stream stays known, as on a real server.
    streams: HashMap<u32, OpenStream>,
    opened: u32,
    running: JoinSet<()>,
}

impl Connection {
    async fn read(&mut self, mut reader: RequestReader) -> Option<ReadEnd> {
        loop {
            let limits = &self.node.limits;
            let free = limits.in_flight_bytes.clamp(1, Semaphore::MAX_PERMITS);
            let (running, in_flight) = (&mut self.running, &self.in_flight);
            let is_busy = || {
                while let Some(ended) = running.try_join_next() {
                    log_panic(ended);
                }
                !running.is_empty() || in_flight.available_permits() < free
            };
            let frame = match reader.next_unless_idle(limits.idle_timeout, is_busy).await {
                Ok(frame) => frame,
                Err(ended) => return Some(ended),
            };
            match self.dispatch(frame).await {
                Ok(()) => {}
                Err(ended) => return ended,
            }
            while let Some(ended) = self.running.try_join_next() {
                log_panic(ended);
            }
            // A request in flight is answered soon; a stream is not.
            self.activity.note(!self.running.is_empty());
        }
    }

    /// Dispatches one request.
    async fn dispatch(&mut self, frame: ReceivedRequest) -> Result<(), Option<ReadEnd>> {
        let ReceivedRequest { bytes, mut room } = frame;
        let size = bytes.len();
        let malformed = |error| Some(ReadEnd::Malformed(error));
        let (header, body) = RequestHeader::split(bytes).map_err(malformed)?;
        let shared = (&*self.node, &self.tenant.requests);
        let (request, decoded) =
            frames::decode(shared, &header, body, SpuRequest::decode).await.map_err(malformed)?;
        let needed = elements(&request).saturating_mul(frames::ELEMENT_BYTES);
        if let Some(mut decoded) = decoded {
            decoded.shrink_to(needed.saturating_sub(size));
            room.add(decoded);
        } else if needed > size.max(FEW_ELEMENTS * frames::ELEMENT_BYTES) {
            // A request of a few elements is covered by the buffer that it came in.
            let more = self.tenant.requests.reserve(needed - size).await;
            room.add(more.map_err(too_large("decoded request")).map_err(malformed)?);
        }
        let held = (size, room);
        self.node.metrics.request(Frontend::Data, name(&request));
        let appends = matches!(request, SpuRequest::Produce(_) | SpuRequest::ConditionalAppend(_));
        self.session.admit(if appends { size } else { 0 }).await;
        let taken = match request {
            SpuRequest::UpdateOffsets(request) => self.acknowledge(&header, &request).await,
            SpuRequest::StreamFetch(request) => self.open_stream(header, *request).await,
            SpuRequest::ApiVersions(request) => {
                let appends_on_condition = self.node.engine.info().capabilities.conditional_appends;
                versions::answer(&self.responses, &header, &request, appends_on_condition).await
            }
            // The mirroring protocol that would follow is not public.
            SpuRequest::StartMirror(_) => Err(Disconnected),
            SpuRequest::UpdateConsumerOffset(request) => {
                let stream = self.streams.get(&request.stream_id);
                let stream = stream.map(|stream| (stream.at.clone(), stream.consumer_id.clone()));
                self.enqueue(header, worker::SerialRequest::StoreOffset(request, stream), held).await
            }
            SpuRequest::Produce(request) => {
                self.enqueue(header, worker::Request::Produce(request), held).await
            }
            SpuRequest::ConditionalAppend(request) => {
                self.enqueue(header, worker::SerialRequest::ConditionalAppend(request), held).await
            }
            SpuRequest::Fetch(request) => {
                self.enqueue(header, worker::SerialRequest::Fetch(request), held).await
            }
            SpuRequest::FetchOffsets(request) => {
                self.enqueue(header, worker::SerialRequest::FetchOffsets(request), held).await
            }
            SpuRequest::DeleteConsumerOffset(request) => {
                self.enqueue(header, worker::SerialRequest::DeleteOffset(request), held).await
            }
            SpuRequest::FetchConsumerOffsets(request) => {
                self.enqueue(header, worker::SerialRequest::ListOffsets(request), held).await
            }
        };
        taken.map_err(|Disconnected| None)
    }

    /// Waits until `size` more bytes may be in flight on this connection, then queues the request for the worker.
    async fn enqueue(
        &mut self,
        header: RequestHeader,
        request: impl Into<worker::Request>,
        (size, room): (usize, MemoryReservation),
    ) -> Result<(), Disconnected> {
        let permit = self.reserve(size).await?;
        self.queue
            .send(Box::new(QueuedRequest { header, request: request.into(), held: (permit, room) }))
            .await
            .map_err(|_| Disconnected)
    }

    async fn reserve(&self, size: usize) -> Result<OwnedSemaphorePermit, Disconnected> {
        let wanted = size.min(self.node.limits.in_flight_bytes).max(1);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        Arc::clone(&self.in_flight).acquire_many_owned(wanted).await.map_err(|_| Disconnected)
    }

    async fn acknowledge(
        &mut self,
        header: &RequestHeader,
        request: &UpdateOffsetsRequest,
    ) -> Result<(), Disconnected> {
        let results = request
            .offsets
            .iter()
            .map(|update| {
                let error_code = match self.streams.get(&update.stream_id) {
                    Some(stream) => {
                        stream.acknowledged.send_replace(update.offset);
                        ErrorCode::None
                    }
                    None => ErrorCode::FetchSessionNotFoud,
                };
                OffsetUpdateResult { stream_id: update.stream_id, error_code }
            })
            .collect();
        frames::reply::<UpdateOffsetsRequest>(&self.responses, header, &UpdateOffsetsReply { results }).await
    }

    async fn open_stream(
        &mut self,
        header: RequestHeader,
        request: StreamFetchRequest,
    ) -> Result<(), Disconnected> {
        let topic = match stream::resolve(&self.node, &self.session, &request).await {
            Ok(_) if self.opened >= self.node.limits.streams => Err(ErrorCode::Other(format!(
                "stream limit reached: a connection may open {} streams; use another connection",
                self.node.limits.streams
            ))),
            outcome => outcome,
        };
        let topic = match topic {
            Ok(topic) => topic,
            Err(error_code) => {
                self.node.metrics.error(Frontend::Data, error_code.name());
                let partition = PartitionRecords {
                    partition: request.partition,
                    error_code,
                    ..PartitionRecords::default()
                };
                let refused = StreamFetchReply { topic: request.topic, stream_id: 0, partition };
                return frames::reply::<StreamFetchRequest>(&self.responses, &header, &refused).await;
            }
        };
        self.opened += 1;
        let id = self.opened;
        let (acknowledged, acknowledgements) = watch::channel(-1);
        let at = topic.at.clone();
        self.streams.insert(id, OpenStream { acknowledged, at, consumer_id: request.consumer_id.clone() });
        let stream = RecordStream::new(
            (Arc::clone(&self.node), Arc::clone(&self.session), Arc::clone(&self.tenant)),
            self.responses.clone(),
            (id, header, request),
            topic,
            acknowledgements,
        );
        self.running.spawn(stream.run());
        Ok(())
    }
}

/// Elements of a request that is decoded without more memory than its buffer.
const FEW_ELEMENTS: usize = 64;

/// Returns the number of elements that a request asks for, each of which gets an answer.
fn elements(request: &SpuRequest) -> usize {
    match request {
        SpuRequest::Produce(request) => {
            request.topics.iter().map(|topic| topic.partitions.len() + 1).sum::<usize>()
                + request.smartmodules.len()
        }
        SpuRequest::Fetch(request) => request.topics.iter().map(|topic| topic.partitions.len() + 1).sum(),
        SpuRequest::FetchOffsets(request) => {
            request.topics.iter().map(|topic| topic.partitions.len() + 1).sum()
        }
        SpuRequest::UpdateOffsets(request) => request.offsets.len(),
        SpuRequest::StreamFetch(request) => request.smartmodules.len(),
        SpuRequest::ApiVersions(_)
        | SpuRequest::UpdateConsumerOffset(_)
        | SpuRequest::DeleteConsumerOffset(_)
        | SpuRequest::FetchConsumerOffsets(_)
        | SpuRequest::StartMirror(_)
        | SpuRequest::ConditionalAppend(_) => 0,
    }
}

fn name(request: &SpuRequest) -> &'static str {
    match request {
        SpuRequest::ApiVersions(_) => "ApiVersions",
        SpuRequest::Produce(_) => ProduceRequest::NAME,
        SpuRequest::Fetch(_) => FetchRequest::NAME,
        SpuRequest::FetchOffsets(_) => FetchOffsetsRequest::NAME,
        SpuRequest::StreamFetch(_) => StreamFetchRequest::NAME,
        SpuRequest::UpdateOffsets(_) => UpdateOffsetsRequest::NAME,
        SpuRequest::UpdateConsumerOffset(_) => UpdateConsumerOffsetRequest::NAME,
        SpuRequest::DeleteConsumerOffset(_) => DeleteConsumerOffsetRequest::NAME,
        SpuRequest::FetchConsumerOffsets(_) => FetchConsumerOffsetsRequest::NAME,
        SpuRequest::StartMirror(_) => "StartMirror",
        SpuRequest::ConditionalAppend(_) => ConditionalAppendRequest::NAME,
    }
}
