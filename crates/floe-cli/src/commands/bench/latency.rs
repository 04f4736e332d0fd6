//! Sampled latency from the call of the producer to the acknowledgement of the last record of the call.

use std::time::{Duration, Instant};

use floe::producer::Deliveries;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hdrhistogram::{CreationError, Histogram};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::exit::{Failure, Outcome};

/// Approximate number of samples. More would measure the cost of sampling.
const SAMPLES: u64 = 20_000;

/// Capacity of the queue to the sampling task.
const QUEUE: usize = 4096;

/// Significant digits of the histogram.
const DIGITS: u8 = 3;

/// Longest latency that the histogram resolves, in microseconds: one hour, far beyond the deadline of the producer.
const LONGEST: u64 = 3_600_000_000;

/// Awaits sampled deliveries in its own task, so that each is timed at its arrival and not when the writing loop next
/// polls.
#[derive(Debug)]
pub(super) struct LatencySampler {
    every: u64,
    watched: mpsc::Sender<(Instant, Deliveries)>,
    task: JoinHandle<floe::Result<Histogram<u64>>>,
}

impl LatencySampler {
    /// Spreads the samples evenly over this number of calls.
    pub(super) fn start(runs: u64) -> Outcome<Self> {
        let histogram =
            histogram().map_err(|error| Failure::verification(format!("cannot measure latency: {error}")))?;
        let (watched, queue) = mpsc::channel(QUEUE);
        let task = tokio::spawn(record_all(queue, histogram));
        Ok(Self { every: runs.div_ceil(SAMPLES), watched, task })
    }

    /// Whether the call with this number is a sample.
    #[inline]
    pub(super) fn wants(&self, number: u64) -> bool {
        number.is_multiple_of(self.every)
    }

    /// Times the deliveries of a call.
    pub(super) async fn watch(&mut self, started: Instant, deliveries: Deliveries) {
        // The task ends early only on a failed delivery, which `finish` reports.
        let _ = self.watched.send((started, deliveries)).await;
    }

    /// Waits for the acknowledgement of every sample and returns the latencies in microseconds.
    pub(super) async fn finish(self) -> Outcome<Histogram<u64>> {
        drop(self.watched);
        match self.task.await {
            Ok(histogram) => Ok(histogram?),
            Err(error) => Err(Failure::verification(format!("latency was not measured: {error}"))),
        }
    }
}

/// Returns a histogram with a fixed range; one that resizes itself would clip the values that it saturates.
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
                Some((started, deliveries)) => waiting.push(timed(started, deliveries)),
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

async fn timed(started: Instant, deliveries: Deliveries) -> floe::Result<Duration> {
    deliveries.await?;
    Ok(started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_latencies_are_not_clipped() {
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
            let started = sampler.wants(number).then(Instant::now);
            let deliveries = producer.enqueue_all(["x"]).await.unwrap();
            match started {
                Some(started) => {
                    watched += 1;
                    sampler.watch(started, deliveries).await;
                }
                None => drop(deliveries),
            }
        }
        assert_eq!(watched, 100);
        assert_eq!(sampler.finish().await.unwrap().len(), watched);
    }
}
