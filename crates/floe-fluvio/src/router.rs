//! Which data server to ask about a partition, and the connections to it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use floe_core::{Error, ErrorKind, Result, engine::Acks, topic::TopicPartition};
use floe_wire::fluvio::Request;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    append::{Outbox, Routes},
    cluster::Route,
    metadata::{Metadata, not_found},
    server::{Address, Connector, Server, Slot},
    stream_pool::Streams,
};

/// One data server.
#[derive(Debug)]
pub(super) struct Spu {
    pub(super) server: Arc<Server>,
    /// For short questions, so that they never wait behind records.
    pub(super) control: Slot,
    /// For those who read.
    pub(super) streams: Arc<Streams>,
    appends: OnceLock<Arc<Outbox>>,
    /// Apart from the others: the server holds such a request until the replicas have the records.
    committed_appends: OnceLock<Arc<Outbox>>,
}

/// All data servers that were needed so far.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) metadata: Arc<Metadata>,
    pub(super) connector: Arc<Connector>,
    /// Leaders, as of a generation of the metadata. Before the data servers, so that those are dropped in their order.
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

    /// Address of the leader of a partition as far as it is known, or of the controller.
    pub(super) fn endpoint(&self, at: Option<&TopicPartition>) -> Option<Arc<str>> {
        let endpoint = match (at, self.metadata.controllers.as_slice()) {
            (Some(at), _) => match self.metadata.route(at) {
                Route::Leader(_, address) => address.endpoint.to_string(),
                Route::NoPartition(_) | Route::Unknown => return None,
            },
            (None, [controller]) => controller.server.address.endpoint.to_string(),
            // Any of them may answer.
            (None, _) => return None,
        };
        Some(endpoint.into())
    }

    /// A data server by its id. One that has moved is another one.
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

    /// The leader of a partition, as far as is known without asking.
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

    /// The leader of a partition; asks the controller if it is not known.
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

    /// Asks the leader of a partition. Has the metadata looked at again if it does not lead.
    pub(super) async fn call<R: Request>(&self, at: &TopicPartition, request: &R) -> Result<R::Reply> {
        self.leader(at).await?.control.call(request).await
    }

    /// Has the metadata looked at again if that is why something failed.
    pub(super) fn learn<T>(&self, at: &TopicPartition, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|error| {
            if error.kind() == ErrorKind::NotLeader {
                self.metadata.doubt(&at.topic);
            }
        })
    }

    /// What ended reading from a data server: that it does not lead the partition may mean that the topic is gone.
    pub(super) async fn explain(&self, at: &TopicPartition, error: Error) -> Error {
        if error.kind() == ErrorKind::NotLeader {
            if self.metadata.is_gone(&at.topic).await {
                return not_found(&at.topic).with_source(error);
            }
            self.metadata.doubt(&at.topic);
        }
        error
    }

    /// Every data server that was needed so far.
    pub(super) fn known_spus(&self) -> Vec<(i32, Arc<Spu>)> {
        self.spus.lock().iter().map(|(id, spu)| (*id, Arc::clone(spu))).collect()
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        for (_, spu) in self.known_spus() {
            spu.control.close().await;
            for outbox in [&spu.appends, &spu.committed_appends].into_iter().filter_map(OnceLock::get) {
                outbox.close().await;
            }
        }
    }
}

/// Appends find their way through this. A handle of its own, because tasks need it as long as the engine is open.
#[derive(Debug)]
pub(super) struct AppendRoutes(pub(super) Arc<Router>);

impl Routes for AppendRoutes {
    fn known(&self, at: &TopicPartition, acks: Acks) -> Option<Arc<Outbox>> {
        let router = &self.0;
        let spu = router.known_leader(at)?;
        let committed = acks == Acks::Committed;
        let cell = if committed { &spu.committed_appends } else { &spu.appends };
        let outbox = cell.get_or_init(|| {
            let outbox = Arc::new(Outbox::new(Slot::new(Arc::clone(&spu.server)), committed));
            let routes = Arc::new(Self(Arc::clone(router)));
            let working = Arc::clone(&outbox).run(routes, Arc::clone(&router.metadata));
            let mut closed = router.closed.clone();
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    // An engine that was dropped counts as closed.
                    _ = closed.wait_for(|closed| *closed) => {}
                    () = working => {}
                }
            });
            outbox
        });
        Some(Arc::clone(outbox))
    }

    fn ask(&self, at: TopicPartition) -> BoxFuture<'static, Result<()>> {
        let metadata = Arc::clone(&self.0.metadata);
        Box::pin(async move { metadata.leader(&at).await.map(drop) })
    }
}
