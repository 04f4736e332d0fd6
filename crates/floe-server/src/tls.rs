//! TLS of the Fluvio front-ends: the server's certificate, and the verification of clients.

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

/// Certificate and private key of a server, and optionally the authorities that client certificates must come from.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
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
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            needs_client_certificate: client_authorities.is_some(),
        })
    }

    /// Reads PEM files as [`ServerTls::from_pem`] does.
    ///
    /// # Errors
    /// Returns [`ErrorKind::InvalidConfig`], also for a file that cannot be read, with its path.
    pub fn from_pem_files(
        certificates: &Path,
        key: &Path,
        client_authorities: Option<&Path>,
    ) -> Result<Self> {
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|error| refused(format!("cannot read {}", path.display())).with_source(error))
        };
        let client_authorities = client_authorities.map(read).transpose()?;
        Self::from_pem(&read(certificates)?, &read(key)?, client_authorities.as_deref())
    }

    /// Whether the handshake requires a client certificate.
    #[must_use]
    pub fn needs_client_certificate(&self) -> bool {
        self.needs_client_certificate
    }

    pub(crate) async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(socket).await
    }
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
