//! Metrics and spans sent by OTLP over HTTP with protobuf.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

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

/// Longest that a request may take, whatever the environment says; shorter limits are the exporters' own.
const LONGEST: Duration = Duration::from_secs(60);

/// Largest answer; what a collector has to say is short.
const MAX_ANSWER: usize = 1 << 20;

/// Sends on the runtime of the command: the exporters run on threads of their own, which have none.
#[derive(Debug)]
struct OnRuntime {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let response = client.request(request.map(Full::from)).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        // The timer, too, belongs to the runtime, which is not current here.
        self.runtime.spawn(async move { tokio::time::timeout(LONGEST, exchange).await }).await??
    }
}

/// What both exporters send with. Trusts the authorities of the system.
///
/// # Errors
/// When TLS cannot be set up.
pub(super) fn client() -> Outcome<Arc<dyn HttpClient>> {
    let mut roots = RootCertStore::empty();
    // None at all matters only to endpoints with https, and then the error of the connection says so.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::usage(format!("no TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    Ok(Arc::new(OnRuntime { client, runtime: Handle::current() }))
}

/// Collects and sends metrics now and then, and at the end.
///
/// # Errors
/// When the environment has an endpoint that is none, or asks for a protocol that is not spoken.
pub(super) fn metrics(
    client: Arc<dyn HttpClient>,
    headers: &Headers,
) -> Outcome<PeriodicReader<MetricExporter>> {
    let exporter = MetricExporter::builder().with_http().with_headers(headers.0.clone());
    let exporter = exporter.with_shared_http_client(client).build();
    Ok(PeriodicReader::builder(exporter.map_err(unusable)?).build())
}

/// Sends spans.
///
/// # Errors
/// As [`metrics`].
pub(super) fn spans(client: Arc<dyn HttpClient>, headers: &Headers) -> Outcome<SpanExporter> {
    let exporter = SpanExporter::builder().with_http().with_headers(headers.0.clone());
    exporter.with_shared_http_client(client).build().map_err(unusable)
}

/// Sent with every request; those in the environment, `OTEL_EXPORTER_OTLP_HEADERS`, go before them.
pub(super) struct Headers(HashMap<String, String>);

impl Headers {
    /// Those of the setting `telemetry.otlp_headers`.
    pub(super) fn of(settings: &TelemetrySettings) -> Self {
        let pairs = settings.otlp_headers.as_ref().and_then(Secret::pairs).unwrap_or_default();
        // The exporter decodes `%XX`, as in the variable; what is in a setting is meant as it is written.
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.replace('%', "%25"))).collect())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn unusable(error: ExporterBuildError) -> Failure {
    Failure::usage(format!("no OTLP: {}", Text(&error)))
        .with_hint("see OTEL_EXPORTER_OTLP_ENDPOINT and its kin")
}

/// An error and its causes on one line.
struct Text<'a>(&'a dyn std::error::Error);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.source().map_or(Ok(()), |cause| write!(f, ": {}", Text(cause)))
    }
}
