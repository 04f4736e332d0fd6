//! Start positions as people write them: `beginning`, `end`, `stored`, `N`, `+N`, `-N`, `@TIME`.

use std::str::FromStr;

use super::StartAt;
use crate::{Error, ErrorKind, Result, WallClock, time_text};

/// Reads `beginning` (or `earliest`), `end` (or `latest`), `stored`, an offset `N`, `+N` for N records after the oldest, `-N`
/// for N before the end, or `@TIME`, where the time is in RFC 3339, a date, Unix seconds or milliseconds, or a duration
/// before now such as `-1h`.
impl FromStr for StartAt {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            let message = format!(
                "invalid position {text:?}: use beginning, end, stored, N, +N, -N or @TIME, such as -10 or @-1h"
            );
            Error::new(ErrorKind::InvalidConfig, message)
        };
        Ok(match text {
            "beginning" | "earliest" => Self::Beginning,
            "end" | "latest" => Self::End,
            "stored" => Self::StoredOrBeginning,
            _ => {
                if let Some(time) = text.strip_prefix('@') {
                    let now = WallClock::default().now_millis();
                    let bad_time = |problem| format!("invalid time {time:?}: {problem}");
                    let parsed = time_text::parse(time, now);
                    Self::Time(
                        parsed.map_err(|problem| Error::new(ErrorKind::InvalidConfig, bad_time(problem)))?,
                    )
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

/// Reads digits only; `parse` would accept a sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_parsed() {
        for (text, expected) in [
            ("beginning", StartAt::Beginning),
            ("earliest", StartAt::Beginning),
            ("latest", StartAt::End),
            ("@1970-01-02", StartAt::Time(86_400_000)),
            ("@9999-12-31", StartAt::Time(253_402_214_400_000)),
            ("@9999-12-31T23:59:59Z", StartAt::Time(253_402_300_799_000)),
            ("end", StartAt::End),
            ("stored", StartAt::StoredOrBeginning),
            ("0", StartAt::Offset(0)),
            ("9223372036854775807", StartAt::Offset(i64::MAX)),
            ("+3", StartAt::AfterBeginning(3)),
            ("-10", StartAt::BeforeEnd(10)),
            ("@1700000000", StartAt::Time(1_700_000_000_000)),
            ("@1700000000123", StartAt::Time(1_700_000_000_123)),
            ("@2023-11-14T22:13:20Z", StartAt::Time(1_700_000_000_000)),
            ("@2023-11-14T23:13:20.5+01:00", StartAt::Time(1_700_000_000_500)),
        ] {
            assert_eq!(text.parse::<StartAt>().unwrap(), expected, "{text}");
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
            let error = text.parse::<StartAt>().unwrap_err().to_string();
            assert!(error.contains("beginning, end, stored"), "{text}: {error}");
        }
        for text in ["@", "@yesterday", "@-", "@-1", "@-1y", "@2023-11-32", "@2023-11-14T22:13:20"] {
            let error = text.parse::<StartAt>().unwrap_err().to_string();
            assert!(error.contains("invalid time"), "{text}: {error}");
        }
    }

    #[test]
    fn relative_time_is_before_now() {
        let now = || WallClock::default().now_millis();
        let before = now();
        let StartAt::Time(then) = "@-1h".parse().unwrap() else { panic!("not a time") };
        let after = now();
        assert!((before - 3_600_000..=after - 3_600_000).contains(&then));
    }
}
