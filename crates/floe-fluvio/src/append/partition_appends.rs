//! The order of one partition.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    ptr::addr_eq,
    sync::Arc,
};

use floe_core::{
    Effect, Error, Result,
    engine::{Acks, AppendAck, AppendRequest},
    process,
    topic::TopicPartition,
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Finds the sender of the leader of a partition.
pub(crate) trait Routes: Send + Sync + 'static {
    /// Returns the sender for batches of a partition if the leader is known without IO.
    fn known(&self, at: &TopicPartition, acks: Acks) -> Option<Arc<dyn BatchSender>>;

    /// Asks the controller until the leader is known.
    fn ask(&self, at: TopicPartition) -> futures_util::future::BoxFuture<'static, Result<()>>;
}

/// Sends the batches of many partitions to one data server.
pub(crate) trait BatchSender: fmt::Debug + Send + Sync {
    /// Queues a batch behind those that were pushed before.
    fn push(&self, batch: QueuedBatch);
}

/// The append queues of all partitions that were written to.
#[derive(Debug, Default)]
pub(crate) struct AppendsByPartition(Mutex<HashMap<TopicPartition, Arc<PartitionAppends>>>);

impl AppendsByPartition {
    pub(crate) fn get(&self, at: &TopicPartition) -> Arc<PartitionAppends> {
        let mut partitions = self.0.lock();
        if let Some(partition) = partitions.get(at) {
            return Arc::clone(partition);
        }
        let partition = Arc::new(PartitionAppends { at: at.clone(), queue: Mutex::default() });
        partitions.insert(at.clone(), Arc::clone(&partition));
        partition
    }

    /// Removes the queue of a partition that does not exist; batches in it keep it alive.
    pub(crate) fn forget(&self, partition: &Arc<PartitionAppends>) {
        let mut partitions = self.0.lock();
        if partitions.get(&partition.at).is_some_and(|known| Arc::ptr_eq(known, partition)) {
            partitions.remove(&partition.at);
        }
    }
}

/// The appends of one partition that have no outcome yet.
#[derive(Debug)]
pub(crate) struct PartitionAppends {
    pub(super) at: TopicPartition,
    queue: Mutex<PartitionQueue>,
}

#[derive(Debug, Default)]
struct PartitionQueue {
    /// Batches that were not handed to a sender yet, in order.
    waiting: VecDeque<(AppendRequest, Done)>,
    /// How many batches `sender` has.
    in_flight: usize,
    sender: Option<Arc<dyn BatchSender>>,
    /// A task asks for the leader.
    asking: bool,
}

/// Receives the outcome of one append.
type Done = oneshot::Sender<Result<AppendAck>>;

impl PartitionAppends {
    /// Appends a batch.
    ///
    /// The order is that of the first polls.
    ///
    /// # Errors
    /// The refusal of an ended epoch, and the reason why the batch was not appended.
    ///
    /// # Cancel safety
    /// The batch of a dropped future is appended once or not at all.
    pub(crate) async fn append(
        self: &Arc<Self>,
        request: AppendRequest,
        routes: &Arc<impl Routes>,
    ) -> Result<AppendAck> {
        request.epoch.check()?;
        let (done, outcome) = oneshot::channel();
        {
            let mut queue = self.queue.lock();
            queue.waiting.push_back((request, done));
            self.pump(&mut queue, routes);
        }
        outcome.await.unwrap_or_else(|_| Err(Error::closed("engine").with_effect(Effect::Unknown)))
    }

    /// Hands waiting batches to the sender of the leader.
    fn pump(self: &Arc<Self>, queue: &mut PartitionQueue, routes: &Arc<impl Routes>) {
        while !queue.asking
            && let Some((next, _)) = queue.waiting.front()
        {
            let Some(sender) = routes.known(&self.at, next.acks) else {
                self.ask(queue, routes);
                return;
            };
            let same = queue
                .sender
                .as_ref()
                .is_some_and(|current| addr_eq(Arc::as_ptr(current), Arc::as_ptr(&sender)));
            if !same {
                // Batches in flight to one server must not be overtaken by others in flight to another.
                if queue.in_flight > 0 {
                    return;
                }
                queue.sender = Some(Arc::clone(&sender));
            }
            if let Some((request, done)) = queue.waiting.pop_front() {
                queue.in_flight += 1;
                sender.push(QueuedBatch { partition: Arc::clone(self), request, done: Some(done) });
            }
        }
    }

    fn ask(self: &Arc<Self>, queue: &mut PartitionQueue, routes: &Arc<impl Routes>) {
        queue.asking = true;
        let (partition, routes) = (Arc::clone(self), Arc::clone(routes));
        tokio::spawn(process::inherit(async move {
            let answer = routes.ask(partition.at.clone()).await;
            let mut queue = partition.queue.lock();
            queue.asking = false;
            match answer {
                Ok(()) => partition.pump(&mut queue, &routes),
                Err(error) => {
                    // None of them was sent, so each gets the cause itself.
                    for (request, done) in std::mem::take(&mut queue.waiting) {
                        request.epoch.fail(&error);
                        // The caller may have dropped its future.
                        let _ = done.send(Err(error.clone()));
                    }
                }
            }
        }));
    }

    /// Takes one batch off the count of those in flight.
    fn release(self: &Arc<Self>, routes: &Arc<impl Routes>) {
        let mut queue = self.queue.lock();
        floe_core::invariant!(queue.in_flight > 0, "a batch ended twice in {}", self.at);
        queue.in_flight = queue.in_flight.saturating_sub(1);
        self.pump(&mut queue, routes);
    }
}

/// One batch in the queue of a sender or in flight.
#[derive(Debug)]
pub(crate) struct QueuedBatch {
    pub(super) partition: Arc<PartitionAppends>,
    pub(super) request: AppendRequest,
    /// `None` once the append has its outcome.
    done: Option<Done>,
}

impl QueuedBatch {
    /// Whether one request may hold both: the modules of a request work on all its batches.
    pub(super) fn may_join(&self, other: &Self) -> bool {
        match (&self.request.smartmodules, &other.request.smartmodules) {
            (None, None) => true,
            (Some(own), Some(others)) => Arc::ptr_eq(own, others),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// Reports the outcome. Only the first one counts: appends without acknowledgement end when they are sent.
    pub(super) fn finish(&mut self, outcome: Result<AppendAck>, routes: &Arc<impl Routes>) {
        let Some(done) = self.done.take() else { return };
        if let Err(error) = &outcome {
            self.request.epoch.fail(error);
        }
        // The caller may have dropped its future.
        let _ = done.send(outcome);
        self.partition.release(routes);
    }
}
