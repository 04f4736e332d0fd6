//! Start positions on the command line: `beginning`, `end`, `stored`, `N`, `+N`, `-N`, `@TIME`.

use std::{
    str::FromStr,
    time::{Duration, SystemTime},
};

use floe::{consumer::StartAt, units};
use jiff::{
    Timestamp,
    civil::{Date, DateTime},
};

/// Smallest Unix time read as milliseconds; smaller numbers are seconds. As seconds it is the year 5138, as
/// milliseconds March 1973.
const FIRST_MILLISECONDS: i64 = 100_000_000_000;

/// Position in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// Oldest record.
    Beginning,
    /// High watermark, after the newest record.
    End,
    /// Stored offset of the consumer group.
    Stored,
    /// This offset.
    Offset(i64),
    /// This many records after the oldest.
    AfterBeginning(u64),
    /// This many records before the end.
    BeforeEnd(u64),
    /// First record of this time or later, in milliseconds since the Unix epoch.
    Time(i64),
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "invalid position {text:?}: use beginning, end, stored, N, +N, -N or @TIME, such as -10 or @-1h"
            )
        };
        Ok(match text {
            "beginning" | "earliest" => Self::Beginning,
            "end" | "latest" => Self::End,
            "stored" => Self::Stored,
            _ => {
                if let Some(time) = text.strip_prefix('@') {
                    Self::Time(parse_time(time)?)
                } else if let Some(records) = text.strip_prefix('+') {
                    Self::AfterBeginning(digits(records).ok_or_else(bad)?)
                } else if let Some(records) = text.strip_prefix('-') {
                    Self::BeforeEnd(digits(records).ok_or_else(bad)?)
                } else {
                    let offset = digits(text).and_then(|offset| i64::try_from(offset).ok());
                    Self::Offset(offset.ok_or_else(bad)?)
                }
            }
        })
    }
}

impl From<Position> for StartAt {
    fn from(position: Position) -> Self {
        match position {
            Position::Beginning => Self::Beginning,
            Position::End => Self::End,
            Position::Stored => Self::StoredOrBeginning,
            Position::Offset(offset) => Self::Offset(offset),
            Position::AfterBeginning(records) => Self::AfterBeginning(records),
            Position::BeforeEnd(records) => Self::BeforeEnd(records),
            Position::Time(milliseconds) => Self::Time(milliseconds),
        }
    }
}

/// Parses digits only; `parse` would accept a sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Parses RFC 3339, Unix seconds or milliseconds, or a duration before now such as `-1h`.
fn parse_time(text: &str) -> Result<i64, String> {
    let bad = || {
        format!(
            "invalid time {text:?}: use RFC 3339 such as 2026-01-31T12:00:00Z, Unix seconds or milliseconds, or -1h for one hour ago"
        )
    };
    if let Some(ago) = text.strip_prefix('-') {
        let ago = units::parse_duration(ago).map_err(|_| bad())?;
        return Ok(now().saturating_sub(milliseconds(ago)));
    }
    if let Some(number) = digits(text) {
        let number = i64::try_from(number).map_err(|_| bad())?;
        return Ok(if number < FIRST_MILLISECONDS { number * 1000 } else { number });
    }
    text.parse::<Timestamp>().map(Timestamp::as_millisecond).or_else(|_| utc(text).ok_or_else(bad))
}

/// Parses a date, or a date and time that ends in `Z`, up to the end of the year 9999: a [`Timestamp`] ends a day before.
fn utc(text: &str) -> Option<i64> {
    let time = match text.strip_suffix(['Z', 'z']) {
        Some(time) => time.parse::<DateTime>().ok()?,
        // A date alone; the parser would ignore a time behind it.
        None if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => {
            text.parse::<Date>().ok()?.at(0, 0, 0, 0)
        }
        None => return None,
    };
    let epoch = Date::constant(1970, 1, 1).at(0, 0, 0, 0);
    i64::try_from(time.duration_since(epoch).as_millis()).ok()
}

/// Returns milliseconds since the Unix epoch.
fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, milliseconds)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_parsed() {
        for (text, expected) in [
            ("beginning", Position::Beginning),
            ("earliest", Position::Beginning),
            ("latest", Position::End),
            ("@1970-01-02", Position::Time(86_400_000)),
            ("@9999-12-31", Position::Time(253_402_214_400_000)),
            ("@9999-12-31T23:59:59Z", Position::Time(253_402_300_799_000)),
            ("end", Position::End),
            ("stored", Position::Stored),
            ("0", Position::Offset(0)),
            ("9223372036854775807", Position::Offset(i64::MAX)),
            ("+3", Position::AfterBeginning(3)),
            ("-10", Position::BeforeEnd(10)),
            ("@1700000000", Position::Time(1_700_000_000_000)),
            ("@1700000000123", Position::Time(1_700_000_000_123)),
            ("@2023-11-14T22:13:20Z", Position::Time(1_700_000_000_000)),
            ("@2023-11-14T23:13:20.5+01:00", Position::Time(1_700_000_000_500)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn invalid_positions_are_rejected_with_the_grammar() {
        for text in [
            "",
            "start",
            "--1",
            "+-1",
            "-+1",
            "+",
            "-",
            "1.5",
            "0x1",
            "9223372036854775808",
            "18446744073709551616",
        ] {
            let error = text.parse::<Position>().unwrap_err();
            assert!(error.contains("beginning, end, stored"), "{text}: {error}");
        }
        for text in ["@", "@yesterday", "@-", "@-1", "@-1y", "@2023-11-32", "@2023-11-14T22:13:20"] {
            let error = text.parse::<Position>().unwrap_err();
            assert!(error.contains("RFC 3339"), "{text}: {error}");
        }
    }

    #[test]
    fn relative_time_is_before_now() {
        let before = now();
        let Position::Time(then) = "@-1h".parse().unwrap() else { panic!("not a time") };
        let after = now();
        assert!((before - 3_600_000..=after - 3_600_000).contains(&then));
    }
}
