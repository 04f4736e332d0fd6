//! Compresses batches ahead of their turn, several at once.
//!
//! Compression is most of what a producer has to do, and one task compresses no faster than one processor. So batches
//! that wait behind each other are compressed on threads for blocking work, in the whole process as many at a time as
//! there are processors, and are sent in their order all the same. A batch that waits alone is compressed by its sender:
//! handing it over would only make it later.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    thread::available_parallelism,
};

use floe_wire::batch::EncodedBatch;
use futures_util::FutureExt;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinHandle},
    time::Instant,
};

use super::batch::Batch;
use crate::{Error, ErrorKind, Result};

/// Batches of fewer bytes are compressed sooner than another thread wakes up.
const WORTH_A_THREAD: usize = 16 * 1024;

/// The right to compress on another thread.
pub(super) type EncodePermit = OwnedSemaphorePermit;

/// The batches of one sender that were taken and not sent yet, in order.
#[derive(Debug, Default)]
pub(super) struct EncodeQueue {
    queue: VecDeque<EncodingBatch>,
}

#[derive(Debug)]
struct EncodingBatch {
    batch: Batch,
    /// `None` once it is compressed.
    work: Option<JoinHandle<Result<EncodedBatch>>>,
}

impl EncodingBatch {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(work) = &mut self.work {
            let outcome = std::task::ready!(Pin::new(work).poll(context));
            self.work = None;
            self.batch.set_encoded(outcome.unwrap_or_else(|problem| Err(broke_off(&problem))));
        }
        Poll::Ready(())
    }
}

impl EncodeQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Has a batch compressed by another thread.
    pub(super) fn push(
        &mut self,
        batch: Batch,
        hand: EncodePermit,
        work: impl FnOnce() -> Result<EncodedBatch> + Send + 'static,
    ) {
        let work = tokio::task::spawn_blocking(move || {
            let outcome = work();
            drop(hand);
            outcome
        });
        self.queue.push_back(EncodingBatch { batch, work: Some(work) });
    }

    /// The first batch, if it is compressed or its time is over.
    pub(super) fn take(&mut self, now: Instant) -> Option<Batch> {
        let first = self.queue.front_mut()?;
        let ready = poll_fn(|context| first.poll(context)).now_or_never().is_some();
        if !ready && first.batch.deadline > now {
            return None;
        }
        let EncodingBatch { batch, work } = self.queue.pop_front()?;
        if let Some(work) = work {
            work.abort();
        }
        Some(batch)
    }

    /// When the time of the first batch is over, whoever compresses it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.queue.front().map(|first| first.batch.deadline)
    }

    /// Ready when the first batch is compressed.
    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.queue.front_mut() {
            Some(first) => first.poll(context),
            None => Poll::Pending,
        }
    }
}

/// Leave to compress on another thread, if one is free and it is worth it for batches of this size.
///
/// Never on a runtime of one thread: who chose that wants one thing to happen after the other.
pub(super) fn permit(runtime: &Handle, batch_bytes: usize) -> Option<EncodePermit> {
    static HANDS: OnceLock<Arc<Semaphore>> = OnceLock::new();
    if batch_bytes < WORTH_A_THREAD || runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
        return None;
    }
    let hands = HANDS.get_or_init(|| {
        let processors = available_parallelism().map_or(1, std::num::NonZero::get);
        // With a single processor there is nothing to gain.
        Arc::new(Semaphore::new(if processors > 1 { processors } else { 0 }))
    });
    Arc::clone(hands).try_acquire_owned().ok()
}

fn broke_off(problem: &JoinError) -> Error {
    if problem.is_panic() {
        Error::new(ErrorKind::SerializationError, "encoding the batch panicked")
    } else {
        Error::new(ErrorKind::Closed, "the runtime ended while the batch was encoded")
    }
}
