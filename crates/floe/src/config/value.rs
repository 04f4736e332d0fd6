//! The notation of single settings: parsing and printing.

use std::{fmt, time::Duration};

use super::{
    policies::{AckMode, CommitPolicy, DeliveryMode, GapPolicy, WhenFull},
    secret::Secret,
};
use crate::{
    Codec,
    engine::{Acks, Isolation},
    units::{parse_duration, parse_size},
};

/// A value of a setting. All sources (files, variables, URLs) provide text.
pub(super) trait Setting: Sized {
    /// The accepted values, for the reference and for messages.
    fn form() -> String;
    /// Parses the text; the error says what is accepted.
    fn read(text: &str) -> Result<Self, String>;
    /// Prints the value in the notation of [`Setting::read`], except for secrets.
    fn show(&self) -> String;
}

impl Setting for bool {
    fn form() -> String {
        "`true` or `false`".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
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

impl Setting for Secret {
    fn form() -> String {
        "secret".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        Self::resolve(text)
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
}

/// Whether a layer is on; `auto` leaves it to the engine. Matching is exhaustive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Switch {
    /// On for engines on the network, off for those inside the process.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Switch {
    /// Resolves the switch, with `automatic` for `auto`.
    #[must_use]
    pub fn resolve(self, automatic: bool) -> bool {
        match self {
            Self::Auto => automatic,
            Self::On => true,
            Self::Off => false,
        }
    }
}

/// Implements settings that are one of several words.
macro_rules! words {
    ($($type:ty { $($word:literal = $value:expr,)* })*) => {$(
        impl Setting for $type {
            fn form() -> String {
                one_of(&[$($word),*])
            }

            fn read(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($value),)*
                    _ => Err(not_one_of(text, &[$($word),*])),
                }
            }

            fn show(&self) -> String {
                [$(($value, $word)),*]
                    .into_iter()
                    .find(|(value, _)| value == self)
                    .map_or_else(|| format!("{self:?}"), |(_, word)| word.to_owned())
            }
        }
    )*};
}

words! {
    Switch { "auto" = Self::Auto, "on" = Self::On, "off" = Self::Off, }
    Codec {
        "none" = Self::None, "gzip" = Self::Gzip, "snappy" = Self::Snappy, "lz4" = Self::Lz4, "zstd" = Self::Zstd,
    }
    Acks { "none" = Self::None, "leader" = Self::Leader, "committed" = Self::Committed, }
    Isolation { "read-uncommitted" = Self::ReadUncommitted, "read-committed" = Self::ReadCommitted, }
    DeliveryMode { "at-least-once" = Self::AtLeastOnce, "at-most-once" = Self::AtMostOnce, }
    AckMode { "auto" = Self::Auto, "explicit" = Self::Explicit, }
    GapPolicy { "fail" = Self::Fail, "report" = Self::Report, "skip" = Self::Skip, }
}

impl Setting for WhenFull {
    fn form() -> String {
        "`wait`, `fail` or the longest wait".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "wait" => Ok(Self::Wait),
            "fail" => Ok(Self::Fail),
            _ => parse_duration(text)
                .map(Self::WaitUpTo)
                .map_err(|_| "write wait, fail, or the longest wait, such as 250ms".to_owned()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Wait => "wait".to_owned(),
            Self::Fail => "fail".to_owned(),
            Self::WaitUpTo(limit) => limit.show(),
        }
    }
}

impl Setting for CommitPolicy {
    fn form() -> String {
        "`manual`, `per-record` or an interval".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "manual" => Ok(Self::Manual),
            "per-record" => Ok(Self::PerRecord),
            _ => match parse_duration(text) {
                Ok(interval) if !interval.is_zero() => Ok(Self::Interval(interval)),
                _ => Err("write manual, per-record, or an interval, such as 5s".to_owned()),
            },
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Manual => "manual".to_owned(),
            Self::PerRecord => "per-record".to_owned(),
            Self::Interval(interval) => interval.show(),
        }
    }
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

fn not_one_of(text: &str, words: &[&str]) -> String {
    match crate::url::nearest(text, words) {
        Some(near) => format!("did you mean {near:?}? It accepts {}", words.join(", ")),
        None => format!("it accepts {}", words.join(", ")),
    }
}

/// Accepts all values.
pub(super) fn any<T>(_: &T) -> Option<&'static str> {
    None
}

/// Refuses 0.
pub(super) fn positive<T: Default + PartialEq>(value: &T) -> Option<&'static str> {
    (*value == T::default()).then_some("it must be more than 0")
}

/// Refuses a secret that is not a list of pairs.
pub(super) fn pairs_if_some(value: &Option<Secret>) -> Option<&'static str> {
    let value = value.as_ref()?;
    value.pairs().is_none().then_some("write name=value,name=value")
}

/// Refuses 0, accepts `none`.
pub(super) fn positive_if_some<T: Default + PartialEq>(value: &Option<T>) -> Option<&'static str> {
    value.as_ref().and_then(positive)
}

/// Refuses values below 1.
pub(super) fn at_least_one(value: &f64) -> Option<&'static str> {
    (*value < 1.0).then_some("it must be at least 1")
}

/// Refuses values outside 0 to 1.
pub(super) fn share(value: &f64) -> Option<&'static str> {
    (!(0.0..=1.0).contains(value)).then_some("it must be from 0 to 1")
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round<T: Setting + PartialEq + fmt::Debug>(text: &str, value: T) {
        assert_eq!(T::read(text).as_ref(), Ok(&value), "{text}");
        assert_eq!(T::read(&value.show()), Ok(value), "{text}");
    }

    #[test]
    fn printed_values_can_be_parsed() {
        round("true", true);
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
        round("wait", WhenFull::Wait);
        round("2s", WhenFull::WaitUpTo(Duration::from_secs(2)));
        round("per-record", CommitPolicy::PerRecord);
        round("5s", CommitPolicy::Interval(Duration::from_secs(5)));
        round("auto", Switch::Auto);
    }

    #[test]
    fn invalid_values_are_refused_with_the_accepted_form() {
        assert!(bool::read("yes").unwrap_err().contains("true or false"));
        assert!(u32::read("-1").unwrap_err().contains("whole number"));
        assert!(f64::read("NaN").is_err() && f64::read("inf").is_err());
        assert!(Duration::read("5").unwrap_err().contains("250ms"));
        assert!(u64::read("5 apples").unwrap_err().contains("KiB"));
        assert!(Codec::read("zsdt").unwrap_err().contains("did you mean \"zstd\""));
        assert!(CommitPolicy::read("0").is_err(), "an interval of 0 would commit without end");
        assert!(Option::<u32>::read("x").unwrap_err().ends_with("or none"));
    }
}
