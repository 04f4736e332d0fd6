//! Tells every error where it happened, so that engines need not.

use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;

use super::{Layer, Operation};
use crate::{Error, Result, engine::BatchReader};

/// The innermost layer: adds engine, operation, topic and partition to errors that lack them.
#[derive(Debug)]
pub(crate) struct Context;

impl Layer for Context {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        attempt().await.map_err(|error| add(error, operation))
    }

    fn wrap_reader(&self, operation: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        Box::new(ReaderWithContext { operation: Operation { name: "read", ..operation.clone() }, reader })
    }
}

#[derive(Debug)]
struct ReaderWithContext {
    operation: Operation,
    reader: Box<dyn BatchReader>,
}

impl BatchReader for ReaderWithContext {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        let operation = &self.operation;
        let next = self.reader.next();
        Box::pin(async move { next.await.map_err(|error| add(error, operation)) })
    }
}

fn add(error: Error, operation: &Operation) -> Error {
    let mut error = error.with_engine(operation.engine).with_operation(operation.name);
    if let Some(topic) = &operation.topic {
        error = error.with_topic(topic);
    }
    if let Some(partition) = operation.partition {
        error = error.with_partition(partition);
    }
    error
}
