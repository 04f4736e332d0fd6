//! Outcomes of records: one shared outcome for a batch, and a small future for each record in it.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use super::unreported_failures::{FailedBatch, FailureProgress, UnreportedFailures};
use crate::{
    Error, Result,
    history::{SendCall, SendCalls},
    topic::TopicPartition,
};

/// The position of an acknowledged record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RecordMetadata {
    /// The partition it was appended to.
    pub partition: u32,
    /// Its offset there; `None` where records have no offsets, or with [`Acks::None`](crate::engine::Acks::None).
    pub offset: Option<i64>,
    /// Its timestamp, milliseconds since the Unix epoch.
    pub timestamp: i64,
}

/// The outcome of a batch, as [`ProducerBuilder::on_delivery`](super::ProducerBuilder::on_delivery) reports it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BatchOutcome {
    /// The partition it was meant for.
    pub target: TopicPartition,
    /// Number of records.
    pub records: u32,
    /// Size in bytes as sent; 0 if it was never encoded.
    pub bytes: usize,
    /// Number of attempts to send it.
    pub attempts: u32,
    /// Offset of its first record, where records have offsets; or why it was not acknowledged.
    pub result: Result<Option<i64>>,
}

/// The outcome of a batch, shared by the records in it. A record therefore costs no allocation, and an acknowledgement
/// no walk over the records.
pub(super) struct BatchState {
    pub(super) partition: u32,
    /// The base offset, once acknowledged, or the error.
    outcome: OnceLock<Result<Option<i64>>>,
    waiting: Mutex<Vec<Waker>>,
    unreported: Arc<UnreportedFailures>,
    progress: FailureProgress,
    /// Records whose outcome goes to a history.
    calls: SendCalls,
}

impl BatchState {
    pub(super) fn new(partition: u32, unreported: Arc<UnreportedFailures>) -> Self {
        Self {
            partition,
            outcome: OnceLock::new(),
            waiting: Mutex::default(),
            unreported,
            progress: FailureProgress::default(),
            calls: SendCalls::default(),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.outcome.get().is_some()
    }

    /// Sets the outcome and wakes the tasks that wait for it. The first outcome stays. Call
    /// [`BatchState::count_failure`] before.
    pub(super) fn complete(&self, outcome: Result<Option<i64>>) {
        if !self.is_done() {
            // Before the outcome is known: the application may go on at once.
            self.calls.end(self.partition, &outcome);
        }
        if self.outcome.set(outcome).is_err() {
            return;
        }
        if let Some(outcome) = self.outcome.get() {
            // Sends that were added in between.
            self.calls.end(self.partition, outcome);
        }
        let waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Counts all records of the batch as failed and unobserved.
    pub(super) fn count_failure(&self, records: u32, error: &Error) {
        let Self { partition, progress, .. } = self;
        self.unreported.add(FailedBatch { partition: *partition, records, error, progress });
    }

    /// The batch, if it failed; `records`: how many it has.
    pub(super) fn failure(&self, records: u32) -> Option<FailedBatch<'_>> {
        let error = self.outcome.get()?.as_ref().err()?;
        Some(FailedBatch { partition: self.partition, records, error, progress: &self.progress })
    }

    /// Marks failed records as observed by the owner of their deliveries.
    fn observe_failure(&self, records: u32) {
        self.unreported.observe(self.partition, &self.progress, records);
    }

    fn poll_done(&self, context: &Context<'_>) -> Poll<&Result<Option<i64>>> {
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        let mut waiting = self.waiting.lock();
        // `complete` may have run between the check above and the lock; its wake-ups are over then.
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        // A task that awaits many records of a batch one after the other registers once.
        if !waiting.iter().rev().take(4).any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Waits for the outcome.
    pub(super) async fn done(&self) {
        std::future::poll_fn(|context| self.poll_done(context).map(|_| ())).await;
    }
}

impl fmt::Debug for BatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchState")
            .field("partition", &self.partition)
            .field("outcome", &self.outcome.get())
            .finish_non_exhaustive()
    }
}

/// The outcome of one record, to be awaited or not.
///
/// Dropping it does not cancel the record: the record is sent all the same, and the next flush or close reports its
/// failure.
///
/// # Cancel safety
/// Awaiting `&mut delivery` can be interrupted and resumed.
///
/// # Errors
/// The reason why the record was not acknowledged; see [`crate::producer::Producer::send`].
#[must_use = "await it to learn the outcome; the next flush reports a failure that was not observed"]
#[derive(Debug)]
pub struct Delivery {
    state: Arc<BatchState>,
    index: u32,
    timestamp: i64,
    /// The failure was handed out; polling again must not count it again.
    observed: bool,
}

impl Delivery {
    pub(super) fn new(state: Arc<BatchState>, index: u32, timestamp: i64) -> Self {
        Self { state, index, timestamp, observed: false }
    }

    /// Gives the outcome of the record to a history.
    pub(super) fn record(&self, call: SendCall) {
        let Self { state, index, .. } = self;
        state.calls.add(call, (state.partition, *index), || state.outcome.get());
    }

    /// Returns the partition that the record goes to.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.state.partition
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let outcome = std::task::ready!(this.state.poll_done(context));
        Poll::Ready(match outcome {
            Ok(base_offset) => Ok(RecordMetadata {
                partition: this.state.partition,
                offset: base_offset.map(|base| base.saturating_add(i64::from(this.index))),
                timestamp: this.timestamp,
            }),
            Err(error) => {
                if !std::mem::replace(&mut this.observed, true) {
                    this.state.observe_failure(1);
                }
                Err(error.clone())
            }
        })
    }
}

/// A partition, and the offset after the last record of a run, where records have offsets.
pub(crate) type End = (u32, Option<i64>);

/// The outcomes of many records, to be awaited or not, in the order in which the records were given.
///
/// Dropping it does not cancel the records, as with [`Delivery`].
///
/// # Cancel safety
/// Awaiting `&mut deliveries` can be interrupted and resumed.
///
/// # Errors
/// The error of the first record that was not acknowledged; all the others have their outcome by then.
#[must_use = "await it to learn the outcomes; the next flush reports failures that were not observed"]
#[derive(Debug, Default)]
pub struct Deliveries {
    /// Runs without an outcome so far.
    waiting: VecDeque<RecordRun>,
    acknowledged: Vec<RecordMetadata>,
    /// See [`Deliveries::ends`].
    ends: Vec<End>,
    failed: Option<Error>,
    len: usize,
}

/// Consecutive records of a batch with the same timestamp: they cost one reference, however many they are.
#[derive(Debug)]
struct RecordRun {
    state: Arc<BatchState>,
    first: u32,
    count: u32,
    timestamp: i64,
}

impl Deliveries {
    /// Adds the record that was appended to a batch last.
    #[inline]
    pub(super) fn push(&mut self, state: &Arc<BatchState>, index: u32, timestamp: i64) {
        self.len += 1;
        if let Some(last) = self.waiting.back_mut()
            && last.first + last.count == index
            && last.timestamp == timestamp
            && Arc::ptr_eq(&last.state, state)
        {
            last.count += 1;
            return;
        }
        self.waiting.push_back(RecordRun { state: Arc::clone(state), first: index, count: 1, timestamp });
    }

    /// Adds a record that was buffered alone.
    pub(crate) fn push_one(&mut self, one: &Delivery) {
        self.push(&one.state, one.index, one.timestamp);
    }

    /// Adds the records of a batch that was buffered as a whole.
    pub(super) fn push_whole(&mut self, state: Arc<BatchState>, count: u32) {
        self.len += count as usize;
        self.waiting.push_back(RecordRun { state, first: 0, count, timestamp: -1 });
    }

    /// Waits for all records as the future does, and returns for each batch its partition and the offset after its last
    /// record here, where records have offsets. Can be interrupted and resumed.
    pub(crate) async fn ends(&mut self) -> Result<Vec<End>> {
        std::future::poll_fn(|context| {
            let Self { waiting, ends, failed, .. } = self;
            let done = poll_runs(waiting, failed, context, |run, base| {
                let after = i64::from(run.first) + i64::from(run.count);
                ends.push((run.state.partition, base.map(|base| base.saturating_add(after))));
            });
            done.map_ok(|()| std::mem::take(ends))
        })
        .await
    }

    /// Returns the number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl RecordRun {
    fn metadata(&self, base_offset: Option<i64>) -> impl Iterator<Item = RecordMetadata> {
        let (partition, timestamp) = (self.state.partition, self.timestamp);
        (self.first..self.first + self.count).map(move |index| RecordMetadata {
            partition,
            offset: base_offset.map(|base| base.saturating_add(i64::from(index))),
            timestamp,
        })
    }
}

/// Waits for the outcome of each run, in order. Gives the acknowledged ones to `acknowledged`, and returns the first
/// error once all have an outcome.
fn poll_runs(
    waiting: &mut VecDeque<RecordRun>,
    failed: &mut Option<Error>,
    context: &Context<'_>,
    mut acknowledged: impl FnMut(&RecordRun, Option<i64>),
) -> Poll<Result<()>> {
    while let Some(run) = waiting.front() {
        match std::task::ready!(run.state.poll_done(context)) {
            Ok(base_offset) => acknowledged(run, *base_offset),
            Err(error) => {
                run.state.observe_failure(run.count);
                failed.get_or_insert_with(|| error.clone());
            }
        }
        waiting.pop_front();
    }
    Poll::Ready(failed.take().map_or(Ok(()), Err))
}

impl Future for Deliveries {
    type Output = Result<Vec<RecordMetadata>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { waiting, acknowledged, failed, .. } = self.get_mut();
        let done = poll_runs(waiting, failed, context, |run, base| acknowledged.extend(run.metadata(base)));
        done.map_ok(|()| std::mem::take(acknowledged))
    }
}
