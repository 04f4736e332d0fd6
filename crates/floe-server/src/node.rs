//! What all connections of a server share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use floe::{Client, engine::SharedEngine};
use tokio::sync::watch;

use crate::{
    catalog::Catalog,
    metrics::Metrics,
    options::{Limits, MoreMetrics},
    registry::Registry,
    smartmodule::SmartModules,
};

/// Id of the only data server. Real clusters number theirs from here, too.
pub(crate) const SPU_ID: i32 = 5001;

/// Name of the only data server.
pub(crate) const SPU_NAME: &str = "floe-spu-5001";

/// Where clients reach the data server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The server, as its connections see it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) engine: SharedEngine,
    /// Whose health is told.
    pub(crate) client: Client,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    pub(crate) more_metrics: Option<MoreMetrics>,
    /// Whether Fluvio clients speak TLS.
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

/// Waits until it is said: that the server stops, or that a topic is gone. Nobody left to say it says it, too.
///
/// # Cancel safety
/// Dropping the future loses nothing.
pub(crate) async fn until_set(flag: &mut watch::Receiver<bool>) {
    // The guard that this returns must not live on: it is no thing to carry over a wait.
    let _ = flag.wait_for(|told| *told).await;
}
