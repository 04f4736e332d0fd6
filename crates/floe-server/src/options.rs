//! How a server shall behave.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use floe::Client;

use crate::{metrics::ServerMetrics, tls::ServerTls};

/// Settings of a server. Each has a default that suits a laptop and a test.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Host name or address under which Fluvio clients reach the data server. Default: the address that it was bound
    /// to, which is wrong only behind a translation of addresses or for an address such as `0.0.0.0`.
    pub advertise: Option<String>,
    /// Folder for what the engine has no place for: rules of Fluvio topics, SmartModules, registered data servers.
    /// Default: none, all of it is gone when the server ends.
    pub registry: Option<PathBuf>,
    /// Encrypts the connections of Fluvio clients. Those of Walrus clients and HTTP are never encrypted: the protocol of
    /// Walrus knows no TLS. Default: none.
    pub tls: Option<ServerTls>,
    /// Whether the SmartModules that clients name or send are run, which takes the feature `smartengine`. Default: yes.
    pub smartmodules: bool,
    /// How long requests may go on after the shutdown has begun. Default: 10 seconds.
    pub shutdown_deadline: Duration,
    /// What one client may take.
    pub limits: Limits,
    /// Metrics of others, which `/metrics` shows after those of the server. Default: none.
    pub more_metrics: Option<MoreMetrics>,
    /// Whose health `/readyz` tells: that of the program's own client, with its producers and breakers. Default: a
    /// client that knows nothing but the engine.
    pub client: Option<Client>,
    /// What the server counts in; a clone kept back is for passing the counts on. Default: counters of its own.
    pub metrics: ServerMetrics,
}

/// Metrics from elsewhere, for example those of the engine, as text for Prometheus.
#[derive(Clone)]
pub struct MoreMetrics(Arc<dyn Fn() -> String + Send + Sync>);

impl MoreMetrics {
    /// Asks `text` whenever somebody looks. Names that begin with `floe_server_` or are `floe_build_info` are taken.
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

/// What one client, or all of them together, may take.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at once, of all protocols together; further ones are closed at once. Default: 10,000.
    pub connections: usize,
    /// Largest Fluvio request in bytes. Default: 64 MiB, so that the largest batch (32 MiB) fits.
    pub frame_bytes: usize,
    /// Bytes of requests that one connection may have unanswered; it is read no further then. A single larger request
    /// is taken alone. Default: 64 MiB.
    pub in_flight_bytes: usize,
    /// Bytes of answers that may wait for a client that does not read. Default: 16 MiB; one larger answer is sent alone.
    pub unread_bytes: usize,
    /// Most bytes of records in one answer of a stream, whatever the client asks for. A larger batch is sent alone.
    /// Default: 8 MiB.
    pub response_bytes: usize,
    /// Streams that one connection may open in its life. Default: 10,000.
    pub streams: u32,
    /// Bytes of memory that a SmartModule may have. Default: 256 MiB.
    pub smartmodule_memory: usize,
    /// Instructions that a SmartModule may take for a call, so that none goes on for ever. Default: 1,000 million, which
    /// is a second or a few.
    pub smartmodule_fuel: u64,
    /// Instructions that it may take besides for each byte of the batch that it is called for. Default: 1,000.
    pub smartmodule_fuel_per_byte: u64,
    /// Time for the handshake of TLS. Default: 10 seconds.
    pub handshake_timeout: Duration,
    /// Time for the head of an HTTP request, and between requests. Default: 30 seconds.
    pub http_timeout: Duration,
    /// Time from the first byte of a request to its last. Default: 60 seconds.
    pub frame_timeout: Duration,
    /// Time that a connection without requests, streams and watches is kept. Default: none, for ever: the clients of
    /// Fluvio keep connections for later, and take one that was closed for an error.
    pub idle_timeout: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
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
