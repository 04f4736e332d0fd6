//! Telemetry of a client, read back through the Prometheus exporter and an in-memory span exporter.

mod documentation;
#[path = "../../examples/telemetry.rs"]
mod example;
mod groups;
mod metrics;
mod spans;
#[path = "../walrus/mod.rs"]
mod walrus;

use floe::{Client, TopicSpec, telemetry::TelemetryOptions};
use floe_testkit::exposition::Exposition;
use opentelemetry_sdk::{
    metrics::SdkMeterProvider,
    trace::{InMemorySpanExporter, SdkTracerProvider, SpanData},
};
use prometheus::{Registry, TextEncoder};

#[test]
fn the_example_runs() {
    example::main().unwrap();
}

/// Collects the telemetry of a client under test.
struct Observer {
    registry: Registry,
    meters: SdkMeterProvider,
    spans: InMemorySpanExporter,
    tracers: SdkTracerProvider,
}

impl Observer {
    fn new() -> Self {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build().unwrap();
        let spans = InMemorySpanExporter::default();
        Self {
            registry,
            meters: SdkMeterProvider::builder().with_reader(exporter).build(),
            tracers: SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build(),
            spans,
        }
    }

    fn options(&self) -> TelemetryOptions {
        TelemetryOptions::default()
            .meter_provider(&self.meters)
            .tracer_provider(&self.tracers)
            .client_id("test")
    }

    /// Creates a client with a topic `orders` of this many partitions.
    async fn client(&self, url: &str, partitions: u32) -> Client {
        let client = Client::builder(url).telemetry(self.options()).connect().await.unwrap();
        client.admin().create_topic(TopicSpec::new("orders").partitions(partitions)).await.unwrap();
        client
    }

    /// Returns the current metrics.
    fn metrics(&self) -> Exposition {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        let metrics = Exposition::parse(&text).unwrap_or_else(|problem| panic!("{problem}\n{text}"));
        documentation::check(&metrics);
        metrics
    }

    /// Returns the finished spans with this name.
    fn spans(&self, name: &str) -> Vec<SpanData> {
        let spans = self.spans.get_finished_spans().unwrap();
        spans.into_iter().filter(|span| span.name == name).collect()
    }
}
