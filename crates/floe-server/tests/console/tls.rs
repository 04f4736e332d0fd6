//! The console over TLS, with the certificate of the server.

use std::sync::Arc;

use floe_server::{ConsoleOptions, ConsoleToken, ServeOptions, ServerTls, testkit::TestServer};
use floe_testkit::certificates::Authority;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

use crate::STEP;

/// Sends a request over TLS, with a certificate of the client if there is one.
async fn ask(server: &TestServer, config: ClientConfig, request: &str) -> std::io::Result<String> {
    let socket = TcpStream::connect(server.http_address()).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut socket = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    timeout(STEP, socket.read_to_end(&mut answer)).await??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn trusting(authority: &Authority) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

async fn server(authority: &Authority, clients: Option<&Authority>) -> TestServer {
    let (certificate, key) = authority.issue(&["localhost"]);
    let clients = clients.map(Authority::pem);
    let clients = clients.as_deref().map(str::as_bytes);
    let mut console = ConsoleOptions::default();
    console.token = Some(ConsoleToken::new("a-token-of-sixteen").unwrap());
    let mut options = ServeOptions::default();
    options.tls = Some(ServerTls::from_pem(certificate.as_bytes(), key.as_bytes(), clients).unwrap());
    options.console = Some(console);
    TestServer::with("memory:", options).await.unwrap()
}

#[tokio::test]
async fn pages_and_api_are_served_over_tls_and_the_cookie_stays_there() {
    let authority = Authority::new("ours");
    let server = server(&authority, None).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let page = ask(&server, trusting(&authority), &get("/")).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("floe console"), "{page}");
    let body = r#"{"token":"a-token-of-sixteen"}"#;
    let login = format!(
        "POST /api/v1/login HTTP/1.1\r\nhost: localhost\r\norigin: https://localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = ask(&server, trusting(&authority), &login).await.unwrap();
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap_or_default();
    for attribute in ["HttpOnly", "SameSite=Strict", "Secure"] {
        assert!(cookie.contains(attribute), "{attribute}: {answer}");
    }
    // A page that was loaded without TLS is another origin.
    let plain = login.replace("https://", "http://");
    let refused = ask(&server, trusting(&authority), &plain).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    // A plain request gets no answer over this port.
    let mut socket = TcpStream::connect(server.http_address()).await.unwrap();
    socket.write_all(get("/").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(STEP, socket.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
}

#[tokio::test]
async fn a_browser_without_a_certificate_is_turned_away_where_one_is_required() {
    let (authority, clients) = (Authority::new("ours"), Authority::new("theirs"));
    let server = server(&authority, Some(&clients)).await;
    let request = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert!(ask(&server, trusting(&authority), request).await.is_err());
}
