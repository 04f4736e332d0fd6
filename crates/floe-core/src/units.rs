//! Durations and sizes as people write them: `250ms`, `1.5h`, `64KiB`, `1MB`.

use std::time::Duration;

use crate::{Error, ErrorKind, Result};

const DURATIONS: &[(&str, f64)] =
    &[("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0), ("w", 604_800.0)];

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    // As people type them, and as `ls -h` and `dd` mean them.
    ("k", 1 << 10),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("T", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

/// Reads a duration: a number and one of `us`, `ms`, `s`, `m`, `h`, `d`, `w`; `0` needs no unit.
///
/// ```
/// # use std::time::Duration;
/// assert_eq!(floe_core::units::parse_duration("250ms").unwrap(), Duration::from_millis(250));
/// assert!(floe_core::units::parse_duration("5").is_err());
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidConfig`] that shows what is accepted.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let bad = || {
        Error::new(
            ErrorKind::InvalidConfig,
            format!(
                "{text:?} is not a duration: write a number and one of us, ms, s, m, h, d, w, such as 250ms"
            ),
        )
    };
    let (number, unit) = split_unit(text);
    let number: f64 = number.parse().map_err(|_| bad())?;
    if unit.is_empty() && number == 0.0 {
        return Ok(Duration::ZERO);
    }
    let (_, seconds) = DURATIONS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())
}

/// Reads a size in bytes: a number and optionally one of `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB`, `TiB`, or `k`, `M`,
/// `G`, `T` for the latter.
///
/// ```
/// assert_eq!(floe_core::units::parse_size("64KiB").unwrap(), 65_536);
/// assert_eq!(floe_core::units::parse_size("100").unwrap(), 100);
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidConfig`] that shows what is accepted.
pub fn parse_size(text: &str) -> Result<u64> {
    let bad = || {
        Error::new(
            ErrorKind::InvalidConfig,
            format!(
                "{text:?} is not a size: write a number and one of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB, such as 1MiB"
            ),
        )
    };
    let (number, unit) = split_unit(text);
    let factor = if unit.is_empty() {
        1
    } else {
        SIZES.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or_else(bad)?
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(factor).ok_or_else(bad)
}

/// A size as a number of bytes in memory. A size beyond the address space becomes the largest one.
#[must_use]
pub fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// A count of items in memory. A count beyond the address space becomes the largest one.
#[must_use]
pub fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Splits `250ms` into `250` and `ms`.
fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    (number.trim_end(), unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("0", 0),
            ("250ms", 250),
            ("2s", 2000),
            ("1.5h", 5_400_000),
            ("1 d", 86_400_000),
            ("3m", 180_000),
            ("1w", 604_800_000),
        ] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "5", "ms", "-1s", "1y", "1e400s", "s1"] {
            assert_eq!(parse_duration(text).unwrap_err().kind(), ErrorKind::InvalidConfig, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1kB", 1000),
            ("16KiB", 16_384),
            ("1 GiB", 1 << 30),
            ("7B", 7),
            ("64k", 65_536),
            ("1T", 1 << 40),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "KiB", "1.5MB", "-1", "1XB", "99999999999GiB"] {
            assert_eq!(parse_size(text).unwrap_err().kind(), ErrorKind::InvalidConfig, "{text}");
        }
    }
}
