//! Writing half of a connection: a queue of responses, bounded in bytes.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::Arc,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

/// Length of the queue; the limit in bytes is the one that matters.
const QUEUE_LEN: usize = 256;

/// Responses per vectored write.
const MAX_RESPONSES_PER_WRITE: usize = 64;

/// Bytes per permit. Tokio's semaphore counts to 2^29 on 32-bit machines.
const PERMIT_BYTES: usize = 1024;

/// The connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disconnected;

/// Queues the responses of a connection. Clones feed the same connection.
#[derive(Debug, Clone)]
pub(crate) struct ResponseSender {
    queue: mpsc::Sender<QueuedResponse>,
    unread: Arc<Semaphore>,
    units: u32,
}

/// Reserved bytes of a response that is not encoded yet.
#[derive(Debug)]
pub(crate) struct Reservation {
    permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct QueuedResponse {
    pieces: Vec<Bytes>,
    reservation: Reservation,
}

/// Writes the queued responses to the socket.
#[derive(Debug)]
pub(crate) struct ResponseWriter {
    queue: mpsc::Receiver<QueuedResponse>,
    unread: Arc<Semaphore>,
}

/// Creates the response queue of a connection, which holds about `limit` unread bytes.
pub(crate) fn response_queue(limit: usize) -> (ResponseSender, ResponseWriter) {
    let units = units(limit);
    let (sender, receiver) = mpsc::channel(QUEUE_LEN);
    let unread = Arc::new(Semaphore::new(units as usize));
    (
        ResponseSender { queue: sender, unread: Arc::clone(&unread), units },
        ResponseWriter { queue: receiver, unread },
    )
}

impl ResponseSender {
    /// Waits until `bytes` more may be queued. A response above the limit waits until the queue is empty.
    ///
    /// # Cancel safety
    /// Cancel safe: no bytes stay reserved.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Reservation, Disconnected> {
        let wanted = units(bytes).min(self.units);
        let permit = Arc::clone(&self.unread).acquire_many_owned(wanted).await.map_err(|_| Disconnected)?;
        Ok(Reservation { permit })
    }

    /// Queues a response, after waiting for free bytes.
    pub(crate) async fn send(&self, pieces: Vec<Bytes>) -> Result<(), Disconnected> {
        let reservation = self.reserve(pieces.iter().map(Bytes::len).sum()).await?;
        self.send_reserved(reservation, pieces).await
    }

    /// Queues a response whose bytes are reserved, and releases the bytes that it does not need.
    pub(crate) async fn send_reserved(
        &self,
        mut reservation: Reservation,
        pieces: Vec<Bytes>,
    ) -> Result<(), Disconnected> {
        let needed = units(pieces.iter().map(Bytes::len).sum()) as usize;
        let spare = reservation.permit.num_permits().saturating_sub(needed);
        drop(reservation.permit.split(spare));
        self.queue.send(QueuedResponse { pieces, reservation }).await.map_err(|_| Disconnected)
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX).clamp(1, 1 << 28)
}

impl ResponseWriter {
    /// Writes until all senders are dropped, then shuts the socket down for writing.
    ///
    /// # Errors
    /// Returns the error of the socket; senders then get [`Disconnected`].
    pub(crate) async fn run(mut self, socket: impl AsyncWrite + Unpin) -> io::Result<()> {
        let outcome = self.write_all(socket).await;
        self.unread.close();
        outcome
    }

    async fn write_all(&mut self, mut socket: impl AsyncWrite + Unpin) -> io::Result<()> {
        let mut waiting = Vec::with_capacity(MAX_RESPONSES_PER_WRITE);
        while self.queue.recv_many(&mut waiting, MAX_RESPONSES_PER_WRITE).await > 0 {
            let mut pieces = Pieces::default();
            let mut reservations = Vec::with_capacity(waiting.len());
            for outgoing in waiting.drain(..) {
                pieces.0.extend(outgoing.pieces.into_iter().filter(|piece| !piece.is_empty()));
                reservations.push(outgoing.reservation);
            }
            socket.write_all_buf(&mut pieces).await?;
            drop(reservations);
        }
        socket.shutdown().await
    }
}

/// Pieces of memory as one buffer, written with one vectored call and without a copy.
#[derive(Debug, Default)]
struct Pieces(VecDeque<Bytes>);

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |piece| &piece[..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.0) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        debug_assert!(count <= self.remaining(), "advanced past the end");
        while count > 0 {
            let Some(piece) = self.0.front_mut() else { return };
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[test]
    fn pieces_are_one_buffer() {
        let mut pieces = Pieces(["ab", "c", "defg"].map(Bytes::from).into());
        assert_eq!((pieces.remaining(), pieces.chunk()), (7, &b"ab"[..]));
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(pieces.chunks_vectored(&mut slices), 2);
        pieces.advance(4);
        assert_eq!((pieces.remaining(), pieces.chunk()), (3, &b"efg"[..]));
        pieces.advance(3);
        assert_eq!((pieces.remaining(), pieces.chunk()), (0, &b""[..]));
    }

    #[tokio::test]
    async fn client_that_does_not_read_blocks_senders() {
        let (responses, writer) = response_queue(4 * PERMIT_BYTES);
        let (mut client, server) = tokio::io::duplex(1);
        let writing = tokio::spawn(writer.run(server));
        let answer = || vec![Bytes::from(vec![7; PERMIT_BYTES])];
        for _ in 0..4 {
            responses.send(answer()).await.unwrap();
        }
        assert!(responses.send(answer()).now_or_never().is_none(), "the fifth must wait");
        let mut read = vec![0; 4 * PERMIT_BYTES];
        client.read_exact(&mut read).await.unwrap();
        responses.send(answer()).await.unwrap();
        client.read_exact(&mut read[..PERMIT_BYTES]).await.unwrap();
        drop(responses);
        assert_eq!(client.read_to_end(&mut read).await.unwrap(), 0);
        writing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn oversize_response_is_sent_alone_and_spare_bytes_are_released() {
        let (responses, writer) = response_queue(4 * PERMIT_BYTES);
        let (mut client, server) = tokio::io::duplex(64 * PERMIT_BYTES);
        let writing = tokio::spawn(writer.run(server));
        let reservation = responses.reserve(100 * PERMIT_BYTES).await.unwrap();
        responses.send_reserved(reservation, vec![Bytes::from_static(b"small")]).await.unwrap();
        responses.send(vec![Bytes::from(vec![1; 10 * PERMIT_BYTES])]).await.unwrap();
        drop(responses);
        let mut read = Vec::new();
        assert_eq!(client.read_to_end(&mut read).await.unwrap(), 5 + 10 * PERMIT_BYTES);
        writing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn senders_learn_that_the_client_disconnected() {
        let (responses, writer) = response_queue(PERMIT_BYTES);
        let (client, server) = tokio::io::duplex(1);
        drop(client);
        let writing = tokio::spawn(writer.run(server));
        let _ = responses.send(vec![Bytes::from_static(b"unread")]).await;
        assert!(writing.await.unwrap().is_err());
        assert_eq!(responses.reserve(1).await.err(), Some(Disconnected));
    }
}
