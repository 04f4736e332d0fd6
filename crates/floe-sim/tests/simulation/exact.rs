//! Reproducible runs of many seeds: `cargo simulate`. `FLOE_SIM_SEEDS` sets their number, `FLOE_SIM_SEED` a single seed.

use floe_sim::{Kind, Lie, Reduction, Simulation, Sweep, shrink, sweep};

use crate::events::events_of;

/// Checks that the runs stored records and broke connections.
fn check_coverage(sweep: Sweep) {
    println!("{sweep:?}");
    if sweep.runs >= 50 {
        assert!(sweep.records > 5 * sweep.runs && sweep.broken > sweep.runs, "{sweep:?}");
    }
}

#[test]
fn fluvio() {
    check_coverage(sweep(Kind::Fluvio, 300));
}

#[test]
fn walrus() {
    check_coverage(sweep(Kind::Walrus, 300));
}

#[test]
fn leaders() {
    check_coverage(sweep(Kind::Leaders, 300));
}

#[test]
fn groups() {
    check_coverage(sweep(Kind::Groups, 300));
}

#[test]
fn disk() {
    check_coverage(sweep(Kind::Disk, 300));
}

#[test]
fn exactly_once() {
    check_coverage(sweep(Kind::ExactlyOnce, 300));
}

#[test]
fn applications() {
    check_coverage(sweep(Kind::Applications, 300));
}

#[test]
fn the_same_seed_is_the_same_run() {
    let mut logged = 0;
    for kind in Kind::ALL {
        for seed in 0..20 {
            let simulation = Simulation { keep: true, ..Simulation::new(kind, seed) };
            let (first, first_events) = events_of(|| simulation.run());
            let (second, second_events) = events_of(|| simulation.run());
            let differs =
                first.story.lines().zip(second.story.lines()).find(|(first, second)| first != second);
            assert_eq!((differs, first.fingerprint), (None, second.fingerprint), "{kind:?} {seed}");
            let differs = first_events.iter().zip(&second_events).find(|(first, second)| first != second);
            assert_eq!((differs, first_events.len()), (None, second_events.len()), "{kind:?} {seed}");
            logged += first_events.len();
        }
        assert_ne!(Simulation::new(kind, 0).run().fingerprint, Simulation::new(kind, 1).run().fingerprint);
    }
    assert!(logged > 1_000, "{logged} events of tracing");
}

#[test]
fn a_failing_run_is_reduced() {
    for kind in [Kind::Fluvio, Kind::Groups] {
        let simulation = |seed| Simulation { lie: Lie::WriteTwice, ..Simulation::new(kind, seed) };
        let fails = |seed: &u64| !simulation(*seed).run().violations.is_empty();
        let failing = simulation((0..60).find(fails).expect("a seed that detects the bug"));
        let shrunk = shrink(failing);
        println!("{kind:?}: {shrunk}");
        // Each fifth batch is written twice, whatever else happens.
        let producers: Vec<_> = shrunk.plan.producers.iter().filter(|one| one.records > 0).collect();
        assert_eq!(producers.len(), 1, "{:?}", shrunk.plan);
        assert!(producers[0].records <= 12, "{:?}", shrunk.plan);
        assert_eq!(shrunk.plan.planned_faults.iter().flatten().count(), 0, "{:?}", shrunk.plan);
        assert_ne!(shrunk.simulation.reduction, Reduction::NONE);
        let report = shrunk.story();
        assert!(!report.violations.is_empty() && report.story.len() < 200_000, "{}", report.story.len());
    }
}
