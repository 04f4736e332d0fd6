//! Which records must wait for others: those of a lane are handled one after the other.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::BuildHasher,
};

use super::Order;
use crate::{Message, retry::Retries};

/// A record on its way through the processor. Boxed, since it is large and moves from queue to queue.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) message: Message,
    /// Attempts begun.
    pub(super) attempts: u32,
    /// What it keeps others waiting in.
    pub(super) lane: Option<u64>,
    /// Once it failed.
    pub(super) retries: Option<Retries>,
}

/// Records that wait. A lane is there as long as one of its records is being handled.
#[derive(Debug)]
pub(super) struct Lanes {
    order: Order,
    hasher: std::hash::RandomState,
    busy: HashMap<u64, VecDeque<Box<Job>>>,
    /// May begin.
    ready: VecDeque<Box<Job>>,
}

impl Lanes {
    pub(super) fn new(order: Order) -> Self {
        Self { order, hasher: std::hash::RandomState::new(), busy: HashMap::new(), ready: VecDeque::new() }
    }

    /// Takes in a record that was just read.
    pub(super) fn admit(&mut self, message: Message) {
        let lane = self.lane_of(&message);
        let job = Box::new(Job { message, attempts: 0, lane, retries: None });
        let Some(lane) = lane else {
            self.ready.push_back(job);
            return;
        };
        match self.busy.entry(lane) {
            Entry::Occupied(mut waiting) => waiting.get_mut().push_back(job),
            Entry::Vacant(free) => {
                free.insert(VecDeque::new());
                self.ready.push_back(job);
            }
        }
    }

    /// Two keys may share a lane if their hashes are equal; then they wait for each other, which harms nobody.
    fn lane_of(&self, message: &Message) -> Option<u64> {
        match (self.order, &message.key) {
            (Order::PerKey, Some(key)) => Some(self.hasher.hash_one((message.partition, key))),
            (Order::PerPartition, _) => Some(u64::from(message.partition)),
            (Order::PerKey, None) | (Order::Unordered, _) => None,
        }
    }

    /// The next record that may begin.
    pub(super) fn next(&mut self) -> Option<Box<Job>> {
        self.ready.pop_front()
    }

    /// A record that had to wait is due: before those that have not begun.
    pub(super) fn again(&mut self, job: Box<Job>) {
        self.ready.push_front(job);
    }

    /// The next record of a lane may begin.
    pub(super) fn release(&mut self, lane: Option<u64>) {
        let Some(lane) = lane else { return };
        let Entry::Occupied(mut waiting) = self.busy.entry(lane) else { return };
        match waiting.get_mut().pop_front() {
            Some(next) => self.ready.push_back(next),
            None => drop(waiting.remove()),
        }
    }
}
