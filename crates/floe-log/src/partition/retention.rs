//! Removal of the oldest segments, and of the whole partition.

use std::sync::Arc;

use super::Partition;
use crate::{LogError, TopicConfig, segment::Segment};

use crate::sync::atomic::Ordering;

/// Segments that were taken out of the partition; their files still exist.
#[derive(Debug)]
pub(crate) struct ExpiredSegments {
    pub(crate) start: i64,
    pub(crate) segments: Vec<Arc<Segment>>,
}

/// Limits beyond which retention removes segments.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetentionLimits {
    age_ms: Option<i64>,
    bytes: Option<u64>,
}

impl RetentionLimits {
    pub(super) fn of(config: &TopicConfig) -> Self {
        let age_ms = config.retention_age.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        Self { age_ms, bytes: config.retention_bytes }
    }
}

impl Partition {
    /// Takes out the segments that the topic's retention no longer keeps; None if there are none.
    pub(crate) fn take_expired_segments(
        self: &Arc<Self>,
        now_ms: i64,
    ) -> Result<Option<ExpiredSegments>, LogError> {
        self.check_alive()?;
        let limits = *self.retention.lock();
        let segment_age = self.shared.config.segment_age.as_millis();
        let segment_age = i64::try_from(segment_age).unwrap_or(i64::MAX);
        // Retention never removes the segment that receives appends, so an old one is closed first.
        match self.roll_if_older(segment_age.min(limits.age_ms.unwrap_or(i64::MAX)), now_ms) {
            // The other segments can still be removed.
            Ok(()) | Err(LogError::DiskFull { .. }) => {}
            Err(error) => return Err(error),
        }

        let mut segments = self.segments.write();
        let mut total: u64 = segments.iter().map(|segment| segment.len()).sum();
        let mut expired = 0;
        let last_appends = last_appends(&segments, now_ms);
        for (segment, last_append) in segments.iter().zip(last_appends).take(segments.len().saturating_sub(1))
        {
            let is_old = limits.age_ms.is_some_and(|keep| now_ms.saturating_sub(last_append) > keep);
            let is_surplus = limits.bytes.is_some_and(|keep| total - segment.len() >= keep);
            if !is_old && !is_surplus {
                break;
            }
            total -= segment.len();
            expired += 1;
        }
        if expired == 0 {
            return Ok(None);
        }
        let taken: Vec<_> = segments.drain(..expired).collect();
        let start = segments.first().map_or(0, |first| first.base);
        // Published before the files are removed, so that a reader behind the start gets OutOfRange.
        self.start.fetch_max(start, Ordering::AcqRel);
        Ok(Some(ExpiredSegments { start: self.start(), segments: taken }))
    }

    /// Removes all records before `offset`. Only whole segments free space; earlier records of the first remaining
    /// segment become unreadable.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`] unless `offset` lies between start and end; [`LogError::Io`]; [`LogError::Catalog`];
    /// [`LogError::TopicNotFound`]; [`LogError::Closed`].
    pub fn delete_before(self: &Arc<Self>, offset: i64) -> Result<(), LogError> {
        self.check_alive()?;
        self.shared.check_writable()?;
        self.check_range(offset)?;
        // Recovery rejects a start behind the durable point, so all records before the new start are synced first.
        self.sync()?;
        if offset == self.end.load(Ordering::Acquire) {
            self.roll_if_older(i64::MIN, self.shared.now_ms())?;
        }
        let mut segments = self.segments.write();
        let removed = segments
            .iter()
            .take(segments.len().saturating_sub(1))
            .take_while(|segment| segment.end() <= offset)
            .count();
        let taken: Vec<_> = segments.drain(..removed).collect();
        self.start.fetch_max(offset, Ordering::AcqRel);
        drop(segments);
        self.shared.catalog.set_starts(&[(self.topic_id, self.number, self.log_id, self.start())])?;
        taken.iter().try_for_each(|segment| segment.remove())?;
        self.shared.catalog.reserve.fill();
        Ok(())
    }

    /// Ends appends and reads of a deleted topic.
    pub(crate) fn mark_deleted(self: &Arc<Self>) {
        self.deleted.store(true, Ordering::Release);
        let error = LogError::TopicNotFound { topic: self.topic.to_string() };
        self.fail_queue(&error);
        self.tail.clear();
        self.waiters.wake_all();
    }

    /// Removes the files of a deleted topic.
    pub(crate) fn remove_files(self: &Arc<Self>) -> Result<(), LogError> {
        // An idle writer creates no segment.
        self.with_writer_idle(|| {
            for segment in self.segments.read().iter() {
                segment.remove()?;
            }
            let disk = &self.shared.disk;
            disk.remove_dir_all(&self.directory).map_err(|e| LogError::io(&self.directory, "remove", e))
        })
    }
}

/// Returns the time of the last append to each segment. A time that lies behind the creation of a later segment, or behind
/// now, comes from a clock that was ahead: the later segment is the better evidence.
fn last_appends(segments: &[Arc<Segment>], now_ms: i64) -> Vec<i64> {
    let mut bound = now_ms;
    let mut times: Vec<_> = segments
        .iter()
        .rev()
        .map(|segment| {
            let last_append = segment.last_append_ms().min(bound);
            bound = segment.created_ms.min(last_append);
            last_append
        })
        .collect();
    times.reverse();
    times
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use bytes::Bytes;
    use floe_wire::batch::EncodedBatch;

    use super::*;
    use crate::{
        Store, StoreConfig,
        clock::{self, tests::SetClocks},
        disk::MemoryDisk,
    };

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;

    fn batch() -> EncodedBatch {
        let mut bytes = vec![0_u8; 300];
        bytes[8..12].copy_from_slice(&288_i32.to_be_bytes());
        bytes[12..17].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF, 2]);
        bytes[43..57].fill(0xFF);
        let checksum = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
        EncodedBatch::parse(Bytes::from(bytes)).unwrap()
    }

    fn append(partition: &Arc<Partition>) {
        let (answer, answered) = mpsc::channel();
        partition.submit(batch(), move |result| answer.send(result).unwrap());
        answered.recv().unwrap().unwrap();
    }

    /// Opens a store with a topic that keeps records for an hour, in segments of two records.
    fn open(disk: &MemoryDisk, clocks: &Arc<SetClocks>) -> (Arc<Store>, Arc<Partition>) {
        let mut config = StoreConfig::at("/").disk(Arc::new(disk.clone())).segment_bytes(700);
        config.time = Arc::clone(clocks) as _;
        let store = Store::open(config).unwrap();
        if store.topic("t").is_none() {
            store
                .create_topic("t", TopicConfig::new().retention_age(Some(Duration::from_secs(3_600))))
                .unwrap();
        }
        let partition = store.partition("t", 0).unwrap();
        (store, partition)
    }

    fn retain(store: &Store) {
        store.enforce_retention(store.shared.now_ms()).unwrap();
    }

    #[test]
    fn moment_with_the_clock_ahead_removes_nothing_too_early_and_stops_nothing() {
        for ahead in [2 * HOUR, 20_000 * HOUR] {
            let (disk, clocks) = (MemoryDisk::new(), Arc::new(SetClocks::at(clock::now_ms())));
            let (store, partition) = open(&disk, &clocks);
            for _ in 0..6 {
                append(&partition);
                clocks.pass(MINUTE);
            }
            clocks.jump(ahead);
            append(&partition);
            retain(&store);
            clocks.pass(MINUTE);
            append(&partition);
            retain(&store);
            assert_eq!(partition.bounds().start, 0, "records of the last ten minutes stay");
            clocks.jump(-ahead);
            append(&partition);
            clocks.pass(2 * HOUR);
            retain(&store);
            assert_eq!(partition.bounds().start, 9, "everything is older than an hour");
        }
    }

    #[test]
    fn retention_of_a_topic_changes_while_it_is_used_and_is_kept() {
        let (disk, clocks) = (MemoryDisk::new(), Arc::new(SetClocks::at(clock::now_ms())));
        let (store, partition) = open(&disk, &clocks);
        (0..6).for_each(|_| append(&partition));
        clocks.pass(2 * MINUTE);
        retain(&store);
        assert_eq!(partition.bounds().start, 0, "an hour has not passed");
        let minute = Some(Duration::from_secs(60));
        store.change_retention("t", |age, bytes| (*age, *bytes) = (minute, Some(1 << 30))).unwrap();
        retain(&store);
        assert_eq!(partition.bounds().start, 6, "a minute has passed");
        store.change_retention("t", |age, bytes| (*age, *bytes) = (None, Some(700))).unwrap();
        (0..6).for_each(|_| append(&partition));
        retain(&store);
        assert_eq!(partition.bounds().start, 8, "two segments are as large as the limit");
        store.close().unwrap();
        assert!(matches!(store.change_retention("t", |_, _| ()), Err(LogError::Closed)));

        let (store, partition) = open(&disk, &clocks);
        let config = store.topic("t").unwrap().config;
        assert_eq!((config.retention_age, config.retention_bytes), (None, Some(700)));
        clocks.pass(2 * HOUR);
        (0..4).for_each(|_| append(&partition));
        retain(&store);
        assert_eq!(partition.bounds().start, 12);
        let missing = store.change_retention("u", |_, _| ());
        assert!(matches!(missing, Err(LogError::TopicNotFound { .. })), "{missing:?}");
    }

    #[test]
    fn times_of_a_process_whose_clock_was_ahead_do_not_stop_retention() {
        let (disk, clocks) = (MemoryDisk::new(), Arc::new(SetClocks::at(clock::now_ms())));
        // The whole process runs with a clock that is years ahead.
        clocks.jump(20_000 * HOUR);
        let (store, partition) = open(&disk, &clocks);
        (0..5).for_each(|_| append(&partition));
        store.close().unwrap();
        clocks.jump(-20_000 * HOUR);
        // Nothing is appended; every process is short.
        for round in 0..4 {
            let (store, partition) = open(&disk, &clocks);
            assert_eq!(partition.bounds().start, if round < 3 { 0 } else { 5 }, "round {round}");
            store.close().unwrap();
            clocks.pass(40 * MINUTE);
        }
    }
}
