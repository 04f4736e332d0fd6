//! The notation of settings that only this crate has.

use std::fmt;

use floe_core::{setting::Setting, topic::Topic, units::parse_duration, words};

use super::{
    policies::{AckMode, CommitPolicy, DeliveryMode, GapPolicy, WhenFull},
    secret::Secret,
};

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

    fn is_secret() -> bool {
        true
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

words! {
    Switch { "auto" = Self::Auto, "on" = Self::On, "off" = Self::Off, }
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

/// Refuses a secret that is not a list of pairs.
pub(super) fn pairs(value: &Secret) -> Option<String> {
    value.pairs().is_none().then(|| "write name=value,name=value".to_owned())
}

/// Refuses what cannot begin the name of a metric.
pub(super) fn metric_name(prefix: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let begins = prefix.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let valid = begins && prefix.len() <= 64 && prefix.bytes().all(fits) && !prefix.ends_with('.');
    (!valid).then(|| {
        "write a letter, then up to 63 letters, digits, `.`, `_` and `-`, not a `.` at the end".to_owned()
    })
}

/// Refuses what cannot be the name of a topic.
pub(super) fn topic_name(name: &str) -> Option<String> {
    Topic::from(name).validate().err().map(|error| error.to_string())
}

/// Refuses values outside 0 to 1.
pub(super) fn share(value: &f64) -> Option<String> {
    (!(0.0..=1.0).contains(value)).then(|| "it must be from 0 to 1".to_owned())
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn round<T: Setting + PartialEq + fmt::Debug>(text: &str, value: T) {
        assert_eq!(T::read(text).as_ref(), Ok(&value), "{text}");
        assert_eq!(T::read(&value.show()), Ok(value), "{text}");
    }

    #[test]
    fn printed_values_can_be_parsed() {
        round("wait", WhenFull::Wait);
        round("2s", WhenFull::WaitUpTo(Duration::from_secs(2)));
        round("per-record", CommitPolicy::PerRecord);
        round("5s", CommitPolicy::Interval(Duration::from_secs(5)));
        round("auto", Switch::Auto);
        assert!(CommitPolicy::read("0").is_err(), "an interval of 0 would commit without end");
    }
}
