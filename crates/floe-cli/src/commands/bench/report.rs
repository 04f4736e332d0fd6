//! Report of a benchmark, as text and as JSON.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::{Load, payload, verify::Verdict};
use crate::{
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
    /// Latency from the call of the producer to the acknowledgement, in microseconds.
    pub(super) latency: Histogram<u64>,
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
        json!({
            "inputs": {
                "url": self.url,
                "engine": self.engine,
                "records": self.load.records,
                "size": self.load.size,
                "payload": payload::describe(self.load.compression),
                "partitions": self.load.partitions,
                "compression": self.load.compression.name(),
                "batch_size": self.load.batch_size,
                "linger_ms": self.load.linger.as_secs_f64() * 1e3,
            },
            "produce": {
                "records_per_second": self.produce.records_per_second(),
                "megabytes_per_second": self.produce.megabytes_per_second(),
                "latency_us": {
                    "p50": self.latency.value_at_quantile(0.5),
                    "p99": self.latency.value_at_quantile(0.99),
                    "p999": self.latency.value_at_quantile(0.999),
                    "max": self.latency.max(),
                },
            },
            "consume": {
                "records_per_second": self.consume.records_per_second(),
                "megabytes_per_second": self.consume.megabytes_per_second(),
            },
            "lost": self.verdict.lost,
            "duplicated": self.verdict.duplicated,
            "out_of_order": self.verdict.out_of_order,
        })
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
        let quantile = |quantile: f64| latency(self.latency.value_at_quantile(quantile));
        let Verdict { lost, duplicated, out_of_order, .. } = self.verdict;
        format!(
            "{} of {} B ({} bytes, compression {}) in {} on {}\n{}         latency p50 {}, p99 {}, p99.9 {}, max {} (enqueue to acknowledgement, {} samples)\n{}checked  {} lost, {} duplicated, {} out of order\n",
            amount::count(self.load.records, "record"),
            self.load.size,
            payload::describe(self.load.compression),
            self.load.compression.name(),
            amount::count(self.load.partitions.into(), "partition"),
            self.url,
            rate("produce", self.produce),
            quantile(0.5),
            quantile(0.99),
            quantile(0.999),
            latency(self.latency.max()),
            amount::thousands(self.latency.len()),
            rate("consume", self.consume),
            amount::thousands(lost),
            amount::thousands(duplicated),
            amount::thousands(out_of_order),
        )
    }
}

fn latency(microseconds: u64) -> String {
    if microseconds < 1000 {
        return format!("{microseconds} us");
    }
    format!("{:.1} ms", Duration::from_micros(microseconds).as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use floe::Codec;

    use super::*;

    fn measurement(verdict: Verdict) -> Measurement {
        let mut latency = Histogram::new(3).unwrap();
        latency.record_n(100, 99).unwrap();
        latency.record(5000).unwrap();
        let measured = Measured { records: 100, bytes: 10_000, time: Duration::from_millis(100) };
        Measurement {
            load: Load {
                records: 100,
                size: 100,
                partitions: 2,
                compression: Codec::None,
                batch_size: 65_536,
                linger: Duration::from_millis(5),
            },
            url: "memory:".to_owned(),
            engine: "memory",
            produce: measured,
            latency,
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
