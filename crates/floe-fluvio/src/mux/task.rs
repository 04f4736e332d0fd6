//! The task that owns the socket of a multiplexed connection.

use std::{
    collections::{VecDeque, btree_map},
    io,
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use floe_core::{
    Effect, Error, ErrorKind, Result,
    dial::{Stream, broken},
};
use floe_wire::{
    WireError,
    fluvio::{ApiVersionsRequest, EncodedFrame, frame},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{
    super::{recv_buffers::RecvBuffers, tls},
    Command, MuxSettings, MuxState, Waiting, closed, encode, handshake_request,
};

/// Bytes of requests that one write gathers.
const WRITE_AT_ONCE: usize = 256 * 1024;

/// Elements of the lists of one reply. An object takes many times more memory than its few bytes on the wire; no cluster
/// has this many.
const MAX_REPLY_ELEMENTS: usize = 1 << 20;

/// How long to continue to read after a write failed.
const READ_AFTER_WRITE_ERROR: Duration = Duration::from_millis(100);

/// Idle time after which receive buffers are freed.
const RELEASE_BUFFERS_AFTER: Duration = Duration::from_secs(1);

/// Sends heartbeats to silent peers.
pub(super) struct Heartbeat {
    pub(super) commands: mpsc::WeakSender<Command>,
    pub(super) settings: MuxSettings,
}

impl Heartbeat {
    /// Queues a heartbeat. False if all handles of the connection were dropped.
    fn send(&self, id: i32) -> bool {
        let Some(commands) = self.commands.upgrade() else { return false };
        let request = handshake_request();
        let Ok(frame) = encode(&request, ApiVersionsRequest::VERSION, id, &self.settings.client_id) else {
            return true;
        };
        let limit = self.settings.patience;
        let (to, _) = oneshot::channel();
        let waiting = Waiting::Reply { to, deadline: Instant::now() + limit, limit };
        // A full queue means that there are requests, which have deadlines of their own.
        let _ = commands.try_send(Command { id, frame, waiting });
        true
    }
}

fn desync(problem: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::ProtocolError, format!("protocol desync with the server: {problem}"))
        .with_retriable(true)
}

fn answered_in_tls(problem: WireError) -> Error {
    let message =
        "the server answers in TLS, and this connection is plain: write fluvio+tls:// for a TLS port";
    Error::new(ErrorKind::TlsFailed, message).with_source(problem)
}

/// Owns the socket until the connection ends, then fails all pending requests.
pub(super) async fn run(
    stream: Box<dyn Stream>,
    mut queue: mpsc::Receiver<Command>,
    state: Arc<MuxState>,
    heartbeat: Heartbeat,
) {
    let settings = heartbeat.settings.clone();
    state.pending.lock().last_read = Some(Instant::now());
    let (reading, writing) = tokio::io::split(stream);
    let mut failed = state.cause.subscribe();
    let mut reading = std::pin::pin!(read(reading, &state, &settings));
    let (cause, writing_failed) = tokio::select! {
        biased;
        _ = failed.wait_for(Option::is_some) => (closed(), false),
        cause = &mut reading => (cause, false),
        cause = write(writing, &mut queue, &state) => {
            let failed = cause.kind() != ErrorKind::Closed;
            (cause, failed)
        }
        cause = watch_over(&state, &heartbeat) => (cause, false),
    };
    // A peer that refuses the client sends the reason and closes; a write may fail before the reason is read.
    let cause = if writing_failed {
        match timeout(READ_AFTER_WRITE_ERROR, reading).await {
            Ok(refusal) if refusal.kind() == ErrorKind::TlsFailed => refusal,
            _ => cause,
        }
    } else {
        cause
    };
    // The first cause stays, which may be one that the handle set.
    state.fail(cause);
    let cause = state.cause().unwrap_or_else(closed);
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
    // The caller may have dropped its future.
    match waiting {
        Waiting::Reply { to, .. } => drop(to.send(Err(error))),
        Waiting::Stream { to } => drop(to.try_send(Err(error))),
    }
}

/// Reads frames and dispatches them until the connection fails.
async fn read(mut from: ReadHalf<Box<dyn Stream>>, state: &MuxState, settings: &MuxSettings) -> Error {
    let mut buffers = RecvBuffers::default();
    loop {
        loop {
            match frame::split_frame(&mut buffers.filling, settings.frame_limit) {
                Ok(Some(frame)) => {
                    buffers.handed_out(frame.len());
                    if let Err(error) = dispatch(frame, state).await {
                        return error;
                    }
                }
                Ok(None) => break,
                Err(problem) if buffers.filling.first_chunk().is_some_and(|start| tls::is_alert(*start)) => {
                    return answered_in_tls(problem);
                }
                Err(problem) => return desync(problem),
            }
        }
        buffers.make_room(missing(&buffers.filling));
        let outcome = if !buffers.filling.is_empty() {
            // A pause within a frame means that the peer is stuck.
            match timeout(settings.patience, from.read_buf(&mut buffers.filling)).await {
                Ok(outcome) => outcome,
                Err(_) => return desync(format!("a frame stalled for {:?}", settings.patience)),
            }
        } else if buffers.is_rich() {
            match timeout(RELEASE_BUFFERS_AFTER, from.read_buf(&mut buffers.filling)).await {
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

/// Returns how many bytes of the frame are missing, if its length is known.
fn missing(received: &BytesMut) -> Option<usize> {
    let size = received.first_chunk::<{ frame::SIZE_LEN }>()?;
    let size = usize::try_from(i32::from_be_bytes(*size)).unwrap_or(0);
    Some(size.saturating_add(frame::SIZE_LEN).saturating_sub(received.len()))
}

async fn dispatch(frame: Bytes, state: &MuxState) -> Result<()> {
    let (id, body) = frame::split_reply(frame).map_err(desync)?;
    let body = body.limit_elements(MAX_REPLY_ELEMENTS);
    tracing::trace!(correlation_id = id, "reply");
    let stream = {
        let mut pending = state.pending.lock();
        match pending.waiting.entry(id) {
            btree_map::Entry::Vacant(_) => {
                return Err(desync(format!("a reply to unknown request {id}")));
            }
            btree_map::Entry::Occupied(entry) => match entry.get() {
                Waiting::Stream { to } => to.clone(),
                Waiting::Reply { .. } => {
                    if let Waiting::Reply { to, .. } = entry.remove() {
                        // The caller may have dropped its future.
                        let _ = to.send(Ok(body));
                    }
                    return Ok(());
                }
            },
        }
    };
    // Backpressure: a slow reader blocks the connection. A reader that was dropped does not.
    let _ = stream.send(Ok(body)).await;
    Ok(())
}

/// Writes queued requests, several with one call, until every handle is dropped.
async fn write(
    mut to: WriteHalf<Box<dyn Stream>>,
    queue: &mut mpsc::Receiver<Command>,
    state: &MuxState,
) -> Error {
    let mut out = WriteBuffer::default();
    while let Some(command) = queue.recv().await {
        let mut next = Some(command);
        while let Some(Command { id, frame, waiting }) = next {
            // Registered before the write, because the reply may arrive before this task runs again.
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
    // No caller is left to receive a failure.
    let _ = timeout(Duration::from_secs(1), to.shutdown()).await;
    closed()
}

/// Ends the connection when a reply is overdue, and sends heartbeats while it is silent.
async fn watch_over(state: &MuxState, heartbeat: &Heartbeat) -> Error {
    let mut sent = 0;
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
                earliest.unwrap_or_else(|| pending.last_read.unwrap_or(now) + heartbeat.settings.idle);
            pending.wakes_at = Some(wakes_at);
            wakes_at
        };
        if wakes_at <= now {
            sent += 1;
            if !heartbeat.send(-sent) {
                return closed();
            }
            // The writer registers the heartbeat while this task sleeps.
            let patience = now + heartbeat.settings.patience;
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

/// WriteBuffer of frames to write, in order.
#[derive(Debug, Default)]
struct WriteBuffer {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl WriteBuffer {
    fn push(&mut self, frame: &EncodedFrame) {
        self.len += frame.len();
        self.pieces.extend(frame.pieces());
    }
}

impl Buf for WriteBuffer {
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
