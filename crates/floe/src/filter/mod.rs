//! A language that selects records: `key = "ada" and .order.total > 10`.
//!
//! ```
//! use floe::{consumer::Headers, exchange::RecordFields, filter::Filter};
//!
//! let filter: Filter = r#".order.total > 10 and (header.origin = "web" or not key)"#.parse()?;
//! let headers: Headers = [("origin", &b"web"[..])].into_iter().collect();
//! let mut record = RecordFields::new("orders", 0, 7, br#"{"order": {"total": 12.5}}"#);
//! record.headers = headers.borrowed();
//! assert!(filter.matches(&record));
//! # Ok::<(), floe::filter::FilterError>(())
//! ```
//!
//! # Conditions
//!
//! A condition is a field with an operator and a literal, a field alone, or a text alone. Conditions are joined by
//! `and` (also `&&`), `or` (`||`), `not` (`!`) and parentheses; `not` binds closest, then `and`, then `or`. Keywords,
//! `true`, `false` and `null` may be in upper case; fields may not.
//!
//! | condition | selects records |
//! | --- | --- |
//! | `key = "ada"` | with this key |
//! | `key` | with a key |
//! | `"coffee"` | whose value has the text, the same as `value ~ "coffee"` |
//! | `header.origin != "web"` | without a header `origin` that is `web` |
//! | `.order.total >= 10` | whose value is JSON with such a number |
//! | `.items[].sku = "c-1"` | with an element that has this `sku` |
//! | `@ > -1h` | of the last hour |
//! | `partition = 3 and offset < 100` | at these places |
//!
//! # Fields
//!
//! | field | is | alone, it selects records |
//! | --- | --- | --- |
//! | `key` | the key, as text | with a key, also an empty one |
//! | `value` | the value, as text | whose value is not empty |
//! | `topic` | the topic's name | all |
//! | `partition`, `offset` | numbers | all |
//! | `@` | the record's time | with a time |
//! | `header.NAME` | the headers of this name, as text | with such a header |
//! | `.a.b[0].c[].d` | a JSON path of the value | where it leads to a value other than null and false |
//!
//! A header's name has letters, digits, `_`, `-` and `.`; a key of a path has letters, digits, `_`, `-` and `$`. Other
//! names stand in quotes: `header."odd name"`, `."odd key".x`. `[0]` is the first element of an array, `[]` any
//! element, and a path may begin with them: `.[0].name`. A path has at most 64 steps.
//!
//! # Operators
//!
//! | operator | tests | literals |
//! | --- | --- | --- |
//! | `=`, `==` | equal | all |
//! | `!=` | the negation of `=` | all |
//! | `<` `<=` `>` `>=` | order | numbers, times, text |
//! | `~` | contains the text | text; for texts other than JSON also numbers, `true` and `false` |
//! | `!~` | the negation of `~` | the same |
//!
//! A missing field passes no operator except the negations and `= null`. Of several headers of a name, or several
//! values that a path leads to by `[]`, one must pass; so `!=` says that none is equal.
//!
//! # Literals
//!
//! | literal | is |
//! | --- | --- |
//! | `"ada"`, `'ada'` | text with the escapes of JSON: `\"` `\\` `\/` `\b` `\f` `\n` `\r` `\t` `\u00e9`; also `\'` in single quotes |
//! | `5`, `-1.5`, `2e3` | a number, as JSON writes it |
//! | `true`, `false`, `null` | these values |
//! | `-1h`, `-1h30m` | a time before the filter was parsed; units are `ms`, `s`, `m`, `h`, `d` and `w` |
//! | `2026-01-31` | the midnight (UTC) at which the day begins |
//! | `2026-01-31T12:00:00Z` | a time as in RFC 3339, with its zone |
//! | `1769860800` | for `@`: Unix seconds below 100 000 000 000, else milliseconds |
//!
//! * `= null` selects records where the field is missing; a path also where it leads to null. An empty value counts as
//!   missing, and `value = null` selects it.
//! * `partition` and `offset` take numbers only. `@` takes times only, also in quotes.
//! * For `key`, `value`, `topic` and headers, `=` and `~` with a number, `true` or `false` compare the text as it is
//!   written: `key = 5` selects the key `5`, not `5.0`. `<` and the like with a number compare numbers, and a text that
//!   is no number fails; with a text they compare bytes.
//! * JSON text never equals a number, `true` or `false`, and `~` searches JSON text only. Integers are compared exactly
//!   if a signed or unsigned integer of 64 bits holds both, else as `f64`.
//!
//! ```
//! use floe::{consumer::Headers, exchange::RecordFields, filter::Filter};
//!
//! let value = br#"{"paid": true, "items": [{"sku": "c-1"}, {"sku": "t-2", "tags": null}], "odd key": "x"}"#;
//! let headers: Headers = [("origin", &b"web"[..]), ("odd name", b"1")].into_iter().collect();
//! let selects = |filter: &str| {
//!     let mut record = RecordFields::new("orders", 3, 7, value);
//!     record.timestamp = Some(1_769_860_800_000); // 2026-01-31T12:00:00Z
//!     (record.key, record.headers) = (Some(&b"42"[..]), headers.borrowed());
//!     Filter::parse(filter).unwrap().matches(&record)
//! };
//! assert!(selects("key = 42 and key > 5 and key < \"5\""));
//! assert!(selects("'sku' && value ~ \"c-1\" && !(value ~ 'tea')"));
//! assert!(selects("header.origin = 'web' and header.\"odd name\" and not header.trace"));
//! assert!(selects(".paid and .paid = true and .items[0].sku = \"c-1\" and .items[].sku = \"t-2\""));
//! assert!(selects(".total = null and .items[1].tags = null and .total != 5"));
//! assert!(selects(".\"odd key\" = 'x' and .items[].sku !~ 'x'"));
//! assert!(selects("@ >= 2026-01-31 and @ < 2026-01-31T12:30:00Z and @ = 1769860800 and @ < -1m"));
//! assert!(selects("topic ~ 'ord' and partition = 3 and offset <= 7"));
//! assert!(!selects("partition = 1 or offset = 1 and key"));
//! ```
//!
//! # JSON
//!
//! A value that is not JSON has no paths: they are missing. A path reads the value only as far as it leads, and counts on
//! whole documents: errors behind the field, or inside of values that it skips, are not seen, and a value that breaks off
//! before the end of the field does not have the field. Of equal keys in an object, the first counts. Values that nest
//! deeper than 128 break off there.
//!
//! A path is searched only if the value has the bytes of its last key, and of the text that it must equal or contain, so
//! filters that select few records are fast.
//!
//! # Limits
//!
//! An expression has at most [`MAX_FILTER_LEN`] bytes. Parentheses and negations nest at most 64 deep.

mod compile;
mod error;
mod evaluate;
mod json_path;
mod json_scan;
mod json_skip;
mod json_test;
mod lexer;
mod number;
mod parser;
mod text_test;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    str::FromStr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::exchange::RecordFields;
pub use error::FilterError;
use error::FilterFault;
use evaluate::FilterTest;

/// Bytes of an expression at most.
pub const MAX_FILTER_LEN: usize = 4096;

/// A parsed filter; the [module](self) describes the language.
///
/// Clones share one program.
///
/// ```
/// use floe::{exchange::RecordFields, filter::Filter};
///
/// let now = 1_769_860_800_000;
/// let mut record = RecordFields::new("orders", 0, 0, b"");
/// (record.key, record.timestamp) = (Some(&b"ada-1"[..]), Some(now));
/// assert!(Filter::parse_at("key ~ 'ada' and @ > -1h", now + 1000)?.matches(&record));
/// assert!(!Filter::parse_at("key ~ 'ada' and @ > -1h", now + 3_600_000)?.matches(&record));
/// # Ok::<(), floe::filter::FilterError>(())
/// ```
#[derive(Clone)]
pub struct Filter {
    program: Arc<FilterProgram>,
}

struct FilterProgram {
    text: String,
    test: FilterTest,
}

impl Filter {
    /// Parses an expression; times such as `-1h` count back from now.
    ///
    /// ```
    /// # use floe::filter::Filter;
    /// let filter = Filter::parse(".order.total > 10")?;
    /// assert_eq!(filter.text(), ".order.total > 10");
    /// # Ok::<(), floe::filter::FilterError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if the text is not a filter, is longer than [`MAX_FILTER_LEN`], or nests too deep.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::parse_at(text, i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// Parses an expression; times such as `-1h` count back from `now_millis`, in Unix milliseconds.
    ///
    /// ```
    /// # use floe::filter::Filter;
    /// assert!(Filter::parse_at("@ > -1h", 1_769_860_800_000).is_ok());
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`parse`](Self::parse) does.
    pub fn parse_at(text: &str, now_millis: i64) -> Result<Self, FilterError> {
        let test =
            program(text, now_millis).map_err(|fault| FilterError::new(fault, text, MAX_FILTER_LEN))?;
        Ok(Self { program: Arc::new(FilterProgram { text: text.to_owned(), test }) })
    }

    /// Tells whether the filter selects the record.
    ///
    /// The test does not allocate, except for JSON texts with escapes that a path compares.
    #[must_use]
    pub fn matches(&self, record: &RecordFields<'_>) -> bool {
        self.program.test.holds(record)
    }

    /// Returns the expression.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.program.text
    }
}

fn program(text: &str, now_millis: i64) -> Result<FilterTest, FilterFault> {
    if text.len() > MAX_FILTER_LEN {
        let message = format!("too long: expected at most {MAX_FILTER_LEN} bytes, found {}", text.len());
        return Err(FilterFault::new(MAX_FILTER_LEN, message));
    }
    compile::compile(parser::parse(text)?, now_millis)
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::parse(text)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.text()).finish()
    }
}
