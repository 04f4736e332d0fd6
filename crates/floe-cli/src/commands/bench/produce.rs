//! Writing: as fast as the producers accept records, or at the times of a schedule.

use std::sync::Arc;

use floe::{Producer, producer::ProducerBuilder};
use hdrhistogram::Histogram;
use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{
    Bench,
    latency::{self, LatencySampler},
    load::{Amount, MAX_RECORDS},
    report::Measured,
    schedule::Timeline,
};
use crate::exit::{Failure, Outcome};

/// Records per call of the producer at most, as in a program with many records at hand.
const RUN: u64 = 64;

/// Records that a writer may send.
#[derive(Debug, Clone)]
enum Due {
    /// All at once.
    Now { records: u64, until: Option<Instant> },
    /// When their times have come; the receiver has the number of records due over all writers.
    Scheduled { timeline: Timeline, due: watch::Receiver<u64> },
}

impl Due {
    /// Returns the number of records that a writer may have sent by now, more than `sent`; waits for it. Returns `sent` at
    /// the end.
    async fn next(&mut self, bench: &Bench, writer: u64, sent: u64) -> u64 {
        let share = |records| bench.numbering.share(records, writer);
        let allowed = match self {
            Self::Now { until: Some(until), .. } if Instant::now() >= *until => sent,
            Self::Now { records, .. } => share(*records),
            // The sender ends after the last record, and the receiver then has its number.
            Self::Scheduled { due, .. } => {
                let found = due.wait_for(|due| share(*due) > sent).await.map(|due| *due);
                share(found.unwrap_or_else(|_| *due.borrow()))
            }
        };
        allowed.clamp(sent, sent + RUN)
    }
}

/// Outcome of the writing.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) measured: Measured,
    /// Number of records of each writer.
    pub(super) sent: Vec<u64>,
    /// Latency of the acknowledgements in microseconds.
    pub(super) latency: Histogram<u64>,
}

/// Runs all writers to the end.
pub(super) async fn produce(bench: &Arc<Bench>, timeline: Option<Timeline>) -> Outcome<Written> {
    let mut histogram = latency::histogram()?;
    let mut producers = Vec::new();
    for writer in bench.numbering.writers() {
        producers.push((writer, bench.producer(writer).start().await?));
    }
    let begun = Instant::now();
    let due = match (bench.load.amount, timeline) {
        (Amount::Records(records), Some(timeline)) => {
            Due::Scheduled { timeline, due: timeline.follow(records)? }
        }
        (Amount::Records(records), None) => Due::Now { records, until: None },
        (Amount::Time(time), _) => Due::Now { records: MAX_RECORDS, until: Some(begun + time) },
    };
    // Dropping the set, as Ctrl-C does, ends the tasks.
    let mut tasks = JoinSet::new();
    for (writer, producer) in producers {
        tasks.spawn(write(Arc::clone(bench), writer, producer, due.clone()));
    }
    drop(due);
    let mut sent = vec![0; tasks.len()];
    while let Some(written) = tasks.join_next().await {
        let (writer, count, latency) = written.map_err(|error| {
            Failure::verification(format!("a producer of the benchmark ended: {error}"))
        })??;
        if let Some(sent) = usize::try_from(writer).ok().and_then(|writer| sent.get_mut(writer)) {
            *sent = count;
        }
        latency::merge(&mut histogram, &latency);
    }
    let time = begun.elapsed();
    let records: u64 = sent.iter().sum();
    let bytes = records * bench.load.size as u64;
    Ok(Written { measured: Measured { records, bytes, time }, sent, latency: histogram })
}

/// Writes the records of one writer, and returns their number and latencies.
async fn write(
    bench: Arc<Bench>,
    writer: u64,
    producer: Producer,
    mut due: Due,
) -> Outcome<(u64, u64, Histogram<u64>)> {
    let size = bench.load.size;
    let mut sampler = match (&due, bench.load.amount) {
        (Due::Now { .. }, Amount::Records(records)) => LatencySampler::spread_over(records.div_ceil(RUN)),
        (Due::Now { .. }, Amount::Time(_)) => LatencySampler::sparse(),
        (Due::Scheduled { .. }, _) => LatencySampler::complete(),
    }?;
    let mut values = vec![0; size * RUN as usize];
    let (mut sent, mut calls) = (0, 0);
    loop {
        let end = due.next(&bench, writer, sent).await;
        if end == sent {
            break;
        }
        let numbers = (sent..end).map(|nth| bench.numbering.number(writer, nth));
        let mut filled = 0;
        for (number, value) in numbers.clone().zip(values.chunks_exact_mut(size)) {
            bench.payload.fill(number, value);
            filled += value.len();
        }
        // The clock starts before the call, so that latency includes backpressure.
        let starts = sampler.wants(calls).then(|| match &due {
            Due::Now { .. } => vec![Instant::now()],
            Due::Scheduled { timeline, .. } => numbers.map(|number| timeline.intended(number)).collect(),
        });
        let deliveries = producer.enqueue_all(values[..filled].chunks_exact(size)).await?;
        match starts {
            Some(starts) => sampler.watch(starts, deliveries).await,
            None => drop(deliveries),
        }
        (sent, calls) = (end, calls + 1);
    }
    producer.flush().await?;
    let latency = sampler.finish().await?;
    let report = producer.close().await?;
    match report.undelivered.first() {
        Some(undelivered) => Err(undelivered.error.clone().into()),
        None => Ok((writer, sent, latency)),
    }
}

impl Bench {
    fn producer(&self, writer: u64) -> ProducerBuilder {
        self.client
            .producer(self.topic(self.numbering.topic(writer)))
            .linger(self.load.linger)
            .batch_size(self.load.batch_size)
            .compression(self.load.compression)
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU64, time::Duration};

    use floe::{
        Client, Error, Topic, TopicPartition, TopicSpec,
        engine::{
            AppendAck, AppendRequest, BatchReader, Capabilities, Engine, EngineInfo, Health, ReadRequest,
            Watermarks,
        },
        topic::TopicInfo,
    };
    use futures_util::future::BoxFuture;

    use super::{super::load::Load, *};

    /// Engine that acknowledges in 2 ms, but nothing before the end of a stall.
    #[derive(Debug)]
    struct Stalling {
        from: Instant,
        to: Instant,
    }

    fn unused<T>() -> BoxFuture<'static, floe::Result<T>>
    where
        T: Send + 'static,
    {
        Box::pin(async { Err(Error::unsupported("the call", "stalling")) })
    }

    impl Engine for Stalling {
        fn info(&self) -> EngineInfo {
            EngineInfo::new("stalling", Capabilities::FULL)
        }

        fn append(&self, _: AppendRequest) -> BoxFuture<'_, floe::Result<AppendAck>> {
            Box::pin(async {
                tokio::time::sleep(Duration::from_millis(2)).await;
                if (self.from..self.to).contains(&Instant::now()) {
                    tokio::time::sleep_until(self.to).await;
                }
                Ok(AppendAck::new(None))
            })
        }

        fn open(&self, _: ReadRequest) -> BoxFuture<'_, floe::Result<Box<dyn BatchReader>>> {
            unused()
        }

        fn watermarks(&self, _: TopicPartition) -> BoxFuture<'_, floe::Result<Watermarks>> {
            unused()
        }

        fn offset_for_time(&self, _: TopicPartition, _: i64) -> BoxFuture<'_, floe::Result<Option<i64>>> {
            unused()
        }

        fn topic(&self, name: Topic) -> BoxFuture<'_, floe::Result<TopicInfo>> {
            Box::pin(async { Ok(TopicInfo::new(name, 1)) })
        }

        fn create_topic(&self, _: TopicSpec) -> BoxFuture<'_, floe::Result<()>> {
            unused()
        }

        fn health(&self) -> BoxFuture<'_, floe::Result<Health>> {
            unused()
        }

        fn close(&self) -> BoxFuture<'_, floe::Result<()>> {
            Box::pin(async { Ok(()) })
        }
    }

    /// Returns the latencies in milliseconds of 4000 records that are due within 4 s, at an engine that stalls for the
    /// second of these seconds, at several quantiles.
    async fn quantiles_of_a_stall(rate: Option<u64>) -> [u64; 3] {
        let rate = rate.and_then(NonZeroU64::new);
        let load = Load { rate, ..Load::of_records(4000) };
        let start = Instant::now();
        let (from, to) = (start + Duration::from_secs(1), start + Duration::from_secs(2));
        let bench = Arc::new(Bench::new(&Client::from_engine(Arc::new(Stalling { from, to })), &load));
        let producer = bench.producer(0).start().await.unwrap();
        let due = match load.schedule() {
            None => Due::Now { records: 4000, until: None },
            Some(schedule) => {
                let timeline = Timeline { schedule, start };
                let (sender, due) = watch::channel(0);
                // In place of the thread, which follows the clock of the system.
                tokio::spawn(async move {
                    while *sender.borrow() < 4000 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        sender.send_replace(schedule.due(start.elapsed()).min(4000));
                    }
                });
                Due::Scheduled { timeline, due }
            }
        };
        let (_, sent, latency) = write(bench, 0, producer, due).await.unwrap();
        assert_eq!(sent, 4000);
        if rate.is_some() {
            assert_eq!(latency.len(), 4000, "each record is measured");
        }
        [0.5, 0.875, 0.999].map(|quantile| latency.value_at_quantile(quantile) / 1000)
    }

    #[tokio::test(start_paused = true)]
    async fn stall_delays_every_record_that_was_due_during_it() {
        let [median, in_the_stall, last] = quantiles_of_a_stall(Some(1000)).await;
        // A quarter of the records waits, half of them for more than half of the second.
        assert!(median < 20, "{median} ms");
        assert!((400..=600).contains(&in_the_stall), "{in_the_stall} ms");
        assert!((950..=1050).contains(&last), "{last} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn load_without_a_schedule_writes_at_once() {
        let [median, _, last] = quantiles_of_a_stall(None).await;
        assert!(median < 1000 && last < 1000, "{median} ms, {last} ms");
    }
}
