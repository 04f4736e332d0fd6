//! A server inside a test: the way to test an application that uses Fluvio or Walrus without either.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> floe::Result<()> {
//! use floe_server::testkit::TestServer;
//!
//! let server = TestServer::start().await?;
//! // Give this to the Fluvio client of the application:
//! let controller = server.fluvio_address();
//! # let _ = controller;
//! // Look into the server from outside of the protocols:
//! server.client().admin().create_topic(floe::TopicSpec::new("orders")).await?;
//! // Stops here, at the latest.
//! # Ok(())
//! # }
//! ```

use std::path::Path;

use floe::{Client, Error, ErrorKind, Result};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{Addresses, BoundAddresses, Limits, Listeners, ServeOptions, serve};

/// A server on free ports of the loopback interface. Stops when it is dropped.
#[derive(Debug)]
pub struct TestServer {
    client: Client,
    addresses: BoundAddresses,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Result<()>>,
}

impl TestServer {
    /// Starts a server whose topics are in memory.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> Result<Self> {
        Self::with("memory:", ServeOptions::default()).await
    }

    /// Starts a server whose topics are in a folder, so that they outlive it.
    ///
    /// # Errors
    /// As [`Client::connect`], and when no port is free.
    pub async fn at(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let options = ServeOptions { registry: Some(folder.join("server")), ..ServeOptions::default() };
        Self::with(&format!("embedded:{}", folder.join("topics").display()), options).await
    }

    /// Starts a server whose clients may take only so much, with topics in memory.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn with_limits(limits: Limits) -> Result<Self> {
        Self::with("memory:", ServeOptions { limits, ..ServeOptions::default() }).await
    }

    /// Starts a server over the engine at `url`.
    ///
    /// # Errors
    /// As [`Client::connect`], and when no port is free.
    pub async fn with(url: &str, options: ServeOptions) -> Result<Self> {
        Self::over(Client::connect(url).await?, options).await
    }

    /// Starts a server over the engine of `client`, which may be one of the caller's own: see [`Client::over`].
    ///
    /// # Errors
    /// When the engine's topics cannot be listed, and when no port is free.
    pub async fn over(client: Client, mut options: ServeOptions) -> Result<Self> {
        let refuse =
            |error| Error::new(ErrorKind::NetworkError, "the test server cannot listen").with_source(error);
        let listeners = Listeners::bind(&Addresses::free_ports()).await.map_err(refuse)?;
        let addresses = listeners.addresses().map_err(refuse)?;
        options.client.get_or_insert_with(|| client.clone());
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listeners, client.engine().clone(), options, async {
            // A sender that was dropped means the same.
            let _ = stopped.await;
        }));
        Ok(Self { client, addresses, stop: Some(stop), serving })
    }

    /// A client of the engine behind the server.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// All addresses.
    #[must_use]
    pub fn addresses(&self) -> BoundAddresses {
        self.addresses
    }

    /// `HOST:PORT` of the controller, which is what Fluvio clients are given.
    #[must_use]
    pub fn fluvio_address(&self) -> String {
        text(self.addresses.fluvio_sc)
    }

    /// `HOST:PORT` for Walrus clients.
    #[must_use]
    pub fn walrus_address(&self) -> String {
        text(self.addresses.walrus)
    }

    /// `HOST:PORT` of health and metrics.
    #[must_use]
    pub fn http_address(&self) -> String {
        text(self.addresses.http)
    }

    /// Stops the server as a service manager would, and closes the engine. Dropping the server only cuts everything off.
    ///
    /// # Errors
    /// What the server or the engine says at its end.
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
