//! How long it takes from handing records over to the acknowledgement of the last of them, by sampling.

use std::time::{Duration, Instant};

use floe::producer::Deliveries;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hdrhistogram::{CreationError, Histogram};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::exit::{Failure, Outcome};

/// About so many runs are watched. More would measure the watching.
const SAMPLES: u64 = 20_000;

/// Deliveries on their way to the task that awaits them.
const QUEUE: usize = 4096;

/// Significant digits.
const DIGITS: u8 = 3;

/// Longest latency told apart, in microseconds: an hour, far beyond the producer's own timeout.
const LONGEST: u64 = 3_600_000_000;

/// Awaits sampled deliveries in a task of its own, so that each is timed when it arrives, not when the writing loop has
/// time to look.
#[derive(Debug)]
pub(super) struct LatencySampler {
    every: u64,
    watched: mpsc::Sender<(Instant, Deliveries)>,
    task: JoinHandle<floe::Result<Histogram<u64>>>,
}

impl LatencySampler {
    /// Spreads the samples evenly over so many runs of records.
    pub(super) fn start(runs: u64) -> Outcome<Self> {
        let histogram =
            histogram().map_err(|error| Failure::verification(format!("cannot measure latency: {error}")))?;
        let (watched, queue) = mpsc::channel(QUEUE);
        let task = tokio::spawn(record_all(queue, histogram));
        Ok(Self { every: runs.div_ceil(SAMPLES), watched, task })
    }

    /// Whether the run with this number is a sample.
    #[inline]
    pub(super) fn wants(&self, number: u64) -> bool {
        number.is_multiple_of(self.every)
    }

    /// Times the deliveries of a run.
    pub(super) async fn watch(&mut self, handed_over: Instant, deliveries: Deliveries) {
        // The task ends early only on a failed delivery, which `finish` tells.
        let _ = self.watched.send((handed_over, deliveries)).await;
    }

    /// All samples, in microseconds, once each has its acknowledgement.
    pub(super) async fn finish(self) -> Outcome<Histogram<u64>> {
        drop(self.watched);
        match self.task.await {
            Ok(histogram) => Ok(histogram?),
            Err(error) => Err(Failure::verification(format!("latency was not measured: {error}"))),
        }
    }
}

/// With its range set in advance: one that grows by itself would cut off what it saturates on.
fn histogram() -> Result<Histogram<u64>, CreationError> {
    Histogram::new_with_bounds(1, LONGEST, DIGITS)
}

async fn record_all(
    mut queue: mpsc::Receiver<(Instant, Deliveries)>,
    mut histogram: Histogram<u64>,
) -> floe::Result<Histogram<u64>> {
    let mut waiting = FuturesUnordered::new();
    let mut open = true;
    while open || !waiting.is_empty() {
        tokio::select! {
            next = queue.recv(), if open => match next {
                Some((handed_over, deliveries)) => waiting.push(timed(handed_over, deliveries)),
                None => open = false,
            },
            Some(latency) = waiting.next() => {
                let microseconds = u64::try_from(latency?.as_micros()).unwrap_or(u64::MAX);
                histogram.saturating_record(microseconds);
            }
        }
    }
    Ok(histogram)
}

async fn timed(handed_over: Instant, deliveries: Deliveries) -> floe::Result<Duration> {
    deliveries.await?;
    Ok(handed_over.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_answers_are_not_cut_off() {
        let mut histogram = histogram().unwrap();
        histogram.saturating_record(1);
        histogram.saturating_record(30_000_000);
        assert_eq!(histogram.min(), 1);
        assert!((30_000_000..30_100_000).contains(&histogram.max()), "{}", histogram.max());
    }

    #[tokio::test]
    async fn every_sample_is_counted() {
        let client = floe::Client::connect("memory:").await.unwrap();
        client.admin().create_topic(floe::TopicSpec::new("t")).await.unwrap();
        let producer = client.producer("t").start().await.unwrap();
        let mut sampler = LatencySampler::start(3 * SAMPLES).unwrap();
        let mut watched = 0;
        for number in 0..300 {
            let handed_over = sampler.wants(number).then(Instant::now);
            let deliveries = producer.enqueue_all(["x"]).await.unwrap();
            match handed_over {
                Some(handed_over) => {
                    watched += 1;
                    sampler.watch(handed_over, deliveries).await;
                }
                None => drop(deliveries),
            }
        }
        assert_eq!(watched, 100);
        assert_eq!(sampler.finish().await.unwrap().len(), watched);
    }
}
