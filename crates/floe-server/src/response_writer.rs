//! The writing half of a connection: answers in, bytes out, bounded in bytes.

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

/// Answers that may wait in the queue itself; what really bounds it are the bytes.
const QUEUE_LEN: usize = 256;

/// Answers written with one call.
const MAX_RESPONSES_PER_WRITE: usize = 64;

/// A permit stands for this many bytes: a semaphore counts to 2^29 on small machines.
const PERMIT_BYTES: usize = 1024;

/// The connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disconnected;

/// Where the tasks of a connection put their answers. Clones feed the same connection.
#[derive(Debug, Clone)]
pub(crate) struct ResponseSender {
    queue: mpsc::Sender<QueuedResponse>,
    unread: Arc<Semaphore>,
    units: u32,
}

/// Reservation for an answer that does not exist yet.
#[derive(Debug)]
pub(crate) struct Reservation {
    permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct QueuedResponse {
    pieces: Vec<Bytes>,
    reservation: Reservation,
}

/// What [`ResponseSender`] feeds.
#[derive(Debug)]
pub(crate) struct ResponseWriter {
    queue: mpsc::Receiver<QueuedResponse>,
    unread: Arc<Semaphore>,
}

/// An responses in which about `limit` bytes may wait for the client.
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
    /// Waits until `bytes` more may wait for the client. An answer that is larger than the limit waits until it is
    /// alone.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Reservation, Disconnected> {
        let wanted = units(bytes).min(self.units);
        let permit = Arc::clone(&self.unread).acquire_many_owned(wanted).await.map_err(|_| Disconnected)?;
        Ok(Reservation { permit })
    }

    /// Sends an answer, waiting for room.
    pub(crate) async fn send(&self, pieces: Vec<Bytes>) -> Result<(), Disconnected> {
        let reservation = self.reserve(pieces.iter().map(Bytes::len).sum()).await?;
        self.send_reserved(reservation, pieces).await
    }

    /// Sends an answer for which there is room. Reservation for more than it needs is given back.
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
    /// Writes until no one is left to send, then shuts the socket down for writing.
    ///
    /// # Errors
    /// The socket's. Whoever sends then learns that the connection is gone.
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

/// Several pieces of memory as one run of bytes, so that they are written with one call and without a copy.
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
    fn pieces_are_one_run_of_bytes() {
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
    async fn a_client_that_does_not_read_stops_those_who_answer() {
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
    async fn an_answer_above_the_limit_goes_alone_and_spare_room_returns() {
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
    async fn when_the_client_is_gone_everyone_learns_it() {
        let (responses, writer) = response_queue(PERMIT_BYTES);
        let (client, server) = tokio::io::duplex(1);
        drop(client);
        let writing = tokio::spawn(writer.run(server));
        let _ = responses.send(vec![Bytes::from_static(b"to nobody")]).await;
        assert!(writing.await.unwrap().is_err());
        assert_eq!(responses.reserve(1).await.err(), Some(Disconnected));
    }
}
