//! Queues of records that are handled one after the other: one queue for each key or partition in use.

use std::{
    collections::{HashMap, VecDeque, hash_map},
    hash::BuildHasher,
};

use super::{exact::Slot, settings::Order};
use crate::{Message, retry::Retries};

/// A record that was read and is not done. Boxed, because it is large and moves between queues.
#[derive(Debug)]
pub(super) struct PendingRecord {
    pub(super) message: Message,
    /// Attempts begun.
    pub(super) attempts: u32,
    /// Queue that the record blocks until its attempts end.
    pub(super) queue: Option<u64>,
    /// Present after the first failure.
    pub(super) retries: Option<Retries>,
    /// Place in the order of its partition, of a record that is handled exactly once.
    pub(super) slot: Option<Slot>,
}

/// Records that wait for an attempt. A queue exists as long as one of its records is being handled.
#[derive(Debug)]
pub(super) struct KeyQueues {
    order: Order,
    hasher: std::hash::RandomState,
    blocked: HashMap<u64, VecDeque<Box<PendingRecord>>>,
    /// Records that no other record blocks.
    ready: VecDeque<Box<PendingRecord>>,
}

impl KeyQueues {
    pub(super) fn new(order: Order) -> Self {
        Self { order, hasher: std::hash::RandomState::new(), blocked: HashMap::new(), ready: VecDeque::new() }
    }

    /// Adds a record that was just read.
    pub(super) fn push(&mut self, message: Message, slot: Option<Slot>) {
        let queue = self.queue_of(&message);
        let record = Box::new(PendingRecord { message, attempts: 0, queue, retries: None, slot });
        let Some(queue) = queue else {
            self.ready.push_back(record);
            return;
        };
        match self.blocked.entry(queue) {
            hash_map::Entry::Occupied(mut waiting) => waiting.get_mut().push_back(record),
            hash_map::Entry::Vacant(free) => {
                free.insert(VecDeque::new());
                self.ready.push_back(record);
            }
        }
    }

    /// Returns the queue of a record. Keys with equal hashes share a queue and wait for each other, which is harmless.
    fn queue_of(&self, message: &Message) -> Option<u64> {
        match (self.order, &message.key) {
            (Order::PerKey, Some(key)) => Some(self.hasher.hash_one((message.partition, key))),
            (Order::PerPartition, _) => Some(u64::from(message.partition)),
            (Order::PerKey, None) | (Order::Unordered, _) => None,
        }
    }

    /// Removes the next record that may begin.
    pub(super) fn pop(&mut self) -> Option<Box<PendingRecord>> {
        self.ready.pop_front()
    }

    /// Adds a record whose retry is due, before the records that have not begun.
    pub(super) fn push_retry(&mut self, record: Box<PendingRecord>) {
        self.ready.push_front(record);
    }

    /// Unblocks the next record of a queue.
    pub(super) fn release(&mut self, queue: Option<u64>) {
        let Some(queue) = queue else { return };
        let hash_map::Entry::Occupied(mut waiting) = self.blocked.entry(queue) else { return };
        match waiting.get_mut().pop_front() {
            Some(next) => self.ready.push_back(next),
            None => drop(waiting.remove()),
        }
    }
}
