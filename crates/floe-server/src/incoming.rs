//! The reading half of a connection: bytes in, whole requests out.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use floe_wire::WireError;
use tokio::{net::tcp::OwnedReadHalf, time::Instant};

/// Room that is made before a read. Small requests share such a piece of memory, large ones grow by doubling.
const ROOM: usize = 32 * 1024;

/// Takes one whole request off the front of what was received; `None` while there is none.
pub(crate) type Split = fn(&mut BytesMut, usize) -> Result<Option<Bytes>, WireError>;

/// Why there are no more requests.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The client is done: there was nothing after its last request.
    Closed,
    /// The client left within a request, or the connection broke.
    Broken,
    /// A request was not complete in time.
    TooSlow,
    /// What came is no request.
    Malformed(WireError),
}

impl Ended {
    /// Value of the label `error`; `None` for an end that is no error.
    pub(crate) fn label(&self) -> Option<&'static str> {
        match self {
            Self::Closed => None,
            Self::Broken => Some("connection_broken"),
            Self::TooSlow => Some("request_too_slow"),
            Self::Malformed(WireError::TooLarge { .. }) => Some("request_too_large"),
            Self::Malformed(_) => Some("request_malformed"),
        }
    }
}

/// Reads requests from a socket.
#[derive(Debug)]
pub(crate) struct Incoming {
    socket: OwnedReadHalf,
    received: BytesMut,
    split: Split,
    limit: usize,
    frame_timeout: Duration,
    /// When the request that has begun must be complete.
    deadline: Option<Instant>,
}

impl Incoming {
    /// Reads requests of at most `limit` bytes, each of which must be complete `frame_timeout` after its first byte.
    pub(crate) fn new(socket: OwnedReadHalf, split: Split, limit: usize, frame_timeout: Duration) -> Self {
        Self { socket, received: BytesMut::new(), split, limit, frame_timeout, deadline: None }
    }

    /// The next request, as a slice of what was received. Waits without limit for one to begin.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Bytes, Ended> {
        loop {
            match (self.split)(&mut self.received, self.limit) {
                Ok(Some(request)) => {
                    self.deadline = None;
                    return Ok(request);
                }
                Ok(None) => {}
                Err(error) => return Err(Ended::Malformed(error)),
            }
            if self.received.is_empty() {
                // An idle connection holds no memory for what may come.
                self.received = BytesMut::new();
            }
            self.wait().await?;
            match self.read() {
                Ok(0) if self.received.is_empty() => return Err(Ended::Closed),
                Ok(0) => return Err(Ended::Broken),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Ended::Broken),
            }
        }
    }

    async fn wait(&mut self) -> Result<(), Ended> {
        let readable = self.socket.readable();
        let outcome = if self.received.is_empty() {
            readable.await
        } else {
            let limit = self.frame_timeout;
            let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + limit);
            match tokio::time::timeout_at(deadline, readable).await {
                Ok(outcome) => outcome,
                Err(_) => return Err(Ended::TooSlow),
            }
        };
        outcome.map_err(|_| Ended::Broken)
    }

    fn read(&mut self) -> io::Result<usize> {
        // Doubles what has really come: a length that a client merely claims takes no memory.
        let room = self.received.len().max(ROOM);
        if self.received.capacity() - self.received.len() < ROOM / 8 {
            self.received.reserve(room);
        }
        self.socket.try_read_buf(&mut self.received)
    }
}

/// Bytes that are read and thrown away so that a last answer reaches its client.
const DISCARDED: usize = 1 << 20;

/// How long a client may take to hang up after a last answer.
const HANG_UP: Duration = Duration::from_secs(5);

impl Incoming {
    /// Reads what the client still sends, within bounds, so that closing the socket does not reset the connection while
    /// an answer is on its way.
    pub(crate) async fn discard(&mut self) {
        let reading = async {
            let mut discarded = 0;
            while discarded < DISCARDED && self.socket.readable().await.is_ok() {
                self.received.clear();
                match self.read() {
                    Ok(0) => return,
                    Ok(count) => discarded += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        };
        // Whoever goes on sending is cut off.
        let _ = tokio::time::timeout(HANG_UP, reading).await;
    }
}
