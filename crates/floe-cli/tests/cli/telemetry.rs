//! `--telemetry`: OTLP export to a collector, and the Prometheus endpoint.
#![cfg(unix)]

#[path = "collector.rs"]
mod collector;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
};

use floe_testkit::exposition::Exposition;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};

use self::collector::{Collector, attribute};
use crate::{
    serve,
    support::{Dir, Run},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs a command that exports to `collector`, inside a trace of the caller.
fn observed(dir: &Dir, collector: &Collector, args: &[&str]) -> Run {
    let mut command = dir.command(args);
    command
        .env("FLOE_TELEMETRY", "otlp")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address())
        .env("TRACEPARENT", format!("00-{TRACE}-b7ad6b7169203331-01"));
    command.output().unwrap().into()
}

#[track_caller]
fn only<'a>(spans: &'a [Span], name: &str, kind: SpanKind) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name && span.kind == kind as i32).collect();
    let [one] = found[..] else { panic!("{} times {name}: {spans:#?}", found.len()) };
    one
}

/// Writes three records, reads them, and checks the trace.
fn one_trace(dir: &Dir, url: &str, system: &str) {
    let collector = Collector::start();
    dir.run(&["topic", "create", "orders", "--url", url]).ok();
    let lines = dir.file("lines", b"one\ntwo\nthree\n");
    observed(dir, &collector, &["produce", "orders", lines.to_str().unwrap(), "--url", url]).ok();

    let spans = collector.spans();
    let command = only(&spans, "floe produce", SpanKind::Internal);
    assert_eq!(
        (hex(&command.trace_id).as_str(), hex(&command.parent_span_id).as_str()),
        (TRACE, "b7ad6b7169203331")
    );
    let sent: Vec<_> = spans.iter().filter(|span| span.name == "send orders").collect();
    assert!(!sent.is_empty(), "{spans:#?}");
    for span in &sent {
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(attribute(&span.attributes, "messaging.system").as_deref(), Some(system));
    }
    let counted: i64 = sent
        .iter()
        .map(|span| {
            attribute(&span.attributes, "messaging.batch.message_count").unwrap().parse::<i64>().unwrap()
        })
        .sum();
    assert_eq!(counted, 3);
    let of_topic = ("messaging.destination.name", "orders");
    assert_eq!(collector.sum("messaging.client.sent.messages", of_topic) as i64, 3);
    assert_eq!(collector.resource("service.name"), "floe");

    let reader = Collector::start();
    // Without offsets there is no end to stop at.
    let until: &[&str] = if system == "walrus" { &["-n", "3"] } else { &["-e"] };
    let read =
        [&["consume", "orders", "--from", "beginning", "-o", "jsonl", "--url", url][..], until].concat();
    let read = observed(dir, &reader, &read).ok();
    let span = hex(&command.span_id);
    assert_eq!(read.json_lines().len(), 3);
    for record in read.json_lines() {
        assert_eq!(record["headers"][0]["name"], "traceparent", "{record}");
        assert_eq!(record["headers"][0]["value"], format!("00-{TRACE}-{span}-01"));
    }
    let spans = reader.spans();
    let receive: Vec<_> = spans.iter().filter(|span| span.name == "receive orders").collect();
    assert!(!receive.is_empty(), "{spans:#?}");
    for receive in receive {
        let links: Vec<_> =
            receive.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect();
        assert_eq!(links, [(TRACE.to_owned(), span.clone())]);
    }
    assert_eq!(reader.sum("messaging.client.consumed.messages", of_topic) as i64, 3);
    if system != "floe" {
        assert!(reader.sum("floe.connection.attempts", ("server.address", "127.0.0.1")) >= 1.0);
    }
}

#[test]
fn trace_passes_through_an_embedded_store() {
    one_trace(&Dir::new(), "embedded:data", "floe");
}

#[test]
fn trace_passes_through_a_server() {
    let dir = Dir::new();
    let (child, addresses) = serve::start(&dir, &["--url", "memory:"]);
    let url = format!("fluvio://{}", addresses["fluvio_sc"].as_str().unwrap());
    one_trace(&dir, &url, "fluvio");
    assert_eq!(serve::end(child, rustix::process::Signal::TERM), Some(0));
}

#[test]
fn trace_passes_through_the_walrus_protocol() {
    let dir = Dir::new();
    let (child, addresses) = serve::start(&dir, &["--url", "memory:"]);
    let url = format!("walrus://{}?request-timeout=60s", addresses["walrus"].as_str().unwrap());
    one_trace(&dir, &url, "walrus");
    assert_eq!(serve::end(child, rustix::process::Signal::TERM), Some(0));
}

#[test]
fn configured_headers_are_sent_and_masked() {
    let dir = Dir::with_topics(&["orders"]);
    dir.file("floe.toml", b"[telemetry]\notlp_headers = \"api-key=hush%20hush, x-scope=a=b\"\n");
    let collector = Collector::start();
    observed(&dir, &collector, &["produce", "orders", "floe.toml"]).ok();
    let heads = collector.heads();
    assert!(heads.len() >= 2, "spans and metrics: {heads:?}");
    for head in heads {
        assert!(
            head.contains("\r\napi-key: hush%20hush\r\n") && head.contains("\r\nx-scope: a=b\r\n"),
            "{head}"
        );
    }
    // The environment takes precedence over the settings.
    let collector = Collector::start();
    let mut command = dir.command(&["topic", "list", "--telemetry", "otlp"]);
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=other");
    Run::from(command.output().unwrap()).ok();
    assert!(collector.heads().iter().all(|head| head.contains("\r\napi-key: other\r\n")));
    let shown = dir.run(&["config", "show", "telemetry"]).ok();
    assert!(shown.text().contains("***") && !shown.text().contains("hush"), "{}", shown.text());
    dir.file("floe.toml", b"[telemetry]\notlp_headers = \"hush\"\n");
    let refused = dir.run(&["topic", "list", "--telemetry", "otlp"]).code(2);
    assert!(!refused.stderr.contains("hush"), "{}", refused.stderr);
    refused.mentions("floe.toml:2: telemetry.otlp_headers = ***: write name=value,name=value");
}

#[test]
fn server_counters_reach_a_collector() {
    let dir = Dir::new();
    let collector = Collector::start();
    let endpoint = collector.address().to_owned();
    let args = ["--url", "memory:", "--telemetry", "otlp"];
    let (child, addresses) = serve::start_with(&dir, &args, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    serve::ask_walrus(&addresses, "REGISTER orders");
    for _ in 0..3 {
        assert_eq!(serve::ask_walrus(&addresses, "PUT orders coffee"), "OK");
    }
    // The server exports its last counts at the end.
    assert_eq!(serve::end(child, rustix::process::Signal::TERM), Some(0));
    assert_eq!(collector.sum("floe.server.requests", ("api", "PUT")) as i64, 3);
    assert_eq!(collector.sum("floe.server.connections.opened", ("listener", "walrus")) as i64, 4);
    let of_topic = ("messaging.destination.name", "orders");
    assert_eq!(collector.sum("messaging.client.sent.messages", of_topic) as i64, 3);
}

#[test]
fn unreachable_collector_is_a_warning() {
    let dir = Dir::with_topics(&["orders"]);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = dir.command(&["produce", "orders", "--telemetry", "otlp"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{closed}"));
    let run = Run::from(command.output().unwrap()).ok();
    run.mentions("warning: telemetry was not exported: ").mentions(&format!("http://{closed}/v1/"));
}

#[test]
fn invalid_endpoint_is_rejected() {
    let dir = Dir::with_topics(&["orders"]);
    let mut command = dir.command(&["topic", "list", "--telemetry", "otlp"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "::not an endpoint::");
    Run::from(command.output().unwrap()).code(2).mentions("OTEL_EXPORTER_OTLP_ENDPOINT");
    dir.run(&["topic", "list", "--telemetry", "oltp"]).code(2).mentions("off, otlp, prometheus");
}

/// Returns the body at a URL.
fn get(url: &str) -> String {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    write!(socket, "GET /{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Parses the exposition, and checks it with promtool where that is installed.
#[track_caller]
fn check(text: &str) -> Exposition {
    if let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let result = promtool.wait_with_output().unwrap();
        assert!(
            result.status.success(),
            "{}{}",
            String::from_utf8_lossy(&result.stdout),
            String::from_utf8_lossy(&result.stderr)
        );
    }
    Exposition::parse(text).unwrap_or_else(|problem| panic!("{problem}\n{text}"))
}

#[test]
fn server_exposes_engine_metrics_and_its_own() {
    let dir = Dir::new();
    let (child, addresses) = serve::start(&dir, &["--url", "memory:"]);
    serve::ask_walrus(&addresses, "REGISTER orders");
    for _ in 0..3 {
        assert_eq!(serve::ask_walrus(&addresses, "PUT orders coffee"), "OK");
    }
    let metrics = check(&get(&format!("http://{}/metrics", addresses["http"].as_str().unwrap())));
    assert_eq!(metrics.value("floe_build_info", &[]), Some(1.0));
    assert_eq!(metrics.value("floe_server_received_records_total", &[]), Some(3.0));
    assert!(metrics.names().any(|name| name == "target_info"));
    assert!(metrics.label_names("floe_server_requests_total").contains("listener"));
    let engine = [("messaging_destination_name", "orders"), ("messaging_system", "floe")];
    assert_eq!(metrics.value("messaging_client_sent_messages_total", &engine), Some(3.0));
    assert_eq!(serve::end(child, rustix::process::Signal::TERM), Some(0));
}

#[test]
fn prometheus_endpoint_serves_a_running_command() {
    let dir = Dir::with_topics(&["orders"]);
    dir.feed(&["produce", "orders"], b"one\ntwo\n").ok();
    let args = ["consume", "orders", "--from", "beginning", "--telemetry", "prometheus=127.0.0.1:0"];
    let mut child = dir.start(&args);
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("metrics: ").unwrap_or_else(|| panic!("{line}")).to_owned();
    let mut records = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..2 {
        stdout.read_line(&mut records).unwrap();
    }
    assert_eq!(records, "one\ntwo\n");
    let labels = [("messaging_destination_name", "orders"), ("messaging_system", "floe")];
    // The consumer counts records at its next poll, which follows at once.
    let counted = (0..1_000_000).find(|_| {
        let metrics = Exposition::parse(&get(&url)).unwrap();
        metrics.value("messaging_client_consumed_messages_total", &labels) == Some(2.0)
    });
    assert!(counted.is_some());
    check(&get(&url));
    child.kill().unwrap();
    child.wait().unwrap();
}
