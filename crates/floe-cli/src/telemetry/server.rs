//! Counters of a server as OpenTelemetry metrics.

use floe::telemetry::names;
use floe_server::{MetricFamily, MetricKind, MetricPoint, ServerMetrics};
use opentelemetry::{KeyValue, metrics::Meter};

/// Registers an observable instrument for each metric family; a collection reads the counters.
/// Names begin with `prefix` in place of `floe`.
pub(super) fn export(metrics: &ServerMetrics, meter: &Meter, prefix: &str) {
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
                    meter.u64_observable_counter(dotted(name, prefix)).with_unit(unit).with_description(help);
                counter
                    .with_callback(move |observer| {
                        for point in points() {
                            observer.observe(point.value, &attributes(&point));
                        }
                    })
                    .build();
            }
            MetricKind::Gauge => {
                let gauge =
                    meter.u64_observable_gauge(dotted(name, prefix)).with_unit(unit).with_description(help);
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

/// Returns the name in OpenTelemetry notation, which Prometheus converts back to the one at `/metrics`.
fn dotted(name: &str, prefix: &str) -> String {
    let name = name.strip_suffix("_total").unwrap_or(name).replace('_', ".");
    names::under(&name, prefix).into_owned()
}

fn attributes(point: &MetricPoint) -> Vec<KeyValue> {
    point.labels.iter().map(|(name, value)| KeyValue::new(*name, *value)).collect()
}
