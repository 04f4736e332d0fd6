//! What a server counts, as metrics of OpenTelemetry.

use floe_server::{MetricFamily, MetricKind, MetricPoint, ServerMetrics};
use opentelemetry::{KeyValue, metrics::Meter};

/// Has the counters looked at whenever somebody collects.
pub(super) fn pass_on(metrics: &ServerMetrics, meter: &Meter) {
    for MetricFamily { name, help, kind, .. } in metrics.families() {
        let metrics = metrics.clone();
        let points = move || {
            let family = metrics.families().into_iter().find(|family| family.name == name);
            family.into_iter().flat_map(|family| family.points)
        };
        let unit = if name.contains("_bytes") { "By" } else { "{count}" };
        match kind {
            MetricKind::Counter => {
                let counter =
                    meter.u64_observable_counter(dotted(name)).with_unit(unit).with_description(help);
                counter
                    .with_callback(move |observer| {
                        for point in points() {
                            observer.observe(point.value, &attributes(&point));
                        }
                    })
                    .build();
            }
            MetricKind::Gauge => {
                let gauge = meter.u64_observable_gauge(dotted(name)).with_unit(unit).with_description(help);
                gauge
                    .with_callback(move |observer| {
                        for point in points() {
                            observer.observe(point.value, &attributes(&point));
                        }
                    })
                    .build();
            }
        }
    }
}

/// The name as OpenTelemetry writes names, from which Prometheus would make the one at `/metrics` again.
fn dotted(name: &str) -> String {
    name.strip_suffix("_total").unwrap_or(name).replace('_', ".")
}

fn attributes(point: &MetricPoint) -> Vec<KeyValue> {
    point.labels.iter().map(|(name, value)| KeyValue::new(*name, *value)).collect()
}
