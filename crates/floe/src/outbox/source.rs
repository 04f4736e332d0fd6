//! Where a session takes batches from.

use floe_wire::batch::EncodedBatch;

use super::ways::Ways;
use crate::{
    Result, TopicPartition,
    consumer::{RawBatchReader, RecordBatch},
};

/// Where a session takes batches from.
pub(super) enum Source<'a> {
    Log(Box<RawBatchReader>),
    /// Those that are held, from the one on that begins with this record.
    Straight {
        ways: &'a Ways,
        next: i64,
        place: TopicPartition,
    },
}

impl Source<'_> {
    /// The next batch, and where it lies. Waits at the end.
    ///
    /// # Errors
    /// As [`RawBatchReader::next`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<(RecordBatch, EncodedBatch)> {
        match self {
            Self::Log(reader) => reader.next().await,
            Self::Straight { ways, next, place } => {
                let of = ways.held(*next).await;
                let batch = RecordBatch::of(place, of.clone())?;
                *next = of.next_offset();
                Ok((batch, of))
            }
        }
    }
}
