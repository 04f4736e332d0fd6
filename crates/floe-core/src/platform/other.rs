//! Other systems: keep-alive as the system is set, acknowledgements as the system sends them, time without sleeps where the
//! standard library's clock leaves them out.

use std::{io, time::Duration};

use tokio::net::{TcpSocket, TcpStream};

/// Switches keep-alive probes on, at the system's times.
///
/// # Errors
/// The error of the socket option.
pub(crate) fn keepalive(socket: &TcpSocket, _: Duration) -> io::Result<()> {
    socket.set_keepalive(true)
}

/// Leaves acknowledgements to the system.
pub(crate) fn quick_ack(stream: TcpStream) -> TcpStream {
    stream
}

/// There is no other clock than that of the standard library. On Windows it counts through a sleep; on macOS it does not.
pub(crate) fn continuous_time() -> Option<Duration> {
    None
}
