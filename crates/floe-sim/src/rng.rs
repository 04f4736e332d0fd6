//! Seeded random number generator: SplitMix64, so that a seed gives the same sequence on every machine and with every
//! version.

use std::{ops::RangeInclusive, time::Duration};

/// Random number generator.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// Creates a generator from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Self(seed);
        // Neighbouring seeds would start with similar states.
        rng.0 = rng.bits();
        rng
    }

    /// Creates an independent generator for one component, whose draws do not shift those of others.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.bits())
    }

    /// Returns 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number in the range.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let width = range.end().saturating_sub(*range.start()).saturating_add(1);
        range.start() + self.bits() % width
    }

    /// Returns an index below `count`, which must be at least 1.
    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.bits() % count.max(1) as u64).unwrap_or(0)
    }

    /// Returns true with this probability in percent.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.bits() % 100 < percent
    }

    /// Returns one of the values.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Returns a duration of a number of milliseconds in the range.
    pub fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_of_a_seed_is_fixed() {
        let mut rng = Rng::new(1);
        let drawn: Vec<_> = (0..3).map(|_| rng.within(0..=999)).collect();
        let mut again = Rng::new(1);
        assert_eq!(drawn, [again.within(0..=999), again.within(0..=999), again.within(0..=999)]);
        assert_ne!(Rng::new(1).bits(), Rng::new(2).bits());
        assert!((0..1000).all(|_| (3..=5).contains(&rng.within(3..=5))));
        let hits = (0..10_000).filter(|_| rng.percent(25)).count();
        assert!((2_000..3_000).contains(&hits), "{hits}");
    }
}
