//! Reading, with the verification of each record and its latency from the time at which it was due.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use floe::{
    Consumer,
    consumer::{RecordBatch, StartAt},
    topic::Topic,
};
use hdrhistogram::Histogram;
use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{
    Bench, latency,
    report::Measured,
    schedule::Timeline,
    verify::{Verdict, Verifier},
};
use crate::exit::{Failure, Outcome};

/// Idle time after which missing records count as lost, where the end of a topic is unknown.
const SILENCE: Duration = Duration::from_secs(30);

/// Verification of one topic, which its consumers share.
#[derive(Debug)]
pub(super) struct TopicCheck {
    verifier: Mutex<Verifier>,
    /// Whether each record was seen.
    complete: watch::Sender<bool>,
}

impl TopicCheck {
    pub(super) fn new(verifier: Verifier) -> Self {
        let complete = watch::Sender::new(!verifier.is_waiting());
        Self { verifier: Mutex::new(verifier), complete }
    }

    /// Verifies a batch, and returns its bytes.
    fn check(&self, bench: &Bench, batch: &RecordBatch, timing: &mut Option<EndToEnd>) -> u64 {
        let now = Instant::now();
        let mut bytes = 0;
        let mut verifier = self.verifier.lock().unwrap_or_else(PoisonError::into_inner);
        for record in batch.borrowed() {
            bytes += record.value.len() as u64;
            let number = verifier.check(&bench.payload, batch.partition, record.value);
            if let (Some(timing), Some(number)) = (timing.as_mut(), number) {
                timing.record(now, number);
            }
        }
        if !verifier.is_waiting() {
            self.complete.send_replace(true);
        }
        bytes
    }

    fn verdict(&self) -> Verdict {
        self.verifier.lock().unwrap_or_else(PoisonError::into_inner).verdict()
    }
}

/// Latencies from the times at which records were due to the consumer.
#[derive(Debug)]
struct EndToEnd {
    timeline: Timeline,
    histogram: Histogram<u64>,
}

impl EndToEnd {
    fn record(&mut self, now: Instant, number: u64) {
        let latency = now.saturating_duration_since(self.timeline.intended(number));
        latency::record(&mut self.histogram, latency);
    }
}

/// Consumers of a run that have started.
#[derive(Debug)]
pub(super) struct Consumers {
    consumers: Vec<(Consumer, Arc<TopicCheck>)>,
    checks: Vec<Arc<TopicCheck>>,
    /// Whether they end where the topic ends, rather than with the last record.
    stop_at_end: bool,
}

/// Outcome of the reading.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) measured: Measured,
    pub(super) verdict: Verdict,
    /// Latencies in microseconds, of a run with a schedule.
    pub(super) end_to_end: Option<Histogram<u64>>,
}

impl Consumers {
    /// Starts consumers of topics that are written already, or while they are written.
    pub(super) async fn start(bench: &Bench, sent: &[u64], written: bool) -> Outcome<Self> {
        let stop_at_end = written && bench.client.info().capabilities.offsets;
        let load = &bench.load;
        let (mut consumers, mut checks) = (Vec::new(), Vec::new());
        for topic in 0..u64::from(load.topics) {
            let check = Arc::new(TopicCheck::new(Verifier::new(bench.numbering, topic, sent)));
            for place in 0..load.consumers {
                let mut builder = bench.client.consumer(bench.topic(topic)).from(StartAt::Beginning);
                if load.consumers > 1 {
                    builder = builder.partitions((place..load.partitions).step_by(load.consumers as usize));
                }
                if stop_at_end {
                    builder = builder.stop_at_end();
                }
                consumers.push((builder.start().await?, Arc::clone(&check)));
            }
            checks.push(check);
        }
        Ok(Self { consumers, checks, stop_at_end })
    }

    /// Reads to the end. `written` becomes true when the producers have finished.
    pub(super) async fn run(
        self,
        bench: &Arc<Bench>,
        timeline: Option<Timeline>,
        written: &watch::Receiver<bool>,
    ) -> Outcome<Read> {
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for (consumer, check) in self.consumers {
            let timing = match timeline {
                Some(timeline) => Some(EndToEnd { timeline, histogram: latency::histogram()? }),
                None => None,
            };
            let end = if self.stop_at_end { None } else { Some(written.clone()) };
            tasks.spawn(read(Arc::clone(bench), consumer, check, timing, end));
        }
        let mut measured = Measured { records: 0, bytes: 0, time: Duration::ZERO };
        let mut end_to_end = timeline.map(|_| latency::histogram()).transpose()?;
        while let Some(ended) = tasks.join_next().await {
            let (part, timing) = ended.map_err(|error| {
                Failure::verification(format!("a consumer of the benchmark ended: {error}"))
            })??;
            measured.records += part.records;
            measured.bytes += part.bytes;
            if part.records > 0 {
                measured.time = measured.time.max(part.last.saturating_duration_since(begun));
            }
            if let (Some(all), Some(timing)) = (&mut end_to_end, timing) {
                latency::merge(all, &timing.histogram);
            }
        }
        let mut verdict = Verdict::default();
        for check in &self.checks {
            verdict += check.verdict();
        }
        if !self.stop_at_end && bench.client.info().capabilities.offsets {
            // The consumers have ended with the last record, and have not seen duplicates behind it.
            verdict.duplicated += stored(bench).await?.saturating_sub(measured.records);
        }
        Ok(Read { measured, verdict, end_to_end })
    }
}

/// Part of one consumer.
#[derive(Debug)]
struct ReadPart {
    records: u64,
    bytes: u64,
    /// Time of the last record.
    last: Instant,
}

/// Reads with one consumer: until it ends, or, with `written`, until each record of the topic was seen or none came for
/// a while after the writing.
async fn read(
    bench: Arc<Bench>,
    mut consumer: Consumer,
    check: Arc<TopicCheck>,
    mut timing: Option<EndToEnd>,
    mut written: Option<watch::Receiver<bool>>,
) -> Outcome<(ReadPart, Option<EndToEnd>)> {
    let mut part = ReadPart { records: 0, bytes: 0, last: Instant::now() };
    let mut complete = check.complete.subscribe();
    loop {
        let next = match &mut written {
            None => consumer.next_batch().await?,
            Some(written) => {
                let silence = async {
                    // The sender is dropped only when the run has failed.
                    let _ = written.wait_for(|written| *written).await;
                    tokio::time::sleep(SILENCE).await;
                };
                tokio::select! {
                    biased;
                    _ = complete.wait_for(|complete| *complete) => None,
                    next = consumer.next_batch() => next?,
                    () = silence => None,
                }
            }
        };
        let Some(batch) = next else { break };
        part.records += batch.len() as u64;
        part.bytes += check.check(&bench, &batch, &mut timing);
        part.last = Instant::now();
        // Yields from time to time: batches that are always ready would otherwise block the check for Ctrl-C.
        tokio::task::consume_budget().await;
    }
    consumer.close().await?;
    Ok((part, timing))
}

/// Returns the number of records that the topics have.
async fn stored(bench: &Bench) -> Outcome<u64> {
    let mut stored = 0;
    for topic in 0..u64::from(bench.load.topics) {
        for partition in 0..bench.load.partitions {
            let at = Topic::from(bench.topic(topic)).partition(partition);
            stored += bench.client.admin().watermarks(at).await?.records();
        }
    }
    Ok(stored)
}
