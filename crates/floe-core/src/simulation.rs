//! Makes a thread of a test repeatable: what floe draws at random on it follows from one number.
//!
//! Producer ids, the spread of retries and the first partition of records without keys are random. Together with
//! tokio's paused clock, a runtime of one thread and [connections of the test's own](crate::dial::Dial), nothing is left
//! to chance, so a failure can be repeated by its number. `docs/testing.md` shows how floe itself is tested so.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// While it lives, what is drawn on the thread that made it follows from its seed.
#[derive(Debug)]
#[must_use = "dropping it makes the thread random again"]
pub struct Seeded {
    before: Option<u64>,
    /// It belongs to its thread.
    not_send: std::marker::PhantomData<*const ()>,
}

/// From now on, what floe draws at random on this thread follows from `seed`.
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

/// The next bits, if the thread is seeded; by SplitMix64.
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
