//! Nodes that answer as distributed Walrus 0.3 does, in memory, with faults on demand.
//!
//! Written from the description of the server, not with floe's own codec, so that a mistake there shows.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use floe::{
    Error, ErrorKind, Result,
    net::{Dial, Endpoint, Stream},
};
use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    sync::Notify,
    task::AbortHandle,
};

/// The longest frame that a node reads.
const MAX_FRAME: usize = 64 * 1024;

/// How a node takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As it should.
    Up,
    /// Nobody listens.
    Down,
    /// Connections are taken, and nothing is answered.
    Silent,
}

/// What happens to the next request of a kind.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Done as usual.
    Pass,
    /// Refused with these words after `ERR `.
    Refuse(&'static str),
    /// Done, and then the connection breaks before the answer.
    LoseAnswer,
    /// The connection breaks before it is done.
    Break,
    /// Done, and never answered.
    Stall,
    /// Not done, and something that is no answer is sent.
    Garbage,
}

#[derive(Debug, Default)]
struct Topic {
    entries: Vec<Vec<u8>>,
    /// Shared by all readers.
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
struct State {
    topics: BTreeMap<String, Topic>,
    nodes: Vec<Node>,
    /// Id of the leader, from 1.
    leader: Option<usize>,
    /// Index of a node that sees no leader, although there is one.
    blind: Option<usize>,
    /// Index of a node that learns of a topic only when it has been asked for it so many times.
    slow: Option<(usize, u32)>,
    faults: BTreeMap<&'static str, VecDeque<Fault>>,
    knows_batches: bool,
    /// Bytes written at once.
    chunk: usize,
}

/// A cluster; clones share it. Its nodes are reached by dialling `n1`, `n2`, …
#[derive(Debug, Clone)]
pub struct Cluster {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Cluster {
    pub fn new(nodes: usize) -> Self {
        let node = || Node { mode: Mode::Up, connections: Vec::new(), accepted: 0, commands: Vec::new() };
        let state = State {
            topics: BTreeMap::new(),
            nodes: (0..nodes).map(|_| node()).collect(),
            leader: Some(1),
            blind: None,
            slow: None,
            faults: BTreeMap::new(),
            knows_batches: false,
            chunk: usize::MAX,
        };
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::default() }
    }

    /// With a topic.
    pub fn with_topic(nodes: usize, topic: &str) -> Self {
        let cluster = Self::new(nodes);
        cluster.lock().topics.insert(topic.to_owned(), Topic::default());
        cluster
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn hosts(&self) -> String {
        let count = self.lock().nodes.len();
        (1..=count).map(|id| format!("n{id}:9091")).collect::<Vec<_>>().join(",")
    }

    /// Changes how a node takes connections; unless it is up, those that it has break. Nodes count from 1.
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

    /// Breaks the connections of a node, which goes on at once.
    pub fn restart(&self, node: usize) {
        self.set(node, Mode::Down);
        self.set(node, Mode::Up);
    }

    pub fn set_leader(&self, leader: Option<usize>) {
        self.lock().leader = leader;
    }

    /// This node sees no leader, whatever the others see.
    pub fn blind(&self, node: usize) {
        self.lock().blind = Some(node - 1);
    }

    /// This node learns of the next topic only when it has been asked for it so many times.
    pub fn slow(&self, node: usize, times: u32) {
        self.lock().slow = Some((node - 1, times));
    }

    pub fn learn_batches(&self) {
        self.lock().knows_batches = true;
    }

    /// Answers are written in pieces of this many bytes.
    pub fn set_chunk(&self, bytes: usize) {
        self.lock().chunk = bytes;
    }

    /// What happens to the next requests whose first word this is.
    pub fn faults(&self, word: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.entry(word).or_default().extend(faults);
    }

    /// Everything that was ever appended to a topic.
    pub fn entries(&self, topic: &str) -> Vec<Vec<u8>> {
        self.lock().topics.get(topic).map(|topic| topic.entries.clone()).unwrap_or_default()
    }

    /// Entries that no reader has taken.
    pub fn unread(&self, topic: &str) -> usize {
        self.lock().topics.get(topic).map_or(0, |topic| topic.entries.len() - topic.cursor)
    }

    /// Appends as another client would.
    pub fn put(&self, topic: &str, entry: &str) {
        let mut state = self.lock();
        state.topics.entry(topic.to_owned()).or_default().entries.push(entry.as_bytes().to_vec());
        drop(state);
        self.changed.notify_waiters();
    }

    /// Passes over entries, as a node without a leader may.
    pub fn skip(&self, topic: &str, entries: usize) {
        self.lock().topics.get_mut(topic).unwrap().cursor += entries;
    }

    /// First words of the requests that a node got, in order.
    pub fn commands(&self, node: usize) -> Vec<String> {
        self.lock().nodes[node - 1].commands.clone()
    }

    /// How often a node was asked for this.
    pub fn asked(&self, node: usize, word: &str) -> usize {
        self.commands(node).iter().filter(|command| *command == word).count()
    }

    /// Connections that a node ever took.
    pub fn accepted(&self, node: usize) -> usize {
        self.lock().nodes[node - 1].accepted
    }

    /// Listens on TCP for the first node, in a thread of its own that outlives every test; returns `host:port`.
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

    /// Serves a connection of a node until it breaks.
    pub async fn serve(self, node: usize, mut stream: impl Stream) {
        loop {
            let mut length = [0; 4];
            if stream.read_exact(&mut length).await.is_err() {
                return;
            }
            let length = u32::from_le_bytes(length) as usize;
            let (answer, end) = if length == 0 || length > MAX_FRAME && !self.lock().knows_batches {
                // The body is not read: what follows is taken for a length.
                (Some(b"ERR invalid frame length".to_vec()), false)
            } else {
                let mut body = vec![0; length];
                if stream.read_exact(&mut body).await.is_err() {
                    return;
                }
                self.answer(node, &body)
            };
            if let Some(answer) = answer {
                let chunk = self.lock().chunk;
                let length = u32::try_from(answer.len()).unwrap().to_le_bytes();
                // Two segments, as the real server does.
                for part in [&length[..], &answer] {
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
            if end {
                return;
            }
        }
    }

    /// The answer, if there is to be one, and whether the connection ends.
    fn answer(&self, node: usize, body: &[u8]) -> (Option<Vec<u8>>, bool) {
        let mut state = self.lock();
        let word = body.split(|byte| *byte == b' ').next().unwrap_or_default();
        let word = String::from_utf8_lossy(word).trim_end().to_owned();
        state.nodes[node].commands.push(word.clone());
        let fault = state.faults.get_mut(word.as_str()).and_then(VecDeque::pop_front).unwrap_or(Fault::Pass);
        match fault {
            Fault::Refuse(words) => return (Some(format!("ERR {words}").into_bytes()), false),
            Fault::Break => return (None, true),
            Fault::Garbage => return (Some(b"what?".to_vec()), false),
            Fault::Pass | Fault::LoseAnswer | Fault::Stall => {}
        }
        let answer = state.execute(node, body).unwrap_or_else(|words| format!("ERR {words}").into_bytes());
        drop(state);
        self.changed.notify_waiters();
        match fault {
            Fault::LoseAnswer => (None, true),
            Fault::Stall => (None, false),
            _ => (Some(answer), false),
        }
    }
}

impl State {
    fn execute(&mut self, node: usize, body: &[u8]) -> Result<Vec<u8>, String> {
        if self.knows_batches && body.starts_with(b"BATCH_") {
            return self.execute_batch(body);
        }
        let text = std::str::from_utf8(body).map_err(|_| "invalid utf-8")?.trim_end();
        let mut parts = text.splitn(3, ' ');
        let word = parts.next().unwrap_or_default();
        let mut part = |name: &str| parts.next().ok_or_else(|| format!("{word} requires a {name}"));
        match word {
            "REGISTER" => {
                self.topics.entry(part("topic")?.to_owned()).or_default();
                Ok(b"OK".to_vec())
            }
            "PUT" => {
                let (topic, payload) = (part("topic")?, part("payload")?);
                self.topic(topic)?.entries.push(payload.as_bytes().to_vec());
                Ok(b"OK".to_vec())
            }
            "GET" => {
                let topic = self.topic(part("topic")?)?;
                Ok(topic.take().map_or_else(|| b"EMPTY".to_vec(), |entry| [b"OK ", &entry[..]].concat()))
            }
            "STATE" => {
                let topic = part("topic")?;
                self.topic(topic)?;
                if let Some((_, times)) =
                    self.slow.as_mut().filter(|(slow, times)| *slow == node && *times > 0)
                {
                    *times -= 1;
                    return Err(format!("unknown topic {topic}"));
                }
                let leader = self.leader.unwrap_or(1);
                Ok(format!(
                    "{{\"current_segment\":1,\"leader_node\":{leader},\"last_sealed_entry_offset\":0,\
                     \"sealed_segments\":{{}},\"segment_leaders\":{{\"1\":{leader}}}}}"
                )
                .into_bytes())
            }
            "METRICS" => {
                let id = node + 1;
                let state = if self.leader == Some(id) { "Leader" } else { "Follower" };
                let seen = self.leader.filter(|_| self.blind != Some(node));
                let leader = seen.map_or_else(|| "null".to_owned(), |leader| leader.to_string());
                Ok(format!(
                    "{{\n  \"running_state\": {{\"Ok\": null}},\n  \"id\": {id},\n  \"current_term\": 3,\n  \
                     \"last_log_index\": 9,\n  \"state\": \"{state}\",\n  \"current_leader\": {leader}\n}}"
                )
                .into_bytes())
            }
            _ => Err("unknown command".to_owned()),
        }
    }

    fn execute_batch(&mut self, body: &[u8]) -> Result<Vec<u8>, String> {
        let mut rest = body;
        let mut field = || {
            let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
            let field = String::from_utf8_lossy(&rest[..end]).into_owned();
            rest = rest.get(end + 1..).unwrap_or_default();
            field
        };
        let word = field();
        let topic = field();
        if topic.is_empty() {
            return Err(format!("{word} requires a topic"));
        }
        if word == "BATCH_GET" {
            let (most, bytes): (usize, usize) = (field().parse().unwrap(), field().parse().unwrap());
            let topic = self.topic(&topic)?;
            let (mut entries, mut size) = (Vec::new(), 0);
            while entries.len() < most
                && (entries.is_empty() || size < bytes)
                && let Some(entry) = topic.take()
            {
                size += entry.len();
                entries.push(entry);
            }
            if entries.is_empty() {
                return Ok(b"EMPTY".to_vec());
            }
            let mut answer = format!("OK {}", entries.len()).into_bytes();
            for entry in entries {
                answer.extend(format!(" {} ", entry.len()).into_bytes());
                answer.extend(entry);
            }
            return Ok(answer);
        }
        let count: usize = field().parse().unwrap();
        assert!(count <= 2000, "{count} entries in one batch");
        let mut entries = Vec::new();
        for _ in 0..count {
            let end = rest.iter().position(|byte| *byte == b' ').expect("a length");
            let length: usize = std::str::from_utf8(&rest[..end]).unwrap().parse().unwrap();
            entries.push(rest[end + 1..end + 1 + length].to_vec());
            rest = rest.get(end + 1 + length + 1..).unwrap_or_default();
        }
        self.topic(&topic)?.entries.extend(entries);
        Ok(format!("OK {count}").into_bytes())
    }

    fn topic(&mut self, name: &str) -> Result<&mut Topic, String> {
        self.topics.get_mut(name).ok_or_else(|| format!("unknown topic {name}"))
    }
}

impl Topic {
    fn take(&mut self) -> Option<Vec<u8>> {
        let entry = self.entries.get(self.cursor)?.clone();
        self.cursor += 1;
        Some(entry)
    }
}

impl Dial for Cluster {
    fn dial<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let node: usize = to.host.strip_prefix('n').and_then(|id| id.parse().ok()).unwrap();
            let (near, far) = duplex(64 * 1024);
            let mut state = self.lock();
            match state.nodes[node - 1].mode {
                Mode::Down => return Err(Error::new(ErrorKind::ConnectionRefused, "nobody listens")),
                Mode::Up => {
                    let task = tokio::spawn(self.clone().serve(node - 1, far));
                    state.nodes[node - 1].connections.push(task.abort_handle());
                }
                Mode::Silent => {
                    let task = tokio::spawn(async move {
                        let _held = far;
                        std::future::pending::<()>().await;
                    });
                    state.nodes[node - 1].connections.push(task.abort_handle());
                }
            }
            state.nodes[node - 1].accepted += 1;
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}
