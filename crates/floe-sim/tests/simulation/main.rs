//! Runs that must satisfy the rules, and injected bugs that the rules must detect.

#[cfg(tokio_unstable)]
mod events;
#[cfg(tokio_unstable)]
mod exact;

use floe_sim::{Kind, Lie, Misdeed, Simulation};

/// Without faults, all records arrive in any order of tasks.
#[test]
fn everything_arrives_without_faults() {
    for kind in Kind::ALL {
        for seed in 0..8 {
            let report = Simulation { faults: false, keep: true, ..Simulation::new(kind, seed) }.run();
            let outcome = (report.violations.as_slice(), report.broken);
            assert_eq!(outcome, (&[][..], 0), "{kind:?} {seed}\n{}", report.story);
            assert!(report.stored > 0, "{kind:?} {seed}");
        }
    }
}

/// Checks that some seed detects the bug, by the rule with this text.
fn is_detected(kind: Kind, lie: Lie, by: &str) {
    let caught = (0..60).any(|seed| {
        let report = Simulation { lie, ..Simulation::new(kind, seed) }.run();
        report.violations.iter().any(|violation| violation.contains(by))
    });
    assert!(caught, "{kind:?}: {lie:?} is not detected");
}

#[test]
fn acknowledged_but_unwritten_batch_is_detected() {
    is_detected(Kind::Fluvio, Lie::AckWithoutWrite, "acknowledged and is lost");
    is_detected(Kind::Walrus, Lie::AckWithoutWrite, "acknowledged and is lost");
}

#[test]
fn duplicate_write_is_detected() {
    is_detected(Kind::Fluvio, Lie::WriteTwice, "more than once");
}

#[test]
fn reordering_is_detected() {
    is_detected(Kind::Fluvio, Lie::Swap, "is behind");
    is_detected(Kind::Walrus, Lie::Swap, "is behind");
}

#[test]
fn loss_on_read_is_detected() {
    is_detected(Kind::Fluvio, Lie::LoseOnRead, "the reader failed");
    is_detected(Kind::Walrus, Lie::LoseOnRead, "the reader never got");
}

#[test]
fn faults_of_applications_are_detected() {
    is_detected(Kind::Applications, Lie::AckWithoutWrite, "the processors hang");
    is_detected(Kind::Applications, Lie::AckBeforeSync, "the outbox: ");
}

#[test]
fn commit_ahead_is_detected() {
    is_detected(Kind::Fluvio, Lie::CommitAhead, "the group");
    is_detected(Kind::Groups, Lie::CommitAhead, "the group");
}

/// The checker of histories, which sees only what the clients recorded, names the bugs as well.
#[test]
fn bugs_are_named_by_the_history() {
    for (kind, lie, anomaly) in [
        (Kind::Fluvio, Lie::AckWithoutWrite, "lost-write"),
        (Kind::Fluvio, Lie::WriteTwice, "duplicate"),
        (Kind::Fluvio, Lie::Swap, "inconsistent-offsets"),
        (Kind::Fluvio, Lie::CommitAhead, "commit-ahead"),
    ] {
        is_detected(kind, lie, &format!("history: {anomaly}: "));
    }
}

/// Checks that some seed detects the bug of a member, by the rule with this text.
fn misdeed_is_detected(misdeed: Misdeed, by: &str) {
    let caught = (0..60).find(|seed| {
        let report = Simulation { misdeed, ..Simulation::new(Kind::Groups, *seed) }.run();
        report.violations.iter().any(|violation| violation.contains(by))
    });
    println!("{misdeed:?}: seed {caught:?}");
    assert!(caught.is_some(), "{misdeed:?} is not detected");
}

#[test]
fn member_that_commits_ahead_is_detected() {
    misdeed_is_detected(Misdeed::CommitAhead, "the group billing stores");
}

#[test]
fn member_that_outlives_its_fence_is_detected() {
    misdeed_is_detected(Misdeed::OutliveTheFence, "which the group has given to");
}

#[test]
fn member_that_ignores_evictions_is_detected() {
    misdeed_is_detected(Misdeed::IgnoreEvictions, "which the group has given to");
}

#[test]
fn unanswered_appends_end_in_time() {
    for kind in [Kind::Fluvio, Kind::Walrus] {
        for seed in 0..6 {
            let report = Simulation { lie: Lie::NeverAnswer, ..Simulation::new(kind, seed) }.run();
            assert_eq!(report.violations.as_slice(), &[] as &[String], "{kind:?} {seed}");
        }
    }
}

#[test]
fn skipped_sync_is_detected() {
    // The log itself finds that acknowledged records are missing, and says which.
    is_detected(Kind::Disk, Lie::SkipSync, "the log has lost");
}

#[test]
fn acknowledgement_before_the_sync_is_detected() {
    is_detected(Kind::Disk, Lie::AckBeforeSync, "acknowledged and is lost");
}

#[test]
fn torn_batch_that_is_served_is_detected() {
    is_detected(Kind::Disk, Lie::ServeTorn, "the reader failed");
}
