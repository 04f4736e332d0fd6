//! Sends batches of many partitions to one data server.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::Arc,
};

use floe_core::{
    Effect, Error, ErrorKind, Result,
    engine::{Acks, AppendAck, AppendRequest},
    topic::Topic,
};
use floe_wire::fluvio::{
    ErrorCode, Isolation, PartitionProduceData, ProduceReply, ProduceRequest, RecordSet, TopicProduceData,
};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Lane, partition_appends::Routes};

use super::super::{
    errors,
    metadata::Metadata,
    server::{Link, Slot},
    smartmodules,
};

/// Requests in flight. Servers work them off one by one, so this only has to hide the way there and back; while all are
/// in flight, batches gather and share the next one.
const AHEAD: usize = 4;

/// One batch on its way.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(super) lane: Arc<Lane>,
    /// Its number in the lane.
    pub(super) number: u64,
    pub(super) request: AppendRequest,
}

impl Parcel {
    /// Whether a request may hold both: modules work on everything in it.
    fn may_join(&self, other: &Self) -> bool {
        match (&self.request.smartmodules, &other.request.smartmodules) {
            (None, None) => true,
            (Some(own), Some(others)) => Arc::ptr_eq(own, others),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

/// What is to be sent to one data server, with one kind of acknowledgement.
pub(crate) struct Outbox {
    queue: Mutex<VecDeque<Parcel>>,
    work: Notify,
    slot: Slot,
    committed: bool,
}

/// A request in flight: its batches in the order of the reply, and the reply.
type InFlight = BoxFuture<'static, (Vec<Vec<Parcel>>, Result<ProduceReply>)>;

impl Outbox {
    pub(crate) fn new(slot: Slot, committed: bool) -> Self {
        Self { queue: Mutex::default(), work: Notify::new(), slot, committed }
    }

    pub(super) fn push(&self, parcel: Parcel) {
        self.queue.lock().push_back(parcel);
        self.work.notify_one();
    }

    pub(crate) async fn close(&self) {
        self.slot.close().await;
    }

    /// Sends until it is dropped.
    pub(crate) async fn run<R: Routes>(self: Arc<Self>, routes: Arc<R>, metadata: Arc<Metadata>) {
        let mut in_flight: FuturesUnordered<InFlight> = FuturesUnordered::new();
        let mut link: Option<Arc<Link>> = None;
        let settler = Settler { routes, metadata, endpoint: self.slot.server.address.endpoint.to_string() };
        loop {
            while in_flight.len() < AHEAD && !self.queue.lock().is_empty() {
                if link.as_ref().is_none_or(|link| link.mux.cause().is_some()) {
                    // Everything on the old connection must have its outcome before anything goes out on another,
                    // or a batch would overtake one that has to be sent again.
                    while let Some((parcels, reply)) = in_flight.next().await {
                        settler.settle(parcels, reply);
                    }
                    match self.slot.link().await {
                        Ok(opened) => link = Some(opened),
                        Err(error) => {
                            let failed = std::mem::take(&mut *self.queue.lock());
                            settler.fail(failed, &error);
                            continue;
                        }
                    }
                }
                let Some(link) = &link else { continue };
                if let Some(request) = self.send(link, &settler).await {
                    in_flight.push(request);
                }
            }
            tokio::select! {
                biased;
                Some((parcels, reply)) = in_flight.next(), if !in_flight.is_empty() => settler.settle(parcels, reply),
                () = self.work.notified(), if in_flight.len() < AHEAD => {}
            }
        }
    }

    /// Puts what waits into one request and sends it.
    async fn send<R: Routes>(&self, link: &Arc<Link>, settler: &Settler<R>) -> Option<InFlight> {
        let parcels = self.take(settler);
        if parcels.is_empty() {
            return None;
        }
        let settings = self.slot.server.settings();
        let smartmodules = match parcels.first().and_then(|parcel| parcel.request.smartmodules.as_deref()) {
            Some(modules) => match smartmodules::invocations(modules) {
                Ok(invocations) => invocations,
                Err(error) => {
                    settler.fail(parcels, &error);
                    return None;
                }
            },
            None => Vec::new(),
        };
        let (topics, parcels) = group(parcels);
        let isolation = if self.committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
        let request = ProduceRequest {
            transactional_id: None,
            isolation,
            timeout_ms: i32::try_from(settings.commit_timeout.as_millis()).unwrap_or(i32::MAX),
            topics,
            smartmodules,
        };
        let mut limit = settings.request_timeout;
        if self.committed {
            // The server waits once per partition, one after the other.
            let partitions = u32::try_from(parcels.iter().map(Vec::len).sum::<usize>()).unwrap_or(u32::MAX);
            limit = limit.saturating_add(settings.commit_timeout.saturating_mul(partitions));
        }
        let begun = match link.choose::<ProduceRequest>() {
            Ok(version) => link.mux.begin(&request, version, limit).await,
            Err(error) => Err(error),
        };
        drop(request);
        match begun {
            Ok(mut pending) => {
                for parcel in parcels.iter().flatten().filter(|parcel| parcel.request.acks == Acks::None) {
                    parcel.lane.settle(parcel.number, Ok(AppendAck { base_offset: None }), &settler.routes);
                }
                let link = Arc::clone(link);
                Some(Box::pin(async move {
                    let reply = pending.wait().await;
                    if let Err(error) = &reply
                        && error.kind() == ErrorKind::ProtocolError
                    {
                        link.mux.fail(error.clone());
                    }
                    (parcels, reply)
                }))
            }
            Err(error) => {
                settler.fail(parcels.into_iter().flatten(), &error);
                None
            }
        }
    }

    /// Takes from the queue what fits one request; at least one batch.
    fn take<R: Routes>(&self, settler: &Settler<R>) -> Vec<Parcel> {
        let limit = self.slot.server.settings().request_bytes;
        let mut parcels: Vec<Parcel> = Vec::new();
        let mut bytes = 0;
        loop {
            let parcel = {
                let mut queue = self.queue.lock();
                match queue.front() {
                    Some(next)
                        if parcels.first().is_none_or(|first| {
                            bytes + next.request.batch.len() <= limit && first.may_join(next)
                        }) =>
                    {
                        queue.pop_front()
                    }
                    _ => None,
                }
            };
            let Some(parcel) = parcel else { return parcels };
            if parcel.lane.may_send(parcel.number, &settler.routes) {
                bytes += parcel.request.batch.len();
                parcels.push(parcel);
            }
        }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("to", &self.slot.server.address.endpoint)
            .field("committed", &self.committed)
            .field("waiting", &self.queue.lock().len())
            .finish_non_exhaustive()
    }
}

/// Puts the batches of a topic together, in order: the request, and the batches as the reply will list them.
fn group(parcels: Vec<Parcel>) -> (Vec<TopicProduceData>, Vec<Vec<Parcel>>) {
    let mut places: HashMap<Topic, usize> = HashMap::new();
    let mut topics: Vec<TopicProduceData> = Vec::new();
    let mut grouped: Vec<Vec<Parcel>> = Vec::new();
    for parcel in parcels {
        let topic = &parcel.lane.at.topic;
        let place = *places.entry(topic.clone()).or_insert_with(|| {
            topics.push(TopicProduceData { name: topic.to_string(), partitions: Vec::new() });
            grouped.push(Vec::new());
            topics.len() - 1
        });
        let entry = PartitionProduceData {
            partition: parcel.lane.at.partition,
            records: RecordSet::from_batches([&parcel.request.batch]),
        };
        if let (Some(topic), Some(group)) = (topics.get_mut(place), grouped.get_mut(place)) {
            topic.partitions.push(entry);
            group.push(parcel);
        }
    }
    (topics, grouped)
}

/// Tells lanes what became of their batches.
struct Settler<R> {
    routes: Arc<R>,
    metadata: Arc<Metadata>,
    endpoint: String,
}

impl<R: Routes> Settler<R> {
    fn fail(&self, parcels: impl IntoIterator<Item = Parcel>, error: &Error) {
        let error = error.clone().with_endpoint(self.endpoint.as_str());
        for parcel in parcels {
            parcel.lane.settle(parcel.number, Err(error.clone()), &self.routes);
        }
    }

    /// Whether modules work on a batch: those that it names, or one of its topic.
    fn may_drop(&self, parcel: &Parcel) -> bool {
        parcel.request.smartmodules.is_some() || self.metadata.cluster().deduplicates(&parcel.lane.at.topic)
    }

    fn settle(&self, parcels: Vec<Vec<Parcel>>, reply: Result<ProduceReply>) {
        let reply = match reply.and_then(|reply| fitting(&parcels, reply)) {
            Ok(reply) => reply,
            Err(error) => {
                self.fail(parcels.into_iter().flatten(), &error);
                return;
            }
        };
        let results = reply.topics.into_iter().flat_map(|topic| topic.partitions);
        for (parcel, result) in parcels.into_iter().flatten().zip(results) {
            if parcel.request.acks == Acks::None {
                continue;
            }
            let outcome = match result.error_code {
                // Modules may have kept nothing, of which the offset tells nothing.
                ErrorCode::None if self.may_drop(&parcel) => Ok(AppendAck { base_offset: None }),
                ErrorCode::None => Ok(AppendAck { base_offset: Some(result.base_offset) }),
                code => {
                    let error = errors::error(&code).with_endpoint(self.endpoint.as_str());
                    if error.kind() == ErrorKind::NotLeader {
                        self.metadata.doubt(&parcel.lane.at.topic);
                    }
                    Err(error)
                }
            };
            parcel.lane.settle(parcel.number, outcome, &self.routes);
        }
    }
}

/// Checks that a reply has one result for each batch, in order.
fn fitting(parcels: &[Vec<Parcel>], reply: ProduceReply) -> Result<ProduceReply> {
    let fits = reply.topics.len() == parcels.len()
        && reply.topics.iter().zip(parcels).all(|(topic, sent)| {
            let same = |(result, parcel): (&floe_wire::fluvio::PartitionProduceReply, &Parcel)| {
                result.partition == parcel.lane.at.partition && parcel.lane.at.topic.as_str() == topic.name
            };
            topic.partitions.len() == sent.len() && topic.partitions.iter().zip(sent).all(same)
        });
    if fits {
        return Ok(reply);
    }
    let error =
        Error::new(ErrorKind::ProtocolError, "the results of an append are not those of what was sent");
    // What was appended can be looked for.
    Err(error.with_retriable(true).with_effect(Effect::Unknown))
}
