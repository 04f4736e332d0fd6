//! One connection to a Fluvio server, shared by many requests.
//!
//! ```text
//!  call ─┐                        ┌─► write ─┐
//!  call ─┼─► bounded queue ─► task┤          ├─ socket
//!  call ─┘    replies ◄───────────┴── read ◄─┘
//! ```
//!
//! One task owns the socket. Requests are told apart by their correlation id, so that replies and the pushes of streams
//! find whoever asked. Whatever leaves the two sides out of step (a frame that makes no sense, an id that nobody uses, a
//! reply that does not come in time) ends the connection, and everybody who waits gets the same cause: nothing waits on
//! a dead socket. While nothing is asked, the peer is asked for its versions from time to time, because silence alone
//! does not tell a quiet peer from a dead one.

use std::{
    collections::{BTreeMap, VecDeque, btree_map},
    fmt, io,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use floe_core::{
    Effect, Error, ErrorKind, Result,
    dial::{Stream, broken},
};
use floe_wire::{
    WireError,
    fluvio::{ApiVersionsRequest, EncodedFrame, Input, Request, frame},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::{Notify, mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{recv_buffers::RecvBuffers, tls};

/// Requests that may wait to be written before callers wait themselves.
const QUEUE: usize = 64;

/// Bytes of waiting requests that are written with one call.
const WRITE_AT_ONCE: usize = 256 * 1024;

/// How long to read on after a write failed.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How long memory for frames is kept while none come.
const KEEPS_MEMORY: Duration = Duration::from_secs(1);

/// Pushes of one stream that may wait for their reader. Data servers send one at a time.
const STREAM_QUEUE: usize = 4;

/// How a connection behaves.
#[derive(Debug, Clone)]
pub(crate) struct MuxSettings {
    /// Tells the server's operator who asks.
    pub(crate) client_id: Arc<str>,
    /// Largest frame that is accepted, in bytes.
    pub(crate) frame_limit: usize,
    /// How long the peer may be silent before it is asked whether it lives.
    pub(crate) idle: Duration,
    /// How long it may take to answer that, and how long a frame may take from one of its bytes to the next.
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

/// A connection. Closed when this is dropped.
pub(crate) struct Mux {
    commands: mpsc::Sender<Command>,
    state: Arc<State>,
    next_id: AtomicI32,
    settings: MuxSettings,
}

/// What the task and the handle share.
#[derive(Debug)]
struct State {
    /// Why the connection ended; `None` while it lives.
    cause: watch::Sender<Option<Error>>,
    pending: Mutex<Pending>,
    /// A deadline came that is earlier than what the watchdog sleeps for.
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    /// In the order of their numbers, so that a broken connection is told to callers in the order in which they asked.
    waiting: BTreeMap<i32, Waiting>,
    /// Until when the watchdog sleeps.
    wakes_at: Option<Instant>,
    last_read: Option<Instant>,
}

#[derive(Debug)]
enum Waiting {
    /// One reply, by this time.
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

impl State {
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

    /// For a request that certainly was not sent.
    fn unsent(&self) -> Error {
        self.cause().unwrap_or_else(gone).with_effect(Effect::None)
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
    /// Takes a connection that is ready for frames, and starts its task.
    pub(crate) fn start(stream: Box<dyn Stream>, settings: MuxSettings) -> Self {
        let (commands, queue) = mpsc::channel(QUEUE);
        let (cause, _) = watch::channel(None);
        let state = Arc::new(State { cause, pending: Mutex::default(), earlier: Notify::new() });
        let prober = Prober { commands: commands.downgrade(), settings: settings.clone() };
        tokio::spawn(run(stream, queue, Arc::clone(&state), prober));
        // The prober's ids are negative, those of callers positive.
        Self { commands, state, next_id: AtomicI32::new(1), settings }
    }

    /// Why the connection ended; `None` while it lives.
    pub(crate) fn cause(&self) -> Option<Error> {
        self.state.cause()
    }

    /// Ends the connection; everybody who waits gets this cause.
    pub(crate) fn fail(&self, cause: Error) {
        self.state.fail(cause);
    }

    /// Waits until the connection ends. Does not keep it open.
    pub(crate) fn closed(&self) -> impl Future<Output = Error> + Send + 'static {
        let mut cause = self.state.cause.subscribe();
        async move {
            match cause.wait_for(Option::is_some).await {
                Ok(cause) => cause.clone().unwrap_or_else(gone),
                Err(_) => gone(),
            }
        }
    }

    /// Sends a request and waits for its reply at most `limit`.
    ///
    /// # Errors
    /// The cause that ended the connection; [`ErrorKind::RequestTimeout`], which ends the connection;
    /// [`ErrorKind::ProtocolError`] for a reply that makes no sense.
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

    /// Puts a request into the queue. Requests are sent in the order in which this was first polled.
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

    /// As [`Mux::begin`]; `None`, and nothing is sent, if there is no room in the queue.
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

    /// Sends a request that gets any number of replies.
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

/// A request that is on its way.
pub(crate) struct PendingReply<R> {
    from: oneshot::Receiver<Result<Input>>,
    version: i16,
    state: Arc<State>,
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
    state: Arc<State>,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> Replies<R> {
    /// The next reply. After an error there is no other.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<R::Reply> {
        match self.from.recv().await {
            Some(reply) => decode::<R>(reply?, self.version),
            None => Err(self.state.cause().unwrap_or_else(gone)),
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
        Error::new(kind, format!("the {} request cannot be sent: {problem}", R::NAME))
            .with_effect(Effect::None)
    })
}

fn decode<R: Request>(reply: Input, version: i16) -> Result<R::Reply> {
    frame::decode_reply::<R>(reply, version).map_err(|problem| {
        Error::new(ErrorKind::ProtocolError, format!("the reply to {} makes no sense: {problem}", R::NAME))
    })
}

/// The connection was closed by this side.
fn gone() -> Error {
    Error::new(ErrorKind::Closed, "the connection was closed")
}

fn out_of_step(problem: impl fmt::Display) -> Error {
    Error::new(ErrorKind::ProtocolError, format!("the peer is out of step: {problem}")).with_retriable(true)
}

fn spoken_to_in_tls(problem: WireError) -> Error {
    let message =
        "the server answers in TLS, and this connection is plain: write fluvio+tls:// for a TLS port";
    Error::new(ErrorKind::TlsFailed, message).with_source(problem)
}

/// Asks silent peers whether they live.
struct Prober {
    commands: mpsc::WeakSender<Command>,
    settings: MuxSettings,
}

impl Prober {
    /// False if nobody needs the connection any more.
    fn probe(&self, id: i32) -> bool {
        let Some(commands) = self.commands.upgrade() else { return false };
        let request = handshake_request();
        let Ok(frame) = encode(&request, ApiVersionsRequest::VERSION, id, &self.settings.client_id) else {
            return true;
        };
        let limit = self.settings.patience;
        let (to, _) = oneshot::channel();
        let waiting = Waiting::Reply { to, deadline: Instant::now() + limit, limit };
        // A full queue means that there is traffic, which has deadlines of its own.
        let _ = commands.try_send(Command { id, frame, waiting });
        true
    }
}

/// What floe says of itself. Controllers close the connection unless the version is a semantic one.
pub(crate) fn handshake_request() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_version: env!("CARGO_PKG_VERSION").to_owned(),
        client_os: std::env::consts::OS.to_owned(),
        client_arch: std::env::consts::ARCH.to_owned(),
    }
}

/// Owns the socket until something ends it, then tells everybody why.
async fn run(stream: Box<dyn Stream>, mut queue: mpsc::Receiver<Command>, state: Arc<State>, prober: Prober) {
    let settings = prober.settings.clone();
    state.pending.lock().last_read = Some(Instant::now());
    let (reading, writing) = tokio::io::split(stream);
    let mut told = state.cause.subscribe();
    let mut reading = std::pin::pin!(read(reading, &state, &settings));
    let (cause, writing_failed) = tokio::select! {
        biased;
        _ = told.wait_for(Option::is_some) => (gone(), false),
        cause = &mut reading => (cause, false),
        cause = write(writing, &mut queue, &state) => {
            let failed = cause.kind() != ErrorKind::Closed;
            (cause, failed)
        }
        cause = watch_over(&state, &prober) => (cause, false),
    };
    // A peer that refuses us says so and hangs up, and a write may notice the end before the reason is read.
    let cause = if writing_failed {
        match timeout(LAST_WORDS, reading).await {
            Ok(said) if said.kind() == ErrorKind::TlsFailed => said,
            _ => cause,
        }
    } else {
        cause
    };
    // Only the first cause stays, which may be one from outside.
    state.fail(cause);
    let cause = state.cause().unwrap_or_else(gone);
    let pending = std::mem::take(&mut state.pending.lock().waiting);
    for (_, waiting) in pending {
        answer(waiting, cause.clone().with_effect(Effect::Unknown));
    }
    queue.close();
    while let Ok(command) = queue.try_recv() {
        answer(command.waiting, cause.clone().with_effect(Effect::None));
    }
}

fn answer(waiting: Waiting, error: Error) {
    // Whoever asked may have gone away.
    match waiting {
        Waiting::Reply { to, .. } => drop(to.send(Err(error))),
        Waiting::Stream { to } => drop(to.try_send(Err(error))),
    }
}

/// Reads frames and hands them out, until something is wrong.
async fn read(mut from: ReadHalf<Box<dyn Stream>>, state: &State, settings: &MuxSettings) -> Error {
    let mut buffers = RecvBuffers::default();
    loop {
        loop {
            match frame::split_frame(&mut buffers.filling, settings.frame_limit) {
                Ok(Some(frame)) => {
                    buffers.handed_out(frame.len());
                    if let Err(error) = hand_out(frame, state).await {
                        return error;
                    }
                }
                Ok(None) => break,
                Err(problem) if buffers.filling.first_chunk().is_some_and(|start| tls::is_alert(*start)) => {
                    return spoken_to_in_tls(problem);
                }
                Err(problem) => return out_of_step(problem),
            }
        }
        buffers.make_room(missing(&buffers.filling));
        let outcome = if !buffers.filling.is_empty() {
            // Within a frame there is no reason to pause for long.
            match timeout(settings.patience, from.read_buf(&mut buffers.filling)).await {
                Ok(outcome) => outcome,
                Err(_) => return out_of_step(format!("a frame stopped for {:?}", settings.patience)),
            }
        } else if buffers.is_rich() {
            match timeout(KEEPS_MEMORY, from.read_buf(&mut buffers.filling)).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    buffers.release();
                    continue;
                }
            }
        } else {
            from.read_buf(&mut buffers.filling).await
        };
        match outcome {
            Ok(0) => return broken(&io::Error::other("closed by the peer"), true),
            Ok(_) => state.pending.lock().last_read = Some(Instant::now()),
            Err(error) => {
                return tls::refusal(&error).unwrap_or_else(|| broken(&error, true)).with_source(error);
            }
        }
    }
}

/// How many bytes of the frame have not come, as far as its length is known.
fn missing(received: &BytesMut) -> Option<usize> {
    let size = received.first_chunk::<{ frame::SIZE_LEN }>()?;
    let size = usize::try_from(i32::from_be_bytes(*size)).unwrap_or(0);
    Some(size.saturating_add(frame::SIZE_LEN).saturating_sub(received.len()))
}

async fn hand_out(frame: Bytes, state: &State) -> Result<()> {
    let (id, body) = frame::split_reply(frame).map_err(out_of_step)?;
    tracing::trace!(correlation_id = id, "reply");
    let stream = {
        let mut pending = state.pending.lock();
        match pending.waiting.entry(id) {
            btree_map::Entry::Vacant(_) => {
                return Err(out_of_step(format!("a reply to request {id}, which was not sent")));
            }
            btree_map::Entry::Occupied(entry) => match entry.get() {
                Waiting::Stream { to } => to.clone(),
                Waiting::Reply { .. } => {
                    if let Waiting::Reply { to, .. } = entry.remove() {
                        // Whoever asked may have gone away.
                        let _ = to.send(Ok(body));
                    }
                    return Ok(());
                }
            },
        }
    };
    // A reader that does not keep up slows the connection down. One that is gone no longer matters.
    let _ = stream.send(Ok(body)).await;
    Ok(())
}

/// Writes what is in the queue, several requests at once, until every handle is gone.
async fn write(
    mut to: WriteHalf<Box<dyn Stream>>,
    queue: &mut mpsc::Receiver<Command>,
    state: &State,
) -> Error {
    let mut out = Pieces::default();
    while let Some(command) = queue.recv().await {
        let mut next = Some(command);
        while let Some(Command { id, frame, waiting }) = next {
            // Before it is written: the reply may be faster than this task.
            state.register(id, waiting);
            out.push(&frame);
            next = if out.len < WRITE_AT_ONCE { queue.try_recv().ok() } else { None };
        }
        if let Err(error) = to.write_all_buf(&mut out).await {
            return broken(&error, true).with_source(error);
        }
        if let Err(error) = to.flush().await {
            return broken(&error, true).with_source(error);
        }
    }
    // Nobody can be told of a failure any more.
    let _ = timeout(Duration::from_secs(1), to.shutdown()).await;
    gone()
}

/// Ends the connection when a reply is overdue, and probes it when it is silent.
async fn watch_over(state: &State, prober: &Prober) -> Error {
    let mut probes = 0;
    loop {
        let now = Instant::now();
        let wakes_at = {
            let mut pending = state.pending.lock();
            let mut earliest: Option<Instant> = None;
            for waiting in pending.waiting.values() {
                let Waiting::Reply { deadline, limit, .. } = waiting else { continue };
                if *deadline <= now {
                    return Error::new(ErrorKind::RequestTimeout, format!("no answer within {limit:?}"));
                }
                earliest = Some(earliest.map_or(*deadline, |other| other.min(*deadline)));
            }
            let wakes_at =
                earliest.unwrap_or_else(|| pending.last_read.unwrap_or(now) + prober.settings.idle);
            pending.wakes_at = Some(wakes_at);
            wakes_at
        };
        if wakes_at <= now {
            probes += 1;
            if !prober.probe(-probes) {
                return gone();
            }
            // The writer takes the probe before this task sleeps again.
            let patience = now + prober.settings.patience;
            state.pending.lock().wakes_at = Some(patience);
            tokio::select! {
                biased;
                () = sleep_until(patience) => {}
                () = state.earlier.notified() => {}
            }
            continue;
        }
        tokio::select! {
            biased;
            () = sleep_until(wakes_at) => {}
            () = state.earlier.notified() => {}
        }
    }
}

/// Pieces of frames that are to be written, in order.
#[derive(Debug, Default)]
struct Pieces {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Pieces {
    fn push(&mut self, frame: &EncodedFrame) {
        self.len += frame.len();
        self.pieces.extend(frame.pieces());
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [io::IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slot, piece) in into.iter_mut().zip(&self.pieces) {
            *slot = io::IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        self.len = self.len.saturating_sub(count);
        while let Some(front) = self.pieces.front_mut() {
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }
}
