//! Escapes: of text from elsewhere on its way to a terminal, a list or a log, and in command-line arguments.
//!
//! Records, headers, groups, modules, dead letters, profiles and the messages of servers come from elsewhere. Their control
//! characters would move the cursor, fake lines or change the title of a window; characters that set the direction of text
//! or have no width would make one name look like another. [`crate::output`] and [`crate::exit`] escape all of them.

use std::borrow::Cow;

/// Whether a terminal shows these bytes without side effects: UTF-8 without control characters other than tabs and line
/// ends.
pub(crate) fn is_printable(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let text = text.strip_suffix('\r').unwrap_or(text);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let fine = match c {
            '\t' | '\n' => true,
            // A lone carriage return would overwrite the line.
            '\r' => rest.peek() == Some(&'\n'),
            _ => !is_hostile(c),
        };
        if !fine {
            return false;
        }
    }
    true
}

/// Whether a character changes how the text around it is shown: control characters (C0, DEL, C1), marks and overrides of the
/// direction (Unicode Standard Annex 9), separators of lines and paragraphs, and characters without width.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        c => out.extend(c.escape_unicode()),
    }
}

/// Returns the text with `push` for each character that `foreign` names.
fn replaced(text: &str, foreign: impl Fn(char) -> bool, push: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.contains(&foreign) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if foreign(c) { push(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Returns text on one line, without hostile characters. Unlike [`for_cell`] it leaves backslashes alone, so that text that is
/// escaped already stays as it is.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    // A tab separates columns.
    replaced(text, |c| is_hostile(c) && c != '\t', push_escaped)
}

/// Returns a text on one line of a log, with `\u{…}` for hostile characters. Unlike [`for_cell`] it leaves `\` alone, so that
/// paths and JSON stay readable.
pub(crate) fn on_one_line(text: &str) -> Cow<'_, str> {
    replaced(
        text,
        is_hostile,
        |out, c| if c == '\n' { push_escaped(out, c) } else { out.extend(c.escape_unicode()) },
    )
}

/// Returns JSON text with the hostile characters that JSON allows in strings as `\uNNNN`. It holds the same data.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    // A line end stands between tokens.
    replaced(
        text,
        |c| is_hostile(c) && c != '\n',
        |out, c| {
            out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        },
    )
}

/// Returns the bytes, with `\xNN` for those that a terminal cannot show.
pub(crate) fn for_terminal(bytes: &[u8]) -> Cow<'_, [u8]> {
    if is_printable(bytes) { Cow::Borrowed(bytes) } else { Cow::Owned(escape(bytes).into_bytes()) }
}

/// Returns the bytes on one line, for a table cell.
pub(crate) fn for_cell(bytes: &[u8]) -> String {
    escape(bytes)
}

fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                c if is_hostile(c) => push_escaped(&mut out, c),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// Resolves the escapes `\n`, `\t`, `\r`, `\0`, `\\` and `\xNN`; any other `\` stays.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, used) = match (first, after) {
            (b'\\', [b'x', high, low, ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high * 16 + low, 4),
                _ => (b'\\', 1),
            },
            (b'\\', [next, ..]) => match simple_escape(*next) {
                Some(byte) => (byte, 2),
                None => (b'\\', 1),
            },
            _ => (*first, 1),
        };
        out.push(byte);
        rest = rest.get(used..).unwrap_or_default();
    }
    out
}

/// Returns the byte of a one-letter escape.
fn simple_escape(letter: u8) -> Option<u8> {
    match letter {
        b'n' => Some(b'\n'),
        b't' => Some(b'\t'),
        b'r' => Some(b'\r'),
        b'0' => Some(0),
        b'\\' => Some(b'\\'),
        _ => None,
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_bytes_are_recognised() {
        for fine in ["", "plain", "tab\there", "two\nlines", "dos\r\nlines\r", "äöü 語"] {
            assert!(is_printable(fine.as_bytes()), "{fine:?}");
        }
        for bad in
            [b"\xff".as_slice(), b"a\0b", b"\x1b[31mred", b"back\rspace", b"\x07", "\u{9b}1m".as_bytes()]
        {
            assert!(!is_printable(bad), "{bad:?}");
        }
        assert!(!is_printable("pay\u{202e}fdp.exe".as_bytes()) && !is_printable("or\u{200b}ders".as_bytes()));
    }

    #[test]
    fn lines_and_json_hold_no_hostile_character() {
        let hostile = "a\x1b[2J\n\u{9b}\u{202e}\u{200b}\u{e0041}\\x";
        assert_eq!(line(hostile), r"a\x1b[2J\n\u{9b}\u{202e}\u{200b}\u{e0041}\x");
        assert_eq!(line(&line(hostile)), line(hostile), "escaped once");
        assert_eq!(line("plain ä 語"), "plain ä 語");
        let text = serde_json::json!({ "k": hostile }).to_string();
        let escaped = json(&text);
        assert!(!escaped.contains(is_hostile), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap()["k"], hostile);
    }

    #[test]
    fn escapes_are_reversible() {
        assert_eq!(for_terminal(b"a\\b").as_ref(), b"a\\b");
        assert_eq!(for_terminal(b"a\\b\xff\0\n").as_ref(), br"a\\b\xff\x00\n");
        assert_eq!(for_terminal("ä\u{9b}".as_bytes()).as_ref(), "ä\\u{9b}".as_bytes());
        for bytes in [b"a\\b\xff\0\n\r\t".as_slice(), b"\\x41", b"\x7f"] {
            assert_eq!(unescape(&for_cell(bytes)), bytes);
        }
    }

    #[test]
    fn nothing_in_a_log_line_moves_the_cursor_or_turns_the_text() {
        assert_eq!(on_one_line(r"C:\data ä 語"), r"C:\data ä 語");
        assert_eq!(on_one_line("a\nerror: b\x1b[2J\u{9b}"), r"a\nerror: b\u{1b}[2J\u{9b}");
        let json = serde_json::Value::from("x\n\u{9b}\u{202e}\u{e0001}").to_string();
        assert_eq!(super::json(&json), r#""x\n\u009b\u202e\udb40\udc01""#);
        assert_eq!(
            serde_json::from_str::<String>(&super::json(&json)).unwrap(),
            "x\n\u{9b}\u{202e}\u{e0001}"
        );
        assert_eq!(on_one_line("x\u{202e}y\u{200b}z\u{2066}"), r"x\u{202e}y\u{200b}z\u{2066}");
    }

    #[test]
    fn escapes_in_arguments_are_resolved() {
        assert_eq!(unescape(r"\t"), b"\t");
        assert_eq!(unescape(r"a\n\\n\x00\xFf"), b"a\n\\n\0\xff");
        assert_eq!(unescape(r"\q \x1 \"), br"\q \x1 \");
    }
}
