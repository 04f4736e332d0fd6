//! Sends batches of many partitions to one data server.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::Arc,
};

use floe_core::{
    Effect, Error, ErrorKind, Result,
    engine::{Acks, AppendAck},
    topic::Topic,
};
use floe_wire::fluvio::{
    ErrorCode, Isolation, PartitionProduceData, ProduceReply, ProduceRequest, RecordSet, TopicProduceData,
};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    super::{
        errors,
        metadata::Metadata,
        server::{Link, Slot},
        smartmodules,
    },
    partition_appends::{BatchSender, QueuedBatch, Routes},
};

/// Most requests in flight. Servers process them one by one, so the pipeline only has to hide the round trip; while it is
/// full, batches gather and share the next request.
const MAX_IN_FLIGHT: usize = 4;

/// The queue of batches for one data server, with one kind of acknowledgement.
pub(crate) struct SpuSender {
    queue: Mutex<VecDeque<QueuedBatch>>,
    work: Notify,
    slot: Slot,
    committed: bool,
}

/// A request in flight: its batches in the order of the reply, and the reply.
type InFlight = BoxFuture<'static, (Vec<Vec<QueuedBatch>>, Result<ProduceReply>)>;

impl SpuSender {
    pub(crate) fn new(slot: Slot, committed: bool) -> Self {
        Self { queue: Mutex::default(), work: Notify::new(), slot, committed }
    }

    pub(crate) async fn close(&self) {
        self.slot.close().await;
    }

    /// Sends until the future is dropped.
    pub(crate) async fn run<R: Routes>(self: Arc<Self>, routes: Arc<R>, metadata: Arc<Metadata>) {
        let mut in_flight: FuturesUnordered<InFlight> = FuturesUnordered::new();
        let mut link: Option<Arc<Link>> = None;
        let outcomes =
            ProduceOutcomes { routes, metadata, endpoint: self.slot.server.address.endpoint.to_string() };
        loop {
            while in_flight.len() < MAX_IN_FLIGHT && !self.queue.lock().is_empty() {
                if link.as_ref().is_none_or(|link| link.mux.cause().is_some()) {
                    // Every batch on the old connection must have its outcome before one goes out on another
                    // connection, or it would overtake one that has to be resent.
                    while let Some((batches, reply)) = in_flight.next().await {
                        outcomes.settle(batches, reply);
                    }
                    match self.slot.link().await {
                        Ok(opened) => link = Some(opened),
                        Err(error) => {
                            let failed = std::mem::take(&mut *self.queue.lock());
                            outcomes.fail(failed, &error);
                            continue;
                        }
                    }
                }
                let Some(link) = &link else { continue };
                if let Some(request) = self.send(link, &outcomes).await {
                    in_flight.push(request);
                }
            }
            tokio::select! {
                biased;
                Some((batches, reply)) = in_flight.next(), if !in_flight.is_empty() => outcomes.settle(batches, reply),
                () = self.work.notified(), if in_flight.len() < MAX_IN_FLIGHT => {}
            }
        }
    }

    /// Sends one request with the batches that wait.
    async fn send<R: Routes>(&self, link: &Arc<Link>, outcomes: &ProduceOutcomes<R>) -> Option<InFlight> {
        let batches = self.take(outcomes);
        if batches.is_empty() {
            return None;
        }
        let settings = self.slot.server.settings();
        let smartmodules = match batches.first().and_then(|batch| batch.request.smartmodules.as_deref()) {
            Some(modules) => match smartmodules::invocations(modules) {
                Ok(invocations) => invocations,
                Err(error) => {
                    outcomes.fail(batches, &error);
                    return None;
                }
            },
            None => Vec::new(),
        };
        let (topics, mut batches) = group(batches);
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
            let partitions = u32::try_from(batches.iter().map(Vec::len).sum::<usize>()).unwrap_or(u32::MAX);
            limit = limit.saturating_add(settings.commit_timeout.saturating_mul(partitions));
        }
        let begun = match link.choose::<ProduceRequest>() {
            Ok(version) => link.mux.begin(&request, version, limit).await,
            Err(error) => Err(error),
        };
        drop(request);
        match begun {
            Ok(mut pending) => {
                for batch in batches.iter_mut().flatten().filter(|batch| batch.request.acks == Acks::None) {
                    batch.finish(Ok(AppendAck::new(None)), &outcomes.routes);
                }
                let link = Arc::clone(link);
                Some(Box::pin(async move {
                    let reply = pending.wait().await;
                    if let Err(error) = &reply
                        && error.kind() == ErrorKind::ProtocolError
                    {
                        link.mux.fail(error.clone());
                    }
                    (batches, reply)
                }))
            }
            Err(error) => {
                outcomes.fail(batches.into_iter().flatten(), &error);
                None
            }
        }
    }

    /// Takes from the queue the batches that fit one request, at least one. Refuses those of an ended epoch.
    fn take<R: Routes>(&self, outcomes: &ProduceOutcomes<R>) -> Vec<QueuedBatch> {
        let limit = floe_core::units::bytes(self.slot.server.settings().request_bytes);
        let mut batches: Vec<QueuedBatch> = Vec::new();
        let mut bytes = 0;
        loop {
            let batch = {
                let mut queue = self.queue.lock();
                match queue.front() {
                    Some(next)
                        if batches.first().is_none_or(|first| {
                            bytes + next.request.batch.len() <= limit && first.may_join(next)
                        }) =>
                    {
                        queue.pop_front()
                    }
                    _ => None,
                }
            };
            let Some(mut batch) = batch else { return batches };
            match batch.request.epoch.check() {
                Ok(()) => {
                    bytes += batch.request.batch.len();
                    batches.push(batch);
                }
                Err(refused) => batch.finish(Err(refused), &outcomes.routes),
            }
        }
    }
}

impl BatchSender for SpuSender {
    fn push(&self, batch: QueuedBatch) {
        self.queue.lock().push_back(batch);
        self.work.notify_one();
    }
}

impl fmt::Debug for SpuSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpuSender")
            .field("to", &self.slot.server.address.endpoint)
            .field("committed", &self.committed)
            .field("waiting", &self.queue.lock().len())
            .finish_non_exhaustive()
    }
}

/// Groups batches by topic, in order. Returns the contents of the request, and the batches as the reply will list them.
fn group(batches: Vec<QueuedBatch>) -> (Vec<TopicProduceData>, Vec<Vec<QueuedBatch>>) {
    let mut indexes: HashMap<Topic, usize> = HashMap::new();
    let mut topics: Vec<TopicProduceData> = Vec::new();
    let mut grouped: Vec<Vec<QueuedBatch>> = Vec::new();
    for batch in batches {
        let topic = &batch.partition.at.topic;
        let index = *indexes.entry(topic.clone()).or_insert_with(|| {
            topics.push(TopicProduceData { name: topic.to_string(), partitions: Vec::new() });
            grouped.push(Vec::new());
            topics.len() - 1
        });
        let entry = PartitionProduceData {
            partition: batch.partition.at.partition,
            records: RecordSet::from_batches([&batch.request.batch]),
        };
        if let (Some(topic), Some(group)) = (topics.get_mut(index), grouped.get_mut(index)) {
            topic.partitions.push(entry);
            group.push(batch);
        }
    }
    (topics, grouped)
}

/// Reports the outcomes of batches that were sent to one server.
struct ProduceOutcomes<R> {
    routes: Arc<R>,
    metadata: Arc<Metadata>,
    endpoint: String,
}

impl<R: Routes> ProduceOutcomes<R> {
    fn fail(&self, batches: impl IntoIterator<Item = QueuedBatch>, error: &Error) {
        let error = error.clone().with_endpoint(self.endpoint.as_str());
        for mut batch in batches {
            batch.finish(Err(error.clone()), &self.routes);
        }
    }

    /// Whether SmartModules may drop records of a batch: those that the request names, or a deduplication filter of the topic.
    fn may_drop(&self, batch: &QueuedBatch) -> bool {
        batch.request.smartmodules.is_some()
            || self.metadata.cluster().deduplicates(&batch.partition.at.topic)
    }

    fn settle(&self, batches: Vec<Vec<QueuedBatch>>, reply: Result<ProduceReply>) {
        let reply = match reply.and_then(|reply| fitting(&batches, reply)) {
            Ok(reply) => reply,
            Err(error) => {
                self.fail(batches.into_iter().flatten(), &error);
                return;
            }
        };
        let results = reply.topics.into_iter().flat_map(|topic| topic.partitions);
        for (mut batch, result) in batches.into_iter().flatten().zip(results) {
            let outcome = match result.error_code {
                // The offset means nothing if the modules kept no record.
                ErrorCode::None if self.may_drop(&batch) => Ok(AppendAck::new(None)),
                ErrorCode::None => Ok(AppendAck::new(Some(result.base_offset))),
                code => {
                    let error = errors::error(&code).with_endpoint(self.endpoint.as_str());
                    if error.kind() == ErrorKind::NotLeader {
                        self.metadata.doubt(&batch.partition.at.topic);
                    }
                    Err(error)
                }
            };
            batch.finish(outcome, &self.routes);
        }
    }
}

/// Checks that a reply has one result for each batch, in order.
fn fitting(batches: &[Vec<QueuedBatch>], reply: ProduceReply) -> Result<ProduceReply> {
    let fits = reply.topics.len() == batches.len()
        && reply.topics.iter().zip(batches).all(|(topic, sent)| {
            let same = |(result, batch): (&floe_wire::fluvio::PartitionProduceReply, &QueuedBatch)| {
                result.partition == batch.partition.at.partition
                    && batch.partition.at.topic.as_str() == topic.name
            };
            topic.partitions.len() == sent.len() && topic.partitions.iter().zip(sent).all(same)
        });
    if fits {
        return Ok(reply);
    }
    let error = Error::new(
        ErrorKind::ProtocolError,
        "the reply to an append does not match the batches that were sent",
    );
    // The batches may be stored; a lookup tells.
    Err(error.with_retriable(true).with_effect(Effect::Unknown))
}
