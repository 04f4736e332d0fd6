//! Tables of medians.

use crate::figures::Figures;

/// Result of one run of a client.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) figures: Figures,
    pub(crate) server_cpu: f64,
}

/// Runs of one measurement by client. The first row with runs is the baseline of the ratios.
#[derive(Debug)]
pub(crate) struct Rows(Vec<(&'static str, Vec<Sample>)>);

const MIB: f64 = 1024.0 * 1024.0;

impl Rows {
    pub(crate) fn new(names: &[&'static str]) -> Self {
        Self(names.iter().map(|name| (*name, Vec::new())).collect())
    }

    pub(crate) fn add(&mut self, row: usize, sample: Sample) {
        self.0[row].1.push(sample);
    }

    pub(crate) fn print(&self, title: &str) {
        println!("{title}");
        println!(
            "{:<16} {:>10} {:>6} {:>9} {:>6} {:>9} {:>8} {:>8} {:>7} {:>7} {:>7}",
            "",
            "records/s",
            "ratio",
            "cpu s/M",
            "ratio",
            "server s",
            "peak MB",
            "lost",
            "dup",
            "errors",
            "MB"
        );
        let base = self.0.iter().position(|(_, samples)| !samples.is_empty()).unwrap_or(0);
        let (base_rate, base_cpu) = (
            self.median(base, |sample| sample.figures.rate()),
            self.median(base, |sample| sample.figures.cpu_per_million()),
        );
        for (row, (name, samples)) in self.0.iter().enumerate() {
            if samples.is_empty() {
                continue;
            }
            let rate = self.median(row, |sample| sample.figures.rate());
            let cpu = self.median(row, |sample| sample.figures.cpu_per_million());
            let server = self.median(row, |sample| sample.server_cpu);
            let peak = self.median(row, |sample| sample.figures.peak_memory as f64 / MIB);
            let most =
                |of: fn(&Figures) -> u64| samples.iter().map(|sample| of(&sample.figures)).max().unwrap_or(0);
            println!(
                "{name:<16} {rate:>10.0} {:>6.2} {cpu:>9.3} {:>6.2} {server:>9.2} {peak:>8.0} {:>8} {:>7} {:>7} {:>7}",
                rate / base_rate,
                base_cpu / cpu,
                most(|figures| figures.lost),
                most(|figures| figures.duplicates + figures.out_of_order),
                most(|figures| figures.errors),
                match most(|figures| figures.bytes) {
                    0 => String::new(),
                    bytes => (bytes / 1_000_000).to_string(),
                },
            );
        }
        println!();
    }

    pub(crate) fn print_latency(&self, title: &str) {
        println!("{title}");
        println!("{:<16} {:>9} {:>9} {:>9} {:>9}", "", "p50 us", "p99 us", "cpu s/M", "server s");
        for (row, (name, _)) in self.0.iter().enumerate() {
            println!(
                "{name:<16} {:>9.1} {:>9.1} {:>9.2} {:>9.2}",
                self.median(row, |sample| sample.figures.p50),
                self.median(row, |sample| sample.figures.p99),
                self.median(row, |sample| sample.figures.cpu_per_million()),
                self.median(row, |sample| sample.server_cpu),
            );
        }
        println!();
    }

    pub(crate) fn print_memory(&self, title: &str) {
        println!("{title}");
        for (name, samples) in &self.0 {
            let growth =
                samples.iter().map(|sample| format!("{:>7.1} MB", sample.figures.growth as f64 / MIB));
            println!("{name:<16} {}", growth.collect::<Vec<_>>().join("  "));
        }
        println!();
    }

    fn median(&self, row: usize, of: impl Fn(&Sample) -> f64) -> f64 {
        let mut values: Vec<f64> = self.0[row].1.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }
}
