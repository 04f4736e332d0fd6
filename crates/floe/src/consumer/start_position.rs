//! Where reading begins.

use std::sync::Arc;

use crate::{
    Error, ErrorKind, Result,
    engine::{SharedEngine, Start, Watermarks},
    topic::TopicPartition,
};

/// Where a consumer begins in each of its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartAt {
    /// At the oldest record that is still there.
    Beginning,
    /// After the newest record: only what comes from now on.
    End,
    /// At this offset. It must lie between the oldest record and the offset that the next record will get.
    Offset(i64),
    /// This many offsets after the beginning, at most at the end.
    AfterBeginning(u64),
    /// This many offsets before the end, at least at the beginning.
    BeforeEnd(u64),
    /// At the first record whose time is at or after this many milliseconds since the Unix epoch; at the end if there
    /// is none.
    Time(i64),
    /// Where the group's stored offset says; at the beginning if it has none.
    StoredOrBeginning,
    /// Where the group's stored offset says; at the end if it has none.
    StoredOrEnd,
}

impl StartAt {
    pub(super) fn needs_group(self) -> bool {
        matches!(self, Self::StoredOrBeginning | Self::StoredOrEnd)
    }

    /// For engines without offsets: the two places that need none.
    pub(super) fn without_offsets(self, engine: &'static str) -> Result<Start> {
        match self {
            Self::Beginning => Ok(Start::Earliest),
            Self::End => Ok(Start::Latest),
            Self::StoredOrBeginning | Self::StoredOrEnd => {
                Err(Error::unsupported("stored consumer offsets", engine))
            }
            Self::Offset(_) | Self::AfterBeginning(_) | Self::BeforeEnd(_) | Self::Time(_) => {
                Err(Error::unsupported("offsets", engine))
            }
        }
    }
}

/// A place in one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct StartPosition {
    /// Offset of the first record to hand out.
    pub(super) next: i64,
    /// Where reading should have begun, if retention has removed that.
    pub(super) wanted: Option<i64>,
    /// What the partition holds.
    pub(super) bounds: Watermarks,
    /// What the group has stored.
    pub(super) stored: Option<i64>,
}

/// Finds the place in one partition.
pub(super) async fn resolve(
    engine: &SharedEngine,
    at: &TopicPartition,
    start: StartAt,
    group: Option<&Arc<str>>,
) -> Result<StartPosition> {
    let bounds = engine.watermarks(at.clone()).await?;
    let stored = match group {
        Some(group) => engine.committed(Arc::clone(group), at.clone()).await?,
        None => None,
    };
    let Watermarks { start: first, high, .. } = bounds;
    let distance = |offsets: u64| i64::try_from(offsets).unwrap_or(i64::MAX);
    let mut wanted = None;
    let next = match (start, stored) {
        (StartAt::Beginning, _) | (StartAt::StoredOrBeginning, None) => first,
        (StartAt::End, _) | (StartAt::StoredOrEnd, None) => high,
        (StartAt::Offset(offset), _) => {
            if offset < first || offset > high {
                return Err(out_of_range(at, "offset", offset, bounds));
            }
            offset
        }
        (StartAt::AfterBeginning(offsets), _) => first.saturating_add(distance(offsets)).min(high),
        (StartAt::BeforeEnd(offsets), _) => high.saturating_sub(distance(offsets)).max(first),
        (StartAt::Time(time), _) => match engine.offset_for_time(at.clone(), time).await? {
            Some(offset) => offset.clamp(first, high.max(first)),
            None => high,
        },
        (StartAt::StoredOrBeginning | StartAt::StoredOrEnd, Some(stored)) => {
            if stored > high {
                return Err(out_of_range(at, "stored offset", stored, bounds));
            }
            if stored < first {
                wanted = Some(stored);
            }
            stored.max(first)
        }
    };
    Ok(StartPosition { next, wanted, bounds, stored })
}

pub(super) fn out_of_range(at: &TopicPartition, what: &str, offset: i64, bounds: Watermarks) -> Error {
    Error::new(
        ErrorKind::OffsetOutOfRange,
        format!(
            "{what} {offset} is out of range: the oldest record is at {}, the next one will be at {}",
            bounds.start, bounds.high
        ),
    )
    .with_topic(&at.topic)
    .with_partition(at.partition)
}
