//! Measures every engine call. The outermost layer, so that it measures how long the caller waits.

use futures_util::future::BoxFuture;
use tracing::Instrument as _;

use super::{Layer, Operation};
use crate::{Result, telemetry::Telemetry};

/// Measures calls, and wraps each in a numbered diagnostic span.
#[derive(Debug)]
pub(super) struct Measure(pub(super) Telemetry);

impl Layer for Measure {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        let mut call = self.0.start_call(operation);
        let diagnostics = call.diagnostics();
        let outcome = if diagnostics.is_disabled() {
            attempt().await
        } else {
            let observed = async {
                let outcome = attempt().await;
                match &outcome {
                    Ok(_) => tracing::debug!("done"),
                    Err(error) => tracing::debug!(%error, "failed"),
                }
                outcome
            };
            observed.instrument(diagnostics).await
        };
        call.end(outcome.as_ref().err());
        outcome
    }
}
