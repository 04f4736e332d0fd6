//! Options of a server.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use floe::Client;

use crate::{limits::Limits, metrics::ServerMetrics, tls::ServerTls};

/// Options of a server. The defaults suit a laptop and a test.
///
/// ```
/// let mut options = floe_server::ServeOptions::default();
/// options.advertise = Some("streams.example".to_owned());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Host name or address under which Fluvio clients reach the data server. Default: the bound address, or
    /// 127.0.0.1 for an unspecified one. Needed behind address translation, and when a server on `0.0.0.0` has remote
    /// clients.
    pub advertise: Option<String>,
    /// Folder of the registry file, which holds cluster objects that engines do not store: rules of Fluvio topics,
    /// SmartModules, registered data servers. Default: none, they are lost when the server ends.
    pub registry: Option<PathBuf>,
    /// Encrypts the connections of Fluvio clients. Connections of Walrus clients and HTTP are never encrypted: the
    /// Walrus protocol has no TLS. Default: none.
    pub tls: Option<ServerTls>,
    /// Whether clients may send records through SmartModules, which needs the feature `smartengine`. Default: true.
    pub smartmodules: bool,
    /// Time for requests in flight after the shutdown began. Default: 10 seconds.
    pub shutdown_deadline: Duration,
    /// Limits per client and for all clients.
    pub limits: Limits,
    /// Further metrics, which `/metrics` appends to those of the server. Default: none.
    pub more_metrics: Option<MoreMetrics>,
    /// Client whose health `/readyz` reports, including its producers and circuit breakers. Default: a new client of
    /// the engine.
    pub client: Option<Client>,
    /// Counters of the server; keep a clone to export them. Default: new counters.
    pub metrics: ServerMetrics,
}

/// Metrics of other components, for example of the engine, as Prometheus text.
#[derive(Clone)]
pub struct MoreMetrics(Arc<dyn Fn() -> String + Send + Sync>);

impl MoreMetrics {
    /// Calls `text` on every scrape. Names that begin with `floe_server_`, and `floe_build_info`, are taken by the
    /// server.
    pub fn new(text: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(text))
    }

    pub(crate) fn text(&self) -> String {
        (self.0)()
    }
}

impl fmt::Debug for MoreMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MoreMetrics")
    }
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            advertise: None,
            registry: None,
            tls: None,
            smartmodules: true,
            shutdown_deadline: Duration::from_secs(10),
            limits: Limits::default(),
            more_metrics: None,
            client: None,
            metrics: ServerMetrics::default(),
        }
    }
}
