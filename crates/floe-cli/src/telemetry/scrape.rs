//! Metrics endpoint for Prometheus.

use std::{io, net::SocketAddr};

use axum::{Router, http::header, routing::get};
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
    let router = Router::new().route("/metrics", get(answer));
    // The endpoint ends with the command, without waiting for a last scrape.
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(bound)
}
