//! Checks received batches before they are stored, so that no reader meets a batch that it cannot decode.
//!
//! `docs/decisions/0018-batches-are-checked-at-the-door.md` says which leniencies of a real data server remain.

use std::fmt;

use floe_wire::{WireError, batch::EncodedBatch, compress::Decompressor};
use parking_lot::Mutex;

use crate::{
    limits::ServeLimits,
    memory::{Tenant, too_large},
    workers::Workers,
};

/// Largest batch, and largest record section, that is checked on a thread of the runtime. It takes a millisecond at most.
const CHECKED_AT_ONCE: usize = 1 << 20;

/// Decompressors that are kept for reuse, each with at most 8 MiB.
const KEPT: usize = 4;

/// Batches below this size are copied out of the buffer that they were received in, which small requests share.
const SMALL: usize = 64 * 1024;

/// Checks batches, with decompressors that it reuses.
pub(crate) struct Door {
    limit: usize,
    decompressors: Mutex<Vec<Decompressor>>,
    workers: Workers,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Door {
    pub(crate) fn new(limits: &ServeLimits, workers: Workers) -> Self {
        Self { limit: limits.unpacked_bytes, decompressors: Mutex::default(), workers }
    }

    /// Returns the batch, verified, if every reader can decode it: see [`EncodedBatch::validated`].
    ///
    /// The log keeps the newest batches in memory for its readers, when the request that brought them and its memory are
    /// gone. A batch that is small beside the `received` bytes of its request is therefore copied: otherwise one record
    /// could keep a whole request.
    ///
    /// # Errors
    /// The errors of [`EncodedBatch::validated`]. [`WireError::TooLarge`] also for a batch whose records take more memory
    /// than the server has for them.
    pub(crate) async fn admit(
        &self,
        tenant: &Tenant,
        batch: EncodedBatch,
        received: usize,
    ) -> Result<EncodedBatch, WireError> {
        let keeps_much = batch.len() < SMALL || batch.len() < received / 2;
        let batch = self.checked(tenant, batch).await?;
        Ok(if keeps_much { batch.detached() } else { batch })
    }

    async fn checked(&self, tenant: &Tenant, batch: EncodedBatch) -> Result<EncodedBatch, WireError> {
        if batch.len() <= CHECKED_AT_ONCE {
            let mut decompressor = self.decompressors.lock().pop().unwrap_or_default();
            let outcome = batch.clone().validated(&mut decompressor, CHECKED_AT_ONCE.min(self.limit));
            self.keep(decompressor);
            match outcome {
                Err(WireError::TooLarge { .. }) if self.limit > CHECKED_AT_ONCE => {}
                outcome => return outcome,
            }
        }
        self.admit_large(tenant, batch).await
    }

    async fn admit_large(&self, tenant: &Tenant, batch: EncodedBatch) -> Result<EncodedBatch, WireError> {
        let limit = self.limit;
        let is_compressed = batch.header().attributes.codec()? != floe::Codec::None;
        // The turn comes first: memory that waits for a processor would be held by many.
        let turn = self.workers.turn().await;
        let room = if is_compressed { tenant.reserve_work(limit).await.map(Some) } else { Ok(None) };
        let room = room.map_err(too_large("decompressed data"))?;
        let checked = turn.run(move || {
            let outcome = batch.validated(&mut Decompressor::default(), limit);
            drop(room);
            outcome
        });
        checked.await.unwrap_or_else(|stopped| {
            Err(WireError::Malformed {
                what: "record batch",
                problem: format!("the check failed: {stopped}"),
            })
        })
    }

    fn keep(&self, decompressor: Decompressor) {
        let mut kept = self.decompressors.lock();
        if kept.len() < KEPT {
            kept.push(decompressor);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use floe_wire::batch::{BatchBuilder, FinishOptions};

    use super::*;
    use crate::memory::ServerMemory;

    fn batch(size: usize) -> Bytes {
        let mut builder = BatchBuilder::new(size + 128);
        builder.append(0, None, &vec![b'v'; size], &[]).unwrap();
        builder.finish(FinishOptions::default()).unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_batch_that_is_small_beside_its_request_does_not_keep_it() {
        let limits = ServeLimits::default();
        let (door, tenant) = (
            Door::new(&limits, Workers::new()),
            ServerMemory::new(&limits).tenant("client".to_owned(), &limits),
        );
        for (size, received, is_copied) in
            [(10, 100, true), (SMALL - 200, SMALL, true), (SMALL, SMALL, false), (SMALL, 1 << 20, true)]
        {
            let bytes = batch(size);
            let admitted = door.admit(&tenant, EncodedBatch::parse(bytes.clone()).unwrap(), received).await;
            let admitted = admitted.unwrap().to_bytes();
            assert_eq!(admitted, bytes);
            assert_eq!(admitted.as_ptr() != bytes.as_ptr(), is_copied, "{size} of {received}");
        }
    }
}
