//! Passes records that are encoded in a batch on to a partition, without making [`Record`](crate::Record)s of them.

use std::sync::Arc;

use floe_wire::batch::{BatchBuilder, BorrowedRecord, EncodedBatch};

use super::{
    Producer,
    accumulator::{NotTaken, RecordParts},
    delivery::Deliveries,
    enqueue::step_back,
};
use crate::Result;

/// A batch is passed on as it is if it has at least this fraction of the batch size; records of smaller ones are gathered.
const WORTH: usize = 4;

/// Upper bound of the memory reserved at once.
const AT_ONCE: usize = 1 << 20;

/// A record without headers that is passed on.
pub(crate) struct PassthroughRecord<'a>(RecordParts<'a>);

impl<'a> PassthroughRecord<'a> {
    pub(crate) fn new(record: &BorrowedRecord<'a>) -> Self {
        let (key, value) = (record.key, record.value);
        let size = BatchBuilder::record_len(key, value, &[]);
        let timestamp = record.timestamp;
        Self(RecordParts { key, value, headers: &[], timestamp, partition: None, size, origin: None })
    }

    /// Upper bound of its bytes in a batch.
    pub(crate) fn size(&self) -> usize {
        self.0.size
    }
}

impl Producer {
    /// Whether records without headers can be passed on without a check of each.
    pub(crate) fn passes_records(&self) -> bool {
        let shared = self.shared();
        // Engines that refuse some contents refuse single records, and trace contexts are headers of single records.
        shared.capabilities.binary && shared.capabilities.keys && !shared.telemetry.carries()
    }

    /// Whether a record of this size is refused.
    pub(crate) fn is_too_large(&self, size: usize) -> bool {
        self.shared().config.is_too_large(size)
    }

    /// Whether a batch of this size is passed on as it is.
    pub(crate) fn passes_batch(&self, bytes: usize) -> bool {
        let limit = self.shared().config.batch_size;
        (limit / WORTH..=limit).contains(&bytes)
    }

    /// Buffers a batch as a whole, each record of which has one offset. Waits for room in memory.
    pub(crate) async fn pass_batch(&self, partition: u32, batch: EncodedBatch) -> Result<Deliveries> {
        let shared = self.shared();
        let target = shared.partition(partition)?;
        let (memory, count) = (shared.config.memory_of(batch.len()), batch.header().offset_span());
        let reserved = shared.reserve(memory).await?;
        let offered = shared.offer(target, |accumulator| {
            accumulator.append_encoded(&shared.config, batch, memory).map(Arc::clone)
        });
        // Only a closed producer refuses a batch.
        let state = offered.map_err(|_| shared.closed())?;
        // The batch releases the memory with its outcome.
        reserved.forget();
        let mut deliveries = Deliveries::default();
        deliveries.push_whole(state, count);
        Ok(deliveries)
    }

    /// Buffers records for one partition. Waits for room.
    pub(crate) async fn pass_records(
        &self,
        partition: u32,
        records: &[PassthroughRecord<'_>],
        deliveries: &mut Deliveries,
    ) -> Result<()> {
        let shared = self.shared();
        let target = shared.partition(partition)?;
        let now = shared.config.clock.now_millis();
        let parts: Vec<_> = records
            .iter()
            .map(|PassthroughRecord(parts)| RecordParts {
                timestamp: Some(parts.timestamp.unwrap_or(now)),
                ..*parts
            })
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
            let mut reserved = shared.reserve(memory).await?;
            let offered = rest.get(..run).unwrap_or_default();
            let (taken, stopped) =
                shared.offer_run(target, offered, &mut reserved, |batch, index, timestamp| {
                    deliveries.push(batch, index, timestamp);
                });
            // The memory of records that were not taken must not be held while the loop waits.
            drop(reserved);
            rest = rest.get(taken..).unwrap_or_default();
            match stopped {
                // Lets the sender run.
                Some(NotTaken::Rolled) => step_back().await,
                Some(NotTaken::QueueFull) => shared.wait_for_queue(target).await,
                Some(NotTaken::Closed) => return Err(shared.closed()),
                Some(NotTaken::Refused(error)) => return Err(shared.refused(partition, error)),
                None => {}
            }
        }
        Ok(())
    }
}
