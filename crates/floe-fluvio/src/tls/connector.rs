//! TLS over rustls.

use std::{fmt, sync::Arc};

use floe_core::{Effect, Error, ErrorKind, Result, dial::Stream, setting::Section};
use rustls_native_certs::{CertificateResult, load_native_certs};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    },
};

use crate::{options::FluvioOptions, pem::Pem};

/// Wraps plain connections in TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    domain: Option<Arc<str>>,
}

impl Tls {
    /// Reads certificates and keys.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for files that cannot be read and options that do not fit together.
    pub(crate) fn new(options: &FluvioOptions) -> Result<Self> {
        options.check()?;
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(format!("TLS cannot be set up: {error}")))?;
        let config = match (&options.ca, options.verify) {
            (Some(ca), true) => config.with_root_certificates(authorities(ca)?),
            (_, false) => config.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider))),
            (None, true) => config.with_root_certificates(system_authorities(load_native_certs())?),
        };
        let config = match (&options.cert, &options.key) {
            (Some(cert), Some(key)) => {
                let key = PrivateKeyDer::from_pem_slice(&key.read("client key")?)
                    .map_err(|error| invalid(format!("the client key cannot be used: {error}")))?;
                config
                    .with_client_auth_cert(certificates(cert, "client certificate")?, key)
                    .map_err(|error| invalid(format!("client certificate and key cannot be used: {error}")))?
            }
            _ => config.with_no_client_auth(),
        };
        let domain = options.domain.as_deref().map(Arc::from);
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), domain })
    }

    /// Does the handshake with a server. `host` is the address that was dialled, `object` the server's name within the
    /// domain, if it has one. The caller sets a deadline: a plaintext server would wait for more bytes for ever.
    ///
    /// # Errors
    /// [`ErrorKind::TlsFailed`], without effect.
    pub(crate) async fn wrap(
        &self,
        stream: Box<dyn Stream>,
        host: &str,
        object: Option<&str>,
    ) -> Result<Box<dyn Stream>> {
        let name = match (&self.domain, object) {
            (Some(domain), Some(object)) => format!("{object}.{domain}"),
            (Some(domain), None) => domain.to_string(),
            (None, _) => host.to_owned(),
        };
        let server = ServerName::try_from(name.clone())
            .map_err(|error| invalid(format!("{name:?} is not a valid TLS server name: {error}")))?;
        match self.connector.connect(server, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(failed(&name, error)),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("domain", &self.domain).finish_non_exhaustive()
    }
}

/// Returns the error of a connection that the server closed because it rejects the client's certificate. A server rejects
/// only after the client's side of the handshake is done.
pub(crate) fn refusal(error: &std::io::Error) -> Option<Error> {
    use rustls::AlertDescription as Alert;
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>())?;
    let rustls::Error::AlertReceived(alert) = cause else { return None };
    let message = match alert {
        Alert::CertificateRequired | Alert::NoCertificate => {
            "the server asks for a client certificate: give cert=FILE and key=FILE".to_owned()
        }
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied
        | Alert::DecryptError
        | Alert::HandshakeFailure => format!("the server rejected the client certificate: {cause}"),
        _ => return None,
    };
    Some(Error::new(ErrorKind::TlsFailed, message))
}

fn failed(name: &str, error: std::io::Error) -> Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    // A closed connection may belong to a server that restarts; a rejected certificate stays rejected.
    let (message, retriable) = match cause {
        Some(rustls::Error::InvalidMessage(problem)) => {
            (format!("{name} does not speak TLS ({problem:?}); is it a plaintext port?"), false)
        }
        Some(cause) => (format!("TLS certificate verification failed for {name}: {cause}"), false),
        None => (
            format!(
                "the connection to {name} ended during the TLS handshake: {error}; is it a plaintext port?"
            ),
            true,
        ),
    };
    Error::new(ErrorKind::TlsFailed, message)
        .with_retriable(retriable)
        .with_effect(Effect::None)
        .with_source(error)
}

fn certificates(pem: &Pem, what: &str) -> Result<Vec<CertificateDer<'static>>> {
    let text = pem.read(what)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(invalid(format!("the {what} {pem:?} holds no certificate"))),
        Err(error) => Err(invalid(format!("the {what} {pem:?} cannot be used: {error}"))),
    }
}

fn authorities(pem: &Pem) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem, "authority")? {
        store
            .add(certificate)
            .map_err(|error| invalid(format!("the authority {pem:?} cannot be used: {error}")))?;
    }
    Ok(store)
}

/// Loads the certificate authorities that the operating system trusts. Unreadable ones are skipped.
fn system_authorities(found: CertificateResult) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let (_, refused) = store.add_parsable_certificates(found.certs);
    let problem = found.errors.into_iter().next();
    if !store.is_empty() {
        tracing::debug!(
            trusted = store.len(),
            refused,
            ?problem,
            "loaded the system's certificate authorities"
        );
        return Ok(store);
    }
    let error = invalid(
        "this system has no certificate authorities to trust: give ca=FILE, or verify=false to accept any certificate"
            .to_owned(),
    );
    Err(match problem {
        Some(problem) => error.with_source(problem),
        None => error,
    })
}

fn invalid(problem: String) -> Error {
    Error::new(ErrorKind::InvalidConfig, problem)
}

/// Accepts any certificate, for `verify=false`. Handshake signatures are still checked.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::{
        TlsAcceptor,
        rustls::{ServerConfig, server::WebPkiClientVerifier},
    };

    use super::{super::is_alert, *};

    struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        fn pem(&self) -> Pem {
            Pem::Inline(self.0.pem())
        }

        /// Issues a certificate and key for a name.
        fn issue(&self, name: &str, expired: bool) -> (String, String) {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            if expired {
                params.not_before = rcgen::date_time_ymd(2001, 1, 1);
                params.not_after = rcgen::date_time_ymd(2002, 1, 1);
            }
            (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
        }
    }

    fn acceptor((cert, key): (String, String), clients: Option<&Authority>) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let roots = Arc::new(authorities(&authority.pem()).unwrap());
                builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap(),
                )
            }
        };
        let certificates = certificates(&Pem::Inline(cert), "server").unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        TlsAcceptor::from(Arc::new(builder.with_single_cert(certificates, key).unwrap()))
    }

    async fn exchange(options: &FluvioOptions, acceptor: TlsAcceptor, object: Option<&str>) -> Result<()> {
        exchange_over(&Tls::new(options)?, acceptor, object).await
    }

    fn trusting_roots(roots: RootCertStore) -> Tls {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Tls { connector: TlsConnector::from(Arc::new(config)), domain: None }
    }

    /// Shakes hands and sends one byte each way.
    async fn exchange_over(tls: &Tls, acceptor: TlsAcceptor, object: Option<&str>) -> Result<()> {
        let (near, far) = duplex(1 << 16);
        let server = tokio::spawn(async move {
            let mut stream = acceptor.accept(far).await?;
            let byte = stream.read_u8().await?;
            stream.write_u8(byte + 1).await?;
            stream.flush().await
        });
        let mut stream = tls.wrap(Box::new(near), "sc.example", object).await?;
        let exchange = async {
            stream.write_u8(1).await?;
            stream.flush().await?;
            stream.read_u8().await
        };
        let answer = exchange.await.map_err(|error| refusal(&error).expect("a refusal"))?;
        assert_eq!(answer, 2);
        server.await.unwrap().unwrap();
        Ok(())
    }

    fn trusting(authority: &Authority) -> FluvioOptions {
        FluvioOptions { ca: Some(authority.pem()), ..FluvioOptions::default() }
    }

    #[tokio::test]
    async fn server_of_a_trusted_authority_is_accepted() {
        let authority = Authority::new();
        exchange(&trusting(&authority), acceptor(authority.issue("sc.example", false), None), None)
            .await
            .unwrap();
        // With a domain, the name of the host does not matter.
        let options = FluvioOptions { domain: Some("fluvio.local".to_owned()), ..trusting(&authority) };
        exchange(&options, acceptor(authority.issue("fluvio.local", false), None), None).await.unwrap();
        let spu = acceptor(authority.issue("*.fluvio.local", false), None);
        exchange(&options, spu, Some("custom-spu-5001")).await.unwrap();
    }

    #[tokio::test]
    async fn other_servers_are_rejected_unless_verification_is_off() {
        let (authority, other) = (Authority::new(), Authority::new());
        let options = trusting(&authority);
        for (why, certificate) in [
            ("another authority", other.issue("sc.example", false)),
            ("another name", authority.issue("other.example", false)),
            ("expired", authority.issue("sc.example", true)),
        ] {
            let error = exchange(&options, acceptor(certificate, None), None).await.unwrap_err();
            assert_eq!((error.kind(), error.is_retriable()), (ErrorKind::TlsFailed, false), "{why}: {error}");
        }
        let unverified = FluvioOptions { verify: false, ..FluvioOptions::default() };
        exchange(&unverified, acceptor(other.issue("elsewhere", true), None), None).await.unwrap();
    }

    #[tokio::test]
    async fn client_certificate_is_sent_on_request() {
        let authority = Authority::new();
        let server = || acceptor(authority.issue("sc.example", false), Some(&authority));
        let error = exchange(&trusting(&authority), server(), None).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retriable()), (ErrorKind::TlsFailed, false), "{error}");
        assert!(error.message().contains("cert=FILE"), "{error}");
        let (cert, key) = authority.issue("me", false);
        let (cert, key) = (Some(Pem::Inline(cert)), Some(Pem::Inline(key)));
        let options = FluvioOptions { cert, key, ..trusting(&authority) };
        exchange(&options, server(), None).await.unwrap();
        assert!(!format!("{options:?}").contains("PRIVATE"), "{options:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn plaintext_server_is_detected_or_times_out() {
        let tls = Tls::new(&trusting(&Authority::new())).unwrap();
        let (near, mut far) = duplex(1 << 16);
        far.write_all(b"\0\0\0\x04\0\0\0\x01").await.unwrap();
        let error = tls.wrap(Box::new(near), "sc.example", None).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::TlsFailed);
        assert!(error.message().contains("plain"), "{error}");
        let (near, _far) = duplex(1 << 16);
        let silent = tls.wrap(Box::new(near), "sc.example", None);
        assert!(tokio::time::timeout(Duration::from_secs(5), silent).await.is_err());
    }

    #[tokio::test]
    async fn authorities_of_the_system_are_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("certificates.pem");
        let (known, unknown) = (Authority::new(), Authority::new());
        std::fs::write(&file, known.0.pem()).unwrap();
        let load = || rustls_native_certs::load_certs_from_paths(Some(&file), None);
        assert_eq!(system_authorities(load()).unwrap().len(), 1);
        for (authority, trusted) in [(known, true), (unknown, false)] {
            let tls = trusting_roots(system_authorities(load()).unwrap());
            let server = acceptor(authority.issue("sc.example", false), None);
            assert_eq!(exchange_over(&tls, server, None).await.is_ok(), trusted);
        }
        // Unusable authorities are skipped unless none is left.
        std::fs::write(&file, "").unwrap();
        let error = system_authorities(load()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.message().contains("ca=FILE"), "{error}");
        std::fs::remove_file(&file).unwrap();
        let error = system_authorities(load()).unwrap_err();
        assert!(std::error::Error::source(&error).is_some(), "{error}");
    }

    #[tokio::test]
    async fn plain_client_on_a_tls_port_gets_an_alert() {
        let authority = Authority::new();
        let acceptor = acceptor(authority.issue("sc.example", false), None);
        let (mut near, far) = duplex(1 << 16);
        near.write_all(b"\0\0\0\x04\0\x12\0\0").await.unwrap();
        assert!(acceptor.accept(far).await.is_err());
        let mut answer = [0; 4];
        near.read_exact(&mut answer).await.unwrap();
        assert!(is_alert(answer), "{answer:?}");
        assert!(!is_alert([0, 0, 0, 4]));
    }

    #[test]
    fn invalid_settings_are_refused() {
        let ca = Some(Authority::new().pem());
        let some = || Some(Pem::Inline("x".to_owned()));
        for (options, expected) in [
            (FluvioOptions { ca: ca.clone(), verify: false, ..FluvioOptions::default() }, "verify"),
            (FluvioOptions { ca: ca.clone(), cert: some(), ..FluvioOptions::default() }, "needs key"),
            (FluvioOptions { ca: ca.clone(), key: some(), ..FluvioOptions::default() }, "needs cert"),
            (
                FluvioOptions { ca: ca.clone(), cert: some(), key: some(), ..FluvioOptions::default() },
                "client key",
            ),
            (FluvioOptions { ca: some(), ..FluvioOptions::default() }, "no certificate"),
            (
                FluvioOptions { ca: Some("/no/such/file".into()), ..FluvioOptions::default() },
                "cannot be read",
            ),
        ] {
            let error = Tls::new(&options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.message().contains(expected), "{error}");
        }
    }
}
