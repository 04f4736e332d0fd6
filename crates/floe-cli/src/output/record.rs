//! Record formats of `floe consume`.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use floe::exchange::{CSV_HEADING, RecordFields, write_csv, write_json};
use unicode_width::UnicodeWidthStr as _;

use super::{amount, stdout::note, template::Template};
use crate::{escape, format::OutputFormat};

/// Prints a sequence of records with its header, separators and end.
#[derive(Debug)]
pub(crate) struct RecordPrinter {
    format: RecordFormat,
    on_terminal: bool,
    /// Whether the note about escaped bytes has been printed.
    noted: bool,
    printed: u64,
}

#[derive(Debug)]
enum RecordFormat {
    Value,
    Template(Template),
    JsonLines,
    JsonArray,
    Table,
    Csv,
    Null,
    LengthPrefixed,
}

/// Width of the key column. Records are printed one at a time, so the widest key is unknown.
const KEY_WIDTH: usize = 16;
const HEADING: &str = "PARTITION  OFFSET        TIME                      KEY               VALUE\n";

impl RecordPrinter {
    /// Prints in the given format; a template replaces the text format.
    pub(crate) fn new(output: OutputFormat, template: Option<Template>, on_terminal: bool) -> Self {
        let format = match (output, template) {
            (OutputFormat::Text, None) => RecordFormat::Value,
            (OutputFormat::Text, Some(template)) => RecordFormat::Template(template),
            (OutputFormat::Jsonl, _) => RecordFormat::JsonLines,
            (OutputFormat::Json, _) => RecordFormat::JsonArray,
            (OutputFormat::Table, _) => RecordFormat::Table,
            (OutputFormat::Csv, _) => RecordFormat::Csv,
            (OutputFormat::Null, _) => RecordFormat::Null,
            (OutputFormat::LengthPrefixed, _) => RecordFormat::LengthPrefixed,
        };
        Self { format, on_terminal, noted: false, printed: 0 }
    }

    /// Whether only values are printed, so that the caller may skip the other fields.
    pub(crate) fn wants_values_only(&self) -> bool {
        matches!(self.format, RecordFormat::Value)
    }

    /// Number of printed records.
    pub(crate) fn printed(&self) -> u64 {
        self.printed
    }

    /// Prints the start of the sequence.
    pub(crate) fn begin(&self, out: &mut impl Write) -> io::Result<()> {
        match self.format {
            RecordFormat::Table => out.write_all(HEADING.as_bytes()),
            RecordFormat::JsonArray => out.write_all(b"["),
            RecordFormat::Csv => out.write_all(CSV_HEADING.as_bytes()),
            _ => Ok(()),
        }
    }

    /// Prints the end of the sequence.
    pub(crate) fn end(&self, out: &mut impl Write) -> io::Result<()> {
        match self.format {
            RecordFormat::JsonArray if self.printed == 0 => out.write_all(b"]\n"),
            RecordFormat::JsonArray => out.write_all(b"\n]\n"),
            _ => Ok(()),
        }
    }

    /// Prints a value and a newline.
    #[inline]
    pub(crate) fn write_value(&mut self, out: &mut impl Write, value: &[u8]) -> io::Result<()> {
        self.printed += 1;
        if self.on_terminal && !escape::is_printable(value) {
            self.note_once();
            out.write_all(&escape::for_terminal(value))?;
        } else {
            out.write_all(value)?;
        }
        out.write_all(b"\n")
    }

    /// Prints one record.
    pub(crate) fn write(&mut self, out: &mut impl Write, row: &RecordFields<'_>) -> io::Result<()> {
        match &self.format {
            RecordFormat::Value => return self.write_value(out, row.value),
            RecordFormat::Template(template) => {
                template.write(out, row, self.on_terminal)?;
                let printable = |field: &[u8]| escape::is_printable(field);
                let escaped = self.on_terminal
                    && !(printable(row.value)
                        && row.key.is_none_or(printable)
                        && row
                            .headers
                            .iter()
                            .all(|(name, value)| printable(name.as_bytes()) && printable(value)));
                if escaped {
                    self.note_once();
                }
            }
            RecordFormat::JsonLines => {
                self.write_json(out, row)?;
                out.write_all(b"\n")?;
            }
            RecordFormat::Csv => {
                let mut line = Vec::new();
                write_csv(&mut line, row)?;
                out.write_all(&self.shown(&line))?;
            }
            RecordFormat::Null => {
                out.write_all(&self.shown(row.value))?;
                out.write_all(b"\0")?;
            }
            RecordFormat::LengthPrefixed => {
                let length = u32::try_from(row.value.len()).map_err(io::Error::other)?;
                out.write_all(&length.to_be_bytes())?;
                out.write_all(&self.shown(row.value))?;
            }
            RecordFormat::JsonArray => {
                out.write_all(if self.printed == 0 { b"\n" } else { b",\n" })?;
                self.write_json(out, row)?;
            }
            RecordFormat::Table => {
                let key = row.key.map_or_else(|| "-".to_owned(), escape::for_cell);
                // Columns have cells, of which a character may take none or two.
                let padding = KEY_WIDTH.saturating_sub(key.width());
                writeln!(
                    out,
                    "{:<9}  {:<12}  {:<24}  {key}{:padding$}  {}",
                    row.partition,
                    row.offset,
                    amount::time(row.timestamp),
                    "",
                    escape::for_cell(row.value)
                )?;
            }
        }
        self.printed += 1;
        Ok(())
    }

    /// Returns the bytes as a terminal may get them; unchanged elsewhere.
    fn shown<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if self.on_terminal { escape::for_terminal(bytes) } else { Cow::Borrowed(bytes) }
    }

    fn write_json(&self, out: &mut impl Write, row: &RecordFields<'_>) -> io::Result<()> {
        if !self.on_terminal {
            return write_json(out, row);
        }
        let mut text = Vec::new();
        write_json(&mut text, row)?;
        out.write_all(escape::json(&String::from_utf8_lossy(&text)).as_bytes())
    }

    fn note_once(&mut self) {
        if !self.noted {
            self.noted = true;
            note(
                "note: bytes that a terminal cannot show are printed as \\xNN; use a pipe or a file for the exact bytes",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use floe::consumer::Headers;
    use serde_json::{Value, json};

    use super::*;

    fn headers() -> Headers {
        [("n", b"1".as_slice()), ("n", b"\xff")].into_iter().collect()
    }

    fn rows(headers: &Headers) -> [RecordFields<'_>; 2] {
        let mut first = RecordFields::new("orders", 1, 7, b"one\n");
        (first.timestamp, first.key) = (Some(1_700_000_000_500), Some(b"a\"da".as_slice()));
        first.headers = headers.borrowed();
        [first, RecordFields::new("orders", 0, 8, b"\xff\0")]
    }

    fn print(output: OutputFormat, rows: &[RecordFields<'_>], on_terminal: bool) -> Vec<u8> {
        let mut printer = RecordPrinter::new(output, None, on_terminal);
        let mut out = Vec::new();
        printer.begin(&mut out).unwrap();
        for row in rows {
            printer.write(&mut out, row).unwrap();
        }
        printer.end(&mut out).unwrap();
        assert_eq!(printer.printed(), rows.len() as u64);
        out
    }

    #[test]
    fn json_has_every_field() {
        let expected = json!([
            {"topic": "orders", "partition": 1, "offset": 7, "timestamp": 1_700_000_000_500_i64,
             "headers": [{"name": "n", "value": "1"}, {"name": "n", "value": {"b64": "/w=="}}],
             "key": "a\"da", "value": "one\n"},
            {"topic": "orders", "partition": 0, "offset": 8, "timestamp": null, "headers": [], "key": null,
             "value": {"b64": "/wA="}},
        ]);
        let array: Value =
            serde_json::from_slice(&print(OutputFormat::Json, &rows(&headers()), false)).unwrap();
        assert_eq!(array, expected);
        let lines = print(OutputFormat::Jsonl, &rows(&headers()), false);
        let lines: Vec<Value> =
            serde_json::Deserializer::from_slice(&lines).into_iter().collect::<Result<_, _>>().unwrap();
        assert_eq!(Value::Array(lines), expected);
        assert_eq!(print(OutputFormat::Json, &[], false), b"[]\n");
    }

    #[test]
    fn text_is_the_value_and_a_newline() {
        assert_eq!(print(OutputFormat::Text, &rows(&headers()), false), b"one\n\n\xff\0\n");
        assert_eq!(print(OutputFormat::Text, &rows(&headers()), true), b"one\n\n\\xff\\x00\n");
    }

    #[test]
    fn table_has_one_line_per_record() {
        let table = String::from_utf8(print(OutputFormat::Table, &rows(&headers()), false)).unwrap();
        assert_eq!(
            table,
            "PARTITION  OFFSET        TIME                      KEY               VALUE\n\
             1          7             2023-11-14T22:13:20.500Z  a\"da              one\\n\n\
             0          8             -                         -                 \\xff\\x00\n"
        );
    }
}
