//! Health of the server: its engine, the memory that clients hold, and what both say in text, JSON and metrics.

use std::fmt::Write as _;

use floe::{
    engine::NodeHealth,
    health::{ClientHealth, Status},
    memory::MemoryPool,
};
use serde_json::{Value, json};

use crate::{
    metrics::{head, line},
    node::Node,
};

/// Clients that the check of the memory names, for each class.
const NAMED_HOLDERS: usize = 3;

/// Result of one check.
pub(crate) struct HealthCheck {
    name: &'static str,
    status: Status,
    detail: String,
}

impl HealthCheck {
    fn of(name: &'static str, passed: bool, detail: impl Into<String>) -> Self {
        let status = if passed { Status::Pass } else { Status::Fail };
        Self { name, status, detail: detail.into() }
    }
}

/// Results of all checks.
pub(crate) struct HealthReport {
    checks: Vec<HealthCheck>,
    nodes: Vec<NodeHealth>,
}

impl HealthReport {
    /// Reports that the process answers. Checks nothing else.
    pub(crate) fn alive() -> Self {
        Self { checks: vec![HealthCheck::of("process", true, "up")], nodes: Vec::new() }
    }

    /// Checks whether clients should send new work to the server.
    pub(crate) async fn of(node: &Node) -> Self {
        let stopping = node.is_stopping();
        let detail = if stopping { "shutting down" } else { "serving" };
        let mut checks = vec![HealthCheck::of("server", !stopping, detail)];
        let mut nodes = Vec::new();
        match node.client.health().await {
            Ok(ClientHealth { ready, status, nodes: found, findings, .. }) => {
                let states: Vec<_> =
                    found.iter().map(|node| format!("{}: {}", node.name, node.state)).collect();
                checks.push(HealthCheck::of("engine", ready, states.join(", ")));
                checks.push(HealthCheck { name: "client", status, detail: findings.join("; ") });
                nodes = found;
            }
            Err(error) => checks.push(HealthCheck::of("engine", false, error.to_string())),
        }
        checks.push(memory_check(node));
        Self { checks, nodes }
    }

    /// Whether the server is ready. A warning does not take it out of rotation.
    pub(crate) fn has_passed(&self) -> bool {
        self.worst() != Status::Fail
    }

    fn worst(&self) -> Status {
        self.checks.iter().map(|check| check.status).max().unwrap_or(Status::Pass)
    }

    /// Returns one line for each check.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for HealthCheck { name, status, detail } in &self.checks {
            let (sign, word) = match status {
                Status::Pass => ('+', "ok"),
                Status::Warn => ('!', "warning"),
                Status::Fail => ('-', "failed"),
            };
            let colon = if detail.is_empty() { "" } else { ": " };
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "[{sign}]{name} {word}{colon}{detail}");
        }
        text
    }

    /// Returns a document after the health-check response draft for HTTP APIs.
    pub(crate) fn to_json(&self) -> Value {
        let checks = self.checks.iter().map(
            |check| json!({"name": check.name, "status": check.status.as_str(), "output": check.detail}),
        );
        json!({"status": self.worst().as_str(), "checks": checks.collect::<Vec<_>>()})
    }

    /// Returns the metrics of health in the Prometheus text format.
    pub(crate) fn to_prometheus(&self) -> String {
        let mut text = String::new();
        head(&mut text, "floe_server_ready", "gauge", "Whether /readyz passes.");
        line(&mut text, "floe_server_ready", "", u64::from(self.has_passed()));
        let about = "Problems of the store, its disk and partitions, or of servers behind it.";
        head(&mut text, "floe_server_findings", "gauge", about);
        let mut found = std::collections::BTreeMap::<_, u64>::new();
        for node in self.nodes.iter().filter(|node| !node.ready) {
            *found.entry(&node.name).or_default() += 1;
        }
        for (name, count) in found {
            let name = name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            line(&mut text, "floe_server_findings", &format!("{{node=\"{name}\"}}"), count);
        }
        text
    }
}

/// Returns how much of each class is in use, and who holds most. Warns while clients wait.
fn memory_check(node: &Node) -> HealthCheck {
    let classes = node.memory.classes();
    let waits = classes.iter().any(|(_, pool)| pool.waiting() > 0);
    let details: Vec<_> = classes.iter().map(|(class, pool)| class_detail(class, pool)).collect();
    let status = if waits { Status::Warn } else { Status::Pass };
    HealthCheck { name: "memory", status, detail: details.join("; ") }
}

fn class_detail(class: &str, pool: &MemoryPool) -> String {
    let mut text = format!("{class} {} of {} bytes", pool.used(), pool.limit());
    let waiting = pool.waiting();
    if waiting > 0 {
        let _ = write!(text, ", {waiting} wait");
    }
    for (index, (client, held)) in pool.holders(NAMED_HOLDERS).into_iter().enumerate() {
        let lead = if index == 0 { ", most by" } else { " and" };
        let _ = write!(text, "{lead} {client} ({held})");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_counted_by_part() {
        let nodes = vec![
            NodeHealth::new("store", true, "open"),
            NodeHealth::new("t/0", false, "offsets 1 to 2 are lost"),
            NodeHealth::new("disk", false, "nearly full"),
            NodeHealth::new("t/0", false, "cut"),
            NodeHealth::new("odd \"\n\\", false, "x"),
        ];
        let checks = vec![
            HealthCheck::of("server", true, ""),
            HealthCheck { name: "client", status: Status::Warn, detail: "findings".to_owned() },
        ];
        let mut report = HealthReport { checks, nodes };
        assert!(report.has_passed());
        let text = report.to_prometheus();
        for line in [
            "floe_server_ready 1",
            "floe_server_findings{node=\"t/0\"} 2",
            "floe_server_findings{node=\"disk\"} 1",
            "floe_server_findings{node=\"odd \\\"\\n\\\\\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
        assert!(!text.contains("store\""), "{text}");
        report.checks.push(HealthCheck::of("engine", false, "closed"));
        assert!(report.to_prometheus().contains("floe_server_ready 0\n"));
    }
}
