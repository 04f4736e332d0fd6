//! Health and metrics over HTTP, for the hosts and clients that may ask.

use std::{pin::pin, sync::Arc};

use axum::{
    Router,
    extract::{RawQuery, Request, State},
    http::{HeaderMap, StatusCode, Version, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use floe::{health::Status, net::Stream};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    access::{Session, WHOLE_SERVER, operation::METRICS},
    metrics::Frontend,
    node::{Node, until_set},
    socket::Socket,
};

/// Largest request head in bytes; bodies are not read.
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
    let door = HttpDoor { node: Arc::clone(&node), session };
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/healthz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(node)
        .layer(middleware::from_fn_with_state(Arc::new(door), admit))
}

/// Checks of every request, known and unknown paths alike.
struct HttpDoor {
    node: Arc<Node>,
    session: Arc<Session>,
}

/// Refuses requests for another host, and requests that the rules do not allow.
async fn admit(State(door): State<Arc<HttpDoor>>, request: Request, next: Next) -> Response {
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
        if let Err(denied) = session.check_all(METRICS, WHOLE_SERVER) {
            return refuse(StatusCode::FORBIDDEN, "refused_by_rule", denied.to_string());
        }
    }
    next.run(request).await
}

fn is_verbose(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")))
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("application/json"))
}

/// Result of one check.
struct HealthCheck {
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

/// Liveness: the process answers. It checks nothing else.
async fn livez(State(node): State<Arc<Node>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    node.metrics.request(Frontend::Http, "livez");
    report(&[HealthCheck::of("process", true, "up")], query.as_deref(), &headers)
}

/// Readiness: whether clients should send new work here.
async fn readyz(State(node): State<Arc<Node>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    node.metrics.request(Frontend::Http, "readyz");
    let stopping = node.is_stopping();
    let detail = if stopping { "shutting down" } else { "serving" };
    let mut checks = vec![HealthCheck::of("server", !stopping, detail)];
    match node.client.health().await {
        Ok(health) => {
            let states = health.nodes.iter().map(|node| format!("{}: {}", node.name, node.state));
            checks.push(HealthCheck::of("engine", health.ready, states.collect::<Vec<_>>().join(", ")));
            checks.push(HealthCheck {
                name: "client",
                status: health.status,
                detail: health.findings.join("; "),
            });
        }
        Err(error) => checks.push(HealthCheck::of("engine", false, error.to_string())),
    }
    report(&checks, query.as_deref(), &headers)
}

async fn metrics(State(node): State<Arc<Node>>) -> Response {
    node.metrics.request(Frontend::Http, "metrics");
    let mut text = node.metrics.to_prometheus();
    if let Some(more) = &node.more_metrics {
        text.push_str(&more.text());
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

fn report(checks: &[HealthCheck], query: Option<&str>, headers: &HeaderMap) -> Response {
    // A warning does not take the server out of rotation.
    let worst = checks.iter().map(|check| check.status).max().unwrap_or(Status::Pass);
    let passed = worst != Status::Fail;
    let status = if passed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if wants_json(headers) {
        let checks = checks.iter().map(
            |check| json!({"name": check.name, "status": check.status.as_str(), "output": check.detail}),
        );
        let document = json!({"status": worst.as_str(), "checks": checks.collect::<Vec<_>>()});
        return (status, [(header::CONTENT_TYPE, "application/json")], document.to_string()).into_response();
    }
    let mut text = String::new();
    if is_verbose(query) {
        for check in checks {
            let (sign, word) = match check.status {
                Status::Pass => ('+', "ok"),
                Status::Warn => ('!', "warning"),
                Status::Fail => ('-', "failed"),
            };
            let colon = if check.detail.is_empty() { "" } else { ": " };
            text.push_str(&format!("[{sign}]{} {word}{colon}{}\n", check.name, check.detail));
        }
    } else {
        text.push_str(if passed { "ok\n" } else { "not ready\n" });
    }
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}
