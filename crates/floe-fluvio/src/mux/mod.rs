//! One connection to a Fluvio server, shared by many requests.
//!
//! ```text
//!  call ─┐                        ┌─► write ─┐
//!  call ─┼─► bounded queue ─► task┤          ├─ socket
//!  call ─┘    replies ◄───────────┴── read ◄─┘
//! ```
//!
//! One task owns the socket. Correlation ids assign replies and the pushes of streams to their requests. A protocol desync
//! (a malformed frame, an unknown id, a missing reply) ends the connection, and all pending requests fail with the same
//! cause: no request waits on a dead socket. An idle connection sends a version request as a heartbeat from time to time,
//! because silence alone does not tell a quiet peer from a dead one.

mod task;

use std::{
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use floe_core::{Effect, Error, ErrorKind, Result, dial::Stream, process};
use floe_wire::{
    WireError,
    fluvio::{ApiVersionsRequest, EncodedFrame, Input, Request, frame},
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::Instant,
};

use self::task::Heartbeat;

/// Requests that may wait to be written before callers block.
const QUEUE: usize = 64;

/// Pushes of one stream that are buffered for their reader. Data servers send one at a time.
const STREAM_QUEUE: usize = 4;

/// Settings of a connection.
#[derive(Debug, Clone)]
pub(crate) struct MuxSettings {
    /// Name of the client in the server's logs.
    pub(crate) client_id: Arc<str>,
    /// Largest frame that is accepted, in bytes.
    pub(crate) frame_limit: usize,
    /// Silence after which a heartbeat is sent.
    pub(crate) idle: Duration,
    /// Deadline of a heartbeat, and the longest pause within a frame.
    pub(crate) patience: Duration,
}

impl Default for MuxSettings {
    fn default() -> Self {
        Self {
            client_id: Arc::from("floe"),
            frame_limit: frame::DEFAULT_FRAME_LIMIT,
            idle: Duration::from_secs(20),
            patience: Duration::from_secs(10),
        }
    }
}

/// A multiplexed connection. Dropping it closes the connection.
pub(crate) struct Mux {
    commands: mpsc::Sender<Command>,
    state: Arc<MuxState>,
    next_id: AtomicI32,
    settings: MuxSettings,
}

/// State shared by the task and the handle.
#[derive(Debug)]
struct MuxState {
    /// The error that ended the connection; `None` while it is open.
    cause: watch::Sender<Option<Error>>,
    pending: Mutex<PendingRequests>,
    /// Wakes the watchdog when a request has an earlier deadline than the present timer.
    earlier: Notify,
}

#[derive(Debug, Default)]
struct PendingRequests {
    /// By id, so that a broken connection fails requests in the order in which they were made.
    waiting: BTreeMap<i32, Waiting>,
    /// Present timer of the watchdog.
    wakes_at: Option<Instant>,
    last_read: Option<Instant>,
}

#[derive(Debug)]
enum Waiting {
    /// A single reply, before the deadline.
    Reply { to: oneshot::Sender<Result<Input>>, deadline: Instant, limit: Duration },
    /// Any number of replies.
    Stream { to: mpsc::Sender<Result<Input>> },
}

#[derive(Debug)]
struct Command {
    id: i32,
    frame: EncodedFrame,
    waiting: Waiting,
}

impl MuxState {
    fn fail(&self, error: Error) {
        self.cause.send_if_modified(|cause| {
            let first = cause.is_none();
            if first {
                *cause = Some(error);
            }
            first
        });
    }

    fn cause(&self) -> Option<Error> {
        self.cause.borrow().clone()
    }

    /// Returns the error of a request that was certainly not sent.
    fn unsent(&self) -> Error {
        self.cause().unwrap_or_else(closed).with_effect(Effect::None)
    }

    fn register(&self, id: i32, waiting: Waiting) {
        let mut pending = self.pending.lock();
        if let Waiting::Reply { deadline, .. } = &waiting
            && pending.wakes_at.is_none_or(|at| *deadline < at)
        {
            self.earlier.notify_one();
        }
        pending.waiting.insert(id, waiting);
    }
}

impl Mux {
    /// Starts the task of a connection that is ready for frames.
    pub(crate) fn start(stream: Box<dyn Stream>, settings: MuxSettings) -> Self {
        let (commands, queue) = mpsc::channel(QUEUE);
        let (cause, _) = watch::channel(None);
        let state = Arc::new(MuxState { cause, pending: Mutex::default(), earlier: Notify::new() });
        let heartbeat = Heartbeat { commands: commands.downgrade(), settings: settings.clone() };
        tokio::spawn(process::inherit(task::run(stream, queue, Arc::clone(&state), heartbeat)));
        // Heartbeats have negative ids, requests of callers positive ones.
        Self { commands, state, next_id: AtomicI32::new(1), settings }
    }

    /// Returns the error that ended the connection; `None` while it is open.
    pub(crate) fn cause(&self) -> Option<Error> {
        self.state.cause()
    }

    /// Ends the connection; all pending requests fail with this cause.
    pub(crate) fn fail(&self, cause: Error) {
        self.state.fail(cause);
    }

    /// Waits until the connection ends. Does not keep it open.
    pub(crate) fn closed(&self) -> impl Future<Output = Error> + Send + 'static {
        let mut cause = self.state.cause.subscribe();
        async move {
            match cause.wait_for(Option::is_some).await {
                Ok(cause) => cause.clone().unwrap_or_else(closed),
                Err(_) => closed(),
            }
        }
    }

    /// Sends a request and waits for its reply at most `limit`.
    ///
    /// # Errors
    /// The cause that ended the connection; [`ErrorKind::RequestTimeout`], which ends the connection;
    /// [`ErrorKind::ProtocolError`] for a malformed reply.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the request sent.
    pub(crate) async fn call<R: Request>(
        &self,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<R::Reply> {
        self.begin(request, version, limit).await?.reply().await
    }

    /// Queues a request. Requests are sent in the order in which these futures were first polled.
    pub(crate) async fn begin<R: Request>(
        &self,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<PendingReply<R>> {
        let (command, pending) = self.command(request, version, limit)?;
        self.commands.send(command).await.map_err(|_| self.state.unsent())?;
        Ok(pending)
    }

    /// Queues a request if there is room in the queue; otherwise returns `None`.
    pub(crate) fn try_begin<R: Request>(
        &self,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<Option<PendingReply<R>>> {
        let (command, pending) = self.command(request, version, limit)?;
        match self.commands.try_send(command) {
            Ok(()) => Ok(Some(pending)),
            Err(mpsc::error::TrySendError::Full(_)) => Ok(None),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(self.state.unsent()),
        }
    }

    /// Sends a streaming request.
    pub(crate) async fn stream<R: Request>(&self, request: &R, version: i16) -> Result<Replies<R>> {
        let (to, from) = mpsc::channel(STREAM_QUEUE);
        let id = self.id();
        let frame = encode(request, version, id, &self.settings.client_id)?;
        let command = Command { id, frame, waiting: Waiting::Stream { to } };
        self.commands.send(command).await.map_err(|_| self.state.unsent())?;
        Ok(Replies { from, version, state: Arc::clone(&self.state), request: PhantomData })
    }

    fn command<R: Request>(
        &self,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<(Command, PendingReply<R>)> {
        if let Some(cause) = self.cause() {
            return Err(cause.with_effect(Effect::None));
        }
        let (to, from) = oneshot::channel();
        let id = self.id();
        let frame = encode(request, version, id, &self.settings.client_id)?;
        let waiting = Waiting::Reply { to, deadline: Instant::now() + limit, limit };
        let pending = PendingReply { from, version, state: Arc::clone(&self.state), request: PhantomData };
        Ok((Command { id, frame, waiting }, pending))
    }

    fn id(&self) -> i32 {
        self.next_id.fetch_add(1, Ordering::Relaxed) & i32::MAX
    }
}

impl fmt::Debug for Mux {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mux").field("cause", &self.cause()).finish_non_exhaustive()
    }
}

/// A request in flight.
pub(crate) struct PendingReply<R> {
    from: oneshot::Receiver<Result<Input>>,
    version: i16,
    state: Arc<MuxState>,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> PendingReply<R> {
    /// Waits for the reply.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect; call again for the same reply.
    pub(crate) async fn wait(&mut self) -> Result<R::Reply> {
        match (&mut self.from).await {
            Ok(reply) => decode::<R>(reply?, self.version),
            // The command was still in the queue when the task ended.
            Err(_) => Err(self.state.unsent()),
        }
    }

    async fn reply(mut self) -> Result<R::Reply> {
        self.wait().await
    }
}

impl<R> fmt::Debug for PendingReply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingReply").finish_non_exhaustive()
    }
}

/// The replies to a streaming request.
pub(crate) struct Replies<R> {
    from: mpsc::Receiver<Result<Input>>,
    version: i16,
    state: Arc<MuxState>,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> Replies<R> {
    /// Returns the next reply. After an error no other follows.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<R::Reply> {
        match self.from.recv().await {
            Some(reply) => decode::<R>(reply?, self.version),
            None => Err(self.state.cause().unwrap_or_else(closed)),
        }
    }
}

impl<R> fmt::Debug for Replies<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").finish_non_exhaustive()
    }
}

fn encode<R: Request>(request: &R, version: i16, id: i32, client_id: &str) -> Result<EncodedFrame> {
    tracing::trace!(correlation_id = id, api = R::NAME, version, "request");
    frame::encode_request(request, version, id, client_id).map_err(|problem| {
        let kind = match problem {
            WireError::TooLarge { .. } => ErrorKind::RecordTooLarge,
            _ => ErrorKind::InvalidCommand,
        };
        Error::new(kind, format!("the {} request cannot be encoded: {problem}", R::NAME))
            .with_effect(Effect::None)
    })
}

fn decode<R: Request>(reply: Input, version: i16) -> Result<R::Reply> {
    frame::decode_reply::<R>(reply, version).map_err(|problem| {
        Error::new(ErrorKind::ProtocolError, format!("malformed reply to {}: {problem}", R::NAME))
    })
}

/// Returns the error of a connection that this side closed.
fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the connection was closed")
}

/// Returns the handshake, which names this client. Controllers close the connection unless the version is a semantic one.
pub(crate) fn handshake_request() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_version: env!("CARGO_PKG_VERSION").to_owned(),
        client_os: std::env::consts::OS.to_owned(),
        client_arch: std::env::consts::ARCH.to_owned(),
    }
}
