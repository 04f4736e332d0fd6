//! Sends the batches of one partition.
//!
//! Each partition in use has one sender task. It keeps a window of appends in flight, started in order, while
//! `parallel_encode.rs` compresses the batches behind them. `resend.rs` handles failed appends.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use floe_wire::{batch::ProducerIdentity, compress::Codec};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    accumulator::{ClosedBatch, NextBatch, Partition},
    batch::Batch,
    config::DeliveryMode,
    parallel_encode::{self, EncodePermit, EncodeQueue},
    shared::ProducerShared,
};
use crate::{
    Result,
    engine::{AppendAck, AppendEpoch, AppendRequest, Engine},
    topic::TopicPartition,
};

/// Sends until the producer is closed and nothing is left.
pub(super) fn run(
    shared: Arc<ProducerShared>,
    partition: Arc<Partition>,
) -> impl Future<Output = ()> + Send + 'static {
    // Created outside of the future: a runtime that shuts down may drop the future without polling it.
    let leftovers = Leftovers { shared: Arc::clone(&shared), partition: Arc::clone(&partition) };
    async move {
        let engine = Arc::clone(&shared.engine);
        let mut sender = Sender::new(shared, partition, &*engine);
        sender.run().await;
        drop(leftovers);
    }
}

/// Fails the batches that were never taken, if the sender is aborted or panics. After a normal end there are none.
struct Leftovers {
    shared: Arc<ProducerShared>,
    partition: Arc<Partition>,
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        // A producer without one of its senders cannot continue.
        self.shared.begin_close();
        for closed in self.partition.take_all(&self.shared.config) {
            drop(Batch::new(&self.shared, &self.partition, closed));
        }
    }
}

pub(super) struct Sender<'a> {
    pub(super) shared: Arc<ProducerShared>,
    pub(super) partition: Arc<Partition>,
    pub(super) engine: &'a dyn Engine,
    pub(super) target: TopicPartition,
    /// In flight, in order.
    pub(super) window: VecDeque<InFlight<'a>>,
    /// Failed batches to resend before anything new, in order.
    pub(super) resend: VecDeque<Batch>,
    /// Taken and not sent yet.
    encoding: EncodeQueue,
    max_in_flight: usize,
    next_sequence: i32,
    /// Lower bound of the offsets of unacknowledged batches; see [`super::tail_lookup`].
    pub(super) settled: Settled,
    /// Epoch of the appends in flight; another one begins before batches are resent.
    epoch: AppendEpoch,
}

/// The offset up to which every batch of this producer is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// The end of the partition was not requested yet.
    Unasked,
    /// The engine did not return the end of the partition.
    Unknown,
    /// Every batch of this producer before this offset is acknowledged.
    Before(i64),
}

pub(super) struct InFlight<'a> {
    pub(super) batch: Batch,
    append: Option<BoxFuture<'a, Result<AppendAck>>>,
    pub(super) result: Option<Result<AppendAck>>,
    epoch: AppendEpoch,
}

impl InFlight<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(append) = &mut self.append else { return Poll::Ready(()) };
        let result = std::task::ready!(append.as_mut().poll(context));
        self.append = None;
        if let Err(error) = &result {
            // The engine does not know of failures in layers, such as a timeout: what it has queued must not be sent.
            self.epoch.fail(error);
        }
        self.result = Some(result);
        Poll::Ready(())
    }
}

/// The next step of the sender.
enum Next {
    /// Wait for an event, or for this time.
    Wait(Option<Instant>),
    /// Handle failed appends.
    Recover,
    /// Stop: the producer is closed and every batch has its outcome.
    Stop,
}

/// The reason why there is no batch to send.
enum NoBatch {
    /// None is due before this time, unless something happens.
    Before(Option<Instant>),
    /// The producer is closed.
    Finished,
}

impl<'a> Sender<'a> {
    fn new(shared: Arc<ProducerShared>, partition: Arc<Partition>, engine: &'a dyn Engine) -> Self {
        let config = &shared.config;
        let max_in_flight = match config.delivery_mode() {
            DeliveryMode::AtLeastOnce => config.max_in_flight.min(shared.capabilities.append_window.max(1)),
            // Nothing is retried, so no retry can break the order.
            DeliveryMode::AtMostOnce => config.max_in_flight,
        };
        let known = config.identity.as_ref().and_then(|known| known.partitions.get(partition.index as usize));
        let (next_sequence, settled) = match known {
            Some((next, Some(offset))) => (*next, Settled::Before(*offset)),
            Some((next, None)) => (*next, Settled::Unknown),
            None => (0, Settled::Unasked),
        };
        Self {
            engine,
            target: shared.topic.partition(partition.index),
            window: VecDeque::new(),
            resend: VecDeque::new(),
            encoding: EncodeQueue::default(),
            max_in_flight,
            next_sequence,
            settled,
            epoch: AppendEpoch::default(),
            shared,
            partition,
        }
    }

    async fn run(&mut self) {
        self.begin_epoch();
        loop {
            match self.fill().await {
                Next::Stop => return,
                Next::Recover => self.resend_failed().await,
                Next::Wait(until) => {
                    self.wait(until, true).await;
                    if self.settle() {
                        self.resend_failed().await;
                    }
                }
            }
        }
    }

    /// Whether failed batches are retried.
    fn retries(&self) -> bool {
        self.shared.config.delivery_mode() == DeliveryMode::AtLeastOnce
    }

    /// Separates the appends from now on from those before. Without retries each append stands alone.
    pub(super) fn begin_epoch(&mut self) {
        self.epoch = if self.retries() { AppendEpoch::begin() } else { AppendEpoch::default() };
    }

    /// Whether the batches pass through SmartModules before they are stored.
    pub(super) fn through_modules(&self) -> bool {
        self.shared.config.smartmodules.is_some()
    }

    /// Whether unacknowledged batches can be looked up in the partition.
    pub(super) fn can_look_up(&self) -> bool {
        self.retries()
            && !self.through_modules()
            && self.shared.capabilities.offsets
            && !self.shared.capabilities.consuming_reads
    }

    /// Starts appends until the window is full or no batch is due.
    async fn fill(&mut self) -> Next {
        while self.window.len() < self.max_in_flight {
            let batch = match self.resend.pop_front() {
                Some(batch) => batch,
                None => match self.upcoming() {
                    Ok(batch) => batch,
                    Err(NoBatch::Before(due)) => return Next::Wait(due),
                    Err(NoBatch::Finished) if self.window.is_empty() => return Next::Stop,
                    Err(NoBatch::Finished) => return Next::Wait(None),
                },
            };
            if self.partition.halted.load(Ordering::Relaxed) {
                batch.halt();
                continue;
            }
            if batch.deadline <= Instant::now() {
                batch.expire();
                continue;
            }
            if self.settled == Settled::Unasked && self.can_look_up() {
                self.remember_end(batch.deadline).await;
            }
            self.start(batch).await;
            if self.settle() {
                return Next::Recover;
            }
        }
        Next::Wait(None)
    }

    /// Returns the next batch in order, encoded, and starts the encoding of the batches behind it as far as threads are
    /// free.
    fn upcoming(&mut self) -> Result<Batch, NoBatch> {
        let due = loop {
            let permit = self.encode_permit();
            if permit.is_none() && !self.encoding.is_empty() {
                break None;
            }
            let idle = self.window.is_empty() && self.encoding.is_empty();
            let closed = match self.partition.take(&self.shared.config, idle) {
                NextBatch::Closed(closed) => closed,
                NextBatch::ClosedNow(closed) => {
                    self.shared.rotate_from(self.partition.index);
                    closed
                }
                NextBatch::NotBefore(due) => break due,
                NextBatch::Finished if self.encoding.is_empty() => return Err(NoBatch::Finished),
                NextBatch::Finished => break None,
            };
            let mut batch = self.adopt(closed);
            if batch.deadline <= Instant::now() {
                batch.expire();
                continue;
            }
            let identity = self.identify(&batch);
            let alone = self.encoding.is_empty() && !self.partition.has_closed();
            match permit.filter(|_| !alone) {
                Some(permit) => {
                    if let Some(work) = batch.encoding(identity) {
                        self.encoding.push(batch, permit, work);
                    }
                }
                None => {
                    // No batch is being encoded: the loop would have left this one in the queue otherwise.
                    batch.encode(identity);
                    return Ok(batch);
                }
            }
        };
        self.encoding.take(Instant::now()).ok_or(NoBatch::Before(due))
    }

    /// Returns a permit to encode a batch on another thread, if batches are compressed and a thread is free.
    fn encode_permit(&self) -> Option<EncodePermit> {
        let config = &self.shared.config;
        let compresses = config.compression.codec != Codec::None;
        compresses.then(|| parallel_encode::permit(&self.shared.runtime, config.batch_size)).flatten()
    }

    fn adopt(&self, closed: ClosedBatch) -> Batch {
        Batch::new(&self.shared, &self.partition, closed)
    }

    /// Remembers the end of the partition before the first append, where the lookup of a lost acknowledgement starts.
    async fn remember_end(&mut self, deadline: Instant) {
        let asked = timeout_at(deadline, self.engine.watermarks(self.target.clone())).await;
        self.settled = match asked {
            Ok(Ok(marks)) => Settled::Before(marks.high),
            // A lookup reads the whole partition then: slower, and still correct.
            Ok(Err(_)) | Err(_) => Settled::Unknown,
        };
    }

    /// Assigns sequences to the records of a batch.
    fn identify(&mut self, batch: &Batch) -> ProducerIdentity {
        let first_sequence = self.next_sequence;
        self.next_sequence = sequence_after(first_sequence, batch.records());
        let epoch = self.shared.config.identity.as_ref().map_or(0, |known| known.epoch);
        ProducerIdentity { id: self.shared.producer_id, epoch, first_sequence }
    }

    /// Starts an append. The engine orders appends by their first poll, so the append is polled here.
    async fn start(&mut self, mut batch: Batch) {
        // A batch whose encoding failed has its outcome.
        let Some(encoded) = batch.encoded() else { return };
        let config = &self.shared.config;
        let mut request =
            AppendRequest::new(self.target.clone(), encoded.clone(), config.acks).epoch(&self.epoch);
        let epoch = request.epoch.clone();
        request.smartmodules.clone_from(&config.smartmodules);
        let append = self.engine.append(request);
        batch.begin_attempt(&self.target);
        let mut entry = InFlight { batch, append: Some(append), result: None, epoch };
        poll_fn(|context| {
            // An append that is done keeps its result in the window.
            let _ = entry.poll(context);
            Poll::Ready(())
        })
        .await;
        self.window.push_back(entry);
    }

    /// Waits for the result of an append, for new batches, or for a deadline. Fails the oldest batch if it is late.
    pub(super) async fn wait(&mut self, until: Option<Instant>, for_work: bool) {
        let now = Instant::now();
        let oldest =
            self.window.iter().find(|entry| entry.result.is_none()).map(|entry| entry.batch.deadline);
        let late = match self.partition.take_late(&self.shared.config, now) {
            Ok(closed) => {
                self.adopt(closed).expire();
                return;
            }
            Err(due) => due,
        };
        let full = self.window.len() >= self.max_in_flight;
        let takes = for_work && !full;
        let encoding = self.encoding.deadline().filter(|_| takes);
        let deadline = [until, oldest, late, encoding].into_iter().flatten().min();
        let window = &mut self.window;
        let result = poll_fn(|context| poll_window(window, context));
        let encoding = &mut self.encoding;
        let encoded = poll_fn(|context| encoding.poll_ready(context));
        let work = self.partition.work.notified();
        tokio::select! {
            biased;
            () = result => {}
            () = encoded, if takes => {}
            () = work, if for_work => {}
            () = sleep_until(deadline.unwrap_or(now)), if deadline.is_some() => {}
        }
    }

    /// Completes batches whose outcome is known; true if some failed that must be retried or looked up.
    pub(super) fn settle(&mut self) -> bool {
        let now = Instant::now();
        let retries = self.retries();
        let mut failed = false;
        let mut at = 0;
        while let Some(entry) = self.window.get(at) {
            let keep = match &entry.result {
                None => entry.batch.deadline > now,
                Some(Ok(_)) => false,
                Some(Err(_)) => retries,
            };
            if keep {
                failed |= entry.result.is_some();
                at += 1;
                continue;
            }
            let Some(entry) = self.window.remove(at) else {
                floe_core::invariant!(false, "the window holds the append at {at}");
                break;
            };
            if matches!(entry.result, Some(Ok(_))) {
                self.window.iter_mut().take(at).for_each(|before| before.batch.overtaken = true);
            }
            match entry.result {
                None => entry.batch.expire(),
                // Earlier appends of the window may be in the partition without an acknowledgement.
                Some(Ok(ack)) => self.acknowledge(entry.batch, ack.base_offset, at == 0),
                Some(Err(error)) => entry.batch.fail(error),
            }
        }
        failed
    }

    /// Completes a batch as acknowledged. `settles`: every batch before it has its outcome.
    pub(super) fn acknowledge(&mut self, batch: Batch, base_offset: Option<i64>, settles: bool) {
        if let (Some(base), true) = (base_offset, settles) {
            let next = base.saturating_add(i64::from(batch.records()));
            self.settled = match self.settled {
                Settled::Before(offset) => Settled::Before(offset.max(next)),
                Settled::Unasked | Settled::Unknown => Settled::Before(next),
            };
        }
        batch.succeed(base_offset);
    }
}

/// Polls all appends; ready when one of them completes.
fn poll_window(window: &mut VecDeque<InFlight<'_>>, context: &mut Context<'_>) -> Poll<()> {
    let mut completed = false;
    for entry in window {
        if entry.append.is_some() {
            completed |= entry.poll(context).is_ready();
        }
    }
    if completed { Poll::Ready(()) } else { Poll::Pending }
}

/// Returns the sequence after a batch. Sequences count records and wrap within the positive half of an i32.
fn sequence_after(first: i32, records: u32) -> i32 {
    let next = (i64::from(first) + i64::from(records)) & i64::from(i32::MAX);
    i32::try_from(next).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_before_they_turn_negative() {
        assert_eq!(sequence_after(0, 5), 5);
        assert_eq!(sequence_after(i32::MAX - 1, 1), i32::MAX);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX, 10), 9);
    }
}
