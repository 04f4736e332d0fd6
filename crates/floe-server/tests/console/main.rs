//! The console over HTTP: its API, its refusals, and its bounds.

mod api;
mod engines;
mod messages;
mod safety;
mod tls;

use std::time::Duration;

use floe::{Client, IntoRecord, TopicSpec};
use floe_server::{ConsoleOptions, ServeOptions, console, testkit::TestServer};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Longest time of one step; a failure, not a measurement.
const STEP: Duration = Duration::from_secs(30);

/// Events that a test passes over at most.
const MOST_EVENTS: usize = 5_000;

/// A console over HTTP, and the client that it shows.
struct World {
    address: String,
    client: Client,
    /// The server that the console is part of, unless an application has mounted it.
    _server: Option<TestServer>,
}

/// Status, head and body of an answer.
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl World {
    async fn new() -> Self {
        Self::with(ConsoleOptions::default()).await
    }

    async fn with(console: ConsoleOptions) -> Self {
        let mut options = ServeOptions::default();
        options.console = Some(console);
        Self::of(TestServer::with("memory:", options).await.unwrap())
    }

    fn of(server: TestServer) -> Self {
        Self { address: server.http_address(), client: server.client().clone(), _server: Some(server) }
    }

    /// The console as an application mounts it. The runtime of the test ends it.
    async fn mounted(client: Client) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = console(client.clone(), ConsoleOptions::default());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, client, _server: None }
    }

    fn client(&self) -> &Client {
        &self.client
    }

    async fn topic(&self, name: &str, partitions: u32) {
        self.client().admin().create_topic(TopicSpec::new(name).partitions(partitions)).await.unwrap();
    }

    async fn send(&self, topic: &str, records: impl IntoIterator<Item = impl IntoRecord>) {
        self.client().shared_producer(topic).await.unwrap().send_all(records).await.unwrap();
    }

    /// Sends a raw request and reads until the connection closes.
    async fn raw(&self, request: &str) -> Reply {
        let mut socket = TcpStream::connect(&self.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(STEP, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    async fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let length = body.len();
        self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        ))
        .await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let reply = self.request("GET", &format!("/api/v1{path}"), "", "").await;
        (reply.status, reply.json())
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let json = "content-type: application/json\r\n";
        let reply = self.request("POST", &format!("/api/v1{path}"), json, &body.to_string()).await;
        (reply.status, reply.json())
    }

    async fn delete(&self, path: &str) -> (u16, Value) {
        let reply = self.request("DELETE", &format!("/api/v1{path}"), "", "").await;
        (reply.status, reply.json())
    }

    /// Opens a stream of events.
    async fn events(&self, path: &str) -> Events {
        let mut socket = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("GET /api/v1{path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        Events { socket, received: String::new() }
    }
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// Server-sent events of one request.
struct Events {
    socket: TcpStream,
    received: String,
}

impl Events {
    /// Returns the name and the data of the next event; none at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((event, rest)) = self.received.split_once("\n\n") {
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()))
                };
                let found = field("event:").zip(field("data:"));
                self.received = rest.to_owned();
                if let Some((name, data)) = found {
                    return Some((name, serde_json::from_str(&data).unwrap()));
                }
            }
            let mut bytes = Vec::with_capacity(64 * 1024);
            if timeout(STEP, self.socket.read_buf(&mut bytes)).await.unwrap().unwrap() == 0 {
                return None;
            }
            // Values of these tests are ASCII, so that no read ends within a character.
            self.received.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    /// Returns the next event of this name.
    async fn next_of(&mut self, wanted: &str) -> Value {
        for _ in 0..MOST_EVENTS {
            let (name, data) = self.next().await.unwrap_or_else(|| panic!("no event {wanted}"));
            if name == wanted {
                return data;
            }
        }
        panic!("no event {wanted} among {MOST_EVENTS}");
    }

    /// Returns the values of all records, and the last event.
    async fn all(mut self) -> (Vec<Value>, (String, Value)) {
        let mut records = Vec::new();
        loop {
            match self.next().await.unwrap() {
                (name, data) if name == "record" => records.push(data),
                (name, _) if name == "progress" => {}
                last => return (records, last),
            }
        }
    }
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or_else(|| panic!("no error: {answer}"))
}

fn numbered(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|number| json!({ "n": number }).to_string())
}
