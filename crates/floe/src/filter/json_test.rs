//! Tests of the JSON values at a path, and the cheap searches before them.

use memchr::{memchr, memmem::Finder};

use super::{json_path::JsonPath, json_scan::JsonValue, lexer::FilterOperator, number::FilterNumber};

/// A test of one JSON value.
#[derive(Debug)]
pub(super) enum JsonTest {
    /// Neither null nor false.
    Present,
    /// Null, or nothing at the path.
    Null,
    Bool(bool),
    Number(FilterOperator, FilterNumber),
    TextEqual(Box<[u8]>),
    TextContains(Box<Finder<'static>>),
    TextOrder(FilterOperator, Box<[u8]>),
}

impl JsonTest {
    fn holds(&self, value: JsonValue<'_>) -> bool {
        match (self, value) {
            (Self::Present, value) => !matches!(value, JsonValue::Null | JsonValue::Bool(false)),
            (Self::Null, value) => matches!(value, JsonValue::Null),
            (Self::Bool(wanted), JsonValue::Bool(found)) => *wanted == found,
            (Self::Number(operator, bound), JsonValue::Number(number)) => {
                number.compare(*bound).is_some_and(|order| operator.admits(order))
            }
            (Self::TextEqual(wanted), JsonValue::Text(text)) => text.is(wanted),
            (Self::TextContains(finder), JsonValue::Text(text)) => {
                text.unescaped().is_some_and(|text| finder.find(&text).is_some())
            }
            (Self::TextOrder(operator, bound), JsonValue::Text(text)) => {
                text.unescaped().is_some_and(|text| operator.admits((*text).cmp(bound)))
            }
            _ => false,
        }
    }
}

/// A path and the test of the values that it leads to.
#[derive(Debug)]
pub(super) struct JsonPathTest {
    path: JsonPath,
    test: JsonTest,
    /// Bytes that a value has if the test holds for it and it has no backslash.
    text: Option<Finder<'static>>,
    /// The last key with its quotes.
    key: Option<Finder<'static>>,
    /// JSON text can write the last key with other escapes than `\u`.
    key_escapes: bool,
}

impl JsonPathTest {
    pub(super) fn new(path: JsonPath, test: JsonTest) -> Self {
        let text = match &test {
            JsonTest::TextEqual(text) => Some([b"\"", &**text, b"\""].concat()),
            JsonTest::TextContains(finder) => Some(finder.needle().to_vec()),
            _ => None,
        };
        let text = text.map(|needle| Finder::new(&needle).into_owned());
        let name = path.last_key().map(|key| key.name());
        let key = name.map(|name| Finder::new(&format!("\"{name}\"")).into_owned());
        let escapes = |byte| byte < b' ' || matches!(byte, b'"' | b'\\' | b'/' | 0x7f);
        let key_escapes = name.is_some_and(|name| name.bytes().any(escapes));
        Self { path, test, text, key, key_escapes }
    }

    /// Tells whether the test holds for a value at the path.
    pub(super) fn holds(&self, value: &[u8]) -> bool {
        if matches!(self.test, JsonTest::Null) {
            return self.leads_to_null(value);
        }
        !self.is_excluded(value) && self.path.any(value, |found| self.test.holds(found))
    }

    fn leads_to_null(&self, value: &[u8]) -> bool {
        let mut leads = false;
        let null = !self.is_excluded(value)
            && self.path.any(value, |found| {
                leads = true;
                self.test.holds(found)
            });
        null || !leads
    }

    /// Tells whether the bytes alone show that no value at the path passes.
    ///
    /// Escapes can hide the bytes, so a miss counts only in a text that has none.
    fn is_excluded(&self, value: &[u8]) -> bool {
        let lacks =
            |needle: &Option<Finder<'_>>| needle.as_ref().is_some_and(|needle| needle.find(value).is_none());
        if lacks(&self.text) && memchr(b'\\', value).is_none() {
            return true;
        }
        lacks(&self.key) && !self.may_hide_key(value)
    }

    fn may_hide_key(&self, value: &[u8]) -> bool {
        if self.key_escapes {
            return memchr(b'\\', value).is_some();
        }
        memchr::memchr_iter(b'\\', value).any(|at| value.get(at + 1) == Some(&b'u'))
    }
}
