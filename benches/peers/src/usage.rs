//! Processor time and memory of processes.

use std::{fs, time::Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::figures::Figures;

/// Runs from its making until [`Meter::stop`].
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

    /// As [`Meter::stop`], where the clock is to stop at a moment in the past.
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

/// Of all threads of this process, in seconds.
fn own_cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A line of `/proc/self/status`, in bytes; 0 where there is no such file.
fn memory(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|text| text.strip_prefix(line));
    found.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Seconds of processor time that other processes used so far, in hundredths.
pub(crate) fn cpu_of(processes: &[u32]) -> f64 {
    let ticks = |process: &u32| {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let mut fields = text.rsplit(')').next()?.split_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    };
    processes.iter().filter_map(ticks).sum::<u64>() as f64 / 100.0
}
