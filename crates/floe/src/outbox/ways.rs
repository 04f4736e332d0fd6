//! The two ways of a batch: into the local log, or straight to the cluster, held in memory until that has it.
//!
//! ```text
//!  local producer ──► Ways ──► local log ──► session ──► cluster
//!                      └─────► held ────────►┘
//! ```
//!
//! All batches go the same way at a time, and they turn together. To the straight way: when everything in the log is
//! delivered, while nobody may append. Back: what is held is written to the log before anything later, with the numbers
//! that it was sent with, so that the next session finds out which of it the cluster has after all.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use floe_log::Partition;
use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, OwnedMutexGuard, oneshot},
    time::Instant,
};

use crate::{Effect, Error, ErrorKind, Result, engine::AppendAck, producer::Detour};

/// Whoever has it decides where batches go, and nobody else appends meanwhile.
pub(super) type Turn = OwnedMutexGuard<()>;

/// See the module.
pub(super) struct Ways {
    log: Arc<Partition>,
    /// How long the cluster may take before what is held goes into the log.
    pub(super) patience: Duration,
    turn: Arc<tokio::sync::Mutex<()>>,
    inner: Mutex<Inner>,
    /// Something is held.
    news: Notify,
}

#[derive(Debug)]
struct Inner {
    way: Way,
    /// What the cluster is not known to have, without a gap.
    held: VecDeque<Held>,
    /// Number of the next record to be held.
    next: i64,
    /// Batches that have begun so far.
    begun: u64,
    /// The batches begun up to this one fail: one before them did.
    failed: Option<(u64, Error)>,
}

#[derive(Debug)]
enum Way {
    Log,
    Straight,
    /// What is held must be written to the log before anything else, and cannot be.
    Stuck(Error),
}

#[derive(Debug)]
struct Held {
    batch: EncodedBatch,
    done: oneshot::Sender<Result<AppendAck>>,
    since: Instant,
}

impl Detour for Ways {
    fn append(&self, batch: EncodedBatch) -> BoxFuture<'_, Result<AppendAck>> {
        Box::pin(self.append_batch(batch))
    }
}

impl Ways {
    pub(super) fn new(log: Arc<Partition>, patience: Duration) -> Self {
        let inner = Inner { way: Way::Log, held: VecDeque::new(), next: 0, begun: 0, failed: None };
        Self { log, patience, turn: Arc::default(), inner: Mutex::new(inner), news: Notify::new() }
    }

    async fn append_batch(&self, batch: EncodedBatch) -> Result<AppendAck> {
        let number = {
            let mut inner = self.inner.lock();
            inner.begun += 1;
            inner.begun
        };
        // First come, first served.
        let turn = self.turn.lock().await;
        let held = {
            let mut inner = self.inner.lock();
            if let Some((until, error)) = &inner.failed
                && number <= *until
            {
                return Err(error.clone());
            }
            match &inner.way {
                Way::Stuck(error) => return Err(error.clone()),
                Way::Straight => Some(inner.hold(batch.clone())),
                Way::Log => None,
            }
        };
        if let Some(outcome) = held {
            drop(turn);
            self.news.notify_one();
            return outcome.await.unwrap_or_else(|_| Err(lost()));
        }
        let written = write(&self.log, batch).await;
        if let Err(error) = &written {
            // Those that have begun behind it must not overtake it when it is sent again.
            let mut inner = self.inner.lock();
            inner.failed = Some((inner.begun, error.clone()));
        }
        drop(turn);
        written
    }

    /// Waits until nobody appends, and keeps it so.
    pub(super) fn turn(&self) -> impl Future<Output = Turn> + Send + use<> {
        Arc::clone(&self.turn).lock_owned()
    }

    pub(super) fn is_straight(&self) -> bool {
        !matches!(self.inner.lock().way, Way::Log)
    }

    /// Why what is held cannot be written down, if that was tried in vain.
    pub(super) fn stuck(&self) -> Option<Error> {
        match &self.inner.lock().way {
            Way::Stuck(error) => Some(error.clone()),
            Way::Log | Way::Straight => None,
        }
    }

    /// From now on batches are held, the first record under this number.
    pub(super) fn go_straight(&self, _turn: &Turn, next: i64) {
        let mut inner = self.inner.lock();
        (inner.way, inner.next) = (Way::Straight, next);
    }

    /// Waits for the batch that begins with this record.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub(super) async fn held(&self, number: i64) -> EncodedBatch {
        loop {
            // One that is told and not awaited yet is remembered.
            let news = self.news.notified();
            if let Some(batch) = self.inner.lock().held_at(number) {
                return batch;
            }
            news.await;
        }
    }

    /// The cluster has everything before this record.
    pub(super) fn delivered(&self, next: i64) {
        let mut inner = self.inner.lock();
        while inner.held.front().is_some_and(|held| held.batch.next_offset() <= next) {
            if let Some(held) = inner.held.pop_front() {
                // Whoever waited for it may be gone.
                let _ = held.done.send(Ok(AppendAck { base_offset: None }));
            }
        }
    }

    /// When the patience with the oldest batch ends.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.inner.lock().held.front().and_then(|oldest| oldest.since.checked_add(self.patience))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inner.lock().held.is_empty()
    }

    pub(super) fn records(&self) -> u64 {
        let inner = self.inner.lock();
        let first = inner.first();
        u64::try_from(inner.next - first).unwrap_or(0)
    }

    /// Number of the first record that is held, or else of the next one.
    pub(super) fn first(&self) -> i64 {
        self.inner.lock().first()
    }

    /// Writes what is held to the log, and goes through the log from then on. If that fails, it must be tried again; until
    /// then no batch is taken.
    pub(super) async fn write_down(&self, _turn: &Turn) -> Result<()> {
        loop {
            let oldest = self.inner.lock().held.front().map(|held| held.batch.clone());
            let Some(batch) = oldest else {
                self.inner.lock().way = Way::Log;
                return Ok(());
            };
            let appended = match write(&self.log, batch).await {
                Ok(appended) => appended,
                Err(error) => {
                    self.stick(&error);
                    return Err(error);
                }
            };
            if let Some(held) = self.inner.lock().held.pop_front() {
                let _ = held.done.send(Ok(appended));
            }
        }
    }

    /// Refuses batches until what is held is written down.
    pub(super) fn stick(&self, error: &Error) {
        let mut inner = self.inner.lock();
        inner.failed = Some((inner.begun, error.clone()));
        inner.way = Way::Stuck(error.clone());
    }

    /// Gives up what is held.
    pub(super) fn give_up(&self, error: &Error) {
        let error = error.clone().with_effect(Effect::Unknown).with_retriable(false);
        let mut inner = self.inner.lock();
        for held in inner.held.drain(..) {
            let _ = held.done.send(Err(error.clone()));
        }
        inner.way = Way::Log;
    }
}

impl Inner {
    fn hold(&mut self, batch: EncodedBatch) -> oneshot::Receiver<Result<AppendAck>> {
        let (done, outcome) = oneshot::channel();
        let batch = batch.with_base_offset(self.next);
        self.next = batch.next_offset();
        self.held.push_back(Held { batch, done, since: Instant::now() });
        outcome
    }

    fn held_at(&self, number: i64) -> Option<EncodedBatch> {
        let at = self.held.partition_point(|held| held.batch.base_offset() < number);
        self.held.get(at).map(|held| held.batch.clone())
    }

    fn first(&self) -> i64 {
        self.held.front().map_or(self.next, |oldest| oldest.batch.base_offset())
    }
}

async fn write(log: &Arc<Partition>, batch: EncodedBatch) -> Result<AppendAck> {
    let (done, outcome) = oneshot::channel();
    log.submit(batch, move |result| drop(done.send(result)));
    match outcome.await {
        Ok(Ok(appended)) => Ok(AppendAck { base_offset: Some(appended.base_offset) }),
        Ok(Err(error)) => Err(floe_embedded::log_error(error)),
        Err(_) => Err(lost()),
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Closed, "the outbox ended")
}

impl fmt::Debug for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ways").field("patience", &self.patience).finish_non_exhaustive()
    }
}
