//! Metrics and spans of a producer and a consumer: `cargo run -p floe --example telemetry`.
//!
//! A program would send both to a collector. This one prints them: the metrics as Prometheus would see them, the spans
//! as they end. The trace begins in the span `checkout`, goes with the record, and ends where the record is handled.

use floe::{Client, Error, TopicSpec, consumer::StartAt};
use opentelemetry::{
    Context,
    context::FutureExt as _,
    global,
    trace::{TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::SdkMeterProvider,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use prometheus::{Registry, TextEncoder};

/// Prints spans.
#[derive(Debug)]
struct Print;

impl SpanExporter for Print {
    #[allow(clippy::print_stdout, reason = "that is its work")]
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        for span in spans {
            let trace = span.span_context.trace_id();
            println!(
                "span {:<16} {:?} of trace {trace}, {} links",
                span.name,
                span.span_kind,
                span.links.links.len()
            );
        }
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build()?;
    // Before the client connects: it looks for them once.
    global::set_meter_provider(SdkMeterProvider::builder().with_reader(exporter).build());
    global::set_tracer_provider(SdkTracerProvider::builder().with_simple_exporter(Print).build());

    let client = Client::connect("memory:").await?;
    client.admin().create_topic(TopicSpec::new("orders")).await?;
    let producer = client.producer("orders").start().await?;

    // What happens inside a span is part of its trace; with `tracing`, the crate tracing-opentelemetry does this.
    let checkout = Context::current_with_span(global::tracer("shop").start("checkout"));
    producer.send("one coffee").with_context(checkout.clone()).await?;
    checkout.span().end();

    let mut consumer = client.consumer("orders").from(StartAt::Beginning).stop_at_end().start().await?;
    while let Some(message) = consumer.try_next().await? {
        let brewing = async {
            // The span `process orders` is current here.
            Ok::<_, Error>(message.value.len())
        };
        client.telemetry().process_as_child(&message, brewing).await?;
    }
    client.close().await?;

    print_metrics(&registry)?;
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the report")]
fn print_metrics(registry: &Registry) -> Result<(), prometheus::Error> {
    let text = TextEncoder::new().encode_to_string(&registry.gather())?;
    // The buckets of the histograms would fill the screen.
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket{")) {
        println!("{line}");
    }
    Ok(())
}
