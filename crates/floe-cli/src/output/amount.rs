//! Counts, sizes, rates and times as text.

use std::time::Duration;

use jiff::Timestamp;

/// Formats a count with its noun: `1 record`, `2 records`, `1,000,000 records`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// Formats a number with commas between the thousands.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Formats a size in bytes in decimal units, as for disks and networks.
pub(crate) fn bytes(size: u64) -> String {
    const UNITS: [(&str, f64); 4] = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let exact = size as f64;
    match UNITS.iter().find(|(_, factor)| exact >= *factor) {
        Some((unit, factor)) => format!("{:.1} {unit}", exact / factor),
        None => format!("{size} B"),
    }
}

/// Returns the rate per second; 0 for an empty duration.
pub(crate) fn per_second(amount: u64, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate is approximate")]
    let amount = amount as f64;
    if seconds > 0.0 { amount / seconds } else { 0.0 }
}

/// Returns the rate per second, rounded to a whole number.
pub(crate) fn rate(amount: u64, time: Duration) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates as intended")]
    let whole = per_second(amount, time).round() as u64;
    whole
}

/// Formats a time in RFC 3339, in UTC with milliseconds; `-` for a missing time or one out of range.
pub(crate) fn time(milliseconds: Option<i64>) -> String {
    milliseconds
        .and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok())
        .map_or_else(|| "-".to_owned(), |time| format!("{time:.3}"))
}

/// Formats a duration in the largest unit that divides it, as `floe::units` parses it.
pub(crate) fn duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds == 0 && !duration.is_zero() {
        return format!("{}us", duration.as_micros());
    }
    let units: [(&str, u128); 4] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    match units.iter().find(|(_, factor)| milliseconds > 0 && milliseconds.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", milliseconds / factor),
        None => format!("{milliseconds}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_sizes_are_formatted() {
        assert_eq!(count(1, "record"), "1 record");
        assert_eq!(count(0, "record"), "0 records");
        assert_eq!(count(1_234_567, "record"), "1,234,567 records");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1,000");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_500_000), "1.5 MB");
    }

    #[test]
    fn rates_are_rounded() {
        assert_eq!(rate(100, Duration::from_millis(500)), 200);
        assert_eq!(rate(100, Duration::ZERO), 0);
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time(Some(1_700_000_000_500)), "2023-11-14T22:13:20.500Z");
        assert_eq!(time(Some(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(None), "-");
        assert_eq!(time(Some(i64::MAX)), "-");
    }

    #[test]
    fn durations_parse_back() {
        for (given, text) in [
            (Duration::from_secs(7200), "2h"),
            (Duration::from_secs(90), "90s"),
            (Duration::from_millis(1500), "1500ms"),
            (Duration::from_micros(5), "5us"),
            (Duration::ZERO, "0ms"),
        ] {
            assert_eq!(duration(given), text);
            assert_eq!(floe::units::parse_duration(text).unwrap(), given);
        }
    }
}
