//! The durable point of a partition on its way into the catalog, with the fenced producers before it.
//!
//! Recovery reads the log from the durable point on. So the catalog must know the fenced producers of all batches before
//! it, and of none behind it that a power loss may take: a record that is lost must not count as stored. If fenced
//! producers have changed, they are copied while no append runs, together with the end of the log. The log is synced up
//! to there, and that end is the point.

use std::sync::{Arc, atomic::Ordering};

use super::Partition;
use crate::{
    LogError,
    catalog::{DurableLog, DurablePoint},
};

impl Partition {
    /// Stores the durable point at once if a full segment became durable: after a crash, recovery then tells damage to
    /// that segment from a torn end.
    pub(crate) fn note_full_segments(self: &Arc<Self>) -> Result<(), LogError> {
        if !self.sync.rolled.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let _one = self.shared.checkpointing.lock();
        let points: Vec<_> = self.take_unnoted_point().into_iter().collect();
        self.shared.catalog.set_durable(&points).inspect_err(|_| self.keep_unnoted(&points))
    }

    /// Marks the durable point as not stored, after the catalog failed. `taken` are the points that it did not store.
    pub(crate) fn keep_unnoted(self: &Arc<Self>, taken: &[DurableLog]) {
        let mine = taken.iter().filter(|log| log.log_id == self.log_id);
        let mut fences = mine.flat_map(|log| log.fences.iter().map(|(producer, _)| *producer)).peekable();
        if fences.peek().is_some() {
            self.with_writer(|writer| writer.producers.fences.keep_changed(fences));
        }
        self.sync.unnoted.store(true, Ordering::Release);
    }

    /// Returns the durable point if the catalog does not hold it yet, and writes the index file. The caller holds the lock
    /// for checkpoints until the point is stored.
    pub(crate) fn take_unnoted_point(self: &Arc<Self>) -> Option<DurableLog> {
        if !self.sync.unnoted.swap(false, Ordering::AcqRel) || self.deleted.load(Ordering::Acquire) {
            return None;
        }
        let durable = self.sync.durable_point()?;
        let (fences, end) =
            self.with_writer(|writer| (writer.producers.fences.take_changed(), self.point_at(writer.next)));
        // The end of a log may be lost; nothing was appended then since it was opened.
        let point = if fences.is_empty() { durable } else { end.unwrap_or(durable) };
        let taken = DurableLog { log_id: self.log_id, point, fences };
        if !taken.fences.is_empty() {
            if let Err(error) = self.sync() {
                tracing::warn!(topic = %self.topic, partition = self.number, %error,
                    "the durable point stays where it is");
                self.keep_unnoted(&[taken]);
                return None;
            }
            if self.sync.durable_point().is_some_and(|durable| durable.next > point.next) {
                self.sync.unnoted.store(true, Ordering::Release);
            }
        }
        if let Some(segment) = self.segment_for(point.segment)
            && let Err(error) = segment.write_index()
        {
            // The file is only a cache: without it recovery reads more of the segment.
            tracing::warn!(%error, "the index file was not written");
        }
        Some(taken)
    }

    /// Returns the point at the end of the log. The writer lock must be held.
    fn point_at(&self, next: i64) -> Option<DurablePoint> {
        let segments = self.segments.read();
        // The header of a segment without batches may not be on the disk.
        let last = segments.iter().rev().find(|segment| !segment.is_empty()).or(segments.last())?;
        (last.end() == next).then(|| DurablePoint { segment: last.base, position: last.len(), next })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use floe_wire::batch::{BatchBuilder, FinishOptions, ProducerIdentity, producer_id};

    use super::*;
    use crate::{Store, StoreConfig, TopicConfig, background, disk::MemoryDisk};

    fn open(disk: &MemoryDisk) -> (Arc<Store>, Arc<Partition>) {
        // Work is never run: the test decides when the log is synced.
        let store = Store::open(StoreConfig::at("/").disk(Arc::new(disk.clone())).executor(drop)).unwrap();
        if store.topic("t").is_none() {
            store.create_topic("t", TopicConfig::new()).unwrap();
        }
        let partition = store.partition("t", 0).unwrap();
        (store, partition)
    }

    fn send(partition: &Arc<Partition>, first_sequence: i32) -> i64 {
        let id = producer_id::task_id("p", "t", 0, 0);
        let mut builder = BatchBuilder::new(64);
        builder.append(0, None, b"value", &[]).unwrap();
        let producer = ProducerIdentity { id, epoch: 1, first_sequence };
        let batch = builder.finish(FinishOptions { producer, ..FinishOptions::default() }).unwrap();
        let (answer, answered) = mpsc::channel();
        partition.submit(batch, move |result| answer.send(result).unwrap());
        answered.recv().unwrap().unwrap().base_offset
    }

    #[test]
    fn record_that_a_power_loss_takes_does_not_count_as_stored() {
        let disk = MemoryDisk::with_power_loss();
        let (store, partition) = open(&disk);
        assert_eq!(send(&partition, 0), 0);
        partition.sync().unwrap();
        assert_eq!(send(&partition, 1), 1, "behind the durable point");
        background::checkpoint(&store.shared, &store.topics).unwrap();
        assert_eq!(send(&partition, 2), 2);

        let (store, partition) = open(&disk.after_power_loss(|| false));
        assert!(store.recovery_report().gaps.is_empty(), "the point lies before what is lost");
        let end = partition.bounds().end;
        assert_eq!(send(&partition, 0), 0, "stored");
        for (sequence, offset) in [(1, 1), (2, 2)].into_iter().filter(|(_, offset)| *offset >= end) {
            assert_eq!(send(&partition, sequence), offset, "sent again");
        }
        assert_eq!(send(&partition, 3), 3);
        assert_eq!(partition.bounds().end, 4);
    }
}
