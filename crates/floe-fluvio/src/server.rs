//! One server of the cluster: connections to it, and whether it is there.

use std::{sync::Arc, time::Duration};

use floe_core::{
    Effect, Error, ErrorKind, Result,
    dial::{Dial, Endpoint},
    node_backoff::NodeState,
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

use super::{errors, options::Settings};
use crate::{
    mux::{Mux, MuxSettings, handshake_request},
    tls::Tls,
};

/// Whether a server is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Nobody needed a connection yet, or the engine was closed.
    Disconnected,
    /// The first connection is being made.
    Connecting,
    /// There is a connection.
    Connected,
    /// The connection broke, and another one is made when it is needed.
    Reconnecting,
    /// The server cannot be used, for a reason that does not pass: a certificate, a version.
    Failed,
}

impl ConnectionState {
    /// The state in one word.
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

/// Opens connections to any server.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) dial: Arc<dyn Dial>,
    pub(super) settings: Settings,
    /// Present where connections are encrypted.
    pub(super) tls: Option<Tls>,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) endpoint: Endpoint,
    /// Name of the server's object, which its certificate shows; `None` for the controller.
    pub(super) name: Option<Arc<str>>,
}

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: Address,
    connector: Arc<Connector>,
    /// When it may be tried again after a failure.
    down: NodeState,
    state: watch::Sender<ConnectionState>,
    /// What it speaks, once it was asked.
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
        Arc::new(Self { address, connector, down, state, versions })
    }

    pub(super) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.connector.settings
    }

    /// What the server speaks, if it was connected once.
    pub(super) fn versions(&self) -> Option<Arc<ServerVersions>> {
        self.versions.lock().clone()
    }

    /// Opens a connection and asks what the server speaks.
    ///
    /// # Errors
    /// At once the last failure, while the server is left alone after it. [`ErrorKind::ConnectionTimeout`],
    /// [`ErrorKind::ConnectionRefused`], [`ErrorKind::NetworkError`], [`ErrorKind::TlsFailed`]. All without effect.
    pub(super) async fn connect(&self) -> Result<Link> {
        if let Some(wait) = self.down.down_for() {
            let last = self.down.last_error();
            let error =
                last.unwrap_or_else(|| Error::new(ErrorKind::NetworkError, "the server was not there"));
            return Err(error.with_retry_after(wait));
        }
        self.state.send_if_modified(|state| {
            let next = match *state {
                ConnectionState::Disconnected => ConnectionState::Connecting,
                // Another connection to the same server is no news.
                ConnectionState::Connected => return false,
                _ => ConnectionState::Reconnecting,
            };
            std::mem::replace(state, next) != next
        });
        let deadline = Instant::now() + self.settings().connect_timeout;
        let outcome = match self.open(deadline, self.settings().mux()).await {
            Ok(mux) => self.shake_hands(mux, deadline).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(link) => {
                self.down.worked();
                *self.versions.lock() = Some(Arc::clone(&link.versions));
                self.state.send_replace(ConnectionState::Connected);
                self.notice_end(&link.mux);
                Ok(link)
            }
            Err(error) => {
                let error = error.with_effect(Effect::None).with_endpoint(self.address.endpoint.to_string());
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// Opens a connection for one purpose only, without asking what the server speaks.
    pub(super) async fn open_plain(&self, frame_limit: usize) -> Result<Mux> {
        let deadline = Instant::now() + self.settings().connect_timeout;
        let settings = MuxSettings { frame_limit, ..self.settings().mux() };
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
                "the server accepts connections and does not answer; a server for TLS does that to plain clients \
                 and the reverse",
            )
            .with_source(error),
            // Certificates do not get better, and the message says what to do.
            ErrorKind::TlsFailed => error,
            _ => Error::new(
                error.kind(),
                format!("no handshake ({}); is it a Fluvio server, with or without TLS as asked for?", error.message()),
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
        let passes = error.is_retriable();
        self.state.send_if_modified(|state| {
            let next = match *state {
                // Another connection may still be there; its own end tells.
                ConnectionState::Connected if passes => return false,
                _ if passes => ConnectionState::Reconnecting,
                _ => ConnectionState::Failed,
            };
            std::mem::replace(state, next) != next
        });
    }

    /// Tells those who watch the state when the connection ends.
    fn notice_end(&self, mux: &Mux) {
        let (closed, state) = (mux.closed(), self.state.clone());
        tokio::spawn(async move {
            let cause = closed.await;
            let next = match cause.kind() {
                ErrorKind::Closed => ConnectionState::Disconnected,
                _ => ConnectionState::Reconnecting,
            };
            state.send_if_modified(|state| {
                let was_there = *state == ConnectionState::Connected;
                if was_there {
                    *state = next;
                }
                was_there
            });
        });
    }
}

/// A connection to a server for one kind of work, made when it is needed and made again when it broke.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) server: Arc<Server>,
    link: tokio::sync::Mutex<Option<Arc<Link>>>,
}

impl Slot {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self { server, link: tokio::sync::Mutex::default() }
    }

    /// The connection. Those who ask while it is made wait for the same one.
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

    /// The version in which to send a request.
    pub(super) fn choose<R: Request>(&self) -> Result<i16> {
        choose::<R>(&self.versions)
    }
}

/// The version in which to send a request to a server.
pub(super) fn choose<R: Request>(versions: &ServerVersions) -> Result<i16> {
    versions.choose::<R>().map_err(|problem| too_different(&problem))
}

/// The server is too old or too new.
pub(super) fn too_different(problem: &UnsupportedApi) -> Error {
    Error::new(ErrorKind::Unsupported, problem.to_string())
}
