//! Counters of the server, and their Prometheus text.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use floe::memory::MemoryPool;
use parking_lot::Mutex;

use crate::{
    limits::{LimitInfo, ServeLimits},
    memory::ServerMemory,
};

/// The listener that a count belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Frontend {
    Controller,
    Data,
    Walrus,
    Http,
}

impl Frontend {
    const ALL: [Self; 4] = [Self::Controller, Self::Data, Self::Walrus, Self::Http];

    /// Value of the label `listener`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Controller => "fluvio_sc",
            Self::Data => "fluvio_spu",
            Self::Walrus => "walrus",
            Self::Http => "http",
        }
    }
}

/// Counts by two labels. Labels are constants of the code, so clients cannot add series.
type Family = Mutex<BTreeMap<(Frontend, &'static str), u64>>;

/// All counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    open: [AtomicU64; Frontend::ALL.len()],
    opened: [AtomicU64; Frontend::ALL.len()],
    refused: AtomicU64,
    requests: Family,
    errors: Family,
    refused_by_rule: Family,
    delayed: Family,
    reloads: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    refusals: Family,
    cut_off: Family,
    /// Limits by name, and the memory they bound; empty until the server starts.
    observed: OnceLock<(Vec<LimitInfo>, ServerMemory)>,
    records_in: AtomicU64,
    bytes_in: AtomicU64,
    records_out: AtomicU64,
    bytes_out: AtomicU64,
}

impl Metrics {
    pub(crate) fn connection_opened(&self, front: Frontend) {
        self.opened[front as usize].fetch_add(1, Ordering::Relaxed);
        self.open[front as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_closed(&self, front: Frontend) {
        self.open[front as usize].fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request(&self, front: Frontend, api: &'static str) {
        *self.requests.lock().entry((front, api)).or_default() += 1;
    }

    pub(crate) fn error(&self, front: Frontend, error: &'static str) {
        *self.errors.lock().entry((front, error)).or_default() += 1;
    }

    pub(crate) fn refused_by_rule(&self, front: Frontend, operation: &'static str) {
        *self.refused_by_rule.lock().entry((front, operation)).or_default() += 1;
    }

    pub(crate) fn delayed(&self, front: Frontend, rate: &'static str) {
        *self.delayed.lock().entry((front, rate)).or_default() += 1;
    }

    pub(crate) fn reloaded(&self, files: &'static str, outcome: &'static str) {
        *self.reloads.lock().entry((files, outcome)).or_default() += 1;
    }

    /// Shows the limits and the memory of the server. The first server that shares the counters is shown.
    pub(crate) fn observe(&self, limits: &ServeLimits, memory: &ServerMemory) {
        let _ = self.observed.set((limits.table(), memory.clone()));
    }

    /// Counts a request that a rule of the server refused.
    pub(crate) fn refused(&self, front: Frontend, rule: &'static str) {
        *self.refusals.lock().entry((front, rule)).or_default() += 1;
    }

    /// Counts a client that was cut off.
    pub(crate) fn cut_off(&self, front: Frontend, reason: &'static str) {
        *self.cut_off.lock().entry((front, reason)).or_default() += 1;
    }

    pub(crate) fn received(&self, records: u64, bytes: usize) {
        self.records_in.fetch_add(records, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, records: u64, bytes: usize) {
        self.records_out.fetch_add(records, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns all metrics with their values, in the order of `/metrics`.
    fn families(&self) -> Vec<MetricFamily> {
        let of_front = |counters: &[AtomicU64; Frontend::ALL.len()]| {
            let point = |front: Frontend| MetricPoint {
                labels: vec![("listener", front.name())],
                value: counters[front as usize].load(Ordering::Relaxed),
            };
            Frontend::ALL.into_iter().map(point).collect()
        };
        let single = |value: &AtomicU64| {
            vec![MetricPoint { labels: Vec::new(), value: value.load(Ordering::Relaxed) }]
        };
        let mut families = vec![
            gauge("floe_server_connections", "Open connections.", of_front(&self.open)),
            counter("floe_server_connections_opened_total", "Accepted connections.", of_front(&self.opened)),
            counter(
                "floe_server_connections_refused_total",
                "Connections refused above the limit.",
                single(&self.refused),
            ),
            counter(
                "floe_server_received_records_total",
                "Records received from clients.",
                single(&self.records_in),
            ),
            counter(
                "floe_server_received_bytes_total",
                "Bytes of batches received from clients.",
                single(&self.bytes_in),
            ),
            counter("floe_server_sent_records_total", "Records sent to clients.", single(&self.records_out)),
            counter(
                "floe_server_sent_bytes_total",
                "Bytes of batches sent to clients.",
                single(&self.bytes_out),
            ),
            counter("floe_server_requests_total", "Requests by API.", points_of(&self.requests, "api")),
            counter(
                "floe_server_errors_total",
                "Failed requests and connections.",
                points_of(&self.errors, "error"),
            ),
        ];
        families.extend(self.access_families());
        families.extend(self.refusal_families());
        families.extend(self.memory_families());
        families
    }

    /// Returns the metrics of rules, rates and reloads.
    fn access_families(&self) -> [MetricFamily; 3] {
        [
            counter(
                "floe_server_refused_by_rule_total",
                "Operations that the rules of access refused.",
                points_of(&self.refused_by_rule, "operation"),
            ),
            counter(
                "floe_server_delayed_total",
                "Waits of clients above their rate.",
                points_of(&self.delayed, "rate"),
            ),
            counter(
                "floe_server_reloads_total",
                "Certificates and rules that were read again after a change, and whether they are in use.",
                self.reloads
                    .lock()
                    .iter()
                    .map(|((files, outcome), value)| MetricPoint {
                        labels: vec![("files", *files), ("outcome", *outcome)],
                        value: *value,
                    })
                    .collect(),
            ),
        ]
    }

    /// Returns the metrics of requests that are refused and clients that are cut off.
    fn refusal_families(&self) -> [MetricFamily; 2] {
        [
            counter(
                "floe_server_refusals_total",
                "Requests that a check of the server refused.",
                points_of(&self.refusals, "rule"),
            ),
            counter(
                "floe_server_cut_off_total",
                "Clients that were cut off, and why.",
                points_of(&self.cut_off, "reason"),
            ),
        ]
    }

    /// Returns the metrics of the budget, and the limits.
    fn memory_families(&self) -> [MetricFamily; 6] {
        [
            gauge(
                "floe_server_memory_bytes",
                "Memory that clients hold, by class.",
                self.by_class(|pool| pool.used() as u64),
            ),
            gauge(
                "floe_server_memory_limit_bytes",
                "Limit of the memory, by class.",
                self.by_class(|pool| pool.limit() as u64),
            ),
            gauge(
                "floe_server_memory_largest_bytes",
                "Memory of the client that holds most, by class.",
                self.by_class(|pool| pool.holders(1).first().map_or(0, |(_, held)| *held as u64)),
            ),
            gauge(
                "floe_server_memory_waiting",
                "Requests and responses that wait for memory, by class.",
                self.by_class(|pool| pool.waiting() as u64),
            ),
            counter(
                "floe_server_memory_cut_off_total",
                "Clients cut off because others needed the memory that they held, by class.",
                self.by_class(MemoryPool::cut_off),
            ),
            gauge(
                "floe_server_limit",
                "Limits: bytes, numbers, and milliseconds; 0 is no limit.",
                self.limits(),
            ),
        ]
    }

    fn by_class(&self, value: impl Fn(&MemoryPool) -> u64) -> Vec<MetricPoint> {
        let memory = self.observed.get().map(|(_, memory)| memory);
        let classes = memory.into_iter().flat_map(ServerMemory::classes);
        classes
            .map(|(class, pool)| MetricPoint { labels: vec![("class", class)], value: value(pool) })
            .collect()
    }

    fn limits(&self) -> Vec<MetricPoint> {
        let limits = self.observed.get().into_iter().flat_map(|(limits, _)| limits);
        limits.map(|limit| MetricPoint { labels: vec![("name", limit.name)], value: limit.value }).collect()
    }

    /// Returns the Prometheus text format, version 0.0.4.
    pub(crate) fn to_prometheus(&self) -> String {
        let mut out = String::with_capacity(4096);
        head(&mut out, "floe_build_info", "gauge", "Always 1; the label holds the version.");
        line(&mut out, "floe_build_info", &format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1);
        for MetricFamily { name, help, kind, points } in self.families() {
            head(&mut out, name, kind.as_str(), help);
            for MetricPoint { labels, value } in points {
                let labels: Vec<_> =
                    labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
                let labels =
                    if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
                line(&mut out, name, &labels, value);
            }
        }
        out
    }
}

/// Counters of a server, for programs that export them elsewhere. Pass a clone as
/// [`ServeOptions::metrics`](crate::ServeOptions::metrics); all clones share the same counters.
///
/// ```
/// use floe_server::{ServeOptions, ServerMetrics};
///
/// let metrics = ServerMetrics::default();
/// let mut options = ServeOptions::default();
/// options.metrics = metrics.clone();
/// // … serve(listeners, engine, options, shutdown) …
/// assert!(metrics.families().iter().any(|family| family.name == "floe_server_requests_total"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct ServerMetrics(Arc<Metrics>);

impl ServerMetrics {
    /// Returns all metrics with their current values. The set of metrics is fixed.
    #[must_use]
    pub fn families(&self) -> Vec<MetricFamily> {
        self.0.families()
    }

    pub(crate) fn counters(&self) -> Arc<Metrics> {
        Arc::clone(&self.0)
    }
}

/// One metric of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricFamily {
    /// Name at `/metrics`.
    pub name: &'static str,
    /// Description.
    pub help: &'static str,
    /// Gauge or counter.
    pub kind: MetricKind,
    /// Values. Metrics by API or by error hold only the labels that have occurred.
    pub points: Vec<MetricPoint>,
}

/// Kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A value that rises and falls.
    Gauge,
    /// A value that only rises.
    Counter,
}

impl MetricKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
        }
    }
}

/// One value of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricPoint {
    /// Names and values of the labels.
    pub labels: Vec<(&'static str, &'static str)>,
    /// The value.
    pub value: u64,
}

fn counter(name: &'static str, help: &'static str, points: Vec<MetricPoint>) -> MetricFamily {
    MetricFamily { name, help, kind: MetricKind::Counter, points }
}

fn gauge(name: &'static str, help: &'static str, points: Vec<MetricPoint>) -> MetricFamily {
    MetricFamily { name, help, kind: MetricKind::Gauge, points }
}

/// Returns the counts of a family, whose second label is `label`.
fn points_of(family: &Family, label: &'static str) -> Vec<MetricPoint> {
    let family = family.lock();
    let point = |((front, value_of_label), value): (&(Frontend, &'static str), &u64)| MetricPoint {
        labels: vec![("listener", front.name()), (label, *value_of_label)],
        value: *value,
    };
    family.iter().map(point).collect()
}

/// Writes the lines before the values of a metric, in the Prometheus text format.
pub(crate) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Writes one value of a metric.
pub(crate) fn line(out: &mut String, name: &str, labels: &str, value: u64) {
    let _ = writeln!(out, "{name}{labels} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_shown_with_their_labels() {
        let metrics = Metrics::default();
        metrics.connection_opened(Frontend::Data);
        metrics.connection_opened(Frontend::Data);
        metrics.connection_closed(Frontend::Data);
        metrics.request(Frontend::Data, "Produce");
        metrics.request(Frontend::Data, "Produce");
        metrics.error(Frontend::Walrus, "invalid_frame");
        metrics.received(7, 900);
        metrics.sent(3, 400);
        let text = metrics.to_prometheus();
        for expected in [
            "# TYPE floe_server_connections gauge\n",
            "floe_server_connections{listener=\"fluvio_spu\"} 1\n",
            "floe_server_connections_opened_total{listener=\"fluvio_spu\"} 2\n",
            "floe_server_requests_total{listener=\"fluvio_spu\",api=\"Produce\"} 2\n",
            "floe_server_errors_total{listener=\"walrus\",error=\"invalid_frame\"} 1\n",
            "floe_server_received_records_total 7\n",
            "floe_server_received_bytes_total 900\n",
            "floe_server_sent_records_total 3\n",
            "floe_server_sent_bytes_total 400\n",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }
}
