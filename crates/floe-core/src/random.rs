//! Random bits: ids of producers, jitter of retries.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Random bits. The standard library seeds its hash maps from the operating system, which is random enough for ids and
/// jitter.
pub fn bits() -> u64 {
    #[cfg(feature = "simulation")]
    if let Some(bits) = crate::simulation::bits() {
        return bits;
    }
    RandomState::new().build_hasher().finish()
}

/// A random number from 0 to 1.
pub fn fraction() -> f64 {
    (bits() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_lie_on_both_sides_of_the_middle() {
        let fractions: Vec<_> = (0..128).map(|_| fraction()).collect();
        assert!(fractions.iter().all(|fraction| (0.0..1.0).contains(fraction)));
        assert!(fractions.iter().any(|f| *f < 0.5) && fractions.iter().any(|f| *f > 0.5));
    }
}
