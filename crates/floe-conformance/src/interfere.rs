//! Layers that get in the way of a healthy engine, to see how the client takes it, and layers that watch.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use floe::{
    Error, ErrorKind, Result,
    engine::BatchReader,
    layer::{Layer, Operation},
};
use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

/// Adds nothing: behaviour must be the same with it and without it.
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

    fn looked_up_to(&self) -> Option<i64> {
        self.0.looked_up_to()
    }
}

/// Counts the calls that reach the engine.
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

/// Counts the bytes that readers fetch.
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

    fn looked_up_to(&self) -> Option<i64> {
        self.reader.looked_up_to()
    }
}

/// Holds appends back until it is opened.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    permits: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn closed() -> Self {
        Self { permits: Arc::new(Semaphore::new(0)) }
    }

    pub(crate) fn open(&self) {
        // A closed semaphore lets everybody through with an error, which is all that is needed.
        self.permits.close();
    }
}

impl Layer for Gate {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        if operation.kind.as_str() == "append" {
            let _ = self.permits.acquire().await;
        }
        attempt().await
    }
}

/// How appends fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AppendFault {
    /// Refused: nothing happened, and trying again may help.
    Refused,
    /// It happened, but the answer is lost with the connection.
    AnswerLost,
}

/// Lets every n-th append fail, and with it, as the contract says, those started before its failure is known.
#[derive(Debug, Clone)]
pub(crate) struct FailAppends {
    fault: AppendFault,
    every: usize,
    appends: Arc<AtomicUsize>,
    /// The window between a failure and its report.
    failing: Arc<AtomicBool>,
}

impl FailAppends {
    pub(crate) fn every(every: usize, fault: AppendFault) -> Self {
        Self { fault, every, appends: Arc::default(), failing: Arc::default() }
    }

    /// How often the fault happened.
    pub(crate) fn faults(&self) -> usize {
        self.appends.load(Ordering::SeqCst) / self.every
    }

    fn error(&self) -> Error {
        match self.fault {
            AppendFault::Refused => Error::new(ErrorKind::NotLeader, "made to fail: refused"),
            AppendFault::AnswerLost => {
                Error::new(ErrorKind::NetworkError, "made to fail: the answer is lost")
            }
        }
    }
}

/// Ends the window also when the append is dropped.
struct Failing<'a>(&'a AtomicBool);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Layer for FailAppends {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        if operation.kind.as_str() != "append" {
            return attempt().await;
        }
        if self.failing.load(Ordering::SeqCst) {
            return Err(self.error());
        }
        let number = self.appends.fetch_add(1, Ordering::SeqCst) + 1;
        if !number.is_multiple_of(self.every) {
            return attempt().await;
        }
        self.failing.store(true, Ordering::SeqCst);
        let _window = Failing(&self.failing);
        if self.fault == AppendFault::AnswerLost {
            attempt().await?;
        }
        // Gives the next appends of the window the time to start.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        Err(self.error())
    }
}

/// Refuses every append for good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefuseAll;

impl Layer for RefuseAll {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        if operation.kind.as_str() == "append" {
            return Err(Error::new(ErrorKind::AuthFailed, "made to fail: not allowed"));
        }
        attempt().await
    }
}
