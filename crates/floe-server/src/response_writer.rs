//! Writing half of a connection: a queue of responses, bounded in bytes.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
};

use bytes::{Buf, Bytes};
use floe::memory::{MemoryAccount, MemoryReservation};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

/// Length of the queue; the limit in bytes is the one that matters.
const QUEUE_LEN: usize = 256;

/// Responses per vectored write.
const MAX_RESPONSES_PER_WRITE: usize = 64;

/// Bytes per read of the log.
pub(crate) const READ_BYTES: usize = 256 * 1024;

/// Memory that a response with records may keep besides them: the ends of the buffers that its first and its last batch were
/// read into.
const READ_SLACK: usize = 2 * READ_BYTES;

/// Memory of the head of a response besides its records.
const HEAD: usize = 4 * 1024;

/// Returns the memory to reserve for a response with so many bytes of records. A small one is copied out of a single buffer.
pub(crate) fn with_buffers(records: usize) -> usize {
    let buffers = if records < READ_BYTES { READ_BYTES } else { READ_SLACK };
    records.saturating_add(HEAD + buffers)
}

/// Returns the bytes of records that reserved memory is enough for: the reverse of [`with_buffers`].
pub(crate) fn records_in(room: &MemoryReservation) -> usize {
    let buffers = if room.bytes() < with_buffers(READ_BYTES) { READ_BYTES } else { READ_SLACK };
    room.bytes().saturating_sub(HEAD + buffers)
}

/// The connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disconnected;

/// Queues the responses of a connection. Clones feed the same connection.
#[derive(Debug, Clone)]
pub(crate) struct ResponseSender {
    queue: mpsc::Sender<QueuedResponse>,
    account: MemoryAccount,
}

#[derive(Debug)]
struct QueuedResponse {
    pieces: Vec<Bytes>,
    room: MemoryReservation,
}

/// Writes the queued responses to the socket.
#[derive(Debug)]
pub(crate) struct ResponseWriter {
    queue: mpsc::Receiver<QueuedResponse>,
}

/// Creates the response queue of a connection, which holds as many unread bytes as its account admits.
pub(crate) fn response_queue(account: &MemoryAccount) -> (ResponseSender, ResponseWriter) {
    let (sender, receiver) = mpsc::channel(QUEUE_LEN);
    (ResponseSender { queue: sender, account: account.clone() }, ResponseWriter { queue: receiver })
}

impl ResponseSender {
    /// Waits until `bytes` more may be queued. A response above the limit of the connection waits until the queue is
    /// empty. One above the limit of the server ends the connection, as the protocols have no answer for it.
    ///
    /// # Cancel safety
    /// Cancel safe: no bytes stay reserved.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<MemoryReservation, Disconnected> {
        tokio::select! {
            biased;
            room = self.account.reserve(bytes) => room.map_err(|refused| {
                tracing::warn!(%refused, "a response is larger than the memory for responses");
                Disconnected
            }),
            () = self.queue.closed() => Err(Disconnected),
        }
    }

    /// Queues a response, after waiting for free bytes.
    pub(crate) async fn send(&self, pieces: Vec<Bytes>) -> Result<(), Disconnected> {
        let room = self.reserve(length(&pieces)).await?;
        self.send_reserved(room, pieces).await
    }

    /// Queues a response whose bytes are reserved, and releases the bytes that it does not need.
    pub(crate) async fn send_reserved(
        &self,
        room: MemoryReservation,
        pieces: Vec<Bytes>,
    ) -> Result<(), Disconnected> {
        let needed = length(&pieces);
        self.enqueue(room, pieces, needed).await
    }

    /// Queues a response with records, whose memory is reserved as [`with_buffers`] says, and releases what it does not need.
    ///
    /// Its records are slices of the buffers that the log read them into. A small response is copied, so that it does not
    /// keep such a buffer in memory; a large one pays for what its buffers may have besides.
    pub(crate) async fn send_records(
        &self,
        room: MemoryReservation,
        pieces: Vec<Bytes>,
    ) -> Result<(), Disconnected> {
        let needed = length(&pieces);
        if needed < READ_BYTES + HEAD {
            self.enqueue(room, vec![pieces.concat().into()], needed).await
        } else {
            self.enqueue(room, pieces, needed.saturating_add(READ_SLACK)).await
        }
    }

    async fn enqueue(
        &self,
        mut room: MemoryReservation,
        pieces: Vec<Bytes>,
        needed: usize,
    ) -> Result<(), Disconnected> {
        if needed > room.bytes() {
            // Held and wanted at once, the two could wait for each other.
            drop(room);
            room = self.reserve(needed).await?;
        }
        room.shrink_to(needed);
        self.queue.send(QueuedResponse { pieces, room }).await.map_err(|_| Disconnected)
    }
}

fn length(pieces: &[Bytes]) -> usize {
    pieces.iter().map(Bytes::len).sum()
}

impl ResponseWriter {
    /// Writes until all senders are dropped, then shuts the socket down for writing.
    ///
    /// # Errors
    /// Returns the error of the socket; senders then get [`Disconnected`].
    pub(crate) async fn run(mut self, mut socket: impl AsyncWrite + Unpin) -> io::Result<()> {
        let mut waiting = Vec::with_capacity(MAX_RESPONSES_PER_WRITE);
        while self.queue.recv_many(&mut waiting, MAX_RESPONSES_PER_WRITE).await > 0 {
            let mut pieces = Pieces::default();
            let mut rooms = Vec::with_capacity(waiting.len());
            for outgoing in waiting.drain(..) {
                pieces.0.extend(outgoing.pieces.into_iter().filter(|piece| !piece.is_empty()));
                rooms.push(outgoing.room);
            }
            socket.write_all_buf(&mut pieces).await?;
            drop(rooms);
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
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use floe::memory::MemoryPool;
    use futures_util::FutureExt as _;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    const UNIT: usize = 1024;

    fn queue(limit: usize) -> (ResponseSender, ResponseWriter) {
        response_queue(&MemoryPool::new(1 << 20).account(limit))
    }

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
        let (responses, writer) = queue(4 * UNIT);
        let (mut client, server) = tokio::io::duplex(1);
        let writing = tokio::spawn(writer.run(server));
        let answer = || vec![Bytes::from(vec![7; UNIT])];
        for _ in 0..4 {
            responses.send(answer()).await.unwrap();
        }
        assert!(responses.send(answer()).now_or_never().is_none(), "the fifth must wait");
        let mut read = vec![0; 4 * UNIT];
        client.read_exact(&mut read).await.unwrap();
        responses.send(answer()).await.unwrap();
        client.read_exact(&mut read[..UNIT]).await.unwrap();
        drop(responses);
        assert_eq!(client.read_to_end(&mut read).await.unwrap(), 0);
        writing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn oversize_response_is_sent_alone_and_spare_bytes_are_released() {
        let (responses, writer) = queue(4 * UNIT);
        let (mut client, server) = tokio::io::duplex(64 * UNIT);
        let writing = tokio::spawn(writer.run(server));
        let reservation = responses.reserve(100 * UNIT).await.unwrap();
        responses.send_reserved(reservation, vec![Bytes::from_static(b"small")]).await.unwrap();
        responses.send(vec![Bytes::from(vec![1; 10 * UNIT])]).await.unwrap();
        drop(responses);
        let mut read = Vec::new();
        assert_eq!(client.read_to_end(&mut read).await.unwrap(), 5 + 10 * UNIT);
        writing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn senders_learn_that_the_client_disconnected() {
        let (responses, writer) = queue(UNIT);
        let (client, server) = tokio::io::duplex(1);
        drop(client);
        let writing = tokio::spawn(writer.run(server));
        let _ = responses.send(vec![Bytes::from_static(b"unread")]).await;
        assert!(writing.await.unwrap().is_err());
        assert!(responses.send(vec![Bytes::from_static(b"after")]).await.is_err());
    }

    /// Memory that notes when it is freed.
    #[derive(Debug)]
    struct Watched(Vec<u8>, Arc<AtomicBool>);

    impl AsRef<[u8]> for Watched {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            self.1.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn small_records_do_not_keep_the_buffer_that_they_were_read_into() {
        let pool = MemoryPool::new(64 << 20);
        let (responses, _writer) = response_queue(&pool.account(usize::MAX));
        for (size, is_freed, held) in
            [(100, true, 100), (READ_BYTES, true, READ_BYTES), (1 << 20, false, (1 << 20) + READ_SLACK)]
        {
            let before = pool.used();
            let freed = Arc::new(AtomicBool::new(false));
            let buffer = Bytes::from_owner(Watched(vec![7; 2 << 20], Arc::clone(&freed)));
            let room = responses.reserve(with_buffers(size)).await.unwrap();
            assert_eq!(records_in(&room), size);
            responses.send_records(room, vec![buffer.slice(..size)]).await.unwrap();
            drop(buffer);
            assert_eq!((freed.load(Ordering::Relaxed), pool.used() - before), (is_freed, held), "{size}");
        }
    }
}
