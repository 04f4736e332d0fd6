//! A pipelined connection: replies come in the order of the requests.
//!
//! A task owns the connection and always reads while it writes, so two full buffers cannot block each other. Requests wait
//! in a bounded channel; at most a window of them is in flight.
//!
//! Any failure is final: the task drops the connection, and all pending requests fail with the same cause and with whether
//! they had been sent.

use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use floe_core::{
    Effect, Error, ErrorKind, Result,
    dial::{Stream, broken},
};
use floe_wire::{WireError, walrus::take_frame};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::{Instant, sleep_until},
};

/// Free space before every read.
const READ_SIZE: usize = 64 * 1024;

/// The task takes no further request from the channel while this many bytes wait to be written.
const WRITE_AHEAD: usize = 256 * 1024;

/// Settings of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PipelineSettings {
    /// Maximum requests in flight.
    pub(crate) window: usize,
    /// Maximum size of a reply, in bytes.
    pub(crate) max_reply: usize,
}

/// A handle of the connection. After it is dropped, the connection closes once all requests in flight have their reply.
pub(crate) struct PipelinedConnection {
    requests: mpsc::Sender<PipelinedRequest>,
    endpoint: Arc<str>,
    task: AbortHandle,
}

struct PipelinedRequest {
    frame: Bytes,
    deadline: Instant,
    answer: oneshot::Sender<Result<Bytes>>,
    _in_flight: InFlightCount,
}

/// Counts a request as in flight as long as it lives.
struct InFlightCount(Arc<AtomicUsize>);

impl InFlightCount {
    fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for InFlightCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A reply in flight. Dropping it does not revoke a request that was sent.
pub(crate) struct Answer(oneshot::Receiver<Result<Bytes>>);

impl Future for Answer {
    type Output = Result<Bytes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| {
            // Only an aborted task leaves a request without an outcome.
            answer.unwrap_or_else(|_| Err(Error::new(ErrorKind::NetworkError, "the connection was dropped")))
        })
    }
}

impl PipelinedConnection {
    /// Starts the task of a connection.
    pub(crate) fn start(stream: Box<dyn Stream>, endpoint: Arc<str>, settings: PipelineSettings) -> Self {
        let (requests, receiver) = mpsc::channel(settings.window.max(1));
        let task = ConnectionTask {
            requests: receiver,
            endpoint: Arc::clone(&endpoint),
            settings,
            waiting: VecDeque::new(),
            out: BytesMut::new(),
            taken: 0,
            written: 0,
            input: BytesMut::new(),
        };
        let task = tokio::spawn(task.run(stream)).abort_handle();
        Self { requests, endpoint, task }
    }

    /// Sends a request, after waiting for room in the window. Requests are sent in the order in which these futures
    /// were first polled. `in_flight` counts the request until its reply.
    ///
    /// # Errors
    /// [`ErrorKind::NetworkError`] without effect if the connection was closed.
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, the request is not sent.
    pub(crate) async fn send(
        &self,
        frame: Bytes,
        deadline: Instant,
        in_flight: &Arc<AtomicUsize>,
    ) -> Result<Answer> {
        let Ok(room) = self.requests.reserve().await else {
            return Err(Error::new(ErrorKind::NetworkError, "the connection was closed")
                .with_effect(Effect::None)
                .with_endpoint(Arc::clone(&self.endpoint)));
        };
        let (answer, outcome) = oneshot::channel();
        room.send(PipelinedRequest { frame, deadline, answer, _in_flight: InFlightCount::new(in_flight) });
        Ok(Answer(outcome))
    }

    /// Whether requests can still be sent.
    pub(crate) fn is_usable(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Drops the connection at once; pending requests fail.
    pub(crate) fn abort(&self) {
        self.task.abort();
    }

    pub(crate) fn endpoint(&self) -> &Arc<str> {
        &self.endpoint
    }
}

impl fmt::Debug for PipelinedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelinedConnection")
            .field("endpoint", &self.endpoint)
            .field("usable", &self.is_usable())
            .finish_non_exhaustive()
    }
}

/// A request in flight.
struct SentRequest {
    /// Position of its first byte in the stream.
    starts_at: u64,
    request: PipelinedRequest,
}

struct ConnectionTask {
    requests: mpsc::Receiver<PipelinedRequest>,
    endpoint: Arc<str>,
    settings: PipelineSettings,
    waiting: VecDeque<SentRequest>,
    /// Bytes to write.
    out: BytesMut,
    /// Bytes ever put into `out`.
    taken: u64,
    /// Bytes handed to the network.
    written: u64,
    input: BytesMut,
}

/// Cause that ends a connection.
enum End {
    /// The handle was dropped, or the peer closed an idle connection.
    Unneeded,
    Io(io::Error),
    Framing(WireError),
    /// A reply without a request.
    Unexpected,
    /// The oldest request got no reply before its deadline.
    Late,
}

impl ConnectionTask {
    async fn run(mut self, stream: Box<dyn Stream>) {
        let end = self.drive(stream).await;
        self.requests.close();
        if let End::Unneeded = end {
            return;
        }
        let cause = self.error(&end, true);
        tracing::debug!(endpoint = %self.endpoint, error = %cause, waiting = self.waiting.len(), "connection dropped");
        for waiting in std::mem::take(&mut self.waiting) {
            let error = self.error(&end, waiting.starts_at < self.written);
            let _ = waiting.request.answer.send(Err(error));
        }
        while let Some(request) = self.requests.recv().await {
            let _ = request.answer.send(Err(self.error(&end, false)));
        }
    }

    async fn drive(&mut self, stream: Box<dyn Stream>) -> End {
        let (mut read, mut write) = tokio::io::split(stream);
        let mut open = true;
        loop {
            if !open && self.waiting.is_empty() {
                let _ = write.shutdown().await;
                return End::Unneeded;
            }
            let room = self.waiting.len() < self.settings.window.max(1) && self.out.len() < WRITE_AHEAD;
            let deadline = self.waiting.front().map(|waiting| waiting.request.deadline);
            self.input.reserve(READ_SIZE);
            tokio::select! {
                // A reply that is ready wins over its deadline.
                biased;
                received = read.read_buf(&mut self.input) => match received {
                    // A peer that closes an idle connection fails no request.
                    Ok(0) if self.waiting.is_empty() => return End::Unneeded,
                    Ok(0) => return End::Io(io::ErrorKind::UnexpectedEof.into()),
                    Ok(_) => if let Err(end) = self.answer() {
                        return end;
                    },
                    Err(error) => return End::Io(error),
                },
                request = self.requests.recv(), if open && room => match request {
                    Some(request) => self.take(request),
                    None => open = false,
                },
                written = write.write_buf(&mut self.out), if !self.out.is_empty() => match written {
                    Ok(0) => return End::Io(io::ErrorKind::WriteZero.into()),
                    Ok(count) => self.written += count as u64,
                    Err(error) => return End::Io(error),
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return End::Late,
            }
        }
    }

    fn take(&mut self, first: PipelinedRequest) {
        self.put(first);
        while self.waiting.len() < self.settings.window && self.out.len() < WRITE_AHEAD {
            let Ok(request) = self.requests.try_recv() else { return };
            self.put(request);
        }
    }

    fn put(&mut self, request: PipelinedRequest) {
        if request.answer.is_closed() {
            // The caller dropped its future before the request was sent.
            return;
        }
        self.out.extend_from_slice(&request.frame);
        let starts_at = self.taken;
        self.taken += request.frame.len() as u64;
        self.waiting.push_back(SentRequest { starts_at, request });
    }

    /// Completes requests with the replies received.
    fn answer(&mut self) -> Result<(), End> {
        while let Some(frame) = take_frame(&mut self.input, self.settings.max_reply).map_err(End::Framing)? {
            let Some(waiting) = self.waiting.pop_front() else { return Err(End::Unexpected) };
            let _ = waiting.request.answer.send(Ok(frame));
        }
        Ok(())
    }

    fn error(&self, end: &End, sent: bool) -> Error {
        let effect = if sent { Effect::Unknown } else { Effect::None };
        let error = match end {
            End::Io(error) => broken(error, sent),
            End::Unneeded => {
                Error::new(ErrorKind::NetworkError, "the connection is closed").with_effect(effect)
            }
            End::Framing(error) => {
                Error::new(ErrorKind::ProtocolError, format!("malformed reply: {error}"))
                    .with_effect(effect)
                    // A new connection has no desync.
                    .with_retriable(true)
                    .with_source(error.clone())
            }
            End::Unexpected => Error::new(
                ErrorKind::ProtocolError,
                "protocol desync with the server: a reply without a request",
            )
            .with_effect(effect)
            .with_retriable(true),
            End::Late if sent => Error::new(ErrorKind::RequestTimeout, "no reply within the deadline"),
            End::Late => Error::new(
                ErrorKind::RequestTimeout,
                "not sent: an earlier request on the connection got no reply within the deadline",
            )
            .with_effect(Effect::None),
        };
        error.with_endpoint(Arc::clone(&self.endpoint))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use floe_wire::walrus::{MAX_REPLY_LEN, Reply, put_frame};
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn frame(body: &str) -> Bytes {
        let mut out = BytesMut::new();
        put_frame(&mut out, 1 << 20, |out| out.extend_from_slice(body.as_bytes())).unwrap();
        out.freeze()
    }

    fn reply(text: &str) -> Bytes {
        let mut out = BytesMut::new();
        Reply::Entry(Bytes::copy_from_slice(text.as_bytes())).encode(&mut out).unwrap();
        out.freeze()
    }

    fn link(window: usize, pipe: usize) -> (PipelinedConnection, DuplexStream, Arc<AtomicUsize>) {
        let (near, far) = duplex(pipe);
        let settings = PipelineSettings { window, max_reply: MAX_REPLY_LEN };
        (PipelinedConnection::start(Box::new(near), Arc::from("n:1"), settings), far, Arc::default())
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[tokio::test(start_paused = true)]
    async fn replies_match_their_requests_wherever_they_are_split() {
        let run = [reply("one"), reply("two"), reply("three")].concat();
        for cut in 0..=run.len() {
            let (link, mut far, count) = link(8, 1 << 16);
            let mut answers = Vec::new();
            for body in ["a", "b", "c"] {
                answers.push(link.send(frame(body), later(), &count).await.unwrap());
            }
            let mut asked = [0; 15];
            far.read_exact(&mut asked).await.unwrap();
            for part in [&run[..cut], &run[cut..]] {
                far.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
            for (answer, expected) in answers.into_iter().zip(["OK one", "OK two", "OK three"]) {
                assert_eq!(answer.await.unwrap(), expected, "cut at {cut}");
            }
            assert_eq!(count.load(Ordering::Relaxed), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipe_of_one_byte_does_not_block() {
        let (link, far, count) = link(64, 1);
        let peer = tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(far);
            for _ in 0..40 {
                let mut asked = [0; 14];
                read.read_exact(&mut asked).await.unwrap();
                write.write_all(&reply("x")).await.unwrap();
            }
        });
        let mut answers = Vec::new();
        for _ in 0..40 {
            answers.push(link.send(frame("0123456789"), later(), &count).await.unwrap());
        }
        for answer in answers {
            assert_eq!(answer.await.unwrap(), "OK x");
        }
        peer.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_bounds_what_is_sent() {
        let (link, mut far, count) = link(2, 1 << 16);
        let mut answers = Vec::new();
        for body in ["a", "b", "c", "d"] {
            answers.push(link.send(frame(body), later(), &count).await.unwrap());
        }
        let mut asked = BytesMut::new();
        let reading = async {
            while asked.len() < 100 {
                far.read_buf(&mut asked).await.unwrap();
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(1), reading).await.is_err());
        assert_eq!(asked.len(), 10, "two requests of five bytes");
        far.write_all(&reply("1")).await.unwrap();
        assert_eq!(answers.remove(0).await.unwrap(), "OK 1");
        far.read_buf(&mut asked).await.unwrap();
        assert_eq!(asked.len(), 15, "one more");
    }

    #[tokio::test(start_paused = true)]
    async fn silent_peer_fails_all_requests_at_the_deadline() {
        let (link, _far, count) = link(1, 1 << 16);
        let started = Instant::now();
        let first = link.send(frame("a"), later(), &count).await.unwrap();
        let second = link.send(frame("b"), later(), &count).await.unwrap();
        let error = first.await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::RequestTimeout, Effect::Unknown));
        assert_eq!(started.elapsed(), Duration::from_secs(20));
        let error = second.await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::RequestTimeout, Effect::None), "never sent");
        assert!(!link.is_usable());
        let error = link.send(frame("c"), later(), &count).await.err().unwrap();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::NetworkError, Effect::None));
    }

    #[tokio::test(start_paused = true)]
    async fn closed_connection_fails_pending_requests() {
        let (link, mut far, count) = link(8, 1 << 16);
        let first = link.send(frame("a"), later(), &count).await.unwrap();
        let second = link.send(frame("b"), later(), &count).await.unwrap();
        let mut asked = [0; 10];
        far.read_exact(&mut asked).await.unwrap();
        far.write_all(&reply("1")).await.unwrap();
        drop(far);
        assert_eq!(first.await.unwrap(), "OK 1");
        let error = second.await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::NetworkError, Effect::Unknown));
        assert_eq!(error.endpoint(), Some("n:1"));
    }

    #[tokio::test(start_paused = true)]
    async fn protocol_desync_drops_the_connection() {
        for garbage in [&[0, 0, 0, 0][..], &[0xff, 0xff, 0xff, 0xff]] {
            let (link, mut far, count) = link(8, 1 << 16);
            let answer = link.send(frame("a"), later(), &count).await.unwrap();
            far.write_all(garbage).await.unwrap();
            let error = answer.await.unwrap_err();
            assert_eq!((error.kind(), error.is_retriable()), (ErrorKind::ProtocolError, true));
            tokio::task::yield_now().await;
            assert!(!link.is_usable());
        }
        let (link, mut far, _) = link(8, 1 << 16);
        far.write_all(&reply("unexpected")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!link.is_usable());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_in_flight_complete_after_the_handle_is_dropped() {
        let (link, mut far, count) = link(8, 1 << 16);
        let answer = link.send(frame("a"), later(), &count).await.unwrap();
        drop(link);
        let mut asked = [0; 5];
        far.read_exact(&mut asked).await.unwrap();
        far.write_all(&reply("1")).await.unwrap();
        assert_eq!(answer.await.unwrap(), "OK 1");
        let mut rest = Vec::new();
        assert_eq!(far.read_to_end(&mut rest).await.unwrap(), 0, "closed");
    }
}
