//! Layers that inject faults above a healthy engine, and layers that count.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use floe::{
    Error, ErrorKind, Result,
    engine::BatchReader,
    layer::{Layer, Operation, OperationKind},
};
use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

/// Layer without effect: the behaviour must be the same with and without it.
#[derive(Debug, Clone, Copy, Default)]
pub struct PassThrough;

impl Layer for PassThrough {
    fn wrap_reader(&self, _: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        Box::new(Forwarding(reader))
    }
}

#[derive(Debug)]
struct Forwarding(Box<dyn BatchReader>);

impl BatchReader for Forwarding {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        self.0.next()
    }

    fn ready(&mut self) -> BoxFuture<'_, bool> {
        self.0.ready()
    }

    fn looked_up_to(&self) -> Option<i64> {
        self.0.looked_up_to()
    }
}

/// Layer that counts the calls to the engine.
#[derive(Debug, Clone, Default)]
pub(crate) struct CountCalls {
    calls: Arc<AtomicUsize>,
}

impl CountCalls {
    pub(crate) fn count(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Layer for CountCalls {
    async fn around<'a, T, F>(&'a self, _: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        self.calls.fetch_add(1, Ordering::SeqCst);
        attempt().await
    }
}

/// Layer that counts the bytes that readers fetch.
#[derive(Debug, Clone, Default)]
pub(crate) struct CountFetched {
    bytes: Arc<AtomicUsize>,
}

impl CountFetched {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }
}

impl Layer for CountFetched {
    fn wrap_reader(&self, _: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        Box::new(CountingReader { reader, bytes: Arc::clone(&self.bytes) })
    }
}

#[derive(Debug)]
struct CountingReader {
    reader: Box<dyn BatchReader>,
    bytes: Arc<AtomicUsize>,
}

impl BatchReader for CountingReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(async move {
            let batch = self.reader.next().await?;
            self.bytes.fetch_add(batch.as_ref().map_or(0, EncodedBatch::len), Ordering::SeqCst);
            Ok(batch)
        })
    }

    fn ready(&mut self) -> BoxFuture<'_, bool> {
        self.reader.ready()
    }

    fn looked_up_to(&self) -> Option<i64> {
        self.reader.looked_up_to()
    }
}

/// Layer that blocks appends until the gate opens.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    permits: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn closed() -> Self {
        Self { permits: Arc::new(Semaphore::new(0)) }
    }

    pub(crate) fn open(&self) {
        // Closing the semaphore wakes every blocked append, now and later.
        self.permits.close();
    }
}

impl Layer for Gate {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        if operation.kind == OperationKind::Append {
            let _ = self.permits.acquire().await;
        }
        attempt().await
    }
}

/// The way in which appends fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AppendFault {
    /// Refused without effect; a retry may succeed.
    Refused,
    /// Appended, but the acknowledgement is lost with the connection.
    AckLost,
}

/// Layer that fails every n-th append. The producer ends the epoch of an append that fails above the engine.
#[derive(Debug, Clone)]
pub(crate) struct FailAppends {
    fault: AppendFault,
    every: usize,
    appends: Arc<AtomicUsize>,
}

impl FailAppends {
    pub(crate) fn every(every: usize, fault: AppendFault) -> Self {
        Self { fault, every, appends: Arc::default() }
    }

    /// Returns the number of injected faults.
    pub(crate) fn faults(&self) -> usize {
        self.appends.load(Ordering::SeqCst) / self.every
    }

    fn error(&self) -> Error {
        match self.fault {
            AppendFault::Refused => Error::new(ErrorKind::NotLeader, "injected fault: refused"),
            AppendFault::AckLost => {
                Error::new(ErrorKind::NetworkError, "injected fault: acknowledgement lost")
            }
        }
    }
}

impl Layer for FailAppends {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        if operation.kind != OperationKind::Append {
            return attempt().await;
        }
        let number = self.appends.fetch_add(1, Ordering::SeqCst) + 1;
        if !number.is_multiple_of(self.every) {
            return attempt().await;
        }
        if self.fault == AppendFault::AckLost {
            attempt().await?;
        }
        Err(self.error())
    }
}

/// Layer that refuses every append permanently.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefuseAll;

impl Layer for RefuseAll {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        if operation.kind == OperationKind::Append {
            return Err(Error::new(ErrorKind::AuthFailed, "injected fault: not allowed"));
        }
        attempt().await
    }
}
