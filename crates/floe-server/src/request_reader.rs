//! Reading half of a connection: splits received bytes into requests.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use floe_wire::WireError;
use tokio::{sync::watch, task::JoinSet, time::Instant};

use crate::{
    metrics::Frontend,
    node::{Node, log_panic, until_set},
    socket::SocketReader,
};

/// Splits one whole request off the received bytes; `None` if it is incomplete.
pub(crate) type Split = fn(&mut BytesMut, usize) -> Result<Option<Bytes>, WireError>;

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
    split: Split,
    limit: usize,
    frame_timeout: Duration,
    /// Deadline of the request that has begun.
    deadline: Option<Instant>,
}

impl RequestReader {
    /// Creates a reader of requests of at most `limit` bytes, each of which must be complete `frame_timeout` after
    /// its first byte.
    pub(crate) fn new(socket: SocketReader, split: Split, limit: usize, frame_timeout: Duration) -> Self {
        Self { socket, received: BytesMut::new(), split, limit, frame_timeout, deadline: None }
    }

    /// Returns the next request, as a slice of the receive buffer. Waits for its first byte without a limit.
    ///
    /// # Cancel safety
    /// Cancel safe: received bytes stay in the buffer.
    pub(crate) async fn next(&mut self) -> Result<Bytes, ReadEnd> {
        loop {
            match (self.split)(&mut self.received, self.limit) {
                Ok(Some(request)) => {
                    self.deadline = None;
                    return Ok(request);
                }
                Ok(None) => {}
                Err(error) => return Err(ReadEnd::Malformed(error)),
            }
            if self.received.is_empty() {
                // An idle connection holds no receive buffer.
                self.received = BytesMut::new();
            }
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
    ) -> Result<Bytes, ReadEnd> {
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
        let has_begun = !self.received.is_empty();
        let reading = self.socket.read(&mut self.received);
        let outcome = if has_begun {
            let limit = self.frame_timeout;
            let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + limit);
            tokio::time::timeout_at(deadline, reading).await.map_err(|_| ReadEnd::TooSlow)?
        } else {
            reading.await
        };
        outcome.map_err(|_| ReadEnd::Broken)
    }
}

/// Runs `reading` until it ends, the server stops, or a task of the connection ends, after which no response could be
/// sent. Counts errors.
pub(crate) async fn read_until_end(
    node: &Node,
    front: Frontend,
    reading: impl Future<Output = Option<ReadEnd>>,
    stop: &mut watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Option<ReadEnd> {
    let ended = tokio::select! {
        biased;
        ended = reading => ended,
        () = until_set(stop) => None,
        ended = tasks.join_next() => {
            ended.into_iter().for_each(log_panic);
            Some(ReadEnd::Broken)
        }
    };
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
                self.received.clear();
                match self.socket.read(&mut self.received).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => discarded += count,
                }
            }
        };
        // A client that keeps sending past the deadline is cut off.
        let _ = tokio::time::timeout(HANG_UP_TIMEOUT, reading).await;
    }
}
