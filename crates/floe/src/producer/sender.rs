//! Sends the batches of one partition.
//!
//! One task for each partition in use. It keeps a window of appends in flight, started in order; `ahead.rs` has what
//! follows them compressed. What happens when one of them fails is in `recover.rs`.

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
    accumulate::{ClosedBatch, Found, Partition},
    ahead::{self, Ahead, Hand},
    batch::Batch,
    builder::{DeliveryMode, Detour},
    shared::Shared,
};
use crate::{
    Result,
    engine::{AppendAck, AppendEpoch, AppendRequest, Engine},
    topic::TopicPartition,
};

/// Sends until the producer is closed and nothing is left.
pub(super) fn run(
    shared: Arc<Shared>,
    partition: Arc<Partition>,
) -> impl Future<Output = ()> + Send + 'static {
    // Made here and not inside: a runtime that shuts down drops the future without ever polling it.
    let leftovers = Leftovers { shared: Arc::clone(&shared), partition: Arc::clone(&partition) };
    async move {
        let (engine, detour) = (Arc::clone(&shared.engine), shared.config.detour.clone());
        let mut sender = Sender::new(shared, partition, (&*engine, detour.as_deref()));
        sender.run().await;
        drop(leftovers);
    }
}

/// Fails what was never taken, if the sender is stopped before its time or panics; after a normal end there is nothing.
struct Leftovers {
    shared: Arc<Shared>,
    partition: Arc<Partition>,
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        // A producer of which one sender is gone can do no more.
        self.shared.begin_close();
        for closed in self.partition.take_all(&self.shared.config) {
            drop(Batch::new(&self.shared, &self.partition, closed));
        }
    }
}

pub(super) struct Sender<'a> {
    pub(super) shared: Arc<Shared>,
    pub(super) partition: Arc<Partition>,
    pub(super) engine: &'a dyn Engine,
    detour: Option<&'a dyn Detour>,
    pub(super) target: TopicPartition,
    /// In flight, in order.
    pub(super) window: VecDeque<InFlight<'a>>,
    /// Failed and to be sent again before anything new, in order.
    pub(super) again: VecDeque<Batch>,
    /// Taken and not sent yet.
    ahead: Ahead,
    /// Most appends in flight.
    limit: usize,
    next_sequence: i32,
    /// None of the batches without an answer lies before this offset; see [`super::resolve`].
    pub(super) settled: Settled,
    /// Epoch of the appends in flight; another one begins before batches are resent.
    epoch: AppendEpoch,
}

/// What is known about the end of the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// Nothing was asked yet.
    Unasked,
    /// The engine could not tell.
    Unknown,
    /// Everything of ours before this offset is acknowledged.
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

/// What the sender does next.
enum Next {
    /// Nothing before this time, unless something happens.
    Wait(Option<Instant>),
    /// An append failed.
    Recover,
    /// The producer is closed and everything has its outcome.
    End,
}

/// Why there is nothing to send.
enum Nothing {
    /// Before this time, unless something happens.
    Until(Option<Instant>),
    /// Ever.
    Ever,
}

impl<'a> Sender<'a> {
    fn new(
        shared: Arc<Shared>,
        partition: Arc<Partition>,
        (engine, detour): (&'a dyn Engine, Option<&'a dyn Detour>),
    ) -> Self {
        let config = &shared.config;
        let limit = match config.delivery {
            DeliveryMode::AtLeastOnce if config.detour.is_some() => config.max_in_flight,
            DeliveryMode::AtLeastOnce => config.max_in_flight.min(shared.capabilities.append_window.max(1)),
            // Nothing is sent again, so there is no order to lose.
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
            detour,
            target: shared.topic.partition(partition.index),
            window: VecDeque::new(),
            again: VecDeque::new(),
            ahead: Ahead::default(),
            limit,
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
                Next::End => return,
                Next::Recover => self.recover().await,
                Next::Wait(until) => {
                    self.wait(until, true).await;
                    if self.settle() {
                        self.recover().await;
                    }
                }
            }
        }
    }

    /// Whether failed batches are sent again.
    fn retries(&self) -> bool {
        self.shared.config.delivery == DeliveryMode::AtLeastOnce
    }

    /// Separates the appends from now on from those before. Without retries each append stands alone.
    pub(super) fn begin_epoch(&mut self) {
        self.epoch = if self.retries() { AppendEpoch::begin() } else { AppendEpoch::default() };
    }

    /// Whether the batches go through SmartModules before they are stored.
    pub(super) fn through_modules(&self) -> bool {
        self.shared.config.smartmodules.is_some()
    }

    /// Whether the engine can be asked for batches without an answer.
    pub(super) fn can_look(&self) -> bool {
        self.retries()
            && !self.through_modules()
            && self.shared.capabilities.offsets
            && !self.shared.capabilities.consuming_reads
    }

    /// Starts appends until the window is full, or nothing more is to be sent now.
    async fn fill(&mut self) -> Next {
        while self.window.len() < self.limit {
            let batch = match self.again.pop_front() {
                Some(batch) => batch,
                None => match self.upcoming() {
                    Ok(batch) => batch,
                    Err(Nothing::Until(until)) => return Next::Wait(until),
                    Err(Nothing::Ever) if self.window.is_empty() => return Next::End,
                    Err(Nothing::Ever) => return Next::Wait(None),
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
            if self.settled == Settled::Unasked && self.can_look() {
                self.ask_end(batch.deadline).await;
            }
            self.start(batch).await;
            if self.settle() {
                return Next::Recover;
            }
        }
        Next::Wait(None)
    }

    /// The next batch in order, encoded. Those behind it are being encoded as far as threads are free.
    fn upcoming(&mut self) -> Result<Batch, Nothing> {
        let until = loop {
            let hand = self.hand();
            if hand.is_none() && !self.ahead.is_empty() {
                break None;
            }
            let idle = self.window.is_empty() && self.ahead.is_empty();
            let closed = match self.partition.take(&self.shared.config, idle) {
                Found::Batch(closed) => closed,
                Found::Open(closed) => {
                    self.shared.leave(self.partition.index);
                    closed
                }
                Found::NothingUntil(until) => break until,
                Found::Finished if self.ahead.is_empty() => return Err(Nothing::Ever),
                Found::Finished => break None,
            };
            let mut batch = self.adopt(closed);
            if batch.deadline <= Instant::now() {
                batch.expire();
                continue;
            }
            let identity = self.identify(&batch);
            let alone = self.ahead.is_empty() && !self.partition.has_closed();
            match hand.filter(|_| !alone) {
                Some(hand) => {
                    if let Some(work) = batch.encoding(identity) {
                        self.ahead.push(batch, hand, work);
                    }
                }
                None => {
                    // Nothing is ahead: it would have been left in the queue otherwise.
                    batch.encode(identity);
                    return Ok(batch);
                }
            }
        };
        self.ahead.take(Instant::now()).ok_or(Nothing::Until(until))
    }

    /// Leave to have a batch encoded by another thread.
    fn hand(&self) -> Option<Hand> {
        let config = &self.shared.config;
        let compresses = config.compression.codec != Codec::None;
        compresses.then(|| ahead::hand(&self.shared.runtime, config.batch_size)).flatten()
    }

    fn adopt(&self, closed: ClosedBatch) -> Batch {
        Batch::new(&self.shared, &self.partition, closed)
    }

    /// Remembers where the partition ends before the first append, so that a lost answer can be looked for from there.
    async fn ask_end(&mut self, deadline: Instant) {
        let asked = timeout_at(deadline, self.engine.watermarks(self.target.clone())).await;
        self.settled = match asked {
            Ok(Ok(marks)) => Settled::Before(marks.high),
            // The whole partition is read then; slower, and still right.
            Ok(Err(_)) | Err(_) => Settled::Unknown,
        };
    }

    /// Gives the records of a batch their numbers.
    fn identify(&mut self, batch: &Batch) -> ProducerIdentity {
        let first_sequence = self.next_sequence;
        self.next_sequence = sequence_after(first_sequence, batch.records());
        ProducerIdentity { id: self.shared.producer_id, epoch: 0, first_sequence }
    }

    /// Starts an append. The engine orders appends by their first poll, so that happens here.
    async fn start(&mut self, mut batch: Batch) {
        let Some(encoded) = batch.encoded() else { return };
        let append = if let Some(detour) = self.detour {
            detour.append(encoded.clone())
        } else {
            let config = &self.shared.config;
            let mut request = AppendRequest::new(self.target.clone(), encoded.clone(), config.acks);
            request.epoch.clone_from(&self.epoch);
            request.smartmodules.clone_from(&config.smartmodules);
            self.engine.append(request)
        };
        batch.begin_attempt(&self.target);
        let epoch = self.epoch.clone();
        let mut entry = InFlight { batch, append: Some(append), result: None, epoch };
        poll_fn(|context| {
            // Whether it is done already shows in the result.
            let _ = entry.poll(context);
            Poll::Ready(())
        })
        .await;
        self.window.push_back(entry);
    }

    /// Waits until an append has an answer, there is work, or a time has come.
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
        let full = self.window.len() >= self.limit;
        let takes = for_work && !full;
        let ahead = self.ahead.deadline().filter(|_| takes);
        let deadline = [until, oldest, late, ahead].into_iter().flatten().min();
        let window = &mut self.window;
        let answer = poll_fn(|context| poll_window(window, context));
        let ahead = &mut self.ahead;
        let encoded = poll_fn(|context| ahead.poll_ready(context));
        let work = self.partition.work.notified();
        tokio::select! {
            biased;
            () = answer => {}
            () = encoded, if takes => {}
            () = work, if for_work => {}
            () = sleep_until(deadline.unwrap_or(now)), if deadline.is_some() => {}
        }
    }

    /// Hands out the outcomes that are there; true if something failed that must be sent again or looked for.
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
            let Some(entry) = self.window.remove(at) else { break };
            if matches!(entry.result, Some(Ok(_))) {
                self.window.iter_mut().take(at).for_each(|before| before.batch.overtaken = true);
            }
            match entry.result {
                None => entry.batch.expire(),
                // Those before it may have been appended before it and still be without an answer.
                Some(Ok(ack)) => self.acknowledge(entry.batch, ack.base_offset, at == 0),
                Some(Err(error)) => entry.batch.fail(error),
            }
        }
        failed
    }

    /// `settles`: nothing before it is without an answer.
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

/// Ready when an append that had no answer has one now.
fn poll_window(window: &mut VecDeque<InFlight<'_>>, context: &mut Context<'_>) -> Poll<()> {
    let mut answered = false;
    for entry in window {
        if entry.append.is_some() {
            answered |= entry.poll(context).is_ready();
        }
    }
    if answered { Poll::Ready(()) } else { Poll::Pending }
}

/// Sequences count records and wrap within the positive half of an i32.
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
