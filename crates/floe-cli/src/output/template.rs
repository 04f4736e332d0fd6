//! `--format`: template of a record.

use std::io::{self, Write};

use floe::url::nearest;

use floe::exchange::RecordFields;

use super::amount;
use crate::escape;

/// Field of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Topic,
    Partition,
    Offset,
    Key,
    Value,
    /// Length of the key in bytes; -1 without a key.
    KeyLength,
    ValueLength,
    Headers,
    /// Time in RFC 3339.
    Time,
    /// Time in milliseconds since the Unix epoch.
    Milliseconds,
}

/// Fields with their names in braces and their letters after `%`.
const FIELDS: [(&str, Option<u8>, Field); 10] = [
    ("topic", Some(b't'), Field::Topic),
    ("partition", Some(b'p'), Field::Partition),
    ("offset", Some(b'o'), Field::Offset),
    ("key", Some(b'k'), Field::Key),
    ("value", Some(b's'), Field::Value),
    ("key_length", Some(b'K'), Field::KeyLength),
    ("value_length", Some(b'S'), Field::ValueLength),
    ("headers", Some(b'h'), Field::Headers),
    ("time", None, Field::Time),
    ("timestamp", Some(b'T'), Field::Milliseconds),
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Field(Field),
}

/// Parsed format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

impl Template {
    /// Parses a format. A newline is added unless it ends with one, or with `\c`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (text, no_newline) = match text.strip_suffix("\\c") {
            // After another backslash, `\c` is an escaped backslash and a `c`.
            Some(before) if before.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 0 => {
                (before, true)
            }
            _ => (text, false),
        };
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let (field, used) = match c {
                '%' => percent(rest)?,
                '{' => braces(rest)?,
                // Other escapes stay for `unescape`; `\{` and `\%` must not start a field.
                '\\' if rest.starts_with("\\{") || rest.starts_with("\\%") => (Token::Text(&rest[1..2]), 2),
                '\\' => {
                    let used = rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at);
                    (Token::Text(&rest[..used]), used)
                }
                c => (Token::Text(&rest[..c.len_utf8()]), c.len_utf8()),
            };
            match field {
                Token::Text(text) => literal.push_str(text),
                Token::Field(field) => {
                    push_literal(&mut parts, &mut literal);
                    parts.push(Part::Field(field));
                }
            }
            rest = &rest[used..];
        }
        push_literal(&mut parts, &mut literal);
        let newline_at_end = matches!(parts.last(), Some(Part::Literal(bytes)) if bytes.ends_with(b"\n"));
        if !no_newline && !newline_at_end {
            parts.push(Part::Literal(b"\n".to_vec()));
        }
        Ok(Self { parts })
    }

    /// Prints one record, with keys, values and headers escaped for a terminal.
    pub(crate) fn write(
        &self,
        out: &mut impl Write,
        row: &RecordFields<'_>,
        on_terminal: bool,
    ) -> io::Result<()> {
        // The literal parts come from the user; everything else is escaped.
        fn bytes(out: &mut impl Write, bytes: &[u8], on_terminal: bool) -> io::Result<()> {
            if on_terminal { out.write_all(&escape::for_terminal(bytes)) } else { out.write_all(bytes) }
        }
        for part in &self.parts {
            match part {
                Part::Literal(literal) => out.write_all(literal)?,
                Part::Field(field) => match field {
                    Field::Topic => bytes(out, row.topic.as_bytes(), on_terminal)?,
                    Field::Partition => write!(out, "{}", row.partition)?,
                    Field::Offset => write!(out, "{}", row.offset)?,
                    Field::Key => bytes(out, row.key.unwrap_or_default(), on_terminal)?,
                    Field::Value => bytes(out, row.value, on_terminal)?,
                    Field::KeyLength => match row.key {
                        Some(key) => write!(out, "{}", key.len())?,
                        None => out.write_all(b"-1")?,
                    },
                    Field::ValueLength => write!(out, "{}", row.value.len())?,
                    Field::Headers => {
                        for (at, (name, value)) in row.headers.iter().enumerate() {
                            if at > 0 {
                                out.write_all(b",")?;
                            }
                            bytes(out, name.as_bytes(), on_terminal)?;
                            out.write_all(b"=")?;
                            bytes(out, value, on_terminal)?;
                        }
                    }
                    Field::Time => out.write_all(amount::time(row.timestamp).as_bytes())?,
                    Field::Milliseconds => write!(out, "{}", row.timestamp.unwrap_or(-1))?,
                },
            }
        }
        Ok(())
    }
}

enum Token<'a> {
    Text(&'a str),
    Field(Field),
}

fn push_literal(parts: &mut Vec<Part>, literal: &mut String) {
    if !literal.is_empty() {
        parts.push(Part::Literal(escape::unescape(literal)));
        literal.clear();
    }
}

/// Parses a field by its letter, or `%%`.
fn percent(rest: &str) -> Result<(Token<'_>, usize), String> {
    let letter = rest.as_bytes().get(1).copied();
    if letter == Some(b'%') {
        return Ok((Token::Text("%"), 2));
    }
    match FIELDS.iter().find(|(_, known, _)| known.is_some() && *known == letter) {
        Some((_, _, field)) => Ok((Token::Field(*field), 2)),
        None => {
            let shown = rest.chars().take(2).collect::<String>();
            Err(format!(
                "unknown field {shown:?} in the format: use %t %p %o %k %s %K %S %h %T, or %% for a percent sign"
            ))
        }
    }
}

/// Parses a field by its name in one or two pairs of braces; a brace without a name is literal.
fn braces(rest: &str) -> Result<(Token<'_>, usize), String> {
    for (open, close) in [("{{", "}}"), ("{", "}")] {
        let Some(after) = rest.strip_prefix(open) else { continue };
        let length = after.bytes().take_while(|byte| byte.is_ascii_alphabetic() || *byte == b'_').count();
        let (name, rest) = after.split_at(length);
        if name.is_empty() || !rest.starts_with(close) {
            continue;
        }
        let known = FIELDS.map(|(name, _, _)| name);
        return match FIELDS.iter().find(|(known, _, _)| *known == name) {
            Some((_, _, field)) => Ok((Token::Field(*field), open.len() + length + close.len())),
            None => Err(format!(
                "unknown field {name:?} in the format: {}",
                match nearest(name, &known) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("fields are {}", known.join(", ")),
                }
            )),
        };
    }
    Ok((Token::Text("{"), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(format: &str) -> String {
        let headers: floe::consumer::Headers = [("a", b"1".as_slice()), ("b", b"2")].into_iter().collect();
        let mut row = RecordFields::new("orders", 2, 7, b"one \xff");
        (row.timestamp, row.key, row.headers) =
            (Some(1_700_000_000_500), Some(b"ada".as_slice()), headers.borrowed());
        let mut out = Vec::new();
        Template::parse(format).unwrap().write(&mut out, &row, false).unwrap();
        out.escape_ascii().to_string()
    }

    #[test]
    fn fields_have_three_spellings() {
        let expected = r"orders 2 7 ada one \xff a=1,b=2\n";
        assert_eq!(print("{topic} {partition} {offset} {key} {value} {headers}"), expected);
        assert_eq!(print("{{topic}} {{partition}} {{offset}} {{key}} {{value}} {{headers}}"), expected);
        assert_eq!(print("%t %p %o %k %s %h"), expected);
        assert_eq!(print("{time} %T"), r"2023-11-14T22:13:20.500Z 1700000000500\n");
    }

    #[test]
    fn escapes_and_line_ends() {
        assert_eq!(print(r"%o\n"), r"7\n");
        assert_eq!(print(r"%o\c"), "7");
        assert_eq!(print(r"%o\\c"), r"7\\c\n");
        assert_eq!(print(r"%k\t%o\x00"), r"ada\t7\x00\n");
        assert_eq!(print(r"100%%"), r"100%\n");
        assert_eq!(print(r"\{key} \%k \\"), r"{key} %k \\\n");
        assert_eq!(print(r#"{"k":"{key}"} { }"#), r#"{\"k\":\"ada\"} { }\n"#);
        assert_eq!(print(""), r"\n");
        assert_eq!(print("ä{key}ö"), r"\xc3\xa4ada\xc3\xb6\n");
    }

    #[test]
    fn unknown_fields_are_rejected() {
        assert!(Template::parse("{ky}").unwrap_err().contains("did you mean \"key\"?"));
        assert!(Template::parse("{{x_y_z}}").unwrap_err().contains("fields are topic"));
        assert!(Template::parse("%x").unwrap_err().contains("\"%x\""));
        assert!(Template::parse("%").unwrap_err().contains("\"%\""));
        assert!(Template::parse("%ä").unwrap_err().contains("\"%ä\""));
    }
}
