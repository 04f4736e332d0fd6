//! Keeps appends in the order in which they were begun while their partition is being opened.
//!
//! An open partition takes an append at once. One that must be opened first does not, and appends behind it must wait
//! for it: whoever finds such a queue joins it.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::{AtomicUsize, Ordering},
};

use floe_core::topic::TopicPartition;
use tokio::sync::{Mutex, MutexGuard};

/// Partitions share this many queues: enough that opening one seldom holds up others.
const QUEUES: usize = 64;

/// The queues of all partitions.
#[derive(Debug)]
pub(super) struct Turns {
    queues: Vec<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Those who wait for their turn, and the one who has it.
    present: AtomicUsize,
    /// Hands out turns first come, first served.
    turn: Mutex<()>,
}

/// A place in a queue; left when dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    queue: &'a Queue,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { queues: (0..QUEUES).map(|_| Queue::default()).collect() }
    }

    fn queue(&self, of: &TopicPartition) -> Option<&Queue> {
        let mut hasher = DefaultHasher::new();
        of.hash(&mut hasher);
        self.queues.get(hasher.finish() as usize % QUEUES)
    }

    /// Whether an append to this partition may go ahead without waiting for others.
    pub(super) fn is_free(&self, of: &TopicPartition) -> bool {
        self.queue(of).is_none_or(|queue| queue.present.load(Ordering::Acquire) == 0)
    }

    /// Joins the queue. Those who come from now on find it occupied.
    pub(super) fn join(&self, of: &TopicPartition) -> Option<Place<'_>> {
        let queue = self.queue(of)?;
        queue.present.fetch_add(1, Ordering::AcqRel);
        Some(Place { queue })
    }
}

impl Place<'_> {
    /// Waits for the turn; the order is that of the first polls.
    ///
    /// # Cancel safety
    /// Dropped, the turn goes to the next one.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.queue.turn.lock().await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.present.fetch_sub(1, Ordering::AcqRel);
    }
}
