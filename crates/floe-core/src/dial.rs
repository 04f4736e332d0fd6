//! Opens connections.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
/// The traits of a [`Stream`]. The re-export spares a dialler a dependency on tokio's version of the day.
pub use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use crate::{Effect, Error, ErrorKind, Result, platform};

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Name or address of the host; an IPv6 address without brackets.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// Puts host and port together.
    #[must_use]
    pub fn new(host: impl Into<Arc<str>>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl fmt::Debug for dyn Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

/// Opens connections. Engines take the one that they are given, so that a proxy, a tunnel or a scripted peer can take
/// the place of TCP.
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// Opens a connection. The caller sets the deadline by dropping the future.
    fn dial<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, Result<Box<dyn Stream>>>;
}

/// Merges the failures of several addresses into one error, which names them all; `None` for no failure.
#[must_use]
pub fn all_failed(mut failures: Vec<Error>) -> Option<Error> {
    let last = failures.pop()?;
    if failures.is_empty() {
        return Some(last);
    }
    let of = |error: &Error| match error.endpoint() {
        Some(endpoint) => format!("{endpoint}: {}", error.message()),
        None => error.message().to_owned(),
    };
    let all: Vec<_> = failures.iter().chain([&last]).map(of).collect();
    // One server that may answer later is enough.
    let retriable = last.is_retriable() || failures.iter().any(Error::is_retriable);
    let merged = Error::new(last.kind(), all.join("; ")).with_retriable(retriable).with_effect(last.effect());
    Some(match last.retry_after() {
        Some(wait) => merged.with_retry_after(wait),
        None => merged,
    })
}

/// Dials with a time limit.
///
/// # Errors
/// The error of the dialler, with the endpoint; [`ErrorKind::ConnectionTimeout`] after `limit`.
pub async fn dial_within(dial: &dyn Dial, to: &Endpoint, limit: Duration) -> Result<Box<dyn Stream>> {
    match tokio::time::timeout(limit, dial.dial(to)).await {
        Ok(dialled) => dialled.map_err(|error| error.with_endpoint(to.to_string())),
        Err(_) => Err(Error::new(ErrorKind::ConnectionTimeout, format!("no connection within {limit:?}"))
            .with_endpoint(to.to_string())),
    }
}

/// The error of a request on a broken connection. `sent`: the request may have reached the server.
pub fn broken(cause: &io::Error, sent: bool) -> Error {
    let effect = if sent { Effect::Unknown } else { Effect::None };
    Error::new(ErrorKind::NetworkError, format!("the connection broke: {cause}")).with_effect(effect)
}

/// Dials TCP, with Nagle's algorithm off and keep-alive probes on, which detect a dead peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpDial {
    quick_ack: bool,
    keepalive: Duration,
}

impl Default for TcpDial {
    fn default() -> Self {
        Self { quick_ack: false, keepalive: Duration::from_secs(15) }
    }
}

impl TcpDial {
    /// Acknowledges received segments at once instead of up to 40 ms later (Linux; no effect elsewhere). Peers that
    /// send one message in several segments with Nagle's algorithm on wait for the acknowledgement before the last
    /// segment. Default: off. The kernel forgets the setting, so it is made again after every read.
    #[must_use]
    pub fn quick_ack(mut self, quick: bool) -> Self {
        self.quick_ack = quick;
        self
    }

    /// Sets how long a connection may be silent before the kernel sends a keep-alive probe (Linux; elsewhere the
    /// system decides). Default: 15 s.
    #[must_use]
    pub fn keepalive(mut self, idle: Duration) -> Self {
        self.keepalive = idle;
        self
    }

    async fn connect(self, to: &Endpoint) -> Result<Box<dyn Stream>> {
        let addresses = lookup_host((&*to.host, to.port)).await.map_err(|error| {
            Error::new(ErrorKind::NetworkError, format!("the host name {:?} cannot be resolved", &*to.host))
                .with_effect(Effect::None)
                .with_source(error)
        })?;
        let mut last = None;
        for address in addresses {
            match self.connect_to(address).await {
                Ok(stream) if self.quick_ack => return Ok(Box::new(platform::quick_ack(stream))),
                Ok(stream) => return Ok(Box::new(stream)),
                Err(error) => last = Some(error),
            }
        }
        Err(match last {
            Some(error) => refused(error),
            None => {
                Error::new(ErrorKind::NetworkError, "the host name has no address").with_effect(Effect::None)
            }
        })
    }

    async fn connect_to(self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        platform::keepalive(&socket, self.keepalive)?;
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

fn refused(cause: io::Error) -> Error {
    let kind = match cause.kind() {
        io::ErrorKind::ConnectionRefused => ErrorKind::ConnectionRefused,
        io::ErrorKind::TimedOut => ErrorKind::ConnectionTimeout,
        _ => ErrorKind::NetworkError,
    };
    Error::new(kind, format!("no connection: {cause}")).with_effect(Effect::None).with_source(cause)
}

impl Dial for TcpDial {
    fn dial<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, Result<Box<dyn Stream>>> {
        Box::pin(self.connect(to))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn endpoints_are_written_as_in_a_url() {
        assert_eq!(Endpoint::new("h", 9091).to_string(), "h:9091");
        assert_eq!(Endpoint::new("::1", 9091).to_string(), "[::1]:9091");
    }

    #[tokio::test]
    async fn bytes_go_both_ways() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = Endpoint::new("127.0.0.1", listener.local_addr().unwrap().port());
        let dial = TcpDial::default().quick_ack(true);
        let (dialled, accepted) = tokio::join!(dial.dial(&to), listener.accept());
        let (mut near, (mut far, _)) = (dialled.unwrap(), accepted.unwrap());
        near.write_all(b"ping").await.unwrap();
        let mut four = [0; 4];
        far.read_exact(&mut four).await.unwrap();
        far.write_all(&four).await.unwrap();
        near.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"ping");
    }

    #[tokio::test]
    async fn a_closed_port_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = Endpoint::new("127.0.0.1", listener.local_addr().unwrap().port());
        drop(listener);
        let error = dial_within(&TcpDial::default(), &to, Duration::from_secs(60)).await.err().unwrap();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::ConnectionRefused, Effect::None));
        assert_eq!(error.endpoint(), Some(&*to.to_string()));
    }

    #[test]
    fn the_error_of_several_servers_names_each() {
        let refused = |host: &str| {
            let error = Error::new(ErrorKind::ConnectionRefused, "refused").with_effect(Effect::None);
            error.with_endpoint(host)
        };
        assert!(all_failed(Vec::new()).is_none());
        assert_eq!(all_failed(vec![refused("a:1")]).unwrap().to_string(), refused("a:1").to_string());
        let late = Error::new(ErrorKind::ConnectionTimeout, "late").with_endpoint("b:2");
        let both = all_failed(vec![refused("a:1"), late]).unwrap();
        assert_eq!((both.kind(), both.effect()), (ErrorKind::ConnectionTimeout, Effect::None));
        assert!(both.message().contains("a:1: refused; b:2: late"), "{both}");
    }

    #[derive(Debug)]
    struct Never;

    impl Dial for Never {
        fn dial<'a>(&'a self, _: &'a Endpoint) -> BoxFuture<'a, Result<Box<dyn Stream>>> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn dialling_ends() {
        let limit = Duration::from_secs(5);
        let started = tokio::time::Instant::now();
        let error = dial_within(&Never, &Endpoint::new("h", 1), limit).await.err().unwrap();
        assert_eq!((error.kind(), started.elapsed()), (ErrorKind::ConnectionTimeout, limit));
    }
}
