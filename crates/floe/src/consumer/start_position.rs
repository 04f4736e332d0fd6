//! Resolves where reading begins.

use std::sync::Arc;

use crate::{
    Error, ErrorKind, Result,
    engine::{SharedEngine, Start, Watermarks},
    topic::TopicPartition,
};

/// Position at which a consumer begins in each of its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartAt {
    /// The oldest retained record.
    Beginning,
    /// After the newest record: only records appended later.
    End,
    /// This offset. It must lie between the oldest record and the offset of the next record to be appended.
    Offset(i64),
    /// This many offsets after the beginning, but at most the end.
    AfterBeginning(u64),
    /// This many offsets before the end, but at least the beginning.
    BeforeEnd(u64),
    /// The first record whose time is at or after this many milliseconds since the Unix epoch; the end if there is none.
    Time(i64),
    /// The stored offset of the group; the beginning if there is none.
    StoredOrBeginning,
    /// The stored offset of the group; the end if there is none.
    StoredOrEnd,
}

impl StartAt {
    pub(super) fn needs_group(self) -> bool {
        matches!(self, Self::StoredOrBeginning | Self::StoredOrEnd)
    }

    /// Returns the start for an engine without offsets.
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

/// Start position in one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct StartPosition {
    /// Offset of the first record to hand out.
    pub(super) next: i64,
    /// The stored offset, if retention has removed its record.
    pub(super) wanted: Option<i64>,
    /// Watermarks of the partition.
    pub(super) bounds: Watermarks,
    /// The stored offset of the group.
    pub(super) stored: Option<i64>,
}

/// Resolves the start position in one partition.
pub(super) async fn resolve(
    engine: &SharedEngine,
    at: &TopicPartition,
    start: StartAt,
    group: Option<&Arc<str>>,
) -> Result<StartPosition> {
    let stored = match group {
        Some(group) => engine.committed(Arc::clone(group), at.clone()).await?,
        None => None,
    };
    resolve_stored(engine, at, start, stored).await
}

/// As [`resolve`], with the stored offset.
pub(super) async fn resolve_stored(
    engine: &SharedEngine,
    at: &TopicPartition,
    start: StartAt,
    stored: Option<i64>,
) -> Result<StartPosition> {
    let bounds = engine.watermarks(at.clone()).await?;
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

/// Resolves a position to an offset of a partition.
pub(crate) async fn resolve_offset(
    engine: &SharedEngine,
    at: &TopicPartition,
    start: StartAt,
) -> Result<i64> {
    Ok(resolve_stored(engine, at, start, None).await?.next)
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
