//! Stored batches that go to the target with the bytes that they have: only their header gets the mark of the copy.

use floe::{
    consumer::RecordBatch,
    engine::batch::{Attributes, EncodedBatch},
    exchange::RecordFields,
};

use super::{plan::CopyPlan, position::ROUND_OFFSETS};

/// Attributes of batches that every release of floe can read: codec and trailer. Batches with others are encoded anew.
const KNOWN_ATTRIBUTES: i16 = 0b111 | Attributes::TRAILER;

/// Least bytes of keys and values for which a batch is worth an append of its own. On the network, where each append is a round
/// trip, the records of smaller batches are gathered.
const WORTH: usize = 16 << 10;
const WORTH_ON_NETWORK: usize = 256 << 10;

/// A stored batch whose records all go to one partition of the target.
#[derive(Debug)]
pub(super) struct WholeBatch<'a> {
    pub(super) target: u32,
    pub(super) stored: &'a EncodedBatch,
    pub(super) records: u64,
    /// Bytes of keys and values.
    pub(super) bytes: u64,
}

impl<'a> WholeBatch<'a> {
    /// Returns the stored batch of these records, unless the copy has to change something in it.
    pub(super) fn of(plan: &CopyPlan, batch: &'a RecordBatch) -> Option<Self> {
        let stored = batch.stored()?;
        let attributes = stored.header().attributes;
        let codec = attributes.codec().ok()?;
        let keeps_all =
            plan.choices.filter.is_none() && plan.choices.codec.is_none_or(|asked| asked == codec);
        let is_known = attributes.0 & !KNOWN_ATTRIBUTES == 0;
        if !keeps_all || !is_known || stored.len() > plan.capabilities.max_batch_bytes {
            return None;
        }
        let (mut target, mut bytes) = (plan.only_target(batch.partition), 0);
        if target.is_none() && i64::from(stored.header().offset_span()) > ROUND_OFFSETS {
            return None;
        }
        let is_fixed = target.is_some();
        for record in batch.borrowed() {
            bytes += record.key.map_or(0, <[u8]>::len) + record.value.len();
            if !is_fixed {
                let routed = plan.route(&RecordFields::of_batch(batch, &record));
                if *target.get_or_insert(routed) != routed {
                    return None;
                }
            }
        }
        let worth = if plan.is_network { WORTH_ON_NETWORK } else { WORTH };
        let (records, bytes, is_worth) = (batch.len() as u64, bytes as u64, bytes >= worth);
        target.filter(|_| is_worth).map(|target| Self { target, stored, records, bytes })
    }
}
