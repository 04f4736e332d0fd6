//! The blocking API: for programs without an async runtime.
//!
//! A [`Client`] starts a runtime with one thread, which runs all background work: batching, prefetching, retries, commits.
//! Calls block the thread that makes them.
//!
//! ```
//! use floe::{TopicSpec, blocking::Client, consumer::StartAt};
//!
//! # fn main() -> floe::Result<()> {
//! let client = Client::connect("memory:")?;
//! client.create_topic(TopicSpec::new("orders"))?;
//! let orders = client.producer("orders").start()?;
//! orders.send("one coffee")?;
//!
//! let inbox = client.consumer("orders").from(StartAt::Beginning).stop_at_end().start()?;
//! for message in inbox {
//!     assert_eq!(&message?.value[..], b"one coffee");
//! }
//! client.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! Producers, consumers and outboxes of values are made as in the async API, with `.json::<T>()` and the like:
//!
//! ```
//! use floe::{Record, TopicSpec, blocking::Client, consumer::CommitPolicy};
//!
//! # fn main() -> floe::Result<()> {
//! let client = Client::connect("memory:")?;
//! client.create_topic(TopicSpec::new("counts"))?;
//! client.producer("counts").json::<u32>().start()?.send(Record::keyed("ada", 2))?;
//!
//! let mut counts =
//!     client.consumer("counts").json::<u32>().group("sums").commit(CommitPolicy::Manual).start()?;
//! assert_eq!(counts.try_next()?.map(|count| count.value), Some(2));
//! counts.commit()?;
//! client.close()
//! # }
//! ```
//!
//! Inside of async code these calls are refused with [`ErrorKind::InvalidCommand`]: they would block the threads that run
//! it. Threads of `tokio::task::spawn_blocking` may block. [`Client::wait`] runs any future of the async API that has no blocking form.

mod consumer;
pub(crate) mod macros;
mod outbox;
mod processor;
mod producer;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::Future,
    iter,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::coop,
};

pub use consumer::{Consumer, ConsumerBuilder};
pub use outbox::{Acceptance, Outbox, OutboxBuilder};
pub use processor::{Processor, ProcessorBuilder, RunningProcessor};
pub use producer::{Deliveries, Delivery, Producer, ProducerBuilder};

use crate::{
    Error, ErrorKind, Result,
    topic::{Topic, TopicInfo, TopicSpec},
};

/// A connection to an engine. Cheap to clone; all clones share the engine and the runtime.
#[derive(Clone)]
pub struct Client {
    inner: crate::Client,
    runtime: Arc<Background>,
}

impl Client {
    /// Connects to the engine that `url` names; see [`crate::url`].
    ///
    /// # Errors
    /// As [`crate::Client::connect`]; [`ErrorKind::InvalidCommand`] inside of async code.
    pub fn connect(url: &str) -> Result<Self> {
        Self::connect_with(crate::Client::builder(url))
    }

    /// Connects with the settings of a builder.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_with(builder: crate::ClientBuilder) -> Result<Self> {
        let runtime = Background::start()?;
        let inner = runtime.wait(builder.connect())??;
        Ok(Self { inner, runtime })
    }

    /// Blocks on any future, such as one of the async API of [`Client::inner`].
    ///
    /// ```
    /// # fn main() -> floe::Result<()> {
    /// let client = floe::blocking::Client::connect("memory:")?;
    /// let health = client.wait(client.inner().health())??;
    /// assert!(health.ready);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCommand`] inside of async code.
    pub fn wait<F: Future>(&self, future: F) -> Result<F::Output> {
        self.runtime.wait(future)
    }

    /// The async client inside.
    #[must_use]
    pub fn inner(&self) -> &crate::Client {
        &self.inner
    }

    /// Returns a builder of a producer for a topic.
    pub fn producer(&self, topic: impl Into<Topic>) -> ProducerBuilder {
        ProducerBuilder::new(self.inner.producer(topic), Arc::clone(&self.runtime))
    }

    /// Returns a builder of a consumer of a topic.
    pub fn consumer(&self, topic: impl Into<Topic>) -> ConsumerBuilder {
        ConsumerBuilder::new(self.inner.consumer(topic), Arc::clone(&self.runtime))
    }

    /// Returns a builder of a processor that reads `from` and writes to `to`.
    pub fn processor(&self, from: impl Into<Topic>, to: impl Into<Topic>) -> ProcessorBuilder {
        ProcessorBuilder::new(self.inner.processor(from, to), Arc::clone(&self.runtime))
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// As [`crate::admin::Admin::create_topic`].
    pub fn create_topic(&self, spec: TopicSpec) -> Result<()> {
        self.wait(self.inner.admin().create_topic(spec))?
    }

    /// Creates a topic unless it exists. Returns whether this call created it.
    ///
    /// # Errors
    /// As [`crate::admin::Admin::ensure_topic`].
    pub fn ensure_topic(&self, spec: TopicSpec) -> Result<bool> {
        self.wait(self.inner.admin().ensure_topic(spec))?
    }

    /// Deletes a topic with all its records.
    ///
    /// # Errors
    /// As [`crate::admin::Admin::delete_topic`].
    pub fn delete_topic(&self, name: impl Into<Topic>) -> Result<()> {
        self.wait(self.inner.admin().delete_topic(name))?
    }

    /// Lists all topics, ordered by name.
    ///
    /// # Errors
    /// As [`crate::admin::Admin::topics`].
    pub fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.wait(self.inner.admin().topics())?
    }

    /// Closes the client: producers flush, consumers commit, the engine releases its resources. Waits at most 30 seconds.
    ///
    /// # Errors
    /// As [`crate::Client::close`].
    pub fn close(&self) -> Result<()> {
        self.wait(self.inner.close())?
    }

    /// As [`Client::close`], waiting at most `limit`.
    ///
    /// # Errors
    /// As [`crate::Client::close`].
    pub fn close_within(&self, limit: Duration) -> Result<()> {
        self.wait(self.inner.close_within(limit))?
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("inner", &self.inner).finish()
    }
}

/// The runtime behind a client; shuts down when the client and everything made by it are dropped.
pub(crate) struct Background {
    handle: Handle,
    /// Taken by `drop`.
    runtime: Option<Runtime>,
}

impl Background {
    fn start() -> Result<Arc<Self>> {
        let built = Builder::new_multi_thread().worker_threads(1).thread_name("floe").enable_all().build();
        let runtime = built.map_err(|error| {
            Error::new(ErrorKind::InvalidConfig, "the runtime of the blocking client cannot be started")
                .with_source(error)
        })?;
        Ok(Arc::new(Self { handle: runtime.handle().clone(), runtime: Some(runtime) }))
    }

    fn wait<F: Future>(&self, future: F) -> Result<F::Output> {
        if Handle::try_current().is_ok() && in_async_code() {
            return Err(Error::new(
                ErrorKind::InvalidCommand,
                "a blocking call inside of async code; use the async API, or tokio::task::spawn_blocking",
            ));
        }
        Ok(self.handle.block_on(future))
    }

    /// As [`Background::wait`], for at most `limit`; `None` if it passed first.
    fn wait_within<F: Future>(&self, limit: Duration, future: F) -> Result<Option<F::Output>> {
        // Created inside of the future: the timer needs the runtime.
        self.wait(async { tokio::time::timeout(limit, future).await.ok() })
    }
}

/// Whether this thread runs async code now. A runtime is current on threads of `spawn_blocking` too, but only async code
/// has a budget of calls that proceed before it must yield. This takes the budget and gives it back.
fn in_async_code() -> bool {
    /// More than any budget.
    const ATTEMPTS: usize = 256;
    let mut context = Context::from_waker(Waker::noop());
    let mut taken: Vec<_> = iter::from_fn(|| match coop::poll_proceed(&mut context) {
        Poll::Ready(restore) => Some(restore),
        Poll::Pending => None,
    })
    .take(ATTEMPTS)
    .collect();
    let limited = taken.len() < ATTEMPTS;
    // Each restores the budget from before it.
    while taken.pop().is_some() {}
    limited
}

impl Drop for Background {
    fn drop(&mut self) {
        // Waiting for its threads would hang, or panic, when the last clone is dropped on an async thread.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
