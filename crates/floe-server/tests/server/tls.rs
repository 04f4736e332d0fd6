//! TLS: which clients the server admits, and that everything works over it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use floe::{Client, ErrorKind, TopicSpec, consumer::StartAt};
use floe_server::{ServeOptions, ServerTls, testkit::TestServer};
use floe_testkit::certificates::Authority;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::peer::{Peer, within};

pub(crate) const DOMAIN: &str = "streams.example";

/// TLS options of a server that `authority` certifies; with `clients`, clients need a certificate of that authority.
pub(crate) fn server_tls(authority: &Authority, clients: Option<&Authority>) -> ServerTls {
    let (certificate, key) = authority.issue(&[DOMAIN, &format!("floe-spu-5001.{DOMAIN}")]);
    let clients = clients.map(Authority::pem);
    ServerTls::from_pem(certificate.as_bytes(), key.as_bytes(), clients.as_deref().map(str::as_bytes))
        .unwrap()
}

async fn start(tls: ServerTls) -> TestServer {
    let mut options = ServeOptions::default();
    options.tls = Some(tls);
    TestServer::with("memory:", options).await.unwrap()
}

pub(crate) fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    // A server that looks at the file meanwhile sees the old text or the new one.
    let whole = folder.join(format!("{name}.new"));
    std::fs::write(&whole, text).unwrap();
    std::fs::rename(whole, &path).unwrap();
    path
}

fn url(server: &TestServer, ca: &Path, more: &str) -> String {
    format!("fluvio+tls://{}?domain={DOMAIN}&ca={}{more}", server.fluvio_address(), ca.display())
}

async fn round_trip(client: &Client) {
    client.admin().create_topic(TopicSpec::new("t").partitions(2)).await.unwrap();
    let large = "x".repeat(300_000);
    client.producer("t").start().await.unwrap().send_all([large.as_str(), "small"]).await.unwrap();
    let mut consumer = client.consumer("t").from(StartAt::Beginning).start().await.unwrap();
    let mut lengths = Vec::new();
    for _ in 0..2 {
        lengths.push(within(consumer.try_next()).await.unwrap().unwrap().value.len());
    }
    lengths.sort_unstable();
    assert_eq!(lengths, [5, 300_000]);
}

#[tokio::test]
async fn records_are_sent_and_read_encrypted() {
    let (authority, folder) = (Authority::default(), tempfile::tempdir().unwrap());
    let server = start(server_tls(&authority, None)).await;
    let ca = file(folder.path(), "ca.pem", &authority.pem());
    let client = within(Client::connect(&url(&server, &ca, ""))).await.unwrap();
    within(round_trip(&client)).await;
    // A client that trusts another authority refuses this server.
    let other = file(folder.path(), "other.pem", &Authority::default().pem());
    let error = within(Client::connect(&url(&server, &other, ""))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TlsFailed, "{error}");
}

#[tokio::test]
async fn client_certificates_are_verified() {
    let (ours, theirs, folder) = (Authority::default(), Authority::default(), tempfile::tempdir().unwrap());
    let tls = server_tls(&ours, Some(&theirs));
    assert!(tls.needs_client_certificate());
    let server = start(tls).await;
    let ca = file(folder.path(), "ca.pem", &ours.pem());
    let with = |authority: &Authority, name: &str| {
        let (certificate, key) = authority.issue(&["client.example"]);
        let certificate = file(folder.path(), &format!("{name}.pem"), &certificate);
        let key = file(folder.path(), &format!("{name}-key.pem"), &key);
        url(&server, &ca, &format!("&cert={}&key={}", certificate.display(), key.display()))
    };
    let client = within(Client::connect(&with(&theirs, "good"))).await.unwrap();
    within(round_trip(&client)).await;
    for stranger in [with(&ours, "bad"), url(&server, &ca, "")] {
        let outcome = within(async { Client::connect(&stranger).await?.admin().topics().await }).await;
        assert!(outcome.is_err(), "{stranger} was let in");
    }
}

#[tokio::test]
async fn plain_clients_are_turned_away() {
    let mut options = ServeOptions::default();
    options.tls = Some(server_tls(&Authority::default(), None));
    options.plain_http = true;
    let server = TestServer::with("memory:", options).await.unwrap();
    for address in [server.addresses().fluvio_sc, server.addresses().fluvio_spu] {
        let mut peer = Peer::connect(address).await;
        peer.send_bytes(&[0, 0, 0, 20, 0, 18, 0, 2, 0, 0, 0, 1]).await;
        let mut rest = Vec::new();
        // The server sends an alert or a reset, and no more.
        let _ = within(peer.socket.read_to_end(&mut rest)).await;
        assert!(rest.len() < 64, "{rest:?}");
    }
    let mut http = TcpStream::connect(server.http_address()).await.unwrap();
    http.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within(http.read_to_string(&mut answer)).await.unwrap();
    for listener in ["fluvio_sc", "fluvio_spu"] {
        let line =
            format!("floe_server_errors_total{{listener=\"{listener}\",error=\"handshake_failed\"}} 1");
        assert!(answer.contains(&line), "{answer}");
    }
}

#[tokio::test]
async fn incomplete_handshake_times_out() {
    let mut options = ServeOptions::default();
    options.tls = Some(server_tls(&Authority::default(), None));
    options.limits.handshake_timeout = Duration::from_millis(50);
    let server = TestServer::with("memory:", options).await.unwrap();
    for begun in [&[][..], &[0x16, 3, 1]] {
        let mut peer = Peer::data(&server).await;
        peer.send_bytes(begun).await;
        peer.is_closed().await;
    }
}

#[test]
fn mismatched_certificates_are_refused() {
    let authority = Authority::default();
    let (certificate, key) = authority.issue(&["a.example"]);
    let (_, other_key) = authority.issue(&["b.example"]);
    for (certificate, key, clients) in [
        (&certificate, &other_key, None),
        (&key, &key, None),
        (&certificate, &certificate, None),
        (&certificate, &key, Some("nothing")),
    ] {
        let outcome = ServerTls::from_pem(certificate.as_bytes(), key.as_bytes(), clients.map(str::as_bytes));
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
    let missing = ServerTls::from_pem_files(Path::new("/nowhere/a.pem"), Path::new("/nowhere/b.pem"), None);
    assert!(missing.unwrap_err().to_string().contains("/nowhere/"));
}
