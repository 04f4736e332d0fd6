//! One connection whose answers come in the order of the requests.
//!
//! A task of its own owns the connection and always reads while it writes, so two full buffers cannot block each
//! other. Requests wait in a bounded channel; at most a window of them is unanswered.
//!
//! Whatever goes wrong is final: the connection is dropped and everyone who waits is told the same cause, and whether
//! the request had been handed to the network.

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

/// Room made before every read.
const READ_SIZE: usize = 64 * 1024;

/// No further request is taken from the channel while this much waits to be written.
const WRITE_AHEAD: usize = 256 * 1024;

/// How a connection is used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PipelineSettings {
    /// Most requests without an answer.
    pub(crate) window: usize,
    /// Longest answer accepted, in bytes.
    pub(crate) max_reply: usize,
}

/// A handle of the connection. It ends when the handle is dropped, after what was sent is answered.
pub(crate) struct PipelinedConnection {
    requests: mpsc::Sender<Job>,
    endpoint: Arc<str>,
    task: AbortHandle,
}

struct Job {
    frame: Bytes,
    deadline: Instant,
    answer: oneshot::Sender<Result<Bytes>>,
    _counted: Counted,
}

/// Counts a request as in flight as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The answer to come. Dropping it does not take the request back once it was sent.
pub(crate) struct Answer(oneshot::Receiver<Result<Bytes>>);

impl Future for Answer {
    type Output = Result<Bytes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| {
            // Only a task that was stopped answers nobody.
            answer.unwrap_or_else(|_| Err(Error::new(ErrorKind::NetworkError, "the connection was given up")))
        })
    }
}

impl PipelinedConnection {
    /// Takes over a connection.
    pub(crate) fn start(stream: Box<dyn Stream>, endpoint: Arc<str>, settings: PipelineSettings) -> Self {
        let (requests, jobs) = mpsc::channel(settings.window.max(1));
        let driver = Driver {
            jobs,
            endpoint: Arc::clone(&endpoint),
            settings,
            waiting: VecDeque::new(),
            out: BytesMut::new(),
            taken: 0,
            written: 0,
            input: BytesMut::new(),
        };
        let task = tokio::spawn(driver.run(stream)).abort_handle();
        Self { requests, endpoint, task }
    }

    /// Sends a request, after waiting for room in the window. Requests are sent in the order in which these futures
    /// were first polled. `in_flight` counts the request until it is answered.
    ///
    /// # Errors
    /// [`ErrorKind::NetworkError`] without effect if the connection is gone.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing is sent.
    pub(crate) async fn send(
        &self,
        frame: Bytes,
        deadline: Instant,
        in_flight: &Arc<AtomicUsize>,
    ) -> Result<Answer> {
        let Ok(room) = self.requests.reserve().await else {
            return Err(Error::new(ErrorKind::NetworkError, "the connection is gone")
                .with_effect(Effect::None)
                .with_endpoint(Arc::clone(&self.endpoint)));
        };
        let (answer, outcome) = oneshot::channel();
        room.send(Job { frame, deadline, answer, _counted: Counted::new(in_flight) });
        Ok(Answer(outcome))
    }

    /// Whether requests can still be sent.
    pub(crate) fn is_usable(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Drops the connection at once; what waits is told so.
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

/// A request without an answer.
struct Waiting {
    /// How many bytes were to be written before it.
    starts_at: u64,
    job: Job,
}

struct Driver {
    jobs: mpsc::Receiver<Job>,
    endpoint: Arc<str>,
    settings: PipelineSettings,
    waiting: VecDeque<Waiting>,
    /// Not yet handed to the network.
    out: BytesMut,
    /// Bytes ever put into `out`.
    taken: u64,
    /// Bytes handed to the network.
    written: u64,
    input: BytesMut,
}

/// Why a connection ends.
enum End {
    /// Nobody needs it any more.
    Unneeded,
    Io(io::Error),
    Framing(WireError),
    /// An answer that nobody asked for.
    Unasked,
    /// The oldest request was not answered in time.
    Late,
}

impl Driver {
    async fn run(mut self, stream: Box<dyn Stream>) {
        let end = self.drive(stream).await;
        self.jobs.close();
        if let End::Unneeded = end {
            return;
        }
        let cause = self.error(&end, true);
        tracing::debug!(endpoint = %self.endpoint, error = %cause, waiting = self.waiting.len(), "connection dropped");
        for waiting in std::mem::take(&mut self.waiting) {
            let error = self.error(&end, waiting.starts_at < self.written);
            let _ = waiting.job.answer.send(Err(error));
        }
        while let Some(job) = self.jobs.recv().await {
            let _ = job.answer.send(Err(self.error(&end, false)));
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
            let deadline = self.waiting.front().map(|waiting| waiting.job.deadline);
            self.input.reserve(READ_SIZE);
            tokio::select! {
                // An answer that is there counts, also in the moment of its deadline.
                biased;
                received = read.read_buf(&mut self.input) => match received {
                    // Idle connections that the other side closes are no failure of any request.
                    Ok(0) if self.waiting.is_empty() => return End::Unneeded,
                    Ok(0) => return End::Io(io::ErrorKind::UnexpectedEof.into()),
                    Ok(_) => if let Err(end) = self.answer() {
                        return end;
                    },
                    Err(error) => return End::Io(error),
                },
                job = self.jobs.recv(), if open && room => match job {
                    Some(job) => self.take(job),
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

    fn take(&mut self, first: Job) {
        self.put(first);
        while self.waiting.len() < self.settings.window && self.out.len() < WRITE_AHEAD {
            let Ok(job) = self.jobs.try_recv() else { return };
            self.put(job);
        }
    }

    fn put(&mut self, job: Job) {
        if job.answer.is_closed() {
            // Given up before it was sent: then it never is.
            return;
        }
        self.out.extend_from_slice(&job.frame);
        let starts_at = self.taken;
        self.taken += job.frame.len() as u64;
        self.waiting.push_back(Waiting { starts_at, job });
    }

    /// Hands out the answers that have come.
    fn answer(&mut self) -> Result<(), End> {
        while let Some(frame) = take_frame(&mut self.input, self.settings.max_reply).map_err(End::Framing)? {
            let Some(waiting) = self.waiting.pop_front() else { return Err(End::Unasked) };
            let _ = waiting.job.answer.send(Ok(frame));
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
                Error::new(ErrorKind::ProtocolError, format!("the answer breaks the protocol: {error}"))
                    .with_effect(effect)
                    // Another connection is in step again.
                    .with_retriable(true)
                    .with_source(error.clone())
            }
            End::Unasked => Error::new(ErrorKind::ProtocolError, "an answer came that nobody asked for")
                .with_effect(effect)
                .with_retriable(true),
            End::Late if sent => Error::new(ErrorKind::RequestTimeout, "no answer in time"),
            End::Late => Error::new(
                ErrorKind::RequestTimeout,
                "not sent: an earlier request on the connection was not answered in time",
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
    async fn answers_go_to_who_asked_wherever_they_are_split() {
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
    async fn a_silent_peer_fails_everyone_at_the_deadline() {
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
    async fn a_closed_connection_fails_everyone() {
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
    async fn bytes_out_of_step_drop_the_connection() {
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
        far.write_all(&reply("nobody asked")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!link.is_usable());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_sent_is_answered_after_the_handle_is_gone() {
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
