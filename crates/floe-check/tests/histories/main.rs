//! Histories with and without anomalies.

mod anomalies;
mod random;

use floe_check::{Anomaly, CheckOptions, Checker, HistoryEvent, HistoryVerdict};

/// Checks a history of drained readers, with as little memory as possible.
fn check(events: &[HistoryEvent<'_>]) -> HistoryVerdict {
    let mut checker = Checker::new(CheckOptions { drained: true, memory: 0 });
    for event in events {
        checker.event(event).unwrap();
    }
    checker.finish().unwrap()
}

/// Returns the anomalies of a verdict.
fn found(verdict: &HistoryVerdict) -> Vec<Anomaly> {
    Anomaly::ALL.iter().copied().filter(|anomaly| verdict.count(*anomaly) > 0).collect()
}
