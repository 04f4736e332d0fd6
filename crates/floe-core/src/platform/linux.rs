//! Linux: probes of silent connections, acknowledgements at once, and a clock that counts through a sleep.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use rustix::{
    net::sockopt::{self, set_tcp_quickack},
    time::{ClockId, clock_gettime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
};

/// Sets when the kernel probes a silent connection: after `idle`, then every 5 s, and gives up after 3 probes.
///
/// # Errors
/// The error of the socket option.
pub(crate) fn keepalive(socket: &TcpSocket, idle: Duration) -> io::Result<()> {
    socket.set_keepalive(true)?;
    sockopt::set_tcp_keepidle(socket, idle.max(Duration::from_secs(1)))?;
    sockopt::set_tcp_keepintvl(socket, Duration::from_secs(5))?;
    sockopt::set_tcp_keepcnt(socket, 3)?;
    Ok(())
}

/// Returns the time since the system started, sleeps included.
pub(crate) fn continuous_time() -> Option<Duration> {
    Duration::try_from(clock_gettime(ClockId::Boottime)).ok()
}

/// A connection that renews the setting after each read.
pub(crate) struct QuickAck(TcpStream);

/// Wraps a connection so that received bytes are acknowledged at once. The kernel forgets the setting, so it is
/// renewed after each read.
pub(crate) fn quick_ack(stream: TcpStream) -> QuickAck {
    // A failure costs speed and nothing else.
    let _ = set_tcp_quickack(&stream, true);
    QuickAck(stream)
}

impl AsyncRead for QuickAck {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.0).poll_read(cx, buf);
        if read.is_ready() {
            let _ = set_tcp_quickack(&self.0, true);
        }
        read
    }
}

impl AsyncWrite for QuickAck {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
