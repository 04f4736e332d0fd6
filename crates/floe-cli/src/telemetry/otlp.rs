//! Push of metrics and spans by OTLP over HTTP with protobuf.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use floe::config::{Secret, TelemetrySettings};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::metrics::PeriodicReader;
use tokio::runtime::Handle;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::exit::{Failure, Outcome};

/// Upper bound of the request deadline; the exporters apply shorter ones from the environment.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Largest response body in bytes; collectors send short ones.
const MAX_RESPONSE: usize = 1 << 20;

/// HTTP client that runs on the runtime of the command: the exporters call it from threads without one.
#[derive(Debug)]
struct RuntimeHttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
    failure: LastFailure,
}

/// Address and cause of the last request that failed, which the exporters do not pass on; empty after one that succeeded.
#[derive(Debug, Clone, Default)]
pub(super) struct LastFailure(Arc<Mutex<Option<String>>>);

impl LastFailure {
    fn set(&self, failure: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl HttpClient for RuntimeHttpClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let to = request.uri().to_string();
        let exchange = async move {
            let response = client.request(request.map(Full::from)).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_RESPONSE).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        // The timer needs the runtime as well, so it is part of the spawned task.
        let sent = self.runtime.spawn(async move { tokio::time::timeout(REQUEST_TIMEOUT, exchange).await });
        let outcome: Result<Response<Bytes>, HttpError> = sent.await??;
        self.failure.set(match &outcome {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("{to} answered {}", response.status())),
            Err(error) => Some(format!("{to}: {}", ErrorChain(&**error))),
        });
        outcome
    }
}

/// Returns the HTTP client of both exporters, which trusts the certificate authorities of the system.
///
/// # Errors
/// Fails if TLS cannot be set up.
pub(super) fn client() -> Outcome<(Arc<dyn HttpClient>, LastFailure)> {
    let mut roots = RootCertStore::empty();
    // An empty store matters to https endpoints only, whose connections then fail with a clear error.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::usage(format!("cannot set up TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let failure = LastFailure::default();
    let client = RuntimeHttpClient { client, runtime: Handle::current(), failure: failure.clone() };
    Ok((Arc::new(client), failure))
}

/// Returns a reader that exports metrics periodically and at shutdown.
///
/// # Errors
/// Fails for an invalid endpoint or an unsupported protocol in the environment.
pub(super) fn metrics(
    client: Arc<dyn HttpClient>,
    headers: &Headers,
) -> Outcome<PeriodicReader<MetricExporter>> {
    let exporter = MetricExporter::builder().with_http().with_headers(headers.0.clone());
    let exporter = exporter.with_shared_http_client(client).build();
    Ok(PeriodicReader::builder(exporter.map_err(unusable)?).build())
}

/// Returns an exporter of spans.
///
/// # Errors
/// As [`metrics`].
pub(super) fn spans(client: Arc<dyn HttpClient>, headers: &Headers) -> Outcome<SpanExporter> {
    let exporter = SpanExporter::builder().with_http().with_headers(headers.0.clone());
    exporter.with_shared_http_client(client).build().map_err(unusable)
}

/// Headers of every request; those of `OTEL_EXPORTER_OTLP_HEADERS` take precedence.
pub(super) struct Headers(HashMap<String, String>);

impl Headers {
    /// Reads the setting `telemetry.otlp_headers`.
    pub(super) fn of(settings: &TelemetrySettings) -> Self {
        let pairs = settings.otlp_headers.as_ref().and_then(Secret::pairs).unwrap_or_default();
        // The exporter decodes `%XX`, as in the variable; a setting is literal.
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.replace('%', "%25"))).collect())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn unusable(error: ExporterBuildError) -> Failure {
    Failure::usage(format!("cannot export by OTLP: {}", ErrorChain(&error)))
        .with_hint("check OTEL_EXPORTER_OTLP_ENDPOINT and the other OTEL_EXPORTER_OTLP variables")
}

/// An error and its causes on one line.
struct ErrorChain<'a>(&'a dyn std::error::Error);

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.source().map_or(Ok(()), |cause| write!(f, ": {}", ErrorChain(cause)))
    }
}
