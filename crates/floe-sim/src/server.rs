//! A server of floe in the simulated network.

use std::sync::Arc;

use floe::engine::SharedEngine;
use floe_server::{Listener, Listeners, ServeOptions, serve};
use parking_lot::Mutex;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    network::{Listening, Network},
    rng::Rng,
    store::Store,
    trace::Trace,
};

/// Host and port of the Fluvio controller.
pub(crate) const CONTROLLER: (&str, u16) = ("sc", 9003);
/// Host and port of the Fluvio data server.
pub(crate) const DATA: (&str, u16) = ("spu", 9010);
/// Host and port of the Walrus node.
pub(crate) const WALRUS: (&str, u16) = ("walrus", 9091);

/// A server of floe in the network. It can crash and restart; the store survives.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    network: Network,
    store: Store,
    trace: Trace,
    hosts: &'static [&'static str],
    /// `None` while the server is down.
    running: Arc<Mutex<Option<RunningServer>>>,
}

#[derive(Debug)]
struct RunningServer {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<floe::Result<()>>,
}

impl Server {
    /// Starts a server for both protocols.
    pub(crate) fn start(
        network: &Network,
        store: &Store,
        hosts: &'static [&'static str],
        trace: &Trace,
    ) -> Self {
        let server = Self {
            network: network.clone(),
            store: store.clone(),
            trace: trace.clone(),
            hosts,
            running: Arc::default(),
        };
        server.boot();
        server
    }

    /// Starts the server again.
    pub(crate) fn boot(&self) {
        let listen = |(host, port)| -> Listener {
            let listening: Listening = self.network.listen(host, port);
            Listener::custom(listening)
        };
        let mut listeners = Listeners::default();
        listeners.fluvio = Some((listen(CONTROLLER), listen(DATA)));
        listeners.walrus = Some(listen(WALRUS));
        let mut options = ServeOptions::default();
        options.advertise = Some(DATA.0.to_owned());
        let (stop, stopped) = oneshot::channel();
        let engine: SharedEngine = Arc::new(self.store.clone());
        let serving = tokio::spawn(serve(listeners, engine, options, async {
            // A dropped sender stops the server as well.
            let _ = stopped.await;
        }));
        *self.running.lock() = Some(RunningServer { stop, serving });
        self.trace.note(format_args!("server up"));
    }

    /// Kills the server and cuts its connections.
    pub(crate) async fn crash(&self) {
        let running = self.running.lock().take();
        if let Some(RunningServer { serving, stop: _stop }) = running {
            self.trace.note(format_args!("server crashes"));
            self.hosts.iter().for_each(|host| self.network.cut_all(host));
            serving.abort();
            let _ = serving.await;
        }
    }

    /// Loses the last records of the coordination topic, as after a power loss.
    pub(crate) async fn lose_tail(&self, rng: &mut Rng) -> floe::Result<()> {
        self.store.lose_tail(rng).await
    }

    /// Shuts the server down gracefully.
    pub(crate) async fn stop(&self) -> Result<(), String> {
        let running = self.running.lock().take();
        let Some(RunningServer { stop, serving }) = running else { return Ok(()) };
        self.trace.note(format_args!("server stops"));
        let _ = stop.send(());
        match serving.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the server ended with {error}")),
            Err(error) => Err(format!("the server panicked: {error}")),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.running.lock().is_some()
    }
}
