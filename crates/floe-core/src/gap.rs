//! Missing records.

use std::{fmt, ops::Range};

use crate::{Error, ErrorKind, topic::TopicPartition};

/// Missing records between two records that were read, or before the first one.
///
/// It is the source of errors of kind [`ErrorKind::Gap`]:
///
/// ```
/// use floe_core::{
///     Topic,
///     gap::{Gap, GapReason},
/// };
///
/// let gap = Gap::new(Topic::from("orders").partition(1), 5..9, GapReason::Corrupt);
/// let error = gap.clone().into_error();
/// assert_eq!(Gap::of(&error), Some(&gap));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The partition.
    pub at: TopicPartition,
    /// Offset of the first missing record.
    pub from: i64,
    /// Offset after the last missing record, at which reading continues.
    pub to: i64,
    /// The known reason.
    pub reason: GapReason,
}

/// Reason why records are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapReason {
    /// Retention removed them before they were read.
    Evicted,
    /// The engine skipped from one offset to a later one.
    Missing,
    /// Their checksum or their encoding is wrong.
    Corrupt,
    /// Their batch decompresses to more than the consumer admits: 256 MiB.
    TooLarge,
}

impl GapReason {
    /// Returns the stable word for logs and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Missing => "missing",
            Self::Corrupt => "corrupt",
            Self::TooLarge => "too_large",
        }
    }
}

impl Gap {
    /// Creates a gap: the offsets of a partition that are missing.
    #[must_use]
    pub fn new(at: TopicPartition, offsets: Range<i64>, reason: GapReason) -> Self {
        Self { at, from: offsets.start, to: offsets.end, reason }
    }

    /// Returns the gap that an error of kind [`ErrorKind::Gap`] reports.
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        std::error::Error::source(error)?.downcast_ref()
    }

    /// Returns the number of missing offsets.
    #[must_use]
    pub fn offsets(&self) -> u64 {
        u64::try_from(self.to.saturating_sub(self.from)).unwrap_or(0)
    }

    /// Returns the error that reports this gap.
    #[must_use]
    pub fn into_error(self) -> Error {
        let message = match self.reason {
            GapReason::Evicted => "retention removed records before they were read",
            GapReason::Missing => "records are missing",
            GapReason::Corrupt => "damaged records were skipped",
            GapReason::TooLarge => "a batch that decompresses beyond the limit was skipped",
        };
        Error::new(ErrorKind::Gap, format!("{message}: offsets {} to {}", self.from, self.to - 1))
            .with_topic(&self.at.topic)
            .with_partition(self.at.partition)
            .with_source(self)
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, from, to, reason } = self;
        write!(f, "offsets {from} to {} of {at} are {}", to - 1, reason.as_str())
    }
}

impl std::error::Error for Gap {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Topic;

    #[test]
    fn a_gap_is_the_source_of_its_error() {
        let gap = Gap { at: Topic::from("orders").partition(1), from: 5, to: 9, reason: GapReason::Evicted };
        let error = gap.clone().into_error();
        assert_eq!((error.kind(), Gap::of(&error)), (ErrorKind::Gap, Some(&gap)));
        assert_eq!(
            error.to_string(),
            "orders/1: retention removed records before they were read: offsets 5 to 8 (gap)"
        );
        assert_eq!(gap.to_string(), "offsets 5 to 8 of orders/1 are evicted");
        assert_eq!(gap.offsets(), 4);
        assert_eq!(Gap::of(&Error::new(ErrorKind::Gap, "no source")), None);
    }
}
