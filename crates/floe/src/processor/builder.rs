//! Configuration and start of a processor.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    exact::ExactOpening,
    failure::Failure,
    handler::{self, Handler},
    listed::ListedProcessor,
    outputs::Outputs,
    report::{Counters, ProcessorReport},
    run::{self, Endpoints},
    running::RunningProcessor,
    settings::{DeadLetters, Order, ProcessorSettings},
};
use crate::{
    Client, Message, Result, RetryPolicy,
    consumer::{
        AckMode, CommitPolicy, Consumer, ConsumerBuilder, GapPolicy, Membership, StartAt, group::Sharing,
    },
    dead_letter::DeadLetterWriter,
    payload::{Json, PayloadCodec, Raw},
    producer::ProducerBuilder,
    topic::Topic,
};

/// Configures a processor; from [`Client::processor`].
#[must_use = "a builder does nothing until a handler is given and it is run"]
pub struct ProcessorBuilder<I = Raw, O = Raw> {
    client: Client,
    input: I,
    output: O,
    settings: ProcessorSettings,
}

impl Client {
    /// Configures a processor that reads `from` and writes to `to`; see [`crate::processor`].
    pub fn processor(&self, from: impl Into<Topic>, to: impl Into<Topic>) -> ProcessorBuilder {
        let settings = ProcessorSettings::new(from.into(), to.into());
        ProcessorBuilder { client: self.clone(), input: Raw, output: Raw, settings }
    }
}

impl<I: PayloadCodec, O: PayloadCodec> ProcessorBuilder<I, O> {
    /// Reads and writes JSON. Default: bytes.
    pub fn json<A, B>(self) -> ProcessorBuilder<Json<A>, Json<B>>
    where
        Json<A>: PayloadCodec,
        Json<B>: PayloadCodec,
    {
        self.payloads(Json::new(), Json::new())
    }

    /// Sets the codecs of the values that are read and written. Default: [`Raw`], bytes.
    pub fn payloads<A: PayloadCodec, B: PayloadCodec>(self, input: A, output: B) -> ProcessorBuilder<A, B> {
        ProcessorBuilder { client: self.client, input, output, settings: self.settings }
    }

    /// Sets the consumer group whose stored offsets the processor resumes from. Default: `FROM-to-TO` after the topics.
    pub fn group(mut self, group: impl Into<Arc<str>>) -> Self {
        self.settings.group = Some(group.into());
        self
    }

    /// Divides the partitions of the input among all processors of the group that do the same; see
    /// [`ConsumerBuilder::shared`].
    pub fn shared(self) -> Self {
        self.shared_as(Membership::default())
    }

    /// As [`ProcessorBuilder::shared`], with settings of this member.
    pub fn shared_as(mut self, membership: Membership) -> Self {
        self.settings.shared = Some(Sharing::Alone(membership));
        self
    }

    /// Reads as the member of a consumer, so that the partitions of one number of both topics come to this process together: as
    /// [`ConsumerBuilder::shared_with`]. A processor that handles its records exactly once is a member of its own.
    pub fn shared_with(mut self, consumer: &Consumer<impl Sized>) -> Self {
        let sharing = Sharing::of(consumer);
        if self.settings.group.is_none() {
            self.settings.group = sharing.group();
        }
        self.settings.shared = Some(sharing);
        self
    }

    /// Writes each record made from the input once, whatever crashes; see [`crate::processor`] and
    /// [the page](https://github.com/floe-rs/floe/blob/main/docs/exactly-once.md). The handler must be deterministic, and
    /// effects outside of the topics still happen at least once. Default: at least once.
    ///
    /// The processor works in a [shared group](Self::shared), also alone, with [`Fence::Strict`], and has no end: it stops
    /// when it is told to. Needs an engine with offsets, and outputs without SmartModules and deduplication.
    ///
    /// [`Fence::Strict`]: crate::consumer::Fence::Strict
    pub fn exactly_once(mut self) -> Self {
        self.settings.exactly_once = true;
        self
    }

    /// As [`exactly_once`](Self::exactly_once), for a handler that need not be deterministic: what it makes of a record goes to a
    /// changelog first, and from there to the outputs. A process that takes over replays the changelog, and calls the handler
    /// for the other records only. Costs a second append of everything. Default: outputs are not recorded.
    ///
    /// The changelog is the topic `GROUP-changelog`, which is created with as many partitions as the input, a retention of 7
    /// days and as much replication as the cluster has. [`recorded_in`](Self::recorded_in) chooses another one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> floe::Result<()> {
    /// # let client = floe::Client::connect("memory:").await?;
    /// # for topic in ["orders", "priced"] {
    /// #     client.admin().create_topic(floe::TopicSpec::new(topic)).await?;
    /// # }
    /// # client.producer("orders").start().await?.send("tea").await?;
    /// # let price_of_today = async |_: &[u8]| "3".to_owned();
    /// use floe::{Message, Record, processor::Failure};
    ///
    /// let running = client
    ///     .processor("orders", "priced")
    ///     .recorded()
    ///     .map(move |order: Message| async move {
    ///         // Another call may return another price: the first one counts, and it alone is written.
    ///         let price = price_of_today(&order.value).await;
    ///         Ok::<_, Failure>(Record::keyed(order.value, price.into()))
    ///     })
    ///     .start()
    ///     .await?;
    /// # while running.stats().handled == 0 {
    /// #     tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    /// # }
    /// let report = running.stop().await?;
    /// assert_eq!(report.produced, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn recorded(mut self) -> Self {
        self.settings.exactly_once = true;
        self.settings.recorded = true;
        self
    }

    /// As [`recorded`](Self::recorded), with this topic as changelog, which no other processor may use.
    pub fn recorded_in(mut self, changelog: impl Into<Topic>) -> Self {
        self.settings.changelog = Some(changelog.into());
        self.recorded()
    }

    /// Sets how many handlers may run at once. Default: 1.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.settings.concurrency = handlers;
        self
    }

    /// Sets which records are handled one after the other. Default: [`Order::PerKey`], the order that the partitioner keeps
    /// as well.
    pub fn order(mut self, order: Order) -> Self {
        self.settings.order = order;
        self
    }

    /// Sets the timeout of an attempt. Default: 60 s, so that a handler that hangs does not block its key forever.
    pub fn handler_timeout(mut self, limit: Duration) -> Self {
        self.settings.handler_timeout = limit;
        self
    }

    /// Sets the retries of a record. Default: 5 attempts, with delays of at most 100 ms, 200 ms and so on between them.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.settings.retries = policy;
        self
    }

    /// Sets the policy for a record whose attempts are used up or whose failure is permanent. Default: it goes to the topic
    /// `FROM-dead`.
    pub fn dead_letters(mut self, dead_letters: DeadLetters) -> Self {
        self.settings.dead_letters = dead_letters;
        self
    }

    /// Sets how long a shutdown may take to finish the records that were read. Default: 30 s.
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.settings.drain_timeout = limit;
        self
    }

    /// Sets how often offsets are stored. After a crash, at most the records of this time are handled again. Default: 1 s.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.settings.commit_interval = interval;
        self
    }

    /// Sets how many records may be held that were read and are not done: from the number of handlers to 65,536. Default:
    /// 4096.
    pub fn max_held(mut self, records: usize) -> Self {
        self.settings.max_held = records;
        self
    }

    /// Marks the records made from a record with the header `floe-origin`, by which duplicates after a crash can be
    /// recognized. Default: yes, where the engine keeps headers.
    pub fn mark_origin(mut self, marks: bool) -> Self {
        self.settings.marks_origin = marks;
        self
    }

    /// Allows an engine that stores no offsets, such as Walrus, where reading removes records: records that were read and
    /// are not done when the program dies are lost. Default: such an engine is refused.
    pub fn without_stored_offsets(mut self) -> Self {
        self.settings.stored_offsets = false;
        self
    }

    /// Ends the processor when the records that were there at the start are done. Default: it waits for more.
    pub fn stop_at_end(mut self) -> Self {
        self.settings.stop_at_end = true;
        self
    }

    /// Configures the consumer of the input topic: start position without a stored offset, prefetching, gaps. The processor
    /// sets group, commits and acknowledgements itself.
    pub fn consumer(
        mut self,
        configure: impl FnOnce(ConsumerBuilder) -> ConsumerBuilder + Send + Sync + 'static,
    ) -> Self {
        self.settings.consumer = Some(Box::new(configure));
        self
    }

    /// Configures the producer of the output topic: linger, compression, timeout, partitioner.
    pub fn producer(
        mut self,
        configure: impl FnOnce(ProducerBuilder) -> ProducerBuilder + Send + Sync + 'static,
    ) -> Self {
        self.settings.producer = Some(Box::new(configure));
        self
    }

    /// Sets the handler, which makes the output records from each input record. A retry calls it again for the same record.
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
    settings: ProcessorSettings,
    handler: Handler,
}

impl Processor {
    /// Runs until `shutdown` resolves or the topic ends, then drains; see [`crate::processor`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`]; [`ErrorKind::Unsupported`] on an engine that stores no offsets, or has no headers
    /// for dead letters; errors of reading and writing the topics; with [`DeadLetters::Stop`] the failure of a record.
    /// Records that could be finished are done. With [`ProcessorBuilder::exactly_once`] also [`ErrorKind::Nondeterministic`]
    /// for a handler that made another record before, and [`ErrorKind::Gap`] or [`ErrorKind::CorruptData`] where an output
    /// does not hold any more what tells which records are there.
    ///
    /// [`ErrorKind::InvalidConfig`]: crate::ErrorKind::InvalidConfig
    /// [`ErrorKind::Unsupported`]: crate::ErrorKind::Unsupported
    /// [`ErrorKind::Nondeterministic`]: crate::ErrorKind::Nondeterministic
    /// [`ErrorKind::Gap`]: crate::ErrorKind::Gap
    /// [`ErrorKind::CorruptData`]: crate::ErrorKind::CorruptData
    ///
    /// # Cancel safety
    /// If the future is dropped, running handlers are cancelled, and records without a stored offset are handled again.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<ProcessorReport> {
        let counters = Arc::default();
        let (endpoints, settings, handler) = self.open(&counters).await?;
        run::run(endpoints, &settings, (handler, &counters), shutdown).await
    }

    /// Starts the processor in the background.
    ///
    /// # Errors
    /// As [`Processor::run`], for errors found before the first record.
    pub async fn start(self) -> Result<RunningProcessor> {
        let (stop, stopped) = oneshot::channel();
        let counters: Arc<Counters> = Arc::default();
        let (endpoints, settings, handler) = self.open(&counters).await?;
        let counted = Arc::clone(&counters);
        let task = tokio::spawn(async move {
            let shutdown = async {
                // A dropped handle stops the processor as well.
                let _ = stopped.await;
            };
            run::run(endpoints, &settings, (handler, &counted), shutdown).await
        });
        Ok(RunningProcessor { counters, stop: Some(stop), task })
    }

    async fn open(mut self, counters: &Arc<Counters>) -> Result<(Endpoints, ProcessorSettings, Handler)> {
        let info = self.client.info();
        let client = self.client.core();
        let settings = &mut self.settings;
        settings.check()?;
        settings.marks_origin &= info.capabilities.headers;
        let default = || Arc::from(format!("{}-to-{}", settings.from, settings.to));
        let group = Arc::clone(settings.group.get_or_insert_with(default));
        let output = self.client.producer(&settings.to);
        let output = match settings.producer.take() {
            Some(configure) => configure(output),
            None => output,
        };
        if settings.exactly_once {
            ExactOpening::check(client, &output).await?;
        }
        let dead_letters = match &settings.dead_letters {
            DeadLetters::Topic(topic) => Some(DeadLetterWriter::open(client, topic).await?),
            DeadLetters::Stop => None,
        };
        let (sharing, session) = settings.sharing();
        let mut input = configure_input(&self.client, settings, sharing, &group);
        let exact = if settings.exactly_once {
            let dead = match &settings.dead_letters {
                DeadLetters::Topic(topic) => Some(self.client.producer(topic)),
                DeadLetters::Stop => None,
            };
            let changelog = settings.chosen_changelog(&group).map(|topic| self.client.producer(topic));
            let outputs = (output.clone(), dead, changelog);
            let exact = ExactOpening::new(client, (&group, &settings.from), outputs).await?;
            input = exact.consumer(input);
            Some(exact)
        } else {
            None
        };
        let producer = output.start().await?;
        let consumer = input.start().await?;
        let exact = exact.and_then(|exact| exact.start(client, &consumer, (session, settings.max_held)));
        if !settings.stored_offsets {
            settings.group = None;
        }
        let listed = ListedProcessor::new(client, settings, Arc::clone(counters));
        Ok((Endpoints { consumer, producer, dead_letters, listed, exact }, self.settings, self.handler))
    }
}

/// Configures the consumer of the input topic.
fn configure_input(
    client: &Client,
    settings: &mut ProcessorSettings,
    sharing: Option<Sharing>,
    group: &Arc<str>,
) -> ConsumerBuilder {
    let input = client.consumer(&settings.from);
    let input = if settings.stored_offsets { input } else { input.from(StartAt::Beginning) };
    let input = input.on_gap(GapPolicy::Report);
    let input = match settings.consumer.take() {
        Some(configure) => configure(input),
        None => input,
    };
    let mut input =
        input.ack_mode(AckMode::Explicit).commit(CommitPolicy::Interval(settings.commit_interval));
    if settings.stored_offsets {
        input = input.group(Arc::clone(group));
    }
    if let Some(sharing) = sharing {
        input.share(sharing);
    }
    if settings.stop_at_end { input.stop_at_end() } else { input }
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.describe(f, "Processor")
    }
}
