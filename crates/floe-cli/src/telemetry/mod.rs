//! Where metrics and spans of a command go: `--telemetry`.
//!
//! `otlp` sends them, `scrape` offers them, `server` passes on what `floe serve` counts. Both stand on the SDK of OpenTelemetry, which reads the standard variables
//! of the environment by itself.

mod otlp;
mod scrape;
mod server;

use std::{env, future::Future, sync::Arc, time::Duration};

use floe::{
    config::TelemetrySettings,
    telemetry::{TRACEPARENT, TraceContext},
};
use floe_server::ServerMetrics;
use opentelemetry::{
    Context, KeyValue,
    context::FutureExt as _,
    global,
    metrics::MeterProvider as _,
    trace::{SpanBuilder, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::{Resource, metrics::SdkMeterProvider, trace::SdkTracerProvider};
use prometheus::{Registry, TextEncoder};

use self::otlp::Headers;
use crate::{
    exit::{self, Failure, Outcome},
    format::OutputFormat,
};

/// How long the last metrics and spans may take to be delivered.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Where the conventions of OpenTelemetry have metrics offered.
const DEFAULT_SCRAPE: &str = "127.0.0.1:9464";

/// One place for metrics or spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exporter {
    /// Nowhere.
    Off,
    /// Sent by OTLP.
    Otlp,
    /// Offered to Prometheus at this address.
    Prometheus(String),
}

/// Reads one word of `--telemetry`.
pub(crate) fn parse_exporter(text: &str) -> Result<Exporter, String> {
    match text.split_once('=') {
        None => match text {
            "off" => Ok(Exporter::Off),
            "otlp" => Ok(Exporter::Otlp),
            "prometheus" => Ok(Exporter::Prometheus(DEFAULT_SCRAPE.to_owned())),
            _ => Err("off, otlp, prometheus or prometheus=HOST:PORT".to_owned()),
        },
        Some(("prometheus", address)) if address.contains(':') => {
            Ok(Exporter::Prometheus(address.to_owned()))
        }
        Some(_) => Err("only prometheus has an address, HOST:PORT".to_owned()),
    }
}

/// What collects metrics and spans while a command runs.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    meters: Option<SdkMeterProvider>,
    tracers: Option<SdkTracerProvider>,
    registry: Option<Registry>,
    /// What a server counts goes this way only: it shows the same at `/metrics` by itself.
    server: Option<SdkMeterProvider>,
}

impl Telemetry {
    /// Starts what `exporters` ask for, and makes it what clients find. `serves`: the command offers metrics itself.
    ///
    /// # Errors
    /// An address that cannot be listened on, an endpoint that is none.
    pub(crate) async fn start(
        exporters: &[Exporter],
        serves: bool,
        format: OutputFormat,
        settings: &TelemetrySettings,
    ) -> Outcome<Self> {
        let otlp = exporters.contains(&Exporter::Otlp);
        let scraped: Vec<_> = exporters
            .iter()
            .filter_map(|exporter| match exporter {
                Exporter::Prometheus(address) => Some(address),
                Exporter::Off | Exporter::Otlp => None,
            })
            .collect();
        if !otlp && !serves && scraped.is_empty() {
            return Ok(Self::default());
        }
        let mut started = Self::default();
        let mut meters = SdkMeterProvider::builder().with_resource(resource());
        if serves || !scraped.is_empty() {
            let registry = Registry::new();
            let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build();
            let exporter = exporter.map_err(|error| Failure::usage(format!("no metrics: {error}")))?;
            meters = meters.with_reader(exporter);
            for address in scraped {
                let bound = scrape::offer(address, registry.clone()).await?;
                // Without this nobody could know a port that was taken because it was free.
                if address.ends_with(":0") {
                    exit::tell(format, "metrics", &format!("http://{bound}/metrics"));
                }
            }
            started.registry = Some(registry);
        }
        if otlp {
            let (client, headers) = (otlp::client()?, Headers::of(settings));
            meters = meters.with_reader(otlp::metrics(Arc::clone(&client), &headers)?);
            if serves {
                let reader = otlp::metrics(Arc::clone(&client), &headers)?;
                let provider = SdkMeterProvider::builder().with_resource(resource()).with_reader(reader);
                started.server = Some(provider.build());
            }
            let tracers = SdkTracerProvider::builder()
                .with_resource(resource())
                .with_batch_exporter(otlp::spans(client, &headers)?)
                .build();
            global::set_tracer_provider(tracers.clone());
            started.tracers = Some(tracers);
        }
        let meters = meters.build();
        global::set_meter_provider(meters.clone());
        started.meters = Some(meters);
        Ok(started)
    }

    /// The metrics as text for Prometheus, where somebody asked for them.
    pub(crate) fn text(&self) -> Option<impl Fn() -> String + Send + Sync + 'static> {
        let registry = self.registry.clone()?;
        Some(move || exposition(&registry))
    }

    /// Passes on what a server counts, where somebody asked for it.
    pub(crate) fn tell_of(&self, metrics: &ServerMetrics) {
        if let Some(provider) = &self.server {
            server::pass_on(metrics, &provider.meter("floe-server"));
        }
    }

    /// Runs a command in a span of its own, so that the records that it writes carry it. The environment may name the
    /// parent, as one program tells another: `TRACEPARENT`.
    pub(crate) async fn in_span(&self, name: &str, command: impl Future<Output = Outcome>) -> Outcome {
        if self.tracers.is_none() {
            return command.await;
        }
        let tracer = global::tracer("floe-cli");
        let span = tracer.build_with_context(SpanBuilder::from_name(format!("floe {name}")), &parent());
        let context = Context::new().with_span(span);
        let outcome = command.with_context(context.clone()).await;
        let span = context.span();
        if let Err(failure) = &outcome {
            span.set_attribute(KeyValue::new("error.type", failure.code()));
            span.set_status(Status::error(failure.message().to_owned()));
        }
        span.end();
        outcome
    }

    /// Delivers what is left, and says if that failed.
    ///
    /// # Errors
    /// What kept it from being delivered.
    pub(crate) async fn stop(self) -> Result<(), String> {
        let Self { meters, tracers, server, .. } = self;
        // The exporters wait for the network, which the threads of the runtime must not.
        let delivered = tokio::task::spawn_blocking(move || {
            let spans = tracers.map_or(Ok(()), |tracers| tracers.shutdown());
            let metrics = meters.map_or(Ok(()), |meters| meters.shutdown());
            let server = server.map_or(Ok(()), |meters| meters.shutdown());
            spans.and(metrics).and(server).map_err(|error| error.to_string())
        });
        match tokio::time::timeout(LAST_WORDS, delivered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(stopped)) => Err(stopped.to_string()),
            Err(_) => Err(format!("not delivered within {LAST_WORDS:?}")),
        }
    }
}

fn parent() -> Context {
    let given: Option<TraceContext> =
        env::var(TRACEPARENT.to_ascii_uppercase()).ok().and_then(|text| text.parse().ok());
    given.map_or_else(Context::new, |given| Context::new().with_remote_span_context(given.to_span_context()))
}

/// What tells this process apart; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` come first.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let named = env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty())
        || env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|pairs| pairs.contains("service.name="));
    let builder = Resource::builder().with_attribute(version);
    if named { builder.build() } else { builder.with_service_name("floe").build() }
}

fn exposition(registry: &Registry) -> String {
    let mut text = String::new();
    if let Err(error) = TextEncoder::new().encode_utf8(&registry.gather(), &mut text) {
        // Half of the metrics would look like all of them.
        text = format!("# metrics cannot be written: {error}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exporters_are_named() {
        assert_eq!(parse_exporter("off"), Ok(Exporter::Off));
        assert_eq!(parse_exporter("otlp"), Ok(Exporter::Otlp));
        assert_eq!(parse_exporter("prometheus"), Ok(Exporter::Prometheus("127.0.0.1:9464".to_owned())));
        assert_eq!(parse_exporter("prometheus=[::1]:1"), Ok(Exporter::Prometheus("[::1]:1".to_owned())));
        for bad in ["", "oltp", "prometheus=", "prometheus=9464", "otlp=localhost:4318"] {
            assert!(parse_exporter(bad).is_err(), "{bad}");
        }
    }
}
