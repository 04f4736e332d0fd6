//! TLS of the Fluvio front-ends: who this server is, and whom it lets in.

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

/// The certificate of a server, and the authority of its clients if they need one.
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
    /// From PEM text: the certificate with those that vouch for it, its private key, and the authorities of clients. With
    /// authorities a client must show a certificate of one of them.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for what cannot be read or does not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8], client_authorities: Option<&[u8]>) -> Result<Self> {
        let chain = certificates_of(certificates, "the certificate of the server")?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| refused("the private key of the server cannot be read").with_source(error))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| refused("TLS cannot be set up").with_source(error))?;
        let builder = match client_authorities {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates_of(pem, "the authority of clients")? {
                    roots.add(authority).map_err(|error| {
                        refused("the authority of clients cannot be used").with_source(error)
                    })?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::new(ring::default_provider()),
                );
                let verifier = verifier
                    .build()
                    .map_err(|error| refused("the authority of clients cannot be used").with_source(error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(chain, key).map_err(|error| {
            refused("the certificate and the private key do not belong together").with_source(error)
        })?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            needs_client_certificate: client_authorities.is_some(),
        })
    }

    /// As [`ServerTls::from_pem`], from files.
    ///
    /// # Errors
    /// As there, with the path.
    pub fn from_pem_files(
        certificates: &Path,
        key: &Path,
        client_authorities: Option<&Path>,
    ) -> Result<Self> {
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|error| refused(format!("{} cannot be read", path.display())).with_source(error))
        };
        let client_authorities = client_authorities.map(read).transpose()?;
        Self::from_pem(&read(certificates)?, &read(key)?, client_authorities.as_deref())
    }

    /// Whether clients must show a certificate.
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
        Ok(_) => Err(refused(format!("there is no certificate in {what}"))),
        Err(error) => Err(refused(format!("{what} cannot be read")).with_source(error)),
    }
}

fn refused(problem: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, problem)
}
