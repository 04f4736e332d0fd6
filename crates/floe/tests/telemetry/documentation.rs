//! The page about telemetry says what the code does.

use floe::telemetry::names::{METRICS, SPANS};

const PAGE: &str = include_str!("../../../../docs/telemetry.md");

fn code(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[test]
fn every_metric_stands_in_the_page_as_it_is() {
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
fn every_span_stands_in_the_page_as_it_is() {
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
        assert!(!metric.name.contains("total"), "{}: the exporter adds that", metric.name);
        assert!(metric.name.starts_with("messaging.") || metric.name.starts_with("floe."), "{}", metric.name);
        assert!(metric.description.ends_with('.'), "{}", metric.name);
    }
    let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), METRICS.len());
}
