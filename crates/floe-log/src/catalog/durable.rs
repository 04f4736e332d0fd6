//! Durable points of logs, and the fenced producers before them.

use redb::{TableHandle, WriteTransaction};

use super::{
    Catalog, DurablePoint,
    rows::{FENCES, FencedRow, RECOVERY},
};
use crate::{
    LogError,
    fences::{FencedBatch, FencedProducer},
};

/// Durable point of a log, and the fenced producers that changed since the last one; None for one that is forgotten. They
/// hold every batch before the point and none behind it that the disk may lose.
#[derive(Debug)]
pub(crate) struct DurableLog {
    pub(crate) log_id: u64,
    pub(crate) point: DurablePoint,
    pub(crate) fences: Vec<(i64, Option<FencedProducer>)>,
}

impl Catalog {
    /// Stores durable points in one transaction.
    pub(crate) fn set_durable(&self, logs: &[DurableLog]) -> Result<(), LogError> {
        if logs.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            let mut recovery = transaction.open_table(RECOVERY)?;
            for DurableLog { log_id, point, .. } in logs {
                recovery.insert(log_id, (point.segment, point.position, point.next))?;
            }
            drop(recovery);
            // Most stores never have the table.
            if logs.iter().any(|log| !log.fences.is_empty()) {
                let mut fences = transaction.open_table(FENCES)?;
                for log in logs {
                    for (producer, state) in &log.fences {
                        let key = (log.log_id, *producer);
                        match state {
                            Some(state) => drop(fences.insert(key, rows_of(state))?),
                            None => drop(fences.remove(key)?),
                        }
                    }
                }
            }
            Ok(())
        })
    }

    /// Returns the fenced producers of a log.
    pub(crate) fn fences(&self, log_id: u64) -> Result<Vec<(i64, FencedProducer)>, LogError> {
        self.read(|transaction| {
            let table = match transaction.open_table(FENCES) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let mut found = Vec::new();
            for row in table.range((log_id, i64::MIN)..=(log_id, i64::MAX))? {
                let (key, batches) = row?;
                let batches = batches.value().into_iter().map(batch_of).collect();
                found.push((key.value().1, FencedProducer { batches }));
            }
            Ok(found)
        })
    }
}

/// Removes the fenced producers of logs.
pub(super) fn remove_fences(transaction: &WriteTransaction, logs: &[u64]) -> Result<(), redb::Error> {
    if !transaction.list_tables()?.any(|table| table.name() == FENCES.name()) {
        return Ok(());
    }
    let mut fences = transaction.open_table(FENCES)?;
    for log in logs {
        fences.retain_in((*log, i64::MIN)..=(*log, i64::MAX), |_, _| false)?;
    }
    Ok(())
}

fn rows_of(producer: &FencedProducer) -> Vec<FencedRow> {
    let row =
        |b: &FencedBatch| (b.epoch, b.first_sequence, b.span, b.checksum, b.base_offset, b.timestamp_ms);
    producer.batches.iter().map(row).collect()
}

fn batch_of((epoch, first_sequence, span, checksum, base_offset, timestamp_ms): FencedRow) -> FencedBatch {
    FencedBatch { epoch, first_sequence, span, checksum, base_offset, timestamp_ms }
}
