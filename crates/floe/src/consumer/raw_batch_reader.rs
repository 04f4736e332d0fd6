//! Reads the batches of one partition as they lie there, for code of this crate that sends them on.
//!
//! There is no task that reads ahead: what was written moments ago is in memory, and handing it over would cost more than
//! taking it.

use std::collections::VecDeque;

use floe_wire::batch::EncodedBatch;

use super::{
    Gap, RecordBatch,
    offset_check::{Found, Holes, OffsetCheck},
};
use crate::{
    Error, ErrorKind, Result,
    engine::{BatchReader, ReadRequest, SharedEngine, Start},
    topic::TopicPartition,
};

/// How much is read at once.
const FETCH_BYTES: usize = 1 << 20;

impl RecordBatch {
    /// The records of a whole batch.
    ///
    /// # Errors
    /// [`ErrorKind::Gap`] for a batch that is damaged.
    pub(crate) fn of(at: &TopicPartition, batch: EncodedBatch) -> Result<Self> {
        let mut check = OffsetCheck::new(batch.base_offset(), None, Holes::None);
        let found = check.accept(batch).into_iter().flat_map(Found::settled).next();
        match found {
            Some(Found::Records(part)) => Ok(Self::new(at.topic.clone(), at.partition, part)),
            Some(Found::Gap(from, to, reason)) => Err(Gap { at: at.clone(), from, to, reason }.into_error()),
            None => Err(Error::new(ErrorKind::CorruptData, "the batch has no place")),
        }
    }
}

/// The batches of a partition of an engine with offsets, from one record on.
#[derive(Debug)]
pub(crate) struct RawBatchReader {
    reader: Box<dyn BatchReader>,
    at: TopicPartition,
    check: OffsetCheck,
    /// Taken from the reader and not handed out yet, with the batch that they are of.
    found: VecDeque<Found>,
    of: Option<EncodedBatch>,
}

impl RawBatchReader {
    /// # Errors
    /// As [`Engine::open`](crate::engine::Engine::open).
    pub(crate) async fn open(engine: &SharedEngine, at: TopicPartition, from: i64) -> Result<Self> {
        let request = ReadRequest::new(at.clone(), Start::Offset(from)).max_bytes(FETCH_BYTES);
        let reader = engine.open(request).await?;
        let holes = Holes::without_modules(engine.info().capabilities);
        let check = OffsetCheck::new(from, None, holes);
        Ok(Self { reader, at, check, found: VecDeque::new(), of: None })
    }

    /// The next records, every one of them readable, and the batch that they lie in. Waits at the end.
    ///
    /// # Errors
    /// [`ErrorKind::Gap`] where records are missing; [`ErrorKind::Closed`]; whatever keeps the engine from reading.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<(RecordBatch, EncodedBatch)> {
        loop {
            match (self.found.pop_front(), &self.of) {
                (Some(Found::Records(part)), Some(of)) => {
                    let batch = RecordBatch::new(self.at.topic.clone(), self.at.partition, part);
                    return Ok((batch, of.clone()));
                }
                (Some(Found::Gap(from, to, reason)), _) => {
                    return Err(Gap { at: self.at.clone(), from, to, reason }.into_error());
                }
                (Some(Found::Records(_)) | None, _) => {}
            }
            let Some(batch) = self.reader.next().await? else {
                return Err(Error::new(ErrorKind::Closed, "the engine closed the reader"));
            };
            let found = self.check.accept(batch.clone());
            self.found.extend(found.into_iter().flat_map(Found::settled));
            self.of = Some(batch);
        }
    }
}
