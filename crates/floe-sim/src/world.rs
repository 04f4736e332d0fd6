//! The servers of a run: what they are, and how they fail.

use std::sync::Arc;

use floe::engine::SharedEngine;
use floe_server::{Listener, Listeners, ServeOptions, serve};
use parking_lot::Mutex;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    network::{Listening, Network},
    plan::What,
    rng::Rng,
    store::Store,
    trace::Trace,
};

/// Host and port of the controller of Fluvio.
pub(crate) const CONTROLLER: (&str, u16) = ("sc", 9003);
/// Host and port of the data server of Fluvio.
pub(crate) const DATA: (&str, u16) = ("spu", 9010);
/// Host and port of Walrus.
pub(crate) const WALRUS: (&str, u16) = ("walrus", 9091);

/// A server of floe in the network. It can die and come back; the store stays.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    network: Network,
    store: Store,
    trace: Trace,
    hosts: &'static [&'static str],
    /// Not there while the server is down.
    running: Arc<Mutex<Option<Running>>>,
}

#[derive(Debug)]
struct Running {
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

    fn boot(&self) {
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
            // A sender that was dropped means the same.
            let _ = stopped.await;
        }));
        *self.running.lock() = Some(Running { stop, serving });
        self.trace.note(format_args!("server up"));
    }

    /// Dies at once.
    async fn crash(&self) {
        let running = self.running.lock().take();
        if let Some(Running { serving, stop: _stop }) = running {
            self.trace.note(format_args!("server dies"));
            self.hosts.iter().for_each(|host| self.network.cut_all(host));
            serving.abort();
            let _ = serving.await;
        }
    }

    /// Stops in order; tells what went wrong.
    pub(crate) async fn stop(&self) -> Result<(), String> {
        let running = self.running.lock().take();
        let Some(Running { stop, serving }) = running else { return Ok(()) };
        self.trace.note(format_args!("server stops"));
        let _ = stop.send(());
        match serving.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the server ended with {error}")),
            Err(error) => Err(format!("the server panicked: {error}")),
        }
    }

    fn is_up(&self) -> bool {
        self.running.lock().is_some()
    }
}

/// What troubles can be made with.
#[derive(Debug, Clone)]
pub(crate) struct Troublemaker {
    pub(crate) network: Network,
    pub(crate) hosts: &'static [&'static str],
    pub(crate) server: Option<Server>,
    pub(crate) leaders: Option<crate::leaders::Leaders>,
    pub(crate) trace: Trace,
}

impl Troublemaker {
    /// Makes trouble, waits, and makes it good again.
    pub(crate) async fn make(&self, trouble: &crate::plan::Trouble, rng: &mut Rng) -> Result<(), String> {
        tokio::time::sleep(trouble.after).await;
        let host = rng.pick(self.hosts);
        self.trace.note(format_args!("trouble: {:?} at {host} for {:?}", trouble.what, trouble.lasts));
        let wait = || tokio::time::sleep(trouble.lasts);
        match trouble.what {
            What::CutAll => self.network.cut_all(host),
            What::CutOne => self.network.cut_one(rng),
            What::Partition => {
                self.network.set_reachable(host, false);
                wait().await;
                self.network.set_reachable(host, true);
            }
            What::Refuse => {
                self.network.set_refusing(host, true);
                wait().await;
                self.network.set_refusing(host, false);
            }
            What::Crash | What::Restart => {
                // Only one of two lines of troubles takes it down.
                if let Some(server) = self.server.as_ref().filter(|server| server.is_up()) {
                    if trouble.what == What::Crash {
                        server.crash().await;
                    } else {
                        server.stop().await?;
                    }
                    wait().await;
                    server.boot();
                }
            }
            What::MoveLeaders => {
                if let Some(leaders) = &self.leaders {
                    leaders.move_some(rng);
                }
            }
        }
        Ok(())
    }
}
