//! Flat JSON objects: strings, integers and words as values.

use std::borrow::Cow;

/// Value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Text(Cow<'a, str>),
    Number(i64),
    /// A number that is no integer, `true`, `false` or `null`.
    Other,
}

/// Calls `each` for every field of an object. A nested value is an error.
pub(crate) fn fields<'a>(
    line: &'a str,
    mut each: impl FnMut(Cow<'a, str>, Value<'a>) -> Result<(), String>,
) -> Result<(), String> {
    let mut cursor = Cursor { text: line, at: 0 };
    cursor.expect(b'{')?;
    if !cursor.take(b'}') {
        loop {
            cursor.expect(b'"')?;
            let name = cursor.string()?;
            cursor.expect(b':')?;
            let value = cursor.value()?;
            each(name, value)?;
            if cursor.take(b'}') {
                break;
            }
            cursor.expect(b',')?;
        }
    }
    cursor.skip_space();
    if cursor.at < line.len() { Err(cursor.wrong("the end of the line")) } else { Ok(()) }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.take(byte) { Ok(()) } else { Err(self.wrong(&format!("`{}`", char::from(byte)))) }
    }

    fn wrong(&self, expected: &str) -> String {
        format!("byte {} is not {expected}", self.at)
    }

    /// Reads a string whose opening quote was taken.
    fn string(&mut self) -> Result<Cow<'a, str>, String> {
        let text = self.text;
        let rest = &text.as_bytes()[self.at..];
        let Some(length) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
            return Err("a string does not end".to_owned());
        };
        if rest[length] == b'"' {
            let found = &text[self.at..self.at + length];
            self.at += length + 1;
            return Ok(Cow::Borrowed(found));
        }
        self.escaped(length)
    }

    fn escaped(&mut self, plain: usize) -> Result<Cow<'a, str>, String> {
        let text = self.text;
        let mut out = text[self.at..self.at + plain].to_owned();
        let mut rest = text[self.at + plain..].chars();
        loop {
            match rest.next() {
                Some('"') => break,
                Some('\\') => {
                    let escape = rest.next();
                    out.push(match escape {
                        Some('n') => '\n',
                        Some('t') => '\t',
                        Some('r') => '\r',
                        Some('b') => '\u{8}',
                        Some('f') => '\u{c}',
                        Some(same @ ('"' | '\\' | '/')) => same,
                        Some('u') => unicode(&mut rest)?,
                        _ => return Err("an escape is unknown".to_owned()),
                    });
                }
                Some(other) => out.push(other),
                None => return Err("a string does not end".to_owned()),
            }
        }
        self.at = text.len() - rest.as_str().len();
        Ok(Cow::Owned(out))
    }

    fn value(&mut self) -> Result<Value<'a>, String> {
        if self.take(b'"') {
            return Ok(Value::Text(self.string()?));
        }
        let text = self.text;
        let rest = &text[self.at..];
        let end = rest.find([',', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len());
        let word = &rest[..end];
        self.at += end;
        match word.as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => match word.parse() {
                Ok(number) => Ok(Value::Number(number)),
                Err(_) if word.parse::<f64>().is_ok() => Ok(Value::Other),
                Err(_) => Err(format!("{word} is no number")),
            },
            _ if matches!(word, "true" | "false" | "null") => Ok(Value::Other),
            _ => Err(format!("byte {} is neither a string nor a number", self.at - end)),
        }
    }
}

/// Reads the four digits of an escape, and a second escape behind the first half of a pair.
fn unicode(rest: &mut std::str::Chars<'_>) -> Result<char, String> {
    let unit = |rest: &mut std::str::Chars<'_>| {
        let mut value = 0;
        for _ in 0..4 {
            value =
                value * 16 + rest.next().and_then(|digit| digit.to_digit(16)).ok_or("an escape is cut")?;
        }
        Ok::<u32, String>(value)
    };
    let first = unit(rest)?;
    let code = if (0xd800..0xdc00).contains(&first) {
        if rest.next() != Some('\\') || rest.next() != Some('u') {
            return Err("half of a pair is missing".to_owned());
        }
        let second = unit(rest)?;
        0x1_0000 + ((first - 0xd800) << 10) + (second.wrapping_sub(0xdc00) & 0x3ff)
    } else {
        first
    };
    char::from_u32(code).ok_or_else(|| "an escape is no character".to_owned())
}

/// Appends a string with its quotes.
pub(crate) fn quote(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            '\n' => out.push_str("\\n"),
            '\u{0}'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Vec<(String, Value<'_>)>, String> {
        let mut found = Vec::new();
        fields(line, |name, value| {
            found.push((name.into_owned(), value));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn flat_objects_are_read() {
        let found = parsed(r#" { "a" : "x\"\u00e9\ud83d\ude00\n" , "b":-12,"c":1.5, "d":null } "#).unwrap();
        let expected = [
            ("a", Value::Text("x\"é😀\n".into())),
            ("b", Value::Number(-12)),
            ("c", Value::Other),
            ("d", Value::Other),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(parsed("{}").unwrap(), []);
    }

    #[test]
    fn other_text_is_an_error() {
        for line in [
            "",
            "x",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":[1]}",
            "{\"a\":{}}",
            "{\"a\":1,}",
            "{\"a\":1} x",
            "{\"a\":\"x",
            "{\"a\":\"\\q\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\u12\"}",
            "{\"a\":1x}",
            "{\"a\":\"\\",
            "{\"é\\",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn quoted_strings_are_read_back() {
        let text = "a\"b\\c\nd\te\u{1}é😀";
        let mut line = "{\"x\":".to_owned();
        quote(&mut line, text);
        line.push('}');
        assert_eq!(parsed(&line).unwrap()[0].1, Value::Text(text.into()));
    }
}
