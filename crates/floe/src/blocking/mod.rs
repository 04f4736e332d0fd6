//! The same without async: for programs that have no runtime.
//!
//! A [`Client`] brings a runtime of its own with one thread, on which everything in the background runs: batching,
//! prefetching, retries, commits. Calls wait on the thread that makes them.
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
//! Producers, consumers and outboxes of values are made as in the async API, with `.json::<T>()` and its neighbours:
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
//! Inside of an async runtime these calls are refused with [`ErrorKind::InvalidCommand`]: they would hold up its threads.
//! What is not here can be had through [`Client::wait`], which runs any future of the async API to its end.

mod consumer;
mod outbox;
mod processor;
mod producer;
#[cfg(test)]
mod tests;
mod typed;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use tokio::runtime::{Builder, Handle, Runtime};

pub use consumer::{Consumer, ConsumerBuilder};
pub use outbox::{Outbox, OutboxBuilder};
pub use processor::{Processor, ProcessorBuilder, RunningProcessor};
pub use producer::{Delivery, Producer, ProducerBuilder};
pub use typed::{TypedOutbox, TypedOutboxBuilder, TypedProducer, TypedProducerBuilder};

use crate::{
    Error, ErrorKind, Result,
    topic::{Topic, TopicInfo, TopicSpec},
};

/// A connection to wherever topics live. Cheap to clone; all clones share the engine and the runtime.
#[derive(Clone)]
pub struct Client {
    inner: crate::Client,
    runtime: Arc<Background>,
}

impl Client {
    /// Connects to the engine that `url` names; see [`crate::url`].
    ///
    /// # Errors
    /// As [`crate::Client::connect`]; [`ErrorKind::InvalidCommand`] inside of an async runtime.
    pub fn connect(url: &str) -> Result<Self> {
        Self::connect_with(crate::Client::builder(url))
    }

    /// Connects with settings made before.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_with(builder: crate::ClientBuilder) -> Result<Self> {
        let runtime = Background::start()?;
        let inner = runtime.wait(builder.connect())??;
        Ok(Self { inner, runtime })
    }

    /// Runs any future to its end, such as one of the async API of [`Client::inner`].
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
    /// [`ErrorKind::InvalidCommand`] inside of an async runtime.
    pub fn wait<F: Future>(&self, future: F) -> Result<F::Output> {
        self.runtime.wait(future)
    }

    /// The async client inside.
    #[must_use]
    pub fn inner(&self) -> &crate::Client {
        &self.inner
    }

    /// A producer for a topic, to be configured and started.
    pub fn producer(&self, topic: impl Into<Topic>) -> ProducerBuilder {
        ProducerBuilder::new(self.inner.producer(topic), Arc::clone(&self.runtime))
    }

    /// A consumer of a topic, to be configured and started.
    pub fn consumer(&self, topic: impl Into<Topic>) -> ConsumerBuilder {
        ConsumerBuilder::new(self.inner.consumer(topic), Arc::clone(&self.runtime))
    }

    /// A processor that reads `from` and writes to `to`, to be configured and run.
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

    /// Deletes a topic with all its records.
    ///
    /// # Errors
    /// As [`crate::admin::Admin::delete_topic`].
    pub fn delete_topic(&self, name: impl Into<Topic>) -> Result<()> {
        self.wait(self.inner.admin().delete_topic(name))?
    }

    /// All topics, ordered by name.
    ///
    /// # Errors
    /// As [`crate::admin::Admin::topics`].
    pub fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.wait(self.inner.admin().topics())?
    }

    /// Closes: producers flush, consumers commit, the engine releases everything. Waits at most 30 seconds.
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

/// The runtime behind a client; ends when nothing of the client is left.
pub(crate) struct Background {
    handle: Handle,
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
}

impl Background {
    fn start() -> Result<Arc<Self>> {
        let built = Builder::new_multi_thread().worker_threads(1).thread_name("floe").enable_all().build();
        let runtime = built.map_err(|error| {
            Error::new(ErrorKind::InvalidConfig, "no runtime could be started").with_source(error)
        })?;
        Ok(Arc::new(Self { handle: runtime.handle().clone(), runtime: Some(runtime) }))
    }

    fn wait<F: Future>(&self, future: F) -> Result<F::Output> {
        if Handle::try_current().is_ok() {
            return Err(Error::new(
                ErrorKind::InvalidCommand,
                "a blocking call inside of an async runtime; use the async API there",
            ));
        }
        Ok(self.handle.block_on(future))
    }

    /// As [`Background::wait`], for so long at most; `None` if the time was over first.
    fn wait_within<F: Future>(&self, limit: Duration, future: F) -> Result<Option<F::Output>> {
        // Made inside, where there is a clock.
        self.wait(async { tokio::time::timeout(limit, future).await.ok() })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Waiting for its threads would hang, or panic, when the last of the client is dropped on an async thread.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
