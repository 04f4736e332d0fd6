//! Connections: handshakes, silent servers, a controller that is down, closing.

use std::time::Duration;

use floe::{
    ErrorKind, TopicSpec,
    engine::{Engine, FluvioEngine, Start, fluvio::ConnectionState},
    producer::{AppendCondition, FencingToken},
};
use floe_testkit::fluvio::{Cluster, Fault, SC, SPUS};
use tokio::time::Instant;

use super::{batch, connect, connect_with, open, request, values};

const API_VERSIONS: u16 = 18;

#[tokio::test(start_paused = true)]
async fn unsupported_platform_version_is_reported() {
    let cluster = Cluster::new(1);
    cluster.change(|state| state.platform = "0.8.5");
    let error = connect_with(&cluster, "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("0.8.5") && error.message().contains("0.9.0"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn missing_handshake_times_out() {
    let cluster = Cluster::new(1);
    cluster.change(|state| state.faults.push_back((API_VERSIONS, Fault::Silence)));
    let started = Instant::now();
    let error = connect_with(&cluster, "?connect-timeout=3s").await.unwrap_err();
    assert_eq!((error.kind(), started.elapsed()), (ErrorKind::ConnectionTimeout, Duration::from_secs(3)));
    assert!(error.message().contains("TLS"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn malformed_handshake_is_an_error() {
    for fault in [Fault::Garbage, Fault::WrongId, Fault::Oversize, Fault::CutAfter(0), Fault::CutAfter(9)] {
        let cluster = Cluster::new(1);
        cluster.change(|state| state.faults.push_back((API_VERSIONS, fault)));
        let error = connect_with(&cluster, "").await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::ProtocolError | ErrorKind::NetworkError),
            "{fault:?}: {error}"
        );
        assert!(error.message().contains("TLS"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn refused_connection_fails_at_once() {
    let cluster = Cluster::new(1);
    cluster.change(|state| state.down.push(SC));
    let error = connect_with(&cluster, "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(error.endpoint(), Some("sc:9003"));
}

#[tokio::test(start_paused = true)]
async fn every_controller_that_was_tried_is_named() {
    let cluster = Cluster::new(1);
    cluster.change(|state| state.down.push(SC));
    let dial = std::sync::Arc::new(super::ScriptedDial(cluster));
    let error = FluvioEngine::connect_over("fluvio://one,two", dial).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (ErrorKind::ConnectionRefused, true));
    let text = error.to_string();
    assert!(text.starts_with("connect on fluvio: one:9003: ") && text.contains("; two:9003: "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn conditional_appends_are_refused_without_a_request() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    assert!(!engine.info().capabilities.conditional_appends);
    let producer = super::client(&engine).producer(floe_testkit::fluvio::TOPIC).start().await.unwrap();
    let dialled = cluster.state.lock().dialled.len();
    for condition in [AppendCondition::EndsAt(0), AppendCondition::Token(FencingToken::new("writer", 1))] {
        let error = producer.send_batch(0, ["x"], condition).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    assert_eq!(engine.append_at(request(0, "x"), 0).await.unwrap_err().kind(), ErrorKind::Unsupported);
    let state = cluster.state.lock();
    assert_eq!((state.dialled.len(), state.produced.len()), (dialled, 0));
}

#[tokio::test(start_paused = true)]
async fn data_server_in_place_of_the_controller_is_recognized() {
    let cluster = Cluster::new(1);
    let dial = std::sync::Arc::new(super::ScriptedDial(cluster));
    let error = FluvioEngine::connect_over(&format!("fluvio://spu:{}", SPUS[0].1), dial).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (ErrorKind::InvalidConfig, false));
    assert!(error.message().contains("data server (SPU)") && error.message().contains("9003"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn state_is_connected_while_any_connection_is_open() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    let controller = engine.admin().connections().remove(0);
    // The controller is asked over a connection of its own, which ends with the answer.
    engine.create_topic(TopicSpec::new("other")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(controller.state(), ConnectionState::Connected);
    cluster.change(|state| state.down.push(SC));
    cluster.hang_up();
    controller.wait_for(|state| state == ConnectionState::Reconnecting).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn data_goes_on_while_the_controller_is_gone() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    engine.append(request(0, "before")).await.unwrap();
    let controller = engine.admin().connections().remove(0);
    assert_eq!(controller.state(), ConnectionState::Connected);
    cluster.change(|state| state.down.push(SC));
    cluster.hang_up();
    controller.wait_for(|state| state == ConnectionState::Reconnecting).await.unwrap();
    // For a minute, over new connections to the data server.
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let outcome = engine.append(request(0, "meanwhile")).await;
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    assert_eq!(engine.watermarks(super::at(0)).await.unwrap().high, 7);
    assert_eq!(engine.topics().await.unwrap().len(), 1, "the cached topics");
    let health = engine.health().await.unwrap();
    assert!(health.ready, "data flows: {health:?}");
    let unready: Vec<_> = health.nodes.iter().filter(|node| !node.ready).map(|node| &node.name[..]).collect();
    assert_eq!(unready, ["sc:9003"], "{health:?}");
    cluster.change(|state| state.down.extend(SPUS.map(|(_, port)| port)));
    cluster.hang_up();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!engine.health().await.unwrap().ready, "nothing answers");
    cluster.change(|state| state.down.clear());
    tokio::time::timeout(
        Duration::from_secs(60),
        controller.wait_for(|state| state == ConnectionState::Connected),
    )
    .await
    .expect("the engine reconnects")
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn silent_server_is_detected_by_the_heartbeat() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    let mut reader = open(&engine, Start::Latest, 4096).await;
    // A stream without records is normal. Then heartbeats get no reply either.
    let quiet = tokio::time::timeout(Duration::from_secs(300), reader.next()).await;
    assert!(quiet.is_err(), "a stream without records is alive: {quiet:?}");
    cluster.change(|state| state.faults.extend(std::iter::repeat_n((API_VERSIONS, Fault::Silence), 50)));
    let started = Instant::now();
    let error = reader.next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestTimeout, "{error}");
    assert!(started.elapsed() <= Duration::from_secs(31), "after {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn close_ends_readers_and_appends() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    cluster.append(0, batch(&["x"]));
    let mut reader = open(&engine, Start::Earliest, 4096).await;
    assert_eq!(values(&reader.next().await.unwrap().unwrap()), ["x"]);
    let controller = engine.admin().connections().remove(0);
    let (waiting, closed) = tokio::join!(reader.next(), engine.close());
    assert!(closed.is_ok());
    assert_eq!(waiting.unwrap_err().kind(), ErrorKind::Closed);
    assert!(engine.close().await.is_ok(), "closing again is success");
    assert_eq!(engine.append(request(0, "y")).await.unwrap_err().kind(), ErrorKind::Closed);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(controller.state(), ConnectionState::Disconnected);
}
