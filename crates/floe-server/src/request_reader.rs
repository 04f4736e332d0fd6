//! Reading half of a connection: splits received bytes into requests.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use floe::memory::{MemoryAccount, MemoryReservation};
use floe_wire::WireError;
use tokio::{sync::watch, task::JoinSet, time::Instant};

use crate::{
    memory::{Tenant, too_large},
    metrics::Frontend,
    node::{Node, log_panic, until_set},
    socket::SocketReader,
};

/// How a protocol frames its requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Framing {
    /// Splits one whole request off the received bytes; `None` if it is incomplete.
    pub(crate) split: fn(&mut BytesMut, usize) -> Result<Option<Bytes>, WireError>,
    /// Reads the length field, which counts the bytes after it.
    pub(crate) length: fn([u8; LENGTH_LEN]) -> u32,
}

/// Length of the length field in front of a request, in bytes.
const LENGTH_LEN: usize = 4;

/// A request, and the memory that it holds.
#[derive(Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) bytes: Bytes,
    pub(crate) room: MemoryReservation,
}

/// Why a connection has no more requests.
#[derive(Debug)]
pub(crate) enum ReadEnd {
    /// The client closed the connection after its last request.
    Closed,
    /// The client closed the connection within a request, or the connection broke.
    Broken,
    /// A request missed its deadline.
    TooSlow,
    /// The connection exceeded its idle timeout.
    Idle,
    /// Another client needs the memory that the connection holds and does not move.
    CutOff,
    /// The received bytes are no request.
    Malformed(WireError),
}

impl ReadEnd {
    /// Value of the label `error`; `None` if the end is no error.
    pub(crate) fn label(&self) -> Option<&'static str> {
        match self {
            Self::Closed | Self::Idle => None,
            Self::Broken => Some("connection_broken"),
            Self::TooSlow => Some("request_too_slow"),
            Self::CutOff => Some("cut_off"),
            Self::Malformed(WireError::TooLarge { .. }) => Some("request_too_large"),
            Self::Malformed(_) => Some("request_malformed"),
        }
    }
}

/// Reads requests from a socket.
#[derive(Debug)]
pub(crate) struct RequestReader {
    socket: SocketReader,
    received: BytesMut,
    framing: Framing,
    limit: usize,
    frame_timeout: Duration,
    /// Deadline of the request that has begun.
    deadline: Option<Instant>,
    account: MemoryAccount,
    /// Covers the capacity of `received`.
    room: MemoryReservation,
}

impl RequestReader {
    /// Creates a reader of requests of at most `limit` bytes, each of which must be complete `frame_timeout` after
    /// its first byte. What it receives is reserved from `account`.
    pub(crate) fn new(
        socket: SocketReader,
        framing: Framing,
        limit: usize,
        frame_timeout: Duration,
        account: &MemoryAccount,
    ) -> Self {
        let limit = limit.min(account.pool().largest());
        Self {
            socket,
            received: BytesMut::new(),
            framing,
            limit,
            frame_timeout,
            deadline: None,
            account: account.clone(),
            room: MemoryReservation::empty(account),
        }
    }

    /// Returns the next request, as a slice of the receive buffer. Waits for its first byte without a limit.
    ///
    /// # Cancel safety
    /// Cancel safe: received bytes stay in the buffer.
    pub(crate) async fn next(&mut self) -> Result<ReceivedRequest, ReadEnd> {
        loop {
            match (self.framing.split)(&mut self.received, self.limit) {
                Ok(Some(bytes)) => {
                    self.deadline = None;
                    // The last request of a buffer keeps all of it.
                    let held = if self.received.is_empty() { self.room.bytes() } else { bytes.len() };
                    let room = self.room.split(held);
                    return Ok(ReceivedRequest { bytes, room });
                }
                Ok(None) => {}
                Err(error) => return Err(ReadEnd::Malformed(error)),
            }
            self.release_if_idle();
            match self.read().await? {
                0 if self.received.is_empty() => return Err(ReadEnd::Closed),
                0 => return Err(ReadEnd::Broken),
                _ => {}
            }
        }
    }

    /// Returns the next request, or [`ReadEnd::Idle`] once the connection has been idle for `limit` and `is_busy` is
    /// false.
    ///
    /// # Cancel safety
    /// Cancel safe: received bytes stay in the buffer.
    pub(crate) async fn next_unless_idle(
        &mut self,
        limit: Option<Duration>,
        mut is_busy: impl FnMut() -> bool,
    ) -> Result<ReceivedRequest, ReadEnd> {
        let Some(limit) = limit else { return self.next().await };
        loop {
            if let Ok(outcome) = tokio::time::timeout(limit, self.next()).await {
                return outcome;
            }
            // A request that has begun has a deadline of its own.
            if self.received.is_empty() && !is_busy() {
                return Err(ReadEnd::Idle);
            }
        }
    }

    async fn read(&mut self) -> Result<usize, ReadEnd> {
        if self.received.is_empty() {
            return self.read_more().await;
        }
        let limit = self.frame_timeout;
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + limit);
        tokio::time::timeout_at(deadline, self.read_more()).await.map_err(|_| ReadEnd::TooSlow)?
    }

    async fn read_more(&mut self) -> Result<usize, ReadEnd> {
        loop {
            self.socket.readable().await.map_err(|_| ReadEnd::Broken)?;
            self.make_room().await?;
            if let Some(count) = self.socket.read(&mut self.received).await.map_err(|_| ReadEnd::Broken)? {
                return Ok(count);
            }
            self.release_if_idle();
        }
    }

    /// Drops the receive buffer of an idle connection.
    fn release_if_idle(&mut self) {
        if self.received.is_empty() {
            self.received = BytesMut::new();
            self.room.shrink_to(0);
        }
    }

    /// Grows the buffer, after its memory is reserved.
    async fn make_room(&mut self) -> Result<(), ReadEnd> {
        let length = self.received.len();
        let mut wanted = self.socket.room(length);
        if let Some(field) = self.received.first_chunk() {
            let whole = LENGTH_LEN.saturating_add((self.framing.length)(*field) as usize);
            // The request that has begun needs no more; the reader refuses one above the limit before it comes here.
            wanted = wanted.min(whole.saturating_sub(length).max(1));
        }
        if self.received.capacity() - length >= wanted.min(MIN_READ) {
            return Ok(());
        }
        let missing = (length + wanted).saturating_sub(self.room.bytes());
        let room = self.account.reserve(missing).await;
        self.room.add(room.map_err(too_large("request")).map_err(ReadEnd::Malformed)?);
        // Exactly the reserved size: a buffer that doubles would exceed it.
        let mut larger = BytesMut::with_capacity(length + wanted);
        larger.extend_from_slice(&self.received);
        self.received = larger;
        Ok(())
    }
}

/// Least free space of a buffer before a read, unless the request needs less.
const MIN_READ: usize = 4096;

/// Runs `reading` until it ends, the server stops, the connection is cut off, or a task of it ends, after which no response
/// could be sent. Counts errors.
pub(crate) async fn read_until_end(
    node: &Node,
    (front, tenant): (Frontend, &Tenant),
    reading: impl Future<Output = Option<ReadEnd>>,
    stop: &mut watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Option<ReadEnd> {
    let ended = tokio::select! {
        biased;
        ended = reading => ended,
        () = until_set(stop) => None,
        () = tenant.cut_off() => Some(ReadEnd::CutOff),
        ended = tasks.join_next() => {
            ended.into_iter().for_each(log_panic);
            Some(ReadEnd::Broken)
        }
    };
    if matches!(ended, Some(ReadEnd::CutOff)) {
        node.metrics.cut_off(front, "memory_needed");
        let Tenant { client, requests, modules, responses, .. } = tenant;
        tracing::warn!(
            %client,
            listener = front.name(),
            requests = requests.held(),
            modules = modules.held(),
            responses = responses.held(),
            "a client is cut off: others need the memory that it holds"
        );
    }
    if let Some(label) = ended.as_ref().and_then(ReadEnd::label) {
        node.metrics.error(front, label);
    }
    ended
}

/// Bytes that are discarded so that the last response reaches the client.
const MAX_DISCARDED: usize = 1 << 20;

/// Time for the client to close the connection after the last response.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(5);

impl RequestReader {
    /// Discards what the client still sends, within bounds. Closing a socket with unread bytes resets the connection,
    /// which could drop the last response.
    pub(crate) async fn discard(&mut self) {
        let reading = async {
            let mut discarded = 0;
            while discarded < MAX_DISCARDED {
                if self.socket.readable().await.is_err() {
                    return;
                }
                // A small buffer of its own, which no budget needs to know.
                let mut ignored = BytesMut::with_capacity(MIN_READ);
                match self.socket.read(&mut ignored).await {
                    Ok(None) => {}
                    Ok(Some(0)) | Err(_) => return,
                    Ok(Some(count)) => discarded += count,
                }
            }
        };
        // A client that keeps sending past the deadline is cut off.
        let _ = tokio::time::timeout(HANG_UP_TIMEOUT, reading).await;
    }
}
