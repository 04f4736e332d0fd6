//! Giving up the oldest segments, and the whole partition.

use std::sync::{Arc, atomic::Ordering};

use super::Partition;
use crate::{LogError, segment::Segment};

/// Segments that left the partition; their files are still there.
#[derive(Debug)]
pub(crate) struct Retired {
    pub(crate) start: i64,
    pub(crate) segments: Vec<Arc<Segment>>,
}

impl Partition {
    /// Takes the segments out that the topic's retention does not keep.
    pub(crate) fn retire_expired(self: &Arc<Self>, now_ms: i64) -> Result<Option<Retired>, LogError> {
        self.check_alive()?;
        let segment_age = self.shared.config.segment_age.as_millis();
        let segment_age = i64::try_from(segment_age).unwrap_or(i64::MAX);
        // The segment that is appended to is never removed, so it must not outlive the retention.
        self.roll_if_older(segment_age.min(self.retention_ms.unwrap_or(i64::MAX)), now_ms)?;

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
        let retired: Vec<_> = segments.drain(..expired).collect();
        let start = segments.first().map_or(0, |first| first.base);
        // Published before the files go, so that a reader learns why its next one is missing.
        self.start.fetch_max(start, Ordering::AcqRel);
        Ok(Some(Retired { start: self.start(), segments: retired }))
    }

    /// Removes everything before `offset`. Segments go as a whole; what is left of the first one is not readable.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`] outside of start and end; [`LogError::Io`]; [`LogError::Catalog`];
    /// [`LogError::TopicNotFound`]; [`LogError::Closed`].
    pub fn delete_before(self: &Arc<Self>, offset: i64) -> Result<(), LogError> {
        self.check_alive()?;
        self.check_range(offset)?;
        // What is behind the new start must be able to prove where it begins.
        self.sync()?;
        if offset == self.end.load(Ordering::Acquire) {
            self.roll_if_older(i64::MIN, crate::clock::now_ms())?;
        }
        let mut segments = self.segments.write();
        let gone = segments
            .iter()
            .take(segments.len().saturating_sub(1))
            .take_while(|segment| segment.end() <= offset)
            .count();
        let retired: Vec<_> = segments.drain(..gone).collect();
        self.start.fetch_max(offset, Ordering::AcqRel);
        drop(segments);
        self.shared.catalog.set_starts(&[(self.topic_id, self.number, self.log_id, self.start())])?;
        retired.iter().try_for_each(|segment| segment.remove())
    }

    /// The topic is gone: nothing more is appended or read.
    pub(crate) fn mark_deleted(self: &Arc<Self>) {
        self.deleted.store(true, Ordering::Release);
        let error = LogError::TopicNotFound { topic: self.topic.to_string() };
        self.fail_queue(&error);
        self.tail.clear();
        self.waiters.wake_all();
    }

    /// Removes the files of a deleted topic.
    pub(crate) fn remove_files(self: &Arc<Self>) -> Result<(), LogError> {
        // Nobody is creating a segment once the writer is idle.
        self.with_writer_idle(|| {
            for segment in self.segments.read().iter() {
                segment.remove()?;
            }
            let disk = &self.shared.disk;
            disk.remove_dir_all(&self.directory).map_err(|e| LogError::io(&self.directory, "remove", e))
        })
    }
}
