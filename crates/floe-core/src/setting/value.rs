//! The notation of values that several sections have.

use std::{path::PathBuf, time::Duration};

use super::Setting;
use crate::{
    Codec, Durability,
    engine::{Acks, Isolation},
    units::{parse_duration, parse_size},
};

impl Setting for bool {
    fn form() -> String {
        "`true` or `false`".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "true" | "yes" => Ok(true),
            "false" | "no" => Ok(false),
            _ => Err("write true or false".to_owned()),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for u32 {
    fn form() -> String {
        "whole number".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("write a whole number from 0 to {}", Self::MAX))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for i32 {
    fn form() -> String {
        "whole number".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "write a whole number".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for f64 {
    fn form() -> String {
        "number".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        match text.parse::<Self>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err("write a number, such as 1.5".to_owned()),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Sizes in bytes.
impl Setting for u64 {
    fn form() -> String {
        "size".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        let size = parse_size(text)
            .map_err(|_| "write a size: a number and one of B, kB, MB, GB, KiB, MiB, GiB".to_owned())?;
        // All sizes are sizes in memory, so they fit a `usize`.
        usize::try_from(size)
            .map(|_| size)
            .map_err(|_| "it exceeds the address space of this machine".to_owned())
    }

    fn show(&self) -> String {
        for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if *self >= unit && self.is_multiple_of(unit) {
                return format!("{}{name}", self / unit);
            }
        }
        format!("{self}B")
    }
}

impl Setting for Duration {
    fn form() -> String {
        "duration".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        parse_duration(text)
            .map_err(|_| "write a duration: a number and one of us, ms, s, m, h, d, such as 250ms".to_owned())
    }

    fn show(&self) -> String {
        if self.is_zero() {
            return "0".to_owned();
        }
        let micros = self.as_micros();
        for (unit, name) in
            [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1000, "ms")]
        {
            if micros.is_multiple_of(unit) {
                return format!("{}{name}", micros / unit);
            }
        }
        format!("{micros}us")
    }
}

impl Setting for String {
    fn form() -> String {
        "text".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Setting for PathBuf {
    fn form() -> String {
        "path".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("write a path".to_owned()) } else { Ok(text.into()) }
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for Durability {
    fn form() -> String {
        "`os`, `always` or `interval:DURATION`".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "write os, always, or interval:DURATION, such as interval:100ms".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A setting that may be absent, written `none`.
impl<T: Setting> Setting for Option<T> {
    fn form() -> String {
        format!("{} or `none`", T::form())
    }

    fn read(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(None);
        }
        T::read(text).map(Some).map_err(|problem| format!("{problem}, or none"))
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), T::show)
    }

    fn is_secret() -> bool {
        T::is_secret()
    }
}

crate::words! {
    Codec {
        "none" = Self::None, "gzip" = Self::Gzip, "snappy" = Self::Snappy, "lz4" = Self::Lz4, "zstd" = Self::Zstd,
    }
    Acks { "none" = Self::None, "leader" = Self::Leader, "committed" = Self::Committed, }
    Isolation { "read-uncommitted" = Self::ReadUncommitted, "read-committed" = Self::ReadCommitted, }
}

/// Lists words for the reference.
#[must_use]
pub fn one_of(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// Describes a text that is none of the words.
#[must_use]
pub fn not_one_of(text: &str, words: &[&str]) -> String {
    match crate::url::nearest(text, words) {
        Some(near) => format!("did you mean {near:?}? It accepts {}", words.join(", ")),
        None => format!("it accepts {}", words.join(", ")),
    }
}

/// Refuses 0.
pub fn positive<T: Default + PartialEq>(value: &T) -> Option<String> {
    (*value == T::default()).then(|| "it must be more than 0".to_owned())
}

/// Refuses values below 1.
#[must_use]
pub fn at_least_one(value: &f64) -> Option<String> {
    (*value < 1.0).then(|| "it must be at least 1".to_owned())
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    fn round<T: Setting + PartialEq + fmt::Debug>(text: &str, value: T) {
        assert_eq!(T::read(text).as_ref(), Ok(&value), "{text}");
        assert_eq!(T::read(&value.show()), Ok(value), "{text}");
    }

    #[test]
    fn printed_values_can_be_parsed() {
        round("true", true);
        round("no", false);
        round("7", 7u32);
        round("-3", -3i32);
        round("1.5", 1.5f64);
        round("64KiB", 65_536u64);
        round("1000", 1000u64);
        round("250ms", Duration::from_millis(250));
        round("0", Duration::ZERO);
        round("36h", Duration::from_secs(36 * 3600));
        round("17us", Duration::from_micros(17));
        round("none", None::<u32>);
        round("3", Some(3u32));
        round("lz4", Codec::Lz4);
        round("read-committed", Isolation::ReadCommitted);
        round("interval:100ms", Durability::Interval(Duration::from_millis(100)));
        round("a/b", PathBuf::from("a/b"));
    }

    #[test]
    fn invalid_values_are_refused_with_the_accepted_form() {
        assert!(bool::read("perhaps").unwrap_err().contains("true or false"));
        assert!(u32::read("-1").unwrap_err().contains("whole number"));
        assert!(f64::read("NaN").is_err() && f64::read("inf").is_err());
        assert!(Duration::read("5").unwrap_err().contains("250ms"));
        assert!(u64::read("5 apples").unwrap_err().contains("KiB"));
        assert!(Codec::read("zsdt").unwrap_err().contains("did you mean \"zstd\""));
        assert!(Option::<u32>::read("x").unwrap_err().ends_with("or none"));
    }
}
