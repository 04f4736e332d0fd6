//! The reading half of a connection: bytes in, whole requests out.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use floe_wire::WireError;
use tokio::{sync::watch, task::JoinSet, time::Instant};

use crate::{
    metrics::Frontend,
    node::{Node, until_set},
    socket::SocketReader,
};

/// Takes one whole request off the front of what was received; `None` while there is none.
pub(crate) type Split = fn(&mut BytesMut, usize) -> Result<Option<Bytes>, WireError>;

/// Why there are no more requests.
#[derive(Debug)]
pub(crate) enum ReadEnd {
    /// The client is done: there was nothing after its last request.
    Closed,
    /// The client left within a request, or the connection broke.
    Broken,
    /// A request was not complete in time.
    TooSlow,
    /// Nothing happened for as long as a connection may be idle.
    Idle,
    /// What came is no request.
    Malformed(WireError),
}

impl ReadEnd {
    /// Value of the label `error`; `None` for an end that is no error.
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
    /// When the request that has begun must be complete.
    deadline: Option<Instant>,
}

impl RequestReader {
    /// Reads requests of at most `limit` bytes, each of which must be complete `frame_timeout` after its first byte.
    pub(crate) fn new(socket: SocketReader, split: Split, limit: usize, frame_timeout: Duration) -> Self {
        Self { socket, received: BytesMut::new(), split, limit, frame_timeout, deadline: None }
    }

    /// The next request, as a slice of what was received. Waits without limit for one to begin.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
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
                // An idle connection holds no memory for what may come.
                self.received = BytesMut::new();
            }
            match self.read().await? {
                0 if self.received.is_empty() => return Err(ReadEnd::Closed),
                0 => return Err(ReadEnd::Broken),
                _ => {}
            }
        }
    }

    /// As [`RequestReader::next`], but a connection that is idle for so long has ended, unless `is_busy` says that something
    /// goes on besides.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
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
            // A request that has begun has a limit of its own.
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

/// Reads until the client is done or at fault, until the server stops, or until one of the tasks that serve the
/// connection ends: then nobody would get the answers. Counts what went wrong.
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
        _ = tasks.join_next() => Some(ReadEnd::Broken),
    };
    if let Some(label) = ended.as_ref().and_then(ReadEnd::label) {
        node.metrics.error(front, label);
    }
    ended
}

/// Bytes that are read and thrown away so that a last answer reaches its client.
const MAX_DISCARDED: usize = 1 << 20;

/// How long a client may take to hang up after a last answer.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(5);

impl RequestReader {
    /// Reads what the client still sends, within bounds, so that closing the socket does not reset the connection while
    /// an answer is on its way.
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
        // Whoever goes on sending is cut off.
        let _ = tokio::time::timeout(HANG_UP_TIMEOUT, reading).await;
    }
}
