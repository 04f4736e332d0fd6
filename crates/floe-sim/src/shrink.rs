//! Reduces a run that fails to one with fewer actors, faults and records that fails too.

use std::{fmt, panic::catch_unwind};

use crate::{
    plan::Plan,
    run::{Report, Simulation},
};

/// Maximum number of runs in which a failing one is reduced.
const ATTEMPTS: u32 = 80;

/// A run that fails, reduced.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// The reduced run.
    pub simulation: Simulation,
    /// Its plan.
    pub plan: Plan,
    /// Number of runs that this took.
    pub attempts: u32,
}

impl Shrunk {
    /// Runs the reduced run once more, and keeps its event log.
    #[must_use]
    pub fn story(&self) -> Report {
        Simulation { keep: true, ..self.simulation }.run()
    }
}

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { producers, planned_faults, .. } = &self.plan;
        let records: u32 = producers.iter().map(|producer| producer.records).sum();
        let senders = producers.iter().filter(|producer| producer.records > 0).count();
        let faults = planned_faults.iter().flatten().count();
        write!(
            f,
            "reduced in {} runs to {senders} producers, {records} records and {faults} planned faults",
            self.attempts
        )
    }
}

/// Returns the beginning of a violation, which names its rule and no number.
fn rule(violation: &str) -> String {
    let words =
        violation.split_whitespace().filter(|word| !word.contains(|letter: char| letter.is_ascii_digit()));
    words.take(3).collect::<Vec<_>>().join(" ")
}

/// Runs a simulation. Returns whether it violates one of the rules.
fn fails_by(rules: &[String], candidate: Simulation) -> bool {
    let report = catch_unwind(|| candidate.run());
    report.is_ok_and(|report| report.violations.iter().any(|violation| rules.contains(&rule(violation))))
}

/// Reduces a run that fails to one that violates one of the same rules. Each attempt is one more run; their number is bounded.
#[must_use]
pub fn shrink(failing: Simulation) -> Shrunk {
    let mut best = Simulation { keep: false, ..failing };
    let mut plan = best.plan();
    let rules: Vec<_> = best.run().violations.iter().map(|violation| rule(violation)).collect();
    let mut attempts = 0;
    'anew: loop {
        for reduction in best.reduction.further(&plan) {
            let candidate = Simulation { reduction, ..best };
            let its_plan = candidate.plan();
            // A reduction that changes nothing is no step.
            if format!("{its_plan:?}") == format!("{plan:?}") {
                continue;
            }
            if attempts == ATTEMPTS {
                break 'anew;
            }
            attempts += 1;
            if fails_by(&rules, candidate) {
                (best, plan) = (candidate, its_plan);
                continue 'anew;
            }
        }
        break;
    }
    Shrunk { simulation: best, plan, attempts }
}
