//! Records that lie in a batch already and are sent on: no record is made of them in between.

use floe_wire::batch::{BatchBuilder, BorrowedRecord, EncodedBatch, HEADER_LEN};

use super::{
    Producer,
    accumulator::{Offered, Parts, now_millis},
    delivery::Deliveries,
    step_back,
};
use crate::{Error, Result};

/// A whole batch is sent as it is if it is not smaller than this part of a full one; smaller ones are gathered.
const WORTH: usize = 4;

/// Most bytes that are taken from the memory at once.
const AT_ONCE: usize = 1 << 20;

/// A record without headers on its way on.
pub(crate) struct Relayed<'a>(Parts<'a>);

impl<'a> Relayed<'a> {
    pub(crate) fn new(record: &BorrowedRecord<'a>) -> Self {
        let (key, value) = (record.key, record.value);
        let size = BatchBuilder::record_len(key, value, &[]);
        Self(Parts { key, value, headers: &[], timestamp: record.timestamp, size, origin: None })
    }

    /// Bytes that it may take in a batch, at most.
    pub(crate) fn size(&self) -> usize {
        self.0.size
    }
}

impl Producer {
    /// Whether it may send on records without headers as they are. Otherwise each has to be looked at.
    pub(crate) fn relays(&self) -> bool {
        let shared = self.shared();
        // Some contents are refused, and each record is refused for itself.
        shared.capabilities.binary && shared.capabilities.keys && !shared.telemetry.carries()
    }

    /// Whether a record of this size is refused.
    pub(crate) fn is_too_large(&self, size: usize) -> bool {
        size.saturating_add(HEADER_LEN + 4) > self.shared().config.max_request_size
    }

    /// Whether a batch of so many bytes is sent on as it is.
    pub(crate) fn relays_whole(&self, bytes: usize) -> bool {
        let limit = self.shared().config.batch_size;
        (limit / WORTH..=limit).contains(&bytes)
    }

    /// Buffers a batch as a whole, of which each record has one offset. Waits for room in memory.
    pub(crate) async fn relay_whole(&self, partition: u32, batch: EncodedBatch) -> Result<Deliveries> {
        let shared = self.shared();
        let at = shared.partitions.get(partition).ok_or_else(|| shared.no_such_partition(partition))?;
        let (memory, count) = (shared.config.memory_of(batch.len()), batch.header().offset_span());
        let permit = shared.budget.acquire_many(u32::try_from(memory).unwrap_or(u32::MAX)).await;
        permit.map_err(|_| shared.closed())?.forget();
        let mut accumulator = at.accumulator.lock();
        let state = accumulator.offer_whole(partition, &shared.config, (batch, memory), &shared.unreported);
        let taken = state.is_some();
        shared.after_offer(at, accumulator, taken);
        let Some(state) = state else {
            shared.give_back(memory);
            return Err(shared.closed());
        };
        let mut deliveries = Deliveries::default();
        deliveries.push_whole(state, count);
        Ok(deliveries)
    }

    /// Buffers records for one partition. Waits for room.
    pub(crate) async fn relay(
        &self,
        partition: u32,
        records: &[Relayed<'_>],
        deliveries: &mut Deliveries,
    ) -> Result<()> {
        let shared = self.shared();
        let at = shared.partitions.get(partition).ok_or_else(|| shared.no_such_partition(partition))?;
        let now = now_millis();
        let parts: Vec<_> = records
            .iter()
            .map(|Relayed(parts)| Parts { timestamp: Some(parts.timestamp.unwrap_or(now)), ..*parts })
            .collect();
        let mut rest = parts.as_slice();
        while let Some(first) = rest.first() {
            let (mut run, mut memory) = (1, shared.config.memory_of(first.size));
            for parts in rest.iter().skip(1) {
                let with = memory + shared.config.memory_of(parts.size);
                if with > AT_ONCE.min(shared.config.buffer_memory) {
                    break;
                }
                (run, memory) = (run + 1, with);
            }
            let permit = shared.budget.acquire_many(u32::try_from(memory).unwrap_or(u32::MAX)).await;
            permit.map_err(|_| shared.closed())?.forget();
            let offered = rest.get(..run).unwrap_or_default();
            let (taken, stopped) = shared.push_paid((partition, at), offered, memory, deliveries);
            rest = rest.get(taken..).unwrap_or_default();
            match stopped {
                // Lets the sender run.
                Some(Offered::Rolled) => step_back().await,
                Some(Offered::QueueFull) => shared.wait_for_queue(partition).await?,
                Some(Offered::Closed) => return Err(shared.closed()),
                Some(Offered::Refused(error)) => {
                    return Err(Error::from(error).with_topic(&shared.topic).with_partition(partition));
                }
                Some(Offered::Taken { .. }) | None => {}
            }
        }
        Ok(())
    }
}
