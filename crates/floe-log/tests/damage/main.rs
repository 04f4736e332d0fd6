//! Thousands of seeded damages to the files of a store. Three outcomes are allowed: all records are right, or what is
//! wrong is told, or the store is refused. A check sees all of it without a change, and a repair leaves a store that is whole
//! and has every record that could be read before. A failing case names its seed; `FLOE_DAMAGE_SEED` runs that seed only, or
//! a range of seeds.

#![allow(unreachable_pub, reason = "modules of one test binary")]

#[path = "../support/mod.rs"]
mod support;

mod fixture;
mod mutation;
mod outcome;
mod repaired;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use fixture::Fixture;
use mutation::{Mutation, Rng};
use outcome::{Outcome, check};
use parking_lot::Mutex;

const CASES: u64 = 2_400;

/// One of so many cases is repaired too.
const REPAIRED: u64 = 8;

/// Results of all cases.
#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<(&'static str, Outcome), usize>,
    failures: Vec<String>,
}

fn run_case(seed: u64, fixtures: &[Fixture], tally: &Mutex<Tally>) {
    let mut random = Rng::new(seed);
    let fixture = &fixtures[random.below(fixtures.len())];
    let disk = fixture.disk.after_kill();
    let mutation = Mutation::apply(&mut random, &disk, fixture);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let damaged = disk.after_kill();
        let checked = repaired::check_without_a_change(&damaged)?;
        let outcome = check(&disk, fixture, &mutation)?;
        if outcome != Outcome::Right && checked.is_some_and(|report| report.is_whole()) {
            return Err("the check calls a damaged store whole".to_owned());
        }
        if seed.is_multiple_of(REPAIRED) {
            repaired::check_repair(&damaged)?;
        }
        Ok(outcome)
    }));
    let mut tally = tally.lock();
    match result {
        Ok(Ok(outcome)) => *tally.outcomes.entry((mutation.kind, outcome)).or_default() += 1,
        Ok(Err(problem)) => {
            tally.failures.push(format!("seed {seed}, {}, {mutation}: {problem}", fixture.name));
        }
        Err(_) => tally.failures.push(format!("seed {seed}, {}, {mutation}: panicked", fixture.name)),
    }
}

/// Reads `7` or `7..20`.
fn range(seeds: &str) -> (u64, u64) {
    let number = |text: &str| text.parse::<u64>().unwrap();
    seeds
        .split_once("..")
        .map_or_else(|| (number(seeds), number(seeds) + 1), |(from, to)| (number(from), number(to)))
}

#[test]
fn every_damage_is_harmless_told_or_refused() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        hook(info);
    }));
    let fixtures = fixture::all();
    let only = std::env::var("FLOE_DAMAGE_SEED").ok().map(|seeds| range(&seeds));
    let (first, end) = only.unwrap_or((0, CASES));
    let next = AtomicU64::new(first);
    let tally = Mutex::<Tally>::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    run_case(seed, &fixtures, &tally);
                }
            });
        }
    });
    let tally = tally.into_inner();
    for ((kind, outcome), count) in &tally.outcomes {
        println!("{kind:20} {outcome:?}: {count}");
    }
    let failed = tally.failures.len();
    let shown = tally.failures.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert_eq!(failed, 0, "of {} cases:\n{shown}", end - first);
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "no thread of a store panics");
    if only.is_none() {
        let total: usize = tally.outcomes.values().sum();
        assert_eq!(total as u64, CASES);
        for outcome in [Outcome::Right, Outcome::Told, Outcome::Refused] {
            assert!(tally.outcomes.keys().any(|(_, found)| *found == outcome), "{outcome:?} never happened");
        }
    }
}
