//! Reads stored batches of the target: its ends, where a copy finds the marks of its own batches.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    time::Duration,
};

use floe::{
    Error, ErrorKind,
    consumer::Gap,
    engine::{EncodedBatch, ReadRequest, SharedEngine, Start},
    topic::TopicPartition,
};

use super::stamp;

/// Longest wait for a batch that is there.
const READ_LIMIT: Duration = Duration::from_secs(60);

/// Offsets of the first look at the end of a partition; each further look takes a multiple.
const FIRST_LOOK: i64 = 1;
const NEXT_LOOK: i64 = 16;
const LONGEST_LOOK: i64 = 1 << 22;

/// Findings in one partition of the target.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TargetTail {
    /// Offset of the first record, and the one after the last.
    pub(super) offsets: Range<i64>,
    /// Partitions of the source, and where their next record is in the source.
    pub(super) next: BTreeMap<u32, i64>,
    /// Whether the copy wrote the last batch.
    pub(super) ends_with_copy: bool,
}

/// Searches a partition from its end for the last batch of each lane. `lanes`: producer ids with the partitions of the
/// source that they stand for.
pub(super) async fn examine(
    engine: &SharedEngine,
    at: &TopicPartition,
    lanes: &HashMap<i64, u32>,
) -> floe::Result<TargetTail> {
    let marks = engine.watermarks(at.clone()).await?;
    // The high watermark may be behind what a leader has stored.
    let end = engine.log_end(at.clone()).await?.max(marks.high);
    let mut tail = TargetTail { offsets: marks.start..end, ..TargetTail::default() };
    let (mut to, mut width) = (end, FIRST_LOOK);
    while to > marks.start && tail.next.len() < lanes.len() {
        let from = to.saturating_sub(width).max(marks.start);
        scan(engine, at, from..to, |batch| {
            let lane = lanes.get(&batch.header().producer.id);
            if to == end {
                tail.ends_with_copy = lane.is_some();
            }
            if let Some(lane) = lane {
                let next = stamp::next_of(batch.header());
                let known = tail.next.entry(*lane).or_insert(next);
                *known = next.max(*known);
            }
            Ok(())
        })
        .await?;
        (to, width) = (from, width.saturating_mul(NEXT_LOOK).min(LONGEST_LOOK));
    }
    Ok(tail)
}

/// Passes the batches that hold these offsets to `visit`; the first one may begin before them.
pub(super) async fn scan(
    engine: &SharedEngine,
    at: &TopicPartition,
    offsets: Range<i64>,
    mut visit: impl FnMut(&EncodedBatch) -> floe::Result<()>,
) -> floe::Result<()> {
    let mut next = offsets.start;
    if offsets.is_empty() {
        return Ok(());
    }
    let mut reader = engine.open(ReadRequest::new(at.clone(), Start::Offset(next))).await?;
    while next < offsets.end {
        let read = tokio::time::timeout(READ_LIMIT, reader.next()).await.map_err(|_| {
            Error::new(ErrorKind::RequestTimeout, format!("no record of {at} within {READ_LIMIT:?}"))
        })?;
        match read {
            Ok(Some(batch)) => {
                visit(&batch)?;
                next = batch.next_offset().max(next);
            }
            Ok(None) => return Err(Error::new(ErrorKind::Closed, "the engine closed the reader")),
            // Lost records of the target hold no marks.
            Err(error) => match Gap::of(&error) {
                Some(gap) => next = gap.to.max(next),
                None => return Err(error),
            },
        }
    }
    Ok(())
}
