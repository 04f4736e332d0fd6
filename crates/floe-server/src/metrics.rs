//! The counters, and their text for Prometheus.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

/// Who was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Front {
    Controller,
    Data,
    Walrus,
    Http,
}

impl Front {
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
type Family = Mutex<BTreeMap<(Front, &'static str), u64>>;

/// Everything that is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    open: [AtomicU64; Front::ALL.len()],
    opened: [AtomicU64; Front::ALL.len()],
    refused: AtomicU64,
    requests: Family,
    errors: Family,
    records_in: AtomicU64,
    bytes_in: AtomicU64,
    records_out: AtomicU64,
    bytes_out: AtomicU64,
}

impl Metrics {
    pub(crate) fn connection_opened(&self, front: Front) {
        self.opened[front as usize].fetch_add(1, Ordering::Relaxed);
        self.open[front as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_closed(&self, front: Front) {
        self.open[front as usize].fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request(&self, front: Front, api: &'static str) {
        *self.requests.lock().entry((front, api)).or_default() += 1;
    }

    pub(crate) fn error(&self, front: Front, error: &'static str) {
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

    /// The text format of Prometheus, version 0.0.4.
    pub(crate) fn to_prometheus(&self) -> String {
        let mut out = String::with_capacity(4096);
        head(&mut out, "floe_build_info", "gauge", "Always 1; the label tells the version.");
        line(&mut out, "floe_build_info", &format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1);
        head(&mut out, "floe_server_connections", "gauge", "Connections that are open.");
        for front in Front::ALL {
            let value = self.open[front as usize].load(Ordering::Relaxed);
            line(&mut out, "floe_server_connections", &listener(front), value);
        }
        head(&mut out, "floe_server_connections_opened_total", "counter", "Connections that were accepted.");
        for front in Front::ALL {
            let value = self.opened[front as usize].load(Ordering::Relaxed);
            line(&mut out, "floe_server_connections_opened_total", &listener(front), value);
        }
        for (name, help, value) in [
            (
                "floe_server_connections_refused_total",
                "Connections closed at once because there were too many.",
                &self.refused,
            ),
            ("floe_server_received_records_total", "Records that clients wrote.", &self.records_in),
            ("floe_server_received_bytes_total", "Bytes of batches that clients wrote.", &self.bytes_in),
            ("floe_server_sent_records_total", "Records that were sent to clients.", &self.records_out),
            ("floe_server_sent_bytes_total", "Bytes of batches that were sent to clients.", &self.bytes_out),
        ] {
            head(&mut out, name, "counter", help);
            line(&mut out, name, "", value.load(Ordering::Relaxed));
        }
        for (name, help, label, family) in [
            ("floe_server_requests_total", "Requests by API.", "api", &self.requests),
            ("floe_server_errors_total", "Requests and connections that failed.", "error", &self.errors),
        ] {
            head(&mut out, name, "counter", help);
            for ((front, value_of_label), value) in family.lock().iter() {
                let labels = format!("{{listener=\"{}\",{label}=\"{value_of_label}\"}}", front.name());
                line(&mut out, name, &labels, *value);
            }
        }
        out
    }
}

fn listener(front: Front) -> String {
    format!("{{listener=\"{}\"}}", front.name())
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
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
        metrics.connection_opened(Front::Data);
        metrics.connection_opened(Front::Data);
        metrics.connection_closed(Front::Data);
        metrics.request(Front::Data, "Produce");
        metrics.request(Front::Data, "Produce");
        metrics.error(Front::Walrus, "invalid_frame");
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
