//! Reads the stored batches of one partition, for code of this crate that forwards them.
//!
//! No task reads ahead: a record written moments ago is in memory, and handing it over costs more than reading it.

use std::collections::VecDeque;

use floe_wire::batch::EncodedBatch;

use super::{
    checked_batch::{CheckedBatch, Found},
    gap::Gap,
    message::RecordBatch,
    offset_check::OffsetCheck,
};
use crate::{Error, ErrorKind, Result, engine::BatchReader, topic::TopicPartition};
#[cfg(feature = "embedded")]
use crate::{
    consumer::offset_check::Holes,
    engine::{ReadRequest, SharedEngine, Start},
};

/// Bytes of one read.
#[cfg(feature = "embedded")]
const FETCH_BYTES: usize = 1 << 20;

/// Reader of the batches of a partition of an engine with offsets, from one record on.
#[derive(Debug)]
pub(crate) struct RawBatchReader {
    reader: Box<dyn BatchReader>,
    at: TopicPartition,
    check: OffsetCheck,
    /// Parts of `source` that were not returned yet.
    found: VecDeque<Found<CheckedBatch>>,
    source: Option<EncodedBatch>,
}

impl RawBatchReader {
    /// Opens a reader at offset `from`. Only the spool of the outbox does.
    ///
    /// # Errors
    /// As [`Engine::open`](crate::engine::Engine::open).
    #[cfg(feature = "embedded")]
    pub(crate) async fn open(engine: &SharedEngine, at: TopicPartition, from: i64) -> Result<Self> {
        let request = ReadRequest::new(at.clone(), Start::Offset(from)).max_bytes(FETCH_BYTES);
        let reader = engine.open(request).await?;
        let check = OffsetCheck::new(from, None, Holes::without_modules(engine.info().capabilities));
        Ok(Self { reader, at, check, found: VecDeque::new(), source: None })
    }

    /// Returns the next records, and the stored batch that they are a part of. Waits at the end.
    ///
    /// # Errors
    /// [`ErrorKind::Gap`] where records are missing; [`ErrorKind::Closed`]; errors of the engine's reader.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<(RecordBatch, EncodedBatch)> {
        loop {
            match (self.found.pop_front(), &self.source) {
                (Some(Found::Records(checked)), Some(source)) => {
                    return Ok((RecordBatch::new(&self.at, checked), source.clone()));
                }
                (Some(Found::Gap(from, to, reason)), _) => {
                    return Err(Gap::new(self.at.clone(), from..to, reason).into_error());
                }
                (Some(Found::Records(_)) | None, _) => {}
            }
            let found = match self.reader.next().await {
                Ok(Some(batch)) => {
                    let found = self.check.accept(batch.clone());
                    self.source = Some(batch);
                    found
                }
                Ok(None) => return Err(Error::new(ErrorKind::Closed, "the engine closed the reader")),
                Err(error) => self.check.accept_gap(&error).ok_or(error)?,
            };
            self.found.extend(found.into_iter().flat_map(Found::check));
        }
    }
}
