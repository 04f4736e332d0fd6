//! `--telemetry`: export of metrics and spans.
//!
//! `otlp` sends them, `scrape` serves them to Prometheus, `server` exports the counters of `floe serve`, and `variables` reads
//! the standard variables that the OpenTelemetry SDK leaves to programs.

mod otlp;
mod scrape;
mod server;
mod variables;

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

use self::{
    otlp::{Headers, LastFailure},
    variables::Environment,
};
use crate::{
    exit::{self, Failure, Outcome},
    format::OutputFormat,
};

/// Deadline of the last export when the command ends.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Address of the Prometheus exporter by the conventions of OpenTelemetry.
const DEFAULT_SCRAPE: &str = "127.0.0.1:9464";

/// Destination of metrics or spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exporter {
    /// No export.
    Off,
    /// Push by OTLP.
    Otlp,
    /// Endpoint at this address, which Prometheus scrapes.
    Prometheus(String),
}

/// Parses one destination of `--telemetry`.
pub(crate) fn parse_exporter(text: &str) -> Result<Exporter, String> {
    match text.split_once('=') {
        None => match text {
            "off" => Ok(Exporter::Off),
            "otlp" => Ok(Exporter::Otlp),
            "prometheus" => Ok(Exporter::Prometheus(DEFAULT_SCRAPE.to_owned())),
            _ => Err("use off, otlp, prometheus or prometheus=HOST:PORT".to_owned()),
        },
        Some(("prometheus", address)) if address.contains(':') => {
            Ok(Exporter::Prometheus(address.to_owned()))
        }
        Some(_) => Err("only prometheus takes an address, as prometheus=HOST:PORT".to_owned()),
    }
}

/// Providers of metrics and spans while a command runs.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    meters: Option<SdkMeterProvider>,
    tracers: Option<SdkTracerProvider>,
    registry: Option<Registry>,
    /// OTLP export of the server counters; the server itself serves them at `/metrics`.
    server: Option<SdkMeterProvider>,
    /// Of the requests of OTLP.
    failure: LastFailure,
}

impl Telemetry {
    /// Starts the exporters and installs the global providers. `serves`: the command serves `/metrics` itself.
    ///
    /// # Errors
    /// Fails for an unavailable listen address or an invalid endpoint.
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
        let environment = if otlp { Environment::of_process()? } else { Environment::default() };
        environment.tell();
        let otlp = otlp && !environment.is_disabled;
        let mut started = Self::default();
        let mut meters = SdkMeterProvider::builder().with_resource(resource());
        if serves || !scraped.is_empty() {
            let registry = Registry::new();
            let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build();
            let exporter =
                exporter.map_err(|error| Failure::usage(format!("cannot export metrics: {error}")))?;
            meters = meters.with_reader(exporter);
            for address in scraped {
                let bound = scrape::serve(address, registry.clone()).await?;
                // The caller cannot know a port that the operating system chose.
                if address.ends_with(":0") {
                    exit::notify(format, "metrics", &format!("http://{bound}/metrics"));
                }
            }
            started.registry = Some(registry);
        }
        if otlp {
            let ((client, failure), headers) = (otlp::client()?, Headers::of(settings));
            started.failure = failure;
            if !environment.without_metrics {
                meters = meters.with_reader(otlp::metrics(Arc::clone(&client), &headers)?);
            }
            if serves && !environment.without_metrics {
                let reader = otlp::metrics(Arc::clone(&client), &headers)?;
                let provider = SdkMeterProvider::builder().with_resource(resource()).with_reader(reader);
                started.server = Some(provider.build());
            }
            if !environment.without_spans {
                let tracers = SdkTracerProvider::builder()
                    .with_resource(resource())
                    .with_batch_exporter(otlp::spans(client, &headers)?)
                    .build();
                global::set_tracer_provider(tracers.clone());
                started.tracers = Some(tracers);
            }
        }
        let meters = meters.build();
        global::set_meter_provider(meters.clone());
        started.meters = Some(meters);
        Ok(started)
    }

    /// Returns a renderer of the metrics in the Prometheus text format, where they are collected.
    pub(crate) fn text(&self) -> Option<impl Fn() -> String + Send + Sync + 'static> {
        let registry = self.registry.clone()?;
        Some(move || exposition(&registry))
    }

    /// Exports the counters of a server, where OTLP is on.
    pub(crate) fn export_server(&self, metrics: &ServerMetrics, prefix: &str) {
        if let Some(provider) = &self.server {
            server::export(metrics, &provider.meter("floe-server"), prefix);
        }
    }

    /// Runs a command in its own span, which the records that it writes carry. The variable `TRACEPARENT` may name the
    /// parent.
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

    /// Exports the remaining metrics and spans.
    ///
    /// # Errors
    /// Fails if an exporter fails or the deadline elapses.
    pub(crate) async fn stop(self) -> Result<(), String> {
        let Self { meters, tracers, server, failure, .. } = self;
        // The exporters block on the network, so they must not run on a runtime thread.
        let exported = tokio::task::spawn_blocking(move || {
            let spans = tracers.map_or(Ok(()), |tracers| tracers.shutdown());
            let metrics = meters.map_or(Ok(()), |meters| meters.shutdown());
            let server = server.map_or(Ok(()), |meters| meters.shutdown());
            spans.and(metrics).and(server).map_err(|error| error.to_string())
        });
        match tokio::time::timeout(SHUTDOWN_TIMEOUT, exported).await {
            // The exporters report that they failed, and not why.
            Ok(Ok(outcome)) => outcome.map_err(|error| failure.take().unwrap_or(error)),
            Ok(Err(stopped)) => Err(stopped.to_string()),
            Err(_) => {
                let cause = failure.take().map_or_else(String::new, |cause| format!(": {cause}"));
                Err(format!("no collector took it within {SHUTDOWN_TIMEOUT:?}{cause}"))
            }
        }
    }
}

/// Returns the context that `TRACEPARENT` names, or an empty one.
fn parent() -> Context {
    let given: Option<TraceContext> =
        env::var(TRACEPARENT.to_ascii_uppercase()).ok().and_then(|text| text.parse().ok());
    given.map_or_else(Context::new, |given| Context::new().with_remote_span_context(given.to_span_context()))
}

/// Returns the resource of this process; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` take precedence.
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
        // A partial exposition would look complete.
        text = format!("# cannot render metrics: {error}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exporters_are_parsed() {
        assert_eq!(parse_exporter("off"), Ok(Exporter::Off));
        assert_eq!(parse_exporter("otlp"), Ok(Exporter::Otlp));
        assert_eq!(parse_exporter("prometheus"), Ok(Exporter::Prometheus("127.0.0.1:9464".to_owned())));
        assert_eq!(parse_exporter("prometheus=[::1]:1"), Ok(Exporter::Prometheus("[::1]:1".to_owned())));
        for bad in ["", "oltp", "prometheus=", "prometheus=9464", "otlp=localhost:4318"] {
            assert!(parse_exporter(bad).is_err(), "{bad}");
        }
    }
}
