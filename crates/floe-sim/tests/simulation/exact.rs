//! Many seeds, each of which is one run and no other: `cargo simulate`. `FLOE_SIM_SEEDS` says how many, `FLOE_SIM_SEED`
//! names one.

use floe_sim::{Kind, Simulation, Sweep, sweep};

/// Runs without faults would prove little.
fn is_worth_something(sweep: Sweep) {
    println!("{sweep:?}");
    if sweep.runs >= 50 {
        assert!(sweep.records > 5 * sweep.runs && sweep.broken > sweep.runs, "{sweep:?}");
    }
}

#[test]
fn fluvio() {
    is_worth_something(sweep(Kind::Fluvio, 300));
}

#[test]
fn walrus() {
    is_worth_something(sweep(Kind::Walrus, 300));
}

#[test]
fn leaders() {
    is_worth_something(sweep(Kind::Leaders, 300));
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
