//! Server side of one connection.

use bytes::{Bytes, BytesMut};
use floe_wire::fluvio::{
    AnyList, AnyWatch, ApiVersionRange, ApiVersionsReply, ApiVersionsRequest, CreateRequest, ErrorCode,
    FetchOffsetsReply, FetchOffsetsRequest, FetchOffsetsTopicReply, FetchReply, FetchRequest,
    FetchTopicReply, ListReply, ListRequest, Metadata, OffsetUpdateResult, PartitionOffsets,
    PartitionProduceReply, PartitionRecords, PartitionSpec, ProduceReply, ProduceRequest, RecordSet, Request,
    ScRequest, SmartModuleSpec, SpuRequest, SpuSpec, Status, StreamFetchReply, StreamFetchRequest,
    TopicProduceReply, TopicSpec, UpdateOffsetsReply, UpdateOffsetsRequest, WatchReply, WatchRequest,
    frame::{self, RequestHeader},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{Cluster, ClusterState, Fault, TOPIC};

/// Server side of one connection.
pub(super) struct Connection {
    cluster: Cluster,
    socket: DuplexStream,
    /// Id of the data server, or `None` for the controller.
    id: Option<i32>,
    streams: Vec<OpenStream>,
    watches: Vec<(RequestHeader, AnyWatch)>,
}

struct OpenStream {
    header: RequestHeader,
    request: StreamFetchRequest,
    next: i64,
    /// The previous slice was acknowledged, so the next one may be pushed.
    ready: bool,
    /// Acknowledgement that arrived while modules were busy.
    deferred_ack: Option<i64>,
}

impl Connection {
    pub(super) fn new(cluster: Cluster, socket: DuplexStream, id: Option<i32>) -> Self {
        Self { cluster, socket, id, streams: Vec::new(), watches: Vec::new() }
    }

    /// Serves until the client disconnects or a fault ends the connection.
    pub(super) async fn run(mut self) -> Option<()> {
        let mut changed = self.cluster.changed.subscribe();
        let mut received = BytesMut::new();
        loop {
            while let Some(frame) = frame::split_frame(&mut received, 1 << 28).unwrap() {
                let (header, body) = RequestHeader::split(frame).unwrap();
                if header.api_key == ApiVersionsRequest::KEY {
                    self.versions(&header).await?;
                } else if self.id.is_some() {
                    let request = SpuRequest::decode(&header, body).unwrap();
                    self.serve_spu(header, request).await?;
                } else {
                    let request = ScRequest::decode(&header, body).unwrap();
                    self.serve_sc(header, request).await?;
                }
            }
            tokio::select! {
                biased;
                count = self.socket.read_buf(&mut received) => match count {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                },
                _ = changed.changed() => {
                    self.push_all().await?;
                    for (header, watch) in std::mem::take(&mut self.watches) {
                        self.notify(header, watch).await?;
                    }
                }
            }
        }
    }

    async fn reply<R: Request>(&mut self, header: &RequestHeader, reply: &R::Reply) -> Option<()> {
        let fault = {
            let mut state = self.cluster.state.lock();
            match state.faults.front() {
                Some((key, _)) if *key == R::KEY => state.faults.pop_front().map(|(_, fault)| fault),
                _ => None,
            }
        };
        let id = if fault == Some(Fault::WrongId) { 77_777 } else { header.correlation_id };
        let bytes = frame::encode_reply::<R>(reply, header.version, id).unwrap().to_bytes();
        let (bytes, keep_open) = match fault {
            None | Some(Fault::WrongId) => (bytes, true),
            Some(Fault::CutAfter(count)) => (bytes.slice(..count.min(bytes.len())), false),
            Some(Fault::Garbage) => (Bytes::from_static(b"\x15\x03\x03 alert, alert"), true),
            Some(Fault::Oversize) => (Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1]), true),
            Some(Fault::Silence) => (Bytes::new(), true),
            Some(Fault::Crowded(count)) => (crowded(header.correlation_id, count), true),
            Some(Fault::Endless(length)) => {
                self.socket.write_all(&length.to_be_bytes()).await.ok()?;
                loop {
                    self.socket.write_all(&[0; 4096]).await.ok()?;
                }
            }
        };
        self.socket.write_all(&bytes).await.ok()?;
        keep_open.then_some(())
    }

    async fn versions(&mut self, header: &RequestHeader) -> Option<()> {
        let keys: &[(i16, i16, i16)] = match self.id {
            Some(_) => &[(0, 0, 25), (1, 0, 25), (1002, 25, 25), (1003, 0, 25), (1005, 0, 0)],
            None => &[(1001, 9, 19), (1002, 1, 19), (1003, 15, 19), (1004, 15, 19), (1006, 1, 19)],
        };
        let api_keys = keys
            .iter()
            .map(|&(api_key, min_version, max_version)| ApiVersionRange { api_key, min_version, max_version })
            .collect();
        let platform = if self.id.is_some() { "0.0.0" } else { self.cluster.state.lock().platform };
        let reply =
            ApiVersionsReply { error_code: ErrorCode::None, api_keys, platform_version: platform.to_owned() };
        self.reply::<ApiVersionsRequest>(header, &reply).await
    }

    async fn serve_sc(&mut self, header: RequestHeader, request: ScRequest) -> Option<()> {
        match request {
            ScRequest::Watch(watch) => self.notify(header, watch).await,
            ScRequest::List(AnyList::Topic(request)) => {
                let objects = if request.system { Vec::new() } else { self.cluster.state.lock().topics() };
                self.reply::<ListRequest<TopicSpec>>(&header, &ListReply { objects }).await
            }
            ScRequest::List(AnyList::Partition(request)) => {
                let objects =
                    if request.system { Vec::new() } else { self.cluster.state.lock().partition_objects() };
                self.reply::<ListRequest<PartitionSpec>>(&header, &ListReply { objects }).await
            }
            ScRequest::List(AnyList::Spu(_)) => {
                self.reply::<ListRequest<SpuSpec>>(&header, &ListReply { objects: ClusterState::spus() })
                    .await
            }
            ScRequest::List(AnyList::SmartModule(request)) => {
                let objects = self.cluster.state.lock().modules_named(&request.name_filters);
                self.reply::<ListRequest<SmartModuleSpec>>(&header, &ListReply { objects }).await
            }
            // The topic itself stays out of the script.
            ScRequest::Create(_) => self.reply::<CreateRequest<TopicSpec>>(&header, &Status::default()).await,
            other => panic!("request not in the script: {other:?}"),
        }
    }

    /// Sends all objects to a watch, and keeps the watch for the next change.
    async fn notify(&mut self, header: RequestHeader, watch: AnyWatch) -> Option<()> {
        fn all<O: floe_wire::fluvio::Object>(all: Vec<Metadata<O>>) -> WatchReply<O> {
            WatchReply { epoch: 1, changes: Vec::new(), all }
        }
        match &watch {
            AnyWatch::Topic(_) => {
                let objects = self.cluster.state.lock().topics();
                self.reply::<WatchRequest<TopicSpec>>(&header, &all(objects)).await?;
            }
            AnyWatch::Partition(_) => {
                let objects = self.cluster.state.lock().partition_objects();
                self.reply::<WatchRequest<PartitionSpec>>(&header, &all(objects)).await?;
            }
            AnyWatch::Spu(_) => {
                self.reply::<WatchRequest<SpuSpec>>(&header, &all(ClusterState::spus())).await?
            }
            other => panic!("request not in the script: {other:?}"),
        }
        self.watches.push((header, watch));
        Some(())
    }

    async fn serve_spu(&mut self, header: RequestHeader, request: SpuRequest) -> Option<()> {
        match request {
            SpuRequest::Produce(request) => {
                if let Some((_, withheld)) = &mut self.cluster.state.lock().delayed_produce
                    && withheld.is_none()
                {
                    *withheld = Some(request);
                    return Some(());
                }
                let reply = self.produce(request);
                let mut changed = self.cluster.changed.subscribe();
                while self.cluster.state.lock().hold {
                    changed.changed().await.ok()?;
                }
                self.reply::<ProduceRequest>(&header, &reply).await
            }
            SpuRequest::FetchOffsets(request) => {
                let reply = self.offsets(request);
                self.reply::<FetchOffsetsRequest>(&header, &reply).await
            }
            SpuRequest::Fetch(request) => {
                let reply = self.fetch(&request);
                self.reply::<FetchRequest>(&header, &reply).await
            }
            SpuRequest::StreamFetch(request) => {
                let next = request.fetch_offset;
                {
                    let mut state = self.cluster.state.lock();
                    state.streams.push(request.max_bytes);
                    if !request.smartmodules.is_empty() {
                        state.invocations.push((Some(next), request.smartmodules.clone()));
                    }
                }
                self.streams.push(OpenStream {
                    header,
                    request: *request,
                    next,
                    ready: true,
                    deferred_ack: None,
                });
                self.push_all().await
            }
            SpuRequest::UpdateOffsets(request) => {
                let mut results = Vec::new();
                for update in request.offsets {
                    let stream =
                        self.streams.get_mut(usize::try_from(update.stream_id).unwrap() - 1).unwrap();
                    if self.cluster.state.lock().modules_busy {
                        stream.deferred_ack = Some(update.offset);
                    } else {
                        (stream.next, stream.ready) = (update.offset, true);
                    }
                    results.push(OffsetUpdateResult {
                        stream_id: update.stream_id,
                        error_code: ErrorCode::None,
                    });
                }
                self.reply::<UpdateOffsetsRequest>(&header, &UpdateOffsetsReply { results }).await?;
                self.push_all().await
            }
            other => panic!("request not in the script: {other:?}"),
        }
    }

    fn leads(&self, state: &ClusterState, topic: &str, partition: u32) -> bool {
        topic == TOPIC && state.topic_exists && state.leaders.get(&partition).copied() == self.id
    }

    fn produce(&self, request: ProduceRequest) -> ProduceReply {
        let mut state = self.cluster.state.lock();
        if !request.smartmodules.is_empty() {
            state.invocations.push((None, request.smartmodules.clone()));
        }
        state.produced.push(request.topics.iter().map(|topic| topic.partitions.len()).sum());
        let mut topics = Vec::new();
        for topic in request.topics {
            let mut partitions = Vec::new();
            for entry in topic.partitions {
                let mut result = PartitionProduceReply { partition: entry.partition, ..Default::default() };
                if !self.leads(&state, &topic.name, entry.partition) {
                    result.error_code = ErrorCode::NotLeaderForPartition;
                } else if let Some(code) = state.refusals.pop_front().filter(|code| !code.is_success()) {
                    result.error_code = code;
                } else {
                    let batches: Vec<_> = entry.records.split().map(Result::unwrap).collect();
                    assert_eq!(batches.len(), 1, "one batch in an entry");
                    result.base_offset = state.append(entry.partition, batches[0].clone());
                }
                partitions.push(result);
            }
            topics.push(TopicProduceReply { name: topic.name, partitions });
        }
        drop(state);
        self.cluster.changed.send_modify(|count| *count += 1);
        ProduceReply { topics, throttle_ms: 0 }
    }

    fn offsets(&self, request: FetchOffsetsRequest) -> FetchOffsetsReply {
        let due = {
            let mut state = self.cluster.state.lock();
            match state.delayed_produce.take() {
                Some((0, withheld)) => withheld,
                Some((requests, withheld @ Some(_))) => {
                    state.delayed_produce = Some((requests - 1, withheld));
                    None
                }
                unchanged => {
                    state.delayed_produce = unchanged;
                    None
                }
            }
        };
        let state = self.cluster.state.lock();
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|&partition| {
                let leads = self.leads(&state, &topic.name, partition);
                let error_code = if leads { ErrorCode::None } else { ErrorCode::PartitionNotLeader };
                let last_stable_offset =
                    if leads { state.high_watermark.unwrap_or_else(|| state.end(partition)) } else { 0 };
                let start_offset = if leads { state.start } else { 0 };
                PartitionOffsets { error_code, partition, start_offset, last_stable_offset }
            });
            FetchOffsetsTopicReply { partitions: partitions.collect(), name: topic.name.clone() }
        });
        let reply = FetchOffsetsReply { topics: topics.collect() };
        drop(state);
        if let Some(request) = due {
            self.produce(request);
        }
        reply
    }

    /// Returns the log from an offset on, without regard to the high watermark.
    fn fetch(&self, request: &FetchRequest) -> FetchReply {
        let state = self.cluster.state.lock();
        let limit = usize::try_from(request.max_bytes).unwrap();
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| PartitionRecords {
                partition: wanted.partition,
                records: RecordSet::from_bytes(state.slice(wanted.partition, wanted.fetch_offset, limit)),
                ..PartitionRecords::default()
            });
            FetchTopicReply { name: topic.name.clone(), partitions: partitions.collect() }
        });
        FetchReply { topics: topics.collect(), ..FetchReply::default() }
    }

    /// Pushes a slice to every ready stream that has records or an error to send.
    async fn push_all(&mut self) -> Option<()> {
        let mut slices = Vec::new();
        {
            let mut state = self.cluster.state.lock();
            // Two passes: the second one processes an acknowledgement deferred by the first one's push.
            let streams = self.streams.len();
            for index in (0..streams).chain(0..streams) {
                let stream = &mut self.streams[index];
                let StreamFetchRequest { topic, partition, max_bytes, .. } = &stream.request;
                let mut records = PartitionRecords { partition: *partition, ..PartitionRecords::default() };
                if state.modules_busy && !stream.request.smartmodules.is_empty() {
                    continue;
                }
                if !stream.ready
                    && let Some(offset) = stream.deferred_ack.take()
                {
                    (stream.next, stream.ready) = (offset, true);
                }
                if state.deleted {
                    records.error_code = ErrorCode::TopicDeleted;
                } else if stream.ready && stream.next < state.start {
                    let evicted =
                        ErrorCode::OffsetEvicted { offset: stream.next, next_available: state.start };
                    records.error_code = evicted;
                } else if !stream.ready || stream.next >= state.end(*partition) {
                    continue;
                } else if let Some(code) = state.stream_errors.pop_front() {
                    records.error_code = code;
                } else if !stream.request.smartmodules.is_empty() {
                    let Some(made) = state.module_output.pop_front() else { continue };
                    records = made;
                    state.modules_busy |= state.modules_busy_after_push;
                } else {
                    let limit = usize::try_from(*max_bytes).unwrap();
                    let slice = state.slice(*partition, stream.next, limit);
                    records.records = RecordSet::from_bytes(slice);
                    records.high_watermark = state.end(*partition);
                }
                stream.ready = false;
                state.pushed += 1;
                let stream_id = u32::try_from(index).unwrap() + 1;
                let reply = StreamFetchReply { topic: topic.clone(), stream_id, partition: records };
                slices.push((stream.header.clone(), reply));
            }
        }
        for (header, reply) in slices {
            self.reply::<StreamFetchRequest>(&header, &reply).await?;
        }
        Some(())
    }
}

/// Bytes of an object in a list that are enough for a client to decode it, all of them zero.
const EMPTY_OBJECT: u32 = 40;

/// Encodes the reply to a list of topics, with `count` empty ones.
fn crowded(correlation_id: i32, count: u32) -> Bytes {
    let objects = vec![0; (count * EMPTY_OBJECT) as usize];
    let mut body = BytesMut::from(&correlation_id.to_be_bytes()[..]);
    body.extend_from_slice(b"\0\x05Topic");
    body.extend_from_slice(&(count * EMPTY_OBJECT + 4).to_be_bytes());
    body.extend_from_slice(&count.to_be_bytes());
    body.extend_from_slice(&objects);
    let length = u32::try_from(body.len()).unwrap();
    [&length.to_be_bytes()[..], &body].concat().into()
}
