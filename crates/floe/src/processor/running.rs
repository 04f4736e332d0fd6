//! A processor in the background.

use std::{fmt, sync::Arc};

use tokio::{sync::oneshot, task::JoinHandle};

use super::{ProcessorReport, ProcessorStats, report::Counters};
use crate::{Error, ErrorKind, Result};

/// A processor that runs in the background; from [`Processor::start`](super::Processor::start).
///
/// Dropping it stops the processor, which drains in the background as far as the runtime lives.
pub struct RunningProcessor {
    pub(super) counters: Arc<Counters>,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) task: JoinHandle<Result<ProcessorReport>>,
}

impl RunningProcessor {
    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> ProcessorStats {
        self.counters.stats()
    }

    /// Whether it has ended, by itself or with an error; [`stop`](Self::stop) tells which.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Reads nothing more, drains, and ends.
    ///
    /// # Errors
    /// As [`Processor::run`](super::Processor::run).
    ///
    /// # Cancel safety
    /// If the future is dropped, the processor drains and ends in the background.
    pub async fn stop(mut self) -> Result<ProcessorReport> {
        if let Some(stop) = self.stop.take() {
            // It may have ended already.
            let _ = stop.send(());
        }
        self.wait().await
    }

    /// Waits until it ends by itself: at the end with [`stop_at_end`](super::ProcessorBuilder::stop_at_end), or with an
    /// error.
    ///
    /// # Errors
    /// As [`Processor::run`](super::Processor::run).
    ///
    /// # Cancel safety
    /// Dropping the future drops the processor: it stops.
    pub async fn wait(mut self) -> Result<ProcessorReport> {
        match (&mut self.task).await {
            Ok(outcome) => outcome,
            Err(stopped) => Err(Error::new(ErrorKind::Closed, "the processor was stopped with its runtime")
                .with_source(stopped)),
        }
    }
}

impl fmt::Debug for RunningProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningProcessor").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
