//! A server inside a test, for applications that use Fluvio or Walrus.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> floe::Result<()> {
//! use floe_server::testkit::TestServer;
//!
//! let server = TestServer::start().await?;
//! // The application's Fluvio client connects here:
//! let controller = server.fluvio_address();
//! # let _ = controller;
//! // The engine behind the server, without a protocol in between:
//! server.client().admin().create_topic(floe::TopicSpec::new("orders")).await?;
//! // The server stops on drop.
//! # Ok(())
//! # }
//! ```

use std::path::Path;

use floe::{Client, Error, ErrorKind, Result};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{Addresses, BoundAddresses, Listeners, ServeLimits, ServeOptions, ServerTls, serve};

/// A server on free ports of the loopback interface. It stops on drop.
#[derive(Debug)]
pub struct TestServer {
    client: Client,
    addresses: BoundAddresses,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Result<()>>,
}

impl TestServer {
    /// Starts a server with topics in memory.
    ///
    /// # Errors
    /// Returns [`ErrorKind::NetworkError`] if no port can be bound.
    pub async fn start() -> Result<Self> {
        Self::with("memory:", ServeOptions::default()).await
    }

    /// Starts a server with topics in a folder, which survive it.
    ///
    /// # Errors
    /// As [`Client::connect`], and [`ErrorKind::NetworkError`] if no port can be bound.
    pub async fn at(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let options = ServeOptions { registry: Some(folder.join("server")), ..ServeOptions::default() };
        Self::with(&format!("embedded:{}", folder.join("topics").display()), options).await
    }

    /// Starts a server with the given limits, and topics in memory.
    ///
    /// # Errors
    /// Returns [`ErrorKind::NetworkError`] if no port can be bound.
    pub async fn with_limits(limits: ServeLimits) -> Result<Self> {
        Self::with("memory:", ServeOptions { limits, ..ServeOptions::default() }).await
    }

    /// Starts a server over the engine at `url`.
    ///
    /// # Errors
    /// As [`Client::connect`], and [`ErrorKind::NetworkError`] if no port can be bound.
    pub async fn with(url: &str, options: ServeOptions) -> Result<Self> {
        Self::over(Client::connect(url).await?, options).await
    }

    /// Starts a server over the engine of `client`, which may wrap an engine of the caller. Walrus is not served if
    /// [`ServeOptions::tls`] requires certificates of clients, unless [`ServeOptions::plain_walrus`] asks for it.
    ///
    /// # Errors
    /// Returns [`ErrorKind::NetworkError`] if no port can be bound. [`TestServer::stop`] reports an engine whose
    /// topics cannot be listed.
    pub async fn over(client: Client, mut options: ServeOptions) -> Result<Self> {
        let refuse =
            |error| Error::new(ErrorKind::NetworkError, "the test server cannot listen").with_source(error);
        let mut wanted = Addresses::free_ports();
        let needs_certificate = options.tls.as_ref().is_some_and(ServerTls::needs_client_certificate);
        if needs_certificate && !options.plain_walrus {
            wanted.walrus = None;
        }
        let listeners = Listeners::bind(&wanted).await.map_err(refuse)?;
        let addresses = listeners.addresses().map_err(refuse)?;
        options.client.get_or_insert_with(|| client.clone());
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listeners, client.engine().clone(), options, async {
            // A dropped sender stops the server, too.
            let _ = stopped.await;
        }));
        Ok(Self { client, addresses, stop: Some(stop), serving })
    }

    /// Returns a client of the engine behind the server.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns all addresses.
    #[must_use]
    pub fn addresses(&self) -> BoundAddresses {
        self.addresses
    }

    /// Returns `HOST:PORT` of the controller, the address that Fluvio clients connect to.
    #[must_use]
    pub fn fluvio_address(&self) -> String {
        text(self.addresses.fluvio_sc)
    }

    /// Returns `HOST:PORT` for Walrus clients; empty if Walrus is not served.
    #[must_use]
    pub fn walrus_address(&self) -> String {
        text(self.addresses.walrus)
    }

    /// Returns `HOST:PORT` of health and metrics.
    #[must_use]
    pub fn http_address(&self) -> String {
        text(self.addresses.http)
    }

    /// Shuts the server down gracefully and closes the engine. Dropping the server cuts connections off instead.
    ///
    /// # Errors
    /// Returns the error of the server or of the engine.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let served = match (&mut self.serving).await {
            Ok(outcome) => outcome,
            Err(error) => Err(Error::new(ErrorKind::Closed, "the test server panicked").with_source(error)),
        };
        served.and(self.client.engine().close().await)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn text(address: Option<std::net::SocketAddr>) -> String {
    address.map(|address| address.to_string()).unwrap_or_default()
}
