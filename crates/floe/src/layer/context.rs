//! Tells every error where it happened, so that engines need not.

use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;

use super::{Layer, Operation, OperationKind};
use crate::{Result, engine::BatchReader, health::LastSuccess};

/// The innermost layer: adds engine, operation, topic and partition to errors that lack them, and notes when a call last
/// worked.
#[derive(Debug)]
pub(crate) struct Context(pub(crate) LastSuccess);

impl Layer for Context {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        match attempt().await {
            Ok(done) => {
                // That the engine says how it is does not mean that it works.
                if operation.kind != OperationKind::Health {
                    self.0.note();
                }
                Ok(done)
            }
            Err(error) => Err(operation.locate(error)),
        }
    }

    fn wrap_reader(&self, operation: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        Box::new(ReaderWithContext {
            operation: operation.with_kind(OperationKind::Read),
            reader,
            last_success: self.0.clone(),
        })
    }
}

#[derive(Debug)]
struct ReaderWithContext {
    operation: Operation,
    reader: Box<dyn BatchReader>,
    last_success: LastSuccess,
}

impl BatchReader for ReaderWithContext {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        let (operation, last_success) = (&self.operation, &self.last_success);
        let next = self.reader.next();
        Box::pin(async move {
            match next.await {
                Ok(batch) => {
                    last_success.note();
                    Ok(batch)
                }
                Err(error) => Err(operation.locate(error)),
            }
        })
    }

    fn looked_up_to(&self) -> Option<i64> {
        self.reader.looked_up_to()
    }
}
