//! Removal of the oldest segments, and of the whole partition.

use std::sync::{Arc, atomic::Ordering};

use super::Partition;
use crate::{LogError, segment::Segment};

/// Segments that were taken out of the partition; their files still exist.
#[derive(Debug)]
pub(crate) struct ExpiredSegments {
    pub(crate) start: i64,
    pub(crate) segments: Vec<Arc<Segment>>,
}

impl Partition {
    /// Takes out the segments that the topic's retention no longer keeps; None if there are none.
    pub(crate) fn take_expired_segments(
        self: &Arc<Self>,
        now_ms: i64,
    ) -> Result<Option<ExpiredSegments>, LogError> {
        self.check_alive()?;
        let segment_age = self.shared.config.segment_age.as_millis();
        let segment_age = i64::try_from(segment_age).unwrap_or(i64::MAX);
        // Retention never removes the segment that receives appends, so an old one is closed first.
        match self.roll_if_older(segment_age.min(self.retention_ms.unwrap_or(i64::MAX)), now_ms) {
            // The other segments can still be removed.
            Ok(()) | Err(LogError::DiskFull { .. }) => {}
            Err(error) => return Err(error),
        }

        let mut segments = self.segments.write();
        let mut total: u64 = segments.iter().map(|segment| segment.len()).sum();
        let mut expired = 0;
        for segment in segments.iter().take(segments.len().saturating_sub(1)) {
            let is_old =
                self.retention_ms.is_some_and(|keep| now_ms.saturating_sub(segment.last_append_ms()) > keep);
            let is_surplus = self.retention_bytes.is_some_and(|keep| total - segment.len() >= keep);
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
            self.roll_if_older(i64::MIN, crate::clock::now_ms())?;
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
