//! Where chance comes from: SplitMix64, so that a seed means the same on every machine and with every version.

use std::{ops::RangeInclusive, time::Duration};

/// A source of chance.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// Another seed, another sequence.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Self(seed);
        // Neighbouring seeds would begin alike.
        rng.0 = rng.bits();
        rng
    }

    /// A source of its own for one part, so that what that part draws does not move the draws of others.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.bits())
    }

    /// Random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let width = range.end().saturating_sub(*range.start()).saturating_add(1);
        range.start() + self.bits() % width
    }

    /// An index below `count`, which is at least 1.
    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.bits() % count.max(1) as u64).unwrap_or(0)
    }

    /// True so many times out of a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.bits() % 100 < percent
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// So many milliseconds.
    pub fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_for_ever() {
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
