//! Reproducible runs of many seeds: `cargo simulate`. `FLOE_SIM_SEEDS` sets their number, `FLOE_SIM_SEED` a single seed.

use floe_sim::{Kind, Simulation, Sweep, sweep};

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
fn the_same_seed_is_the_same_run() {
    for kind in Kind::ALL {
        for seed in 0..20 {
            let simulation = Simulation { keep: true, ..Simulation::new(kind, seed) };
            let (first, second) = (simulation.run(), simulation.run());
            let differs =
                first.story.lines().zip(second.story.lines()).find(|(first, second)| first != second);
            assert_eq!((differs, first.fingerprint), (None, second.fingerprint), "{kind:?} {seed}");
        }
        assert_ne!(Simulation::new(kind, 0).run().fingerprint, Simulation::new(kind, 1).run().fingerprint);
    }
}
