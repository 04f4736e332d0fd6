//! A processor whose handler is a plain function.

use std::{fmt, sync::Arc};

use super::Background;
use crate::{
    Message, Result,
    payload::{Json, PayloadCodec, Raw, forward_processor_settings},
    processor::{self, Failure, Outputs, ProcessorReport, ProcessorStats},
};

/// Configures a processor; from [`Client::processor`](super::Client::processor).
///
/// ```
/// # fn main() -> floe::Result<()> {
/// use floe::{Record, TopicSpec, blocking::Client};
///
/// let client = Client::connect("memory:")?;
/// client.create_topic(TopicSpec::new("orders"))?;
/// client.create_topic(TopicSpec::new("counts"))?;
/// client.producer("orders").start()?.send("[1, 2, 3]")?;
///
/// let report = client
///     .processor("orders", "counts")
///     .json::<Vec<u32>, usize>()
///     .stop_at_end()
///     .map(|order| Ok(Record::new(order.value.len())))
///     .run()?;
/// assert_eq!(report.produced, 1);
/// # client.close()
/// # }
/// ```
#[must_use = "a builder does nothing until a handler is given and it is run"]
pub struct ProcessorBuilder<I = Raw, O = Raw> {
    inner: processor::ProcessorBuilder<I, O>,
    runtime: Arc<Background>,
}

impl ProcessorBuilder {
    pub(super) fn new(inner: processor::ProcessorBuilder, runtime: Arc<Background>) -> Self {
        Self { inner, runtime }
    }
}

impl<I: PayloadCodec, O: PayloadCodec> ProcessorBuilder<I, O> {
    forward_processor_settings!();

    /// Both topics hold JSON. Default: bytes.
    pub fn json<A, B>(self) -> ProcessorBuilder<Json<A>, Json<B>>
    where
        Json<A>: PayloadCodec,
        Json<B>: PayloadCodec,
    {
        self.payloads(Json::new(), Json::new())
    }

    /// How values are read and written. Default: [`Raw`], bytes.
    pub fn payloads<A: PayloadCodec, B: PayloadCodec>(self, input: A, output: B) -> ProcessorBuilder<A, B> {
        ProcessorBuilder { inner: self.inner.payloads(input, output), runtime: self.runtime }
    }

    /// What is made from each record. The handler runs on a thread where it may block, and may run again for the same
    /// record. One that does not end in time has failed; it keeps its thread until it ends all the same.
    pub fn map<F, R>(self, handler: F) -> Processor
    where
        F: Fn(Message<I::Value>) -> Result<R, Failure> + Send + Sync + 'static,
        R: Outputs<O>,
    {
        let handler = Arc::new(handler);
        let inner = self.inner.map(move |message| {
            let handler = Arc::clone(&handler);
            async move {
                match tokio::task::spawn_blocking(move || handler(message)).await {
                    Ok(outcome) => outcome,
                    Err(stopped) => match stopped.try_into_panic() {
                        // The processor knows what to do about it.
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(stopped) => Err(Failure::retriable(stopped)),
                    },
                }
            }
        });
        Processor { inner, runtime: self.runtime }
    }
}

impl<I, O> fmt::Debug for ProcessorBuilder<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// A processor that is ready to run.
#[must_use = "a processor does nothing until it is run or started"]
pub struct Processor {
    inner: processor::Processor,
    runtime: Arc<Background>,
}

impl Processor {
    /// Runs until the end, which comes with [`stop_at_end`](ProcessorBuilder::stop_at_end) or an error.
    ///
    /// # Errors
    /// As [`processor::Processor::run`]; [`crate::ErrorKind::InvalidCommand`] inside of an async runtime.
    pub fn run(self) -> Result<ProcessorReport> {
        self.runtime.wait(self.inner.run(std::future::pending()))?
    }

    /// Starts in the background.
    ///
    /// # Errors
    /// As [`processor::Processor::start`]; [`crate::ErrorKind::InvalidCommand`] inside of an async runtime.
    pub fn start(self) -> Result<RunningProcessor> {
        let inner = self.runtime.wait(self.inner.start())??;
        Ok(RunningProcessor { inner, runtime: self.runtime })
    }
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// A processor that runs in the background. Dropping it stops the processor, which drains as far as the client lives.
pub struct RunningProcessor {
    inner: processor::RunningProcessor,
    runtime: Arc<Background>,
}

impl RunningProcessor {
    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> ProcessorStats {
        self.inner.stats()
    }

    /// Whether it has ended, by itself or with an error; [`stop`](Self::stop) tells which.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.inner.is_finished()
    }

    /// Reads nothing more, drains, and ends.
    ///
    /// # Errors
    /// As [`processor::RunningProcessor::stop`].
    pub fn stop(self) -> Result<ProcessorReport> {
        self.runtime.wait(self.inner.stop())?
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// As [`processor::RunningProcessor::wait`].
    pub fn wait(self) -> Result<ProcessorReport> {
        self.runtime.wait(self.inner.wait())?
    }
}

impl fmt::Debug for RunningProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
