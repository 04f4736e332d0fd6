//! Health and metrics, by raw HTTP.

use std::time::Duration;

use floe::{ErrorKind, health::Status};
use floe_server::{ServeLimits, ServeOptions, testkit::TestServer};
use floe_wire::fluvio::FetchOffsetsRequest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::peer::{Peer, WalrusPeer, batch, topic, within};

pub(crate) async fn get(address: &str, path: &str, accept: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(socket.read_to_string(&mut answer)).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn running_server_is_alive_and_ready() {
    let mut options = ServeOptions::default();
    options.limits.connections = 100;
    // Each connection takes 16 KiB beside the three parts.
    let limit = (options.limits.memory - 100 * (16 << 10)) / 4;
    let server = TestServer::with("memory:", options).await.unwrap();
    let address = server.http_address();
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(get(&address, path, "*/*").await, (200, "ok\n".to_owned()));
    }
    let (status, verbose) = get(&address, "/readyz?verbose", "*/*").await;
    let memory = format!(
        "requests 0 of {limit} bytes; modules 0 of {} bytes; responses 0 of {limit} bytes",
        limit * 2
    );
    let expected =
        format!("[+]server ok: serving\n[+]engine ok: memory: open\n[+]client ok\n[+]memory ok: {memory}\n");
    assert_eq!((status, verbose), (200, expected));
    let (_, json) = get(&address, "/readyz", "application/json").await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["status"], "pass");
    assert_eq!(json["checks"][1]["name"], "engine");
    assert_eq!(get(&address, "/nothing", "*/*").await.0, 404);
}

#[tokio::test]
async fn closed_engine_is_not_ready() {
    let server = TestServer::start().await.unwrap();
    assert_eq!(get(&server.http_address(), "/readyz", "*/*").await.0, 200);
    server.client().engine().close().await.unwrap();
    let (status, verbose) = get(&server.http_address(), "/readyz?verbose=1", "*/*").await;
    assert_eq!(status, 503);
    assert!(verbose.contains("[-]engine failed: "), "{verbose}");
    assert_eq!(get(&server.http_address(), "/livez", "*/*").await.0, 200);
}

#[tokio::test]
async fn health_of_the_program_client_is_reported() {
    let server = TestServer::start().await.unwrap();
    let address = server.http_address();
    topic(&server, "orders", 1).await;
    let patient = server.client().producer("orders").buffer_memory(1000).linger(Duration::from_secs(3600));
    let patient = patient.start().await.unwrap();
    let _waits = patient.enqueue("x".repeat(900)).await.unwrap();
    let health = server.client().health().await.unwrap();
    assert_eq!(health.status, Status::Warn);
    // A warning does not fail readiness.
    let (status, verbose) = get(&address, "/readyz?verbose", "*/*").await;
    assert_eq!(status, 200);
    let shown = format!("[!]client warning: {}\n", health.findings[0]);
    assert!(verbose.contains(&shown), "{shown} is not in {verbose}");
    let (_, json) = get(&address, "/readyz", "application/json").await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["status"], "warn");
    assert_eq!(json["checks"][2]["output"], health.findings[0]);
    server.client().engine().close().await.unwrap();
    assert!(server.client().health().await.is_err_and(|error| error.kind() == ErrorKind::Closed));
    assert_eq!(get(&address, "/readyz", "*/*").await.0, 503);
}

#[tokio::test]
async fn incomplete_request_times_out_and_connections_are_limited() {
    let mut limits = ServeLimits::default();
    (limits.connections, limits.http_timeout) = (1, Duration::from_millis(50));
    let server = TestServer::with_limits(limits).await.unwrap();
    let mut slow = TcpStream::connect(server.http_address()).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nx-never: end").await.unwrap();
    let mut answer = Vec::new();
    // The server may send a timeout response before it closes the connection.
    let _ = within(slow.read_to_end(&mut answer)).await;
    let mut peer = Peer::data(&server).await;
    let id = peer.send(&FetchOffsetsRequest::of_partition("t", 0)).await;
    assert_eq!(peer.frame().await.map(|(answered, _)| answered), Some(id));
    // The only place is taken, by a connection that has not been idle for long.
    assert!(within(Peer::data(&server).await.frame()).await.is_none());
    // HTTP has places of its own.
    assert_eq!(get(&server.http_address(), "/livez", "*/*").await.0, 200);
    peer.nothing_was_pushed().await;
}

#[tokio::test]
async fn readiness_fails_before_the_listeners_close() {
    let server = TestServer::with("memory:", ServeOptions::default()).await.unwrap();
    let address = server.http_address();
    // An open client connection must not delay the shutdown beyond its deadline.
    let _idle = Peer::data(&server).await;
    let stopping = tokio::spawn(server.stop());
    let seen = async {
        loop {
            match TcpStream::connect(&address).await {
                Ok(_) => {
                    if get(&address, "/readyz", "*/*").await.0 == 503 {
                        return;
                    }
                }
                Err(error) => panic!("the listener closed before /readyz failed: {error}"),
            }
        }
    };
    within(seen).await;
    within(stopping).await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_records_and_errors_are_counted() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    let sent = batch(&["a", "b", "c"]);
    peer.produce("t", std::slice::from_ref(&sent)).await;
    peer.produce("missing", std::slice::from_ref(&sent)).await;
    let id = peer.open("t", 0, 1000).await;
    peer.pushed(id).await;
    let mut walrus = WalrusPeer::connect(&server).await;
    walrus.ask("GET t").await;
    walrus.ask("NONSENSE").await;
    let (status, text) = get(&server.http_address(), "/metrics", "*/*").await;
    assert_eq!(status, 200);
    for expected in [
        "floe_server_connections{listener=\"fluvio_spu\"} 1\n".to_owned(),
        "floe_server_connections_opened_total{listener=\"walrus\"} 1\n".to_owned(),
        "floe_server_requests_total{listener=\"fluvio_spu\",api=\"Produce\"} 2\n".to_owned(),
        "floe_server_requests_total{listener=\"walrus\",api=\"GET\"} 1\n".to_owned(),
        "floe_server_errors_total{listener=\"fluvio_spu\",error=\"NotLeaderForPartition\"} 1\n".to_owned(),
        "floe_server_errors_total{listener=\"walrus\",error=\"bad_request\"} 1\n".to_owned(),
        "floe_server_received_records_total 3\n".to_owned(),
        format!("floe_server_received_bytes_total {}\n", sent.len()),
        "floe_server_sent_records_total 4\n".to_owned(),
        "floe_server_ready 1\n".to_owned(),
    ] {
        assert!(text.contains(&expected), "{expected} is not in\n{text}");
    }
}

#[tokio::test]
async fn memory_is_reported_with_who_holds_most() {
    let server = TestServer::start().await.unwrap();
    let address = server.http_address();
    let mut stalled = Peer::data(&server).await;
    // A request of which most is missing.
    stalled.socket.write_all(&[0, 4, 0, 0, 0, 0, 0, 0]).await.unwrap();
    let client = stalled.socket.local_addr().unwrap();
    let shown = async {
        loop {
            let (_, verbose) = get(&address, "/readyz?verbose", "*/*").await;
            if verbose.contains(&format!(", most by anonymous at {client} (")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(shown).await;
    let (_, metrics) = get(&address, "/metrics", "*/*").await;
    assert!(!metrics.contains("floe_server_memory_largest_bytes{class=\"requests\"} 0\n"), "{metrics}");
}
