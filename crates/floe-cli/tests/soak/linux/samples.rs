//! Memory, descriptors and disk of the processes over time.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::interval;

use super::{print, server::Server};

/// A soak that is shorter is not judged by its growth: caches and allocators fill up first.
pub(crate) const WARM: Duration = Duration::from_secs(20 * 60);

/// Samples of a soak.
const SAMPLES: u32 = 720;

/// Shortest and longest time between two of them.
const EVERY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// What is sampled, with the growth that is no growth: a part in a hundred, and an amount.
const MEASURES: [(&str, u64, u64); 3] =
    [("memory_kib", 10, 8 * 1024), ("descriptors", 10, 8), ("disk_kib", 25, 32 * 1024)];

#[derive(Debug)]
pub(crate) struct Samples {
    series: Arc<Mutex<Vec<Series>>>,
}

#[derive(Debug)]
struct Series {
    name: &'static str,
    pid: Arc<AtomicU32>,
    store: Option<PathBuf>,
    /// The values of each measure.
    values: [Vec<u64>; MEASURES.len()],
}

impl Samples {
    /// Samples the servers and this process in the background.
    pub(crate) fn begin(duration: Duration, servers: &[&Server]) -> Self {
        let of = |name, pid, store| Series { name, pid, store, values: Default::default() };
        let mut series: Vec<_> =
            servers.iter().map(|server| of(server.name(), server.pid(), Some(server.store()))).collect();
        series.push(of("clients", Arc::new(AtomicU32::new(std::process::id())), None));
        let series = Arc::new(Mutex::new(series));
        let samples = Self { series: Arc::clone(&series) };
        tokio::spawn(async move {
            let mut ticks = interval((duration / SAMPLES).clamp(EVERY.0, EVERY.1));
            for number in 0_u64.. {
                ticks.tick().await;
                let mut line = json!({ "sample": number });
                for one in series.lock().unwrap().iter_mut() {
                    if let Some(values) = one.sample() {
                        line[one.name] = json!(values);
                    }
                }
                print(&line);
            }
        });
        samples
    }

    pub(crate) fn growth(&self) -> Growth {
        let series = self.series.lock().unwrap();
        let of = |one: &Series| {
            let quarters = one.values.iter().map(|values| quarters(values));
            (one.name, quarters.collect())
        };
        Growth(series.iter().map(of).collect())
    }
}

impl Series {
    /// Takes one sample. `None` while the process is down.
    fn sample(&mut self) -> Option<[u64; MEASURES.len()]> {
        let folder = PathBuf::from(format!("/proc/{}", self.pid.load(Ordering::Relaxed)));
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let memory = memory.trim().strip_suffix(" kB")?.parse().ok()?;
        let descriptors = fs::read_dir(folder.join("fd")).ok()?.count() as u64;
        let sample = [memory, descriptors, self.store.as_deref().map_or(0, size) / 1024];
        for (values, value) in self.values.iter_mut().zip(sample) {
            values.push(value);
        }
        Some(sample)
    }
}

/// Bytes of the files of a folder, which change meanwhile.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => size(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// Medians of the quarters of the samples.
fn quarters(values: &[u64]) -> [u64; 4] {
    let length = values.len().div_ceil(4).max(1);
    let mut medians = [0; 4];
    for (median, quarter) in medians.iter_mut().zip(values.chunks(length)) {
        let mut quarter = quarter.to_vec();
        quarter.sort_unstable();
        *median = quarter[quarter.len() / 2];
    }
    medians
}

/// Medians of the quarters of each measure, by process.
#[derive(Debug)]
pub(crate) struct Growth(Vec<(&'static str, Vec<[u64; 4]>)>);

impl Growth {
    pub(crate) fn lines(&self) -> impl Iterator<Item = Value> {
        self.0.iter().map(|(name, quarters)| {
            let mut line = json!({ "medians of the quarters": name });
            for ((measure, ..), quarters) in MEASURES.iter().zip(quarters) {
                line[measure] = json!(quarters);
            }
            line
        })
    }

    /// Names a process and a measure whose last quarter is above its second one.
    pub(crate) fn problem(&self) -> Option<String> {
        let all = self.0.iter().flat_map(|(name, quarters)| {
            MEASURES.iter().zip(quarters).map(move |(measure, quarters)| (name, measure, quarters))
        });
        all.filter(|(_, (_, percent, amount), [_, second, _, last])| {
            *last > second + second * percent / 100 + amount
        })
        .map(|(name, (measure, ..), quarters)| format!("{measure} of {name} grows: {quarters:?}"))
        .next()
    }
}
