//! TLS of the front-ends: the server's certificate, and the verification of clients.

use std::{borrow::Cow, fmt, io, path::Path, sync::Arc};

use floe::{Error, ErrorKind, Result};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};

use crate::{access::Principal, reload::Reloaded};

/// Certificate and private key of a server, and optionally the authorities that client certificates must come from.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<Reloaded<Arc<ServerConfig>>>,
    needs_client_certificate: bool,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("needs_client_certificate", &self.needs_client_certificate)
            .finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads PEM text: the certificate chain of the server, its private key, and the authorities of clients. With
    /// authorities, the handshake requires a client certificate that one of them signed.
    ///
    /// # Errors
    /// Returns [`ErrorKind::InvalidConfig`] if a text cannot be parsed, or if certificate and key do not match.
    pub fn from_pem(certificates: &[u8], key: &[u8], client_authorities: Option<&[u8]>) -> Result<Self> {
        let config = config_of(certificates, key, client_authorities)?;
        Ok(Self {
            config: Arc::new(Reloaded::fixed(config)),
            needs_client_certificate: client_authorities.is_some(),
        })
    }

    /// Reads PEM files as [`ServerTls::from_pem`] does. A server reads the files again when they change; new connections
    /// then use the new ones, and files with a mistake leave the old ones in use.
    ///
    /// # Errors
    /// Returns [`ErrorKind::InvalidConfig`], also for a file that cannot be read, with its path.
    pub fn from_pem_files(
        certificates: &Path,
        key: &Path,
        client_authorities: Option<&Path>,
    ) -> Result<Self> {
        let files = [Some(certificates), Some(key), client_authorities];
        let files = files.into_iter().flatten().map(Path::to_path_buf).collect();
        let make = |contents: &[Vec<u8>]| match contents {
            [certificates, key] => config_of(certificates, key, None),
            [certificates, key, authorities] => config_of(certificates, key, Some(authorities)),
            _ => Err(refused("a certificate and a key are needed")),
        };
        Ok(Self {
            config: Arc::new(Reloaded::from_files(files, make)?),
            needs_client_certificate: client_authorities.is_some(),
        })
    }

    /// Whether the handshake requires a client certificate.
    #[must_use]
    pub fn needs_client_certificate(&self) -> bool {
        self.needs_client_certificate
    }

    pub(crate) fn reloaded(&self) -> &Reloaded<Arc<ServerConfig>> {
        &self.config
    }

    pub(crate) async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(Arc::clone(&*self.config.current())).accept(socket).await
    }
}

/// Returns the client of a connection: that of its certificate, which the handshake has verified.
///
/// # Errors
/// Returns an error if the certificate cannot be parsed.
pub(crate) fn principal_of(socket: &TlsStream<TcpStream>) -> io::Result<Principal> {
    match socket.get_ref().1.peer_certificates().and_then(<[_]>::first) {
        None => Ok(Principal::Anonymous),
        Some(certificate) => Principal::of_certificate(certificate)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

fn config_of(
    certificates: &[u8],
    key: &[u8],
    client_authorities: Option<&[u8]>,
) -> Result<Arc<ServerConfig>> {
    let chain = certificates_of(certificates, "the certificate of the server")?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| refused("cannot parse the private key of the server").with_source(error))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused("cannot configure TLS").with_source(error))?;
    let builder = match client_authorities {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates_of(pem, "the authority of clients")? {
                roots
                    .add(authority)
                    .map_err(|error| refused("invalid authority of clients").with_source(error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                Arc::new(ring::default_provider()),
            );
            let verifier = verifier
                .build()
                .map_err(|error| refused("invalid authority of clients").with_source(error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder
        .with_single_cert(chain, key)
        .map_err(|error| refused("the certificate does not match the private key").with_source(error))?;
    Ok(Arc::new(config))
}

fn certificates_of(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<std::result::Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(refused(format!("no certificate in {what}"))),
        Err(error) => Err(refused(format!("cannot parse {what}")).with_source(error)),
    }
}

fn refused(problem: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, problem)
}
