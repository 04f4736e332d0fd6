//! The records of a task that its output partitions hold beyond the last commit.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
    time::Duration,
};

use floe_wire::batch::EncodedBatch;
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

/// A record of the task that is in an output partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WrittenRecord {
    pub(super) offset: i64,
    pub(super) fingerprint: Fingerprint,
}

/// The task whose records are looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) producer_id: i64,
    /// Topic and partition that the task reads.
    pub(super) input: (&'a str, u32),
}

/// Returns the records of a task in an output partition from its last committed number on, in the order of their numbers. Waits
/// until all replicas have them.
///
/// # Errors
/// [`ErrorKind::Gap`] where retention has removed records that may be among them; [`ErrorKind::CorruptData`] where the
/// partition has lost records; errors of the engine.
pub(super) async fn read_written(
    engine: &dyn Engine,
    at: &TopicPartition,
    numbers: PartitionNumbers,
    writer: Writer<'_>,
) -> Result<VecDeque<WrittenRecord>> {
    loop {
        let marks = engine.watermarks(at.clone()).await?;
        check_place(at, numbers.hint, marks, engine.log_end(at.clone()).await?)?;
        let mut found = BTreeMap::new();
        let mut damage = None;
        scan_tail(engine, at, Some(numbers.hint), |batch| {
            match take(batch, numbers.next, writer, &mut found) {
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

/// Takes the records of the task from a batch: distance from `next` to record. The first one of a number stays.
fn take(
    batch: &EncodedBatch,
    next: u32,
    writer: Writer<'_>,
    found: &mut BTreeMap<u32, WrittenRecord>,
) -> Result<()> {
    let producer = batch.header().producer;
    let Some(first) =
        u32::try_from(producer.first_sequence).ok().filter(|_| producer.id == writer.producer_id)
    else {
        return Ok(());
    };
    for (index, record) in (0..).zip(batch.records()?) {
        let record = record?;
        let distance = first.wrapping_add(index).wrapping_sub(next) % MODULUS;
        // Smaller numbers are those of records before the commit.
        if distance < MODULUS / 2 {
            let contents = (record.key.as_deref(), &record.value[..]);
            let fingerprint = Fingerprint::of(writer.input, contents, record.headers.iter());
            found.entry(distance).or_insert(WrittenRecord { offset: record.offset, fingerprint });
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
fn without_holes(
    at: &TopicPartition,
    found: BTreeMap<u32, WrittenRecord>,
) -> Result<VecDeque<WrittenRecord>> {
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
