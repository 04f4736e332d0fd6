//! Runs that must keep the rules, and servers that lie and must be found out.

#[cfg(tokio_unstable)]
mod exact;

use floe_sim::{Kind, Lie, Simulation};

/// Whatever order things happen in, where nothing goes wrong.
#[test]
fn without_faults_everything_comes_through() {
    for kind in Kind::ALL {
        for seed in 0..8 {
            let report = Simulation { faults: false, ..Simulation::new(kind, seed) }.run();
            assert_eq!((report.violations.as_slice(), report.broken), (&[][..], 0), "{kind:?} {seed}");
            assert!(report.stored > 0, "{kind:?} {seed}");
        }
    }
}

/// A server that lies is found out by some seed, by the rule that is there for it.
fn is_caught(kind: Kind, lie: Lie, by: &str) {
    let caught = (0..60).any(|seed| {
        let report = Simulation { lie, ..Simulation::new(kind, seed) }.run();
        report.violations.iter().any(|violation| violation.contains(by))
    });
    assert!(caught, "{kind:?}: {lie:?} passes");
}

#[test]
fn what_is_acknowledged_and_not_written_is_missed() {
    is_caught(Kind::Fluvio, Lie::AckWithoutWrite, "acknowledged and is lost");
    is_caught(Kind::Walrus, Lie::AckWithoutWrite, "acknowledged and is lost");
}

#[test]
fn what_is_written_twice_is_counted() {
    is_caught(Kind::Fluvio, Lie::WriteTwice, "more than once");
}

#[test]
fn what_changes_places_is_noticed() {
    is_caught(Kind::Fluvio, Lie::Swap, "stands behind");
    is_caught(Kind::Walrus, Lie::Swap, "stands behind");
}

#[test]
fn what_is_lost_on_the_way_out_is_missed() {
    is_caught(Kind::Fluvio, Lie::LoseOnRead, "the reader failed");
    is_caught(Kind::Walrus, Lie::LoseOnRead, "the reader never got");
}

#[test]
fn offsets_that_run_ahead_are_noticed() {
    is_caught(Kind::Fluvio, Lie::CommitAhead, "the group");
}

#[test]
fn who_is_never_answered_does_not_wait_for_ever() {
    for kind in [Kind::Fluvio, Kind::Walrus] {
        for seed in 0..6 {
            let report = Simulation { lie: Lie::NeverAnswer, ..Simulation::new(kind, seed) }.run();
            assert_eq!(report.violations.as_slice(), &[] as &[String], "{kind:?} {seed}");
        }
    }
}
