//! A certificate authority for TLS tests.

use std::{fmt, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::WebPkiClientVerifier,
    },
};

/// Certificate authority with a key of its own. Two authorities never trust each other's certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// PEM of a certificate and of its private key.
pub type CertificateAndKey = (String, String);

impl Default for Authority {
    fn default() -> Self {
        Self::new("floe tests")
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Creates an authority with this common name.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Returns the authority's own certificate as PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a certificate for host names or addresses. It does not expire in this millennium.
    pub fn issue(&self, names: &[&str]) -> CertificateAndKey {
        self.issue_until(names, 4000)
    }

    /// Issues a certificate with a common name, for clients.
    pub fn issue_to(&self, common_name: &str, names: &[&str]) -> CertificateAndKey {
        self.sign(names, 4000, |params| {
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, common_name);
        })
    }

    /// Issues a certificate that is valid from 2000 until January of `year`.
    pub fn issue_until(&self, names: &[&str], year: i32) -> CertificateAndKey {
        self.sign(names, year, |_| {})
    }

    fn sign(
        &self,
        names: &[&str],
        year: i32,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateAndKey {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        change(&mut params);
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// Returns the server side of TLS with this certificate. With `clients`, a client must present a certificate of that
    /// authority.
    pub fn acceptor((certificate, key): &CertificateAndKey, clients: Option<&Self>) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let certificate = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        TlsAcceptor::from(Arc::new(builder.with_single_cert(certificate, key).unwrap()))
    }
}
