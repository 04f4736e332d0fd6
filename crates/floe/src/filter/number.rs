//! Numbers of filters, JSON values and texts.

use std::cmp::Ordering;

/// Digits that always fit a `u64`.
const SAFE_DIGITS: usize = 19;

/// A number: exact if it is an integer that an `i64` or a `u64` holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum FilterNumber {
    /// Between the smallest `i64` and the largest `u64`.
    Integer(i128),
    /// Everything else.
    Float(f64),
}

impl FilterNumber {
    /// Reads a number as JSON writes it; `None` for all other texts.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        let whole = leading_digits(digits);
        if whole == 0 || (whole > 1 && digits.first() == Some(&b'0')) {
            return None;
        }
        if whole == digits.len() {
            return integer(digits, digits.len() < text.len()).or_else(|| float(text));
        }
        is_fraction(digits.get(whole..)?).then(|| float(text)).flatten()
    }

    /// Compares exactly if both numbers are integers, else as `f64`.
    pub(super) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(&b)),
            (a, b) => a.as_float().partial_cmp(&b.as_float()),
        }
    }

    fn as_float(self) -> f64 {
        match self {
            // The cast rounds to the nearest float, as the parser of floats does.
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }
}

fn integer(digits: &[u8], negative: bool) -> Option<FilterNumber> {
    let magnitude = if digits.len() <= SAFE_DIGITS {
        digits.iter().fold(0, |sum: u64, digit| sum * 10 + u64::from(digit - b'0'))
    } else {
        std::str::from_utf8(digits).ok()?.parse().ok()?
    };
    let integer = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
    (integer >= i128::from(i64::MIN)).then_some(FilterNumber::Integer(integer))
}

fn float(text: &[u8]) -> Option<FilterNumber> {
    std::str::from_utf8(text).ok()?.parse().ok().map(FilterNumber::Float)
}

/// Tells whether the text is a fraction, an exponent or both.
fn is_fraction(text: &[u8]) -> bool {
    let mut rest = text;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = leading_digits(fraction);
        rest = fraction.get(digits..).unwrap_or_default();
        if digits == 0 || rest.is_empty() {
            return digits > 0;
        }
    }
    let Some(exponent) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) else { return false };
    let sign = usize::from(matches!(exponent.first(), Some(b'+' | b'-')));
    let exponent = exponent.get(sign..).unwrap_or_default();
    !exponent.is_empty() && leading_digits(exponent) == exponent.len()
}

fn leading_digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> FilterNumber {
        FilterNumber::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn numbers_are_read_as_json_writes_them() {
        for text in ["0", "-0", "7", "-12", "1.5", "1e3", "1E-3", "1.25e+2", "18446744073709551615"] {
            number(text);
        }
        for text in
            ["", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "1x", "1 ", "0x1", "NaN", "inf", "1.e3"]
        {
            assert!(FilterNumber::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn large_integers_compare_exactly() {
        let compare = |a: &str, b: &str| number(a).compare(number(b)).unwrap();
        assert_eq!(compare("9007199254740993", "9007199254740992"), Ordering::Greater);
        assert_eq!(compare("18446744073709551615", "18446744073709551614"), Ordering::Greater);
        assert_eq!(compare("-9223372036854775808", "-9223372036854775807"), Ordering::Less);
        assert_eq!(compare("-9223372036854775808", "18446744073709551615"), Ordering::Less);
        assert_eq!(compare("18446744073709551616", "18446744073709551615"), Ordering::Equal, "as floats");
        assert_eq!(compare("1.0", "1"), Ordering::Equal);
        assert_eq!(compare("1.5", "1"), Ordering::Greater);
        assert_eq!(compare("-0", "0"), Ordering::Equal);
    }
}
