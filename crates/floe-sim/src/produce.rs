//! Those who send.

use std::time::Duration;

use floe::{
    Client, Effect, ErrorKind, Producer, Record,
    producer::{Delivery, RecordMetadata},
};
use tokio::time::{Instant, timeout};

use crate::{plan::ProducerPlan, rng::Rng, trace::Trace};

/// What an outcome may take beyond the producer's timeout: the batch is looked for, or connections are opened, when it
/// runs out.
const GRACE: Duration = Duration::from_secs(30);

/// How long a producer may take to start, over all attempts.
const START: Duration = Duration::from_secs(120);

/// A record that was given to a producer, and what was said of it.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its value: different for every record of a run.
    pub value: String,
    /// The partition it was meant for.
    pub partition: u32,
    /// What became of it, as told.
    pub outcome: Outcome,
}

/// What was said of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is there, at this offset where there are offsets.
    Acknowledged(Option<i64>),
    /// It is certainly not there.
    Refused(ErrorKind),
    /// It may be there.
    Unknown(ErrorKind),
}

impl Outcome {
    fn of(told: floe::Result<RecordMetadata>) -> Self {
        match told {
            Ok(placed) => Self::Acknowledged(placed.offset),
            Err(error) if error.effect() == Effect::None => Self::Refused(error.kind()),
            Err(error) => Self::Unknown(error.kind()),
        }
    }
}

/// Who sends what where.
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
    /// Sends everything and closes; tells what became of every record.
    pub(crate) async fn run(mut self, client: Client) -> Result<Vec<Sent>, String> {
        let producer = self.start(&client).await?;
        let mut sent = Vec::new();
        let mut open = Vec::new();
        for sequence in 0..self.plan.records {
            let partition = u32::try_from(self.rng.below(self.partitions as usize)).unwrap_or(0);
            let filling = usize::try_from(self.rng.within(0..=self.plan.filling)).unwrap_or(0);
            let value = format!("{}.{sequence}.{}", self.number, "x".repeat(filling));
            // Its own time: a clock on the wall would make batches of different sizes in two runs.
            let record =
                Record::new(value.clone()).partition(partition).timestamp(1_000 + i64::from(sequence));
            let wait = self.rng.percent(self.plan.waited_for);
            let limit = self.plan.timeout + GRACE;
            let begun = Instant::now();
            match timeout(limit, producer.enqueue(record)).await {
                Err(_) => return Err(format!("{}.{sequence} waited {limit:?} for room", self.number)),
                Ok(Err(error)) => {
                    self.trace.note(format_args!("{}.{sequence} not taken: {error}", self.number));
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
        // Outcomes come while nobody flushes, or because of the close: both ways.
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
                "producer {} says that {} were delivered, its records say {acknowledged}",
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
                .start();
            match timeout(START, starting).await {
                Ok(Ok(producer)) => return Ok(producer),
                Ok(Err(error)) if begun.elapsed() < START && error.is_retriable() => {
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
            let Ok(told) = timeout(left, delivery).await else {
                return Err(format!("no outcome after {limit:?} for {}", name(&sent[index].value)));
            };
            self.trace.note(format_args!("{} {told:?}", name(&sent[index].value)));
            sent[index].outcome = Outcome::of(told);
        }
        Ok(())
    }
}

/// A value without its filling.
pub(crate) fn name(value: &str) -> &str {
    value.rsplit_once('.').map_or(value, |(name, _)| name)
}
