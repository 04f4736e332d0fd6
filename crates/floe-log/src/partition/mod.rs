//! Partition of a topic: bounds, waiting and lookup; appends, syncs, reads and retention in the submodules.

mod append;
mod durable_point;
mod producers;
mod reader;
mod retention;
mod sync;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    Durability, LogError, TopicConfig,
    acked::AckedEnd,
    catalog::DurablePoint,
    frame_reader::{FrameError, FrameReader, MIN_READ, Step, StepLimits},
    known_gaps::KnownGaps,
    log_info::LogInfo,
    resync::Resync,
    segment::Segment,
    store_shared::StoreShared,
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    tail_cache::TailCache,
    waiters::Waiters,
};
use append::{PendingAppend, Writer};
pub(crate) use producers::Producers;
pub use reader::{Chunk, Reader, TryChunk};
use retention::RetentionLimits;
use sync::SyncState;

/// Position of an appended batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Append time, milliseconds since the Unix epoch. Never decreases within a partition while the store is open.
    pub timestamp_ms: i64,
}

/// Offset range of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// First readable offset.
    pub start: i64,
    /// Offset that the next record receives.
    pub end: i64,
    /// Offset before which all records survive a power loss.
    pub durable_end: i64,
}

/// Partition of a topic.
#[derive(Debug)]
pub struct Partition {
    pub(crate) shared: Arc<StoreShared>,
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: u64,
    pub(crate) number: u32,
    pub(crate) log_id: u64,
    directory: PathBuf,
    /// Contents of `log.info`.
    info: Mutex<LogInfo>,
    durability: Durability,
    segment_bytes: u64,
    retention: Mutex<RetentionLimits>,

    queue: Mutex<VecDeque<PendingAppend>>,
    writer: Mutex<Writer>,
    sync: SyncState,
    /// Segments ordered by base offset; appends go to the last one.
    segments: RwLock<Vec<Arc<Segment>>>,
    /// Lost offsets that a repair has reported.
    known_gaps: KnownGaps,
    start: AtomicI64,
    end: AtomicI64,
    durable_end: AtomicI64,
    deleted: AtomicBool,
    pub(crate) tail: TailCache,
    pub(crate) waiters: Waiters,
}

/// Recovered log of a partition, for [`Partition::new`].
#[derive(Debug)]
pub(crate) struct OpenedLog {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) producers: Producers,
    pub(crate) known_gaps: KnownGaps,
    pub(crate) last_append_ms: i64,
    pub(crate) durable: Option<DurablePoint>,
    /// Whether the catalog already holds the durable point.
    pub(crate) is_noted: bool,
    pub(crate) acked: AckedEnd,
}

/// Topic, number and log of a partition, for [`Partition::new`].
#[derive(Debug, Clone)]
pub(crate) struct PartitionIdentity {
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: u64,
    pub(crate) number: u32,
    pub(crate) log_id: u64,
    pub(crate) info: LogInfo,
}

impl Partition {
    pub(crate) fn new(
        shared: &Arc<StoreShared>,
        identity: PartitionIdentity,
        config: &TopicConfig,
        log: OpenedLog,
    ) -> Arc<Self> {
        let (start, end) = (log.start, log.end);
        Arc::new(Self {
            directory: shared.log_directory(identity.log_id),
            info: Mutex::new(identity.info),
            topic: identity.topic,
            topic_id: identity.topic_id,
            number: identity.number,
            log_id: identity.log_id,
            durability: config.durability,
            segment_bytes: config.segment_bytes.unwrap_or(shared.config.segment_bytes),
            retention: Mutex::new(RetentionLimits::of(config)),
            queue: Mutex::default(),
            // A file may have the time of a clock that was ahead.
            writer: Mutex::new(Writer::new(log.producers, end, log.last_append_ms.min(shared.now_ms()))),
            sync: SyncState::new(log.durable, log.is_noted, log.acked),
            segments: RwLock::new(log.segments),
            known_gaps: log.known_gaps,
            start: AtomicI64::new(start),
            end: AtomicI64::new(end),
            durable_end: AtomicI64::new(end),
            deleted: AtomicBool::new(false),
            tail: TailCache::new(shared.config.tail_bytes, &shared.tail_budget),
            waiters: Waiters::default(),
            shared: Arc::clone(shared),
        })
    }

    /// Replaces the description of the log, in its directory too if that exists.
    pub(crate) fn set_info(&self, info: LogInfo) {
        let mut present = self.info.lock();
        if let Err(error) = info.update(&*self.shared.disk, &self.directory) {
            tracing::warn!(topic = %self.topic, partition = self.number, %error, "log.info was not written");
        }
        *present = info;
    }

    /// Replaces the limits of retention, which the next run of retention applies.
    pub(crate) fn set_retention(&self, config: &TopicConfig) {
        *self.retention.lock() = RetentionLimits::of(config);
    }

    /// Returns the name of the topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Returns the number of this partition within its topic, from 0.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn known_gaps(&self) -> &KnownGaps {
        &self.known_gaps
    }

    /// Returns the current offset range.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        // Loaded in this order, so that start <= durable_end <= end holds despite concurrent appends.
        let start = self.start.load(Ordering::Acquire);
        let durable_end = self.durable_end.load(Ordering::Acquire);
        let end = self.end.load(Ordering::Acquire);
        Bounds { start, end, durable_end: durable_end.max(start) }
    }

    /// Returns the high watermark: the offset before which readers see records. It is the end, or the durable end for
    /// [`Durability::Always`].
    #[must_use]
    pub fn readable_end(&self) -> i64 {
        match self.durability {
            Durability::Always => self.durable_end.load(Ordering::Acquire),
            Durability::Os | Durability::Interval(_) => self.end.load(Ordering::Acquire),
        }
    }

    pub(crate) fn start(&self) -> i64 {
        self.start.load(Ordering::Acquire)
    }

    /// Fails once the topic is deleted or the store is closed.
    pub(crate) fn check_alive(&self) -> Result<(), LogError> {
        if self.deleted.load(Ordering::Acquire) {
            return Err(LogError::TopicNotFound { topic: self.topic.to_string() });
        }
        if self.shared.is_closed() {
            return Err(LogError::Closed);
        }
        Ok(())
    }

    /// Resolves to the readable end once that exceeds `offset`; registers the waker otherwise. Spurious wake-ups
    /// happen. A reader should wait with [`Reader::poll_beyond`], which removes its waker when the reader is dropped.
    ///
    /// # Errors
    /// [`LogError::TopicNotFound`] if the topic is deleted while waiting, [`LogError::Closed`] if the store is closed.
    pub fn poll_beyond(&self, offset: i64, cx: &mut Context<'_>) -> Poll<Result<i64, LogError>> {
        self.poll_with(offset, || self.waiters.register_loose(cx.waker()))
    }

    pub(crate) fn poll_with(&self, offset: i64, register: impl FnOnce()) -> Poll<Result<i64, LogError>> {
        let look = || {
            let end = self.readable_end();
            if let Err(error) = self.check_alive() {
                return Poll::Ready(Err(error));
            }
            if end > offset { Poll::Ready(Ok(end)) } else { Poll::Pending }
        };
        if let Poll::Ready(ready) = look() {
            return Poll::Ready(ready);
        }
        register();
        // Checks again, because the end may have moved before the registration.
        look()
    }

    /// Creates a reader whose first batch is the one that holds `from`; the end is a valid start.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`] unless `from` lies between start and readable end; [`LogError::TopicNotFound`];
    /// [`LogError::Closed`].
    pub fn reader(self: &Arc<Self>, from: i64) -> Result<Reader, LogError> {
        Reader::new(self, from)
    }

    pub(crate) fn check_range(&self, offset: i64) -> Result<(), LogError> {
        let start = self.start();
        let end = self.readable_end().max(start);
        if (start..=end).contains(&offset) {
            return Ok(());
        }
        Err(LogError::OutOfRange { offset, start, end })
    }

    /// Returns the size of all segment files in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments.read().iter().map(|segment| segment.len()).sum()
    }

    /// Returns the offset of the first batch with a record of this timestamp or later (milliseconds since the Unix
    /// epoch). The record itself may lie later in the batch. None if there is no such record.
    ///
    /// # Errors
    /// [`LogError::Io`], [`LogError::Corrupt`], [`LogError::TopicNotFound`], [`LogError::Closed`].
    pub fn offset_for_time(&self, time_ms: i64) -> Result<Option<i64>, LogError> {
        self.check_alive()?;
        let segments: Vec<_> = self.segments.read().clone();
        let (start, readable) = (self.start(), self.readable_end());
        for segment in segments {
            if segment.end() <= start || segment.max_time().is_some_and(|newest| newest < time_ms) {
                continue;
            }
            let (position, offset) = segment.position_before_time(time_ms);
            let mut frames = FrameReader::new(segment.for_reads(), position, offset, segment.len());
            let limits = StepLimits { readable, read_size: MIN_READ, ..StepLimits::ALL };
            loop {
                match frames.step(limits) {
                    // A batch that starts before the partition's start counts: its last records are readable.
                    Ok(Step::Batch(batch, _))
                        if batch.header().max_timestamp >= time_ms && batch.next_offset() > start =>
                    {
                        return Ok(Some(batch.base_offset().max(start)));
                    }
                    Ok(Step::Batch(..)) => {}
                    Ok(Step::End | Step::Stop | Step::WouldBlock) => break,
                    Err(FrameError::Bad { .. }) if self.resync(&segment, &mut frames)? => {}
                    Err(FrameError::Bad { .. }) => break,
                    // Retention or a deletion was faster.
                    Err(_) if segment.is_removed() => {
                        self.check_alive()?;
                        break;
                    }
                    Err(error) => return Err(self.frame_error(&segment, error)),
                }
            }
        }
        Ok(None)
    }

    /// Moves `frames` from damaged bytes to the next whole batch of the segment; returns whether there is one.
    fn resync(&self, segment: &Arc<Segment>, frames: &mut FrameReader) -> Result<bool, LogError> {
        frames.step_back_if_damaged().map_err(|error| LogError::io(segment.path(), "read", error))?;
        let (file, anchors) = (segment.for_reads(), segment.anchors());
        let found = Resync {
            file: &file,
            position: frames.position(),
            expected: frames.expected(),
            limit: frames.limit,
            anchors: &anchors,
            end: self.next_base(segment.base),
        }
        .find()
        .map_err(|error| LogError::io(segment.path(), "read", error))?;
        if let Some((position, offset)) = found {
            frames.jump(position, offset);
        }
        Ok(found.is_some())
    }

    /// Returns the base of the first segment behind `offset`; None if there is none.
    pub(crate) fn next_base(&self, offset: i64) -> Option<i64> {
        let segments = self.segments.read();
        segments.get(segments.partition_point(|segment| segment.base <= offset)).map(|segment| segment.base)
    }

    /// Returns the segment that holds `offset`, or the last one before it.
    pub(crate) fn segment_for(&self, offset: i64) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let behind = segments.partition_point(|segment| segment.base <= offset);
        behind.checked_sub(1).and_then(|last| segments.get(last)).cloned()
    }

    pub(crate) fn frame_error(&self, segment: &Segment, error: FrameError) -> LogError {
        match error {
            FrameError::Io(source) => LogError::io(segment.path(), "read", source),
            FrameError::Bad { position, problem } => LogError::Corrupt {
                topic: self.topic.to_string(),
                partition: self.number,
                path: segment.path().to_path_buf(),
                position,
                problem,
            },
        }
    }
}
