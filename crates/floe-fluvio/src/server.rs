//! One server of the cluster: its connections, the handshake and the connection state.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use floe_core::{
    Effect, Error, ErrorKind, Result,
    dial::{Dial, Endpoint},
    node_backoff::NodeState,
    process,
};
use floe_wire::fluvio::{
    ApiVersionsRequest, Request,
    versions::{ServerVersions, UnsupportedApi},
};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{errors, options::FluvioOptions};
use crate::{
    mux::{Mux, MuxSettings, handshake_request},
    tls::Tls,
};

/// State of the connections to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// No connection was needed yet, or the engine was closed.
    Disconnected,
    /// The first connection is being opened.
    Connecting,
    /// At least one connection is open.
    Connected,
    /// The connection broke; the next request opens another one.
    Reconnecting,
    /// The server cannot be used for a permanent reason, such as a certificate or a version.
    Failed,
}

impl ConnectionState {
    /// Returns the name of the state.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Failed => "failed",
        }
    }
}

/// A server with the state of the connections to it.
#[derive(Debug, Clone)]
pub struct ServerConnection {
    endpoint: String,
    state: watch::Receiver<ConnectionState>,
}

impl ServerConnection {
    /// Returns the address of the server.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns the present state.
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        *self.state.borrow()
    }

    /// Waits for a state that `accepts`, be it the present one, and returns it. `None` if the engine no longer uses the
    /// server, so that the state does not change any more.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn wait_for(&self, accepts: impl Fn(ConnectionState) -> bool) -> Option<ConnectionState> {
        self.state.clone().wait_for(|state| accepts(*state)).await.ok().map(|state| *state)
    }
}

/// Opens connections to any server.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) dial: Arc<dyn Dial>,
    pub(super) settings: FluvioOptions,
    /// Present if connections are encrypted.
    pub(super) tls: Option<Tls>,
}

/// Address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) endpoint: Endpoint,
    /// Name of the server's object, which is in its certificate; `None` for the controller.
    pub(super) name: Option<Arc<str>>,
}

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: Address,
    connector: Arc<Connector>,
    /// Back-off after a failure.
    down: NodeState,
    state: watch::Sender<ConnectionState>,
    /// Connections that are open; changed together with the state.
    open: Arc<AtomicUsize>,
    /// API versions of the server, once it was connected.
    versions: Mutex<Option<Arc<ServerVersions>>>,
}

/// A connection that is ready for requests.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) mux: Mux,
    pub(super) versions: Arc<ServerVersions>,
    pub(super) endpoint: Arc<str>,
}

impl Server {
    pub(super) fn new(address: Address, connector: Arc<Connector>) -> Arc<Self> {
        let (state, _) = watch::channel(ConnectionState::Disconnected);
        let (down, versions) = (NodeState::default(), Mutex::default());
        Arc::new(Self { address, connector, down, state, open: Arc::default(), versions })
    }

    pub(super) fn connection(&self) -> ServerConnection {
        ServerConnection { endpoint: self.address.endpoint.to_string(), state: self.state.subscribe() }
    }

    pub(super) fn settings(&self) -> &FluvioOptions {
        &self.connector.settings
    }

    fn mux_settings(&self) -> MuxSettings {
        let FluvioOptions { client_id, idle, .. } = self.settings();
        MuxSettings { client_id: Arc::from(client_id.as_str()), idle: *idle, ..MuxSettings::default() }
    }

    /// Returns the API versions of the server if it was connected once.
    pub(super) fn versions(&self) -> Option<Arc<ServerVersions>> {
        self.versions.lock().clone()
    }

    /// Opens a connection and does the handshake.
    ///
    /// # Errors
    /// During back-off the latest failure, at once. [`ErrorKind::ConnectionTimeout`],
    /// [`ErrorKind::ConnectionRefused`], [`ErrorKind::NetworkError`], [`ErrorKind::TlsFailed`]. All without effect.
    pub(super) async fn connect(&self) -> Result<Link> {
        if let Some(wait) = self.down.down_for() {
            let last = self.down.last_error();
            let error =
                last.unwrap_or_else(|| Error::new(ErrorKind::NetworkError, "the server was unreachable"));
            return Err(error.with_retry_after(wait));
        }
        self.state.send_if_modified(|state| {
            let next = match *state {
                ConnectionState::Disconnected => ConnectionState::Connecting,
                // A further connection to the same server changes nothing.
                ConnectionState::Connected => return false,
                _ => ConnectionState::Reconnecting,
            };
            std::mem::replace(state, next) != next
        });
        let deadline = Instant::now() + self.settings().connect_timeout;
        let outcome = match self.open(deadline, self.mux_settings()).await {
            Ok(mux) => self.shake_hands(mux, deadline).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(link) => {
                self.down.worked();
                *self.versions.lock() = Some(Arc::clone(&link.versions));
                self.watch_end(&link.mux);
                Ok(link)
            }
            Err(error) => {
                let error = error.with_effect(Effect::None).with_endpoint(self.address.endpoint.to_string());
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// Opens a connection for a single use, without the handshake.
    pub(super) async fn open_without_handshake(&self, frame_limit: usize) -> Result<Mux> {
        let deadline = Instant::now() + self.settings().connect_timeout;
        let settings = MuxSettings { frame_limit, ..self.mux_settings() };
        let opened = self.open(deadline, settings).await;
        opened.map_err(|error| {
            let error = error.with_effect(Effect::None).with_endpoint(self.address.endpoint.to_string());
            self.failed(&error);
            error
        })
    }

    async fn open(&self, deadline: Instant, mux: MuxSettings) -> Result<Mux> {
        let Connector { dial, settings, tls } = &*self.connector;
        let Address { endpoint, name } = &self.address;
        let opening = async {
            let stream = dial.dial(endpoint).await?;
            match tls {
                Some(tls) => tls.wrap(stream, &endpoint.host, name.as_deref()).await,
                None => Ok(stream),
            }
        };
        let stream = match timeout_at(deadline, opening).await {
            Ok(opened) => opened?,
            Err(_) => {
                let message = format!("no connection within {:?}", settings.connect_timeout);
                return Err(Error::new(ErrorKind::ConnectionTimeout, message));
            }
        };
        Ok(Mux::start(stream, mux))
    }

    async fn shake_hands(&self, mux: Mux, deadline: Instant) -> Result<Link> {
        let limit = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let asked = mux.call(&handshake_request(), ApiVersionsRequest::VERSION, limit).await;
        let reply = asked.map_err(|error| match error.kind() {
            ErrorKind::RequestTimeout => Error::new(
                ErrorKind::ConnectionTimeout,
                "the server accepts connections and does not answer; is TLS enabled on one side only?",
            )
            .with_source(error),
            // A certificate error is permanent, and its message names the remedy.
            ErrorKind::TlsFailed => error,
            _ => Error::new(
                error.kind(),
                format!(
                    "the handshake failed ({}); is it a Fluvio server, and is TLS set as on the server?",
                    error.message()
                ),
            )
            .with_retriable(true)
            .with_source(error),
        })?;
        if !reply.error_code.is_success() {
            return Err(errors::error(&reply.error_code));
        }
        let versions = Arc::new(ServerVersions::new(reply));
        Ok(Link { mux, versions, endpoint: Arc::from(self.address.endpoint.to_string()) })
    }

    fn failed(&self, error: &Error) {
        self.down.failed(error);
        let retriable = error.is_retriable();
        self.state.send_if_modified(|state| {
            let next = match *state {
                // The end of the open connection changes the state.
                ConnectionState::Connected if retriable => return false,
                _ if retriable => ConnectionState::Reconnecting,
                _ => ConnectionState::Failed,
            };
            std::mem::replace(state, next) != next
        });
    }

    /// Sets the state to connected, until the last connection ends.
    fn watch_end(&self, mux: &Mux) {
        let (closed, state, open) = (mux.closed(), self.state.clone(), Arc::clone(&self.open));
        self.state.send_modify(|state| {
            open.fetch_add(1, Ordering::Relaxed);
            *state = ConnectionState::Connected;
        });
        tokio::spawn(process::inherit(async move {
            let cause = closed.await;
            let next = match cause.kind() {
                ErrorKind::Closed => ConnectionState::Disconnected,
                _ => ConnectionState::Reconnecting,
            };
            state.send_if_modified(|state| {
                let was_last = open.fetch_sub(1, Ordering::Relaxed) == 1;
                let ends = was_last && *state == ConnectionState::Connected;
                if ends {
                    *state = next;
                }
                ends
            });
        }));
    }
}

/// A connection to a server for one kind of request, opened on demand and reopened after it broke.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) server: Arc<Server>,
    link: tokio::sync::Mutex<Option<Arc<Link>>>,
}

impl Slot {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self { server, link: tokio::sync::Mutex::default() }
    }

    /// Returns the connection. Concurrent callers wait for the same one.
    pub(super) async fn link(&self) -> Result<Arc<Link>> {
        let mut slot = self.link.lock().await;
        if let Some(link) = &*slot {
            if link.mux.cause().is_none() {
                return Ok(Arc::clone(link));
            }
            *slot = None;
        }
        let link = Arc::new(self.server.connect().await?);
        *slot = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Sends a request over the connection and waits for the reply.
    pub(super) async fn call<R: Request>(&self, request: &R) -> Result<R::Reply> {
        let link = self.link().await?;
        link.call(request, self.server.settings().request_timeout).await
    }

    /// Closes the connection.
    pub(super) async fn close(&self) {
        if let Some(link) = self.link.lock().await.take() {
            link.mux.fail(Error::closed("engine"));
        }
    }
}

impl Link {
    /// Sends a request and waits for the reply.
    pub(super) async fn call<R: Request>(&self, request: &R, limit: Duration) -> Result<R::Reply> {
        let version = self.choose::<R>()?;
        let replied = self.mux.call(request, version, limit).await;
        replied.map_err(|error| error.with_endpoint(Arc::clone(&self.endpoint)))
    }

    /// Chooses the version in which to send a request.
    pub(super) fn choose<R: Request>(&self) -> Result<i16> {
        choose::<R>(&self.versions)
    }
}

/// Chooses the version in which to send a request to a server.
pub(super) fn choose<R: Request>(versions: &ServerVersions) -> Result<i16> {
    versions.choose::<R>().map_err(|problem| unsupported_version(&problem))
}

/// Returns the error of a server that is too old or too new.
pub(super) fn unsupported_version(problem: &UnsupportedApi) -> Error {
    Error::new(ErrorKind::Unsupported, problem.to_string())
}
