//! How a processor is configured and started.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    Failure, Outputs, ProcessorReport, RunningProcessor,
    handler::{self, Handler},
    report::Counters,
    run::{self, Endpoints},
};
use crate::{
    Client, Error, ErrorKind, Message, Result, RetryPolicy,
    consumer::{AckMode, CommitPolicy, ConsumerBuilder, GapPolicy, StartAt},
    dead_letter::DeadLetterWriter,
    payload::{Json, PayloadCodec, Raw},
    producer::ProducerBuilder,
    topic::Topic,
};

/// Which records are handled one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Those of one key; records without a key in no order.
    #[default]
    PerKey,
    /// Those of one partition.
    PerPartition,
    /// None.
    Unordered,
}

/// What happens to a record that cannot be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetters {
    /// It goes to this topic, which is created if it does not exist; see [`crate::dead_letter`].
    Topic(Topic),
    /// The processor stops with an error; the next run begins with the record.
    Stop,
}

type ConfigureConsumer = Box<dyn FnOnce(ConsumerBuilder) -> ConsumerBuilder + Send + Sync>;
type ConfigureProducer = Box<dyn FnOnce(ProducerBuilder) -> ProducerBuilder + Send + Sync>;

/// What was decided before the start.
pub(super) struct Settings {
    pub(super) from: Topic,
    to: Topic,
    group: Option<Arc<str>>,
    pub(super) concurrency: usize,
    pub(super) order: Order,
    pub(super) handler_timeout: Duration,
    pub(super) retries: RetryPolicy,
    dead_letters: DeadLetters,
    pub(super) drain_timeout: Duration,
    commit_interval: Duration,
    pub(super) max_held: usize,
    pub(super) marks_origin: bool,
    stored_offsets: bool,
    stop_at_end: bool,
    consumer: Option<ConfigureConsumer>,
    producer: Option<ConfigureProducer>,
}

/// Configures a processor; from [`Client::processor`].
#[must_use = "a builder does nothing until a handler is given and it is run"]
pub struct ProcessorBuilder<I = Raw, O = Raw> {
    client: Client,
    input: I,
    output: O,
    settings: Settings,
}

impl Client {
    /// A processor that reads `from` and writes to `to`, to be configured and run; see [`crate::processor`].
    pub fn processor(&self, from: impl Into<Topic>, to: impl Into<Topic>) -> ProcessorBuilder {
        let from = from.into();
        let dead_letters = DeadLetters::Topic(Topic::from(format!("{from}-dead")));
        ProcessorBuilder {
            client: self.clone(),
            input: Raw,
            output: Raw,
            settings: Settings {
                from,
                to: to.into(),
                group: None,
                concurrency: 1,
                order: Order::default(),
                handler_timeout: Duration::from_secs(60),
                retries: RetryPolicy::default().max_attempts(5),
                dead_letters,
                drain_timeout: Duration::from_secs(30),
                commit_interval: Duration::from_secs(1),
                max_held: 4096,
                marks_origin: true,
                stored_offsets: true,
                stop_at_end: false,
                consumer: None,
                producer: None,
            },
        }
    }
}

impl<I: PayloadCodec, O: PayloadCodec> ProcessorBuilder<I, O> {
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
        ProcessorBuilder { client: self.client, input, output, settings: self.settings }
    }

    /// The group whose stored offsets say where to go on. Default: `FROM-to-TO` after the topics.
    pub fn group(mut self, group: impl Into<Arc<str>>) -> Self {
        self.settings.group = Some(group.into());
        self
    }

    /// How many handlers may run at once. Default: 1.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.settings.concurrency = handlers;
        self
    }

    /// Which records are handled one after the other. Default: [`Order::PerKey`], what the partitioner keeps as well.
    pub fn order(mut self, order: Order) -> Self {
        self.settings.order = order;
        self
    }

    /// How long one attempt may take. Default: 60 s, so that one that hangs for ever does not keep its key for ever.
    pub fn handler_timeout(mut self, limit: Duration) -> Self {
        self.settings.handler_timeout = limit;
        self
    }

    /// How often and how soon a record is tried again. Default: 5 attempts, with waits of at most 100 ms, 200 ms and so
    /// on in between.
    pub fn retries(mut self, policy: RetryPolicy) -> Self {
        self.settings.retries = policy;
        self
    }

    /// What happens to a record whose attempts are used up, or that failed for good. Default: it goes to the topic
    /// `FROM-dead`.
    pub fn dead_letters(mut self, dead_letters: DeadLetters) -> Self {
        self.settings.dead_letters = dead_letters;
        self
    }

    /// How long a shutdown may take to finish what was read. Default: 30 s.
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.settings.drain_timeout = limit;
        self
    }

    /// How often offsets are stored, so that at most so much is handled again after a crash. Default: 1 s.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.settings.commit_interval = interval;
        self
    }

    /// How many records may be held that were read and are not done. Default: 4096; at least as many as handlers.
    pub fn max_held(mut self, records: usize) -> Self {
        self.settings.max_held = records;
        self
    }

    /// Marks what is made from a record with the header `floe-origin`, so that repeats after a crash can be told.
    /// Default: yes, where the engine keeps headers.
    pub fn mark_origin(mut self, marks: bool) -> Self {
        self.settings.marks_origin = marks;
        self
    }

    /// Runs on an engine that stores no offsets, such as Walrus, where reading takes records away: what was read and is
    /// not done when the program dies is not read again. Default: such an engine is refused.
    pub fn without_stored_offsets(mut self) -> Self {
        self.settings.stored_offsets = false;
        self
    }

    /// Ends when everything that was there at the start is done. Default: waits for more.
    pub fn stop_at_end(mut self) -> Self {
        self.settings.stop_at_end = true;
        self
    }

    /// Changes how the input topic is read: where to begin without a stored offset, prefetching, gaps. Group, commits
    /// and acknowledgements are the processor's own.
    pub fn consumer(
        mut self,
        configure: impl FnOnce(ConsumerBuilder) -> ConsumerBuilder + Send + Sync + 'static,
    ) -> Self {
        self.settings.consumer = Some(Box::new(configure));
        self
    }

    /// Changes how the output topic is written: linger, compression, timeout, partitioner.
    pub fn producer(
        mut self,
        configure: impl FnOnce(ProducerBuilder) -> ProducerBuilder + Send + Sync + 'static,
    ) -> Self {
        self.settings.producer = Some(Box::new(configure));
        self
    }

    /// What is made from each record. The handler may run again for the same record.
    pub fn map<F, Fut, R>(self, handler: F) -> Processor
    where
        F: Fn(Message<I::Value>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Failure>> + Send + 'static,
        R: Outputs<O>,
    {
        let handler = handler::erase(self.input, self.output, handler);
        Processor { client: self.client, settings: self.settings, handler }
    }
}

impl<I, O> fmt::Debug for ProcessorBuilder<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.describe(f, "ProcessorBuilder")
    }
}

/// A processor that is ready to run.
#[must_use = "a processor does nothing until it is run or started"]
pub struct Processor {
    client: Client,
    settings: Settings,
    handler: Handler,
}

impl Processor {
    /// Runs until `shutdown` is ready, or until the end; then drains. See [`crate::processor`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`]; [`ErrorKind::Unsupported`] on an engine that stores no offsets, or has no headers
    /// for dead letters; what kept the topics from being read or written; with [`DeadLetters::Stop`] the failure of a
    /// record. Everything that could be finished was.
    ///
    /// # Cancel safety
    /// If the future is dropped, handlers are ended where they stand, and what was not stored is handled again.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<ProcessorReport> {
        let counters = Arc::default();
        self.run_counted(shutdown, &counters).await
    }

    /// Starts in the background. What keeps it from running is told here.
    ///
    /// # Errors
    /// As [`Processor::run`], for what can be found out before the first record.
    pub async fn start(self) -> Result<RunningProcessor> {
        let (stop, stopped) = oneshot::channel();
        let counters: Arc<Counters> = Arc::default();
        let (endpoints, settings, handler) = self.open().await?;
        let counted = Arc::clone(&counters);
        let task = tokio::spawn(async move {
            let shutdown = async {
                // A handle that was dropped means the same.
                let _ = stopped.await;
            };
            run::run(endpoints, &settings, (handler, &counted), shutdown).await
        });
        Ok(RunningProcessor { counters, stop: Some(stop), task })
    }

    async fn run_counted(
        self,
        shutdown: impl Future<Output = ()> + Send,
        counters: &Arc<Counters>,
    ) -> Result<ProcessorReport> {
        let (endpoints, settings, handler) = self.open().await?;
        run::run(endpoints, &settings, (handler, counters), shutdown).await
    }

    async fn open(mut self) -> Result<(Endpoints, Settings, Handler)> {
        let info = self.client.info();
        let settings = &mut self.settings;
        settings.check()?;
        settings.marks_origin &= info.capabilities.headers;
        let input = self.client.consumer(&settings.from);
        let input = if settings.stored_offsets { input } else { input.from(StartAt::Beginning) };
        let input = input.on_gap(GapPolicy::Report);
        let input = match settings.consumer.take() {
            Some(configure) => configure(input),
            None => input,
        };
        let mut input =
            input.ack_mode(AckMode::Explicit).commit(CommitPolicy::Interval(settings.commit_interval));
        if settings.stored_offsets {
            let default = || Arc::from(format!("{}-to-{}", settings.from, settings.to));
            input = input.group(settings.group.clone().unwrap_or_else(default));
        }
        if settings.stop_at_end {
            input = input.stop_at_end();
        }
        let output = self.client.producer(&settings.to);
        let output = match settings.producer.take() {
            Some(configure) => configure(output),
            None => output,
        };
        let dead_letters = match &settings.dead_letters {
            DeadLetters::Topic(topic) => Some(DeadLetterWriter::open(self.client.core(), topic).await?),
            DeadLetters::Stop => None,
        };
        let producer = output.start().await?;
        let consumer = input.start().await?;
        Ok((Endpoints { consumer, producer, dead_letters }, self.settings, self.handler))
    }
}

impl Settings {
    fn check(&self) -> Result<()> {
        let problem = if self.concurrency == 0 {
            "concurrency is 0: nothing would ever be handled"
        } else if self.max_held < self.concurrency {
            "max_held is less than concurrency: some handlers would never have anything to do"
        } else if self.max_held > MOST_HELD {
            "max_held is more than 65,536, as many as a consumer remembers"
        } else if self.handler_timeout.is_zero() {
            "handler_timeout is 0: no attempt could succeed"
        } else if self.commit_interval.is_zero() {
            "commit_interval is 0"
        } else if let Some(problem) = self.retries.problem() {
            problem
        } else if !self.stored_offsets && self.group.is_some() {
            "a group is named, and stored offsets are given up"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidConfig, problem).with_topic(&self.from))
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        f.debug_struct(name)
            .field("from", &self.from)
            .field("to", &self.to)
            .field("concurrency", &self.concurrency)
            .field("order", &self.order)
            .field("dead_letters", &self.dead_letters)
            .finish_non_exhaustive()
    }
}

/// A consumer remembers no more records that are not acknowledged.
const MOST_HELD: usize = 65_536;

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.describe(f, "Processor")
    }
}
