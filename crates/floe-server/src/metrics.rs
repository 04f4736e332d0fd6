//! The counters, and their text for Prometheus.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

/// Who was asked.
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

/// A value for each combination of two labels. Both come from the code, never from a client: a client must not be able
/// to make this grow.
type Family = Mutex<BTreeMap<(Frontend, &'static str), u64>>;

/// Everything that is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    open: [AtomicU64; Frontend::ALL.len()],
    opened: [AtomicU64; Frontend::ALL.len()],
    refused: AtomicU64,
    requests: Family,
    errors: Family,
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

    pub(crate) fn received(&self, records: u64, bytes: usize) {
        self.records_in.fetch_add(records, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, records: u64, bytes: usize) {
        self.records_out.fetch_add(records, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Every metric with its values, in the order in which they are shown.
    fn families(&self) -> Vec<MetricFamily> {
        let counter = |name, help, points| MetricFamily { name, help, kind: MetricKind::Counter, points };
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
        let by_label = |family: &Family, label: &'static str| {
            let family = family.lock();
            let point = |((front, value_of_label), value): (&(Frontend, &'static str), &u64)| MetricPoint {
                labels: vec![("listener", front.name()), (label, *value_of_label)],
                value: *value,
            };
            family.iter().map(point).collect()
        };
        vec![
            MetricFamily {
                name: "floe_server_connections",
                help: "Connections that are open.",
                kind: MetricKind::Gauge,
                points: of_front(&self.open),
            },
            counter(
                "floe_server_connections_opened_total",
                "Connections that were accepted.",
                of_front(&self.opened),
            ),
            counter(
                "floe_server_connections_refused_total",
                "Connections closed at once because there were too many.",
                single(&self.refused),
            ),
            counter(
                "floe_server_received_records_total",
                "Records that clients wrote.",
                single(&self.records_in),
            ),
            counter(
                "floe_server_received_bytes_total",
                "Bytes of batches that clients wrote.",
                single(&self.bytes_in),
            ),
            counter(
                "floe_server_sent_records_total",
                "Records that were sent to clients.",
                single(&self.records_out),
            ),
            counter(
                "floe_server_sent_bytes_total",
                "Bytes of batches that were sent to clients.",
                single(&self.bytes_out),
            ),
            counter("floe_server_requests_total", "Requests by API.", by_label(&self.requests, "api")),
            counter(
                "floe_server_errors_total",
                "Requests and connections that failed.",
                by_label(&self.errors, "error"),
            ),
        ]
    }

    /// The text format of Prometheus, version 0.0.4.
    pub(crate) fn to_prometheus(&self) -> String {
        let mut out = String::with_capacity(4096);
        head(&mut out, "floe_build_info", "gauge", "Always 1; the label tells the version.");
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

/// What a server counts, for those who pass it on. Handed to the server with
/// [`ServeOptions::metrics`](crate::ServeOptions::metrics); clones look at the same counters.
///
/// ```
/// use floe_server::{ServeOptions, ServerMetrics};
///
/// let metrics = ServerMetrics::default();
/// let mut options = ServeOptions::default();
/// options.metrics = metrics.clone();
/// // … serve(listeners, engine, options, until) …
/// assert!(metrics.families().iter().any(|family| family.name == "floe_server_requests_total"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct ServerMetrics(Arc<Metrics>);

impl ServerMetrics {
    /// Every metric with its values now. Which metrics there are never changes.
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
    /// Its name at `/metrics`.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: MetricKind,
    /// Its values; of those by API or error, only what has happened.
    pub points: Vec<MetricPoint>,
}

/// Whether a metric only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It goes up and down.
    Gauge,
    /// It only grows.
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
    /// Names and values of its labels.
    pub labels: Vec<(&'static str, &'static str)>,
    /// The value.
    pub value: u64,
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // SocketWriter to a string cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: u64) {
    let _ = writeln!(out, "{name}{labels} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_come_out_with_their_labels() {
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
