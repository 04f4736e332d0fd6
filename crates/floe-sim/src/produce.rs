//! Producers.

use std::time::Duration;

use floe::{
    Client, Effect, ErrorKind, Producer, Record,
    producer::{Delivery, RecordMetadata},
};
use tokio::time::{Instant, timeout};

use crate::{plan::ProducerPlan, rng::Rng, trace::Trace};

/// Time that an outcome may take beyond the producer's timeout: a tail lookup or a reconnect may be in progress when the
/// timeout expires.
const GRACE: Duration = Duration::from_secs(30);

/// Time limit for starting a producer, including retries.
const START: Duration = Duration::from_secs(120);

/// A record passed to a producer, and its reported outcome.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Value, unique within a run.
    pub value: String,
    /// Target partition.
    pub partition: u32,
    /// Reported outcome.
    pub outcome: Outcome,
}

/// Reported outcome of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Stored, at this offset on engines with offsets.
    Acknowledged(Option<i64>),
    /// Not stored.
    Refused(ErrorKind),
    /// Stored or not.
    Unknown(ErrorKind),
}

impl Outcome {
    fn of(reported: floe::Result<RecordMetadata>) -> Self {
        match reported {
            Ok(placed) => Self::Acknowledged(placed.offset),
            Err(error) if error.effect() == Effect::None => Self::Refused(error.kind()),
            Err(error) => Self::Unknown(error.kind()),
        }
    }
}

/// One producer and its workload.
#[derive(Debug)]
pub(crate) struct Producing {
    pub(crate) number: usize,
    pub(crate) topic: &'static str,
    pub(crate) partitions: u32,
    pub(crate) plan: ProducerPlan,
    pub(crate) rng: Rng,
    pub(crate) trace: Trace,
}

impl Producing {
    /// Sends all records, closes, and returns the outcome of every record.
    pub(crate) async fn run(mut self, client: Client) -> Result<Vec<Sent>, String> {
        let producer = self.start(&client).await?;
        let mut sent = Vec::new();
        let mut open = Vec::new();
        for sequence in 0..self.plan.records {
            let partition = u32::try_from(self.rng.below(self.partitions as usize)).unwrap_or(0);
            let filling = usize::try_from(self.rng.within(0..=self.plan.filling)).unwrap_or(0);
            let value = format!("{}.{sequence}.{}", self.number, "x".repeat(filling));
            // A fixed timestamp: the wall clock would change batch sizes between runs.
            let record =
                Record::new(value.clone()).partition(partition).timestamp(1_000 + i64::from(sequence));
            let wait = self.rng.percent(self.plan.waited_for);
            let limit = self.plan.timeout + GRACE;
            let begun = Instant::now();
            match timeout(limit, producer.enqueue(record)).await {
                Err(_) => {
                    return Err(format!(
                        "{}.{sequence} was blocked by backpressure for {limit:?}",
                        self.number
                    ));
                }
                Ok(Err(error)) => {
                    self.trace.note(format_args!("{}.{sequence} not accepted: {error}", self.number));
                    sent.push(Sent { value, partition, outcome: Outcome::of(Err(error)) });
                }
                Ok(Ok(delivery)) => {
                    sent.push(Sent { value, partition, outcome: Outcome::Unknown(ErrorKind::Closed) });
                    open.push((sent.len() - 1, delivery, begun));
                }
            }
            if wait {
                self.settle(&mut sent, std::mem::take(&mut open)).await?;
            }
            tokio::time::sleep(self.rng.millis(0..=self.plan.pause)).await;
        }
        // Half of the runs await outcomes before the close, half get them through the close.
        if self.rng.percent(50) {
            self.settle(&mut sent, std::mem::take(&mut open)).await?;
        }
        let limit = self.plan.timeout + GRACE;
        let report = match timeout(limit + GRACE, producer.close_within(limit)).await {
            Ok(Ok(report)) => report,
            Ok(Err(error)) => return Err(format!("closing producer {}: {error}", self.number)),
            Err(_) => return Err(format!("closing producer {} hangs", self.number)),
        };
        self.settle(&mut sent, open).await?;
        let acknowledged =
            sent.iter().filter(|sent| matches!(sent.outcome, Outcome::Acknowledged(_))).count();
        if report.delivered != acknowledged as u64 {
            return Err(format!(
                "producer {} reports {} delivered records, of which {acknowledged} were acknowledged",
                self.number, report.delivered
            ));
        }
        Ok(sent)
    }

    async fn start(&mut self, client: &Client) -> Result<Producer, String> {
        let begun = Instant::now();
        loop {
            let plan = &self.plan;
            let starting = client
                .producer(self.topic)
                .linger(plan.linger)
                .batch_size(plan.batch_size)
                .max_in_flight(plan.max_in_flight)
                .timeout(plan.timeout)
                .compression(plan.codec)
                .delivery(plan.delivery)
                .acks(plan.acks)
                .start();
            match timeout(START, starting).await {
                Ok(Ok(producer)) => return Ok(producer),
                Ok(Err(error)) if begun.elapsed() < START && may_pass(&error) => {
                    self.trace.note(format_args!("producer {} cannot start: {error}", self.number));
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Ok(Err(error)) => return Err(format!("producer {} cannot start: {error:?}", self.number)),
                Err(_) => return Err(format!("starting producer {} hangs", self.number)),
            }
        }
    }

    /// Waits for outcomes.
    async fn settle(&self, sent: &mut [Sent], open: Vec<(usize, Delivery, Instant)>) -> Result<(), String> {
        let limit = self.plan.timeout + GRACE;
        for (index, delivery, begun) in open {
            let left = (begun + limit).saturating_duration_since(Instant::now());
            let Ok(reported) = timeout(left, delivery).await else {
                return Err(format!("no outcome after {limit:?} for {}", name(&sent[index].value)));
            };
            self.trace.note(format_args!("{} {reported:?}", name(&sent[index].value)));
            sent[index].outcome = Outcome::of(reported);
        }
        Ok(())
    }
}

/// Returns whether an error may be gone at the next attempt: a failed disk is repaired in the course of a run.
pub(crate) fn may_pass(error: &floe::Error) -> bool {
    error.is_retriable() || error.kind() == ErrorKind::StorageError
}

/// Returns a value without its padding.
pub(crate) fn name(value: &str) -> &str {
    value.rsplit_once('.').map_or(value, |(name, _)| name)
}
