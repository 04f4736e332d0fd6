//! Adds the context of a call to its errors, so that engines need not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{Layer, Operation, OperationKind};
use crate::{
    Result,
    engine::{BatchReader, EncodedBatch},
};

/// Time of the last call of a client that succeeded. All clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LastSuccess(Arc<SuccessClock>);

#[derive(Debug)]
struct SuccessClock {
    began: Instant,
    /// Milliseconds since `began`, plus one; 0 is never.
    at: AtomicU64,
}

impl LastSuccess {
    pub(crate) fn new() -> Self {
        Self(Arc::new(SuccessClock { began: Instant::now(), at: AtomicU64::new(0) }))
    }

    fn note(&self) {
        let millis = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.0.at.store(millis + 1, Ordering::Relaxed);
    }

    /// Time since the last success; `None` before the first.
    pub(crate) fn ago(&self) -> Option<Duration> {
        let at = self.0.at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.0.began.elapsed().saturating_sub(Duration::from_millis(at)))
    }
}

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
                // A health check that answers does not mean that the engine works.
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

    fn ready(&mut self) -> BoxFuture<'_, bool> {
        self.reader.ready()
    }

    fn looked_up_to(&self) -> Option<i64> {
        self.reader.looked_up_to()
    }
}
