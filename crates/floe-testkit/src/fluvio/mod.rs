//! An in-memory Fluvio cluster that follows a script: one controller and two data servers (SPUs), over the codecs of
//! `floe-wire`.
//!
//! It matches Fluvio 0.18 where clients depend on it: slices are cut at exactly `max_bytes`, a stream gets one slice per
//! acknowledgement, and a request for an unknown partition fails with "not leader".

mod connection;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use floe_wire::{
    batch::EncodedBatch,
    fluvio::{
        ErrorCode, IngressAddress, IngressEndpoint, Metadata, PartitionRecords, PartitionSpec,
        PartitionStatus, ProduceRequest, ReplicaAssignment, SmartModuleInvocation, SmartModuleSpec, SpuSpec,
        SpuStatus, TopicSpec, TopicStatus,
    },
};
use parking_lot::Mutex;
use tokio::{io::DuplexStream, sync::watch};

use connection::Connection;

/// Port of the controller (SC).
pub const SC: u16 = 9003;
/// Id and port of each data server.
pub const SPUS: [(i32, u16); 2] = [(1, 9005), (2, 9006)];
/// Name of the only topic.
pub const TOPIC: &str = "t";

/// A fault injected into one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Sends this many bytes of the reply, then closes the connection.
    CutAfter(usize),
    /// Sends bytes that are not a frame.
    Garbage,
    /// Sends the reply with a correlation id that matches no request.
    WrongId,
    /// Sends a frame length beyond all limits.
    Oversize,
    /// Sends nothing and keeps the connection open.
    Silence,
    /// Sends a list of this many empty objects, which take far more memory decoded than on the wire.
    Crowded(u32),
    /// Sends a frame of this length byte by byte until the client has had enough.
    Endless(u32),
}

/// Data and script of a cluster. Tests read and change every field.
#[derive(Debug)]
pub struct ClusterState {
    /// The log of each partition.
    pub partitions: BTreeMap<u32, Vec<EncodedBatch>>,
    /// The leader of each partition, which the controller reports and the data servers enforce.
    pub leaders: BTreeMap<u32, i32>,
    /// False once the topic is deleted, or before it is created.
    pub topic_exists: bool,
    /// Platform version that the controller reports.
    pub platform: &'static str,
    /// Faults of the next replies, each with the API key that it waits for.
    pub faults: VecDeque<(u16, Fault)>,
    /// Error codes of the next partitions in produce requests; `None` accepts.
    pub refusals: VecDeque<ErrorCode>,
    /// Port of every connection opened so far.
    pub dialled: Vec<u16>,
    /// Ports that refuse connections.
    pub down: Vec<u16>,
    /// Number of partitions in each produce request so far.
    pub produced: Vec<usize>,
    /// Number of slices pushed to streams.
    pub pushed: usize,
    /// `max_bytes` of each stream opened so far.
    pub streams: Vec<i32>,
    /// Streams end with "topic deleted".
    pub deleted: bool,
    /// Replies to produce requests wait while this is true.
    pub hold: bool,
    /// High watermark that is reported in place of the log's end.
    pub high_watermark: Option<i64>,
    /// Oldest stored offset.
    pub start: i64,
    /// Data servers that replicate every partition besides its leader.
    pub followers: Vec<i32>,
    /// Error codes that replace the next slices.
    pub stream_errors: VecDeque<ErrorCode>,
    /// Names of the SmartModules that the controller has.
    pub modules: Vec<&'static str>,
    /// Output of SmartModules, slice by slice.
    pub module_output: VecDeque<PartitionRecords>,
    /// Streams with modules neither push nor process acknowledgements while this is true.
    pub modules_busy: bool,
    /// Sets `modules_busy` after the next slice of module output.
    pub modules_busy_after_push: bool,
    /// SmartModules of each stream (with its start offset) and of each produce request (without).
    pub invocations: Vec<(Option<i64>, Vec<SmartModuleInvocation>)>,
    /// Delays the next produce request: it gets no reply, and is applied after this many offset requests.
    pub delayed_produce: Option<(usize, Option<ProduceRequest>)>,
}

/// Handle to a cluster; clones share it.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Data and script. Changes that streams or watches must notice go through [`Cluster::change`].
    pub state: Arc<Mutex<ClusterState>>,
    changed: watch::Sender<u64>,
    /// Generation of connections; each connection ends when it advances.
    generation: watch::Sender<u64>,
}

impl Cluster {
    /// Creates a cluster with one topic, all of whose partitions are led by the first data server.
    pub fn new(partitions: u32) -> Self {
        let state = ClusterState {
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
            high_watermark: None,
            start: 0,
            followers: Vec::new(),
            stream_errors: VecDeque::new(),
            modules: Vec::new(),
            module_output: VecDeque::new(),
            modules_busy: false,
            modules_busy_after_push: false,
            invocations: Vec::new(),
            delayed_produce: None,
        };
        let state = Arc::new(Mutex::new(state));
        Self { state, changed: watch::channel(0).0, generation: watch::channel(0).0 }
    }

    /// Changes the cluster and notifies watches and waiting streams.
    pub fn change(&self, change: impl FnOnce(&mut ClusterState)) {
        change(&mut self.state.lock());
        self.changed.send_modify(|count| *count += 1);
    }

    /// Closes every connection.
    pub fn hang_up(&self) {
        self.generation.send_modify(|count| *count += 1);
    }

    /// Appends a batch as another producer would.
    pub fn append(&self, partition: u32, batch: EncodedBatch) {
        self.change(|state| {
            state.append(partition, batch);
        });
    }

    /// Opens a connection to the server on this port and spawns its server task. A port of no data server is the
    /// controller's.
    ///
    /// # Errors
    /// `ConnectionRefused` while the port is in [`ClusterState::down`].
    pub fn connect(&self, port: u16) -> io::Result<DuplexStream> {
        let mut state = self.state.lock();
        state.dialled.push(port);
        if state.down.contains(&port) {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "no connection"));
        }
        drop(state);
        let (near, far) = tokio::io::duplex(1 << 20);
        let spu = SPUS.iter().find(|(_, candidate)| *candidate == port).map(|(id, _)| *id);
        let server = Connection::new(self.clone(), far, spu);
        let mut generation = self.generation.subscribe();
        generation.borrow_and_update();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = generation.changed() => {}
                _ = server.run() => {}
            }
        });
        Ok(near)
    }
}

impl ClusterState {
    fn end(&self, partition: u32) -> i64 {
        let last = self.partitions.get(&partition).and_then(|log| log.last());
        last.map_or(self.start, EncodedBatch::next_offset)
    }

    fn append(&mut self, partition: u32, batch: EncodedBatch) -> i64 {
        let base = self.end(partition);
        self.partitions.get_mut(&partition).unwrap().push(batch.with_base_offset(base));
        base
    }

    /// Returns the encoded log from the batch that contains `offset`, cut at `max_bytes`.
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

    /// As a real controller, matches parts of names.
    fn modules_named(&self, parts: &[String]) -> Vec<Metadata<SmartModuleSpec>> {
        let matching =
            self.modules.iter().filter(|name| parts.iter().any(|part| name.contains(part.as_str())));
        let object =
            |name: &&str| Metadata { name: (*name).to_owned(), spec: SmartModuleSpec::default(), status: () };
        matching.map(object).collect()
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
