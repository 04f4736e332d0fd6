//! Many runs, and which of them went wrong.

use std::{env, fmt::Write as _};

use crate::run::{Kind, Simulation};

/// How many runs the variable asks for.
const SEEDS: &str = "FLOE_SIM_SEEDS";
/// The one run that the variable asks for.
const SEED: &str = "FLOE_SIM_SEED";

/// What a sweep was about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sweep {
    /// How many runs there were.
    pub runs: u64,
    /// How many records they stored.
    pub records: u64,
    /// How many connections were broken.
    pub broken: u64,
}

/// Runs `FLOE_SIM_SEEDS` seeds, or `by_default` of them, or only `FLOE_SIM_SEED`.
///
/// # Panics
/// With what went wrong, and how to repeat it, when a run breaks a rule.
#[must_use]
pub fn sweep(kind: Kind, by_default: u64) -> Sweep {
    let (first, count) = match number(SEED) {
        Some(seed) => (seed, 1),
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
                let told = Simulation { keep: true, ..simulation }.run();
                let _ = write!(wrong, "{}", told.story);
            }
        }
    }
    assert!(failed == 0, "{failed} of {count} runs went wrong; one run alone tells its story\n{wrong}");
    all
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: write a number")))
}
