//! Read cursors that all Walrus clients share, one per partition.
//!
//! A cursor is committed before its entries are sent, so delivery is at most once, also across restarts of the
//! server, as on a Walrus node.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use floe::{
    ErrorKind, Result, Topic, TopicPartition,
    consumer::Gap,
    engine::{BatchReader, Isolation, ReadRequest, Start},
    memory::{MemoryAccount, MemoryReservation},
};
use floe_wire::{
    WireError,
    batch::{EncodedBatch, Records},
};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::packed;
use crate::{memory::ServerMemory, metrics::Frontend, node::Node, response_writer::READ_BYTES};

/// Group that holds the committed cursors, with a name that users will not choose.
const GROUP: &str = "__walrus-cursor";

/// Longest wait for a batch below the high watermark. The engine skips damaged batches, so it may not exist.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Returns the group of a server. A server on top of another one has a group of its own, because the other one reserves the
/// first name for itself.
fn group_of(node: &Node) -> Arc<str> {
    node.engine.endpoint(None).map_or_else(|| Arc::from(GROUP), |below| format!("{GROUP}@{below}").into())
}

/// Size of records that memory is reserved for at first, as a multiple of their compressed size, and at least.
const USUAL_RATIO: usize = 32;
const LEAST_UNPACKED: usize = 1 << 20;

/// Whether a group is reserved for the server.
pub(crate) fn is_reserved(node: &Node, group: &str) -> bool {
    *group_of(node) == *group
}

/// Limit of one response.
#[derive(Debug, Clone, Copy)]
pub(super) struct TakeLimit {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

/// Cursor of a partition once it is open. Requests for the same partition take turns.
type CursorSlot = Arc<tokio::sync::Mutex<Option<PartitionCursor>>>;

/// Cursors of all partitions.
#[derive(Debug)]
pub(crate) struct SharedCursors {
    open: Mutex<HashMap<TopicPartition, CursorSlot>>,
    turn: AtomicU32,
    /// Pays for the entries that were read and not sent, and for the buffers of readers.
    account: MemoryAccount,
}

impl SharedCursors {
    pub(crate) fn new(memory: &ServerMemory) -> Self {
        Self {
            open: Mutex::default(),
            turn: AtomicU32::new(0),
            account: memory.responses.account_of("Walrus cursors", usize::MAX),
        }
    }

    /// Returns the partitions of a topic in turn.
    pub(super) fn next_partition(&self, partitions: u32) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed) % partitions.max(1)
    }

    /// Takes the next entries of a topic: at most `limit`, but one if there is any.
    pub(super) async fn take(
        &self,
        node: &Node,
        (topic, partitions): (&str, u32),
        limit: TakeLimit,
    ) -> Result<Vec<Bytes>> {
        let first = self.next_partition(partitions);
        for step in 0..partitions {
            let at = Topic::from(topic).partition((first + step) % partitions);
            let taken = self.take_of(node, at, limit).await?;
            if !taken.is_empty() {
                return Ok(taken);
            }
        }
        Ok(Vec::new())
    }

    async fn take_of(&self, node: &Node, at: TopicPartition, limit: TakeLimit) -> Result<Vec<Bytes>> {
        let slot = Arc::clone(self.open.lock().entry(at.clone()).or_default());
        let mut cursor = slot.lock().await;
        let outcome = self.take_with(&mut cursor, node, &at, limit).await;
        // After an error the cursor starts over from the committed offset: its reader may be broken, and `ready` may be
        // ahead. A reader of a deleted topic would keep its files.
        if outcome.is_err() || cursor.as_ref().is_none_or(PartitionCursor::is_stale) {
            *cursor = None;
            drop(cursor);
            drop(slot);
            self.close_unused(|other| *other == at);
        }
        outcome
    }

    /// Removes the slots without a cursor of an existing topic. A slot that a request holds stays: with two slots, two
    /// requests would take the same entries.
    fn close_unused(&self, is_meant: impl Fn(&TopicPartition) -> bool) {
        self.open.lock().retain(|at, slot| {
            !is_meant(at)
                || Arc::strong_count(slot) > 1
                || slot
                    .try_lock()
                    .map_or(true, |cursor| cursor.as_ref().is_some_and(|cursor| !cursor.is_stale()))
        });
    }

    async fn take_with(
        &self,
        slot: &mut Option<PartitionCursor>,
        node: &Node,
        at: &TopicPartition,
        limit: TakeLimit,
    ) -> Result<Vec<Bytes>> {
        let cursor = match slot {
            Some(cursor) if !cursor.is_stale() => cursor,
            _ => slot.insert(PartitionCursor::open(node, at.clone(), &self.account).await?),
        };
        let outcome = cursor.take((node, self), limit).await;
        cursor.release(self.account.pool().waiting() > 0);
        outcome
    }

    /// Reserves memory for a cursor. Where there is none, the cursors that no request uses give theirs back: they share the
    /// account, so that nothing else would.
    async fn reserve(&self, node: &Node, bytes: usize) -> Result<MemoryReservation> {
        if let Some(room) = self.account.try_reserve(bytes) {
            return Ok(room);
        }
        for slot in self.open.lock().values() {
            if let Ok(mut cursor) = slot.try_lock()
                && let Some(cursor) = &mut *cursor
            {
                cursor.release(true);
            }
        }
        let refused = |text: String| floe::Error::new(ErrorKind::StorageError, text);
        match tokio::time::timeout(node.limits.memory_timeout, self.account.reserve(bytes)).await {
            Ok(outcome) => {
                outcome.map_err(|error| refused("no memory to read".to_owned()).with_source(error))
            }
            Err(_) => Err(refused(format!("{bytes} bytes of memory to read were not free in time"))),
        }
    }

    /// Closes the cursors of deleted topics at every change of the topics, until the future is dropped. No request would do
    /// so: clients do not ask for a topic that is gone, and its cursors keep the files of its partitions.
    pub(crate) async fn follow(&self, mut changes: watch::Receiver<i64>) {
        while changes.changed().await.is_ok() {
            self.close_unused(|_| true);
        }
    }
}

/// Cursor of one partition.
#[derive(Debug)]
struct PartitionCursor {
    at: TopicPartition,
    deletion: watch::Receiver<bool>,
    /// Offset of the next record to send.
    next: i64,
    /// Offset after the last record that was read.
    read_to: i64,
    /// High watermark at which the remaining records proved unreadable.
    unreadable_end: Option<i64>,
    reader: Option<Box<dyn BatchReader>>,
    /// Covers the buffers of `reader`.
    reader_room: Option<MemoryReservation>,
    /// Entries that were read and not sent, each with the offset after it.
    ready: VecDeque<(i64, Bytes)>,
    /// Covers the batches of `ready`.
    room: MemoryReservation,
}

impl PartitionCursor {
    async fn open(node: &Node, at: TopicPartition, account: &MemoryAccount) -> Result<Self> {
        let deletion = match node.catalog.find(at.topic.as_str()).await? {
            Some(entry) => entry.deletion(),
            None => {
                return Err(
                    floe::Error::new(ErrorKind::TopicNotFound, "topic not found").with_topic(&at.topic)
                );
            }
        };
        let committed = node.engine.committed(group_of(node), at.clone()).await?.unwrap_or(0);
        // A cursor beyond the end, of a damaged store or of a server that trusted its batches, would read nothing until
        // the partition has grown so long.
        let end = node.engine.watermarks(at.clone()).await?.high;
        if committed > end {
            tracing::warn!(%at, committed, end, "the cursor lies beyond the end of its partition and moves there");
        }
        let next = committed.min(end);
        Ok(Self {
            at,
            deletion,
            next,
            read_to: next,
            unreadable_end: None,
            reader: None,
            reader_room: None,
            ready: VecDeque::new(),
            room: MemoryReservation::empty(account),
        })
    }

    /// Returns the memory of entries that were sent. While others wait for memory, the cursor keeps no entries and no reader:
    /// it reads them anew.
    fn release(&mut self, is_scarce: bool) {
        if is_scarce {
            self.ready.clear();
            (self.reader, self.reader_room, self.read_to) = (None, None, self.next);
        }
        if self.ready.is_empty() {
            self.room.shrink_to(0);
        }
    }

    fn is_stale(&self) -> bool {
        *self.deletion.borrow()
    }

    async fn take(
        &mut self,
        (node, cursors): (&Node, &SharedCursors),
        limit: TakeLimit,
    ) -> Result<Vec<Bytes>> {
        // The entries stay in `ready` until they are committed: a request that is cancelled meanwhile, because its client
        // has left, takes none.
        let (mut count, mut bytes, mut next) = (0, 0, self.next);
        while count < limit.entries {
            if count == self.ready.len() {
                self.read((node, cursors)).await?;
            }
            let Some((after, entry)) = self.ready.get(count) else { break };
            if count > 0 && bytes + entry.len() > limit.bytes {
                break;
            }
            next = *after;
            bytes += entry.len();
            count += 1;
        }
        if next > self.next {
            node.engine.commit(group_of(node), vec![(self.at.clone(), next)]).await?;
            self.next = next;
        }
        Ok(self.ready.drain(..count).map(|(_, entry)| entry).collect())
    }

    /// Reads batches until `ready` has more entries, or there are no more.
    async fn read(&mut self, (node, cursors): (&Node, &SharedCursors)) -> Result<()> {
        loop {
            let marks = node.engine.watermarks(self.at.clone()).await?;
            // Retention may have deleted unread records.
            let position = self.read_to.max(marks.start);
            if position >= marks.high || self.unreadable_end == Some(marks.high) {
                return Ok(());
            }
            let reader = match &mut self.reader {
                Some(reader) => reader,
                None => {
                    if self.reader_room.is_none() {
                        self.reader_room = Some(cursors.reserve(node, 2 * READ_BYTES).await?);
                    }
                    let request = ReadRequest::new(self.at.clone(), Start::Offset(position))
                        .max_bytes(READ_BYTES)
                        .isolation(Isolation::ReadCommitted);
                    self.reader.insert(node.engine.open(request).await?)
                }
            };
            let batch = match tokio::time::timeout(READ_LIMIT, reader.next()).await {
                Ok(Ok(Some(batch))) => batch,
                Ok(Ok(None)) => return Ok(()),
                Err(_) => {
                    self.unreadable_end = Some(marks.high);
                    return Ok(());
                }
                Ok(Err(error)) => {
                    if let Some(gap) = Gap::of(&error) {
                        node.metrics.error(Frontend::Walrus, "records_lost");
                        tracing::warn!(at = %self.at, from = gap.from, to = gap.to, "skipped lost records");
                        self.read_to = gap.to;
                        continue;
                    }
                    self.reader = None;
                    if error.kind() == ErrorKind::OffsetOutOfRange {
                        continue;
                    }
                    return Err(error);
                }
            };
            let end = batch.next_offset();
            // A request that is cancelled here drops the reader, which has passed the batch, and another one reads it anew.
            let reader = self.reader.take();
            let has_entries = self.unpack((node, cursors), &batch, position).await?;
            (self.reader, self.read_to) = (reader, end);
            if has_entries {
                return Ok(());
            }
        }
    }

    /// Unpacks the entries of a batch. Returns false if there are none.
    async fn unpack(
        &mut self,
        (node, cursors): (&Node, &SharedCursors),
        batch: &EncodedBatch,
        position: i64,
    ) -> Result<bool> {
        let end = batch.next_offset();
        if let Some(entry) = packed::entry_of(batch) {
            if end > position {
                self.ready.push_back((end, entry));
            }
            return Ok(end > position);
        }
        let before = self.ready.len();
        match self.records((node, cursors), batch).await? {
            Ok(records) => self.keep(node, records, position..end),
            Err(error) => {
                node.metrics.error(Frontend::Walrus, "batch_unreadable");
                tracing::error!(%error, at = %self.at, offset = batch.base_offset(), "skipped an unreadable batch");
            }
        }
        Ok(self.ready.len() > before)
    }

    /// Returns the records of a batch, after their memory is reserved.
    async fn records(
        &mut self,
        (node, cursors): (&Node, &SharedCursors),
        batch: &EncodedBatch,
    ) -> Result<std::result::Result<Records, WireError>> {
        if let Err(error) = batch.verify_checksum() {
            return Ok(Err(error));
        }
        let most = node.limits.unpacked_bytes;
        let usual = batch.len().saturating_mul(USUAL_RATIO).max(LEAST_UNPACKED).min(most);
        let is_plain = batch.header().attributes.codec() == Ok(floe::Codec::None);
        for limit in [if is_plain { batch.len() } else { usual }, most] {
            let mut room = cursors.reserve(node, limit).await?;
            match batch.records_with_limit(limit) {
                Err(WireError::TooLarge { .. }) if limit < most => {}
                Ok(records) => {
                    room.shrink_to(records.section_len());
                    self.room.add(room);
                    return Ok(Ok(records));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(batch.records_with_limit(0))
    }

    /// Keeps the records whose offsets ascend in the range. Others do not move the cursor.
    fn keep(&mut self, node: &Node, records: Records, mut wanted: Range<i64>) {
        let (mut skipped, first) = (0_u64, wanted.start);
        for record in records {
            match record {
                Ok(record) if wanted.contains(&record.offset) => {
                    wanted.start = record.offset + 1;
                    self.ready.push_back((wanted.start, record.value));
                }
                Ok(record) if record.offset < first => {}
                Ok(_) | Err(_) => skipped += 1,
            }
        }
        if skipped > 0 {
            node.metrics.error(Frontend::Walrus, "record_unreadable");
            tracing::error!(skipped, at = %self.at, offset = first, "skipped unreadable records");
        }
    }
}
