//! Finds out whether batches without an answer were appended.
//!
//! When a connection breaks, the producer cannot know which of its batches arrived. Sending them again blindly would
//! double some. Every batch carries the identity of its producer and the number of its first record, so the producer
//! reads the tail of the partition and looks for its own. No support by the server is needed.

use std::ops::ControlFlow;

use floe_wire::batch::{EncodedBatch, ProducerIdentity};

use crate::{
    Result,
    engine::{Engine, ReadRequest, Start},
    topic::TopicPartition,
};

/// About how much of the tail is fetched at once.
const FETCH_BYTES: usize = 1024 * 1024;

/// Base offsets of the batches `wanted`, in the same order; `None` for those that are not in the log.
///
/// Reads from `from`, before which none of them can be (`None`: unknown, read everything), up to the end of the log as
/// it is now: not only up to the high watermark, which a new leader may know late. Waits as long as the engine does: put
/// a deadline around it.
///
/// # Errors
/// Whatever kept the tail from being read to its end.
pub(super) async fn find(
    engine: &dyn Engine,
    source: &TopicPartition,
    from: Option<i64>,
    wanted: &[ProducerIdentity],
) -> Result<Vec<Option<i64>>> {
    let mut found = vec![None; wanted.len()];
    look_through(engine, source, from, |batch| {
        let producer = batch.header().producer;
        for (identity, place) in wanted.iter().zip(&mut found) {
            if place.is_none() && *identity == producer {
                *place = Some(batch.base_offset());
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

/// Every batch that a producer wrote from offset `from` on. As [`find`], for a producer that does not know what it has
/// sent.
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
    look_through(engine, source, from, |batch| {
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

/// Shows the batches from `from` on to `look`, up to the end of the log as it is now, or until it has seen enough.
async fn look_through(
    engine: &dyn Engine,
    source: &TopicPartition,
    from: Option<i64>,
    mut look: impl FnMut(&EncodedBatch) -> ControlFlow<()>,
) -> Result<()> {
    let marks = engine.watermarks(source.clone()).await?;
    let end = engine.log_end(source.clone()).await?.max(marks.high);
    // Retention may have taken what lies before the start; a batch sent moments ago is not there.
    // A log that ends before what was acknowledged was cut by a new leader: anything may be anywhere then.
    let mut next = from.filter(|from| *from <= end).unwrap_or(marks.start).max(marks.start);
    if next >= end {
        return Ok(());
    }
    let request = ReadRequest::new(source.clone(), Start::Offset(next)).max_bytes(FETCH_BYTES);
    let mut reader = engine.open(request).await?;
    while next < end {
        let Some(batch) = reader.next().await? else { break };
        if look(&batch).is_break() {
            break;
        }
        next = batch.next_offset();
    }
    Ok(())
}
