//! Times as people write them, in filters and start positions.

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
};

/// Unix times below this are seconds, which lasts until the year 5138; all others are milliseconds.
const FIRST_MILLIS: i64 = 100_000_000_000;

/// Units of a time before now, in milliseconds.
const UNITS: [(&str, i64); 6] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// Reads a time as Unix milliseconds; the error says what was expected.
pub(crate) fn parse(text: &str, now_millis: i64) -> Result<i64, String> {
    if let Some(age) = text.strip_prefix('-') {
        return Ok(now_millis.saturating_sub(age_millis(age)?));
    }
    if let Ok(unix) = text.parse::<i64>() {
        return Ok(if unix < FIRST_MILLIS { unix * 1000 } else { unix });
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    utc(text).ok_or_else(|| {
        "expected a time: -1h, 2026-01-31, RFC 3339 with a zone such as 2026-01-31T12:00:00Z, Unix seconds or milliseconds"
            .to_owned()
    })
}

/// Reads a date as its midnight in UTC, or a date and time that ends in `Z`, up to the end of the year 9999: a [`Timestamp`]
/// ends a day before.
fn utc(text: &str) -> Option<i64> {
    let time = match text.strip_suffix(['Z', 'z']) {
        Some(time) => time.parse::<DateTime>().ok()?,
        // A longer text could have a time, whose zone the date would silently drop.
        None if text.len() == "2026-01-31".len() => text.parse::<Date>().ok()?.at(0, 0, 0, 0),
        None => return None,
    };
    let epoch = Date::constant(1970, 1, 1).at(0, 0, 0, 0);
    i64::try_from(time.duration_since(epoch).as_millis()).ok()
}

/// Reads `1h30m` as milliseconds.
fn age_millis(text: &str) -> Result<i64, String> {
    let mut rest = text;
    let mut sum: i64 = 0;
    loop {
        let (count, after) = split_digits(rest, true);
        let (unit, next) = split_digits(after, false);
        let Some((_, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(
                "expected a time before now, such as -1h or -1h30m: the units are ms, s, m, h, d and w"
                    .to_owned(),
            );
        };
        let part = count.parse::<i64>().ok().and_then(|count| count.checked_mul(*millis));
        sum = part.and_then(|part| sum.checked_add(part)).ok_or("expected a shorter time before now")?;
        if next.is_empty() {
            return Ok(sum);
        }
        rest = next;
    }
}

/// Splits before the first character that is no digit, or is one.
fn split_digits(text: &str, digits: bool) -> (&str, &str) {
    let end = text.find(|character: char| character.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_each_form() {
        let now = 10_000_000_000;
        let times = [
            ("-1h", now - 3_600_000),
            ("-30m", now - 1_800_000),
            ("-1h30m", now - 5_400_000),
            ("-250ms", now - 250),
            ("-2w1d", now - 1_296_000_000),
            ("1769860800", 1_769_860_800_000),
            ("1769860800123", 1_769_860_800_123),
            ("2026-01-31", 1_769_817_600_000),
            ("2026-01-31T12:00:00Z", 1_769_860_800_000),
            ("2026-01-31T12:00:00.5Z", 1_769_860_800_500),
            ("2026-01-31T14:00:00+02:00", 1_769_860_800_000),
            ("9999-12-31", 253_402_214_400_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ];
        for (text, millis) in times {
            assert_eq!(parse(text, now), Ok(millis), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_times() {
        for text in [
            "",
            "x",
            "-",
            "-1",
            "-h",
            "-1y",
            "-1h5",
            "1h",
            "2026-02-30",
            "2026-01-31T12:00:00",
            "1.5",
            "2026-13-01",
        ] {
            assert!(parse(text, 0).is_err(), "{text}");
        }
        assert!(parse("-99999999999999999999w", 0).is_err());
        assert!(parse("-9999999999999999w", 0).is_err());
        assert_eq!(parse("-9223372036854775807ms", i64::MIN), Ok(i64::MIN));
    }
}
