//! docs/telemetry.md matches the code.

use std::collections::BTreeMap;

use floe::telemetry::names::{Instrument, METRICS, Metric, SPANS};
use floe_testkit::exposition::Exposition;

const PAGE: &str = include_str!("../../../../docs/telemetry.md");

/// Returns the name of a metric in the Prometheus format.
fn in_prometheus(metric: &Metric) -> String {
    let unit = match metric.unit {
        "s" => "_seconds",
        "By" => "_bytes",
        _ => "",
    };
    let total = if metric.instrument == Instrument::Counter { "_total" } else { "" };
    format!("{}{unit}{total}", metric.name.replace('.', "_"))
}

/// Every exported metric and attribute is documented.
pub(crate) fn check(exported: &Exposition) {
    let documented: BTreeMap<_, _> = METRICS.iter().map(|metric| (in_prometheus(metric), metric)).collect();
    for name in exported.names().filter(|name| *name != "target_info") {
        let metric = documented.get(name).unwrap_or_else(|| panic!("{name} is not documented"));
        for label in exported.label_names(name) {
            let known = metric.attributes.iter().any(|attribute| attribute.replace('.', "_") == label);
            assert!(known || label.starts_with("otel_scope_"), "{label} of {name} is not documented");
        }
    }
}

fn code(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[test]
fn every_metric_is_documented() {
    let expected: Vec<_> = METRICS
        .iter()
        .map(|metric| {
            let (name, kind, unit) = (metric.name, metric.instrument.as_str(), metric.unit);
            format!("| `{name}` | {kind} | `{unit}` | {} | {} |", code(metric.attributes), metric.description)
        })
        .collect();
    let found: Vec<_> = PAGE
        .lines()
        .filter(|line| METRICS.iter().any(|m| line.starts_with(&format!("| `{}` |", m.name))))
        .collect();
    assert_eq!(found, expected, "the table should be:\n{}\n", expected.join("\n"));
}

#[test]
fn every_span_is_documented() {
    let expected: Vec<_> = SPANS
        .iter()
        .map(|span| {
            let (operation, kind) = (span.operation, span.kind);
            format!("| `{operation} <topic>` | {kind} | {} | {} |", code(span.attributes), span.description)
        })
        .collect();
    let found: Vec<_> = PAGE.lines().filter(|line| line.contains(" <topic>` |")).collect();
    assert_eq!(found, expected, "the table should be:\n{}\n", expected.join("\n"));
}

#[test]
fn names_follow_the_rules() {
    for metric in METRICS {
        assert!(!metric.name.contains("total"), "{}: the exporter adds the suffix", metric.name);
        assert!(metric.name.starts_with("messaging.") || metric.name.starts_with("floe."), "{}", metric.name);
        assert!(metric.description.ends_with('.'), "{}", metric.name);
    }
    let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), METRICS.len());
}

#[test]
fn the_page_names_the_version_of_opentelemetry() {
    let manifest = include_str!("../../../../Cargo.toml");
    let line = manifest.lines().find(|line| line.starts_with("opentelemetry = ")).expect("the dependency");
    let version = line.split('"').nth(1).and_then(|version| version.rsplit_once('.')).expect("a version").0;
    assert!(PAGE.contains(&format!("OpenTelemetry {version}")), "{version}");
}
