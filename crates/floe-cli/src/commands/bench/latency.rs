//! Latency to the acknowledgement of the last record of a call, and histograms of latencies.
//!
//! It counts from the call of the producer, or, for a load with a schedule, from the times at which the records were due.

use std::time::Duration;

use floe::producer::Deliveries;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hdrhistogram::Histogram;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use crate::exit::{Failure, Outcome};

/// Approximate number of samples of a load without a schedule. More would measure the cost of sampling.
const SAMPLES: u64 = 20_000;

/// Calls for each sample where their number is not known beforehand.
const SPARSE: u64 = 16;

/// Capacity of the queue to the sampling task.
const QUEUE: usize = 4096;

/// Significant digits of the histogram.
const DIGITS: u8 = 3;

/// Longest latency that the histogram resolves, in microseconds: one hour, far beyond the deadline of the producer.
const LONGEST: u64 = 3_600_000_000;

/// Returns a histogram with a fixed range; one that resizes itself would clip the values that it saturates.
pub(super) fn histogram() -> Outcome<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST, DIGITS)
        .map_err(|error| Failure::verification(format!("cannot measure latency: {error}")))
}

/// Records a latency.
#[inline]
pub(super) fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
}

/// Adds the latencies of another histogram of [`histogram`].
pub(super) fn merge(all: &mut Histogram<u64>, part: &Histogram<u64>) {
    let added = all.add(part);
    debug_assert!(added.is_ok(), "both have the same bounds");
}

/// Awaits sampled deliveries in its own task, so that each is timed at its arrival and not when the writing loop next
/// polls.
#[derive(Debug)]
pub(super) struct LatencySampler {
    every: u64,
    watched: mpsc::Sender<(Vec<Instant>, Deliveries)>,
    task: JoinHandle<floe::Result<Histogram<u64>>>,
}

impl LatencySampler {
    /// Spreads the samples evenly over this number of calls.
    pub(super) fn spread_over(calls: u64) -> Outcome<Self> {
        Self::start(calls.div_ceil(SAMPLES))
    }

    /// Samples a fixed share of the calls.
    pub(super) fn sparse() -> Outcome<Self> {
        Self::start(SPARSE)
    }

    /// Samples each call.
    pub(super) fn complete() -> Outcome<Self> {
        Self::start(1)
    }

    fn start(every: u64) -> Outcome<Self> {
        let histogram = histogram()?;
        let (watched, queue) = mpsc::channel(QUEUE);
        let task = tokio::spawn(record_all(queue, histogram));
        Ok(Self { every, watched, task })
    }

    /// Whether the call with this number is a sample.
    #[inline]
    pub(super) fn wants(&self, number: u64) -> bool {
        number.is_multiple_of(self.every)
    }

    /// Times the deliveries of a call from each of the starts.
    pub(super) async fn watch(&mut self, starts: Vec<Instant>, deliveries: Deliveries) {
        // The task ends early only on a failed delivery, which `finish` reports.
        let _ = self.watched.send((starts, deliveries)).await;
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

async fn record_all(
    mut queue: mpsc::Receiver<(Vec<Instant>, Deliveries)>,
    mut histogram: Histogram<u64>,
) -> floe::Result<Histogram<u64>> {
    let mut waiting = FuturesUnordered::new();
    let mut open = true;
    while open || !waiting.is_empty() {
        tokio::select! {
            next = queue.recv(), if open => match next {
                Some((starts, deliveries)) => waiting.push(timed(starts, deliveries)),
                None => open = false,
            },
            Some(call) = waiting.next() => {
                let (starts, end) = call?;
                for start in starts {
                    record(&mut histogram, end.saturating_duration_since(start));
                }
            }
        }
    }
    Ok(histogram)
}

async fn timed(starts: Vec<Instant>, deliveries: Deliveries) -> floe::Result<(Vec<Instant>, Instant)> {
    deliveries.await?;
    Ok((starts, Instant::now()))
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
        let mut sampler = LatencySampler::spread_over(3 * SAMPLES).unwrap();
        let mut watched = 0;
        for number in 0..300 {
            let started = sampler.wants(number).then(Instant::now);
            let deliveries = producer.enqueue_all(["x"]).await.unwrap();
            match started {
                Some(started) => {
                    watched += 1;
                    sampler.watch(vec![started], deliveries).await;
                }
                None => drop(deliveries),
            }
        }
        assert_eq!(watched, 100);
        assert_eq!(sampler.finish().await.unwrap().len(), watched);
    }
}
