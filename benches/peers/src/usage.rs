//! Processor time and memory of processes.

use std::{fs, time::Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::figures::Figures;

/// Measures from its creation until [`Meter::stop`].
#[derive(Debug)]
pub(crate) struct Meter {
    began: Instant,
    cpu: f64,
    memory: u64,
}

impl Meter {
    pub(crate) fn start() -> Self {
        Self { began: Instant::now(), cpu: own_cpu(), memory: memory("VmRSS:") }
    }

    pub(crate) fn stop(&self) -> Figures {
        self.stop_at(Instant::now())
    }

    /// Like [`Meter::stop`], with an end in the past.
    pub(crate) fn stop_at(&self, ended: Instant) -> Figures {
        Figures {
            seconds: ended.duration_since(self.began).as_secs_f64(),
            cpu: own_cpu() - self.cpu,
            peak_memory: memory("VmHWM:"),
            growth: memory("VmRSS:") as i64 - self.memory as i64,
            ..Figures::default()
        }
    }
}

/// Returns the processor time of all threads of this process, in seconds.
fn own_cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Returns a value of `/proc/self/status` in bytes, or 0 without that file.
fn memory(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|text| text.strip_prefix(line));
    found.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Returns the processor time of other processes in seconds, with a resolution of 10 ms.
pub(crate) fn cpu_of(processes: &[u32]) -> f64 {
    let ticks = |process: &u32| {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let mut fields = text.rsplit(')').next()?.split_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    };
    processes.iter().filter_map(ticks).sum::<u64>() as f64 / 100.0
}
