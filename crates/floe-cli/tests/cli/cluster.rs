//! Cluster in the test process that the binary connects to, with or without TLS.

use std::net::SocketAddr;

use floe_server::testkit::TestServer;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::support::{Dir, Run};

/// Long deadlines, for a server on a busy machine.
pub(crate) const PATIENT: &str = "connect-timeout=60s&request-timeout=60s&metadata-timeout=60s";

/// Server with topics in memory, on its own threads, so that the test may block on the binary.
pub(crate) struct Cluster {
    runtime: Runtime,
    server: TestServer,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(TestServer::start()).unwrap();
        Self { runtime, server }
    }

    /// `HOST:PORT` of the controller.
    pub(crate) fn address(&self) -> String {
        self.server.fluvio_address()
    }

    /// URL with long deadlines.
    pub(crate) fn url(&self) -> String {
        format!("fluvio://{}?{PATIENT}", self.address())
    }

    pub(crate) fn walrus_url(&self) -> String {
        format!("walrus://{}?connect-timeout=60s&request-timeout=60s", self.walrus_address())
    }

    /// `HOST:PORT` of the Walrus front-end.
    pub(crate) fn walrus_address(&self) -> String {
        self.server.walrus_address()
    }

    /// Runs the binary against the cluster.
    pub(crate) fn run(&self, dir: &Dir, args: &[&str]) -> Run {
        dir.command(args).env("FLOE_URL", self.url()).output().unwrap().into()
    }

    /// Opens a port in front of another one. Aborting the task closes it with its connections.
    pub(crate) fn port(&self, at: SocketAddr, to: String) -> (SocketAddr, JoinHandle<()>) {
        let listener = self.runtime.block_on(TcpListener::bind(at)).unwrap();
        let address = listener.local_addr().unwrap();
        let task = self.runtime.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut server = TcpStream::connect(&to).await.unwrap();
                connections.spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        (address, task)
    }

    /// Opens a TLS port in front of the controller, as a real cluster has.
    pub(crate) fn tls_port(&self, acceptor: TlsAcceptor) -> SocketAddr {
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (address, to) = (listener.local_addr().unwrap(), self.address());
        self.runtime.spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (acceptor, to) = (acceptor.clone(), to.clone());
                tokio::spawn(async move {
                    // Some tests break off the handshake.
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let mut server = TcpStream::connect(&to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        address
    }
}
