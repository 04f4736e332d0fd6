//! Server memory per idle connection.
//!
//! Measures connections that have done the version handshake with the data server, then consumers that wait at the
//! end of a topic. The environment variable `CONNECTIONS` overrides the default of 1000; both processes need more
//! file descriptors than that.

use std::time::Duration;

use floe::{Client, TopicSpec, consumer::StartAt};
use floe_wire::fluvio::{ApiVersionsRequest, frame};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::process::ServerProcess;

async fn greet(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let hello = ApiVersionsRequest {
        client_version: "1.0.0".to_owned(),
        client_os: "linux".to_owned(),
        client_arch: "any".to_owned(),
    };
    let request = frame::encode_request(&hello, ApiVersionsRequest::VERSION, 1, "idle").unwrap();
    for piece in request.pieces() {
        stream.write_all(&piece).await.unwrap();
    }
    let size = stream.read_i32().await.unwrap();
    stream.read_exact(&mut vec![0; size.try_into().unwrap()]).await.unwrap();
    stream
}

pub(crate) async fn measure(server: &ServerProcess) {
    let count: usize = std::env::var("CONNECTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let client = Client::connect(&format!("fluvio://{}", server.controller)).await.unwrap();
    client.admin().create_topic(TopicSpec::new("idle")).await.unwrap();
    let producer = client.producer("idle").start().await.unwrap();
    producer.send("there is a record").await.unwrap();
    let before = server.resident();
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(greet(&server.data).await);
    }
    let greeted = server.resident();
    drop(connections);
    let mut consumers = Vec::with_capacity(count);
    for _ in 0..count {
        consumers.push(client.consumer("idle").from(StartAt::Beginning).start().await.unwrap());
    }
    for consumer in &mut consumers {
        consumer.try_next().await.unwrap().unwrap();
    }
    // Gives every consumer time to acknowledge and to wait.
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!(
        "server: {before:.1} MB at the start, {greeted:.1} MB with {count} idle connections, {:.1} MB with {count} \
         waiting consumers instead",
        server.resident()
    );
    drop(consumers);
    client.close().await.unwrap();
}
