//! Accepts and counts connections, and shuts down gracefully.

use std::{
    collections::HashSet,
    fmt, io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use floe::{Client, Error, ErrorKind, Result, Topic, engine::SharedEngine};
use floe_wire::fluvio::TopicSpec;
use futures_util::future::BoxFuture;
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::{
    access::{Gate, Principal, Session},
    catalog::Catalog,
    connection_slots::{Activity, ConnectionSlots, WhenFull},
    door::Door,
    fluvio::{self, controller::Views},
    hosts::AllowedHosts,
    http,
    listeners::{AcceptedSocket, Listener, Listeners},
    memory::ServerMemory,
    metrics::Frontend,
    node::{FIRST_READS, Node, PublicAddress, log_panic, until_set},
    options::ServeOptions,
    platform,
    registry::Registry,
    smartmodule::SmartModules,
    socket::Socket,
    tls::{ServerTls, principal_of},
    walrus,
    workers::Workers,
};

/// Delay after a failed accept, for example when the process has no free descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Time between the failing readiness and the closing of the listeners, so that load balancers see it. Part of the
/// shutdown deadline.
const LAME_DUCK: Duration = Duration::from_millis(200);

/// Serves `engine` on `listeners` until `shutdown` resolves, then shuts down gracefully: `/readyz` turns to 503, the
/// listeners close, received requests are answered, and connections that are open at the deadline are closed.
///
/// `shutdown` is polled for the first time once all listeners accept connections. The caller closes the engine.
///
/// # Errors
/// Returns errors of the start: the engine's topics cannot be listed, [`ErrorKind::StorageError`] if the registry
/// cannot be read, or [`ErrorKind::InvalidConfig`] if Walrus would let clients past the certificates that
/// [`ServeOptions::tls`] requires, and [`ServeOptions::plain_walrus`] does not ask for it.
///
/// # Cancel safety
/// Dropping the future stops the server at once, without answering requests in flight.
pub async fn serve(
    listeners: Listeners,
    engine: SharedEngine,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let mut options = options;
    options.limits = options.limits.within(platform::descriptor_limit());
    let node = start(&listeners, engine, &options).await?;
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let catalog = Arc::clone(&node.catalog);
    // All tasks belong to this future, so dropping it stops the server.
    let mut background = JoinSet::new();
    background.spawn(async move { catalog.follow().await });
    background.spawn(follow_files(Arc::clone(&node), options.clone()));
    let connections = ConnectionSlots::new(options.limits.connections, WhenFull::CloseIdle);
    // HTTP has slots of its own, so that health is answered however many other clients there are.
    let probes = ConnectionSlots::new(options.limits.http_connections, WhenFull::CloseOldest);

    let has_http = listeners.http.is_some();
    let acceptor = |front: Frontend, stopping: &watch::Receiver<bool>, handler: Handler| Acceptor {
        node: Arc::clone(&node),
        slots: if front == Frontend::Http { probes.clone() } else { connections.clone() },
        tls: options.tls.clone().filter(|_| match front {
            Frontend::Controller | Frontend::Data => true,
            Frontend::Http => !options.plain_http,
            Frontend::Walrus => false,
        }),
        front,
        handler,
        stopping: stopping.clone(),
        deadline: options.shutdown_deadline,
    };
    let mut accept = |listener: Listener, front: Frontend, handler: Handler| {
        tasks.spawn(acceptor(front, &stopping, handler).run(listener));
    };
    if let Some((controller, data)) = listeners.fluvio {
        let views = Arc::new(Views::default());
        let handler: Handler = Arc::new(move |node, session, connection, stop| {
            Box::pin(fluvio::controller::serve((node, Arc::clone(&views)), session, connection, stop))
        });
        accept(controller, Frontend::Controller, handler);
        let handler: Handler = Arc::new(|node, session, connection, stop| {
            Box::pin(fluvio::data::serve(node, session, connection, stop))
        });
        accept(data, Frontend::Data, handler);
    }
    if let Some(listener) = listeners.walrus {
        let cursors = Arc::new(walrus::SharedCursors::new(&node.memory));
        let (closing, changes) = (Arc::clone(&cursors), node.catalog.epoch());
        background.spawn(async move { closing.follow(changes).await });
        let handler: Handler = Arc::new(move |node, session, connection, stop| {
            Box::pin(walrus::serve(node, session, Arc::clone(&cursors), connection, stop))
        });
        accept(listener, Frontend::Walrus, handler);
    }
    // HTTP stops last, so that health is reported until the end.
    let (stop_http, stopping_http) = watch::channel(false);
    if let Some(listener) = listeners.http {
        let handler: Handler =
            Arc::new(|node, session, (socket, _), stop| Box::pin(http::serve(node, session, socket, stop)));
        background.spawn(acceptor(Frontend::Http, &stopping_http, handler).run(listener));
    }

    shutdown.await;
    tracing::info!(deadline = ?options.shutdown_deadline, "shutting down: requests in flight are answered");
    node.stopping.store(true, Ordering::Relaxed);
    if has_http {
        tokio::time::sleep(LAME_DUCK.min(options.shutdown_deadline)).await;
    }
    stop.send_replace(true);
    while let Some(ended) = tasks.join_next().await {
        log_panic(ended);
    }
    stop_http.send_replace(true);
    tracing::info!("the server has stopped");
    Ok(())
}

async fn start(listeners: &Listeners, engine: SharedEngine, options: &ServeOptions) -> Result<Arc<Node>> {
    let needs_certificate = options.tls.as_ref().is_some_and(ServerTls::needs_client_certificate);
    if needs_certificate && listeners.walrus.is_some() && !options.plain_walrus {
        return Err(Error::new(
            ErrorKind::InvalidConfig,
            "Walrus has no TLS, so its clients would need no certificate: do not serve it, or set plain_walrus",
        ));
    }
    let refuse =
        |error: io::Error| Error::new(ErrorKind::StorageError, "the server cannot start").with_source(error);
    let shown = |address: Option<SocketAddr>| address.map_or_else(|| "off".to_owned(), |at| at.to_string());
    // A custom transport may have no address.
    if let Ok(bound) = listeners.addresses() {
        tracing::info!(
            engine = engine.info().name,
            fluvio_sc = shown(bound.fluvio_sc),
            fluvio_spu = shown(bound.fluvio_spu),
            walrus = shown(bound.walrus),
            http = shown(bound.http),
            "listening"
        );
    }
    let memory = ServerMemory::new(&options.limits);
    let (folder, limit) = (options.registry.clone(), options.limits.registry_bytes);
    let account = memory.modules.account(usize::MAX);
    let registry = Registry::open(folder, limit, account).await.map_err(refuse)?;
    let registry = Arc::new(registry);
    let data_server = match &listeners.fluvio {
        Some((_, data)) => {
            let bound = data.local_addr().map_err(refuse)?;
            Some(public_address(options.advertise.as_deref(), bound))
        }
        None => None,
    };
    let catalog = Arc::new(Catalog::load(Arc::clone(&engine)).await?);
    forget_lost_topics(&registry, &catalog).await.map_err(refuse)?;
    let client = options.client.clone().unwrap_or_else(|| Client::from_engine(Arc::clone(&engine)));
    let http_bound = listeners.http.as_ref().and_then(|listener| listener.local_addr().ok());
    let workers = Workers::new();
    let modules = (&options.limits, workers.clone());
    let smartmodules =
        SmartModules::new(Arc::clone(&engine), Arc::clone(&registry), options.smartmodules, modules);
    let metrics = options.metrics.counters();
    metrics.observe(&options.limits, &memory);
    let http_hosts = AllowedHosts::new(http_bound, options.http_hosts.iter().cloned());
    let serves = listeners.fluvio.is_some() || listeners.walrus.is_some();
    let console = console_routes((options, serves), &client, &http_hosts, &memory);
    Ok(Arc::new(Node {
        engine,
        client,
        catalog,
        registry,
        gate: Arc::new(Gate::new(options.access.clone(), (&options.limits).into(), Arc::clone(&metrics))),
        http_hosts,
        metrics,
        door: Door::new(&options.limits, workers.clone()),
        workers,
        first_reads: Semaphore::new(FIRST_READS),
        memory,
        limits: options.limits.clone(),
        more_metrics: options.more_metrics.clone(),
        console,
        smartmodules,
        is_encrypted: options.tls.is_some(),
        data_server,
        stopping: AtomicBool::new(false),
    }))
}

#[cfg(feature = "console")]
fn console_routes(
    (options, serves): (&ServeOptions, bool),
    client: &Client,
    hosts: &AllowedHosts,
    memory: &ServerMemory,
) -> Option<axum::Router> {
    let mut console = options.console.clone()?;
    console.hosts = hosts.clone();
    console.encrypted = options.tls.is_some() && !options.plain_http;
    console.server = serves.then(|| options.metrics.clone());
    let memory = crate::console::ReadMemory::new(memory.responses.clone(), options.limits.memory_timeout);
    Some(crate::console::within(client.clone(), console, Some(memory)))
}

#[cfg(not(feature = "console"))]
fn console_routes(
    _: (&ServeOptions, bool),
    _: &Client,
    _: &AllowedHosts,
    _: &ServerMemory,
) -> Option<axum::Router> {
    None
}

/// Reads certificates and rules again when their files change.
async fn follow_files(node: Arc<Node>, options: ServeOptions) {
    let has_files = options.tls.as_ref().is_some_and(|tls| tls.reloaded().has_files())
        || options.access.as_ref().is_some_and(|rules| rules.reloaded().has_files());
    if !has_files {
        return;
    }
    loop {
        tokio::time::sleep(options.reload_interval).await;
        let (tls, access) = (options.tls.clone(), options.access.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let tls = tls.map_or(Ok(false), |tls| tls.reloaded().refresh());
            (tls, access.map_or(Ok(false), |rules| rules.reloaded().refresh()))
        });
        // The runtime stops.
        let Ok((tls, rules)) = looked.await else { return };
        report(&node, "certificates", &tls);
        if report(&node, "rules", &rules) {
            // Watches then report the topics that their clients may see now.
            node.catalog.notify_changed();
        }
    }
}

/// Logs and counts a look at files that have changed. Returns true if their contents are in use.
fn report(node: &Node, files: &'static str, outcome: &Result<bool>) -> bool {
    match outcome {
        Ok(false) => return false,
        Ok(true) => {
            tracing::info!(files, "read again after a change");
            node.metrics.reloaded(files, "used");
        }
        Err(error) => {
            tracing::warn!(%error, files, "changed and cannot be used: the old ones stay in use");
            node.metrics.reloaded(files, "failed");
        }
    }
    outcome.is_ok()
}

fn public_address(advertise: Option<&str>, bound: SocketAddr) -> PublicAddress {
    // Clients cannot connect to an unspecified address; without a name to advertise, only local clients are served.
    let host = match advertise {
        Some(host) => host.to_owned(),
        None if bound.ip().is_unspecified() => "127.0.0.1".to_owned(),
        None => bound.ip().to_string(),
    };
    PublicAddress { host, port: bound.port() }
}

/// Deletes rules of topics that were deleted while no server ran: they must not apply to a new topic of the same
/// name.
async fn forget_lost_topics(registry: &Arc<Registry>, catalog: &Catalog) -> io::Result<()> {
    let topics: HashSet<_> = catalog.all().iter().map(|entry| entry.info.name.clone()).collect();
    let lost = registry.read(|objects| {
        let names = objects.topics.keys();
        names.filter(|name| !topics.contains(&Topic::from(name.as_str()))).cloned().collect::<Vec<_>>()
    });
    for name in lost {
        registry.remove::<TopicSpec>(&name).await?;
    }
    Ok(())
}

/// Serves one connection until it ends, or until the flag reports the shutdown and all received requests are
/// answered.
type Handler = Arc<
    dyn Fn(Arc<Node>, Arc<Session>, (Socket, Activity), watch::Receiver<bool>) -> BoxFuture<'static, ()>
        + Send
        + Sync,
>;

struct Acceptor {
    node: Arc<Node>,
    slots: ConnectionSlots,
    tls: Option<ServerTls>,
    front: Frontend,
    handler: Handler,
    stopping: watch::Receiver<bool>,
    deadline: Duration,
}

impl Acceptor {
    async fn run(mut self, mut listener: Listener) {
        let mut open = JoinSet::new();
        let mut stopping = self.stopping.clone();
        let mut stopped = pin!(until_set(&mut stopping));
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => break,
                accepted = listener.accept() => match accepted {
                    Ok(socket) => self.take(socket, &mut open),
                    Err(error) => {
                        tracing::warn!(%error, listener = self.front.name(), "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    }
                },
                Some(ended) = open.join_next(), if !open.is_empty() => log_panic(ended),
            }
        }
        drop(listener);
        let ended = async {
            while let Some(ended) = open.join_next().await {
                log_panic(ended);
            }
        };
        if tokio::time::timeout(self.deadline, ended).await.is_err() {
            tracing::warn!(
                listener = self.front.name(),
                open = open.len(),
                "connections closed at the deadline"
            );
            open.shutdown().await;
        }
    }

    fn take(&mut self, socket: AcceptedSocket, open: &mut JoinSet<()>) {
        let peer = socket.peer_addr();
        let Ok(place) = self.node.gate.place(peer) else {
            self.node.metrics.connection_refused();
            return;
        };
        let Some(slot) = self.slots.take() else {
            self.node.metrics.connection_refused();
            return;
        };
        if slot.has_closed_another() {
            self.node.metrics.cut_off(self.front, "slot_needed");
        }
        let (node, stop, handler, front) =
            (Arc::clone(&self.node), self.stopping.clone(), Arc::clone(&self.handler), self.front);
        let counted = ConnectionCount::new(Arc::clone(&self.node), self.front);
        let tls = self.tls.clone();
        open.spawn(async move {
            let activity = slot.activity();
            let served = async {
                if let Some((socket, principal)) = secured(&node, front, tls, socket).await {
                    let session = Arc::new(node.gate.session(front, principal, peer));
                    handler(node, session, (socket, activity), stop).await;
                }
            };
            tokio::select! {
                () = served => {}
                () = slot.closed() => {}
            }
            drop((counted, slot, place));
        });
    }
}

/// Runs the TLS handshake if the front-end is encrypted, and returns the connection with its client; `None` if the
/// handshake failed.
async fn secured(
    node: &Node,
    front: Frontend,
    tls: Option<ServerTls>,
    socket: AcceptedSocket,
) -> Option<(Socket, Principal)> {
    let socket = match socket {
        AcceptedSocket::Tcp(socket) => socket,
        AcceptedSocket::Custom(socket) => return Some((Socket::Custom(socket), Principal::Anonymous)),
    };
    configure(&socket);
    let Some(tls) = tls else { return Some((Socket::Plain(socket), Principal::Anonymous)) };
    let handshake = async {
        let socket = tls.accept(socket).await?;
        principal_of(&socket).map(|principal| (Socket::Encrypted(Box::new(socket)), principal))
    };
    match tokio::time::timeout(node.limits.handshake_timeout, handshake).await {
        Ok(Ok(accepted)) => Some(accepted),
        Ok(Err(error)) => {
            tracing::debug!(%error, listener = front.name(), "TLS handshake failed");
            node.metrics.error(front, "handshake_failed");
            None
        }
        Err(_) => {
            node.metrics.error(front, "handshake_too_slow");
            None
        }
    }
}

/// Turns off Nagle's algorithm, and turns on keepalive, which detects dead clients.
fn configure(socket: &TcpStream) {
    // Neither option is needed for correctness.
    let _ = socket.set_nodelay(true);
    let _ = SockRef::from(socket).set_keepalive(true);
}

/// Counts a connection as open until it is dropped, which covers cancelled tasks.
struct ConnectionCount {
    node: Arc<Node>,
    front: Frontend,
}

impl ConnectionCount {
    fn new(node: Arc<Node>, front: Frontend) -> Self {
        node.metrics.connection_opened(front);
        Self { node, front }
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.node.metrics.connection_closed(self.front);
    }
}

impl fmt::Debug for ConnectionCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionCount").field("front", &self.front).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advertised_address_is_reachable() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (advertise, bound, host) in [
            (None, "127.0.0.1:9010", "127.0.0.1"),
            (None, "0.0.0.0:9010", "127.0.0.1"),
            (None, "[::1]:9010", "::1"),
            (Some("streams.example"), "0.0.0.0:9010", "streams.example"),
        ] {
            let expected = PublicAddress { host: host.to_owned(), port: 9010 };
            assert_eq!(public_address(advertise, address(bound)), expected);
        }
    }
}
