//! The loop of a processor: reads, starts handlers, waits for deliveries, acknowledges.

use std::{borrow::Cow, fmt, future::Future, pin::pin, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

use super::{
    Failure, LeftOver, ProcessorReport,
    builder::Settings,
    handler::{self, Ended, Handler},
    lanes::{Job, Lanes},
    report::{Counters, add},
};
use crate::{
    Consumer, Error, ErrorKind, Message, Producer, Record, Result, RetryPolicy,
    dead_letter::{DeadLetterWriter, Origin, PROCESSED, Reason},
    producer::Delivery,
    retry::Retries,
};

/// Records read, attempts or deliveries finished in one go, before everything else gets its turn.
const TURN: usize = 128;

/// Longest time to store the last offsets.
const COMMIT_LIMIT: Duration = Duration::from_secs(30);

/// What a processor reads from and writes to.
pub(super) struct Endpoints {
    pub(super) consumer: Consumer,
    pub(super) producer: Producer,
    pub(super) dead_letters: Option<DeadLetterWriter>,
}

/// What an attempt needs.
struct Work {
    handler: Handler,
    producer: Producer,
    dead_letters: Option<DeadLetterWriter>,
    limit: Duration,
    retries: RetryPolicy,
    marks_origin: bool,
}

/// Why nothing came of an attempt.
enum Unmade {
    /// The record's own fault, or the handler's.
    Failed(Failure),
    /// Nothing can go on.
    Fatal(Error),
}

impl Unmade {
    fn code(&self) -> Cow<'static, str> {
        match self {
            Self::Failed(failure) => Cow::Owned(failure.code_name().to_owned()),
            Self::Fatal(error) => Cow::Borrowed(error.kind().as_str()),
        }
    }
}

impl fmt::Display for Unmade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Fatal(error) => error.fmt(f),
        }
    }
}

/// What became of an attempt.
enum Attempted {
    /// This is on its way.
    Made { deliveries: Vec<Delivery>, dead: bool },
    /// It failed, and is worth another one after a while.
    Again(Duration),
    /// Nothing can go on.
    Fatal(Error),
}

/// A record with how many records made from it were acknowledged, and whether they are a dead letter.
type Delivered = (Box<Job>, Result<(u64, bool)>);

struct Coordinator<'a> {
    consumer: Consumer,
    work: Arc<Work>,
    settings: &'a Settings,
    counters: &'a Counters,
    lanes: Lanes,
    /// Records read and not done.
    held: usize,
    attempts: FuturesUnordered<BoxFuture<'static, (Box<Job>, Attempted)>>,
    backing_off: FuturesUnordered<BoxFuture<'static, Box<Job>>>,
    deliveries: FuturesUnordered<BoxFuture<'static, Delivered>>,
    reads: bool,
    /// When a drain gives up.
    deadline: Option<Instant>,
    failure: Option<Error>,
}

pub(super) async fn run(
    endpoints: Endpoints,
    settings: &Settings,
    (handler, counters): (Handler, &Counters),
    shutdown: impl Future<Output = ()> + Send,
) -> Result<ProcessorReport> {
    let Endpoints { consumer, producer, dead_letters } = endpoints;
    let work = Work {
        handler,
        producer,
        dead_letters,
        limit: settings.handler_timeout,
        retries: settings.retries.clone(),
        marks_origin: settings.marks_origin,
    };
    let coordinator = Coordinator {
        consumer,
        work: Arc::new(work),
        settings,
        counters,
        lanes: Lanes::new(settings.order),
        held: 0,
        attempts: FuturesUnordered::new(),
        backing_off: FuturesUnordered::new(),
        deliveries: FuturesUnordered::new(),
        reads: true,
        deadline: None,
        failure: None,
    };
    coordinator.run(shutdown).await
}

impl Coordinator<'_> {
    async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<ProcessorReport> {
        let mut shutdown = pin!(shutdown);
        while self.reads || self.held > 0 {
            self.start_attempts();
            tokio::select! {
                biased;
                () = &mut shutdown, if self.deadline.is_none() => self.begin_drain(),
                () = sleep_until(self.deadline.unwrap_or_else(Instant::now)), if self.deadline.is_some() => break,
                Some((job, outcome)) = self.attempts.next() => {
                    self.attempted(job, outcome);
                    for _ in 0..TURN {
                        let Some(Some((job, outcome))) = self.attempts.next().now_or_never() else { break };
                        self.attempted(job, outcome);
                    }
                }
                Some((job, outcome)) = self.deliveries.next() => {
                    self.delivered(&job.message, outcome);
                    for _ in 0..TURN {
                        let Some(Some((job, outcome))) = self.deliveries.next().now_or_never() else { break };
                        self.delivered(&job.message, outcome);
                    }
                }
                Some(job) = self.backing_off.next() => self.lanes.again(job),
                next = self.consumer.next(), if self.may_read() => {
                    self.admit(next);
                    for _ in 0..TURN {
                        if !self.may_read() {
                            break;
                        }
                        let Some(next) = self.consumer.next().now_or_never() else { break };
                        self.admit(next);
                    }
                }
            }
        }
        self.end().await
    }

    fn may_read(&self) -> bool {
        self.reads && self.held < self.settings.max_held
    }

    fn admit(&mut self, next: Option<Result<Message>>) {
        match next {
            Some(Ok(message)) => {
                add(&self.counters.read, 1);
                self.held += 1;
                self.lanes.admit(message);
            }
            Some(Err(error)) => self.fail(error),
            None => self.reads = false,
        }
    }

    fn start_attempts(&mut self) {
        while self.attempts.len() < self.settings.concurrency && self.failure.is_none() {
            let Some(mut job) = self.lanes.next() else { return };
            if job.attempts > 0 {
                add(&self.counters.retries, 1);
            }
            job.attempts += 1;
            let work = Arc::clone(&self.work);
            self.attempts.push(Box::pin(async move {
                let outcome = work.attempt(&mut job).await;
                (job, outcome)
            }));
        }
    }

    fn attempted(&mut self, job: Box<Job>, outcome: Attempted) {
        match outcome {
            Attempted::Made { deliveries, dead } => {
                // The next of the lane comes behind it in the producer.
                self.lanes.release(job.lane);
                if deliveries.is_empty() {
                    self.delivered(&job.message, Ok((0, dead)));
                    return;
                }
                self.deliveries.push(Box::pin(async move {
                    let mut count = 0;
                    for delivery in deliveries {
                        if let Err(error) = delivery.await {
                            return (job, Err(error));
                        }
                        count += 1;
                    }
                    (job, Ok((count, dead)))
                }));
            }
            Attempted::Again(delay) => self.backing_off.push(Box::pin(async move {
                tokio::time::sleep(delay).await;
                job
            })),
            Attempted::Fatal(error) => {
                self.held -= 1;
                self.fail(error);
            }
        }
    }

    fn delivered(&mut self, message: &Message, outcome: Result<(u64, bool)>) {
        self.held -= 1;
        match outcome {
            Ok((_, true)) => {
                add(&self.counters.dead_letters, 1);
                message.ack();
            }
            Ok((count, false)) => {
                add(&self.counters.produced, count);
                add(&self.counters.handled, 1);
                message.ack();
            }
            Err(error) => self.fail(error),
        }
    }

    fn begin_drain(&mut self) {
        self.reads = false;
        let now = Instant::now();
        self.deadline = Some(now.checked_add(self.settings.drain_timeout).unwrap_or(now + FOREVER));
    }

    /// Nothing new is begun; what runs may end.
    fn fail(&mut self, error: Error) {
        if self.failure.is_some() {
            return;
        }
        tracing::error!(topic = %self.settings.from, %error, "the processor stops");
        self.failure = Some(error);
        if self.deadline.is_none() {
            self.begin_drain();
        }
        self.reads = false;
        self.backing_off = FuturesUnordered::new();
        self.lanes = Lanes::new(self.settings.order);
        self.held = self.attempts.len() + self.deliveries.len();
    }

    /// Stores the last offsets and tells what was left.
    async fn end(mut self) -> Result<ProcessorReport> {
        // Handlers that still run end here.
        self.attempts = FuturesUnordered::new();
        self.deliveries = FuturesUnordered::new();
        let left: Vec<_> = self
            .consumer
            .unacknowledged()
            .into_iter()
            .map(|(at, first_offset, records)| LeftOver { at, first_offset, records })
            .collect();
        for one in &left {
            tracing::warn!(left = %one, "the processor ended before these records were done; the next run begins there");
        }
        // Everything that counts was acknowledged; the rest must not come after the report.
        let given_up = self.work.producer.close_within(Duration::ZERO).await?;
        drop(given_up);
        if let Some(dead_letters) = &self.work.dead_letters {
            dead_letters.give_up().await?;
        }
        let stored = tokio::time::timeout(COMMIT_LIMIT, self.consumer.close()).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::RequestTimeout, "the last offsets could not be stored in time")
                .with_operation("commit")
                .with_topic(&self.settings.from))
        });
        if let Some(failure) = self.failure {
            if let Err(error) = stored {
                tracing::warn!(%error, "the last offsets were not stored");
            }
            return Err(failure);
        }
        stored?;
        Ok(self.counters.report(left))
    }
}

/// Stands for a time for draining that the clock cannot hold.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

impl Work {
    async fn attempt(&self, job: &mut Job) -> Attempted {
        let telemetry = self.producer.telemetry();
        let made = telemetry.process_with(&job.message, self.make(&job.message), Unmade::code).await;
        let failure = match made {
            Ok(deliveries) => return Attempted::Made { deliveries, dead: false },
            Err(Unmade::Failed(failure)) => failure,
            Err(Unmade::Fatal(error)) => return Attempted::Fatal(error),
        };
        let (retriable, code) = (failure.is_retriable(), failure.code_name().to_owned());
        let text = failure.to_string();
        let error = failure.into_error(&job.message);
        let retries = job.retries.get_or_insert_with(|| Retries::new(self.retries.clone()));
        let worth_it = retriable && self.retries.should_retry.accepts_or(&error, |_| true);
        if let Some(delay) = retries.after_if(worth_it, &error) {
            tracing::debug!(%error, attempts = job.attempts, ?delay, "the record is tried again");
            return Attempted::Again(delay);
        }
        let Some(writer) = &self.dead_letters else {
            return Attempted::Fatal(error.with_attempts(job.attempts));
        };
        tracing::warn!(%error, attempts = job.attempts, "the record becomes a dead letter");
        telemetry.buried(&job.message.topic, &code);
        let reason = Reason { code: &code, text: &text, attempts: job.attempts };
        match writer.enqueue(&job.message, &reason).await {
            Ok(delivery) => Attempted::Made { deliveries: vec![delivery], dead: true },
            Err(error) => Attempted::Fatal(error),
        }
    }

    /// Handles a record, and sends what came of it on its way.
    async fn make(&self, message: &Message) -> Result<Vec<Delivery>, Unmade> {
        match handler::attempt(Arc::clone(&self.handler), message.clone(), self.limit).await {
            Ok(records) => self.enqueue(message, records).await.map_err(|error| {
                if concerns_the_record(&error) {
                    let code = error.kind().as_str();
                    Unmade::Failed(Failure::permanent(error).code(code))
                } else {
                    Unmade::Fatal(error)
                }
            }),
            Err(Ended::Failed(failure)) => Err(Unmade::Failed(failure)),
            Err(Ended::Cancelled) => Err(Unmade::Fatal(handler::runtime_ends())),
        }
    }

    async fn enqueue(&self, message: &Message, records: Vec<Record>) -> Result<Vec<Delivery>> {
        let mut deliveries = Vec::with_capacity(records.len());
        let mut origin = Origin::of_message(message);
        for mut record in records {
            if self.marks_origin {
                // A handler that copies headers copies the mark of the processor before this one.
                record.headers.retain(|(name, _)| name != PROCESSED);
                record = record.header(PROCESSED, origin.to_string());
                origin.index += 1;
            }
            deliveries.push(self.producer.enqueue(record).await?);
        }
        Ok(deliveries)
    }
}

/// Whether the producer refused a record for what it is, so that no other record would be refused.
fn concerns_the_record(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::RecordTooLarge
            | ErrorKind::InvalidCommand
            | ErrorKind::PartitionNotFound
            | ErrorKind::SerializationError
            | ErrorKind::Unsupported
    )
}
