//! One connection: delayed bytes in both directions, and faults.

use std::{
    collections::VecDeque,
    fmt, io,
    ops::RangeInclusive,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use crate::{rng::Rng, trace::Trace};

/// Maximum number of bytes in flight in one direction.
const WINDOW: usize = 64 * 1024;

/// Index of the client's side. The server's is the other one.
const CLIENT: usize = 0;
const SERVER: usize = 1;

/// The way in which a fault ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doom {
    /// Both sides get an error.
    Cut,
    /// Bytes are lost silently from now on.
    Stall,
}

/// Latency and fault of a connection.
#[derive(Debug)]
pub(crate) struct Fate {
    /// Latency of a chunk of bytes, in microseconds.
    pub(crate) latency: RangeInclusive<u64>,
    /// The side whose bytes trigger the fault, the number of bytes delivered before it, and its kind.
    pub(crate) doom: Option<(usize, u64, Doom)>,
}

/// The network's handle to a connection.
pub(crate) struct Link {
    pub(crate) id: u64,
    trace: Trace,
    state: Mutex<LinkState>,
}

struct LinkState {
    rng: Rng,
    latency: RangeInclusive<u64>,
    /// Indexed by the writing side.
    pipes: [Pipe; 2],
    /// Time from which a side gets errors.
    dead: [Option<Instant>; 2],
    open: [bool; 2],
    /// Delivery is paused.
    held: bool,
    /// Delivery has stopped for good.
    stalled: bool,
    /// The connection was cut while delivery was paused.
    cut_when_released: bool,
    doom: Option<(usize, u64, Doom)>,
    /// Indexed by the writing side: its bytes are discarded.
    lost: [bool; 2],
    /// A fault ended the connection.
    broken: bool,
}

#[derive(Default)]
struct Pipe {
    chunks: VecDeque<(Instant, Bytes)>,
    queued: usize,
    /// Arrival of the last chunk; later chunks do not overtake it.
    last: Option<Instant>,
    /// Arrival of the end of the stream.
    end: Option<Instant>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Link {
    /// Creates a connection and its two ends, the client's first.
    pub(crate) fn new(id: u64, fate: Fate, rng: Rng, trace: Trace) -> (Arc<Self>, End, End) {
        let state = LinkState {
            rng,
            latency: fate.latency,
            pipes: [Pipe::default(), Pipe::default()],
            dead: [None; 2],
            open: [true; 2],
            held: false,
            stalled: false,
            cut_when_released: false,
            doom: fate.doom,
            lost: [false; 2],
            broken: false,
        };
        let link = Arc::new(Self { id, trace, state: Mutex::new(state) });
        let end =
            |side| End { link: Arc::clone(&link), side, timer: Box::pin(tokio::time::sleep(Duration::ZERO)) };
        let (client, server) = (end(CLIENT), end(SERVER));
        (link, client, server)
    }

    /// Cuts the connection: both sides get an error, and bytes in flight are lost.
    pub(crate) fn cut(&self) {
        let mut state = self.state.lock();
        if !state.broken {
            self.trace.note(format_args!("#{} cut", self.id));
        }
        state.broken = true;
        state.lost = [true; 2];
        let now = Instant::now();
        state.die(SERVER, now);
        if state.held {
            state.cut_when_released = true;
        } else if !state.stalled {
            let later = now + state.delay();
            state.die(CLIENT, later);
        }
    }

    /// Pauses delivery until [`Link::release`].
    pub(crate) fn hold(&self) {
        self.state.lock().held = true;
    }

    /// Resumes delivery.
    pub(crate) fn release(&self) {
        let mut state = self.state.lock();
        if !std::mem::take(&mut state.held) || state.stalled {
            return;
        }
        let later = Instant::now() + state.delay();
        if state.cut_when_released {
            state.die(CLIENT, later);
        }
        for side in [CLIENT, SERVER] {
            if !state.open[1 - side] && !state.pipes[side].chunks.is_empty() {
                state.die(side, later);
            }
        }
        state.wake_all();
    }

    /// Removes the planned fault.
    pub(crate) fn spare(&self) {
        self.state.lock().doom = None;
    }

    /// Returns which sides are open.
    pub(crate) fn open(&self) -> [bool; 2] {
        self.state.lock().open
    }

    /// Returns whether a fault ended the connection.
    pub(crate) fn is_broken(&self) -> bool {
        self.state.lock().broken
    }
}

impl LinkState {
    fn delay(&mut self) -> Duration {
        let latency = self.latency.clone();
        Duration::from_micros(self.rng.within(latency))
    }

    fn die(&mut self, side: usize, at: Instant) {
        let dead = &mut self.dead[side];
        *dead = Some(dead.map_or(at, |before| before.min(at)));
        self.wake_all();
    }

    fn wake_all(&mut self) {
        for pipe in &mut self.pipes {
            pipe.reader.take().into_iter().chain(pipe.writer.take()).for_each(Waker::wake);
        }
    }

    /// Queues bytes for delivery.
    fn push(&mut self, side: usize, bytes: &[u8]) {
        if bytes.is_empty() || self.lost[side] {
            return;
        }
        let at = self.arrival(side);
        let pipe = &mut self.pipes[side];
        pipe.queued += bytes.len();
        pipe.chunks.push_back((at, Bytes::copy_from_slice(bytes)));
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
    }

    /// Returns the arrival time of a chunk sent now.
    fn arrival(&mut self, side: usize) -> Instant {
        let at = Instant::now() + self.delay();
        let at = self.pipes[side].last.map_or(at, |last| last.max(at));
        self.pipes[side].last = Some(at);
        at
    }

    fn finish(&mut self, side: usize) {
        if self.pipes[side].end.is_none() && !self.lost[side] {
            let at = self.arrival(side);
            self.pipes[side].end = Some(at);
            if let Some(reader) = self.pipes[side].reader.take() {
                reader.wake();
            }
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("id", &self.id).field("open", &self.open()).finish_non_exhaustive()
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    link: Arc<Link>,
    side: usize,
    timer: Pin<Box<Sleep>>,
}

impl End {
    /// Reads what has arrived: bytes, the end or an error. Otherwise returns the time of the next event, if one is known.
    fn poll_arrived(
        &self,
        context: &Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Result<io::Result<usize>, Option<Instant>> {
        let now = Instant::now();
        let mut state = self.link.state.lock();
        let (dead, waits) = (state.dead[self.side], state.held || state.stalled);
        let pipe = &mut state.pipes[1 - self.side];
        let mut again = dead;
        let mut wake_at = |at: Instant| again = Some(again.map_or(at, |other| other.min(at)));
        match pipe.chunks.front_mut() {
            _ if waits => {}
            Some((at, bytes)) if *at <= now => {
                let count = bytes.len().min(buf.remaining());
                buf.put_slice(&bytes[..count]);
                bytes.advance(count);
                if bytes.is_empty() {
                    pipe.chunks.pop_front();
                }
                pipe.queued -= count;
                if let Some(writer) = pipe.writer.take() {
                    writer.wake();
                }
                return Ok(Ok(count));
            }
            Some((at, _)) => wake_at(*at),
            None => match pipe.end {
                Some(end) if end <= now => return Ok(Ok(0)),
                Some(end) => wake_at(end),
                None => {}
            },
        }
        if dead.is_some_and(|at| at <= now) {
            if let Some(writer) = state.pipes[self.side].writer.take() {
                writer.wake();
            }
            return Ok(Err(io::ErrorKind::ConnectionReset.into()));
        }
        pipe.reader = Some(context.waker().clone());
        Err(again)
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.poll_arrived(context, buf) {
                Ok(outcome) => {
                    let side = if this.side == CLIENT { "client" } else { "server" };
                    match &outcome {
                        Ok(count) => {
                            this.link.trace.note(format_args!("#{} {side} reads {count}", this.link.id))
                        }
                        Err(error) => {
                            this.link.trace.note(format_args!("#{} {side} {}", this.link.id, error.kind()));
                        }
                    }
                    return Poll::Ready(outcome.map(drop));
                }
                Err(None) => return Poll::Pending,
                Err(Some(at)) => {
                    this.timer.as_mut().reset(at);
                    if this.timer.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let (side, link) = (self.side, Arc::clone(&self.link));
        let now = Instant::now();
        let mut state = link.state.lock();
        if state.dead[side].is_some_and(|at| at <= now) || state.pipes[side].end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if !state.open[1 - side] && !state.held && !state.stalled {
            // The peer is closed and replies with a reset, after the bytes that it sent before.
            let at = state.arrival(1 - side);
            state.die(side, at);
            return Poll::Ready(Ok(bytes.len()));
        }
        let room = WINDOW.saturating_sub(state.pipes[side].queued);
        if room == 0 {
            state.pipes[side].writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let mut count = bytes.len().min(room);
        if count > 1 && state.rng.percent(12) {
            count = 1 + state.rng.below(count);
        }
        link.trace.note(format_args!(
            "#{} {} writes {count}",
            link.id,
            if side == CLIENT { "client" } else { "server" }
        ));
        match state.doom {
            Some((doomed, left, doom)) if doomed == side && count as u64 >= left => {
                state.doom = None;
                state.broken = true;
                let through = usize::try_from(left).unwrap_or(count).min(count);
                state.push(side, &bytes[..through]);
                state.lost = [true; 2];
                link.trace.note(format_args!("#{} {doom:?} after {through} of {count}", link.id));
                match doom {
                    Doom::Stall => state.stalled = true,
                    Doom::Cut => {
                        let arrived = state.arrival(side);
                        state.die(1 - side, arrived);
                        let noticed = now + state.delay();
                        state.die(side, noticed);
                    }
                }
            }
            doom => {
                if let Some((doomed, left, how)) = doom
                    && doomed == side
                {
                    state.doom = Some((doomed, left - count as u64, how));
                }
                let first =
                    if count > 1 && state.rng.percent(20) { 1 + state.rng.below(count - 1) } else { count };
                state.push(side, &bytes[..first]);
                state.push(side, &bytes[first..count]);
            }
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.state.lock().finish(self.side);
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.link.state.lock();
        self.link.trace.note(format_args!(
            "#{} {} closes",
            self.link.id,
            if self.side == CLIENT { "client" } else { "server" }
        ));
        state.open[self.side] = false;
        state.finish(self.side);
        // Closing with unread bytes resets the connection, as with TCP.
        if !state.held && !state.stalled && !state.pipes[1 - self.side].chunks.is_empty() {
            let at = Instant::now() + state.delay();
            state.die(1 - self.side, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::timeout,
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    fn link(doom: Option<(usize, u64, Doom)>) -> (Arc<Link>, End, End) {
        let fate = Fate { latency: 10_000..=20_000, doom };
        Link::new(1, fate, Rng::new(1), Trace::new(false))
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_arrive_in_order_and_take_their_time() {
        let (_link, mut client, mut server) = link(None);
        let sent: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        let (begun, mut got) = (Instant::now(), Vec::new());
        let sending = async {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let ((), count) = tokio::join!(sending, async { server.read_to_end(&mut got).await.unwrap() });
        assert_eq!((count, got == sent), (sent.len(), true));
        assert!(begun.elapsed() >= Duration::from_millis(40), "more than one window: {:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn cut_delivers_a_prefix_and_nothing_after_it() {
        let (link, mut client, mut server) = link(Some((CLIENT, 5, Doom::Cut)));
        client.write_all(b"0123456789").await.unwrap();
        // The error reaches the writer late, so this write may succeed.
        let _ = client.write_all(b"abc").await;
        let mut got = Vec::new();
        let error = server.read_to_end(&mut got).await.unwrap_err();
        assert_eq!((error.kind(), &got[..]), (io::ErrorKind::ConnectionReset, &b"01234"[..]));
        assert_eq!(client.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(client.write_all(b"d").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(link.is_broken());
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_link_stays_silent() {
        let (_link, mut client, mut server) = link(Some((SERVER, 2, Doom::Stall)));
        server.write_all(b"0123").await.unwrap();
        assert!(timeout(LONG, client.read_u8()).await.is_err());
        drop(server);
        assert!(timeout(LONG, client.read_u8()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn held_bytes_arrive_after_release() {
        let (link, mut client, mut server) = link(None);
        link.hold();
        client.write_all(b"x").await.unwrap();
        assert!(timeout(LONG, server.read_u8()).await.is_err());
        link.release();
        assert_eq!(server.read_u8().await.unwrap(), b'x');
        link.cut();
        assert_eq!(server.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test(start_paused = true)]
    async fn writing_to_a_closed_peer_is_reset() {
        let (link, mut client, server) = link(None);
        drop(server);
        assert_eq!(link.open(), [true, false]);
        client.write_all(b"x").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(client.write_all(b"y").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
