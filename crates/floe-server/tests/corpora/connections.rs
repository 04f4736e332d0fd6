//! Sends arbitrary bytes to a server, for the fuzz targets and for the test that replays their corpora.

use std::{cell::RefCell, net::SocketAddr, time::Duration};

use bytes::BytesMut;
use floe::TopicSpec;
use floe_server::testkit::TestServer;
use floe_wire::fluvio::{ApiVersionsRequest, Request as _, frame};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Runtime,
};

/// Guards against a server that does not close a connection.
const LIMIT: Duration = Duration::from_secs(120);

/// Inputs per server of a fuzz target. Starting a server takes longer than an input, and a server that runs for ever
/// fills the memory.
const LIFE: u32 = 200;

/// Topics of the recorded frames, so that requests pass the topic lookup.
const TOPICS: &[&str] = &["fx-none", "fx-gzip", "fx-snappy", "fx-lz4", "fx-zstd", "fx-trunc", "fx-offsets"];

/// A server and its runtime.
pub(crate) struct Victim {
    runtime: Runtime,
    server: TestServer,
}

impl Victim {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let server = runtime.block_on(TestServer::start()).expect("a server");
        Self { runtime, server }
    }

    /// Sends an input to the controller or the data server, as its first byte selects.
    pub(crate) fn fluvio(&self, data: &[u8]) {
        let [which, bytes @ ..] = data else { return };
        let addresses = self.server.addresses();
        self.receives(if which % 2 == 0 { addresses.fluvio_sc } else { addresses.fluvio_spu }, bytes);
    }

    /// Sends an input to the Walrus front-end.
    pub(crate) fn walrus(&self, data: &[u8]) {
        self.receives(self.server.addresses().walrus, data);
    }

    fn receives(&self, address: Option<SocketAddr>, bytes: &[u8]) {
        self.runtime.block_on(async {
            // An earlier input may have deleted the topics.
            for topic in TOPICS {
                self.server.client().admin().ensure_topic(TopicSpec::new(*topic)).await.unwrap();
            }
            throw(address.expect("it is served"), bytes).await;
            is_well(&self.server).await;
        });
    }
}

/// Runs a fuzz target on the server of this thread.
pub(crate) fn fuzz(target: impl FnOnce(&Victim)) {
    thread_local! {
        static VICTIM: RefCell<Option<(Victim, u32)>> = const { RefCell::new(None) };
    }
    VICTIM.with_borrow_mut(|victim| {
        let (server, life) = victim.get_or_insert_with(|| (Victim::start(), LIFE));
        target(server);
        *life -= 1;
        if *life == 0 {
            *victim = None;
        }
    });
}

/// Sends bytes, closes the sending half, and reads until the server closes the connection.
async fn throw(address: SocketAddr, bytes: &[u8]) {
    let (mut receiving, mut sending) = connect(address).await.into_split();
    let send = async {
        // The server may close the connection before it has read all bytes.
        let _ = sending.write_all(bytes).await;
        let _ = sending.shutdown().await;
    };
    let receive = async {
        let mut received = BytesMut::new();
        while matches!(receiving.read_buf(&mut received).await, Ok(1..)) {
            received.clear();
        }
    };
    within(async { tokio::join!(send, receive) }).await;
}

/// Checks that all three listeners answer a new client.
async fn is_well(server: &TestServer) {
    let addresses = server.addresses();
    let hello = ApiVersionsRequest {
        client_version: "0.50.1".to_owned(),
        client_os: "any".to_owned(),
        client_arch: "any".to_owned(),
    };
    let version = ApiVersionsRequest::VERSIONS.max;
    let hello = frame::encode_request(&hello, version, 77, "test").expect("it encodes").to_bytes();
    for address in [addresses.fluvio_sc, addresses.fluvio_spu] {
        let mut peer = connect(address.expect("it is served")).await;
        within(peer.write_all(&hello)).await.expect("it takes requests");
        let length = within(peer.read_u32()).await.expect("it answers");
        let mut body = vec![0; usize::try_from(length).expect("it fits")];
        within(peer.read_exact(&mut body)).await.expect("a whole answer");
        let (id, body) = frame::split_reply(body.into()).expect("a reply");
        assert_eq!(id, 77);
        let reply = frame::decode_reply::<ApiVersionsRequest>(body, version).expect("versions");
        assert!(!reply.api_keys.is_empty());
    }
    let mut peer = connect(addresses.walrus.expect("it is served")).await;
    within(peer.write_all(b"\x07\0\0\0METRICS")).await.expect("it takes requests");
    let length = within(peer.read_u32_le()).await.expect("it answers");
    let mut body = vec![0; usize::try_from(length).expect("it fits")];
    within(peer.read_exact(&mut body)).await.expect("a whole answer");
    assert!(body.starts_with(b"{"), "{body:?}");
}

async fn connect(address: SocketAddr) -> TcpStream {
    let socket = within(TcpStream::connect(address)).await.expect("it accepts");
    socket.set_nodelay(true).expect("a live socket");
    socket
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("no answer in time")
}
