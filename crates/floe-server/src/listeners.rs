//! Sockets that are bound before the server starts, so that the caller knows the ports.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
};

use floe::net::Stream;
use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream, lookup_host};

/// Port of the Fluvio controller in a real cluster.
const FLUVIO_SC_PORT: u16 = 9003;
/// Port of the Fluvio data server in a real cluster.
const FLUVIO_SPU_PORT: u16 = 9010;
/// Port of a Walrus node in a real cluster.
const WALRUS_PORT: u16 = 9091;
/// Port of health and metrics.
const HTTP_PORT: u16 = 9080;

/// Listen addresses, as `HOST:PORT`; port 0 lets the operating system choose. A protocol without an address is not
/// served.
///
/// ```
/// let mut addresses = floe_server::Addresses::none();
/// addresses.walrus = Some("127.0.0.1:0".to_owned());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Addresses {
    /// Fluvio controller: the address that users configure in Fluvio clients.
    pub fluvio_sc: Option<String>,
    /// Fluvio data server; clients learn its address from the controller. Controller and data server need each other.
    pub fluvio_spu: Option<String>,
    /// Walrus.
    pub walrus: Option<String>,
    /// Health and metrics.
    pub http: Option<String>,
}

impl Default for Addresses {
    /// Serves everything on 127.0.0.1, on the platforms' own ports: 9003, 9010, 9091, and 9080 for HTTP.
    fn default() -> Self {
        let local = |port: u16| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string());
        Self {
            fluvio_sc: local(FLUVIO_SC_PORT),
            fluvio_spu: local(FLUVIO_SPU_PORT),
            walrus: local(WALRUS_PORT),
            http: local(HTTP_PORT),
        }
    }
}

impl Addresses {
    /// Serves no protocol until an address is set.
    #[must_use]
    pub const fn none() -> Self {
        Self { fluvio_sc: None, fluvio_spu: None, walrus: None, http: None }
    }

    /// Serves everything on 127.0.0.1, on ports that the operating system chooses.
    #[must_use]
    pub fn free_ports() -> Self {
        let free = || Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).to_string());
        Self { fluvio_sc: free(), fluvio_spu: free(), walrus: free(), http: free() }
    }

    /// Returns the addresses that are not on the loopback interface, which other machines may reach. Without
    /// certificates of clients ([`ServeOptions::tls`](crate::ServeOptions::tls)), any of them may do everything.
    ///
    /// # Errors
    /// Returns the error of the resolver if a host name cannot be resolved.
    pub async fn beyond_loopback(&self) -> io::Result<Vec<String>> {
        let mut public = Vec::new();
        for address in [&self.fluvio_sc, &self.fluvio_spu, &self.walrus, &self.http].into_iter().flatten() {
            let mut resolved = lookup_host(address).await.map_err(|error| named(address, &error))?;
            if resolved.any(|resolved| !resolved.ip().is_loopback()) {
                public.push(address.clone());
            }
        }
        Ok(public)
    }
}

/// A transport other than TCP, for example a tunnel or a simulated network. Dropping it stops listening.
pub trait Accept: fmt::Debug + Send + Sync + 'static {
    /// Waits for the next connection. The server treats errors as transient: it logs them and retries after a delay.
    ///
    /// # Cancel safety
    /// Implementations must not lose a connection when the future is dropped.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Stream>>>;

    /// Returns the address under which clients reach the transport.
    ///
    /// # Errors
    /// Returns an error if the transport has no such address.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A bound socket of one protocol.
#[derive(Debug)]
pub struct Listener(ListenerKind);

#[derive(Debug)]
enum ListenerKind {
    Tcp(TcpListener),
    Custom(Box<dyn Accept>),
}

impl Listener {
    /// Takes over a TCP socket that is bound and listening, for example one that a service manager passed on.
    ///
    /// # Errors
    /// Returns the error of the operating system if the socket cannot be switched to non-blocking mode.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with IO enabled.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(|listener| Self(ListenerKind::Tcp(listener)))
    }

    /// Listens on another transport than TCP. That transport also brings its own encryption:
    /// [`ServeOptions::tls`](crate::ServeOptions::tls) does not apply to its connections.
    pub fn custom(accept: impl Accept) -> Self {
        Self(ListenerKind::Custom(Box::new(accept)))
    }

    pub(crate) async fn accept(&mut self) -> io::Result<AcceptedSocket> {
        match &mut self.0 {
            ListenerKind::Tcp(listener) => {
                listener.accept().await.map(|(socket, _)| AcceptedSocket::Tcp(socket))
            }
            ListenerKind::Custom(listener) => listener.accept().await.map(AcceptedSocket::Custom),
        }
    }

    /// Returns the address that was bound, with the real port.
    ///
    /// # Errors
    /// Returns the error of the operating system, or of a custom transport without an address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            ListenerKind::Tcp(listener) => listener.local_addr(),
            ListenerKind::Custom(listener) => listener.local_addr(),
        }
    }
}

/// A new connection, before any handshake.
pub(crate) enum AcceptedSocket {
    Tcp(TcpStream),
    Custom(Box<dyn Stream>),
}

impl AcceptedSocket {
    /// Returns the address of the client, where the transport has one.
    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.peer_addr().ok(),
            Self::Custom(_) => None,
        }
    }
}

/// Bound sockets. The operating system queues connections until [`serve`](crate::serve) accepts them.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Listeners {
    /// Fluvio controller and data server, which need each other.
    pub fluvio: Option<(Listener, Listener)>,
    /// Walrus.
    pub walrus: Option<Listener>,
    /// Health and metrics.
    pub http: Option<Listener>,
}

impl Listeners {
    /// Binds the given addresses.
    ///
    /// # Errors
    /// Returns the error of the operating system with the address, or [`io::ErrorKind::InvalidInput`] if only one of
    /// the two Fluvio addresses is given.
    pub async fn bind(addresses: &Addresses) -> io::Result<Self> {
        let fluvio = match (&addresses.fluvio_sc, &addresses.fluvio_spu) {
            (Some(controller), Some(data)) => Some((bind(controller).await?, bind(data).await?)),
            (None, None) => None,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the Fluvio controller and the Fluvio data server need an address each",
                ));
            }
        };
        let walrus = match &addresses.walrus {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let http = match &addresses.http {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        Ok(Self { fluvio, walrus, http })
    }

    /// Returns the addresses that were bound, with the real ports.
    ///
    /// # Errors
    /// Returns the error of the operating system, or of a custom transport without an address.
    pub fn addresses(&self) -> io::Result<BoundAddresses> {
        let local = |listener: Option<&Listener>| listener.map(Listener::local_addr).transpose();
        let (controller, data) = self.fluvio.as_ref().map(|(controller, data)| (controller, data)).unzip();
        Ok(BoundAddresses {
            fluvio_sc: local(controller)?,
            fluvio_spu: local(data)?,
            walrus: local(self.walrus.as_ref())?,
            http: local(self.http.as_ref())?,
        })
    }
}

/// Addresses that were bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BoundAddresses {
    /// Fluvio controller.
    pub fluvio_sc: Option<SocketAddr>,
    /// Fluvio data server.
    pub fluvio_spu: Option<SocketAddr>,
    /// Walrus.
    pub walrus: Option<SocketAddr>,
    /// Health and metrics.
    pub http: Option<SocketAddr>,
}

async fn bind(address: &str) -> io::Result<Listener> {
    TcpListener::bind(address)
        .await
        .map(|listener| Listener(ListenerKind::Tcp(listener)))
        .map_err(|error| named(address, &error))
}

fn named(address: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{address}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn std_listener_is_taken_over() {
        let bound = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = bound.local_addr().unwrap();
        let mut listener = Listener::from_std(bound).unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);
        let client = TcpStream::connect(address).await.unwrap();
        let AcceptedSocket::Tcp(accepted) = listener.accept().await.unwrap() else { panic!("it is TCP") };
        assert_eq!(accepted.peer_addr().unwrap(), client.local_addr().unwrap());
    }

    #[tokio::test]
    async fn bound_ports_are_reported() {
        let listeners = Listeners::bind(&Addresses::free_ports()).await.unwrap();
        let bound = listeners.addresses().unwrap();
        for address in [bound.fluvio_sc, bound.fluvio_spu, bound.walrus, bound.http] {
            assert_ne!(address.unwrap().port(), 0);
        }
    }

    #[tokio::test]
    async fn port_in_use_is_named() {
        let first = Listeners::bind(&Addresses::free_ports()).await.unwrap();
        let taken = first.addresses().unwrap().walrus.unwrap().to_string();
        let again = Addresses { walrus: Some(taken.clone()), ..Addresses::free_ports() };
        let error = Listeners::bind(&again).await.unwrap_err();
        assert!(error.to_string().starts_with(&taken), "{error}");
    }

    #[tokio::test]
    async fn fluvio_needs_both_addresses() {
        let half = Addresses { fluvio_spu: None, ..Addresses::free_ports() };
        assert_eq!(Listeners::bind(&half).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn addresses_beyond_loopback_are_found() {
        let open = Addresses { http: Some("0.0.0.0:0".to_owned()), ..Addresses::default() };
        assert_eq!(open.beyond_loopback().await.unwrap(), ["0.0.0.0:0"]);
        assert!(Addresses::default().beyond_loopback().await.unwrap().is_empty());
    }
}
