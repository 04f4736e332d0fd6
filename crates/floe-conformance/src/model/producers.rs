//! Producers of batches, as logs look at them: whether a batch is stored already, and whether its producer is fenced.

use floe::{Error, ErrorKind, Result};
use floe_wire::batch::{BatchHeader, EncodedBatch, ProducerIdentity, producer_id};

/// Returns the offset of the first record of a batch that the log holds; None if it may be appended.
pub(super) fn find(log: &[EncodedBatch], batch: &BatchHeader) -> Result<Option<i64>> {
    let ProducerIdentity { id, epoch, first_sequence } = batch.producer;
    let mine = || log.iter().map(EncodedBatch::header).filter(|stored| id >= 0 && stored.producer.id == id);
    let newest = mine().last().map(|stored| stored.producer.epoch);
    if producer_id::is_fenced(id) && newest.is_some_and(|newest| producer_id::is_older(epoch, newest)) {
        return Err(Error::new(ErrorKind::Fenced, format!("epoch {epoch} of the producer is fenced")));
    }
    if !producer_id::is_task(id) {
        let same = |stored: &&BatchHeader| {
            stored.producer == batch.producer && stored.checksum == batch.checksum && first_sequence >= 0
        };
        return Ok(mine().find(same).map(|stored| stored.base_offset));
    }
    let offset_of = |sequence| {
        mine().find_map(|stored| {
            let delta = producer_id::sequences_between(stored.producer.first_sequence, sequence);
            let span = i64::from(stored.offset_span());
            (0..span).contains(&delta).then_some(stored.base_offset + delta)
        })
    };
    let last = producer_id::sequence_after(first_sequence, batch.offset_span() - 1);
    match (offset_of(first_sequence), offset_of(last)) {
        (Some(first), Some(_)) => Ok(Some(first)),
        (Some(_), None) => Err(Error::new(ErrorKind::ConditionFailed, "some records of the task are stored")),
        (None, _) => Ok(None),
    }
}
