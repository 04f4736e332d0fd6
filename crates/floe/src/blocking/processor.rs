//! A processor whose handler is a plain function.

use std::{sync::Arc, time::Duration};

use super::macros::{methods, settings, wrapper};
use crate::{
    Message, Result, RetryPolicy, consumer,
    payload::{Json, PayloadCodec, Raw},
    processor::{self, DeadLetters, Failure, Order, Outputs, ProcessorReport, ProcessorStats},
    producer,
    topic::Topic,
};

wrapper! {
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
    ProcessorBuilder<I = Raw, O = Raw>: processor::ProcessorBuilder<I, O>
}

impl<I: PayloadCodec, O: PayloadCodec> ProcessorBuilder<I, O> {
    settings! { crate::processor::ProcessorBuilder:
        group(group: impl Into<Arc<str>>);
        shared();
        shared_as(membership: consumer::Membership);
        shared_with(consumer: &super::Consumer<impl Sized> => &consumer.inner);
        exactly_once();
        recorded();
        recorded_in(changelog: impl Into<Topic>);
        concurrency(handlers: usize);
        order(order: Order);
        handler_timeout(limit: Duration);
        retry(policy: RetryPolicy);
        dead_letters(dead_letters: DeadLetters);
        drain_timeout(limit: Duration);
        commit_interval(interval: Duration);
        max_held(records: usize);
        mark_origin(marks: bool);
        without_stored_offsets();
        stop_at_end();
        consumer(
            configure: impl FnOnce(consumer::ConsumerBuilder) -> consumer::ConsumerBuilder
                + Send + Sync + 'static
        );
        producer(
            configure: impl FnOnce(producer::ProducerBuilder) -> producer::ProducerBuilder
                + Send + Sync + 'static
        );
    }

    /// Reads and writes JSON. Default: bytes.
    pub fn json<A, B>(self) -> ProcessorBuilder<Json<A>, Json<B>>
    where
        Json<A>: PayloadCodec,
        Json<B>: PayloadCodec,
    {
        self.payloads(Json::new(), Json::new())
    }

    /// Sets the codecs of the input and of the output. Default: [`Raw`], bytes.
    pub fn payloads<A: PayloadCodec, B: PayloadCodec>(self, input: A, output: B) -> ProcessorBuilder<A, B> {
        ProcessorBuilder::new(self.inner.payloads(input, output), self.runtime)
    }

    /// Sets the handler, which makes the output of each record. It runs on a thread where it may block, and may run again
    /// for the same record. A handler that exceeds its timeout counts as failed, and occupies its thread until it returns.
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
                        // The processor handles the panic of a handler.
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(stopped) => Err(Failure::retriable(stopped)),
                    },
                }
            }
        });
        Processor::new(inner, self.runtime)
    }
}

wrapper! {
    /// A processor that is ready to run.
    #[must_use = "a processor does nothing until it is run or started"]
    Processor: processor::Processor
}

impl Processor {
    /// Runs until the end, which comes with [`stop_at_end`](ProcessorBuilder::stop_at_end) or an error.
    ///
    /// # Errors
    /// As [`processor::Processor::run`]; [`crate::ErrorKind::InvalidCommand`] inside of async code.
    pub fn run(self) -> Result<ProcessorReport> {
        self.runtime.wait(self.inner.run(std::future::pending()))?
    }

    methods! { crate::processor::Processor:
        wrap start(self) -> RunningProcessor;
    }
}

wrapper! {
    /// A processor that runs in the background. Dropping it stops the processor, which drains as long as the client lives.
    RunningProcessor: processor::RunningProcessor
}

impl RunningProcessor {
    methods! { crate::processor::RunningProcessor:
        get stats(&self) -> ProcessorStats;
        get is_finished(&self) -> bool;
        wait stop(self) -> ProcessorReport;
        wait wait(self) -> ProcessorReport;
    }
}
