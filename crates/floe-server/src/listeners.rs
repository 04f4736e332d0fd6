//! Sockets that are bound before the server starts, so that whoever starts it knows the ports.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
};

use floe::net::Stream;
use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream, lookup_host};

/// Port of the Fluvio controller, as in a real cluster.
const FLUVIO_SC_PORT: u16 = 9003;
/// Port of the Fluvio data server, as in a real cluster.
const FLUVIO_SPU_PORT: u16 = 9010;
/// Port of Walrus, as in a real cluster.
const WALRUS_PORT: u16 = 9091;
/// Port of health and metrics.
const HTTP_PORT: u16 = 9080;

/// Where to listen: `HOST:PORT` each; port 0 lets the operating system choose. What is `None` is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Addresses {
    /// Controller of Fluvio: the address that Fluvio clients are given.
    pub fluvio_sc: Option<String>,
    /// Data server of Fluvio; clients learn it from the controller. Without it there is no controller either.
    pub fluvio_spu: Option<String>,
    /// Walrus.
    pub walrus: Option<String>,
    /// Health and metrics.
    pub http: Option<String>,
}

impl Default for Addresses {
    /// Everything on 127.0.0.1, on the platforms' own ports: 9003, 9010, 9091, and 9080 for HTTP.
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
    /// Serves nothing until an address is set.
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

    /// The addresses that machines elsewhere could reach: all that are not on the loopback interface. None of the
    /// protocols knows passwords.
    ///
    /// # Errors
    /// When a host name cannot be resolved.
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

/// Connections from elsewhere than TCP, for example a tunnel, or a network inside a test. Dropping it stops listening.
pub trait Accept: fmt::Debug + Send + Sync + 'static {
    /// The next connection. Errors are taken for passing ones: it is asked again a little later.
    ///
    /// # Cancel safety
    /// Dropping the future must lose no connection.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Stream>>>;

    /// The address that clients reach it at, as far as it has one in those terms.
    ///
    /// # Errors
    /// When it has none.
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

/// A connection that nobody has spoken on.
pub(crate) enum AcceptedSocket {
    Tcp(TcpStream),
    Custom(Box<dyn Stream>),
}

/// Bound sockets. Connections queue up in them until [`serve`](crate::serve) is called.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Listeners {
    /// Controller and data server of Fluvio; one makes no sense without the other.
    pub fluvio: Option<(Listener, Listener)>,
    /// Walrus.
    pub walrus: Option<Listener>,
    /// Health and metrics.
    pub http: Option<Listener>,
}

impl Listeners {
    /// Binds what `addresses` names.
    ///
    /// # Errors
    /// The operating system's, with the address; [`io::ErrorKind::InvalidInput`] when only one of the two Fluvio
    /// addresses is given.
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

    /// The addresses that were bound, with the real ports.
    ///
    /// # Errors
    /// The operating system's.
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
    /// Controller of Fluvio.
    pub fluvio_sc: Option<SocketAddr>,
    /// Data server of Fluvio.
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
    async fn ports_that_are_free_are_told() {
        let listeners = Listeners::bind(&Addresses::free_ports()).await.unwrap();
        let bound = listeners.addresses().unwrap();
        for address in [bound.fluvio_sc, bound.fluvio_spu, bound.walrus, bound.http] {
            assert_ne!(address.unwrap().port(), 0);
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = Listeners::bind(&Addresses::free_ports()).await.unwrap();
        let taken = first.addresses().unwrap().walrus.unwrap().to_string();
        let again = Addresses { walrus: Some(taken.clone()), ..Addresses::free_ports() };
        let error = Listeners::bind(&again).await.unwrap_err();
        assert!(error.to_string().starts_with(&taken), "{error}");
    }

    #[tokio::test]
    async fn half_a_fluvio_is_refused() {
        let half = Addresses { fluvio_spu: None, ..Addresses::free_ports() };
        assert_eq!(Listeners::bind(&half).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn what_others_could_reach_is_found() {
        let open = Addresses { http: Some("0.0.0.0:0".to_owned()), ..Addresses::default() };
        assert_eq!(open.beyond_loopback().await.unwrap(), ["0.0.0.0:0"]);
        assert!(Addresses::default().beyond_loopback().await.unwrap().is_empty());
    }
}
