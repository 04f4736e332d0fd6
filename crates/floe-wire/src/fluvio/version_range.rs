//! An inclusive range of API versions.

use std::fmt;

/// An inclusive range of versions of one API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionRange {
    /// Least version.
    pub min: i16,
    /// Greatest version.
    pub max: i16,
}

impl VersionRange {
    /// Creates the range `min..=max`.
    #[must_use]
    pub const fn new(min: i16, max: i16) -> Self {
        Self { min, max }
    }

    /// Returns whether `version` lies in the range.
    #[must_use]
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// Returns the greatest version in both ranges.
    #[must_use]
    pub fn greatest_common(self, other: Self) -> Option<i16> {
        let max = if self.max < other.max { self.max } else { other.max };
        (self.contains(max) && other.contains(max)).then_some(max)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_without_a_common_version_have_none() {
        assert_eq!(VersionRange::new(0, 3).greatest_common(VersionRange::new(5, 9)), None);
        assert_eq!(VersionRange::new(5, 9).greatest_common(VersionRange::new(0, 3)), None);
        assert_eq!(VersionRange::new(9, 5).greatest_common(VersionRange::new(0, 30)), None);
        assert_eq!(VersionRange::new(0, 30).greatest_common(VersionRange::new(5, 9)), Some(9));
    }
}
