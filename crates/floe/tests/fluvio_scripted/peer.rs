//! A small cluster in memory that follows a script: one controller and two data servers, over the codecs of floe-wire.
//!
//! It behaves like platform 0.18 where that matters: slices are cut at exactly `max_bytes`, one slice per
//! acknowledgement, an unknown partition is "not leader".

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use floe::{
    Error, ErrorKind, Result,
    net::{Dial, Endpoint, Stream},
};
use floe_wire::{
    batch::EncodedBatch,
    fluvio::{
        AnyList, AnyWatch, ApiVersionRange, ApiVersionsReply, ApiVersionsRequest, ErrorCode,
        FetchOffsetsReply, FetchOffsetsRequest, FetchOffsetsTopicReply, FetchReply, FetchRequest,
        FetchTopicReply, IngressAddress, IngressEndpoint, ListReply, ListRequest, Metadata,
        OffsetUpdateResult, PartitionOffsets, PartitionProduceReply, PartitionRecords, PartitionSpec,
        PartitionStatus, ProduceReply, ProduceRequest, RecordSet, ReplicaAssignment, Request, ScRequest,
        SmartModuleInvocation, SpuRequest, SpuSpec, SpuStatus, StreamFetchReply, StreamFetchRequest,
        TopicProduceReply, TopicSpec, TopicStatus, UpdateOffsetsReply, UpdateOffsetsRequest, WatchReply,
        WatchRequest,
        frame::{self, RequestHeader},
    },
};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::watch,
};

pub(crate) const SC: u16 = 9003;
pub(crate) const SPUS: [(i32, u16); 2] = [(1, 9005), (2, 9006)];
pub(crate) const TOPIC: &str = "t";

/// What goes wrong with one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// So many bytes of it are sent, then the connection ends.
    CutAfter(usize),
    /// Bytes that are no frame come instead.
    Garbage,
    /// The reply carries a number that nobody asked with.
    WrongId,
    /// A size beyond all limits comes instead.
    Oversize,
    /// Nothing comes, and the connection stays.
    Silence,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) partitions: BTreeMap<u32, Vec<EncodedBatch>>,
    /// What the controller says and what is so.
    pub(crate) leaders: BTreeMap<u32, i32>,
    pub(crate) topic_exists: bool,
    pub(crate) platform: &'static str,
    /// Faults of the next replies to requests with this key.
    pub(crate) faults: VecDeque<(u16, Fault)>,
    /// Codes for the next entries of produce requests.
    pub(crate) refusals: VecDeque<ErrorCode>,
    /// Ports of all connections so far.
    pub(crate) dialled: Vec<u16>,
    /// Ports that refuse connections.
    pub(crate) down: Vec<u16>,
    /// Entries of each produce request.
    pub(crate) produced: Vec<usize>,
    /// Slices that were pushed.
    pub(crate) pushed: usize,
    /// `max_bytes` of each stream that was opened.
    pub(crate) streams: Vec<i32>,
    pub(crate) deleted: bool,
    /// While true, produce requests are not answered.
    pub(crate) hold: bool,
    /// The high watermark that is told, where it lies below the end.
    pub(crate) high: Option<i64>,
    /// Oldest offset that is stored.
    pub(crate) start: i64,
    /// Data servers that hold a partition besides its leader.
    pub(crate) followers: Vec<i32>,
    /// Codes that end the next streams that would push something.
    pub(crate) endings: VecDeque<ErrorCode>,
    /// What modules make of the log, reply by reply.
    pub(crate) made: VecDeque<PartitionRecords>,
    /// Modules work: their streams neither push nor look at acknowledgements.
    pub(crate) busy: bool,
    /// They begin to once something was pushed.
    pub(crate) busy_after_push: bool,
    /// Modules of every stream and every produce request that has some, with the offset that a stream begins at.
    pub(crate) invocations: Vec<(Option<i64>, Vec<SmartModuleInvocation>)>,
    /// The next produce request is not answered, and applied after so many questions for offsets.
    pub(crate) late: Option<(usize, Option<ProduceRequest>)>,
}

/// The cluster. Give it to [`floe::engine::FluvioEngine::connect_over`].
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    /// Connections of this generation live.
    alive: watch::Sender<u64>,
}

impl Cluster {
    pub(crate) fn new(partitions: u32) -> Self {
        let state = State {
            partitions: (0..partitions).map(|number| (number, Vec::new())).collect(),
            leaders: (0..partitions).map(|number| (number, 1)).collect(),
            topic_exists: true,
            platform: "0.18.2",
            faults: VecDeque::new(),
            refusals: VecDeque::new(),
            dialled: Vec::new(),
            down: Vec::new(),
            produced: Vec::new(),
            pushed: 0,
            streams: Vec::new(),
            deleted: false,
            hold: false,
            high: None,
            start: 0,
            followers: Vec::new(),
            endings: VecDeque::new(),
            made: VecDeque::new(),
            busy: false,
            busy_after_push: false,
            invocations: Vec::new(),
            late: None,
        };
        Self { state: Arc::new(Mutex::new(state)), changed: watch::channel(0).0, alive: watch::channel(0).0 }
    }

    /// Changes the cluster and tells watches and waiting streams.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.send_modify(|count| *count += 1);
    }

    /// Ends every connection.
    pub(crate) fn hang_up(&self) {
        self.alive.send_modify(|count| *count += 1);
    }

    pub(crate) fn append(&self, partition: u32, batch: EncodedBatch) {
        self.change(|state| {
            state.append(partition, batch);
        });
    }
}

impl State {
    fn end(&self, partition: u32) -> i64 {
        let last = self.partitions.get(&partition).and_then(|log| log.last());
        last.map_or(self.start, EncodedBatch::next_offset)
    }

    fn append(&mut self, partition: u32, batch: EncodedBatch) -> i64 {
        let base = self.end(partition);
        self.partitions.get_mut(&partition).unwrap().push(batch.with_base_offset(base));
        base
    }

    /// The log from the batch that holds `offset` on, cut at `max_bytes`.
    fn slice(&self, partition: u32, offset: i64, max_bytes: usize) -> Bytes {
        let mut slice = BytesMut::new();
        for batch in self.partitions[&partition].iter().filter(|batch| batch.next_offset() > offset) {
            slice.extend_from_slice(&batch.to_bytes());
        }
        slice.truncate(max_bytes);
        slice.freeze()
    }

    fn topics(&self) -> Vec<Metadata<TopicSpec>> {
        let partitions = u32::try_from(self.partitions.len()).unwrap();
        let replicas = ReplicaAssignment::Computed { partitions, replication_factor: 1, ignore_rack: false };
        let spec = TopicSpec { replicas, ..TopicSpec::default() };
        let topic = Metadata { name: TOPIC.to_owned(), spec, status: TopicStatus::default() };
        if self.topic_exists { vec![topic] } else { Vec::new() }
    }

    fn partition_objects(&self) -> Vec<Metadata<PartitionSpec>> {
        let object = |(number, leader): (&u32, &i32)| Metadata {
            name: format!("{TOPIC}-{number}"),
            spec: PartitionSpec {
                leader: *leader,
                replicas: std::iter::once(*leader).chain(self.followers.iter().copied()).collect(),
                ..PartitionSpec::default()
            },
            status: PartitionStatus::default(),
        };
        if self.topic_exists { self.leaders.iter().map(object).collect() } else { Vec::new() }
    }

    fn spus() -> Vec<Metadata<SpuSpec>> {
        let object = |(id, port): &(i32, u16)| {
            let address = IngressAddress { hostname: Some("spu".to_owned()), ip: None };
            let public_endpoint =
                IngressEndpoint { port: *port, ingress: vec![address], ..IngressEndpoint::default() };
            let spec = SpuSpec { id: *id, public_endpoint, ..SpuSpec::default() };
            Metadata { name: format!("spu-{id}"), spec, status: SpuStatus::Online }
        };
        SPUS.iter().map(object).collect()
    }
}

impl Dial for Cluster {
    fn dial<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, Result<Box<dyn Stream>>> {
        Box::pin(async move {
            self.state.lock().dialled.push(to.port);
            if self.state.lock().down.contains(&to.port) {
                return Err(Error::new(ErrorKind::ConnectionRefused, "no connection"));
            }
            let (near, far) = tokio::io::duplex(1 << 20);
            let mut alive = self.alive.subscribe();
            let server = Connection {
                cluster: self.clone(),
                socket: far,
                id: SPUS.iter().find(|(_, port)| *port == to.port).map(|(id, _)| *id),
                streams: Vec::new(),
                watches: Vec::new(),
            };
            alive.borrow_and_update();
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    _ = alive.changed() => {}
                    _ = server.run() => {}
                }
            });
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}

/// One connection, as its server sees it.
struct Connection {
    cluster: Cluster,
    socket: DuplexStream,
    /// Which data server; the controller if `None`.
    id: Option<i32>,
    streams: Vec<OpenStream>,
    watches: Vec<(RequestHeader, AnyWatch)>,
}

struct OpenStream {
    header: RequestHeader,
    request: StreamFetchRequest,
    next: i64,
    /// It was told where to go on, and has not sent anything since.
    free: bool,
    /// The latest acknowledgement, which came while modules worked.
    later: Option<i64>,
}

impl Connection {
    /// Serves until the other side goes, or a fault ends it.
    async fn run(mut self) -> Option<()> {
        let mut changed = self.cluster.changed.subscribe();
        let mut received = BytesMut::new();
        loop {
            while let Some(frame) = frame::split_frame(&mut received, 1 << 28).unwrap() {
                let (header, body) = RequestHeader::split(frame).unwrap();
                if header.api_key == ApiVersionsRequest::KEY {
                    self.versions(&header).await?;
                } else if self.id.is_some() {
                    let request = SpuRequest::decode(&header, body).unwrap();
                    self.data(header, request).await?;
                } else {
                    let request = ScRequest::decode(&header, body).unwrap();
                    self.control(header, request).await?;
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
                        self.tell(header, watch).await?;
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
        let (bytes, goes_on) = match fault {
            None | Some(Fault::WrongId) => (bytes, true),
            Some(Fault::CutAfter(count)) => (bytes.slice(..count.min(bytes.len())), false),
            Some(Fault::Garbage) => (Bytes::from_static(b"\x15\x03\x03 alert, alert"), true),
            Some(Fault::Oversize) => (Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1]), true),
            Some(Fault::Silence) => (Bytes::new(), true),
        };
        self.socket.write_all(&bytes).await.ok()?;
        goes_on.then_some(())
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

    async fn control(&mut self, header: RequestHeader, request: ScRequest) -> Option<()> {
        match request {
            ScRequest::Watch(watch) => self.tell(header, watch).await,
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
                self.reply::<ListRequest<SpuSpec>>(&header, &ListReply { objects: State::spus() }).await
            }
            other => panic!("not in the script: {other:?}"),
        }
    }

    /// Pushes everything to a watch, and again after every change.
    async fn tell(&mut self, header: RequestHeader, watch: AnyWatch) -> Option<()> {
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
            AnyWatch::Spu(_) => self.reply::<WatchRequest<SpuSpec>>(&header, &all(State::spus())).await?,
            other => panic!("not in the script: {other:?}"),
        }
        self.watches.push((header, watch));
        Some(())
    }

    async fn data(&mut self, header: RequestHeader, request: SpuRequest) -> Option<()> {
        match request {
            SpuRequest::Produce(request) => {
                if let Some((_, withheld)) = &mut self.cluster.state.lock().late
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
                self.streams.push(OpenStream { header, request: *request, next, free: true, later: None });
                self.push_all().await
            }
            SpuRequest::UpdateOffsets(request) => {
                let mut results = Vec::new();
                for update in request.offsets {
                    let stream =
                        self.streams.get_mut(usize::try_from(update.stream_id).unwrap() - 1).unwrap();
                    if self.cluster.state.lock().busy {
                        stream.later = Some(update.offset);
                    } else {
                        (stream.next, stream.free) = (update.offset, true);
                    }
                    results.push(OffsetUpdateResult {
                        stream_id: update.stream_id,
                        error_code: ErrorCode::None,
                    });
                }
                self.reply::<UpdateOffsetsRequest>(&header, &UpdateOffsetsReply { results }).await?;
                self.push_all().await
            }
            other => panic!("not in the script: {other:?}"),
        }
    }

    fn leads(&self, state: &State, topic: &str, partition: u32) -> bool {
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
        let late = {
            let mut state = self.cluster.state.lock();
            match state.late.take() {
                Some((0, withheld)) => withheld,
                Some((questions, withheld @ Some(_))) => {
                    state.late = Some((questions - 1, withheld));
                    None
                }
                not_yet => {
                    state.late = not_yet;
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
                    if leads { state.high.unwrap_or_else(|| state.end(partition)) } else { 0 };
                let start_offset = if leads { state.start } else { 0 };
                PartitionOffsets { error_code, partition, start_offset, last_stable_offset }
            });
            FetchOffsetsTopicReply { partitions: partitions.collect(), name: topic.name.clone() }
        });
        let reply = FetchOffsetsReply { topics: topics.collect() };
        drop(state);
        if let Some(request) = late {
            self.produce(request);
        }
        reply
    }

    /// Everything from an offset on, whether committed or not.
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

    /// Pushes a slice to every stream that may get one and has something to get.
    async fn push_all(&mut self) -> Option<()> {
        let mut slices = Vec::new();
        {
            let mut state = self.cluster.state.lock();
            // Twice: an acknowledgement that came meanwhile is looked at after the push.
            let streams = self.streams.len();
            for index in (0..streams).chain(0..streams) {
                let stream = &mut self.streams[index];
                let StreamFetchRequest { topic, partition, max_bytes, .. } = &stream.request;
                let mut records = PartitionRecords { partition: *partition, ..PartitionRecords::default() };
                if state.busy && !stream.request.smartmodules.is_empty() {
                    continue;
                }
                if !stream.free
                    && let Some(later) = stream.later.take()
                {
                    (stream.next, stream.free) = (later, true);
                }
                if state.deleted {
                    records.error_code = ErrorCode::TopicDeleted;
                } else if stream.free && stream.next < state.start {
                    let evicted =
                        ErrorCode::OffsetEvicted { offset: stream.next, next_available: state.start };
                    records.error_code = evicted;
                } else if !stream.free || stream.next >= state.end(*partition) {
                    continue;
                } else if let Some(code) = state.endings.pop_front() {
                    records.error_code = code;
                } else if !stream.request.smartmodules.is_empty() {
                    let Some(made) = state.made.pop_front() else { continue };
                    records = made;
                    state.busy |= state.busy_after_push;
                } else {
                    let limit = usize::try_from(*max_bytes).unwrap();
                    let slice = state.slice(*partition, stream.next, limit);
                    records.records = RecordSet::from_bytes(slice);
                    records.high_watermark = state.end(*partition);
                }
                stream.free = false;
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
