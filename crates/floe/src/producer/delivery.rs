//! What became of a record: one shared outcome for a batch, and a small future for each record in it.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use super::unreported_failures::UnreportedFailures;
use crate::Result;

/// Where a record is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordMetadata {
    /// The partition it was appended to.
    pub partition: u32,
    /// Its offset there; `None` where records have no offsets, or no answer was asked for.
    pub offset: Option<i64>,
    /// Its time, milliseconds since the Unix epoch.
    pub timestamp: i64,
}

/// The outcome of a batch, shared by the records in it, so that a record costs no allocation and an acknowledgement
/// no walk over the records.
pub(super) struct BatchState {
    pub(super) partition: u32,
    /// The base offset, once acknowledged, or why it was not.
    outcome: OnceLock<Result<Option<i64>>>,
    waiting: Mutex<Vec<Waker>>,
    unreported: Arc<UnreportedFailures>,
    /// The page of the unreported that the failure was entered on, and how many records were seen to have failed.
    pub(super) entry: Mutex<FailureEntry>,
}

/// See [`BatchState::entry`]; changed only by the unreported, under its lock.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct FailureEntry {
    pub(super) page: Option<u64>,
    pub(super) observed: u64,
}

impl BatchState {
    pub(super) fn new(partition: u32, unreported: Arc<UnreportedFailures>) -> Self {
        Self {
            partition,
            outcome: OnceLock::new(),
            waiting: Mutex::default(),
            unreported,
            entry: Mutex::default(),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.outcome.get().is_some()
    }

    pub(super) fn outcome(&self) -> Option<&Result<Option<i64>>> {
        self.outcome.get()
    }

    /// Sets the outcome and wakes whoever waits for it. The first outcome stays.
    pub(super) fn complete(&self, outcome: Result<Option<i64>>) {
        if self.outcome.set(outcome).is_err() {
            return;
        }
        let waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.into_iter().for_each(Waker::wake);
    }

    fn poll_done(&self, context: &Context<'_>) -> Poll<&Result<Option<i64>>> {
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        let mut waiting = self.waiting.lock();
        // Between the look above and the lock it may have been completed, with nobody left to wake us.
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
    pub(super) async fn done(&self) -> &Result<Option<i64>> {
        std::future::poll_fn(|context| self.poll_done(context)).await
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
/// Dropping it takes nothing back: the record is sent all the same, and if it fails with nobody looking, the next
/// flush or close reports it.
///
/// # Cancel safety
/// Awaiting `&mut delivery` can be given up and taken up again.
///
/// # Errors
/// Why the record was not acknowledged; see [`crate::producer::Producer::send`].
#[must_use = "await it to learn the outcome; a failure that nobody looks at is reported by the next flush"]
#[derive(Debug)]
pub struct Delivery {
    pub(super) state: Arc<BatchState>,
    pub(super) index: u32,
    pub(super) timestamp: i64,
    /// A failure was handed out already; polling again must not count it twice.
    pub(super) observed: bool,
}

impl Delivery {
    pub(super) fn new(state: Arc<BatchState>, index: u32, timestamp: i64) -> Self {
        Self { state, index, timestamp, observed: false }
    }

    /// The partition that the record goes to.
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
                    this.state.unreported.observe(&this.state, 1);
                }
                Err(error.clone())
            }
        })
    }
}

/// A partition, and the offset after the last record of some, where records have offsets.
pub(crate) type End = (u32, Option<i64>);

/// The outcomes of many records, to be awaited or not, in the order in which the records were given.
///
/// Dropping it takes nothing back, as with [`Delivery`].
///
/// # Cancel safety
/// Awaiting `&mut deliveries` can be given up and taken up again.
///
/// # Errors
/// Why the first record that was not acknowledged was not; the others have their outcome by then as well.
#[must_use = "await it to learn the outcomes; failures that nobody looks at are reported by the next flush"]
#[derive(Debug, Default)]
pub struct Deliveries {
    /// Those without an outcome so far.
    waiting: VecDeque<Run>,
    placed: Vec<RecordMetadata>,
    /// See [`Deliveries::ends`].
    ends: Vec<End>,
    failed: Option<crate::Error>,
    len: usize,
}

/// Neighbours in a batch with the same time: they cost one reference, however many they are.
#[derive(Debug)]
struct Run {
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
        self.waiting.push_back(Run { state: Arc::clone(state), first: index, count: 1, timestamp });
    }

    /// Adds the outcome of a record that was buffered by itself.
    pub(crate) fn push_one(&mut self, one: &Delivery) {
        self.add(one);
    }

    pub(super) fn add(&mut self, one: &Delivery) {
        self.push(&one.state, one.index, one.timestamp);
    }

    /// Adds the records of a batch that was buffered as a whole.
    pub(super) fn push_whole(&mut self, state: Arc<BatchState>, count: u32) {
        self.len += count as usize;
        self.waiting.push_back(Run { state, first: 0, count, timestamp: -1 });
    }

    /// Waits for all of them as the future does, and tells for each batch its partition and the offset after its last
    /// record here, where records have offsets. Can be given up and taken up again.
    pub(crate) async fn ends(&mut self) -> Result<Vec<End>> {
        std::future::poll_fn(|context| self.poll_ends(context)).await
    }

    fn poll_ends(&mut self, context: &mut Context<'_>) -> Poll<Result<Vec<End>>> {
        while let Some(run) = self.waiting.front() {
            match std::task::ready!(run.state.poll_done(context)) {
                Ok(base) => {
                    let after = i64::from(run.first) + i64::from(run.count);
                    self.ends.push((run.state.partition, base.map(|base| base.saturating_add(after))));
                }
                Err(error) => {
                    run.state.unreported.observe(&run.state, run.count);
                    self.failed.get_or_insert_with(|| error.clone());
                }
            }
            self.waiting.pop_front();
        }
        Poll::Ready(match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut self.ends)),
        })
    }

    /// How many records they are of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether they are of no record at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Run {
    fn placed(&self, base_offset: Option<i64>) -> impl Iterator<Item = RecordMetadata> {
        let (partition, timestamp) = (self.state.partition, self.timestamp);
        (self.first..self.first + self.count).map(move |index| RecordMetadata {
            partition,
            offset: base_offset.map(|base| base.saturating_add(i64::from(index))),
            timestamp,
        })
    }
}

impl Future for Deliveries {
    type Output = Result<Vec<RecordMetadata>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        while let Some(run) = this.waiting.front() {
            match std::task::ready!(run.state.poll_done(context)) {
                Ok(base_offset) => this.placed.extend(run.placed(*base_offset)),
                Err(error) => {
                    run.state.unreported.observe(&run.state, run.count);
                    this.failed.get_or_insert_with(|| error.clone());
                }
            }
            this.waiting.pop_front();
        }
        Poll::Ready(match this.failed.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut this.placed)),
        })
    }
}
