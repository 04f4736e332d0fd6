//! Certificates and rules that change while the server runs.

use std::{path::Path, time::Duration};

use floe::{Client, TopicSpec};
use floe_server::{AccessRules, ServeOptions, ServerTls, testkit::TestServer};
use floe_testkit::certificates::Authority;
use floe_wire::fluvio::{ErrorCode, TopicSpec as FluvioTopic, WatchRequest};

use crate::{
    access::{anonymous, url_of},
    http::get,
    peer::{Peer, batch, topic, within},
    tls::{DOMAIN, file},
};

/// Waits until files were read again `count` times with an outcome.
async fn reloaded(server: &TestServer, files: &str, outcome: &str, count: u64) {
    let line = format!("floe_server_reloads_total{{files=\"{files}\",outcome=\"{outcome}\"}} {count}\n");
    let seen = async {
        while !get(&server.http_address(), "/metrics", "*/*").await.1.contains(&line) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(seen).await;
}

fn options() -> ServeOptions {
    let mut options = ServeOptions::default();
    options.reload_interval = Duration::from_millis(5);
    options
}

const METRICS: &str = "[[rule]]\nsubjects = [\"anonymous\"]\nallow = [\"metrics\"]\n";

#[tokio::test]
async fn new_rules_apply_to_open_connections_streams_and_watches() {
    let folder = tempfile::tempdir().unwrap();
    let rules = |text: &str| file(folder.path(), "rules.toml", &(METRICS.to_owned() + text));
    let path = rules(&anonymous("\"a\"", "\"read\", \"write\""));
    let mut options = options();
    options.access = Some(AccessRules::from_file(&path).unwrap());
    let server = TestServer::with("memory:", options).await.unwrap();
    topic(&server, "a", 1).await;
    topic(&server, "b", 1).await;
    let mut watch = Peer::controller(&server).await;
    let watched = watch.send(&WatchRequest::<FluvioTopic>::default()).await;
    assert_eq!(
        watch.reply::<WatchRequest<FluvioTopic>>(watched).await.all.len(),
        2,
        "a, and the system topic"
    );
    let (mut peer, mut streaming) = (Peer::data(&server).await, Peer::data(&server).await);
    assert_eq!(peer.produce("a", &[batch(&["1"])]).await.error_code, ErrorCode::None);
    let id = streaming.open("a", 1, 1000).await;

    file(folder.path(), "rules.toml", "[[rule]]\nsubjects = 1");
    reloaded(&server, "rules", "failed", 1).await;
    assert_eq!(peer.produce("a", &[batch(&["2"])]).await.error_code, ErrorCode::None, "the old rules stay");
    assert_eq!(streaming.pushed(id).await.partition.error_code, ErrorCode::None);

    rules(&anonymous("\"b\"", "\"read\", \"write\""));
    reloaded(&server, "rules", "used", 1).await;
    let changes = watch.reply::<WatchRequest<FluvioTopic>>(watched).await.changes;
    let changes: Vec<_> = changes.into_iter().map(|change| (change.kind, change.object.name)).collect();
    assert_eq!(format!("{changes:?}"), r#"[(Update, "b"), (Delete, "a")]"#);
    assert_eq!(peer.produce("a", &[batch(&["3"])]).await.error_code, ErrorCode::PermissionDenied);
    assert_eq!(peer.produce("b", &[batch(&["3"])]).await.error_code, ErrorCode::None);
    server.client().producer("a").start().await.unwrap().send("secret").await.unwrap();
    let id_of_ack = streaming
        .send(&floe_wire::fluvio::UpdateOffsetsRequest {
            offsets: vec![floe_wire::fluvio::OffsetUpdate { offset: 2, stream_id: 1 }],
        })
        .await;
    let mut refused = None;
    for _ in 0..2 {
        let (received, body) = streaming.frame().await.unwrap();
        if received != id_of_ack {
            let reply = floe_wire::fluvio::frame::decode_reply::<floe_wire::fluvio::StreamFetchRequest>(
                body,
                <floe_wire::fluvio::StreamFetchRequest as floe_wire::fluvio::Request>::VERSIONS.max,
            );
            refused = Some(reply.unwrap().partition);
        }
    }
    let refused = refused.unwrap();
    assert_eq!((refused.error_code, refused.records.is_empty()), (ErrorCode::PermissionDenied, true));
}

/// Writes certificate and key of a server, and the authority of its clients.
fn write_server(folder: &Path, authority: &Authority, clients: &Authority) -> ServerTlsFiles {
    let (certificate, key) = authority.issue(&[DOMAIN, &format!("floe-spu-5001.{DOMAIN}")]);
    [
        file(folder, "server.pem", &certificate),
        file(folder, "server-key.pem", &key),
        file(folder, "clients.pem", &clients.pem()),
    ]
}

type ServerTlsFiles = [std::path::PathBuf; 3];

#[tokio::test]
async fn new_certificates_apply_to_new_connections() {
    let (old, new, folder) = (Authority::default(), Authority::default(), tempfile::tempdir().unwrap());
    let [certificate, key, clients] = write_server(folder.path(), &old, &old);
    let mut options = options();
    options.tls = Some(ServerTls::from_pem_files(&certificate, &key, Some(&clients)).unwrap());
    options.plain_http = true;
    let server = TestServer::with("memory:", options).await.unwrap();
    let client_folder = tempfile::tempdir().unwrap();
    let url = |authority: &Authority| url_of(&server, client_folder.path(), authority, ("me", "me.example"));
    let before = within(Client::connect(&url(&old))).await.unwrap();
    within(before.admin().create_topic(TopicSpec::new("t"))).await.unwrap();

    std::fs::write(&certificate, "no certificate").unwrap();
    reloaded(&server, "certificates", "failed", 1).await;
    assert!(within(Client::connect(&url(&old))).await.is_ok(), "the old ones stay in use");

    write_server(folder.path(), &new, &new);
    // The server may look between the writes of two files, and then looks again.
    let connected = async {
        loop {
            match Client::connect(&url(&new)).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let after = within(connected).await;
    assert_eq!(within(after.admin().topics()).await.unwrap().len(), 1);
    assert_eq!(within(before.admin().topics()).await.unwrap().len(), 1, "open connections go on");
    let outcome = within(async { Client::connect(&url(&old)).await?.admin().topics().await }).await;
    assert!(outcome.is_err(), "the old authority is not trusted any more");
}
