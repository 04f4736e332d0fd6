//! Looks up unacknowledged batches in the tail of a partition.
//!
//! When a connection breaks, the producer does not know which of its batches in flight were appended. A blind retry would
//! store duplicates. Every batch carries its producer id and the sequence of its first record, so the producer reads the
//! tail of the partition and looks for its own batches. The server need not support idempotent producers.

use std::ops::ControlFlow;

use floe_wire::batch::{EncodedBatch, ProducerIdentity};

use crate::{
    Result,
    engine::{Engine, ReadRequest, Start},
    topic::TopicPartition,
};

/// Size of one fetch of the tail, approximately.
const FETCH_BYTES: usize = 1024 * 1024;

/// Returns the base offsets of the batches `wanted`, in the same order; `None` for batches that are not in the log.
///
/// Reads from `from`, before which none of them can be (`None`: unknown, read everything), up to the current end of the
/// log. The high watermark is not enough: a new leader may learn it late. Waits as long as the engine does, so the caller
/// sets a deadline.
///
/// # Errors
/// Errors of the engine before the end of the log was reached.
pub(super) async fn find(
    engine: &dyn Engine,
    source: &TopicPartition,
    from: Option<i64>,
    wanted: &[ProducerIdentity],
) -> Result<Vec<Option<i64>>> {
    let mut found = vec![None; wanted.len()];
    scan_tail(engine, source, from, |batch| {
        let producer = batch.header().producer;
        for (identity, offset) in wanted.iter().zip(&mut found) {
            if offset.is_none() && *identity == producer {
                *offset = Some(batch.base_offset());
            }
        }
        if found.contains(&None) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .await?;
    Ok(found)
}

/// A batch of one producer that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) first_sequence: i32,
    pub(crate) records: u32,
}

/// Returns every batch that a producer wrote from offset `from` on. Unlike [`find`], it serves a producer that does not
/// know its batches, after a restart.
///
/// # Errors
/// As [`find`].
pub(crate) async fn written(
    engine: &dyn Engine,
    source: &TopicPartition,
    from: Option<i64>,
    producer_id: i64,
) -> Result<Vec<Written>> {
    let mut found = Vec::new();
    scan_tail(engine, source, from, |batch| {
        let header = batch.header();
        if header.producer.id == producer_id {
            let first_sequence = header.producer.first_sequence;
            found.push(Written { first_sequence, records: header.offset_span() });
        }
        ControlFlow::Continue(())
    })
    .await?;
    Ok(found)
}

/// Passes the batches from `from` up to the current end of the log to `visit`, until it breaks.
///
/// # Errors
/// As [`find`].
pub(crate) async fn scan_tail(
    engine: &dyn Engine,
    source: &TopicPartition,
    from: Option<i64>,
    mut visit: impl FnMut(&EncodedBatch) -> ControlFlow<()>,
) -> Result<()> {
    let marks = engine.watermarks(source.clone()).await?;
    let end = engine.log_end(source.clone()).await?.max(marks.high);
    // Retention may have deleted records up to the log start; a batch sent moments ago is not among them.
    // A log that ends before acknowledged records was truncated by a new leader: batches may be anywhere in it.
    let mut next = from.filter(|from| *from <= end).unwrap_or(marks.start).max(marks.start);
    if next >= end {
        return Ok(());
    }
    let request = ReadRequest::new(source.clone(), Start::Offset(next)).max_bytes(FETCH_BYTES);
    let mut reader = engine.open(request).await?;
    while next < end {
        let Some(batch) = reader.next().await? else { break };
        if visit(&batch).is_break() {
            break;
        }
        next = batch.next_offset();
    }
    Ok(())
}
