//! Reader of the model.

use floe::{
    ErrorKind, Result, TopicPartition,
    engine::{BatchReader, ReadRequest},
};
use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;

use super::{Model, store::ReadPosition};

#[derive(Debug)]
pub(super) struct ModelReader {
    model: Model,
    at: TopicPartition,
    position: ReadPosition,
    consuming: bool,
    stop_when_empty: bool,
}

impl ModelReader {
    pub(super) fn new(model: Model, request: &ReadRequest, position: ReadPosition) -> Self {
        let consuming = model.capabilities.consuming_reads;
        let (at, stop_when_empty) = (request.source.clone(), request.stop_when_empty);
        Self { model, at, position, consuming, stop_when_empty }
    }

    async fn next_batch(&mut self) -> Result<Option<EncodedBatch>> {
        loop {
            let model = self.model.clone();
            let mut changed = std::pin::pin!(model.store.changed());
            // Registered before the log is checked: a wake-up in between is not lost.
            changed.as_mut().enable();
            model.check_open()?;
            // No await point follows the step forward: a dropped future has read nothing.
            match model.store.take(&self.at, &mut self.position, self.consuming) {
                Ok(Some(batch)) => return Ok(Some(batch)),
                Ok(None) if self.stop_when_empty => return Ok(None),
                Ok(None) => changed.await,
                Err(error) if error.kind() == ErrorKind::TopicNotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

impl BatchReader for ModelReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(self.next_batch())
    }
}
