//! Routing: the data server that leads a partition, and the connections to it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use floe_core::{Error, ErrorKind, Result, engine::Acks, process, topic::TopicPartition};
use floe_wire::fluvio::Request;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    append::{BatchSender, Routes, SpuSender},
    cluster::Route,
    metadata::{Metadata, not_found},
    server::{Address, Connector, Server, Slot},
    stream_pool::StreamPool,
};
use crate::mux::handshake_request;

/// One data server.
#[derive(Debug)]
pub(super) struct Spu {
    pub(super) server: Arc<Server>,
    /// Connection for short requests, which never wait behind records.
    pub(super) control: Slot,
    /// Connections that readers share.
    pub(super) streams: Arc<StreamPool>,
    appends: OnceLock<Arc<SpuSender>>,
    /// Separate from `appends`: the server holds such a request until the replicas have the records.
    committed_appends: OnceLock<Arc<SpuSender>>,
}

/// The data servers that were used so far.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) metadata: Arc<Metadata>,
    pub(super) connector: Arc<Connector>,
    /// Leaders as of one generation of the metadata. Declared before `spus`, so that data servers are dropped in order.
    leaders: Mutex<(u64, HashMap<TopicPartition, Arc<Spu>>)>,
    spus: Mutex<BTreeMap<i32, Arc<Spu>>>,
    closed: watch::Receiver<bool>,
}

impl Router {
    pub(super) fn new(
        metadata: Arc<Metadata>,
        connector: Arc<Connector>,
        closed: watch::Receiver<bool>,
    ) -> Arc<Self> {
        let (spus, leaders) = (Mutex::default(), Mutex::default());
        Arc::new(Self { metadata, connector, spus, leaders, closed })
    }

    /// Returns the address of the leader of a partition if it is known, or of the controller.
    pub(super) fn endpoint(&self, at: Option<&TopicPartition>) -> Option<Arc<str>> {
        let endpoint = match (at, self.metadata.controllers.as_slice()) {
            (Some(at), _) => match self.metadata.route(at) {
                Route::Leader(_, address) => address.endpoint.to_string(),
                Route::NoPartition(_) | Route::Unknown => return None,
            },
            (None, [controller]) => controller.server.address.endpoint.to_string(),
            // Any controller may answer.
            (None, _) => return None,
        };
        Some(endpoint.into())
    }

    /// Returns a data server by its id. A server with another address is a new one.
    fn spu(&self, id: i32, address: Address) -> Arc<Spu> {
        let mut spus = self.spus.lock();
        if let Some(spu) = spus.get(&id)
            && spu.server.address == address
        {
            return Arc::clone(spu);
        }
        let server = Server::new(address, Arc::clone(&self.connector));
        let spu = Arc::new(Spu {
            control: Slot::new(Arc::clone(&server)),
            server,
            streams: Arc::default(),
            appends: OnceLock::new(),
            committed_appends: OnceLock::new(),
        });
        spus.insert(id, Arc::clone(&spu));
        spu
    }

    /// Asks a data server for a sign that it is there.
    pub(super) async fn ask(&self, id: i32, address: Address) -> Result<()> {
        let link = self.spu(id, address).control.link().await?;
        link.call(&handshake_request(), self.connector.settings.connect_timeout).await.map(drop)
    }

    /// Returns the leader of a partition if it is known without IO.
    fn known_leader(&self, at: &TopicPartition) -> Option<Arc<Spu>> {
        let generation = self.metadata.generation();
        let mut leaders = self.leaders.lock();
        if leaders.0 != generation {
            *leaders = (generation, HashMap::new());
        }
        if let Some(spu) = leaders.1.get(at) {
            return Some(Arc::clone(spu));
        }
        let Route::Leader(id, address) = self.metadata.route(at) else { return None };
        let spu = self.spu(id, address);
        leaders.1.insert(at.clone(), Arc::clone(&spu));
        Some(spu)
    }

    /// Returns the leader of a partition; asks the controller if it is not known.
    ///
    /// # Errors
    /// As [`Metadata::leader`].
    pub(super) async fn leader(&self, at: &TopicPartition) -> Result<Arc<Spu>> {
        if let Some(spu) = self.known_leader(at) {
            return Ok(spu);
        }
        let (id, address) = self.metadata.leader(at).await?;
        Ok(self.spu(id, address))
    }

    /// Sends a request to the leader of a partition and waits for the reply.
    pub(super) async fn call<R: Request>(&self, at: &TopicPartition, request: &R) -> Result<R::Reply> {
        self.leader(at).await?.control.call(request).await
    }

    /// Passes on an outcome; marks the topic's metadata as stale if the server does not lead the partition.
    pub(super) fn learn<T>(&self, at: &TopicPartition, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|error| {
            if error.kind() == ErrorKind::NotLeader {
                self.metadata.doubt(&at.topic);
            }
        })
    }

    /// Maps the error that ended a read: a server that does not lead the partition may mean that the topic was deleted.
    pub(super) async fn explain(&self, at: &TopicPartition, error: Error) -> Error {
        if error.kind() == ErrorKind::NotLeader {
            if self.metadata.is_gone(&at.topic).await {
                return not_found(&at.topic).with_source(error);
            }
            self.metadata.doubt(&at.topic);
        }
        error
    }

    /// Returns the data servers that were used so far.
    pub(super) fn known_spus(&self) -> Vec<(i32, Arc<Spu>)> {
        self.spus.lock().iter().map(|(id, spu)| (*id, Arc::clone(spu))).collect()
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        for (_, spu) in self.known_spus() {
            spu.control.close().await;
            for sender in [&spu.appends, &spu.committed_appends].into_iter().filter_map(OnceLock::get) {
                sender.close().await;
            }
        }
    }
}

/// [`Routes`] over the router, in a handle of its own because the senders' tasks hold it as long as the engine is open.
#[derive(Debug)]
pub(super) struct AppendRoutes(pub(super) Arc<Router>);

impl Routes for AppendRoutes {
    fn known(&self, at: &TopicPartition, acks: Acks) -> Option<Arc<dyn BatchSender>> {
        let router = &self.0;
        let spu = router.known_leader(at)?;
        let committed = acks == Acks::Committed;
        let cell = if committed { &spu.committed_appends } else { &spu.appends };
        let sender = cell.get_or_init(|| {
            let sender = Arc::new(SpuSender::new(Slot::new(Arc::clone(&spu.server)), committed));
            let routes = Arc::new(Self(Arc::clone(router)));
            let working = Arc::clone(&sender).run(routes, Arc::clone(&router.metadata));
            let mut closed = router.closed.clone();
            tokio::spawn(process::inherit(async move {
                tokio::select! {
                    biased;
                    // A dropped engine counts as closed.
                    _ = closed.wait_for(|closed| *closed) => {}
                    () = working => {}
                }
            }));
            sender
        });
        Some(Arc::<SpuSender>::clone(sender))
    }

    fn ask(&self, at: TopicPartition) -> BoxFuture<'static, Result<()>> {
        let metadata = Arc::clone(&self.0.metadata);
        Box::pin(async move { metadata.leader(&at).await.map(drop) })
    }
}
