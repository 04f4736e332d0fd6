//! The engine as a whole: what it can do, its health, and the server.

use std::sync::Arc;

use axum::extract::State;
use floe::{Topic, health::ComponentHealth, topic::TopicInfo};
use serde_json::{Value, json};

use super::{Answer, attention::attention, caller::Caller, groups, json as answer, page, topics};
use crate::{
    access::operation::METRICS,
    console::{Console, history::Samples, now},
    metrics::{MetricFamily, ServerMetrics},
};

/// Entries of the short lists.
const SHORT_LIST: usize = 10;

pub(super) async fn info(State(console): State<Arc<Console>>) -> Answer {
    let info = console.client.info();
    let can = info.capabilities;
    let options = &console.options;
    Ok(answer(&json!({
        "engine": info.name,
        "url": console.client.url(),
        "version": env!("CARGO_PKG_VERSION"),
        "read_only": options.read_only,
        "login": options.token.is_some(),
        "serving": options.server.is_some(),
        "filter_example": ".order.total > 10 and key ~ \"ada\"",
        "now": now(),
        "capabilities": {
            "offsets": console.can_look(),
            "commit_offsets": can.commit_offsets,
            "shared_groups": console.can_look() && can.commit_offsets,
            "consuming_reads": can.consuming_reads,
            "list_topics": can.list_topics,
            "delete_topics": can.delete_topic,
            "create_partitions": can.partitions,
            "headers": can.headers,
            "keys": can.keys,
        },
        "limits": {
            "list": page::MAX_LIST,
            "scan_records": super::scan::MAX_RECORDS,
            "scan_seconds": options.scan_time.as_secs(),
        },
    })))
}

pub(super) async fn overview(State(console): State<Arc<Console>>, caller: Caller) -> Answer {
    let mut health = console.client.health().await?;
    if !caller.may_all(METRICS) {
        health.findings.clear();
    }
    let topics = if console.client.info().capabilities.list_topics {
        topics::visible(&console, &caller).await?
    } else {
        Vec::new()
    };
    console.history().ready().await;
    let document = console.history().with(|samples| {
        let groups: Vec<_> =
            samples.groups().iter().filter(|(_, group)| groups::is_visible(&caller, group)).collect();
        let totals = totals(samples, &topics, groups.len(), console.client.info().capabilities.list_topics);
        let mut busiest: Vec<_> = topics.iter().collect();
        let rate = |info: &TopicInfo| samples.topic(&info.name).and_then(|of| of.rate().0).unwrap_or(0.0);
        busiest.sort_by(|one, other| rate(other).total_cmp(&rate(one)));
        let mut lagging = groups;
        lagging.sort_by_key(|(_, group)| std::cmp::Reverse(group.lag()));
        json!({
            "health": { "status": health.status.as_str(), "findings": health.findings },
            "totals": totals,
            "rates": samples.rates(now()),
            "topics": busiest.iter().take(SHORT_LIST).map(|info| topics::topic_json(samples, info)).collect::<Vec<_>>(),
            "groups": lagging.iter().take(SHORT_LIST).map(|(name, group)| groups::group_json(&caller, name, group)).collect::<Vec<_>>(),
            "attention": attention((&health, &topics), (samples, &caller), now()),
        })
    });
    Ok(answer(&document))
}

fn totals(samples: &Samples, topics: &[TopicInfo], groups: usize, is_listed: bool) -> Value {
    let of = |info: &TopicInfo| samples.topic(&info.name).map(|of| of.totals()).unwrap_or_default();
    let records: u64 = topics.iter().filter_map(|info| of(info).0).sum();
    let bytes: u64 = topics.iter().filter_map(|info| of(info).1).sum();
    json!({
        "topics": is_listed.then_some(topics.len()),
        "partitions": is_listed.then(|| topics.iter().map(|info| u64::from(info.partitions)).sum::<u64>()),
        "groups": groups,
        "records": is_listed.then_some(records),
        "bytes": samples.has_sizes.then_some(bytes),
    })
}

pub(super) async fn server(State(console): State<Arc<Console>>, caller: Caller) -> Answer {
    caller.check_all(METRICS)?;
    let health = console.client.health().await?;
    let nodes: Vec<_> = health
        .nodes
        .iter()
        .map(|node| json!({ "name": node.name, "state": node.state, "ready": node.ready, "leads": node.leads }))
        .collect();
    let circuits: Vec<_> = health
        .circuits
        .iter()
        .map(|circuit| json!({ "name": circuit.circuit, "state": circuit.state.as_str() }))
        .collect();
    let components: Vec<_> = health.components.iter().take(page::MAX_LIST).map(component_json).collect();
    Ok(answer(&json!({
        "uptime_seconds": console.started.elapsed().as_secs(),
        "version": env!("CARGO_PKG_VERSION"),
        "process": { "memory_bytes": resident_bytes() },
        "nodes": nodes,
        "circuits": circuits,
        "components": components,
        "serving": console.options.server.as_ref().map(serving),
    })))
}

/// A producer, consumer, processor or outbox of the client that the console shows.
fn component_json(component: &ComponentHealth) -> Value {
    let counters = component.counters.iter().map(|(name, value)| json!({ "name": name, "value": value }));
    json!({
        "kind": component.kind,
        "topic": component.topic.as_str(),
        "to": component.to.as_ref().map(Topic::as_str),
        "group": component.group.as_deref(),
        "used": component.queue.map(|queue| queue.used),
        "limit": component.queue.map(|queue| queue.limit),
        "counters": counters.collect::<Vec<_>>(),
        "finding": component.finding,
    })
}

/// Resident memory of the process, where the system tells it in a file.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Connections, requests, errors and limits, out of the metrics of the server.
fn serving(metrics: &ServerMetrics) -> Value {
    let families = metrics.families();
    let points = |name: &str| {
        let family = families.iter().find(|family: &&MetricFamily| family.name == name);
        family.map_or(&[][..], |family| &family.points)
    };
    let opened = points("floe_server_connections_opened_total");
    let connections: Vec<_> = points("floe_server_connections")
        .iter()
        .zip(opened)
        .map(|(open, total)| json!({ "protocol": label(&open.labels, 0), "open": open.value, "total": total.value }))
        .collect();
    let pairs = |name: &str, field: &str| -> Vec<_> {
        let entry = |point: &crate::MetricPoint| json!({ "protocol": label(&point.labels, 0), field: label(&point.labels, 1), "total": point.value });
        points(name).iter().map(entry).collect()
    };
    let limits: Vec<_> = points("floe_server_limit")
        .iter()
        .map(|point| json!({ "name": label(&point.labels, 0), "value": point.value.to_string(), "used": null }))
        .collect();
    let sum = |name: &str| points(name).iter().map(|point| point.value).sum::<u64>();
    json!({
        "connections": connections,
        "requests": pairs("floe_server_requests_total", "api"),
        "errors": pairs("floe_server_errors_total", "label"),
        "refused": pairs("floe_server_refused_by_rule_total", "operation"),
        "limits": limits,
        "memory": {
            "used": sum("floe_server_memory_bytes"),
            "limit": sum("floe_server_memory_limit_bytes"),
        },
    })
}

fn label(labels: &[(&'static str, &'static str)], at: usize) -> &'static str {
    labels.get(at).map_or("", |(_, value)| value)
}
