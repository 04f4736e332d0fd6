//! State that all connections of a server share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use floe::{Client, engine::SharedEngine};
use tokio::{sync::watch, task::JoinError};

use crate::{
    access::Gate,
    catalog::Catalog,
    hosts::AllowedHosts,
    metrics::Metrics,
    options::{MoreMetrics, ServeLimits},
    registry::Registry,
    smartmodule::SmartModules,
};

/// Id of the only data server, which is the first id of a real cluster.
pub(crate) const SPU_ID: i32 = 5001;

/// Name of the only data server.
pub(crate) const SPU_NAME: &str = "floe-spu-5001";

/// Address under which clients reach the data server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The server as its connections see it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) engine: SharedEngine,
    /// Client whose health `/readyz` reports.
    pub(crate) client: Client,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: ServeLimits,
    pub(crate) gate: Arc<Gate>,
    /// Host names under which HTTP is served.
    pub(crate) http_hosts: AllowedHosts,
    pub(crate) more_metrics: Option<MoreMetrics>,
    /// Whether Fluvio clients use TLS.
    pub(crate) is_encrypted: bool,
    pub(crate) smartmodules: SmartModules,
    /// `None` when Fluvio is not served.
    pub(crate) data_server: Option<PublicAddress>,
    pub(crate) stopping: AtomicBool,
}

impl Node {
    /// Whether the shutdown has begun.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Logs a task that panicked. A panic ends the connection of the task, not the server.
pub(crate) fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a task of the server panicked");
    }
}

/// Resolves when the flag is set (shutdown or topic deletion) or its sender is dropped.
///
/// # Cancel safety
/// Cancel safe.
pub(crate) async fn until_set(flag: &mut watch::Receiver<bool>) {
    // The returned guard is dropped at once: it must not be held across an await.
    let _ = flag.wait_for(|set| *set).await;
}
