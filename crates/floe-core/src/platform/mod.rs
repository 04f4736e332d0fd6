//! The calls that differ between operating systems.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(not(target_os = "linux"), test))]
#[cfg_attr(target_os = "linux", allow(dead_code, reason = "compiled for its tests"))]
mod other;
pub(crate) mod path;

#[cfg(target_os = "linux")]
pub(crate) use linux::{continuous_time, keepalive, quick_ack};
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{continuous_time, keepalive, quick_ack};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// The calls of systems other than Linux are compiled and tried on Linux too.
    #[tokio::test]
    async fn both_sets_of_calls_give_a_working_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        for portable in [false, true] {
            let socket = TcpSocket::new_v4().unwrap();
            let idle = Duration::from_secs(15);
            if portable { other::keepalive(&socket, idle) } else { keepalive(&socket, idle) }.unwrap();
            assert!(socket.keepalive().unwrap());
            let (stream, accepted) = tokio::join!(socket.connect(to), listener.accept());
            let stream = stream.unwrap();
            accepted.unwrap();
            if portable {
                drop(other::quick_ack(stream));
            } else {
                drop(quick_ack(stream));
            }
        }
    }
}
