//! A scanner that moves through JSON text without allocation and without recursion.
//!
//! It checks only where it must stop: skipped values are searched for their end, not for errors inside. All methods
//! return `None` where the text breaks off or is not JSON, and the search ends there.

use std::borrow::Cow;

use memchr::memchr;

use super::{
    json_skip::{MAX_DEPTH, containers_end, text_end},
    number::FilterNumber,
};

/// A JSON value, of which containers are not read.
#[derive(Debug, Clone, Copy)]
pub(super) enum JsonValue<'v> {
    Null,
    Bool(bool),
    Number(FilterNumber),
    Text(JsonText<'v>),
    Container,
}

/// A JSON text without its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct JsonText<'v> {
    raw: &'v [u8],
    escaped: bool,
}

impl<'v> JsonText<'v> {
    /// Returns the text without escapes, `None` if an escape is invalid.
    pub(super) fn unescaped(self) -> Option<Cow<'v, [u8]>> {
        if self.escaped {
            unescape(self.raw, false).ok().map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(self.raw))
        }
    }

    pub(super) fn is(self, wanted: &[u8]) -> bool {
        if self.escaped {
            // An escape is never shorter than the character.
            self.raw.len() > wanted.len() && self.unescaped().is_some_and(|text| *text == *wanted)
        } else {
            self.raw == wanted
        }
    }
}

/// A position in a JSON text.
#[derive(Debug)]
pub(super) struct JsonScan<'v> {
    bytes: &'v [u8],
    at: usize,
    /// Containers that are open at the position.
    depth: usize,
}

impl<'v> JsonScan<'v> {
    pub(super) const fn new(bytes: &'v [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    /// Skips white space and returns the byte after it.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn open(&mut self) -> Option<()> {
        self.at += 1;
        self.depth += 1;
        (self.depth <= MAX_DEPTH).then_some(())
    }

    /// Goes to the value of a key of the object that begins here.
    ///
    /// Without the key, or if the value is no object, the position is behind the value, and the result is false.
    pub(super) fn enter_key(&mut self, key: &JsonKey) -> Option<bool> {
        if self.peek()? != b'{' {
            self.skip()?;
            return Some(false);
        }
        self.open()?;
        if self.peek()? == b'}' {
            return self.leave();
        }
        loop {
            if self.next()? != b'"' {
                return None;
            }
            let found = self.key_is(key)?;
            if self.next()? != b':' {
                return None;
            }
            if found {
                return Some(true);
            }
            self.skip()?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => return self.leave(),
                _ => return None,
            }
        }
    }

    /// Goes to an element of the array that begins here; see [`enter_key`](Self::enter_key) for the other cases.
    pub(super) fn enter_index(&mut self, index: u32) -> Option<bool> {
        if self.peek()? != b'[' {
            self.skip()?;
            return Some(false);
        }
        self.open()?;
        if self.peek()? == b']' {
            return self.leave();
        }
        for _ in 0..index {
            self.skip()?;
            if !self.next_element()? {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Goes from behind an element to the next; behind the last one, the array is left and the result is false.
    pub(super) fn next_element(&mut self) -> Option<bool> {
        match self.peek()? {
            b',' => {
                self.at += 1;
                Some(true)
            }
            b']' => self.leave(),
            _ => None,
        }
    }

    fn leave(&mut self) -> Option<bool> {
        self.at += 1;
        self.depth -= 1;
        Some(false)
    }

    /// Reads a key behind its opening quote.
    #[inline]
    fn key_is(&mut self, key: &JsonKey) -> Option<bool> {
        let name = key.name.as_bytes();
        let rest = self.bytes.get(self.at..)?;
        if !key.special && rest.get(name.len()) == Some(&b'"') && rest.starts_with(name) {
            self.at += name.len() + 1;
            return Some(true);
        }
        let text = self.text()?;
        Some(text.escaped && text.is(name))
    }

    /// Reads a text behind its opening quote.
    #[inline]
    fn text(&mut self) -> Option<JsonText<'v>> {
        let start = self.at;
        let (end, escaped) = text_end(self.bytes, start)?;
        self.at = end + 1;
        Some(JsonText { raw: self.bytes.get(start..end)?, escaped })
    }

    /// Reads the value that begins here; the position stays before a container and goes behind all others.
    pub(super) fn value(&mut self) -> Option<JsonValue<'v>> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                self.text().map(JsonValue::Text)
            }
            b'{' | b'[' => Some(JsonValue::Container),
            _ => match self.word()? {
                b"null" => Some(JsonValue::Null),
                b"true" => Some(JsonValue::Bool(true)),
                b"false" => Some(JsonValue::Bool(false)),
                digits => FilterNumber::parse(digits).map(JsonValue::Number),
            },
        }
    }

    /// Reads a number, `true`, `false` or `null`, behind which the text must go on.
    #[inline]
    fn word(&mut self) -> Option<&'v [u8]> {
        let rest = self.bytes.get(self.at..)?;
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
        let length = rest.iter().position(ends)?;
        self.at += length;
        rest.get(..length).filter(|word| !word.is_empty())
    }

    /// Goes behind the value that begins here.
    #[inline]
    pub(super) fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => {
                self.at = text_end(self.bytes, self.at + 1)?.0 + 1;
                Some(())
            }
            b'{' | b'[' => {
                self.open()?;
                self.close_to(self.depth - 1)
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => self.word().map(drop),
            _ => None,
        }
    }

    /// Goes behind the ends of containers until `depth` are open.
    pub(super) fn close_to(&mut self, depth: usize) -> Option<()> {
        if self.depth > depth {
            self.at = containers_end(self.bytes, self.at, self.depth, depth)?;
            self.depth = depth;
        }
        Some(())
    }
}

/// The name of a key that is searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JsonKey {
    name: String,
    /// JSON text writes the name only with escapes.
    special: bool,
}

impl JsonKey {
    pub(super) fn new(name: String) -> Self {
        let special = name.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\'));
        Self { name, special }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// Decodes the escapes of a JSON text, and `\'` on demand; the error is the place of the escape that is invalid.
pub(super) fn unescape(raw: &[u8], single_quotes: bool) -> Result<Vec<u8>, usize> {
    let mut text = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(at);
        text.extend_from_slice(plain);
        let place = raw.len() - escape.len();
        let (character, length) = match escape.get(1).ok_or(place)? {
            b'n' => ('\n', 2),
            b't' => ('\t', 2),
            b'r' => ('\r', 2),
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'\'' if single_quotes => ('\'', 2),
            same @ (b'"' | b'\\' | b'/') => (char::from(*same), 2),
            b'u' => unicode_escape(escape).ok_or(place)?,
            _ => return Err(place),
        };
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = escape.get(length..).unwrap_or_default();
    }
    text.extend_from_slice(rest);
    Ok(text)
}

/// Reads `\uXXXX`, or two of them that are a surrogate pair, and its length.
fn unicode_escape(escape: &[u8]) -> Option<(char, usize)> {
    let first = hex(escape)?;
    if let Some(character) = char::from_u32(first) {
        return Some((character, 6));
    }
    let second = hex(escape.get(6..)?)?;
    if first >= 0xdc00 || !(0xdc00..0xe000).contains(&second) {
        return None;
    }
    char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).map(|character| (character, 12))
}

fn hex(escape: &[u8]) -> Option<u32> {
    let digits = escape.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))
}
