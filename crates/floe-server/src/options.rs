//! Options and limits of a server.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use floe::Client;

use crate::{
    access::{AccessRules, ClientLimits},
    metrics::ServerMetrics,
    tls::ServerTls,
};

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
            metrics: ServerMetrics::default(),
        }
    }
}

/// Limits per client and for all clients.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServeLimits {
    /// Open connections of all protocols together; the server closes further ones at once. Default: 10,000.
    pub connections: usize,
    /// Open connections of one address, or of one IPv6 network of 64 bits; the server closes further ones at once.
    /// Default: none.
    pub connections_per_address: Option<usize>,
    /// Requests per second of one client, which is a certificate or an address. The server reads further ones later.
    /// Health is not counted. Default: none.
    pub client_requests_per_second: Option<u64>,
    /// Bytes of produce requests per second of one client. The server reads further ones later. Default: none.
    pub client_produce_bytes_per_second: Option<u64>,
    /// Bytes of records per second that one client receives. The server sends further ones later. Default: none.
    pub client_consume_bytes_per_second: Option<u64>,
    /// Largest Fluvio request in bytes. Default: 64 MiB, which admits the largest batch (32 MiB).
    pub frame_bytes: usize,
    /// Bytes of unanswered requests per connection, above which the server stops reading from it. One larger request
    /// is served alone. Default: 64 MiB.
    pub in_flight_bytes: usize,
    /// Bytes of responses queued for a client that does not read. One larger response is sent alone. Default: 16 MiB.
    pub unread_bytes: usize,
    /// Bytes of records in one response of a stream, whatever the client requests. One larger batch is sent alone.
    /// Default: 8 MiB.
    pub response_bytes: usize,
    /// Streams that a connection may open during its life. Default: 10,000.
    pub streams: u32,
    /// Bytes of memory of a SmartModule. Default: 256 MiB.
    pub smartmodule_memory: usize,
    /// Instructions of one SmartModule call, which bounds endless loops. Default: 1,000 million, which take a few
    /// seconds.
    pub smartmodule_fuel: u64,
    /// Further instructions per byte of the batch. Default: 1,000.
    pub smartmodule_fuel_per_byte: u64,
    /// Deadline of the TLS handshake. Default: 10 seconds.
    pub handshake_timeout: Duration,
    /// Deadline of an HTTP request head, and the idle time between requests. Default: 30 seconds.
    pub http_timeout: Duration,
    /// Deadline of a request, from its first byte to its last. Default: 60 seconds.
    pub frame_timeout: Duration,
    /// Idle time after which a connection without requests, streams and watches is closed. Default: none. Official
    /// Fluvio clients keep idle connections, and report a closed one as an error.
    pub idle_timeout: Option<Duration>,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: None,
            client_requests_per_second: None,
            client_produce_bytes_per_second: None,
            client_consume_bytes_per_second: None,
            frame_bytes: 64 << 20,
            in_flight_bytes: 64 << 20,
            unread_bytes: 16 << 20,
            response_bytes: 8 << 20,
            streams: 10_000,
            smartmodule_memory: 256 << 20,
            smartmodule_fuel: 1_000_000_000,
            smartmodule_fuel_per_byte: 1_000,
            handshake_timeout: Duration::from_secs(10),
            http_timeout: Duration::from_secs(30),
            frame_timeout: Duration::from_secs(60),
            idle_timeout: None,
        }
    }
}

impl ServeLimits {
    pub(crate) fn of_clients(&self) -> ClientLimits {
        ClientLimits {
            connections_per_address: self.connections_per_address,
            requests_per_second: self.client_requests_per_second,
            produce_bytes_per_second: self.client_produce_bytes_per_second,
            consume_bytes_per_second: self.client_consume_bytes_per_second,
        }
    }
}
