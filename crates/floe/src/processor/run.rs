//! The loop of a processor: reads, starts attempts, waits for deliveries, acknowledges.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

use super::{
    attempt::{AttemptOutcome, AttemptRunner, Sent},
    exact::ExactTasks,
    handler::Handler,
    key_queues::{KeyQueues, PendingRecord},
    listed::ListedProcessor,
    report::{Counters, LeftOver, ProcessorReport, add},
    settings::ProcessorSettings,
};
use crate::{Consumer, Error, ErrorKind, Message, Producer, Result, dead_letter::DeadLetterWriter};

/// Records, attempts or deliveries that are taken at once, before the other futures get their turn.
const TURN: usize = 128;

/// Timeout of the last commit.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Time limit in place of a drain timeout that the clock cannot represent.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Clients of the topics that a processor reads and writes.
pub(super) struct Endpoints {
    pub(super) consumer: Consumer,
    pub(super) producer: Producer,
    pub(super) dead_letters: Option<DeadLetterWriter>,
    /// Held while the processor runs.
    pub(super) listed: Arc<ListedProcessor>,
    /// Set with exactly once.
    pub(super) exact: Option<ExactTasks>,
}

/// A record with the number of acknowledged records that were made from it, and whether they are its dead letter; `None` if
/// another member of the group may have it.
type Delivered = (Box<PendingRecord>, Option<Result<(u64, bool)>>);

struct Coordinator<'a> {
    consumer: Consumer,
    runner: Arc<AttemptRunner>,
    settings: &'a ProcessorSettings,
    counters: &'a Counters,
    queues: KeyQueues,
    /// Records that were read and are not done.
    held: usize,
    attempts: FuturesUnordered<BoxFuture<'static, (Box<PendingRecord>, AttemptOutcome)>>,
    backing_off: FuturesUnordered<BoxFuture<'static, Box<PendingRecord>>>,
    deliveries: FuturesUnordered<BoxFuture<'static, Delivered>>,
    exact: Option<ExactTasks>,
    reads: bool,
    /// End of a drain.
    deadline: Option<Instant>,
    failure: Option<Error>,
}

/// Runs until the shutdown, the end of the topic or a failure, and drains.
pub(super) async fn run(
    endpoints: Endpoints,
    settings: &ProcessorSettings,
    (handler, counters): (Handler, &Counters),
    shutdown: impl Future<Output = ()> + Send,
) -> Result<ProcessorReport> {
    let Endpoints { consumer, producer, dead_letters, listed: _listed, exact } = endpoints;
    let runner = AttemptRunner {
        handler,
        producer,
        dead_letters,
        timeout: settings.handler_timeout,
        retries: settings.retries.clone(),
        marks_origin: settings.marks_origin,
        dead_output: exact.as_ref().and_then(ExactTasks::dead_letters),
    };
    let coordinator = Coordinator {
        consumer,
        runner: Arc::new(runner),
        settings,
        counters,
        queues: KeyQueues::new(settings.order),
        held: 0,
        attempts: FuturesUnordered::new(),
        backing_off: FuturesUnordered::new(),
        deliveries: FuturesUnordered::new(),
        exact,
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
                Some((record, outcome)) = self.attempts.next() => {
                    self.attempted(record, outcome);
                    for _ in 0..TURN {
                        let Some(Some((record, outcome))) = self.attempts.next().now_or_never() else { break };
                        self.attempted(record, outcome);
                    }
                }
                Some((record, outcome)) = self.deliveries.next() => {
                    self.delivered(&record, outcome);
                    for _ in 0..TURN {
                        let Some(Some((record, outcome))) = self.deliveries.next().now_or_never() else { break };
                        self.delivered(&record, outcome);
                    }
                }
                error = failed(&mut self.exact) => self.fail(error),
                Some(record) = self.backing_off.next() => self.queues.push_retry(record),
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
                let slot = self.exact.as_mut().and_then(|tasks| tasks.register(&message));
                self.queues.push(message, slot);
            }
            Some(Err(error)) => self.fail(error),
            None => self.reads = false,
        }
    }

    fn start_attempts(&mut self) {
        while self.attempts.len() < self.settings.concurrency && self.failure.is_none() {
            let Some(mut record) = self.queues.pop() else { return };
            if record.message.receipt().is_lost() {
                self.forget(&record);
                continue;
            }
            if record.attempts > 0 {
                add(&self.counters.retries, 1);
            }
            record.attempts += 1;
            let runner = Arc::clone(&self.runner);
            self.attempts.push(Box::pin(async move {
                let outcome = runner.run(&mut record).await;
                (record, outcome)
            }));
        }
    }

    fn attempted(&mut self, record: Box<PendingRecord>, outcome: AttemptOutcome) {
        match outcome {
            AttemptOutcome::Sent(sent) => {
                // The producer or the task keeps the order from here on, so the next record of the queue may begin.
                self.queues.release(record.queue);
                match sent {
                    Sent::Deliveries { made, dead } if made.is_empty() => {
                        self.delivered(&record, Some(Ok((0, dead))));
                    }
                    sent => self.deliveries.push(Box::pin(async move {
                        let outcome = acknowledged(sent).await;
                        (record, outcome)
                    })),
                }
            }
            AttemptOutcome::RetryAfter(delay) => self.backing_off.push(Box::pin(async move {
                record.message.receipt().while_held(tokio::time::sleep(delay)).await;
                record
            })),
            AttemptOutcome::Lost => self.forget(&record),
            AttemptOutcome::Fatal(error) => {
                self.held -= 1;
                self.fail(error);
            }
        }
    }

    /// Gives up a record that another member of the group may have.
    fn forget(&mut self, record: &PendingRecord) {
        let (partition, offset) = (record.message.partition, record.message.offset);
        tracing::debug!(topic = %self.settings.from, partition, offset, "another member of the group handles the record");
        self.held -= 1;
        self.queues.release(record.queue);
    }

    fn delivered(&mut self, record: &PendingRecord, outcome: Option<Result<(u64, bool)>>) {
        self.held -= 1;
        match outcome {
            Some(Ok((_, true))) => {
                add(&self.counters.dead_letters, 1);
                record.message.ack();
            }
            Some(Ok((count, false))) => {
                add(&self.counters.produced, count);
                add(&self.counters.handled, 1);
                record.message.ack();
            }
            Some(Err(error)) => self.fail(error),
            None => {
                let (partition, offset) = (record.message.partition, record.message.offset);
                tracing::debug!(topic = %self.settings.from, partition, offset, "the record is given up");
            }
        }
    }

    fn begin_drain(&mut self) {
        self.reads = false;
        let now = Instant::now();
        self.deadline = Some(now.checked_add(self.settings.drain_timeout).unwrap_or(now + FOREVER));
    }

    /// Stops reading and starting attempts. Running attempts and deliveries may end.
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
        self.queues = KeyQueues::new(self.settings.order);
        self.held = self.attempts.len() + self.deliveries.len();
    }

    /// Stores the last offsets, and reports the records that are left.
    async fn end(mut self) -> Result<ProcessorReport> {
        // Cancels the handlers that still run.
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
        // Acknowledged records are counted; no other record may be delivered after the report.
        let given_up = self.runner.producer.close_within(Duration::ZERO).await?;
        drop(given_up);
        if let Some(tasks) = &mut self.exact {
            tasks.end().await;
        }
        if let Some(dead_letters) = &self.runner.dead_letters {
            dead_letters.give_up().await?;
        }
        let stored = tokio::time::timeout(COMMIT_TIMEOUT, self.consumer.close()).await.unwrap_or_else(|_| {
            let message = format!("the last commit took longer than {COMMIT_TIMEOUT:?}");
            Err(Error::new(ErrorKind::RequestTimeout, message)
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

/// Waits until the records are acknowledged, and returns their number, and whether they are the dead letter of the record;
/// `None` if their task is lost.
async fn acknowledged(sent: Sent) -> Option<Result<(u64, bool)>> {
    match sent {
        Sent::Deliveries { made, dead } => {
            let mut count = 0;
            for delivery in made {
                if let Err(error) = delivery.await {
                    return Some(Err(error));
                }
                count += 1;
            }
            Some(Ok((count, dead)))
        }
        Sent::ToTask(told) => told.await.ok(),
    }
}

/// Waits for the failure of a task, if there are tasks.
async fn failed(tasks: &mut Option<ExactTasks>) -> Error {
    match tasks {
        Some(tasks) => tasks.failed().await,
        None => std::future::pending().await,
    }
}
