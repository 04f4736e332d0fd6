//! Metrics endpoint for Prometheus.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use floe_server::AllowedHosts;
use prometheus::Registry;
use tokio::net::TcpListener;

use super::exposition;
use crate::exit::{Failure, Outcome};

/// Serves `/metrics` until the runtime ends, and returns the bound address.
///
/// # Errors
/// Fails for an address that cannot be bound.
pub(super) async fn serve(address: &str, registry: Registry) -> Outcome<SocketAddr> {
    let failed = |error: io::Error| Failure::io(format!("cannot serve metrics at {address}"), &error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let answer = move || {
        let text = exposition(&registry);
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text) }
    };
    let hosts = Arc::new(AllowedHosts::new(Some(bound), []));
    let router =
        Router::new().route("/metrics", get(answer)).layer(middleware::from_fn_with_state(hosts, admit));
    // The endpoint ends with the command, without waiting for a last scrape.
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(bound)
}

/// Refuses requests for another host, which a web page could make that rebinds its name to this address.
async fn admit(State(hosts): State<Arc<AllowedHosts>>, request: Request, next: Next) -> Response {
    let given: Vec<_> = request.headers().get_all(header::HOST).iter().map(|host| host.as_bytes()).collect();
    if hosts.admits(request.uri().authority().map(|authority| authority.as_str()), &given) {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, "this endpoint answers to its address and to localhost\n")
        .into_response()
}
