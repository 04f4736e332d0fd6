//! The records of a task that its output partitions hold beyond the last commit.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
    time::Duration,
};

use floe_wire::batch::{EncodedBatch, RecordView};
use tokio::time::sleep;

use super::{
    fingerprint::Fingerprint,
    numbering::{MODULUS, PartitionNumbers},
};
use crate::{
    Error, ErrorKind, Result,
    engine::{Engine, Watermarks},
    producer::scan_tail,
    topic::TopicPartition,
};

/// How often the high watermark is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A record of the task that is in an output partition, and what the task has to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WrittenRecord<C = Fingerprint> {
    pub(super) offset: i64,
    pub(super) contents: C,
}

/// Returns the records of a task in an output partition from its last committed number on, in the order of their numbers. Waits
/// until all replicas have them.
///
/// `take` decides about each record: it gets the contents that are known under the number already, the epoch of the record
/// and the record, and returns the contents that count, or `None` to leave what is known.
///
/// # Errors
/// [`ErrorKind::Gap`] where retention has removed records that may be among them; [`ErrorKind::CorruptData`] where the
/// partition has lost records; errors of the engine.
pub(super) async fn read_written<C>(
    engine: &dyn Engine,
    at: &TopicPartition,
    (producer_id, numbers): (i64, PartitionNumbers),
    take: impl Fn(Option<&C>, i16, &RecordView) -> Option<C>,
) -> Result<VecDeque<WrittenRecord<C>>> {
    loop {
        let marks = engine.watermarks(at.clone()).await?;
        check_place(at, numbers.hint, marks, engine.log_end(at.clone()).await?)?;
        let mut found = BTreeMap::new();
        let mut damage = None;
        scan_tail(engine, at, Some(numbers.hint), |batch| {
            if batch.header().producer.id != producer_id {
                return ControlFlow::Continue(());
            }
            match take_batch(batch, numbers.next, &take, &mut found) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    damage = Some(error);
                    ControlFlow::Break(())
                }
            }
        })
        .await?;
        if let Some(error) = damage {
            return Err(error.with_topic(&at.topic).with_partition(at.partition));
        }
        let found = without_holes(at, found)?;
        let end = found.iter().map(|record| record.offset + 1).max().unwrap_or_default();
        if replicas_have(engine, at, end).await? {
            return Ok(found);
        }
        tracing::info!(target = %at, "the partition has lost records that no replica had; its end is read once more");
    }
}

/// Takes the records from a batch of the task: distance from `next` to record.
fn take_batch<C>(
    batch: &EncodedBatch,
    next: u32,
    take: impl Fn(Option<&C>, i16, &RecordView) -> Option<C>,
    found: &mut BTreeMap<u32, WrittenRecord<C>>,
) -> Result<()> {
    let producer = batch.header().producer;
    let Ok(first) = u32::try_from(producer.first_sequence) else { return Ok(()) };
    for (index, record) in (0..).zip(batch.records()?) {
        let record = record?;
        let distance = first.wrapping_add(index).wrapping_sub(next) % MODULUS;
        // Smaller numbers are those of records before the commit.
        if distance < MODULUS / 2 {
            let known = found.get(&distance).map(|known| &known.contents);
            if let Some(contents) = take(known, producer.epoch, &record) {
                found.insert(distance, WrittenRecord { offset: record.offset, contents });
            }
        }
    }
    Ok(())
}

/// Refuses a partition that does not hold all records since the last commit any more.
fn check_place(at: &TopicPartition, hint: i64, marks: Watermarks, log_end: i64) -> Result<()> {
    let end = log_end.max(marks.high);
    let (kind, message) = if hint > end {
        let message = format!(
            "the partition ends at offset {end}, and the processor has written up to {hint}: its last records are lost, or the \
             topic was created anew"
        );
        (ErrorKind::CorruptData, message)
    } else if hint < marks.start {
        let message = format!(
            "the processor has to read what it wrote from offset {hint} on, and retention has removed the records before {}: \
             the retention of an output must be longer than the processor stands still",
            marks.start
        );
        (ErrorKind::Gap, message)
    } else {
        return Ok(());
    };
    let message = format!("{message}; `floe group reset` lets it begin anew, where records may come twice");
    Err(Error::new(kind, message).with_topic(&at.topic).with_partition(at.partition))
}

/// Checks that the records follow each other from the first number on.
fn without_holes<C>(
    at: &TopicPartition,
    found: BTreeMap<u32, WrittenRecord<C>>,
) -> Result<VecDeque<WrittenRecord<C>>> {
    let hole = (0..).zip(&found).find(|(expected, (distance, _))| expected != *distance);
    if let Some((missing, (distance, record))) = hole {
        let message = format!(
            "{} records of the processor are missing before its record at offset {}: the partition has lost them",
            distance - missing,
            record.offset
        );
        let error = Error::new(ErrorKind::CorruptData, message);
        return Err(error.with_topic(&at.topic).with_partition(at.partition));
    }
    Ok(found.into_values().collect())
}

/// Waits until all replicas have the records before an offset; false if the log ends before it.
async fn replicas_have(engine: &dyn Engine, at: &TopicPartition, end: i64) -> Result<bool> {
    loop {
        let high = engine.watermarks(at.clone()).await?.high;
        if high >= end {
            return Ok(true);
        }
        if engine.log_end(at.clone()).await? < end {
            return Ok(false);
        }
        sleep(LOOK).await;
    }
}
