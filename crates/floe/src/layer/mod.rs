//! Behaviour around every engine call.
//!
//! A [`Layer`] is one function, [`Layer::around`]; [`Layered`] forwards all methods of the engine to it. The client puts
//! layers in a fixed order; see [`crate::client`]. The layers of the client are public, for programs that build a stack of
//! their own:
//!
//! | layer | does | leaves alone |
//! | --- | --- | --- |
//! | [`Limit`] | bounds concurrency and rate | open readers, health checks, close |
//! | [`Retry`] | retries failed calls | appends, opening and reading, health checks, close |
//! | [`Breaker`] | refuses calls to a failing server | health checks, close |
//! | [`Timeout`] | bounds the time of an attempt | appends, open readers, close |

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
    /// Runs one call. `attempt` starts the call afresh each time it is invoked. By default passes the call on.
    fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> impl Future<Output = Result<T>> + Send
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        let _ = operation;
        attempt()
    }

    /// Wraps an open reader. By default returns it unchanged.
    fn wrap_reader(&self, operation: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        let _ = operation;
        reader
    }

    /// Wraps an engine in this layer.
    fn layer(self, inner: SharedEngine) -> SharedEngine
    where
        Self: Sized,
    {
        let layered: Arc<dyn Engine> = Arc::new(Layered::new(self, inner));
        layered
    }
}
