//! Host headers of HTTP requests, by raw bytes.

use floe_server::{ServeOptions, testkit::TestServer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::peer::within;

/// Sends the head of a request and returns the status.
async fn status(server: &TestServer, head: &str) -> u16 {
    let mut socket = TcpStream::connect(server.http_address()).await.unwrap();
    socket.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(socket.read_to_string(&mut answer)).await.unwrap();
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap()
}

#[tokio::test]
async fn only_known_hosts_are_answered() {
    let mut options = ServeOptions::default();
    options.http_hosts = vec!["metrics.example".to_owned()];
    let server = TestServer::with("memory:", options).await.unwrap();
    let port = server.addresses().http.unwrap().port();
    for path in ["/livez", "/readyz", "/healthz", "/metrics"] {
        for host in ["127.0.0.1", &format!("127.0.0.1:{port}"), "LocalHost:1", "metrics.example"] {
            assert_eq!(status(&server, &format!("GET {path} HTTP/1.1\r\nhost: {host}")).await, 200, "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            &format!("127.0.0.1.evil.example:{port}"),
            "127.0.0.1.",
            "localhost.",
            "localhost.evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "[::1]",
            "[::1]:9080",
            "10.0.0.1",
            "",
        ] {
            let head = format!("GET {path} HTTP/1.1\r\nhost: {host}");
            assert_eq!(status(&server, &head).await, 421, "{path} {host:?}");
        }
    }
    assert_eq!(status(&server, "GET /unknown HTTP/1.1\r\nhost: evil.example").await, 421);
}

#[tokio::test]
async fn absolute_targets_missing_and_repeated_hosts_are_checked() {
    let server = TestServer::start().await.unwrap();
    for (head, expected) in [
        ("GET http://localhost/metrics HTTP/1.1\r\nhost: localhost", 200),
        ("GET http://evil.example/metrics HTTP/1.1\r\nhost: localhost", 421),
        ("GET http://localhost/metrics HTTP/1.1\r\nhost: evil.example", 421),
        ("GET http://localhost@evil.example/metrics HTTP/1.1\r\nhost: localhost", 421),
        ("GET http://evil@localhost/metrics HTTP/1.1\r\nhost: localhost", 421),
        ("GET /metrics HTTP/1.1\r\nhost: localhost\r\nhost: evil.example", 421),
        ("GET /metrics HTTP/1.1\r\nhost: localhost\r\nhost: localhost", 421),
        ("GET /metrics HTTP/1.1\r\nx: y", 400),
        ("GET /livez HTTP/1.0\r\nx: y", 200),
        ("GET /livez HTTP/1.0\r\nhost: evil.example", 421),
    ] {
        assert_eq!(status(&server, head).await, expected, "{head:?}");
    }
}
