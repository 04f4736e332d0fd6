//! Admission of records: the bound of the spool, and what happens when it is reached.

use std::{pin::pin, sync::atomic::Ordering};

use floe_wire::batch::BatchBuilder;

use super::{checkpoint::Checkpoint, routing::RouteHint, settings::WhenOutboxFull, shared::OutboxShared};
use crate::{Error, ErrorKind, Record, Result, consumer::RecordBatch};

/// Bytes granted to records at once while the spool is less than half full.
const GRANT: u64 = 64 * 1024;

impl OutboxShared {
    /// Takes bytes from the grant. Fails for a closed outbox, and for records that need a check of the room.
    pub(super) fn is_granted(&self, size: u64) -> bool {
        let take = |granted: u64| granted.checked_sub(size);
        !self.closed.load(Ordering::Relaxed)
            && self.granted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Waits for room, makes room, or fails, by the policy.
    #[cold]
    pub(super) async fn make_room(&self, size: u64) -> Result<()> {
        let max_bytes = self.settings.max_bytes;
        if size > max_bytes {
            let message = format!("the record has about {size} bytes: the outbox holds {max_bytes}");
            return Err(Error::new(ErrorKind::RecordTooLarge, message).with_topic(self.topic()));
        }
        loop {
            if self.closed.load(Ordering::Relaxed) {
                return Err(Error::closed("outbox").with_topic(self.topic()));
            }
            let fits = |used: u64| used.saturating_add(size) <= max_bytes;
            let used = self.spool.used_bytes();
            if fits(used) {
                if self.spool.outruns_tail(self.progress.borrow().position) {
                    // Lets the deliveries catch up: reading from memory costs half as much as from disk.
                    tokio::task::yield_now().await;
                }
                // Concurrent senders may exceed the bound by their grants, so that there are none near it.
                if used < max_bytes / 2 {
                    self.granted.store(GRANT.min(max_bytes / 8), Ordering::Relaxed);
                }
                return Ok(());
            }
            let mut room = pin!(self.room.notified());
            room.as_mut().enable();
            // Room made before the registration woke no sender.
            let used = self.spool.used_bytes();
            if fits(used) {
                return Ok(());
            }
            match self.settings.when_full {
                WhenOutboxFull::Fail => {
                    let message = format!("the outbox is full: it holds {used} of {max_bytes} bytes");
                    return Err(Error::new(ErrorKind::BufferFull, message).with_topic(self.topic()));
                }
                WhenOutboxFull::Wait => room.await,
                WhenOutboxFull::DropOldest => {
                    if !self.drop_oldest().await? {
                        // The bytes are in flight to the spool, where they can be dropped later.
                        self.spool.flush().await?;
                    }
                }
            }
        }
    }

    /// Drops about an eighth of the spool. Returns false if there was no record to drop.
    pub(super) async fn drop_oldest(&self) -> Result<bool> {
        let mut checkpoint = self.checkpoint.lock().await;
        let before = self.spool.used_bytes();
        let goal = self.settings.max_bytes / 8;
        let mut reader = self.spool.read(checkpoint.current.position).await?;
        let (mut read, mut dropped) = (0, 0);
        loop {
            let batch = reader.next_batch().await?;
            if let Some(batch) = &batch {
                dropped += self.skip_batch(&mut checkpoint.current, batch);
                read += batch.memory() as u64;
                if read < goal {
                    continue;
                }
            }
            if dropped == 0 {
                return Ok(false);
            }
            checkpoint.current.dropped += dropped;
            tracing::warn!(topic = %self.topic(), records = dropped, "the outbox is full: its oldest records are dropped");
            dropped = 0;
            self.store(&mut checkpoint).await?;
            self.trim(&checkpoint).await?;
            if batch.is_none() || self.spool.used_bytes() < before {
                return Ok(true);
            }
        }
    }

    /// Moves the checkpoint behind a batch that is not sent. Returns the number of its records.
    fn skip_batch(&self, checkpoint: &mut Checkpoint, batch: &RecordBatch) -> u64 {
        for record in batch.borrowed() {
            let hint = RouteHint::new(batch, record.headers);
            self.skip_record(checkpoint, hint, (record.key, record.value));
        }
        checkpoint.position = batch.next_offset();
        batch.len() as u64
    }
}

/// Returns the bytes that a record may take in the spool.
pub(super) fn record_bytes<V: AsRef<[u8]>>(record: &Record<V>) -> u64 {
    let (key, value) = (record.key.as_deref(), record.value.as_ref());
    if record.headers.is_empty() {
        return BatchBuilder::record_len(key, value, &[]) as u64;
    }
    let headers: Vec<_> =
        record.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref())).collect();
    BatchBuilder::record_len(key, value, &headers) as u64
}

/// Turns the error of a full disk into that of a full outbox.
pub(super) fn full_disk(error: Error) -> Error {
    if !is_disk_full(&error) {
        return error;
    }
    Error::new(ErrorKind::BufferFull, "the disk under the outbox is full").with_source(error)
}

/// Returns whether a full disk is among the causes of an error.
pub(super) fn is_disk_full(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::StorageFull;
        }
        cause = error.source();
    }
    false
}
