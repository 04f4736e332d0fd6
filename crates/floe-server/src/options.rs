//! Options of a server.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use floe::Client;

use crate::{access::AccessRules, limits::ServeLimits, metrics::ServerMetrics, tls::ServerTls};

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
    /// Encrypts the connections of Fluvio clients and HTTP. The Walrus protocol has no TLS. Default: none.
    pub tls: Option<ServerTls>,
    /// Serves HTTP without encryption although [`ServeOptions::tls`] is set, to anonymous clients. Default: false.
    pub plain_http: bool,
    /// Serves Walrus, to anonymous clients, although [`ServeOptions::tls`] requires certificates of clients. Default:
    /// false.
    pub plain_walrus: bool,
    /// Rules of who may do what. Without rules, every client that connects may do everything. Default: none.
    pub access: Option<AccessRules>,
    /// Interval at which the files of [`ServeOptions::tls`] and [`ServeOptions::access`] are looked at. Default: 5
    /// seconds.
    pub reload_interval: Duration,
    /// Host names under which HTTP is served, in addition to the bound address and `localhost`. A request for another
    /// host is refused: a web page that rebinds its own name to this address must not read metrics. Default: none.
    pub http_hosts: Vec<String>,
    /// Whether clients may send records through SmartModules, which needs the feature `smartengine`. Default: true.
    pub smartmodules: bool,
    /// Time for requests in flight after the shutdown began. Default: 10 seconds.
    pub shutdown_deadline: Duration,
    /// Limits per client and for all clients.
    pub limits: ServeLimits,
    /// Further metrics, which `/metrics` appends to those of the server. Default: none.
    pub more_metrics: Option<MoreMetrics>,
    /// Client whose health `/readyz` reports, including its producers and circuit breakers. Default: a new client of
    /// the engine.
    pub client: Option<Client>,
    /// Console on the HTTP listener. Its hosts, its encryption and its counters follow those of the server. Default: none.
    #[cfg(feature = "console")]
    pub console: Option<crate::ConsoleOptions>,
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
            plain_http: false,
            plain_walrus: false,
            access: None,
            reload_interval: Duration::from_secs(5),
            http_hosts: Vec::new(),
            smartmodules: true,
            shutdown_deadline: Duration::from_secs(10),
            limits: ServeLimits::default(),
            more_metrics: None,
            client: None,
            #[cfg(feature = "console")]
            console: None,
            metrics: ServerMetrics::default(),
        }
    }
}
