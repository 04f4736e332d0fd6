//! Runs of many seeds.

use std::{env, fmt::Write as _};

use crate::{kind::Kind, run::Simulation, shrink::shrink};

/// Environment variable with the number of seeds.
const SEEDS: &str = "FLOE_SIM_SEEDS";
/// Environment variable with the only seed to run.
const SEED: &str = "FLOE_SIM_SEED";

/// Totals of a sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Number of runs.
    pub runs: u64,
    /// Number of stored records.
    pub records: u64,
    /// Number of connections broken by faults.
    pub broken: u64,
}

/// Runs `FLOE_SIM_SEEDS` seeds, by default `by_default`, or only `FLOE_SIM_SEED`. Of kinds with a disk it runs a twentieth.
///
/// # Panics
/// Panics if a run violates a rule; the message shows the violations and the command that reproduces them.
#[must_use]
pub fn sweep(kind: Kind, by_default: u64) -> Sweep {
    let (first, count) = match number(SEED) {
        Some(seed) => (seed, 1),
        // Runs with a disk take twenty times as long in a build of tests.
        None if kind.has_disk() => (0, number(SEEDS).unwrap_or(by_default).div_ceil(20)),
        None => (0, number(SEEDS).unwrap_or(by_default)),
    };
    let mut all = Sweep::default();
    let mut wrong = String::new();
    let mut failed = 0;
    for seed in first..first + count {
        let simulation = Simulation::new(kind, seed);
        let report = simulation.run();
        all.runs += 1;
        all.records += report.stored as u64;
        all.broken += report.broken;
        if !report.violations.is_empty() {
            failed += 1;
            if failed > 10 {
                continue;
            }
            let _ = write!(wrong, "\nseed {seed}: {}\n  {simulation}\n", report.violations.join("\n  "));
            if count == 1 {
                let shrunk = shrink(simulation);
                let reduced = shrunk.story();
                let _ = write!(wrong, "{shrunk}:\n  {}\n{}", reduced.violations.join("\n  "), reduced.story);
            }
        }
    }
    assert!(failed == 0, "{failed} of {count} runs failed; a run of one seed prints its event log\n{wrong}");
    all
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}
