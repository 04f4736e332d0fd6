//! Follows the coordination partition.

use std::{collections::VecDeque, future::poll_fn, sync::Arc};

use floe_wire::batch::RecordView;

use super::{
    log::{GroupLog, LogEntry},
    tail_guard::{SeenRecord, TailGuard},
};
use crate::{
    Error, Result,
    consumer::{
        checked_batch::{CheckedBatch, Found},
        fetch::FetchSettings,
        partition::Partition,
        partition_discovery::PartitionOpener,
        prefetch_queue::{Polled, PrefetchQueue, Prefetched},
        settings::AckMode,
    },
    engine::Isolation,
    history::ReaderHistory,
    layer::Layer as _,
};

/// Bytes of the coordination partition that are read ahead.
const PREFETCHED_BYTES: usize = 256 * 1024;

/// Reads the records of a group from an offset on. Failed connections are reopened without end.
#[derive(Debug)]
pub(super) struct LogReader {
    log: GroupLog,
    queue: Arc<PrefetchQueue>,
    /// The fetch task ends with it.
    _partition: Partition,
    /// Entries of the batch at hand.
    entries: VecDeque<LogEntry>,
}

impl LogReader {
    /// Reads from `next` on; `last` is the record before.
    pub(super) fn open(
        log: GroupLog,
        (next, last): (i64, Option<SeenRecord>),
        settings: &FetchSettings,
    ) -> Self {
        let queue = PrefetchQueue::new(1, PREFETCHED_BYTES, usize::MAX);
        let at = log.place().clone();
        let guard = TailGuard::new(Arc::clone(log.engine()), at.clone(), last);
        let opener = PartitionOpener {
            engine: guard.layer(Arc::clone(log.engine())),
            queue: Arc::clone(&queue),
            topic: at.topic,
            fetch: FetchSettings {
                keeps_stored: false,
                isolation: Isolation::ReadCommitted,
                smartmodules: None,
                ..settings.clone()
            },
            ack_mode: AckMode::Auto,
            history: ReaderHistory::default(),
        };
        let _partition = opener.open((0, 0), at.partition, next, None);
        Self { log, queue, _partition, entries: VecDeque::new() }
    }

    /// Waits for the next record of the group.
    ///
    /// # Errors
    /// The log does not go on at the place where the reader stands: it was deleted, or lost its end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<LogEntry> {
        loop {
            if let Some(entry) = self.entries.pop_front() {
                return Ok(entry);
            }
            match poll_fn(|cx| self.queue.poll(cx)).await {
                Polled::Item(_, Prefetched::Records(received)) => {
                    let found =
                        received.check().map_or_else(|parts| parts, |whole| vec![Found::Records(whole)]);
                    found.into_iter().for_each(|part| self.take(part));
                }
                Polled::Item(_, Prefetched::Rest(_)) | Polled::Changed => {}
                Polled::Item(_, Prefetched::Gap(gap)) => {
                    tracing::debug!(topic = %gap.at.topic, from = gap.from, to = gap.to, "gap in the records of groups");
                }
                Polled::Item(_, Prefetched::Error(error)) | Polled::Deleted(error) => return Err(error),
                Polled::End => return Err(Error::closed("reader of the group")),
            }
        }
    }

    /// Takes the records of the group. Damage is passed over, as gaps are.
    fn take(&mut self, part: Found<CheckedBatch>) {
        if let Found::Records(batch) = part {
            let entry = |RecordView { offset, timestamp, key, value, .. }: RecordView| {
                self.log.entry((offset, timestamp, key.as_deref(), &value[..]))
            };
            self.entries.extend(batch.records().filter_map(entry));
        }
    }
}
