//! Report of a benchmark, as text and as JSON.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::{
    load::{Amount, Load},
    payload,
    plot::Curve,
    verify::Verdict,
};
use crate::{
    commands::topic_settings::durability_text,
    exit::{Failure, Outcome},
    output::amount,
};

/// Amount of records and bytes in a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) records: u64,
    /// Bytes of values.
    pub(crate) bytes: u64,
    pub(crate) time: Duration,
}

impl Measured {
    fn records_per_second(self) -> f64 {
        amount::per_second(self.records, self.time)
    }

    fn megabytes_per_second(self) -> f64 {
        amount::per_second(self.bytes, self.time) / 1e6
    }
}

/// Outcome of one run.
#[derive(Debug)]
pub(crate) struct Measurement {
    pub(super) load: Load,
    pub(super) url: String,
    pub(super) engine: &'static str,
    pub(super) produce: Measured,
    /// Latency to the acknowledgement in microseconds: from the call of the producer, or from the time at which the
    /// record was due.
    pub(super) latency: Histogram<u64>,
    /// Latency from the time at which a record was due to its consumer, in microseconds.
    pub(super) end_to_end: Option<Histogram<u64>>,
    pub(super) consume: Measured,
    pub(super) verdict: Verdict,
}

impl Measurement {
    /// Fails unless every record arrived once, in order and unchanged.
    pub(crate) fn check(&self) -> Outcome {
        let Verdict { lost, duplicated, out_of_order, damaged } = self.verdict;
        if lost > 0 {
            return Err(Failure::loss(format!("{} lost", amount::count(lost, "record"))));
        }
        if duplicated + out_of_order + damaged > 0 {
            return Err(Failure::verification(format!(
                "{} duplicated, {out_of_order} out of order, {damaged} damaged",
                amount::count(duplicated, "record")
            )));
        }
        Ok(())
    }

    /// Returns the report as JSON; `docs/cli.md` documents the names.
    pub(crate) fn to_json(&self) -> Value {
        let load = &self.load;
        let time = match load.amount {
            Amount::Time(time) => Some(time.as_secs_f64()),
            Amount::Records(_) => None,
        };
        let mut document = json!({
            "inputs": {
                "url": self.url,
                "engine": self.engine,
                "records": self.produce.records,
                "duration_seconds": time,
                "rate": load.rate,
                "size": load.size,
                "payload": payload::describe(load.compression),
                "topics": load.topics,
                "partitions": load.partitions,
                "producers": load.producers,
                "consumers": load.consumers,
                "durability": load.durability.map(|durability| durability_text(Some(durability))),
                "seed": load.seed,
                "compression": load.compression.name(),
                "batch_size": load.batch_size,
                "linger_ms": load.linger.as_secs_f64() * 1e3,
            },
            "produce": {
                "records_per_second": self.produce.records_per_second(),
                "megabytes_per_second": self.produce.megabytes_per_second(),
                "latency_us": quantiles(&self.latency),
            },
            "consume": {
                "records_per_second": self.consume.records_per_second(),
                "megabytes_per_second": self.consume.megabytes_per_second(),
            },
            "lost": self.verdict.lost,
            "duplicated": self.verdict.duplicated,
            "out_of_order": self.verdict.out_of_order,
        });
        if let Some(end_to_end) = &self.end_to_end {
            document["end_to_end"] = json!({ "latency_us": quantiles(end_to_end) });
        }
        document
    }

    /// Returns what was measured, in one line.
    pub(super) fn title(&self) -> String {
        let load = &self.load;
        let topics = match load.topics {
            1 => String::new(),
            topics => format!("{} of ", amount::count(topics.into(), "topic")),
        };
        let mut title = format!(
            "{} of {} B ({} bytes, compression {}) in {topics}{} on {}",
            amount::count(self.produce.records, "record"),
            load.size,
            payload::describe(load.compression),
            load.compression.name(),
            amount::count(load.partitions.into(), "partition"),
            self.url,
        );
        if load.producers > 1 || load.consumers > 1 {
            let producers = amount::count(load.producers.into(), "producer");
            let consumers = amount::count(load.consumers.into(), "consumer");
            title += &format!(", {producers} and {consumers} each");
        }
        if let Some(rate) = load.rate {
            title += &format!(", {} records/s due", amount::thousands(rate.get()));
        }
        title
    }

    /// Returns the curves of the picture and of the log.
    pub(super) fn curves(&self) -> Vec<Curve<'_>> {
        let mut curves = vec![("acknowledged", &self.latency)];
        curves.extend(self.end_to_end.as_ref().map(|end_to_end| ("end to end", end_to_end)));
        curves
    }

    /// Returns the report as text.
    pub(crate) fn to_text(&self) -> String {
        let rate = |label: &str, measured: Measured| {
            format!(
                "{label}  {:>12} records/s  {:>8.1} MB/s  ({:.2} s)\n",
                amount::thousands(amount::rate(measured.records, measured.time)),
                measured.megabytes_per_second(),
                measured.time.as_secs_f64()
            )
        };
        let from = if self.load.rate.is_some() { "due time" } else { "enqueue" };
        let latencies = |histogram: &Histogram<u64>, to: &str| {
            let quantile = |quantile: f64| latency(histogram.value_at_quantile(quantile));
            format!(
                "         latency p50 {}, p99 {}, p99.9 {}, max {} ({from} to {to}, {} samples)\n",
                quantile(0.5),
                quantile(0.99),
                quantile(0.999),
                latency(histogram.max()),
                amount::thousands(histogram.len()),
            )
        };
        let mut text = format!("{}\n{}", self.title(), rate("produce", self.produce));
        text += &latencies(&self.latency, "acknowledgement");
        if let Some(percent) = self.shortfall() {
            text += &format!("         the engine fell behind: it took {percent} % of the rate\n");
        }
        text += &rate("consume", self.consume);
        if let Some(end_to_end) = &self.end_to_end {
            text += &latencies(end_to_end, "consumer");
        }
        let Verdict { lost, duplicated, out_of_order, .. } = self.verdict;
        text + &format!(
            "checked  {} lost, {} duplicated, {} out of order\n",
            amount::thousands(lost),
            amount::thousands(duplicated),
            amount::thousands(out_of_order),
        )
    }

    /// Returns the percentage of the rate that the engine has taken, if it has fallen behind.
    fn shortfall(&self) -> Option<u64> {
        let rate = self.load.rate?.get();
        let percent = amount::rate(self.produce.records, self.produce.time).saturating_mul(100) / rate;
        (percent < 95).then_some(percent)
    }
}

fn quantiles(histogram: &Histogram<u64>) -> Value {
    json!({
        "p50": histogram.value_at_quantile(0.5),
        "p99": histogram.value_at_quantile(0.99),
        "p999": histogram.value_at_quantile(0.999),
        "max": histogram.max(),
        "samples": histogram.len(),
    })
}

fn latency(microseconds: u64) -> String {
    if microseconds < 1000 {
        return format!("{microseconds} us");
    }
    format!("{:.1} ms", Duration::from_micros(microseconds).as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    fn measurement(verdict: Verdict) -> Measurement {
        let mut latency = Histogram::new(3).unwrap();
        latency.record_n(100, 99).unwrap();
        latency.record(5000).unwrap();
        let measured = Measured { records: 100, bytes: 10_000, time: Duration::from_millis(100) };
        Measurement {
            load: Load { partitions: 2, ..Load::of_records(100) },
            url: "memory:".to_owned(),
            engine: "memory",
            produce: measured,
            latency,
            end_to_end: None,
            consume: measured,
            verdict,
        }
    }

    #[test]
    fn text_has_rates_latency_and_findings() {
        assert_eq!(
            measurement(Verdict::default()).to_text(),
            "100 records of 100 B (random bytes, compression none) in 2 partitions on memory:\n\
             produce         1,000 records/s       0.1 MB/s  (0.10 s)\n         \
             latency p50 100 us, p99 100 us, p99.9 5.0 ms, max 5.0 ms (enqueue to acknowledgement, 100 samples)\n\
             consume         1,000 records/s       0.1 MB/s  (0.10 s)\n\
             checked  0 lost, 0 duplicated, 0 out of order\n"
        );
    }

    #[test]
    fn text_of_a_rate_says_what_was_due_and_what_was_taken() {
        let mut measurement = measurement(Verdict::default());
        measurement.load = Load {
            rate: NonZeroU64::new(2000),
            topics: 3,
            producers: 2,
            partitions: 2,
            ..Load::of_records(100)
        };
        measurement.end_to_end = Some(measurement.latency.clone());
        let text = measurement.to_text();
        for part in [
            "in 3 topics of 2 partitions on memory:, 2 producers and 1 consumer each, 2,000 records/s due\n",
            "(due time to acknowledgement, 100 samples)\n         the engine fell behind: it took 50 % of the rate\n",
            "(due time to consumer, 100 samples)\n",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert_eq!(measurement.curves().len(), 2);
    }

    #[test]
    fn findings_set_the_exit_code() {
        assert!(measurement(Verdict::default()).check().is_ok());
        let lost = Verdict { lost: 1, duplicated: 1, ..Verdict::default() };
        assert_eq!(measurement(lost).check().unwrap_err().exit_code(), 7);
        for verdict in [
            Verdict { duplicated: 1, ..Verdict::default() },
            Verdict { out_of_order: 1, ..Verdict::default() },
            Verdict { damaged: 1, ..Verdict::default() },
        ] {
            assert_eq!(measurement(verdict).check().unwrap_err().exit_code(), 6);
        }
    }
}
