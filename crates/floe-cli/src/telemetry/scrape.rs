//! Metrics offered to Prometheus.

use std::{io, net::SocketAddr};

use axum::{Router, http::header, routing::get};
use prometheus::Registry;
use tokio::net::TcpListener;

use super::exposition;
use crate::exit::{Failure, Outcome};

/// Listens, and answers `/metrics` as long as the runtime lives. Returns where.
///
/// # Errors
/// When the address cannot be listened on.
pub(super) async fn offer(address: &str, registry: Registry) -> Outcome<SocketAddr> {
    let refuse = |error: io::Error| Failure::io(format!("cannot offer metrics at {address}"), &error);
    let listener = TcpListener::bind(address).await.map_err(refuse)?;
    let bound = listener.local_addr().map_err(refuse)?;
    let answer = move || {
        let text = exposition(&registry);
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text) }
    };
    let router = Router::new().route("/metrics", get(answer));
    // It ends with the command: nobody waits for the last look at its metrics.
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(bound)
}
