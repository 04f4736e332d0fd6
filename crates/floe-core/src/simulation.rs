//! Seeded randomness: on a seeded thread, all random draws of floe follow from one number. [Processes](Process) that can be
//! stopped, with clocks that differ.
//!
//! Producer ids, the spread of retries and the first partition of records without keys are random. Together with
//! tokio's paused clock, a runtime of one thread and [connections of the test's own](crate::dial::Dial), nothing is left
//! to chance, so that a seed reproduces a failure. `docs/testing.md` shows how floe itself is tested so.

mod process;

use std::cell::Cell;

pub(crate) use self::process::clock_rate;
pub use self::process::{Process, ProcessTask};

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Guard of a seed: while it lives, the random draws of its thread follow from the seed.
#[derive(Debug)]
#[must_use = "dropping it makes the thread random again"]
pub struct Seeded {
    before: Option<u64>,
    /// Keeps the guard on its thread.
    not_send: std::marker::PhantomData<*const ()>,
}

/// Seeds the random draws of this thread until the guard is dropped.
///
/// ```
/// let draw = || {
///     let _seeded = floe_core::simulation::seed(7);
///     floe_core::random::bits()
/// };
/// assert_eq!(draw(), draw());
/// ```
pub fn seed(seed: u64) -> Seeded {
    let before = STATE.replace(Some(seed));
    Seeded { before, not_send: std::marker::PhantomData }
}

impl Drop for Seeded {
    fn drop(&mut self) {
        STATE.set(self.before);
    }
}

/// The next bits of a seeded thread, by SplitMix64.
pub(crate) fn bits() -> Option<u64> {
    let state = STATE.get()?.wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(Some(state));
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some(mixed ^ (mixed >> 31))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    #[test]
    fn a_seed_decides_until_it_is_dropped() {
        let draw = |with: u64| {
            let _seeded = seed(with);
            [random::bits(), random::bits(), random::bits()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(STATE.get(), None);
        assert_ne!(random::bits(), random::bits());
    }
}
