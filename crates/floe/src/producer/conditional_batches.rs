//! Producer ids and sequences of conditional appends.

use std::sync::atomic::{AtomicU32, Ordering};

use floe_core::append_condition::AppendCondition;
use floe_wire::batch::{ProducerIdentity, producer_id};

use super::config::Identity;

/// Names the batches of conditional appends, apart from those of the senders.
#[derive(Debug)]
pub(super) struct ConditionalBatches {
    producer_id: i64,
    /// Sequence of the next batch. The start is random: under one token several producers may number batches.
    next: AtomicU32,
}

impl Default for ConditionalBatches {
    fn default() -> Self {
        Self { producer_id: Identity::new_id(), next: AtomicU32::new(floe_core::random::bits() as u32) }
    }
}

impl ConditionalBatches {
    pub(super) fn identify(&self, condition: &AppendCondition, records: u32) -> ProducerIdentity {
        let next = self.next.fetch_add(records, Ordering::Relaxed);
        let first_sequence = producer_id::sequence_after(0, next);
        match condition {
            AppendCondition::Token(token) => {
                let (id, epoch) = token.producer();
                ProducerIdentity { id, epoch, first_sequence }
            }
            _ => ProducerIdentity { id: self.producer_id, epoch: 0, first_sequence },
        }
    }
}
