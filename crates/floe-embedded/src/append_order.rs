//! Keeps appends in the order in which they were started while their partition is being opened.
//!
//! An open partition takes an append at once. If the partition must be opened first, the append waits in a queue, and
//! later appends to the partition join that queue.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::{AtomicUsize, Ordering},
};

use floe_core::topic::TopicPartition;
use tokio::sync::{Mutex, MutexGuard};

/// Number of queues that all partitions share: enough that opening one seldom delays appends to others.
const QUEUES: usize = 64;

/// The append queues of all partitions.
#[derive(Debug)]
pub(super) struct AppendOrder {
    queues: Vec<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Appends that wait for their turn or have it.
    present: AtomicUsize,
    /// Tokio's mutex is fair: turns are taken first come, first served.
    turn: Mutex<()>,
}

/// Membership of one append in a queue, until it is dropped.
#[derive(Debug)]
pub(super) struct QueuePosition<'a> {
    queue: &'a Queue,
}

impl AppendOrder {
    pub(super) fn new() -> Self {
        Self { queues: (0..QUEUES).map(|_| Queue::default()).collect() }
    }

    fn queue(&self, of: &TopicPartition) -> Option<&Queue> {
        let mut hasher = DefaultHasher::new();
        of.hash(&mut hasher);
        self.queues.get(hasher.finish() as usize % QUEUES)
    }

    /// Whether no append to this partition waits, so that the next one may proceed at once.
    pub(super) fn is_free(&self, of: &TopicPartition) -> bool {
        self.queue(of).is_none_or(|queue| queue.present.load(Ordering::Acquire) == 0)
    }

    /// Joins the queue of a partition. Until the position is dropped, [`AppendOrder::is_free`] is false.
    pub(super) fn join(&self, of: &TopicPartition) -> Option<QueuePosition<'_>> {
        let queue = self.queue(of)?;
        queue.present.fetch_add(1, Ordering::AcqRel);
        Some(QueuePosition { queue })
    }
}

impl QueuePosition<'_> {
    /// Waits for the turn. The order is that of the first polls.
    ///
    /// # Cancel safety
    /// Dropping the future or the guard passes the turn to the next append.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.queue.turn.lock().await
    }
}

impl Drop for QueuePosition<'_> {
    fn drop(&mut self) {
        self.queue.present.fetch_sub(1, Ordering::AcqRel);
    }
}
