//! Handle of a processor that runs in the background.

use std::{fmt, sync::Arc};

use tokio::{sync::oneshot, task::JoinHandle};

use super::report::{Counters, ProcessorReport, ProcessorStats};
use crate::{Error, ErrorKind, Result};

/// A processor that runs in the background; from [`Processor::start`](super::Processor::start).
///
/// Dropping it stops the processor, which drains in the background as long as the runtime lives.
pub struct RunningProcessor {
    pub(super) counters: Arc<Counters>,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) task: JoinHandle<Result<ProcessorReport>>,
}

impl RunningProcessor {
    /// Returns the counters so far.
    #[must_use]
    pub fn stats(&self) -> ProcessorStats {
        self.counters.stats()
    }

    /// Returns whether the processor has ended, by itself or with an error; [`stop`](Self::stop) returns which.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Stops reading, drains, and ends the processor.
    ///
    /// # Errors
    /// As [`Processor::run`](super::Processor::run).
    ///
    /// # Cancel safety
    /// If the future is dropped, the processor drains and ends in the background.
    pub async fn stop(mut self) -> Result<ProcessorReport> {
        if let Some(stop) = self.stop.take() {
            // The processor may have ended already.
            let _ = stop.send(());
        }
        self.wait().await
    }

    /// Waits until the processor ends by itself: at the end of the topic with
    /// [`stop_at_end`](super::ProcessorBuilder::stop_at_end), or with an error.
    ///
    /// # Errors
    /// As [`Processor::run`](super::Processor::run).
    ///
    /// # Cancel safety
    /// Dropping the future drops the handle, which stops the processor.
    pub async fn wait(mut self) -> Result<ProcessorReport> {
        match (&mut self.task).await {
            Ok(outcome) => outcome,
            Err(stopped) => {
                Err(Error::new(ErrorKind::Closed, "the runtime stopped with the processor")
                    .with_source(stopped))
            }
        }
    }
}

impl fmt::Debug for RunningProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningProcessor").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
