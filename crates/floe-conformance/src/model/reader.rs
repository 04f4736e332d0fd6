//! An open read position of the model.

use floe::{ErrorKind, Result, TopicPartition, engine::BatchReader};
use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;

use super::{Model, store::Position};

#[derive(Debug)]
pub(super) struct ModelReader {
    model: Model,
    at: TopicPartition,
    position: Position,
    consuming: bool,
}

impl ModelReader {
    pub(super) fn new(model: Model, at: TopicPartition, position: Position, consuming: bool) -> Self {
        Self { model, at, position, consuming }
    }

    async fn next_batch(&mut self) -> Result<Option<EncodedBatch>> {
        loop {
            let model = self.model.clone();
            let mut changed = std::pin::pin!(model.store.changed());
            // Before looking, so that nothing slips through between looking and waiting.
            changed.as_mut().enable();
            model.open_for_calls()?;
            // Taking is the last step: a future dropped while it waits has taken nothing.
            match model.store.take(&self.at, &mut self.position, self.consuming) {
                Ok(Some(batch)) => return Ok(Some(batch)),
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
