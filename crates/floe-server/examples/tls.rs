//! Mutual TLS: `cargo run -p floe-server --example tls`.
//!
//! A program needs only the URL that `connect` builds. The rest makes the example self-contained: an authority,
//! certificates of a server and a client, and a Fluvio cluster, which is the test server behind a TLS port.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use floe::{Client, Error, ErrorKind, engine::FluvioEngine, engine::fluvio::objects::SpuSpec};
use floe_server::testkit::TestServer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::WebPkiClientVerifier,
    },
};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// The part that a program needs.
async fn connect(port: SocketAddr, folder: &Path) -> floe::Result<FluvioEngine> {
    // Without `ca`, the client trusts the authorities of the system. `domain` is the name in the certificate, for
    // clusters that are reached under another one.
    let folder = folder.display();
    let url = format!(
        "fluvio+tls://{port}?domain=fluvio.example&ca={folder}/ca.pem&cert={folder}/me.pem&key={folder}/me.key"
    );
    FluvioEngine::connect(&url).await
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "it shows what happens")]
pub(crate) async fn main() -> Outcome {
    let folder = tempfile::tempdir()?;
    let authority = authority()?;
    fs::write(folder.path().join("ca.pem"), authority.pem())?;
    let (cert, key) = vouch(&authority, "me")?;
    fs::write(folder.path().join("me.pem"), cert)?;
    fs::write(folder.path().join("me.key"), key)?;

    let server = TestServer::start().await?;
    let port = tls_port(&authority, server.fluvio_address()).await?;

    let cluster = connect(port, folder.path()).await?;
    for spu in cluster.admin().list::<SpuSpec>(&[]).await? {
        println!("trusted: data server {} is {:?}", spu.spec.id, spu.status);
    }
    // The engine inside a client.
    let client = Client::from_engine(Arc::new(cluster));
    println!("topics: {}", client.admin().topics().await?.len());
    client.close().await?;

    // The server refuses a client without a certificate; a client refuses a server of an unknown authority.
    let ca = folder.path().join("ca.pem");
    let anonymous = format!("fluvio+tls://{port}?domain=fluvio.example&ca={}", ca.display());
    refused(&anonymous, FluvioEngine::connect(&anonymous).await.err())?;
    let other = folder.path().join("other.pem");
    fs::write(&other, self::authority()?.pem())?;
    let stranger = format!("fluvio+tls://{port}?domain=fluvio.example&ca={}", other.display());
    refused(&stranger, FluvioEngine::connect(&stranger).await.err())?;
    server.stop().await?;
    Ok(())
}

#[allow(clippy::print_stdout, reason = "it shows what happens")]
fn refused(url: &str, error: Option<Error>) -> Outcome {
    match error {
        Some(error) if error.kind() == ErrorKind::TlsFailed => {
            println!("refused: {error}");
            Ok(())
        }
        other => Err(format!("{url} should have been refused: {other:?}").into()),
    }
}

fn authority() -> Outcome<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// Returns certificate and key for a name, as PEM.
fn vouch(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> Outcome<(String, String)> {
    let key = KeyPair::generate()?;
    let cert = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, authority)?;
    Ok((cert.pem(), key.serialize_pem()))
}

/// Opens a port that requires client certificates and forwards the decrypted bytes to `to`.
async fn tls_port(authority: &CertifiedIssuer<'static, KeyPair>, to: String) -> Outcome<SocketAddr> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes())?)?;
    let provider = Arc::new(ring::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let (cert, key) = vouch(authority, "fluvio.example")?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(cert.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, to) = (acceptor.clone(), to.clone());
            tokio::spawn(async move {
                // The refused handshakes of this example end here.
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let Ok(mut server) = TcpStream::connect(&to).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    Ok(port)
}
