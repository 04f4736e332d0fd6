//! Compresses several batches in parallel, ahead of their turn.
//!
//! Compression is most of the work of a producer, and one task compresses no faster than one processor. Batches that wait
//! behind each other are therefore compressed on blocking threads, in the whole process at most as many at a time as there
//! are processors, and are still sent in order. The sender compresses a batch that waits alone: a handover would only delay
//! it.

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

/// Smaller batches are compressed faster than another thread wakes up.
const WORTH_A_THREAD: usize = 16 * 1024;

/// The permit to compress a batch on another thread.
pub(super) type EncodePermit = OwnedSemaphorePermit;

/// The batches of one sender that were taken and not sent yet, in order.
#[derive(Debug, Default)]
pub(super) struct EncodeQueue {
    queue: VecDeque<EncodingBatch>,
}

#[derive(Debug)]
struct EncodingBatch {
    batch: Batch,
    /// `None` once the batch is compressed.
    work: Option<JoinHandle<Result<EncodedBatch>>>,
}

impl EncodingBatch {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(work) = &mut self.work {
            let outcome = std::task::ready!(Pin::new(work).poll(context));
            self.work = None;
            self.batch.set_encoded(outcome.unwrap_or_else(|problem| Err(encoding_error(&problem))));
        }
        Poll::Ready(())
    }
}

impl EncodeQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Compresses a batch on another thread.
    pub(super) fn push(
        &mut self,
        batch: Batch,
        permit: EncodePermit,
        work: impl FnOnce() -> Result<EncodedBatch> + Send + 'static,
    ) {
        let work = tokio::task::spawn_blocking(move || {
            let outcome = work();
            drop(permit);
            outcome
        });
        self.queue.push_back(EncodingBatch { batch, work: Some(work) });
    }

    /// Takes the first batch, if it is compressed or its deadline has passed.
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

    /// The deadline of the first batch.
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

/// Returns a permit to compress on another thread, if one is free and batches of this size are worth it.
///
/// A runtime with one thread gets none: programs choose it to run everything in sequence.
pub(super) fn permit(runtime: &Handle, batch_bytes: usize) -> Option<EncodePermit> {
    static PERMITS: OnceLock<Arc<Semaphore>> = OnceLock::new();
    if batch_bytes < WORTH_A_THREAD || runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
        return None;
    }
    let permits = PERMITS.get_or_init(|| {
        let processors = available_parallelism().map_or(1, std::num::NonZero::get);
        // With a single processor there is nothing to gain.
        Arc::new(Semaphore::new(if processors > 1 { processors } else { 0 }))
    });
    Arc::clone(permits).try_acquire_owned().ok()
}

fn encoding_error(problem: &JoinError) -> Error {
    if problem.is_panic() {
        Error::new(ErrorKind::SerializationError, "the encoding of the batch panicked")
    } else {
        Error::new(ErrorKind::Closed, "the runtime shut down while the batch was encoded")
    }
}
