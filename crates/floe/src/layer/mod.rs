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
#[cfg(feature = "telemetry")]
mod measure;
mod retry;
mod stack;
#[cfg(test)]
pub(crate) mod testing;
mod timeout;

use std::{fmt, sync::Arc};

pub use floe_core::operation::{Operation, OperationKind, OperationTarget};

pub use breaker::{Breaker, BreakerChange, BreakerPolicy, BreakerState, Breakers, CircuitStatus};
pub(crate) use context::LastSuccess;
use futures_util::future::BoxFuture;
pub use layered::Layered;
pub use limit::{Limit, Limits};
pub use retry::Retry;
pub(crate) use stack::{PutAround, Stack};
pub use timeout::Timeout;

use crate::{
    Result,
    engine::{BatchReader, Engine, SharedEngine},
};

/// One behaviour around every engine call.
///
/// ```
/// use floe::{Error, ErrorKind, Result, layer::{Layer, Operation, OperationKind}};
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
///         if operation.kind == OperationKind::Append {
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
