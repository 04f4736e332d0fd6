//! Raw connections that send and receive frames.

use std::{net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use floe_server::testkit::TestServer;
use floe_wire::{
    batch::{BatchBuilder, EncodedBatch, FinishOptions},
    compress::{Codec, Compression},
    fluvio::{
        FetchOffsetsRequest, Isolation, PartitionOffsets, PartitionProduceData, PartitionProduceReply,
        ProduceRequest, RecordSet, Request, StreamFetchReply, StreamFetchRequest, TopicProduceData,
        frame::{DEFAULT_FRAME_LIMIT, decode_reply, encode_request, split_frame, split_reply},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Longest wait of these tests.
const LIMIT: Duration = Duration::from_secs(120);

/// A connection to a Fluvio front-end.
pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
    received: BytesMut,
    next_id: i32,
}

impl Peer {
    pub(crate) async fn connect(address: Option<SocketAddr>) -> Self {
        let socket = TcpStream::connect(address.unwrap()).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, received: BytesMut::new(), next_id: 0 }
    }

    pub(crate) async fn controller(server: &TestServer) -> Self {
        Self::connect(server.addresses().fluvio_sc).await
    }

    pub(crate) async fn data(server: &TestServer) -> Self {
        Self::connect(server.addresses().fluvio_spu).await
    }

    /// Sends a request in its newest version and returns its correlation id.
    pub(crate) async fn send<R: Request>(&mut self, request: &R) -> i32 {
        self.next_id += 1;
        let frame = encode_request(request, R::VERSIONS.max, self.next_id, "test").unwrap();
        self.send_bytes(&frame.to_bytes()).await;
        self.next_id
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        within(self.socket.write_all(bytes)).await.unwrap();
    }

    /// Returns the next frame; `None` if the server closed the connection.
    pub(crate) async fn frame(&mut self) -> Option<(i32, floe_wire::fluvio::Input)> {
        loop {
            if let Some(frame) = split_frame(&mut self.received, DEFAULT_FRAME_LIMIT).unwrap() {
                return Some(split_reply(frame).unwrap());
            }
            match within(self.socket.read_buf(&mut self.received)).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Returns the next reply, which must belong to the request with this correlation id.
    pub(crate) async fn reply<R: Request>(&mut self, id: i32) -> R::Reply {
        let (received, body) = self.frame().await.expect("the connection was closed");
        assert_eq!(received, id, "replies come in order");
        decode_reply::<R>(body, R::VERSIONS.max).unwrap()
    }

    pub(crate) async fn call<R: Request>(&mut self, request: &R) -> R::Reply {
        let id = self.send(request).await;
        self.reply::<R>(id).await
    }

    /// Produces one entry.
    pub(crate) async fn produce(&mut self, topic: &str, batches: &[EncodedBatch]) -> PartitionProduceReply {
        let request = produce(topic, &[(0, RecordSet::from_batches(batches))]);
        let mut reply = self.call(&request).await;
        assert_eq!((reply.topics.len(), reply.topics[0].partitions.len()), (1, 1));
        reply.topics.remove(0).partitions.remove(0)
    }

    pub(crate) async fn offsets(&mut self, topic: &str, partition: u32) -> PartitionOffsets {
        let mut reply = self.call(&FetchOffsetsRequest::of_partition(topic, partition)).await;
        reply.topics.remove(0).partitions.remove(0)
    }

    /// Opens a stream and returns the correlation id of its replies.
    pub(crate) async fn open(&mut self, topic: &str, offset: i64, max_bytes: i32) -> i32 {
        self.send(&stream(topic, offset, max_bytes)).await
    }

    /// Returns the next reply of a stream.
    pub(crate) async fn pushed(&mut self, id: i32) -> StreamFetchReply {
        self.reply::<StreamFetchRequest>(id).await
    }

    /// Asserts that no frame precedes the reply to a request that is sent now.
    pub(crate) async fn nothing_was_pushed(&mut self) {
        self.offsets("any", 0).await;
    }

    /// Asserts that the server closes the connection without another frame.
    pub(crate) async fn is_closed(&mut self) {
        assert!(self.frame().await.is_none(), "the connection must be closed");
    }
}

pub(crate) fn produce(topic: &str, entries: &[(u32, RecordSet)]) -> ProduceRequest {
    let partitions = entries
        .iter()
        .map(|(partition, records)| PartitionProduceData { partition: *partition, records: records.clone() })
        .collect();
    ProduceRequest {
        isolation: Isolation::ReadUncommitted,
        timeout_ms: 1500,
        topics: vec![TopicProduceData { name: topic.to_owned(), partitions }],
        ..ProduceRequest::default()
    }
}

pub(crate) fn stream(topic: &str, offset: i64, max_bytes: i32) -> StreamFetchRequest {
    StreamFetchRequest {
        topic: topic.to_owned(),
        fetch_offset: offset,
        max_bytes,
        ..StreamFetchRequest::default()
    }
}

/// Builds a batch of values.
pub(crate) fn batch(values: &[&str]) -> EncodedBatch {
    compressed(values, Codec::None)
}

pub(crate) fn compressed(values: &[&str], codec: Codec) -> EncodedBatch {
    let mut builder = BatchBuilder::new(256);
    for value in values {
        builder.append(1_700_000_000_000, None, value.as_bytes(), &[]).unwrap();
    }
    let compression = Compression { codec, level: None, threshold: 0 };
    builder.finish(FinishOptions { compression, ..FinishOptions::default() }).unwrap()
}

/// Returns offsets and values of whole batches; fails on a truncated one.
pub(crate) fn records(set: &RecordSet) -> Vec<(i64, String)> {
    let mut split = set.split();
    let mut found = Vec::new();
    for batch in split.by_ref() {
        let batch = batch.unwrap();
        batch.verify_checksum().unwrap();
        for record in batch.records().unwrap() {
            let record = record.unwrap();
            found.push((record.offset, String::from_utf8(record.value.to_vec()).unwrap()));
        }
    }
    assert!(split.remaining().is_empty(), "replies consist of whole batches");
    found
}

/// Returns values with their offsets from `first` on.
pub(crate) fn numbered(first: i64, values: &[&str]) -> Vec<(i64, String)> {
    (first..).zip(values.iter().map(|value| (*value).to_owned())).collect()
}

/// Creates a topic in the engine, without a protocol in between.
pub(crate) async fn topic(server: &TestServer, name: &str, partitions: u32) {
    let spec = floe::TopicSpec::new(name).partitions(partitions);
    server.client().admin().create_topic(spec).await.unwrap();
}

/// Fails a test that would hang.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("no answer in time")
}

/// A connection to the Walrus front-end.
pub(crate) struct WalrusPeer {
    pub(crate) socket: TcpStream,
}

impl WalrusPeer {
    pub(crate) async fn connect(server: &TestServer) -> Self {
        let socket = TcpStream::connect(server.walrus_address()).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket }
    }

    pub(crate) async fn send(&mut self, request: impl AsRef<[u8]>) {
        let request = request.as_ref();
        let length = u32::try_from(request.len()).unwrap().to_le_bytes();
        within(self.socket.write_all(&[&length, request].concat())).await.unwrap();
    }

    pub(crate) async fn answer(&mut self) -> Bytes {
        let length = within(self.socket.read_u32_le()).await.unwrap();
        let mut answer = vec![0; usize::try_from(length).unwrap()];
        within(self.socket.read_exact(&mut answer)).await.unwrap();
        answer.into()
    }

    /// Sends a request and returns its answer as text.
    pub(crate) async fn ask(&mut self, request: impl AsRef<[u8]>) -> String {
        self.send(request).await;
        String::from_utf8(self.answer().await.to_vec()).unwrap()
    }
}
