//! An in-memory Walrus cluster with the protocol of distributed Walrus 0.3 and scripted faults.
//!
//! The codec here is independent of `floe-wire`: an error in the client's codec must not cancel itself out.

mod commands;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    sync::Notify,
    task::AbortHandle,
};

/// Largest frame that a node accepts, in bytes.
const MAX_FRAME: usize = 64 * 1024;

/// How a node treats connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Serves them.
    Up,
    /// Refuses them.
    Down,
    /// Accepts them and never replies.
    Silent,
}

/// The fate of one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Executed as usual.
    Pass,
    /// Refused with `ERR ` and this text.
    Refuse(&'static str),
    /// Executed; the connection closes before the reply.
    LoseReply,
    /// Not executed; the connection closes.
    Break,
    /// Executed; the reply never comes.
    Stall,
    /// Not executed; the reply is not part of the protocol.
    Garbage,
}

#[derive(Debug, Default)]
struct Topic {
    entries: Vec<Vec<u8>>,
    /// Next entry to be read; all readers share it.
    cursor: usize,
}

#[derive(Debug)]
struct Node {
    mode: Mode,
    connections: Vec<AbortHandle>,
    accepted: usize,
    commands: Vec<String>,
}

#[derive(Debug)]
struct ClusterState {
    topics: BTreeMap<String, Topic>,
    nodes: Vec<Node>,
    /// Id of the leader; ids start at 1.
    leader: Option<usize>,
    /// Index of a node that does not know the leader.
    unaware_of_leader: Option<usize>,
    /// Index of a node that lags behind in topic metadata, and for how many `STATE` requests.
    lagging: Option<(usize, u32)>,
    faults: BTreeMap<&'static str, VecDeque<Fault>>,
    /// `BATCH_PUT` and `BATCH_GET` are supported.
    batches: bool,
    /// Replies are written in pieces of at most this many bytes.
    chunk: usize,
}

/// Handle to a cluster; clones share it. The hosts of its nodes are `n1`, `n2`, …
#[derive(Debug, Clone)]
pub struct Cluster {
    state: Arc<Mutex<ClusterState>>,
    changed: Arc<Notify>,
}

impl Cluster {
    /// Creates a cluster without topics. The first node leads.
    pub fn new(nodes: usize) -> Self {
        let node = || Node { mode: Mode::Up, connections: Vec::new(), accepted: 0, commands: Vec::new() };
        let state = ClusterState {
            topics: BTreeMap::new(),
            nodes: (0..nodes).map(|_| node()).collect(),
            leader: Some(1),
            unaware_of_leader: None,
            lagging: None,
            faults: BTreeMap::new(),
            batches: false,
            chunk: usize::MAX,
        };
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::default() }
    }

    /// Creates a cluster with one topic.
    pub fn with_topic(nodes: usize, topic: &str) -> Self {
        let cluster = Self::new(nodes);
        cluster.lock().topics.insert(topic.to_owned(), Topic::default());
        cluster
    }

    fn lock(&self) -> MutexGuard<'_, ClusterState> {
        self.state.lock()
    }

    /// Returns the addresses of all nodes, as the host part of a `walrus:` URL.
    pub fn hosts(&self) -> String {
        let count = self.lock().nodes.len();
        (1..=count).map(|id| format!("n{id}:9091")).collect::<Vec<_>>().join(",")
    }

    /// Sets how a node treats connections, and closes its present ones unless the mode is `Up`. Node ids start at 1.
    pub fn set(&self, node: usize, mode: Mode) {
        let mut state = self.lock();
        let node = &mut state.nodes[node - 1];
        node.mode = mode;
        if mode != Mode::Up {
            for connection in node.connections.drain(..) {
                connection.abort();
            }
        }
    }

    /// Closes the connections of a node, which accepts new ones at once.
    pub fn restart(&self, node: usize) {
        self.set(node, Mode::Down);
        self.set(node, Mode::Up);
    }

    /// Makes a node the leader, or none.
    pub fn set_leader(&self, leader: Option<usize>) {
        self.lock().leader = leader;
    }

    /// Makes a node report that there is no leader.
    pub fn hide_leader_from(&self, node: usize) {
        self.lock().unaware_of_leader = Some(node - 1);
    }

    /// Makes a node report the next topic as unknown this many times.
    pub fn delay_metadata(&self, node: usize, times: u32) {
        self.lock().lagging = Some((node - 1, times));
    }

    /// Enables `BATCH_PUT` and `BATCH_GET`.
    pub fn enable_batches(&self) {
        self.lock().batches = true;
    }

    /// Makes nodes write replies in pieces of this many bytes.
    pub fn set_chunk(&self, bytes: usize) {
        self.lock().chunk = bytes;
    }

    /// Queues the fate of the next requests with this command word.
    pub fn faults(&self, word: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.entry(word).or_default().extend(faults);
    }

    /// Returns all entries ever appended to a topic.
    pub fn entries(&self, topic: &str) -> Vec<Vec<u8>> {
        self.lock().topics.get(topic).map(|topic| topic.entries.clone()).unwrap_or_default()
    }

    /// Returns the number of entries that no reader has consumed.
    pub fn unread(&self, topic: &str) -> usize {
        self.lock().topics.get(topic).map_or(0, |topic| topic.entries.len() - topic.cursor)
    }

    /// Appends an entry as another client would.
    pub fn put(&self, topic: &str, entry: &str) {
        let mut state = self.lock();
        state.topics.entry(topic.to_owned()).or_default().entries.push(entry.as_bytes().to_vec());
        drop(state);
        self.changed.notify_waiters();
    }

    /// Advances the cursor without a reader, as a node without a leader may.
    pub fn skip(&self, topic: &str, entries: usize) {
        self.lock().topics.get_mut(topic).unwrap().cursor += entries;
    }

    /// Returns the command words that a node received, in order.
    pub fn commands(&self, node: usize) -> Vec<String> {
        self.lock().nodes[node - 1].commands.clone()
    }

    /// Returns how many requests with this command word a node received.
    pub fn received(&self, node: usize, word: &str) -> usize {
        self.commands(node).iter().filter(|command| *command == word).count()
    }

    /// Returns the number of connections that a node ever accepted.
    pub fn accepted(&self, node: usize) -> usize {
        self.lock().nodes[node - 1].accepted
    }

    /// Serves the first node on a TCP port, in a thread that lives as long as the process; returns `host:port`.
    pub fn listen(&self) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        listener.set_nonblocking(true).unwrap();
        let cluster = self.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    tokio::spawn(cluster.clone().serve(0, stream));
                }
            });
        });
        address
    }

    /// Opens a connection to the node with this host name.
    ///
    /// # Errors
    /// `ConnectionRefused` while the node is [`Mode::Down`].
    pub fn connect(&self, host: &str) -> io::Result<DuplexStream> {
        let node: usize =
            host.strip_prefix('n').and_then(|id| id.parse().ok()).expect("a host of the cluster");
        let (near, far) = duplex(64 * 1024);
        let mut state = self.lock();
        let task = match state.nodes[node - 1].mode {
            Mode::Down => return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused")),
            Mode::Up => tokio::spawn(self.clone().serve(node - 1, far)),
            Mode::Silent => tokio::spawn(async move {
                let _open = far;
                std::future::pending::<()>().await;
            }),
        };
        state.nodes[node - 1].connections.push(task.abort_handle());
        state.nodes[node - 1].accepted += 1;
        Ok(near)
    }

    /// Serves a connection of the node with this index until it closes.
    async fn serve(self, node: usize, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        loop {
            let mut length = [0; 4];
            if stream.read_exact(&mut length).await.is_err() {
                return;
            }
            let length = u32::from_le_bytes(length) as usize;
            let (reply, close) = if length == 0 || length > MAX_FRAME && !self.lock().batches {
                // The body stays unread, so the node parses its first bytes as the next length: the desync of the real server.
                (Some(b"ERR invalid frame length".to_vec()), false)
            } else {
                let mut body = vec![0; length];
                if stream.read_exact(&mut body).await.is_err() {
                    return;
                }
                self.reply(node, &body)
            };
            if let Some(reply) = reply {
                let chunk = self.lock().chunk;
                let length = u32::try_from(reply.len()).unwrap().to_le_bytes();
                // The real server writes length and body separately.
                for part in [&length[..], &reply] {
                    for piece in part.chunks(chunk.min(part.len().max(1))) {
                        if stream.write_all(piece).await.is_err() {
                            return;
                        }
                        if chunk != usize::MAX {
                            tokio::task::yield_now().await;
                        }
                    }
                }
            }
            if close {
                return;
            }
        }
    }

    /// Executes a request. Returns the reply, if any, and whether the connection closes.
    fn reply(&self, node: usize, body: &[u8]) -> (Option<Vec<u8>>, bool) {
        let mut state = self.lock();
        let word = body.split(|byte| *byte == b' ').next().unwrap_or_default();
        let word = String::from_utf8_lossy(word).trim_end().to_owned();
        state.nodes[node].commands.push(word.clone());
        let fault = state.faults.get_mut(word.as_str()).and_then(VecDeque::pop_front).unwrap_or(Fault::Pass);
        match fault {
            Fault::Refuse(text) => return (Some(format!("ERR {text}").into_bytes()), false),
            Fault::Break => return (None, true),
            Fault::Garbage => return (Some(b"not a reply".to_vec()), false),
            Fault::Pass | Fault::LoseReply | Fault::Stall => {}
        }
        let reply = state.execute(node, body).unwrap_or_else(|text| format!("ERR {text}").into_bytes());
        drop(state);
        self.changed.notify_waiters();
        match fault {
            Fault::LoseReply => (None, true),
            Fault::Stall => (None, false),
            _ => (Some(reply), false),
        }
    }
}
