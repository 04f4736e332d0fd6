//! Behaviour around every engine call.
//!
//! A [`Layer`] is one function, [`Layer::around`]. The forwarding of the engine's methods is written once, in
//! [`Layered`]. The client puts layers in a fixed order; see [`crate::client`]. The layers here are those of the client,
//! for those who build a stack of their own.

mod breaker;
mod context;
mod first_poll;
mod layered;
mod limit;
mod retry;
mod stack;
#[cfg(test)]
pub(crate) mod testing;
mod timeout;

use std::{fmt, sync::Arc};

pub use breaker::{Breaker, BreakerChange, BreakerPolicy, BreakerState, Breakers, CircuitStatus};
pub(crate) use context::Context;
use futures_util::future::BoxFuture;
pub use layered::Layered;
pub use limit::{Limit, Limits};
pub use retry::Retry;
pub(crate) use stack::{PutAround, Stack};
pub use timeout::Timeout;

use crate::{
    Error, Result,
    engine::{BatchReader, Engine, SharedEngine},
    topic::Topic,
};

/// What is being attempted: labels for observers, facts for deciders.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operation {
    /// Name of the engine.
    pub engine: &'static str,
    /// Name of the call, such as `append`.
    pub name: &'static str,
    /// Whether the call can be repeated without harm even if it may have happened.
    pub repeatable: bool,
    /// Whether the caller keeps an order among calls and repeats them itself, as the producer does with appends. A
    /// layer must not repeat such a call.
    pub ordered: bool,
    /// The topic concerned.
    pub topic: Option<Topic>,
    /// The partition concerned.
    pub partition: Option<u32>,
    /// Bytes sent with the call.
    pub bytes: usize,
    /// Records sent with the call.
    pub records: u32,
}

impl Operation {
    /// Whether the call only looks: it changes nothing, so that it cannot have happened by half.
    #[must_use]
    pub fn reads(&self) -> bool {
        matches!(
            self.name,
            "open"
                | "read"
                | "watermarks"
                | "offset_for_time"
                | "committed"
                | "list_committed"
                | "topics"
                | "topic"
                | "watch"
                | "health"
                | "list_objects"
        )
    }

    /// Adds to an error what is known about the call, where the error does not say it.
    #[must_use]
    pub fn locate(&self, error: Error) -> Error {
        let mut error = error.with_engine(self.engine).with_operation(self.name);
        if let Some(topic) = &self.topic {
            error = error.with_topic(topic);
        }
        if let Some(partition) = self.partition {
            error = error.with_partition(partition);
        }
        error
    }

    /// A reader is opened.
    pub(crate) fn is_open(&self) -> bool {
        self.name == "open"
    }

    /// Where a partition begins or ends is asked: what a producer or a reader that recovers does before it goes on.
    pub(crate) fn is_lookup(&self) -> bool {
        matches!(self.name, "watermarks" | "log_end")
    }

    /// It is asked how the engine is.
    pub(crate) fn is_health(&self) -> bool {
        self.name == "health"
    }

    /// Everything is released, whatever the state.
    pub(crate) fn is_close(&self) -> bool {
        self.name == "close"
    }
}

/// One behaviour around every engine call.
///
/// ```
/// use floe::{Error, ErrorKind, Result, layer::{Layer, Operation}};
/// use futures_util::future::BoxFuture;
///
/// /// Refuses every append.
/// #[derive(Debug)]
/// struct ReadOnly;
///
/// impl Layer for ReadOnly {
///     async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
///     where
///         T: Send,
///         F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
///     {
///         if operation.name == "append" {
///             return Err(Error::new(ErrorKind::AuthFailed, "read only"));
///         }
///         attempt().await
///     }
/// }
/// ```
pub trait Layer: fmt::Debug + Send + Sync + 'static {
    /// Runs one call. `attempt` starts the call afresh each time it is invoked. Without a body of its own, a layer
    /// leaves calls alone.
    fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> impl Future<Output = Result<T>> + Send
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        let _ = operation;
        attempt()
    }

    /// Observes an open reader. Most layers leave it alone.
    fn wrap_reader(&self, operation: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        let _ = operation;
        reader
    }

    /// Puts this layer around an engine.
    fn layer(self, inner: SharedEngine) -> SharedEngine
    where
        Self: Sized,
    {
        let layered: Arc<dyn Engine> = Arc::new(Layered::new(self, inner));
        layered
    }
}
