//! Connections that do nothing.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    peer::{Peer, within},
    server::Attacked,
};

async fn livez(attacked: &Attacked) -> String {
    let mut socket = TcpStream::connect(attacked.server.http_address()).await.unwrap();
    within(socket.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
        .await
        .unwrap();
    let mut answer = String::new();
    within(socket.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn health_is_answered_whatever_connections_there_are() {
    let attacked = Attacked::start(|limits| {
        limits.connections = 5;
        limits.http_connections = 3;
    })
    .await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(Peer::data(&attacked.server).await);
    }
    assert!(livez(&attacked).await.starts_with("HTTP/1.1 200"));
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(attacked.server.http_address()).await.unwrap());
        assert!(livez(&attacked).await.starts_with("HTTP/1.1 200"));
    }
    assert!(attacked.metric("floe_server_cut_off_total", &[("listener", "http")]) > 0);
    assert!(attacked.metric("floe_server_connections_refused_total", &[]) > 0);
    drop((idle, silent));
}

#[tokio::test]
async fn limits_are_shown() {
    let attacked = Attacked::start(|limits| limits.connections = 77).await;
    attacked.is_well().await;
    assert_eq!(attacked.metric("floe_server_limit", &[("name", "connections")]), 77);
    assert_eq!(attacked.metric("floe_server_limit", &[("name", "frame_timeout")]), 60_000);
    let total = attacked.metric("floe_server_memory_limit_bytes", &[]);
    assert_eq!(total + 77 * (16 << 10), crate::server::MEMORY as u64, "a connection takes 16 KiB");
}
