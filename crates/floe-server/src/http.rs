//! Health, metrics and the console over HTTP, for the hosts and clients that may ask.

use std::{pin::pin, sync::Arc};

use axum::{
    Router,
    extract::{RawQuery, Request, State},
    http::{HeaderMap, StatusCode, Version, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use floe::net::Stream;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::sync::watch;

use crate::{
    access::{Session, WHOLE_SERVER, operation::METRICS},
    health::HealthReport,
    metrics::Frontend,
    node::{Node, until_set},
    socket::Socket,
};

/// Largest request head in bytes. Only the console reads bodies.
const MAX_HEAD: usize = 16 * 1024;

/// Serves one connection until it ends.
pub(crate) async fn serve(
    node: Arc<Node>,
    session: Arc<Session>,
    socket: Socket,
    mut stop: watch::Receiver<bool>,
) {
    let socket: Box<dyn Stream> = match socket {
        Socket::Plain(socket) => Box::new(socket),
        Socket::Custom(socket) => socket,
        Socket::Encrypted(socket) => socket,
    };
    let limit = node.limits.http_timeout;
    let service = TowerToHyperService::new(router(Arc::clone(&node), session));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limit)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        biased;
        outcome = connection.as_mut() => outcome,
        () = until_set(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        let label = if error.is_timeout() { "request_too_slow" } else { "connection_broken" };
        node.metrics.error(Frontend::Http, label);
    }
}

fn router(node: Arc<Node>, session: Arc<Session>) -> Router {
    let console = node.console.clone().unwrap_or_default();
    let door = HttpDoor { node: Arc::clone(&node), session };
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/healthz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(node)
        .fallback_service(console)
        .layer(middleware::from_fn_with_state(Arc::new(door), admit))
}

/// Checks of every request, known and unknown paths alike.
struct HttpDoor {
    node: Arc<Node>,
    session: Arc<Session>,
}

/// Refuses requests for another host, and requests that the rules do not allow.
async fn admit(State(door): State<Arc<HttpDoor>>, mut request: Request, next: Next) -> Response {
    let HttpDoor { node, session } = &*door;
    let refuse = |status: StatusCode, label: &'static str, text: String| {
        node.metrics.error(Frontend::Http, label);
        (status, text + "\n").into_response()
    };
    let hosts: Vec<_> = request.headers().get_all(header::HOST).iter().map(|host| host.as_bytes()).collect();
    if hosts.is_empty() && request.version() > Version::HTTP_10 {
        return refuse(StatusCode::BAD_REQUEST, "host_missing", "a Host header is required".to_owned());
    }
    if !node.http_hosts.admits(request.uri().authority().map(|authority| authority.as_str()), &hosts) {
        let text = "this server does not answer to that host: see --http-host".to_owned();
        return refuse(StatusCode::MISDIRECTED_REQUEST, "host_refused", text);
    }
    let is_status = match request.uri().path() {
        "/livez" => true,
        "/readyz" | "/healthz" => !is_verbose(request.uri().query()) && !wants_json(request.headers()),
        _ => false,
    };
    if !is_status {
        session.admit(0).await;
        // The console checks each request by its topic.
        let is_console = node.console.is_some() && request.uri().path() != "/metrics";
        if !is_console && let Err(denied) = session.check_all(METRICS, WHOLE_SERVER) {
            return refuse(StatusCode::FORBIDDEN, "refused_by_rule", denied.to_string());
        }
    }
    // The console asks it for rights.
    request.extensions_mut().insert(Arc::clone(session));
    next.run(request).await
}

fn is_verbose(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")))
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("application/json"))
}

/// Liveness: the process answers.
async fn livez(State(node): State<Arc<Node>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    node.metrics.request(Frontend::Http, "livez");
    respond(&HealthReport::alive(), query.as_deref(), &headers)
}

/// Readiness: whether clients should send new work here.
async fn readyz(State(node): State<Arc<Node>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    node.metrics.request(Frontend::Http, "readyz");
    respond(&HealthReport::of(&node).await, query.as_deref(), &headers)
}

async fn metrics(State(node): State<Arc<Node>>) -> Response {
    node.metrics.request(Frontend::Http, "metrics");
    let mut text = node.metrics.to_prometheus();
    text.push_str(&HealthReport::of(&node).await.to_prometheus());
    let mut text = under_prefix(&text, &node.client.settings().telemetry.metrics_prefix);
    if let Some(more) = &node.more_metrics {
        text.push_str(&more.text());
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// Replaces the prefix `floe` of names, by the setting `telemetry.metrics_prefix`. A name in the Prometheus text format has
/// underscores in place of other signs.
fn under_prefix(text: &str, prefix: &str) -> String {
    let prefix = prefix.replace(['.', '-'], "_");
    let renamed = |line: &str| {
        let (before, name) = ["# HELP ", "# TYPE ", ""]
            .into_iter()
            .find_map(|before| Some((before, line.strip_prefix(before)?.strip_prefix("floe_")?)))
            .map_or(("", line.to_owned()), |(before, rest)| (before, format!("{prefix}_{rest}")));
        format!("{before}{name}\n")
    };
    text.lines().map(renamed).collect()
}

fn respond(report: &HealthReport, query: Option<&str>, headers: &HeaderMap) -> Response {
    let passed = report.has_passed();
    let status = if passed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if wants_json(headers) {
        let document = report.to_json().to_string();
        return (status, [(header::CONTENT_TYPE, "application/json")], document).into_response();
    }
    let text = match (is_verbose(query), passed) {
        (true, _) => report.to_text(),
        (false, true) => "ok\n".to_owned(),
        (false, false) => "not ready\n".to_owned(),
    };
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_the_prefix_of_the_settings() {
        let text = "# HELP floe_a_total What floe_a counts.\n# TYPE floe_a_total counter\nfloe_a_total{of=\"floe_b\"} 1\nup 1\n";
        assert_eq!(under_prefix(text, "floe"), text);
        assert_eq!(
            under_prefix(text, "acme.floe-eu"),
            "# HELP acme_floe_eu_a_total What floe_a counts.\n# TYPE acme_floe_eu_a_total counter\n\
             acme_floe_eu_a_total{of=\"floe_b\"} 1\nup 1\n"
        );
    }
}
