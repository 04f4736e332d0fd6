//! Keeps the metadata of the cluster current.
//!
//! One task watches topics, partitions and data servers over a connection to the controller, and reconnects when it breaks.
//! Meanwhile requests use the known metadata: data servers do not need the controller. Lookups ask for missing topics by
//! name, so that a topic is found before the watch reports it.

use std::{borrow::Borrow, collections::BTreeSet, sync::Arc, time::Duration};

use floe_core::{
    Effect, Error, ErrorKind, Result, SmartModule,
    dial::all_failed,
    topic::{Topic, TopicPartition},
};
use floe_wire::fluvio::{
    CreateRequest, ListRequest, Metadata as Described, Object, PartitionSpec, ProduceRequest, Request,
    SmartModuleSpec, SpuSpec, TopicSpec, WatchReply, WatchRequest, names::CONSUMER_OFFSET_TOPIC,
};
use futures_util::future::BoxFuture;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout_at},
};

use super::{
    cluster::{Cluster, Route, partitions},
    server::{Address, Link, Server, Slot, unsupported_version},
};
use crate::mux::Replies;

/// Pause before the controller is asked again for a leader that the watch has not reported.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Pause of the watch after a permanent failure.
const PERMANENT_FAILURE_PAUSE: Duration = Duration::from_secs(30);

/// Time for which data servers may still report that they removed the partitions of a deleted topic. The controller takes a
/// late report for one about a new topic of the same name, and removes that topic's partitions (platform 0.18: 34 of 100
/// topics that were created again at once, none of 100 that were created again after 50 to 400 ms).
const REMOVAL_REPORTS: Duration = Duration::from_millis(150);

/// The metadata of the cluster, and the controller to ask for more.
#[derive(Debug)]
pub(super) struct Metadata {
    cluster: RwLock<Cluster>,
    /// Counts changes of leaders and addresses.
    routes: watch::Sender<u64>,
    /// Counts changes of topics.
    topics: watch::Sender<u64>,
    /// Candidates for the controller; the first that answers is used.
    pub(super) controllers: Vec<Slot>,
    /// Wakes the watch after a data server answered that it does not lead a partition.
    doubt: Notify,
    /// The topics of those partitions, which may have been deleted.
    doubted: Mutex<BTreeSet<Topic>>,
    /// Whether the watch is connected.
    watching: watch::Sender<bool>,
}

impl Metadata {
    pub(super) fn new(controllers: Vec<Arc<Server>>) -> Self {
        Self {
            cluster: RwLock::default(),
            routes: watch::channel(0).0,
            topics: watch::channel(0).0,
            controllers: controllers.into_iter().map(Slot::new).collect(),
            doubt: Notify::new(),
            doubted: Mutex::default(),
            watching: watch::channel(false).0,
        }
    }

    pub(super) fn cluster(&self) -> RwLockReadGuard<'_, Cluster> {
        self.cluster.read()
    }

    /// Returns a number that rises when leaders or addresses change.
    pub(super) fn generation(&self) -> u64 {
        *self.routes.borrow()
    }

    pub(super) fn watch_topics(&self) -> watch::Receiver<u64> {
        self.topics.subscribe()
    }

    /// Whether the watch is connected, so that changes arrive without a request.
    pub(super) fn is_watching(&self) -> bool {
        *self.watching.borrow()
    }

    /// Schedules a refresh after a data server answered that it does not lead a partition of this topic.
    pub(super) fn doubt(&self, topic: &Topic) {
        self.doubted.lock().insert(topic.clone());
        self.doubt.notify_one();
    }

    /// Refreshes the metadata and removes deleted topics. Data servers answer the same for a moved and a deleted topic.
    async fn refresh_doubted(&self) -> Result<()> {
        let doubted = std::mem::take(&mut *self.doubted.lock());
        for topic in doubted {
            if self.ask_topic(&topic).await?.is_none() {
                self.forget(&topic);
            }
        }
        self.refresh().await
    }

    fn local(&self) -> bool {
        self.controllers.first().is_some_and(|slot| slot.server.settings().spu_local)
    }

    pub(super) fn route(&self, at: &TopicPartition) -> Route {
        self.cluster().route(at, self.local())
    }

    /// Returns the connection to the controller for short requests.
    pub(super) async fn controller(&self) -> Result<Arc<Link>> {
        self.first_controller(|slot| Box::pin(slot.link())).await
    }

    /// Opens a connection to the controller for a single use.
    pub(super) async fn new_controller_link(&self) -> Result<Link> {
        self.first_controller(|slot| Box::pin(slot.server.connect())).await
    }

    /// Returns the first connection that `connect` makes to a controller.
    async fn first_controller<L: Borrow<Link>>(
        &self,
        connect: impl for<'a> Fn(&'a Slot) -> BoxFuture<'a, Result<L>>,
    ) -> Result<L> {
        let mut failures = Vec::new();
        for slot in &self.controllers {
            match connect(slot).await {
                Ok(link) => {
                    check_controller(link.borrow())?;
                    return Ok(link);
                }
                Err(error) => failures.push(error.with_endpoint(slot.server.address.endpoint.to_string())),
            }
        }
        Err(all_failed(failures).unwrap_or_else(no_controller))
    }

    pub(super) fn request_timeout(&self) -> Duration {
        self.controllers
            .first()
            .map_or(Duration::from_secs(10), |slot| slot.server.settings().request_timeout)
    }

    fn metadata_timeout(&self) -> Duration {
        self.controllers
            .first()
            .map_or(Duration::from_secs(15), |slot| slot.server.settings().metadata_timeout)
    }

    /// Asks the controller for objects of one kind.
    pub(super) async fn list<O: Object>(&self, request: ListRequest<O>) -> Result<Vec<Described<O>>> {
        let link = self.controller().await?;
        Ok(link.call(&request, self.request_timeout()).await?.objects)
    }

    /// Asks the controller for one topic; `None` if there is none of this name.
    pub(super) async fn ask_topic(&self, name: &Topic) -> Result<Option<Described<TopicSpec>>> {
        // The filter matches parts of names.
        let filter = vec![name.to_string()];
        let system = name.as_str() == CONSUMER_OFFSET_TOPIC;
        let found = self.list(ListRequest::new(filter.clone()).system(system)).await?;
        if let Some(topic) = found.into_iter().find(|topic| topic.name == name.as_str()) {
            return Ok(Some(topic));
        }
        let found = self.list(ListRequest::new(filter).system(!system)).await?;
        Ok(found.into_iter().find(|topic| topic.name == name.as_str()))
    }

    /// Returns the leader of a partition. Asks the controller and waits if it is not known.
    ///
    /// # Errors
    /// [`ErrorKind::TopicNotFound`], [`ErrorKind::PartitionNotFound`]; [`ErrorKind::NotLeader`] if there is no leader
    /// in time; connection errors of the controller.
    pub(super) async fn leader(&self, at: &TopicPartition) -> Result<(i32, Address)> {
        let deadline = Instant::now() + self.metadata_timeout();
        let mut routes = self.routes.subscribe();
        loop {
            routes.borrow_and_update();
            match self.route(at) {
                Route::Leader(id, address) => return Ok((id, address)),
                Route::NoPartition(_) | Route::Unknown => {}
            }
            let Some(topic) =
                self.ask_topic(&at.topic).await.map_err(|error| error.with_effect(Effect::None))?
            else {
                self.forget(&at.topic);
                return Err(not_found(&at.topic));
            };
            let count = partitions(&topic.spec);
            if at.partition >= count {
                let message = format!("the topic has {count} partitions, numbered from 0");
                return Err(Error::new(ErrorKind::PartitionNotFound, message));
            }
            self.put_topic(topic);
            self.refresh().await.map_err(|error| error.with_effect(Effect::None))?;
            if let Route::Leader(id, address) = self.route(at) {
                return Ok((id, address));
            }
            if Instant::now() >= deadline {
                let message = format!("no leader of {at} is known after {:?}", self.metadata_timeout());
                return Err(Error::new(ErrorKind::NotLeader, message));
            }
            let until = deadline.min(Instant::now() + ASK_AGAIN);
            // The next round looks again after a change as well as after the timeout.
            let _ = timeout_at(until, routes.changed()).await;
        }
    }

    /// Asks the controller for all partitions and data servers.
    pub(super) async fn refresh(&self) -> Result<()> {
        let mut all = self.list(ListRequest::<PartitionSpec>::default()).await?;
        all.extend(self.list(ListRequest::<PartitionSpec>::default().system(true)).await?);
        let spus = self.list(ListRequest::<SpuSpec>::default()).await?;
        let changed = {
            let mut cluster = self.cluster.write();
            // Merged, not replaced: the watch may already know more.
            let mut changed = false;
            for partition in all {
                changed |= cluster.partitions.put(partition);
            }
            for spu in spus {
                changed |= cluster.spus.put(spu);
            }
            changed
        };
        if changed {
            self.routes.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    fn put_topic(&self, topic: Described<TopicSpec>) {
        if self.cluster.write().topics.put(topic) {
            self.topics_changed();
        }
    }

    fn topics_changed(&self) {
        self.topics.send_modify(|count| *count += 1);
        self.routes.send_modify(|count| *count += 1);
    }

    /// Removes a topic that the controller does not have.
    fn forget(&self, topic: &Topic) {
        let deletion = |name: &str| WatchReply::<TopicSpec> {
            epoch: 0,
            changes: vec![floe_wire::fluvio::Change {
                kind: floe_wire::fluvio::ChangeKind::Delete,
                object: Described {
                    name: name.to_owned(),
                    spec: TopicSpec::default(),
                    status: floe_wire::fluvio::TopicStatus::default(),
                },
            }],
            all: Vec::new(),
        };
        let changed = {
            let mut cluster = self.cluster.write();
            // Before the first snapshot there is nothing to remove.
            cluster.topics.complete && cluster.topics.apply(deletion(topic.as_str()))
        };
        if changed {
            self.topics_changed();
        }
    }

    /// Asks whether the topic was deleted. False if the controller does not answer.
    pub(super) async fn is_gone(&self, topic: &Topic) -> bool {
        let is_gone = matches!(self.ask_topic(topic).await, Ok(None));
        if is_gone {
            self.forget(topic);
        }
        is_gone
    }

    /// Asks the controller whether it has a SmartModule.
    pub(super) async fn has_module(&self, name: &str) -> Result<bool> {
        let request = ListRequest::<SmartModuleSpec>::new(vec![name.to_owned()]).summary(true);
        let found = self.list(request).await?;
        // The filter matches parts of names; the controller resolves names with a group or a version.
        Ok(found.iter().any(|module| {
            let package = module.spec.meta.as_ref().map(|meta| meta.package.name.as_str());
            module.name == name || package == Some(name) || name.contains(['/', '@'])
        }))
    }

    /// Decides whether a module that a data server does not have can still arrive: it is retriable if the controller has
    /// it, or does not answer.
    pub(super) async fn judge_missing_module(&self, error: Error, modules: &[SmartModule]) -> Error {
        for name in modules.iter().filter_map(SmartModule::name) {
            if self.has_module(name).await.is_ok_and(|exists| !exists) {
                let message = format!("the cluster has no SmartModule {name:?}");
                return Error::new(ErrorKind::ModuleNotFound, message).with_source(error);
            }
        }
        error
    }

    /// Waits until the controller no longer lists a topic that was deleted, and until a topic of the same name can be created.
    pub(super) async fn wait_deleted(&self, topic: &Topic) {
        // The controller deletes after it answered. A topic that it still lists would be found again.
        let deadline = Instant::now() + self.metadata_timeout();
        while Instant::now() < deadline {
            match self.ask_topic(topic).await {
                Ok(Some(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                Ok(None) | Err(_) => break,
            }
        }
        // Nothing tells when the last data server has reported its removal.
        tokio::time::sleep(REMOVAL_REPORTS).await;
        self.forget(topic);
    }

    /// Waits until the metadata satisfies `wanted`; false on timeout.
    pub(super) async fn wait_for(&self, wanted: impl Fn(&Cluster) -> bool) -> bool {
        let deadline = Instant::now() + self.metadata_timeout();
        let mut routes = self.routes.subscribe();
        loop {
            routes.borrow_and_update();
            if wanted(&self.cluster()) {
                return true;
            }
            if !matches!(timeout_at(deadline, routes.changed()).await, Ok(Ok(()))) {
                return wanted(&self.cluster());
            }
        }
    }

    /// Watches the cluster until the future is dropped; reconnects when the watch breaks.
    pub(super) async fn follow(self: Arc<Self>, mut first: Option<Link>) {
        let mut failures = 0_u32;
        loop {
            let outcome = match first.take() {
                Some(link) => self.watch(&link).await,
                None => match self.new_controller_link().await {
                    Ok(link) => {
                        failures = 0;
                        self.watch(&link).await
                    }
                    Err(error) => error,
                },
            };
            self.watching.send_replace(false);
            failures = failures.saturating_add(1);
            tracing::warn!(error = %outcome, "the watch of the cluster ended; reads and appends continue with the known metadata");
            // The connection has its own back-off, with jitter.
            let wait = match outcome.retry_after() {
                Some(wait) => wait,
                None if outcome.is_retriable() => Duration::from_millis(50),
                None => PERMANENT_FAILURE_PAUSE,
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Watches over one connection until it breaks.
    async fn watch(&self, link: &Link) -> Error {
        match self.watch_all(link).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn watch_all(&self, link: &Link) -> Result<std::convert::Infallible> {
        let version = link.choose::<WatchRequest<TopicSpec>>()?;
        let mut spus: Replies<WatchRequest<SpuSpec>> =
            link.mux.stream(&WatchRequest::default(), version).await?;
        let mut partitions: Replies<WatchRequest<PartitionSpec>> =
            link.mux.stream(&WatchRequest::default(), version).await?;
        let mut topics: Replies<WatchRequest<TopicSpec>> =
            link.mux.stream(&WatchRequest::default(), version).await?;
        // After a pause the metadata may be stale in any way, so the first pushes replace it, even empty ones.
        let mut fresh = [true; 3];
        loop {
            tokio::select! {
                biased;
                reply = spus.next() => {
                    let reply = reply?;
                    let mut cluster = self.cluster.write();
                    cluster.spus.complete &= !std::mem::take(&mut fresh[0]);
                    if cluster.spus.apply(reply) {
                        drop(cluster);
                        self.routes.send_modify(|count| *count += 1);
                    }
                }
                reply = partitions.next() => {
                    let reply = reply?;
                    let mut cluster = self.cluster.write();
                    cluster.partitions.complete &= !std::mem::take(&mut fresh[1]);
                    if cluster.partitions.apply(reply) {
                        drop(cluster);
                        self.routes.send_modify(|count| *count += 1);
                    }
                }
                reply = topics.next() => {
                    let reply = reply?;
                    let mut cluster = self.cluster.write();
                    cluster.topics.complete &= !std::mem::take(&mut fresh[2]);
                    if cluster.topics.apply(reply) {
                        drop(cluster);
                        self.topics_changed();
                    }
                }
                () = self.doubt.notified() => {
                    // The watch reports the change as well, but later.
                    if let Err(error) = self.refresh_doubted().await {
                        tracing::debug!(%error, "the cluster cannot be listed");
                    }
                }
            }
            if !fresh.contains(&true) {
                self.watching.send_if_modified(|watching| !std::mem::replace(watching, true));
            }
        }
    }
}

/// Refuses a server that is no controller that this client knows.
fn check_controller(link: &Link) -> Result<()> {
    let versions = &link.versions;
    if versions.range(ProduceRequest::KEY).is_some()
        && versions.range(CreateRequest::<TopicSpec>::KEY).is_none()
    {
        let message = "this is a data server (SPU): write the address of the controller (SC), whose port is 9003 by default";
        return Err(Error::new(ErrorKind::InvalidConfig, message).with_endpoint(Arc::clone(&link.endpoint)));
    }
    versions.check_platform().map(drop).map_err(|problem| unsupported_version(&problem))
}

fn no_controller() -> Error {
    Error::new(ErrorKind::InvalidConfig, "the URL names no controller")
}

pub(super) fn not_found(topic: &Topic) -> Error {
    Error::new(ErrorKind::TopicNotFound, format!("there is no topic {:?}", topic.as_str()))
}
